"""How the parts are wired: the switches of recovery, and what a worker says of itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout

import prodfix
from prodfix import Services
from prodfix.errors import DatabaseUnavailable
from prodfix.request.context import new_context, reset_context, set_context


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
    assert (lost.calls, parts.database.breaker.failures) == (calls, failures)
    state = parts.state()
    assert (state.recovery.enabled, state.recovery.budget.retries) == (enabled, calls - 1)
    assert (state.breaker.state, state.breaker.opened) == ("closed", 0)


@pytest.mark.parametrize(("queue", "deferred"), [("true", True), ("false", False), ("ephemeral", True)])
def test_the_queue_is_on_or_off(serve: Callable[..., Any], queue: str, deferred: bool) -> None:
    assert services(serve, enable_operation_queue=queue, state_dir_durable=True).deferral.queue.enabled is deferred


def test_what_a_request_asks_of_the_database_counts_as_live_also_while_it_is_down(serve: Callable[..., Any]) -> None:
    parts = services(serve, breaker_failures=1, db_server_selection_timeout_ms=1)
    with pytest.raises(AutoReconnect):
        parts.db.notes.find_one()
    with pytest.raises(AutoReconnect):
        parts.database.clients.own_db.notes.find_one()
    assert (parts.deferral.activity.live(), parts.state().idle_seconds) == (False, None), (
        "nobody waits for our own work"
    )
    token = set_context(new_context(endpoint="/", method="GET", ip="", headers={}))
    with pytest.raises(DatabaseUnavailable):
        parts.db.notes.find_one()
    reset_context(token)
    assert parts.deferral.activity.live()
    assert parts.state().idle_seconds < 1
    parts.database.clients.close()


def test_the_applications_operations_and_no_others_feed_the_breaker(serve: Callable[..., Any]) -> None:
    parts = services(serve, breaker_failures=2, db_server_selection_timeout_ms=1)
    for _ in range(2):
        with pytest.raises(AutoReconnect):
            parts.db.notes.find_one()
    with pytest.raises(DatabaseUnavailable):
        parts.db.notes.find_one()
    assert parts.state().breaker.cause == "operations"
    with pytest.raises(AutoReconnect) as raised:
        parts.database.clients.own_db.notes.find_one()
    assert not isinstance(raised.value, DatabaseUnavailable)
    parts.database.clients.close()


def test_a_call_to_somebody_else_that_fails_is_no_failure_of_the_database(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = services(serve)
    told: list[bool] = []
    monkeypatch.setattr(parts.errors.incidents, "failed", lambda *, database: told.append(database))
    slow = type("Timeout", (OSError,), {"__module__": "requests.exceptions"})
    for error in (slow("x"), ConnectionRefusedError(), AutoReconnect("lost"), NetworkTimeout("slow")):
        parts.errors.log.log_error(error)
    assert told == [False, False, True, True]


COMPOSING = ("composition", "observers", "extension", "factory", "services", "background", "commands/")
THEIRS = re.compile(r"app\.|self\._?\w+$")  # Flask's own, which has no other way


def test_nothing_is_set_on_a_part_after_it_was_made() -> None:
    """What a part is to know, or to tell of, it is given when it is made. These files know all parts."""
    folder = Path(prodfix.__file__).parent
    sources = {str(path.relative_to(folder)): assigned(path.read_text()) for path in folder.rglob("*.py")}
    composing = {(name, one) for name, found in sources.items() if name.startswith(COMPOSING) for one in found}
    assert {one for one in composing if not THEIRS.match(one[1])} == set()
    assert {(name, one) for name, found in sources.items() for one in found if one.startswith("services.")} == set()
    assert len(sources) > 100
    assert assigned("services.database.monitor.on_event, x = 1, 2") == ["services.database.monitor.on_event"], (
        "it would be found"
    )


def assigned(source: str) -> list[str]:
    """The attributes that are set, also those of ``self``."""
    targets: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
            targets.append(node.target)
    flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [ast.unparse(one) for one in flat if isinstance(one, ast.Attribute)]
