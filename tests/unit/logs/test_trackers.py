"""Lines are no events of an error tracker, whenever that is loaded; it is asked once, and for one logger."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from prodfix.errors import Severity
from prodfix.logs.logs import Logs
from prodfix.logs.sinks import Sinks
from prodfix.logs.trackers import Trackers

SENTRY = "sentry_sdk.integrations.logging"


class Integration(ModuleType):
    """Sentry's, as far as it is asked."""

    def __init__(self) -> None:
        super().__init__(SENTRY)
        self.ignored: list[str] = []

    def ignore_logger(self, name: str) -> None:
        self.ignored.append(name)


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Integration:
    monkeypatch.setitem(sys.modules, SENTRY, found := Integration())
    return found


def test_it_is_asked_once_however_late_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    trackers = Trackers("prodfix")
    monkeypatch.delitem(sys.modules, SENTRY, raising=False)
    trackers.ask()
    monkeypatch.setitem(sys.modules, SENTRY, found := Integration())
    trackers.ask()
    trackers.ask()  # whoever says unignore_logger since means it
    assert found.ignored == ["prodfix"]


@pytest.mark.parametrize("module", [ModuleType(SENTRY), None])
def test_another_version_of_it_is_left_alone(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, SENTRY, module)
    Trackers("prodfix").ask()


@pytest.mark.parametrize(("owning", "logger"), [(False, "prodfix"), (True, "prodfix.logs.loguru_console")])
def test_the_first_line_asks_for_the_logger_that_has_it(sentry: Integration, owning: bool, logger: str) -> None:
    logs = Logs(Sinks([]), served=False, owning=owning)
    assert sentry.ignored == []
    logs.event(Severity.ERROR, "test", "a line")
    logs.event(Severity.ERROR, "test", "another")
    assert sentry.ignored == [logger]


def test_one_that_fails_costs_a_line_and_nothing_else(sentry: Integration, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(sentry, "ignore_logger", broken, raising=False)
    logs = Logs(Sinks([]), served=False)
    logs.event(Severity.ERROR, "test", "a line")
    logs.event(Severity.ERROR, "test", "another")
    assert logs.sinks.dropped == 1
