"""The diagnostics: they show what there is, say what they cannot learn, and leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from prodfix import diagnostics as module
from prodfix.connection.clients import Clients
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.deferred import Deferred
from prodfix.deferral.orders import Orders
from prodfix.diagnostics import TEST_COLLECTION, TEST_OPERATIONS, Diagnostics
from prodfix.errors import DatabaseUnavailable
from prodfix.journal.journal import Journal

OWN = "prodfix-own"  # the appname of the client that diagnostics use


class FakeLookup:
    def recent(self) -> list[dict[str, Any]]:
        return []

    def request(self, request_id: str) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def clients(database_uri: str) -> Iterator[Clients]:
    clients = Clients(database_uri, {})
    yield clients
    clients.close()


@pytest.fixture
def make(journal: Journal) -> Callable[[Clients], Diagnostics]:
    def make_diagnostics(clients: Clients) -> Diagnostics:
        bounds = {"max_entries": 9, "max_bytes": 2**20}
        deferred = Deferred(journal, lambda: clients.db, enabled=True, durable=True, **bounds)
        backlog = Backlog(journal, deferred, Orders(journal))
        return Diagnostics(clients, journal, FakeLookup(), backlog)  # type: ignore[arg-type]

    return make_diagnostics


@pytest.fixture
def diagnostics(make: Callable[[Clients], Diagnostics], clients: Clients) -> Diagnostics:
    return make(clients)


@pytest.fixture
def left(database: Any) -> Callable[[], int]:
    return lambda: int(database[TEST_COLLECTION].count_documents({}))


# -- test operations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", TEST_OPERATIONS)
def test_an_operation_that_succeeds_leaves_nothing_behind(
    diagnostics: Diagnostics, left: Callable[[], int], operation: Any
) -> None:
    for _ in range(2):
        answer = diagnostics.test(operation)
        assert (answer["operation"], answer["success"], answer["error"]) == (operation, True, None)
        assert answer["durationMs"] > 0
    assert left() == 0


@pytest.mark.parametrize(
    ("operation", "command"),
    [
        ("read", "find"),
        ("write", "insert"),
        ("write", "update"),
        ("transaction", "update"),
        ("transaction", "commitTransaction"),
    ],
)
def test_an_operation_that_fails_half_way_leaves_nothing_behind(
    diagnostics: Diagnostics, left: Callable[[], int], fail: Any, operation: Any, command: str
) -> None:
    fail(command, app_name=OWN, errorCode=2)
    answer = diagnostics.test(operation)
    assert (answer["success"], answer["error"]) == (False, "OperationFailure (code 2)")
    fail.off()
    assert left() == 0


def test_what_cannot_even_be_deleted_is_left_to_its_expiry(
    diagnostics: Diagnostics, left: Callable[[], int], database: Any, fail: Any
) -> None:
    fail("delete", app_name=OWN, errorCode=2)
    assert diagnostics.test("write")["success"] is False
    assert left() == 1  # the control: without the deletion it would be there
    assert database[TEST_COLLECTION].index_information()["prodfix_expiry"]["expireAfterSeconds"] == 60
    assert "timestamp" in database[TEST_COLLECTION].find_one()


def test_an_operation_is_given_up_in_time(diagnostics: Diagnostics, fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_LIMIT", 0.2)
    fail("find", app_name=OWN, times=1, blockConnection=True, blockTimeMS=2000)
    answer = diagnostics.test("read")
    assert (answer["success"], answer["durationMs"] < 1500) == (False, True)


# -- the report -------------------------------------------------------------------------------------------------------------


def worker(journal: Journal, name: str, age: float = 0, **connection: Any) -> None:
    known = {"state": "connected", "uptime": 9.0, "lastError": None, "reconnectAttempts": 0, "poolExhausted": False}
    pool = {"poolSize": 2, "availableConnections": 9, "checkedOut": 1, "waiting": 0, "capacity": 10}
    entry = orjson.dumps({"pid": 1, "connection": known | pool | connection})
    journal.write([("INSERT INTO status VALUES (?, ?, ?)", (name, time.time() - age, entry))])


def test_each_collection_has_its_figures(diagnostics: Diagnostics, database: Any) -> None:
    database.notes.insert_many([{"a": 1}, {"a": 2}])
    database.notes.create_index("a", name="by_a")
    (notes,) = [found for found in diagnostics.database()["collections"] if found["name"] == "notes"]
    assert (notes["documentCount"], notes["indexes"]) == (2, ["_id_", "by_a"])
    assert notes["avgDocSize"] > 10


def test_a_figure_that_is_refused_is_unavailable_and_the_rest_is_there(
    diagnostics: Diagnostics, database: Any, fail: Any
) -> None:
    database.notes.insert_one({})
    fail("collStats", app_name=OWN, errorCode=13)
    (notes,) = diagnostics.database()["collections"]
    assert notes == {"name": "notes", "documentCount": 1, "indexes": ["_id_"], "avgDocSize": None}


def test_a_slow_database_makes_a_short_report_and_not_a_slow_one(
    diagnostics: Diagnostics, database: Any, fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdef":
        database[name].insert_one({})
    monkeypatch.setattr(module, "EACH_LIMIT", 0.1)
    monkeypatch.setattr(module, "REPORT_LIMIT", 0.3)
    fail("collStats", "count", app_name=OWN, blockConnection=True, blockTimeMS=300)
    begun = time.monotonic()
    found = diagnostics.database()["collections"]
    assert time.monotonic() - begun < 1.5  # waiting for each of twelve answers would take 3.6 s
    assert [entry["avgDocSize"] for entry in found] == [None] * 6


def test_without_a_database_everything_else_is_there(
    make: Callable[[Clients], Diagnostics], journal: Journal, until: Callable[..., Any]
) -> None:
    def closed() -> None:
        raise DatabaseUnavailable

    clients = Clients("mongodb://127.0.0.1:9/", {"serverSelectionTimeoutMS": 100}, gate=closed)
    worker(journal, "w", state="reconnecting", lastError="AutoReconnect")
    try:
        report = make(clients).database()
    finally:
        clients.close()
    assert report["collections"] is None
    assert (report["connection"]["state"], report["connection"]["lastError"]) == ("reconnecting", "AutoReconnect")
    assert report["deferred"] == {
        "enabled": True,
        "durability": "durable",
        "waiting": 0,
        "failing": 0,
        "dead": 0,
        "bytes": 0,
        "oldestSeconds": None,
        "operations": {},
        "reasons": {},
        "refused": 0,
    }
    assert [entry["worker"] for entry in report["workers"]] == ["w"]


def test_without_a_uri_everything_else_is_there_too(make: Callable[[Clients], Diagnostics]) -> None:
    report = make(Clients(None, {})).database()
    assert (report["collections"], report["connection"]["state"], report["workers"]) == (None, "disconnected", [])


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["connected", "connected"], "connected"),
        (["connected", "reconnecting"], "reconnecting"),
        (["disconnected", "reconnecting"], "disconnected"),
        (["connected", "error", "disconnected"], "error"),
    ],
)
def test_the_instance_is_as_bad_as_its_worst_worker(
    diagnostics: Diagnostics, journal: Journal, states: list[str], worst: str
) -> None:
    for number, state in enumerate(states):
        worker(journal, str(number), state=state, uptime=float(number + 1), reconnectAttempts=number)
    connection = diagnostics.database()["connection"]
    assert (connection["state"], connection["uptime"]) == (worst, 1.0)
    assert connection["reconnectAttempts"] == len(states) - 1
    assert (connection["poolSize"], connection["capacity"]) == (2 * len(states), 10 * len(states))


def live(**connection: Any) -> dict[str, Any]:
    known = {"state": "connected", "uptime": 9.0, "lastError": None, "reconnectAttempts": 0, "poolExhausted": False}
    pool = {"poolSize": 2, "availableConnections": 9, "checkedOut": 1, "waiting": 0, "capacity": 10}
    return {"pid": 2, "connection": known | pool | connection, "journal": {"failing": "OSError 30", "quarantined": 1}}


@pytest.mark.parametrize("trouble", [TimeoutError, OSError])
def test_a_worker_that_cannot_read_any_journal_still_knows_itself(
    diagnostics: Diagnostics, journal: Journal, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(journal, "read", refuse)
    diagnostics.state = live
    report = diagnostics.database()
    assert [entry["worker"] for entry in report["workers"]] == [journal.boot]
    assert report["connection"]["state"] == "connected"
    assert report["journal"] == {"failing": "OSError 30", "quarantined": 1, "otherVersions": 0}
    assert report["deferred"]["enabled"] is True
    assert [report["deferred"][name] for name in ("waiting", "dead", "oldestSeconds", "bytes")] == [None] * 4


def test_what_the_journal_says_of_this_worker_is_what_all_workers_answer(
    diagnostics: Diagnostics, journal: Journal
) -> None:
    diagnostics.state = lambda: live(state="error")
    worker(journal, journal.boot)
    worker(journal, "other")
    assert sorted(entry["worker"] for entry in diagnostics.workers()) == sorted([journal.boot, "other"])
    report = diagnostics.database()
    assert (report["connection"]["state"], report["journal"]["failing"]) == ("connected", None)


def test_an_old_row_of_this_worker_does_not_count_either(diagnostics: Diagnostics, journal: Journal) -> None:
    diagnostics.state = live
    worker(journal, journal.boot, age=60, state="error")
    assert [entry["connection"]["state"] for entry in diagnostics.workers()] == ["connected"]


def test_a_worker_that_is_silent_for_long_no_longer_counts(diagnostics: Diagnostics, journal: Journal) -> None:
    worker(journal, "alive", age=1)
    worker(journal, "gone", age=60, state="error")
    assert [entry["worker"] for entry in diagnostics.workers()] == ["alive"]
    assert diagnostics.database()["connection"]["state"] == "connected"
