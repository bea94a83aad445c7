"""How the parts are wired: the switches of recovery, and what a worker says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout

from prodfix import Services
from prodfix.context import new_context, reset_context, set_context
from prodfix.errors import DatabaseUnavailable


def services(serve: Callable[..., Any], **values: Any) -> Services:
    found: Services = serve(retry_base_delay_ms=1, mongodb_uri="mongodb://127.0.0.1:9/x", **values).extensions[
        "prodfix"
    ]
    return found


class Lost:
    """An operation that loses its connection each time."""

    calls = 0

    def __call__(self) -> None:
        self.calls += 1
        raise AutoReconnect("lost")


@pytest.mark.parametrize(("enabled", "calls", "failures"), [(True, 3, 7), (False, 1, 0)])
def test_recovery_is_on_or_off(serve: Callable[..., Any], enabled: bool, calls: int, failures: int) -> None:
    parts = services(serve, enable_error_recovery=enabled, max_retry_attempts=2, breaker_failures=7)
    lost = Lost()
    with pytest.raises(AutoReconnect):
        parts.recovery.run(lost, idempotent=True)
    assert (lost.calls, parts.breaker.failures) == (calls, failures)
    state = parts.state()
    assert (state.recovery.enabled, state.recovery.budget.retries) == (enabled, calls - 1)
    assert (state.breaker.state, state.breaker.opened) == ("closed", 0)


@pytest.mark.parametrize(("queue", "deferred"), [("true", True), ("false", False), ("ephemeral", True)])
def test_the_queue_is_on_or_off(serve: Callable[..., Any], queue: str, deferred: bool) -> None:
    assert services(serve, enable_operation_queue=queue, state_dir_durable=True).deferred.enabled is deferred


def test_what_a_request_asks_of_the_database_counts_as_live_also_while_it_is_down(serve: Callable[..., Any]) -> None:
    parts = services(serve, breaker_failures=1, db_server_selection_timeout_ms=1)
    with pytest.raises(AutoReconnect):
        parts.db.notes.find_one()
    with pytest.raises(AutoReconnect):
        parts.clients.own_db.notes.find_one()
    assert (parts.traffic.live(), parts.state().idle_seconds) == (False, None), "nobody waits for our own work"
    token = set_context(new_context(endpoint="/", method="GET", ip="", headers={}))
    with pytest.raises(DatabaseUnavailable):
        parts.db.notes.find_one()
    reset_context(token)
    assert parts.traffic.live()
    assert parts.state().idle_seconds < 1
    parts.clients.close()


def test_the_applications_operations_and_no_others_feed_the_breaker(serve: Callable[..., Any]) -> None:
    parts = services(serve, breaker_failures=2, db_server_selection_timeout_ms=1)
    for _ in range(2):
        with pytest.raises(AutoReconnect):
            parts.db.notes.find_one()
    with pytest.raises(DatabaseUnavailable):
        parts.db.notes.find_one()
    assert parts.state().breaker.cause == "operations"
    with pytest.raises(AutoReconnect) as raised:
        parts.clients.own_db.notes.find_one()
    assert not isinstance(raised.value, DatabaseUnavailable)
    parts.clients.close()


def test_a_call_to_somebody_else_that_fails_is_no_failure_of_the_database(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = services(serve)
    told: list[bool] = []
    monkeypatch.setattr(parts.incidents, "failed", lambda *, database: told.append(database))
    slow = type("Timeout", (OSError,), {"__module__": "requests.exceptions"})
    for error in (slow("x"), ConnectionRefusedError(), AutoReconnect("lost"), NetworkTimeout("slow")):
        parts.error_log.log_error(error)
    assert told == [False, False, True, True]
