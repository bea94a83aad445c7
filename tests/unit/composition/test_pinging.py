"""After each ping: whoever waits for the database is woken, and the others are told, when it has come or gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask


def test_a_loss_between_two_pings_is_told_after_the_second(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last good one has become too old meanwhile, so that before the second it was lost already."""
    services, told = adopt().extensions["prodfix"], []
    background, monitor = services.runtime.background, services.database.monitor
    monkeypatch.setattr(background._turns, "tick", lambda: 1.0)
    monkeypatch.setattr(background._pulse, "tell", lambda uptime: told.append(monitor.healthy))
    for now in (False, True, True, False, False, True):
        monkeypatch.setattr(type(monitor), "healthy", property(lambda self, now=now: now))
        background._ping()
    assert told == [True, False, True]
