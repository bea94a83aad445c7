"""Recovery: how often something is tried, what is never tried twice, and when a write is kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient, _csot
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    DuplicateKeyError,
    EncryptionError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from prodfix import Recovery, Write
from prodfix.classification.classifier import Classifier
from prodfix.errors import DatabaseUnavailable, JournalUnavailable, Outcome
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.retries import RetryDetails
from prodfix.request import deadlines
from prodfix.request.context import current_context, current_effects, new_context, reset_context, set_context
from tests.support.proxy import Proxy
from tests.support.servers import CLIENT_LIMITS
from tests.support.waiting import Lasting

BUSY = WaitQueueTimeoutError("the pool is full")  # not applied
LOST = AutoReconnect("connection reset")  # nobody knows whether it was applied
SLOW = ExecutionTimeout("slow", 50)
CONFLICT = OperationFailure("conflict", 112)
TRANSIENT = [BUSY, LOST, OperationFailure("election", 11602)]
LASTING = [DuplicateKeyError("taken", 11000), OperationFailure("who are you", 18), ValueError(), DatabaseUnavailable()]


class FakeDeferred:
    """Applies nothing, and keeps in a list."""

    def __init__(self, *errors: Exception, enabled: bool = True, refuses: bool = False) -> None:
        self.enabled, self.refuses = enabled, refuses
        self.durability = "durable"
        self.kept: list[Write] = []
        self.since: list[float | None] = []
        self.tried: float | None = None
        self.tries = Operation(*errors)

    def atomic(self, write: Write) -> bool:
        return False

    def apply(self, write: Write, *, since: float | None = None) -> None:
        self.since.append(since)
        effects, command = current_effects(), object()
        try:
            self.tries()
        except Exception as error:
            if error is LOST:  # as the events of its command would tell
                effects.sent(command)
                effects.doubtful(command)
            raise
        effects.sent(command)
        effects.applied(command)

    def put(self, write: Write, *, tried: float | None = None) -> None:
        self.tried = tried
        if self.refuses:
            raise JournalUnavailable
        self.kept.append(write)


class Operation:
    """Raises each of its errors once, then succeeds; counts its calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = iter(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        for error in self.errors:
            raise error
        return "done"


def recovery(deferred: Any = None, *, retries: int = 3, **options: Any) -> Recovery:
    options = {"sleep": lambda seconds: None, "base": 1.0} | options
    return Recovery(Classifier(), deferred or FakeDeferred(), retries=retries, **options)


@pytest.fixture
def request_notes() -> Iterator[Any]:
    token = set_context(new_context(endpoint="/", method="GET", ip="", headers={}))
    context = current_context()
    assert context is not None
    yield context.notes
    reset_context(token)


@given(retries=st.integers(0, 6), failures=st.integers(0, 10), error=st.sampled_from(TRANSIENT))
def test_it_is_never_called_more_than_once_and_the_retries(retries: int, failures: int, error: Exception) -> None:
    operation = Operation(*[error] * failures)
    if failures > retries:
        with pytest.raises(type(error)) as raised:
            recovery(retries=retries).run(operation, idempotent=True)
        assert raised.value is error
    else:
        assert recovery(retries=retries).run(operation, idempotent=True) == "done"
    assert operation.calls == 1 + min(failures, retries)


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_what_another_try_cannot_mend_is_raised_at_once(error: Exception) -> None:
    operation = Operation(error)
    with pytest.raises(type(error)):
        recovery().run(operation, idempotent=True)
    assert operation.calls == 1


@pytest.mark.parametrize(("error", "calls"), [(BUSY, 2), (LOST, 1)])
def test_what_is_not_idempotent_is_tried_again_only_if_it_was_not_applied(error: Exception, calls: int) -> None:
    operation = Operation(error)
    if calls == 1:
        with pytest.raises(AutoReconnect):
            recovery().run(operation)
    else:
        assert recovery().run(operation) == "done"
    assert operation.calls == calls


def test_an_uncertain_try_ends_the_tries_of_what_is_not_idempotent() -> None:
    operation = Operation(BUSY, LOST, BUSY)
    with pytest.raises(AutoReconnect):
        recovery().run(operation)
    assert operation.calls == 2


def test_the_delays_double_within_a_tenth_and_end_at_sixteen_seconds() -> None:
    slept: list[float] = []
    with pytest.raises(ConnectionFailure):
        recovery(retries=7, sleep=slept.append).run(Operation(*[LOST] * 9), idempotent=True)
    assert slept == [pytest.approx(delay, rel=0.11) for delay in (1, 2, 4, 8, 16, 16, 16)]


def test_recovery_that_is_switched_off_tries_once() -> None:
    operation = Operation(BUSY)
    with pytest.raises(WaitQueueTimeoutError):
        recovery(enabled=False).run(operation, idempotent=True)
    assert operation.calls == 1


def test_a_delay_that_the_deadline_does_not_leave_is_not_begun() -> None:
    slept: list[float] = []
    token = deadlines.start(3.0)  # of which the last half second is not the database's
    try:
        with pytest.raises(ConnectionFailure):
            recovery(sleep=slept.append).run(Operation(*[LOST] * 9), idempotent=True)
    finally:
        deadlines.stop(token)
    assert slept == [pytest.approx(1, rel=0.11), pytest.approx(2, rel=0.11)]


def test_each_retry_is_told_and_noted_with_the_request(request_notes: Any) -> None:
    told: list[RetryDetails] = []
    recovery(on_retry=told.append).run(Operation(BUSY, LOST), idempotent=True)
    assert [(one.attempt, one.error, one.write) for one in told] == [(1, BUSY, None), (2, LOST, None)]
    assert all(one.delay > 0 for one in told)
    assert (request_notes.retries, request_notes.recovered) == (2, True)


def test_a_good_first_try_notes_nothing(request_notes: Any) -> None:
    recovery().run(Operation())
    assert (request_notes.retries, request_notes.recovered) == (0, False)


def test_a_timeout_is_tried_once_more_and_what_is_not_idempotent_not_at_all() -> None:
    operation = Operation(*[SLOW] * 9)
    with pytest.raises(ExecutionTimeout) as raised:
        recovery().run(operation, idempotent=True)
    assert (operation.calls, raised.value) == (2, SLOW)
    assert recovery().run(Operation(SLOW), idempotent=True) == "done"
    with pytest.raises(ExecutionTimeout):
        recovery().run(operation := Operation(SLOW))
    assert operation.calls == 1


def test_an_error_that_wraps_the_drivers_is_tried_again_and_raised_as_it_is() -> None:
    def failed(cause: Exception) -> Exception:
        error = LookupError("no stock")
        error.__cause__ = cause
        return error

    for cause, calls in [(LOST, 4), (DatabaseUnavailable(), 1), (ValueError(), 1)]:
        operation, error = Operation(), failed(cause)
        operation.errors = iter([error] * 9)
        with pytest.raises(LookupError) as raised:
            recovery().run(operation, idempotent=True)
        assert (operation.calls, raised.value) == (calls, error)


# -- each try's part of the deadline ------------------------------------------------------------------------------------------


def limits(*errors: Exception, seconds: float | None, idempotent: bool = True, **options: Any) -> list[float | None]:
    """What the driver was given in each try."""
    seen: list[float | None] = []
    operation = Operation(*errors)

    def watched() -> str:
        seen.append(_csot.remaining())
        return operation()

    limit = options.pop("limit", None)
    token = deadlines.start(seconds) if seconds is not None else None
    try:
        with contextlib.suppress(PyMongoError):
            recovery(base=0.001, **options).run(watched, idempotent=idempotent, limit=limit)
    finally:
        if token is not None:
            deadlines.stop(token)
    return [None if left is None else round(left) for left in seen]


def test_a_try_that_hangs_leaves_room_for_another_with_more_time() -> None:
    assert limits(SLOW, SLOW, seconds=9.5) == [3.0, None], "the last one has whatever the request has"
    assert limits(LOST, LOST, LOST, LOST, seconds=9.5, retries=2) == [3.0, 3.0, None]


def test_what_is_not_tried_again_has_all_of_the_time_at_once() -> None:
    assert limits(SLOW, seconds=9.5, idempotent=False) == [None]
    assert limits(SLOW, seconds=9.5, enabled=False) == [None]
    assert limits(SLOW, seconds=9.5, retries=0) == [None]
    assert limits(SLOW, seconds=None) == [None, None]


def test_a_deadline_without_room_for_a_retry_is_not_divided() -> None:
    token = deadlines.start(2.0)
    try:
        seen: list[float | None] = []
        recovery(base=1.0).run(lambda: seen.append(_csot.remaining()), idempotent=True)
        assert seen == [None]
    finally:
        deadlines.stop(token)


def test_a_limit_that_is_given_doubles_after_a_timeout_within_the_deadline() -> None:
    assert limits(SLOW, seconds=None, limit=2) == [2.0, 4.0]
    assert limits(LOST, LOST, seconds=None, limit=2) == [2.0, 2.0, 2.0]
    assert limits(SLOW, seconds=3.5, limit=2) == [2.0, 3.0]


# -- mobile devices, and the budget -------------------------------------------------------------------------------------------

PHONE = {"User-Agent": "okhttp/4.12.0"}


@pytest.mark.parametrize(
    ("headers", "error", "retries", "calls"),
    [
        (PHONE, LOST, 3, 5),
        ({}, LOST, 3, 4),
        (PHONE, BUSY, 3, 4),
        (PHONE, SLOW, 3, 2),
        (PHONE, LOST, 0, 1),
    ],
)
def test_a_mobile_device_has_one_more_try_when_the_connection_is_lost(
    headers: dict[str, str], error: Exception, retries: int, calls: int
) -> None:
    token = set_context(new_context(endpoint="/", method="GET", ip="", headers=headers))
    try:
        operation = Operation(*[error] * 9)
        with pytest.raises(PyMongoError):
            recovery(retries=retries, mobile_retries=1).run(operation, idempotent=True)
        assert operation.calls == calls
    finally:
        reset_context(token)


def test_without_a_budget_left_nothing_is_tried_again() -> None:
    budget = RetryBudget(least=4)
    made = recovery(budget=budget)
    calls = []
    for _ in range(5):
        operation = Operation(*[LOST] * 9)
        with pytest.raises(AutoReconnect):
            made.run(operation, idempotent=True)
        calls.append(operation.calls)
    assert calls == [4, 2, 1, 1, 1]
    facts = made.status().to_json()
    assert (facts["tries"], facts["retries"], facts["refusedByBudget"]) == (5, 4, 4)


def test_what_a_retry_saves_is_told_with_its_tries_and_its_last_error(request_notes: Any) -> None:
    told: list[RetryDetails] = []
    made = recovery(on_recovered=told.append)
    made.run(Operation())
    with pytest.raises(AutoReconnect):
        made.run(Operation(*[LOST] * 9), idempotent=True)
    assert (told, made.recovered) == ([], 0)
    made.run(Operation(LOST, BUSY), idempotent=True)
    assert (told, made.recovered) == ([RetryDetails(3, BUSY)], 1)
    assert request_notes.retries == 3 + 2, "all of the request's"


# -- writes -----------------------------------------------------------------------------------------------------------------

WRITE = Write("note", {}, "id")


@pytest.mark.parametrize("errors", [(), (LOST,), (LOST, BUSY, LOST)])
def test_a_write_that_succeeds_in_time_is_applied(errors: tuple[Exception, ...]) -> None:
    deferred = FakeDeferred(*errors)
    result = recovery(deferred).write(WRITE)
    assert (result.status, result.operation_id, result.durability) == ("applied", "id", None)
    assert deferred.kept == []


@pytest.mark.parametrize(("error", "tries"), [(DatabaseUnavailable(), 1), (LOST, 4), (BUSY, 4)])
def test_a_write_that_the_database_does_not_take_is_kept(error: PyMongoError, tries: int) -> None:
    deferred = FakeDeferred(*[error] * 9)
    result = recovery(deferred).write(WRITE)
    assert (result.status, result.operation_id, result.durability) == ("deferred", "id", "durable")
    assert deferred.kept == [WRITE]
    assert deferred.tries.calls == tries


@pytest.mark.parametrize("error", [DuplicateKeyError("taken", 11000), OperationFailure("bad", 121), KeyError("note")])
def test_a_write_that_can_never_be_applied_is_not_kept(error: Exception) -> None:
    deferred = FakeDeferred(error)
    with pytest.raises(type(error)):
        recovery(deferred).write(WRITE)
    assert deferred.kept == []


def test_without_a_disk_to_keep_it_the_database_s_own_error_is_raised() -> None:
    deferred = FakeDeferred(DatabaseUnavailable(), enabled=False)
    with pytest.raises(DatabaseUnavailable):
        recovery(deferred).write(WRITE)
    assert deferred.kept == []


def test_a_disk_that_refuses_is_told() -> None:
    with pytest.raises(JournalUnavailable) as raised:
        recovery(FakeDeferred(DatabaseUnavailable(), refuses=True)).write(WRITE)
    assert isinstance(raised.value.__context__, DatabaseUnavailable)


@pytest.mark.parametrize(
    ("errors", "uncertain"),
    [([DatabaseUnavailable()], False), ([LOST, DatabaseUnavailable()], True), ([BUSY, LOST, BUSY, BUSY], True)],
)
def test_a_write_that_one_of_its_tries_may_have_applied_is_kept_as_such(
    errors: list[Exception], uncertain: bool
) -> None:
    deferred = FakeDeferred(*errors)
    before = time.time()
    recovery(deferred).write(WRITE)
    assert (deferred.tried is not None) is uncertain
    if uncertain:
        assert deferred.tried is not None
        assert before <= deferred.tried <= time.time()
        lost = errors.index(LOST)
        assert deferred.since == [None] * (lost + 1) + [deferred.tried] * (len(errors) - lost - 1)


def test_a_refusing_disk_after_an_uncertain_try_and_a_certain_one_leaves_it_uncertain() -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        recovery(FakeDeferred(LOST, DatabaseUnavailable(), refuses=True)).write(WRITE)
    assert isinstance(raised.value.__cause__, JournalUnavailable)


@pytest.mark.parametrize(
    ("errors", "options", "outcome"),
    [
        ([LOST, DatabaseUnavailable()], {"refuses": True}, "unknown"),
        ([LOST, BUSY, BUSY, BUSY], {"refuses": True}, "unknown"),
        ([LOST, DatabaseUnavailable()], {"enabled": False}, "unknown"),
        ([BUSY, DatabaseUnavailable()], {"refuses": True}, None),
        ([DatabaseUnavailable()], {"enabled": False}, None),
    ],
)
def test_what_one_try_may_have_applied_is_not_told_as_not_applied_because_the_last_one_was_not(
    request_notes: Any, errors: list[Exception], options: Any, outcome: str | None
) -> None:
    with pytest.raises((PyMongoError, JournalUnavailable)):
        recovery(FakeDeferred(*errors, **options)).write(WRITE)
    assert request_notes.effects.outcome == outcome


def test_a_write_that_waits_is_in_doubt_and_one_that_a_later_try_has_applied_is_not(request_notes: Any) -> None:
    assert recovery(FakeDeferred(LOST)).write(WRITE).status == "applied"
    assert request_notes.effects.outcome is Outcome.APPLIED
    assert recovery(FakeDeferred(LOST, DatabaseUnavailable())).write(WRITE).deferred
    assert request_notes.effects.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("command", "outcome"), [("insert", "unknown"), ("find", None)])
