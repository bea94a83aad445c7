"""The error log: one record from the exception to the answer, kept where its kind belongs, found by its request's ID."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from prodfix.classifications import INTERNAL_ERROR, INVALID
from prodfix.classifier import Classifier
from prodfix.context import RequestContext, new_context
from prodfix.error_log import ErrorLog
from prodfix.error_types import TYPES
from prodfix.errors import (
    AuthenticationRequired,
    DatabaseUnavailable,
    FieldError,
    Forbidden,
    NotFound,
    Severity,
    ValidationFailed,
)
from prodfix.journal import Journal
from prodfix.records import ErrorRecord, error_summary, summary
from prodfix.server_codes import SERVER_CODES
from prodfix.signals import error_recorded
from prodfix.sinks import render
from prodfix.statistics import Statistics
from prodfix.storage import Storage

CANARY = "canary7f3a"
UNREACHABLE = ServerSelectionTimeoutError(f"{CANARY}.example.org:27017: connection refused")


class FakeLogs:
    def __init__(self) -> None:
        self.lines: list[tuple[Severity, Mapping[str, Any], tuple[str, ...]]] = []

    def emit(self, severity: Severity, entry: Mapping[str, Any], *files: str) -> None:
        self.lines.append((severity, entry, files))


@pytest.fixture
def logs() -> FakeLogs:
    return FakeLogs()


@pytest.fixture
def make(journal: Journal, logs: FakeLogs) -> Callable[..., ErrorLog]:
    """An error log on a journal of its own or the test's, with MongoDB or without."""

    def make_log(database: Any = None, own: Journal | None = None, **options: Any) -> ErrorLog:
        chosen = own or journal
        statistics = Statistics(chosen, lambda: database)
        storage = Storage(chosen, lambda: database, retention_days=8)
        return ErrorLog(Classifier(), logs, statistics, chosen, storage, lambda: database, **options)  # type: ignore[arg-type]

    return make_log


@pytest.fixture
def error_log(make: Callable[..., ErrorLog]) -> ErrorLog:
    return make(release="v1")


@pytest.fixture
def context() -> RequestContext:
    return new_context(endpoint="/notes/<id>", method="GET", ip="", headers={"User-Agent": "okhttp/4.12"})


def record(log: ErrorLog, error: BaseException, context: RequestContext | None = None, **more: Any) -> ErrorRecord:
    made = log.record(error, context, context.request_id if context else "request1", **more)
    log.append(made)
    return made


