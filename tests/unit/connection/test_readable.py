"""Whether look-ups ask MongoDB: also while it answers pings and nothing else they answer within a second, with what there is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo.errors import (
    AutoReconnect,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from prodfix import make_token
from prodfix.blueprints import diagnostics, operations
from prodfix.connection.readable import HOLDS, Readable
from prodfix.diagnostics import requests as whole
from tests.support.counting_worker import Clock
from tests.support.waiting import until

OWN = "prodfix-own"  # the appname of the client that asks
REQUEST = "request-of-ours"
HANG: dict[str, Any] = {"blockConnection": True, "blockTimeMS": 4000}
REFUSE: dict[str, Any] = {"errorCode": 8000}
TRY_AGAIN: dict[str, Any] = {"errorCode": 11602}
CUT: dict[str, Any] = {"closeConnection": True}
COMMANDS = ("find", "aggregate", "count", "distinct", "getMore", "listCollections", "listIndexes", "collStats",
            "insert", "update", "delete", "findAndModify", "createIndexes")  # fmt: skip


class Asked:
    """A database of one collection that fails as long as ``error`` is there."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    def __getitem__(self, name: str) -> Asked:
        return self

    def find_one(self, *_: Any) -> None:
        self.times += 1
        if self.error is not None:
            raise self.error


def test_one_command_tells_for_a_moment_whether_it_can_be_read_from() -> None:
    database, clock = Asked(), Clock()
    readable = Readable(lambda: database, clock=clock)  # type: ignore[arg-type, return-value]
    assert [readable() for _ in range(3)] == [database] * 3
    assert database.times == 1
    database.error = AutoReconnect("gone")
    clock.now += HOLDS
    assert [readable() for _ in range(3)] == [None] * 3
    assert database.times == 2
    database.error = None
    clock.now += HOLDS
    assert readable() is database


def test_where_nothing_pings_a_server_that_is_not_found_is_lost_and_not_slow() -> None:
    known_as_lost = False
    for error, slow in ((ServerSelectionTimeoutError("no server"), False), (NetworkTimeout("no answer"), True)):
        assert error.timeout
        database = Asked()
        database.error = error
        readable = Readable(lambda database=database: database, lost=lambda: known_as_lost)  # type: ignore[arg-type, misc, return-value]
        assert (readable(), readable.slow) == (None, slow)
        pinged = Readable(lambda database=database: database)  # type: ignore[arg-type, misc, return-value]
        assert (pinged(), pinged.slow) == (None, True), "the control: pings say that it is there"
    known_as_lost = True
    assert not readable.slow


def _unconnected() -> NetworkTimeout:
    """As the driver raises it while it makes a connection."""
    error = NetworkTimeout("127.0.0.1:1: timed out")
    error._add_error_label("SystemOverloadedError")
    return error


