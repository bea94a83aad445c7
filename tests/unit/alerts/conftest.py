"""Fixtures of the tests of alerts: one clock for all instances and the server, and instances that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prodfix.alerts import agreement
from tests.support.alert_instances import Clock, Instance

START = 1_800_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(START)
    monkeypatch.setattr(agreement, "server_time", lambda database: clock.now)
    return clock


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Instance]]:
    made: list[Instance] = []

    def instance(name: str = "a", database: Any = None, **options: Any) -> Instance:
        made.append(Instance(name, tmp_path, clock, database, **options))
        return made[-1]

    yield instance
    for one in made:
        one.kill()