def test_an_operation_that_one_try_may_have_applied_is_in_doubt_whatever_the_last_one_met(
    request_notes: Any, database_uri: str, command: str, outcome: str | None
) -> None:
    whole = urlsplit(database_uri)
    with (
        Proxy(whole.port or 27017) as proxy,
        MongoClient(proxy.database_uri(whole.path[1:]), retryWrites=False, retryReads=False, **CLIENT_LIMITS) as client,
    ):
        notes = client.get_default_database().notes
        errors = iter((None, DatabaseUnavailable()))

        def operation() -> None:
            if (error := next(errors)) is not None:
                raise error
            if command == "insert":
                notes.insert_one({"_id": 1})
            else:
                notes.find_one()

        proxy.lose_reply_of(command)
        with pytest.raises(DatabaseUnavailable):
            recovery(sees=lambda client: False).run(operation, idempotent=True)
        assert (proxy.lost, request_notes.effects.outcome) == ([command], outcome)


def test_an_atomic_write_is_tried_again_by_its_transaction_only() -> None:
    deferred = FakeDeferred(BUSY)
    deferred.atomic = lambda write: True  # type: ignore[method-assign]
    assert recovery(deferred).write(WRITE).deferred
    assert deferred.tries.calls == 1


def test_a_disk_that_refuses_does_not_make_an_uncertain_write_a_certain_one() -> None:
    with pytest.raises(AutoReconnect) as raised:
        recovery(FakeDeferred(*[LOST] * 9, refuses=True)).write(WRITE)
    assert isinstance(raised.value.__cause__, JournalUnavailable)


