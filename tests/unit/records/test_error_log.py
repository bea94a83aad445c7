"""The error log: one record from the exception to the answer, kept where its kind belongs, found by its request's ID."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
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

from prodfix.classification.classifications import INTERNAL_ERROR, INVALID
from prodfix.classification.classifier import Classifier
from prodfix.classification.error_types import TYPES
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.errors import (
    AuthenticationRequired,
    DatabaseUnavailable,
    FieldError,
    Forbidden,
    NotFound,
    Severity,
    ValidationFailed,
)
from prodfix.journal import gathering
from prodfix.logs.sinks import render
from prodfix.records.error_log import ErrorLog
from prodfix.records.lookup import Lookup
from prodfix.records.records import ErrorRecord, ErrorSummary, summary
from prodfix.request.context import RequestContext, new_context, reset_context, set_context
from prodfix.signals import error_recorded
from prodfix.statistics.storms import Storms
from prodfix.web.answers import answer_to
from tests.support import REPOSITORY
from tests.support.counting_worker import HOUR, Worker

CANARY = "canary7f3a"
UNREACHABLE = ServerSelectionTimeoutError(f"{CANARY}.example.org:27017: connection refused")


class FakeLogs:
    def __init__(self) -> None:
        self.lines: list[tuple[Severity, Mapping[str, Any], tuple[str, ...]]] = []
        self.notes: list[tuple[Any, ...]] = []

    def emit(self, severity: Severity, entry: Mapping[str, Any], *files: str) -> None:
        self.lines.append((severity, entry, files))

    def event(self, severity: Severity, name: str, message: str, *files: str, facts: Mapping[str, Any]) -> None:
        self.notes.append((severity, name, message, files, dict(facts)))


class Recording(ErrorLog):
    """An error log beside what else a worker has, on one journal."""

    def __init__(self, worker: Worker, logs: Any, **options: Any) -> None:
        storms = Storms(burst=options.pop("burst", 1000), rate=options.pop("rate", 1.0), clock=worker.clock)
        self.worker, self.lookup = worker, Lookup(worker.journal, lambda: worker.database)
        super().__init__(Classifier(), logs, worker.counters, worker.journal, worker.storage, storms, **options)

    def counted(self) -> int:
        return self.worker.total()


@pytest.fixture
def logs() -> FakeLogs:
    return FakeLogs()


@pytest.fixture
def make(make_worker: Callable[..., Worker], logs: FakeLogs) -> Callable[..., Recording]:
    """Error logs of one instance, each of a worker of its own, with MongoDB or without."""
    return lambda database=None, **options: Recording(make_worker(database), logs, **options)


@pytest.fixture
def error_log(make: Callable[..., Recording]) -> Recording:
    return make(release="v1")


@pytest.fixture
def context() -> RequestContext:
    return new_context(endpoint="/notes/<id>", method="GET", ip="", headers={"User-Agent": "okhttp/4.12"})


def record(log: ErrorLog, error: BaseException, context: RequestContext | None = None) -> ErrorRecord:
    made = log.record(error, context)
    if context is None:
        made = replace(made, request_id="request1")
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
    error_log: Recording, logs: FakeLogs, error: Exception, files: tuple[str, ...] | None, disposition: str
) -> None:
    made = record(error_log, error)
    assert [line[2] for line in logs.lines] == ([files] if files is not None else [])
    assert made.disposition == disposition
    assert len(error_log.lookup.request("request1")) == (disposition == "stored")
    assert error_log.counted() == 1
    assert error_log.failures == 0


@pytest.mark.parametrize(("error", "waits"), [(UNREACHABLE, True), (ValueError("no"), False)])
def test_only_a_critical_error_is_in_the_journal_before_it_is_answered(
    error_log: Recording, error: Exception, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHERING", 60.0)
    record(error_log, error)
    assert error_log.worker.journal._gathering.waiting is not waits
    assert len(error_log.lookup.request("request1")) == 1, "this process knows both at once"


def test_all_rows_of_the_table_can_be_recorded_and_answered(error_log: Recording, context: RequestContext) -> None:
    for meaning in [*TYPES.values(), *(row for _, row in SERVER_CODES.values())]:
        made = replace(record(error_log, ValueError("x"), context), meaning=meaning)
        error_log.append(made)
        answer = answer_to(made)
        body, headers = answer.problem, answer.headers
        assert answer.status == body["status"] == meaning.status
        assert ("Retry-After" in headers) == body["retryable"] == meaning.retryable
        assert body["detail"] == body["message"] == meaning.message
    assert error_log.failures == 0


def test_the_line_says_who_asked_what_failed_and_where(
    error_log: Recording, logs: FakeLogs, context: RequestContext, nowhere: Any
) -> None:
    record(error_log, raised(lambda: nowhere.nowhere.notes.find_one({"email": CANARY})), context)
    ((severity, entry, _),) = logs.lines
    assert (severity, entry["event"], entry["level"]) == (Severity.CRITICAL, "error", "critical")
    assert (entry["requestId"], entry["release"]) == (context.request_id, "v1")
    assert entry["context"]["deviceType"] == "mobile"
    assert (entry["database"]["operation"], entry["database"]["collection"]) == ("find", "notes")
    assert str(Path(__file__).relative_to(REPOSITORY)) in entry["stack"]
    assert entry["recovery"] == {"attempted": False, "successful": False, "attempts": 0, "driverRetries": 0}
    assert orjson.loads(render(entry))["message"] == "ServerSelectionTimeoutError"


def test_the_commands_own_event_knows_more_than_the_frames(
    error_log: Recording, context: RequestContext, nowhere: Any
) -> None:
    error = raised(lambda: nowhere.nowhere.notes.find_one({}))
    by_frames = error_log.record(error, context).operation
    assert by_frames is not None
    assert by_frames.duration_ms is None
    context.notes.failed = replace(by_frames, duration_ms=7.0)
    assert error_log.record(error, context).operation == context.notes.failed
    context.notes.failed = replace(by_frames, operation="insert")
    assert error_log.record(error, context).operation == by_frames


def test_a_timeout_while_the_database_is_down_is_an_outage(make: Callable[..., Recording]) -> None:
    for down, code in ((False, "DATABASE_TIMEOUT"), (True, "DATABASE_UNAVAILABLE")):
        log = make(database_down=lambda down=down: down)
        assert log.meaning(ExecutionTimeout("slow", 50)).code == code
        assert log.meaning(ExecutionTimeout("slow", 50)).outcome == "unknown"


# -- never --------------------------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_kept_is_counted_and_still_heard_of(
    make: Callable[..., Recording], logs: FakeLogs
) -> None:
    log, heard = make(), []
    log.worker.journal.close()
    with error_recorded.connected_to(lambda sender, record: heard.append(record), sender=log):
        made = record(log, ValueError("x"))
    assert (log.failures, log.worker.journal.lost, heard, len(logs.lines)) == (0, 1, [made], 1)


def test_only_what_is_gone_is_told_as_dropped(make: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    log = make()
    journal = log.worker.journal
    held = []

    def late(part: Any, limit: float) -> None:
        held.append(part.statements)  # it is committed with the next one
        raise TimeoutError

    monkeypatch.setattr(journal, "_write", late)
    identities = fall(log, 251)
    monkeypatch.undo()
    assert (journal.lost, log.failures, log.storms.held) == (0, 0, 0)
    for statements in held:
        journal.write(statements)
    assert all(log.lookup.request(identity) for identity in identities)
    assert log.counted() == 251
    journal.close()
    fall(log, 3)
    fall(log, 2, NotFound)  # only counted, and in a later total
    assert journal.lost == 3, "the control: their records are gone"


def test_a_service_tells_of_no_error_as_dropped_whose_line_or_receiver_failed(serve: Callable[..., Any]) -> None:
    services = serve().extensions["prodfix"]
    services.start()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with error_recorded.connected_to(broken, sender=services.errors.log):
        services.errors.log.log_error(ValueError("x"))
    services.logs.sinks.put("nothing", b"a line that no sink takes")
    state = services.state()
    assert (state.dropped, state.failed_steps, state.logs.dropped) == (0, 1, 1)


def test_neither_a_broken_receiver_nor_a_broken_log_reaches_the_request(
    make: Callable[..., Recording], logs: FakeLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with error_recorded.connected_to(broken, sender=log):
        record(log, ValueError("x"))
    monkeypatch.setattr(logs, "emit", broken)
    record(log, ValueError("x"))
    assert log.failures == 2
    assert len(log.lookup.request("request1")) == 2


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
    error_log: Recording, logs: FakeLogs, error: Exception
) -> None:
    outer = KeyError("outer")
    outer.__cause__ = error
    made = record(error_log, outer)
    everything = [repr(made.to_document()), repr(logs.lines), repr(answer_to(made, detailed=True))]
    assert not [text for text in everything if CANARY in text]
    assert CANARY in str(error)  # the control


@given(
    fields=st.lists(
        st.builds(FieldError, st.text(max_size=400), st.text(max_size=99), st.text(max_size=400)), max_size=80
    ),
    text=st.text(max_size=3000),
)
def test_an_answer_is_below_two_kilobytes_whatever_is_wrong(fields: list[FieldError], text: str) -> None:
    log = ErrorLog(Classifier(), None, None, None, None, None)  # type: ignore[arg-type]
    for meaning in (replace(INVALID, details=tuple(fields)), INTERNAL_ERROR):
        made = replace(log.record(ValueError(text), None), meaning=meaning, request_id="f" * 64)
        answer = answer_to(made, detailed=True)
        assert len(answer.body) < 2048
        assert isinstance(answer.problem["details"], list)


@pytest.mark.parametrize("letter", ["a", "\u5b57", "\U0001f600", "\0", "\u2028", "\ud800", '"'], ids=ascii)
def test_so_it_is_with_many_long_names_of_the_clients_own(error_log: Recording, letter: str) -> None:
    fields = tuple(FieldError(letter * 400, "extra_forbidden", letter * 20) for _ in range(60))
    made = replace(error_log.record(ValidationFailed(problems=fields), None), request_id="f" * 64)
    assert len(answer_to(made).body) < 2048


def test_details_that_fit_are_all_there(error_log: Recording) -> None:
    fields = tuple(FieldError(f"f{number}", "missing", "Field required") for number in range(5))
    body = answer_to(error_log.record(ValidationFailed(problems=fields), None)).problem
    assert [detail["pointer"] for detail in body["details"]] == ["/f0", "/f1", "/f2", "/f3", "/f4"]


def test_only_in_development_does_a_defect_tell_of_itself(error_log: Recording) -> None:
    made = error_log.record(ValueError("what happened"), None)
    assert "debug" not in answer_to(made).problem
    assert answer_to(made, detailed=True).problem["debug"] == "ValueError: what happened"


def test_only_a_write_has_an_outcome(error_log: Recording, nowhere: Any) -> None:
    notes = nowhere.nowhere.notes
    assert error_log.record(raised(lambda: notes.insert_one({})), None).outcome == "not_applied"
    assert error_log.record(raised(lambda: notes.find_one({})), None).outcome is None


# -- the seed's methods ------------------------------------------------------------------------------------------------


def test_a_summary_is_the_seeds(error_log: Recording, context: RequestContext) -> None:
    made = record(error_log, DatabaseUnavailable(), context)
    (found,) = error_log.lookup.errors(limit=20).records
    assert ErrorSummary.of(found).to_json() == {
        "id": str(made.id),
        "timestamp": ErrorSummary.of(made.to_document() | {"_id": made.id}).to_json()["timestamp"],
        "requestId": context.request_id,
        "category": "database_connection",
        "severity": "critical",
        "code": "DATABASE_UNAVAILABLE",
        "message": "DatabaseUnavailable",
        "endpoint": "/notes/<id>",
        "status": 503,
        "answeredBy": None,
        "outcome": None,
        "fingerprint": made.fingerprint,
        "deviceType": "mobile",
        "userId": None,
        "release": "v1",
        "database": None,
    }


def test_a_text_names_the_chain_of_causes() -> None:
    error = raised(lambda: (_ for _ in ()).throw(ValueError("outer")))
    error.__cause__ = OperationFailure("inner", 2)
    assert summary(error) == "ValueError: outer <- OperationFailure (code 2)"
    assert summary(KeyError()) == "KeyError"


def test_what_nobody_answers_is_recorded_with_the_context_that_there_is(
    error_log: Recording, logs: FakeLogs, context: RequestContext
) -> None:
    for told, current in ((context, None), (None, context), (None, None)):
        token = set_context(current) if current else None
        made = error_log.log_error(ValueError("x"), told)
        if token:
            reset_context(token)
        assert made.context == (told or current)
        assert len(error_log.lookup.request(made.request_id)) >= 1
    assert (error_log.counted(), len(logs.lines)) == (3, 3)


def test_a_database_error_has_the_operation_that_the_caller_names(error_log: Recording, logs: FakeLogs) -> None:
    query = {"email": CANARY, "$or": [{"name": CANARY}]}
    made = error_log.log_database_error("find", "people", query, OperationFailure("no", 2))
    database = logs.lines[0][1]["database"]
    assert (database["operation"], database["collection"]) == ("find", "people")
    assert "email" in str(database)
    assert CANARY not in str(made.to_document())
    assert CANARY in str(query)  # the control
    for shape in ([{"$match": query}], None, CANARY, {1: object()}):
        error_log.log_database_error("aggregate", "people", shape, ValueError())
    assert error_log.failures == 0
    assert CANARY not in str(logs.lines)


def test_a_validation_error_tells_model_shape_and_rules_and_no_value(error_log: Recording, logs: FakeLogs) -> None:
    document = {"email": f"{CANARY}@example.org", "age": 7, "tags": [CANARY], f"{CANARY}@example.org": 1}
    problems = [
        FieldError("email", "string_too_long", f"{CANARY} is too long"),
        FieldError(f"{CANARY}@example.org", "extra_forbidden", "no"),
    ]
    made = error_log.log_validation_error("Person", document, problems)
    ((severity, entry, files),) = logs.lines
    assert (severity, files, made.disposition) == (Severity.INFO, ("validation",), "logged")
    assert entry["facts"]["model"] == "Person"
    assert set(entry["facts"]["document"]) >= {"email", "age", "tags"}
    assert [one["rule"] for one in entry["facts"]["rules"]] == ["string_too_long", "extra_forbidden"]
    assert CANARY not in str(entry)
    assert CANARY in str(document)  # the control
    assert error_log.worker.answer()["errorsByCategory"] == {"validation": 1}


def test_a_refusal_tells_type_user_and_reason(error_log: Recording, logs: FakeLogs, context: RequestContext) -> None:
    error_log.log_auth_error("InvalidPassword", "user7", f"password={CANARY} is wrong", context)
    ((severity, entry, files),) = logs.lines
    assert (severity, files) == (Severity.WARN, ("auth",))
    assert entry["facts"] == {"type": "InvalidPassword", "userId": "user7", "reason": "password=*** is wrong"}
    assert (entry["category"], entry["errorType"]) == ("authentication", "InvalidPassword")
    assert CANARY not in str(entry)


def test_so_do_failures_that_were_raised(error_log: Recording, context: RequestContext) -> None:
    context.notes.user_id = "user7"
    refused = error_log.record(Forbidden(f"token={CANARY}"), context)
    assert refused.facts == {"type": "Forbidden", "userId": "user7", "reason": "Forbidden: token=***"}
    problems = (FieldError("age", "greater_than", f"{CANARY} is too little"),)
    invalid = error_log.record(ValidationFailed(problems=problems, facts={"model": "Person", "password": CANARY}), None)
    assert invalid.facts == {"model": "Person", "password": "***", "rules": [{"field": "age", "rule": "greater_than"}]}


@pytest.mark.parametrize("facts", ["text", 7, ["a"], pytest.param(object(), id="object"), {1: 2}], ids=ascii)
def test_somebody_elses_exception_may_call_anything_its_facts(error_log: Recording, facts: Any) -> None:
    error = ValueError("x")
    error.facts = facts  # type: ignore[attr-defined]
    record(error_log, error)
    assert (error_log.failures, error_log.counted()) == (0, 1)


def test_a_recovery_is_a_warning_and_no_error(error_log: Recording, logs: FakeLogs, context: RequestContext) -> None:
    heard: list[Any] = []
    context.notes.retries = 2
    with error_recorded.connected_to(lambda sender, record: heard.append(record), sender=error_log):
        error_log.log_recovery(AutoReconnect("reset"), context)
    ((severity, entry, _),) = logs.lines
    assert (severity, entry["level"], entry["severity"]) == (Severity.WARN, "warn", "warn")
    assert entry["recovery"] == {
        "attempted": True,
        "successful": True,
        "attempts": 2,
        "driverRetries": 0,
    }
    (found,) = error_log.lookup.request(context.request_id)
    assert found["recovery"]["successful"] is True
    assert (error_log.counted(), heard) == (0, [])
    record(error_log, AutoReconnect("reset"), context)  # the control
    assert (error_log.counted(), len(heard)) == (1, 0)
    assert logs.lines[1][1]["recovery"]["successful"] is False


# -- storms -------------------------------------------------------------------------------------------------------------------


def fall(log: Recording, times: int, error: type[Exception] = ValueError) -> list[str]:
    identities = []
    for number in range(times):
        made = log.record(error(f"message {number}"), None)
        log.append(made)
        identities.append(made.request_id)
    return identities


def test_a_thousand_of_the_same_are_a_burst_of_lines_and_one_more_and_all_are_counted_and_found(
    make: Callable[..., Recording], logs: FakeLogs
) -> None:
    log = make(burst=20)
    identities = fall(log, 1000)
    assert len(logs.lines) == 20
    assert log.counted() == 1000
    for _ in range(2):
        log.tell_of_storms()
    ((severity, name, message, files, facts),) = logs.notes
    assert (severity, name, message, files) == (
        Severity.ERROR,
        "storm",
        "980 more of the same were not logged",
        ("error",),
    )
    assert facts["suppressed"] == 980
    assert facts["fingerprint"] == logs.lines[0][1]["fingerprint"]
    found = [log.lookup.request(identity) for identity in identities]
    assert [len(records) for records in found] == [1] * 1000
    assert ["suppressed" in records[0] for records in found] == [False] * 20 + [True] * 980
    assert {records[0]["fingerprint"] for records in found} == {facts["fingerprint"]}
    assert "stack" not in found[-1][0]


def test_in_a_storm_an_error_is_still_of_its_operation_and_collection(
    make: Callable[..., Recording], nowhere: Any, context: RequestContext
) -> None:
    log = make(burst=1)
    for number in range(3):
        error = raised(lambda: nowhere.shop.orders.find_one({"number": CANARY}))
        log.append(replace(log.record(error, context), request_id=f"request-{number}"))
    (whole,), (trace,) = log.lookup.request("request-0"), log.lookup.request("request-2")
    assert trace["suppressed"]
    assert whole["database"]["query"] is not None, "the control"
    assert trace["database"] == {**whole["database"], "query": None}
    assert (trace["database"]["operation"], trace["database"]["collection"]) == ("find", "orders")
    assert ErrorSummary.of(trace).to_json()["database"] == trace["database"]
    assert len(render(trace)) < len(render(whole)) / 1.5


def test_another_kind_is_not_held_back_and_after_a_while_nothing_is(
    make: Callable[..., Recording], logs: FakeLogs
) -> None:
    log = make(burst=3)
    fall(log, 10)
    fall(log, 2, KeyError)
    assert [line[1]["errorType"] for line in logs.lines] == ["ValueError"] * 3 + ["KeyError"] * 2
    log.worker.clock.now += HOUR
    fall(log, 1)
    assert logs.lines[-1][1]["errorType"] == "ValueError"


def test_what_is_only_counted_needs_no_token(make: Callable[..., Recording], logs: FakeLogs) -> None:
    log = make(burst=1)
    fall(log, 10, NotFound)
    assert (logs.lines, log.storms.held, log.counted()) == ([], 0, 10)


def test_a_timeout_of_a_call_to_somebody_else_is_no_outage_while_the_database_is_down(
    make: Callable[..., Recording], logs: FakeLogs
) -> None:
    slow = type("ReadTimeout", (type("Timeout", (OSError,), {"__module__": "requests.exceptions"}),), {})("x")
    log = make(database_down=lambda: True)
    made = record(log, slow)
    assert (made.meaning.category, made.meaning.status, made.meaning.code) == ("timeout", 500, "INTERNAL_ERROR")
    assert logs.lines[-1][2] == ("error",)
    record(log, ServerSelectionTimeoutError("x"))  # the control
    assert logs.lines[-1][2] == ("database", "error")