@pytest.mark.parametrize(
    ("error", "slow"),
    [
        (NetworkTimeout("timed out"), True),
        (ExecutionTimeout("operation exceeded time limit", 50), True),
        (WaitQueueTimeoutError("no connection is free"), True),
        (ServerSelectionTimeoutError("no servers found yet"), False),
        (_unconnected(), False),
        (AutoReconnect("refused"), False),
        (OperationFailure("not allowed", 13), False),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else str(one),
)
def test_only_one_that_has_a_command_and_does_not_answer_it_in_time_is_slow(error: Exception, slow: bool) -> None:
    database, clock = Asked(), Clock()
    readable = Readable(lambda: database, clock=clock, lost=lambda: False)  # type: ignore[arg-type, return-value]
    database.error = error
    assert (readable(), readable.slow) == (None, slow)
    database.error = None
    clock.now += HOLDS
    assert (readable(), readable.slow) == (database, False)


def test_a_server_that_cannot_be_selected_is_away(nowhere: Any, database: Any, fail: Any) -> None:
    """What the driver itself says, of one that is not there and of one that does not answer."""
    away = Readable(nowhere.get_default_database, lost=lambda: False)
    assert (away(), away.slow) == (None, False)
    fail("find", **HANG)
    late = Readable(lambda: database)
    assert (late(), late.slow) == (None, True), "the control"


def test_what_is_known_to_be_down_is_not_asked() -> None:
    assert Readable(lambda: None)() is None


@pytest.fixture
def app(serve: Callable[..., Any], database_uri: str, until: Callable[..., Any]) -> Any:
    app = serve([diagnostics, operations], mongodb_uri=SecretStr(database_uri), diagnostics_rate_limit="10000/minute")
    services = app.extensions["prodfix"]
    services.start()
    until(lambda: services.database.monitor.healthy)
    until(lambda: services.database.readable() is not None)
    return app


def token_of(app: Any) -> str:
    return make_token(app.extensions["prodfix"].settings, role="admin", lifetime=timedelta(minutes=5))


@pytest.fixture
def ask(app: Any) -> Callable[..., Any]:
    client, headers = app.test_client(), {"Authorization": f"Bearer {token_of(app)}"}

    def get(path: str, *, anonymous: bool = False) -> tuple[int, Any, float]:
        begun = time.monotonic()
        answer = client.get(path, headers={} if anonymous else headers)
        return answer.status_code, answer.get_json(), time.monotonic() - begun

    return get


PREFIX = "/api/v1/diagnostics"
LOOK_UPS = (f"/requests/{REQUEST}", "/errors/records", "/errors/records?code=X", "/errors/groups", "/errors", "/incidents",
            "/connection-events", "/database", "/deferred")  # fmt: skip


@pytest.mark.parametrize("trouble", [HANG, REFUSE, TRY_AGAIN, CUT], ids=["hang", "refuse", "try again", "cut"])
def test_every_look_up_answers_within_a_second_while_pings_answer_and_commands_do_not(
    app: Any, ask: Callable[..., Any], fail: Any, trouble: dict[str, Any]
) -> None:
    services = app.extensions["prodfix"]
    services.errors.log.log_deferral(ValueError("x"), None, {"operationId": "0" * 24})
    record = services.errors.log.log_error(ValueError("x"))
    fail(*COMMANDS, app_name=OWN, **trouble)
    for path in (f"/requests/{record.request_id}", *LOOK_UPS[1 : None if trouble is HANG else 2]):
        services.database.readable._asked_at = -HOLDS  # nobody has asked before
        status, body, seconds = ask(PREFIX + path)
        assert (status, seconds < 2.5) == (200, True), (path, seconds)
        # Statistics tell what is slow as a part, and not as an outage.
        slow = trouble is HANG and path.startswith(("/errors/groups", "/errors")) and "records" not in path
        assert (body.get("scope", "instance"), body.get("partial", False)) == ("all" if slow else "instance", slow), (
            path
        )
    status, body, _ = ask(f"{PREFIX}/requests/{record.request_id}")
    assert body["missing"] == ["errors", "incidents"]
    assert [error["message"] for error in body["errors"]] == ["ValueError: x"]
    assert services.database.monitor.healthy, "the control: pings answer"
    for path, anonymous in ((f"{PREFIX}/requests/{REQUEST}", False), ("/api/v1/operations/" + "0" * 24, True)):
        services.database.readable._asked_at = -HOLDS
        status, body, seconds = ask(path, anonymous=anonymous)
        assert (status, body["code"], seconds < 2.5) == (503, "DATABASE_UNAVAILABLE", True), "nobody can tell"
    page = app.test_client()
    page.set_cookie("prodfix_admin", token_of(app), path=PREFIX)
    assert "MongoDB cannot be asked now. Look again" in page.get(f"{PREFIX}/page/requests/{REQUEST}").text
    assert (
        "there may be more of its errors and incidents." in page.get(f"{PREFIX}/page/requests/{record.request_id}").text
    )
    fail.off()

    def known() -> bool:
        services.database.readable._asked_at = -HOLDS
        return bool(ask(f"{PREFIX}/requests/{REQUEST}")[0] == 404)

    until(known, what="the control")  # the driver looks again at a server that has closed a connection once it may
    assert ask(f"{PREFIX}/requests/{record.request_id}")[1]["missing"] == []


def test_without_the_first_question_each_part_would_wait_by_itself(
    app: Any, ask: Callable[..., Any], fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    services = app.extensions["prodfix"]
    monkeypatch.setattr(Readable, "_ask", lambda readable, database: True)
    monkeypatch.setattr(whole, "LIMIT", 30.0)
    record = services.errors.log.log_error(ValueError("x"))
    fail("find", app_name=OWN, **HANG)
    assert ask(f"{PREFIX}/requests/{record.request_id}")[2] > 1.0
