"""All that is known of one request."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import orjson
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from prodfix.deferral.operation_status import OperationStatus
from prodfix.diagnostics.requests import Requests
from prodfix.errors import JournalUnavailable, NotKnownNow
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import Incidents
from prodfix.journal.journal import Journal
from prodfix.records.lookup import Lookup
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.records.storage_refusal import StorageStatus
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers
from tests.support.counting_worker import Worker

AT = 1_800_000_000.0


class OperationStatuses:
    """What became of each write that a test has put here; an exception is raised."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def status(self, identity: str) -> Any:
        found = self.known.get(identity)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def statuses() -> OperationStatuses:
    return OperationStatuses()


@pytest.fixture
def requests(journal: Journal, statuses: OperationStatuses) -> Requests:
    incidents = IncidentLog(journal, lambda: None, clock=lambda: AT + 1000)
    lookup, workers = Lookup(journal, lambda: None), Workers(journal)
    return Requests(lookup, statuses, incidents, workers, configured=False)  # type: ignore[arg-type]


@pytest.fixture
def put(journal: Journal) -> Callable[..., None]:
    worker = Worker(journal, lambda: AT)  # type: ignore[arg-type]

    def record(second: float = 0, request_id: str = "asked-one", **fields: Any) -> None:
        document = {
            "timestamp": datetime.fromtimestamp(AT + second, UTC),
            "requestId": request_id,
            "category": "database_connection",
            "context": {"endpoint": "/orders", "method": "POST", "traceId": "t", "userId": "u1", "ip": "10.0.0.1"},
            "trail": [{"operation": "insert", "collection": "orders", "durationMs": 2.0, "failed": True}],
            "facts": {},
            **fields,
        }
        journal.write(worker.storage.insertion(ERROR_LOG, bson.ObjectId(), document, request_id))

    return record


def known(requests: Requests, request_id: str) -> dict[str, Any]:
    """What is answered."""
    found = requests.find(request_id)
    assert found is not None
    return found.to_json()


def test_of_a_request_without_a_record_nothing_is_known(requests: Requests, put: Callable[..., None]) -> None:
    put(request_id="another")
    assert requests.find("asked-one") is None


def test_its_records_its_commands_and_who_asked(requests: Requests, put: Callable[..., None]) -> None:
    put(0, code="FIRST", status=503, outcome="not_applied", recovery={"attempts": 1})
    put(1, code="LAST", status=504, outcome="unknown", recovery={"attempts": 2}, trail=[])
    found = known(requests, "asked-one")
    assert [error["code"] for error in found["errors"]] == ["LAST", "FIRST"]
    assert isinstance(found["errors"][0]["_id"], str)
    assert (found["code"], found["status"], found["outcome"]) == ("LAST", 504, "unknown")
    assert (found["endpoint"], found["method"], found["userId"]) == ("/orders", "POST", "u1")
    attempts = {"attempted": False, "successful": False, "attempts": 2, "driverRetries": 0}
    assert found["recovery"] == attempts
    assert [command["operation"] for command in found["commands"]] == ["insert"]
    assert (found["deferred"], found["incidents"]) == ([], [])


def test_what_became_of_its_deferred_writes(
    requests: Requests, put: Callable[..., None], statuses: OperationStatuses
) -> None:
    for second, identity in enumerate(("applied", "elsewhere", "unreachable", "disk", "applied")):
        put(second, facts={"operationId": identity, "operation": "orders.create"})
    statuses.known = {
        "applied": OperationStatus("applied", "orders.create", "applied", None, 1, AT, AT + 9, "u1"),
        "unreachable": ServerSelectionTimeoutError("canary.example.org"),
        "disk": JournalUnavailable("canary"),
    }
    found = known(requests, "asked-one")
    states = {one["operationId"]: one["status"] for one in found["deferred"]}
    assert states == {"applied": "applied", "elsewhere": "unknown", "unreachable": "unknown", "disk": "unknown"}
    assert len(found["deferred"]) == 4
    assert (found["status"], found["code"], found["outcome"]) == (None, None, None), "it was told that its write waits"