def test_the_drivers_own_error_is_tried_again_as_often_as_it_may(nowhere: Any) -> None:
    calls: list[int] = []

    def find() -> None:
        calls.append(1)
        nowhere.nowhere.notes.find_one()

    with pytest.raises(ConnectionFailure):
        recovery(retries=1).run(find)
    assert len(calls) == 2


SHIELDED = """
from gevent import monkey; monkey.patch_all()
import sys, time
from prodfix import Recovery, Write
from prodfix.request import deadlines
from prodfix.classification.classifier import Classifier
from prodfix.errors import DeadlineExceeded

class Slow:
    enabled, durability = True, "durable"
    def atomic(self, write): return False
    def apply(self, write, since=None): time.sleep(3600)
    def put(self, write, tried=None): time.sleep(float(sys.argv[1])); print("on disk" if tried else "not tried")

class Unshielded(Recovery):
    def _keep(self, write, error, since): self._deferred.put(write)

for kind in (Recovery, Unshielded):
    recovery = kind(Classifier(), Slow(), retries=3, base=1.0)
    token = deadlines.start(0.6)
    begun = time.monotonic()
    try:
        with deadlines.Enforced(0.6, DeadlineExceeded):
            print(recovery.write(Write("note", {})).status, round(time.monotonic() - begun, 3))
    except DeadlineExceeded:
        print("cut", round(time.monotonic() - begun, 3))
    deadlines.stop(token)
"""