def raised(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it did not fail")


# -- where it goes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "files", "disposition"),
    [
        (UNREACHABLE, ("database", "error"), "stored"),
        (OperationFailure("no", 2), ("database", "error"), "stored"),
        (ExecutionTimeout("slow", 50), ("database", "error"), "stored"),
        (ValueError("no"), ("error",), "stored"),
        (DuplicateKeyError("taken", 11000), ("database",), "logged"),
        (ValidationFailed(), ("validation",), "logged"),
        (AuthenticationRequired(), ("auth",), "logged"),
        (Forbidden(), ("auth",), "logged"),
        (NotFound(), None, "counted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_goes_to_its_file_is_counted_and_stored_or_not(
    error_log: ErrorLog, logs: FakeLogs, error: Exception, files: tuple[str, ...] | None, disposition: str
) -> None:
    made = record(error_log, error)
    assert [line[2] for line in logs.lines] == ([files] if files is not None else [])
    assert made.disposition == disposition
    assert len(error_log.find("request1")) == (disposition == "stored")
    assert error_log._statistics.read("1h").counts.total() == 1
    assert error_log.failures == 0


def test_all_rows_of_the_table_can_be_recorded_and_answered(error_log: ErrorLog, context: RequestContext) -> None:
    for meaning in [*TYPES.values(), *(row for _, row in SERVER_CODES.values())]:
        made = record(error_log, ValueError("x"), context, meaning=meaning)
        body, status, headers = made.to_response()
        assert status == body["status"] == meaning.status
        assert ("Retry-After" in headers) == body["retryable"] == meaning.retryable
        assert body["detail"] == body["message"] == meaning.message
    assert error_log.failures == 0


def test_the_line_says_who_asked_what_failed_and_where(
    error_log: ErrorLog, logs: FakeLogs, context: RequestContext, nowhere: Any
) -> None:
    record(error_log, raised(lambda: nowhere.nowhere.notes.find_one({"email": CANARY})), context)
    ((severity, entry, _),) = logs.lines
    assert (severity, entry["event"], entry["level"]) == (Severity.CRITICAL, "error", "critical")
    assert (entry["requestId"], entry["release"]) == (context.request_id, "v1")
    assert entry["context"]["deviceType"] == "mobile"
    assert (entry["database"]["operation"], entry["database"]["collection"]) == ("find", "notes")
    assert "tests/unit/test_error_log.py" in entry["stack"]
    assert entry["recovery"] == {"attempted": False, "successful": False, "attempts": 0, "driverRetries": 0}
    assert orjson.loads(render(entry))["message"] == "ServerSelectionTimeoutError"


def test_the_commands_own_event_knows_more_than_the_frames(
    error_log: ErrorLog, context: RequestContext, nowhere: Any
) -> None:
    error = raised(lambda: nowhere.nowhere.notes.find_one({}))
    by_frames = error_log.record(error, context, "x").operation
    assert by_frames is not None
    assert by_frames.duration_ms is None
    context.notes.failed = replace(by_frames, duration_ms=7.0)
    assert error_log.record(error, context, "x").operation == context.notes.failed
    context.notes.failed = replace(by_frames, operation="insert")
    assert error_log.record(error, context, "x").operation == by_frames


def test_a_timeout_while_the_database_is_down_is_an_outage(make: Callable[..., ErrorLog]) -> None:
    for down, code in ((False, "DATABASE_TIMEOUT"), (True, "DATABASE_UNAVAILABLE")):
        log = make(database_down=lambda down=down: down)
        assert log.meaning(ExecutionTimeout("slow", 50)).code == code
        assert log.meaning(ExecutionTimeout("slow", 50)).outcome == "unknown"


# -- never --------------------------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_kept_is_counted_and_still_heard_of(
    make: Callable[..., ErrorLog], logs: FakeLogs, journal: Journal
) -> None:
    log, heard = make(), []
    journal.close()
    with error_recorded.connected_to(lambda sender, record: heard.append(record), sender=log):
        made = record(log, ValueError("x"))
    assert (log.failures, heard, len(logs.lines)) == (1, [made], 1)


def test_neither_a_broken_receiver_nor_a_broken_log_reaches_the_request(
    make: Callable[..., ErrorLog], logs: FakeLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with error_recorded.connected_to(broken, sender=log):
        record(log, ValueError("x"))
    monkeypatch.setattr(logs, "emit", broken)
    record(log, ValueError("x"))
    assert log.failures == 2
    assert len(log.find("request1")) == 2


@pytest.mark.parametrize(
    "error",
    [
        UNREACHABLE,
        DuplicateKeyError(f"dup key: {{ email: '{CANARY}' }}", 11000, {"keyValue": {"email": CANARY}}),
        OperationFailure(f"unknown operator: {CANARY}", 2),
        ValueError(f"mongodb://user:{CANARY}@host/"),
        RuntimeError(f"Authorization: Bearer {CANARY}.{CANARY}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_value_is_in_the_record_and_none_in_the_answer(
    error_log: ErrorLog, logs: FakeLogs, error: Exception
) -> None:
    outer = KeyError("outer")
    outer.__cause__ = error
    made = record(error_log, outer)
    everything = [repr(made.to_document()), repr(logs.lines), repr(made.to_response(detailed=True))]
    assert not [text for text in everything if CANARY in text]
    assert CANARY in str(error)  # the control


@given(
    fields=st.lists(
        st.builds(FieldError, st.text(max_size=400), st.text(max_size=99), st.text(max_size=400)), max_size=80
    ),
    text=st.text(max_size=3000),
)
def test_an_answer_is_below_two_kilobytes_whatever_is_wrong(fields: list[FieldError], text: str) -> None:
    log = ErrorLog(Classifier(), None, None, None, None, lambda: None)  # type: ignore[arg-type]
    for meaning in (replace(INVALID, details=tuple(fields)), INTERNAL_ERROR):
        body, _, _ = log.record(ValueError(text), None, "f" * 64, meaning).to_response(detailed=True)
        assert len(render(body)) < 2048
        assert isinstance(body["details"], list)


@pytest.mark.parametrize("letter", ["a", "\u5b57", "\U0001f600", "\0", "\u2028", "\ud800", '"'], ids=ascii)
def test_so_it_is_with_many_long_names_of_the_clients_own(error_log: ErrorLog, letter: str) -> None:
    fields = tuple(FieldError(letter * 400, "extra_forbidden", letter * 20) for _ in range(60))
    body, _, _ = error_log.record(ValidationFailed(problems=fields), None, "f" * 64).to_response()
    assert len(render(body)) < 2048


def test_details_that_fit_are_all_there(error_log: ErrorLog) -> None:
    fields = tuple(FieldError(f"f{number}", "missing", "Field required") for number in range(5))
    body, _, _ = error_log.record(ValidationFailed(problems=fields), None, "x").to_response()
    assert [detail["pointer"] for detail in body["details"]] == ["/f0", "/f1", "/f2", "/f3", "/f4"]


def test_only_in_development_does_a_defect_tell_of_itself(error_log: ErrorLog) -> None:
    made = error_log.record(ValueError("what happened"), None, "x")
    assert "debug" not in made.to_response()[0]
    assert made.to_response(detailed=True)[0]["debug"] == "ValueError: what happened"


def test_only_a_write_has_an_outcome(error_log: ErrorLog, nowhere: Any) -> None:
    notes = nowhere.nowhere.notes
    assert error_log.record(raised(lambda: notes.insert_one({})), None, "x").outcome == "not_applied"
    assert error_log.record(raised(lambda: notes.find_one({})), None, "x").outcome is None


# -- finding ----------------------------------------------------------------------------------------------------------------


def test_an_error_is_found_from_every_worker_while_mongodb_is_away(
    make: Callable[..., ErrorLog], open_journal: Callable[[], Journal], context: RequestContext
) -> None:
    here, elsewhere = make(), make(own=open_journal())
    record(here, UNREACHABLE, context)
    (found,) = elsewhere.find(context.request_id)
    assert (found["requestId"], found["code"]) == (context.request_id, "DATABASE_UNAVAILABLE")
    assert elsewhere.find("another") == []


def test_what_is_in_mongodb_and_still_in_the_journal_is_there_once(
    make: Callable[..., ErrorLog], database: Any, context: RequestContext
) -> None:
    log = make(database)
    for _ in range(3):
        record(log, UNREACHABLE, context)
    log._storage.tick()
    record(log, AutoReconnect("reset"), context)
    found = log.find(context.request_id)
    assert [document["errorType"] for document in found] == ["AutoReconnect", *["ServerSelectionTimeoutError"] * 3]
    assert database.error_log.count_documents({}) == 3
    assert len(log.recent(2)) == 2


def test_a_database_that_fails_does_not_hide_what_this_instance_knows(
    make: Callable[..., ErrorLog], nowhere: Any, context: RequestContext
) -> None:
    log = make(nowhere.get_default_database())
    record(log, UNREACHABLE, context)
    assert len(log.find(context.request_id)) == 1


def test_the_newest_are_named_first(error_log: ErrorLog) -> None:
    for day in (1, 3, 2):
        made = error_log.record(ValueError(f"day {day}"), None, "x")
        error_log.append(replace(made, timestamp=datetime(2026, 1, day, tzinfo=UTC)))
    assert [document["timestamp"].day for document in error_log.recent()] == [3, 2, 1]


def test_a_summary_is_the_seeds(error_log: ErrorLog, context: RequestContext) -> None:
    made = record(error_log, DatabaseUnavailable(), context)
    (found,) = error_log.recent()
    assert error_summary(found) == {
        "id": str(made.id),
        "timestamp": error_summary(made.to_document() | {"_id": made.id})["timestamp"],
        "requestId": context.request_id,
        "category": "database_connection",
        "severity": "critical",
        "code": "DATABASE_UNAVAILABLE",
        "message": "DatabaseUnavailable",
        "endpoint": "/notes/<id>",
        "database": None,
    }


def test_a_text_names_the_chain_of_causes() -> None:
    error = raised(lambda: (_ for _ in ()).throw(ValueError("outer")))
    error.__cause__ = OperationFailure("inner", 2)
    assert summary(error) == "ValueError: outer <- OperationFailure (code 2)"
    assert summary(KeyError()) == "KeyError"