def test_what_a_retry_has_saved_was_no_answer_and_what_failed_later_was(
    requests: Requests, put: Callable[..., None]
) -> None:
    put(0, code="SAVED", status=503, outcome="not_applied", recovery={"attempts": 1, "successful": True})
    found = known(requests, "asked-one")
    assert (found["status"], found["code"], found["outcome"]) == (None, None, None)
    assert [error["code"] for error in found["errors"]] == ["SAVED"]
    put(1, code="FAILED", status=500, recovery={"attempts": 1, "successful": False})
    put(2, code="KEPT", status=503, facts={"operationId": "a", "operation": "orders.create"})
    found = known(requests, "asked-one")
    assert (found["status"], found["code"], found["outcome"]) == (500, "FAILED", None)
    assert "canary" not in str(found)


def test_the_incident_that_it_fell_into(
    requests: Requests, put: Callable[..., None], open_journal: Callable[[], Journal]
) -> None:
    now = AT - 5
    incidents = Incidents(open_journal(), instance="a", clock=lambda: now, monotonic=lambda: now)
    incidents.begin("database_lost")
    incidents.begin("error_rate")
    incidents.flush()
    now = AT + 5
    incidents.end("database_lost")
    incidents.end("error_rate")
    incidents.flush()
    put(0, request_id="of-the-outage")
    put(0, request_id="of-another-cause", category="unknown")
    put(0, request_id="of-a-slow-query", category="timeout", code="DATABASE_TIMEOUT")
    put(0, request_id="of-a-slow-partner", category="timeout", code="INTERNAL_ERROR")
    put(60, request_id="later-01")

    def causes(request_id: str) -> list[str]:
        found = known(requests, request_id)
        return sorted(incident["cause"] for incident in found["incidents"])

    assert causes("of-the-outage") == ["database_lost", "error_rate"]
    assert causes("of-another-cause") == causes("of-a-slow-partner") == ["error_rate"]
    assert causes("of-a-slow-query") == ["database_lost", "error_rate"]
    assert causes("later-01") == []


@pytest.mark.parametrize("request_id", ["", "short", "a" * 65, "asked one", "asked-one\n", "../asked", "\x00" * 9])
def test_what_no_request_can_have_for_an_id_is_not_looked_for(
    requests: Requests, monkeypatch: pytest.MonkeyPatch, request_id: str
) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError("it was looked for")

    monkeypatch.setattr(requests._lookup, "of_request", asked)
    assert requests.find(request_id) is None
    with pytest.raises(AssertionError):
        requests.find("asked-one")


def test_while_mongodb_cannot_be_asked_what_is_missing_is_told_and_nothing_is_denied(
    requests: Requests, put: Callable[..., None], statuses: OperationStatuses
) -> None:
    requests._configured = True
    with pytest.raises(NotKnownNow):
        requests.find("asked-one")
    put()
    found = known(requests, "asked-one")
    assert found["missing"] == ["errors", "incidents"]
    put(facts={"operationId": "0" * 24})
    statuses.known["0" * 24] = ServerSelectionTimeoutError("gone")
    found = known(requests, "asked-one")
    assert found["missing"] == ["errors", "deferred", "incidents"]
    requests._configured = False
    assert known(requests, "asked-one")["missing"] == [], "the control: there is nobody else to ask"


def test_what_is_not_found_may_be_one_of_those_that_are_not_kept(requests: Requests, journal: Journal) -> None:
    assert requests.sampled() == 0
    state = WorkerState(storage=StorageStatus(sampled_kinds=3))
    row = (journal.boot, time.time(), orjson.dumps(state.to_json()))
    journal.write([("INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)", row)])
    assert requests.sampled() == 3


def test_a_record_that_is_here_for_a_while_only_says_so(
    requests: Requests, put: Callable[..., None], journal: Journal
) -> None:
    put()
    found = requests.find("asked-one")
    assert found is not None
    assert not found.thinned  # the control
    journal.write([("UPDATE records SET stored = 2", ())])
    found = requests.find("asked-one")
    assert found is not None
    assert found.thinned