def test_a_write_that_hangs_is_given_up_in_time_and_what_is_on_its_way_to_the_disk_is_not_cut(
    python: Callable[..., str],
) -> None:
    kept, deferred, cut = python(SHIELDED, 0.7).splitlines()
    assert kept == "on disk"
    assert [(word, float(took)) for word, took in map(str.split, (deferred, cut))] == [
        ("deferred", Lasting(1.0)),
        ("cut", Lasting(0.6)),
    ]


# -- what others wrap


def test_what_a_wrapper_holds_decides_whether_it_is_tried_again() -> None:
    """The driver's for client-side encryption, and a mapper's that is raised without ``from``."""
    mapped = type("OperationError", (Exception,), {"__module__": "mongoengine.errors"})("canary")
    mapped.__context__ = LOST
    for error in (EncryptionError(BUSY), EncryptionError(LOST), mapped):
        operation = Operation(error)
        assert recovery().run(operation, idempotent=True) == "done"
        assert operation.calls == 2
    for error in (EncryptionError(LASTING[0]), EncryptionError(ValueError("no key"))):
        with pytest.raises(EncryptionError):
            recovery().run(Operation(error), idempotent=True)
    assert recovery().run(Operation(EncryptionError(BUSY))) == "done"
    with pytest.raises(EncryptionError):
        recovery().run(Operation(EncryptionError(LOST)))  # not idempotent, and nobody knows


def test_a_write_that_could_not_be_encrypted_since_the_database_is_away_is_deferred() -> None:
    deferred = FakeDeferred(*[EncryptionError(ServerSelectionTimeoutError("the key vault"))] * 9)
    assert recovery(deferred).write(WRITE).deferred
    assert deferred.kept == [WRITE]
    refused = FakeDeferred(EncryptionError(ValueError("no key")))  # the control
    with pytest.raises(EncryptionError):
        recovery(refused).write(WRITE)
    assert refused.kept == []


def test_a_call_to_somebody_else_is_tried_again_and_never_deferred() -> None:
    slow = type("TimeoutException", (Exception,), {"__module__": "httpx"})
    lost = type("ConnectionError", (Exception,), {"__module__": "redis.exceptions"})
    for error in (slow("x"), lost("x"), ConnectionRefusedError()):
        assert recovery().run(Operation(error), idempotent=True) == "done"
        deferred = FakeDeferred(*[error] * 9)
        with pytest.raises(type(error)):
            recovery(deferred).write(WRITE)
        assert deferred.kept == []
