from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.errors import BSONError
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError, WriteConcernError

from prodfix import Classifier, QueryInterceptor, Recovery, Write, classify
from prodfix.deferral.drainer import LONGEST_WAIT, Drainer
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.writes import Insert
from prodfix.journal.journal import Journal
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.transactions import Transactions
from prodfix.request import deadlines
from prodfix.request.context import new_context, reset_context, set_context
from tests.properties.strategies import driver_errors

limits = st.integers(0, 20)


def taken_back(code: int) -> OperationFailure:
    return OperationFailure("again", code, {"errorLabels": ["TransientTransactionError"]})


CONFLICTS, OUTAGES = (24, 112, 246, 251), (91, 189, 10107, 11600, 11602)
reasons = st.sampled_from(CONFLICTS + OUTAGES).map(taken_back)


class Failing:
    """An operation that always fails, how often it was called, and what it raised last."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors, self.calls = errors, 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1
        raise self.last

    @property
    def last(self) -> Exception:
        return self.errors[self.calls % len(self.errors)]


@given(
    most=limits,
    errors=st.lists(driver_errors.filter(lambda error: not classify(error).contended), min_size=1, max_size=5),
    idempotent=st.booleans(),
    enabled=st.booleans(),
)
def test_an_operation(most: int, errors: list[Exception], idempotent: bool, enabled: bool) -> None:
    """For any operation with retry logic, the number of retry attempts should never exceed the configured maximum.

    ``MAX_RETRY_ATTEMPTS`` counts the tries after the first one.

    Feature: production-deployment-fix, Property 7
    """
    failing, slept, noted = Failing(errors), [], []
    recovery = Recovery(
        Classifier(),
        None,  # type: ignore[arg-type]
        retries=most,
        base=1.0,
        enabled=enabled,
        sleep=slept.append,
        on_retry=lambda details: noted.append(details.attempt),
    )
    with pytest.raises((PyMongoError, BSONError)) as caught:
        recovery.run(failing, idempotent=idempotent)
    assert caught.value is failing.last, "the original error, and no other that looks like it"
    assert caught.value.__cause__ is None
    assert len(slept) == failing.calls - 1 <= (most if enabled else 0)
    assert noted == [*range(1, failing.calls)]


@given(most=st.integers(0, 20))
def test_the_limit_is_reached(most: int) -> None:
    """The control: what is transient each time is tried exactly as often as allowed.

    Feature: production-deployment-fix, Property 7
    """
    failing = Failing([AutoReconnect("lost")])
    recovery = Recovery(Classifier(), None, retries=most, base=1.0, sleep=lambda seconds: None)  # type: ignore[arg-type]
    with pytest.raises(AutoReconnect):
        recovery.run(failing, idempotent=True)
    assert failing.calls == 1 + most


@given(most=limits, after_conflicts=limits, errors=st.lists(driver_errors | reasons, min_size=1, max_size=5))
def test_an_operation_after_write_conflicts(most: int, after_conflicts: int, errors: list[Exception]) -> None:
    """A write conflict is no failure of the database: tries after it have a maximum of their own, ``MAX_CONFLICT_RETRIES``, and
    take nothing from the other one.

    Feature: production-deployment-fix, Property 7
    """
    failing, slept, waited = Failing(errors), [], []  # type: ignore[var-annotated]
    conflicts = Conflicts(most=after_conflicts, sleep=waited.append)
    recovery = Recovery(Classifier(), None, retries=most, base=1.0, conflicts=conflicts, sleep=slept.append)  # type: ignore[arg-type]
    with pytest.raises((PyMongoError, BSONError)) as caught:
        recovery.run(failing, idempotent=True)
    assert caught.value is failing.last
    assert len(slept) + len(waited) == failing.calls - 1
    assert len(slept) <= most
    assert len(waited) <= after_conflicts


class Clock:
    """Time that passes when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @contextlib.contextmanager
    def request(self, seconds: float, headers: dict[str, str]) -> Iterator[None]:
        """A request of somebody with these headers, whose deadline is ``seconds`` of this clock away."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deadlines, "time", self)
            context = set_context(new_context(endpoint="/", method="GET", ip="", headers=headers))
            deadline = deadlines.start(seconds)
            try:
                yield
            finally:
                deadlines.stop(deadline)
                reset_context(context)


@given(
    most=limits,
    errors=st.lists(driver_errors, min_size=1, max_size=5),
    seconds=st.floats(0.05, 40),
    takes=st.floats(0, 5),
    base=st.floats(0.01, 4),
    phone=st.booleans(),
)
def test_within_a_deadline(
    most: int, errors: list[Exception], seconds: float, takes: float, base: float, phone: bool
) -> None:
    """No try begins, and no wait ends, after the database's part of the request's deadline; and a mobile device's two more
    tries are within their own maximum.

    Feature: production-deployment-fix, Property 7
    """
    clock, failing, begun = Clock(), Failing(errors), []

    def operation() -> None:
        begun.append(clock.now)
        clock.sleep(takes)
        failing()

    agent = {"User-Agent": "okhttp/4.12"} if phone else {}
    options = {"retries": most, "mobile_retries": 2, "base": base, "sleep": clock.sleep}
    recovery = Recovery(Classifier(), None, **options)  # type: ignore[arg-type]
    with clock.request(seconds, agent), pytest.raises((PyMongoError, BSONError)):
        recovery.run(operation, idempotent=True)
    assert max(begun) == begun[0] or max(begun) < 1000.0 + deadlines.database_share(seconds)
    assert failing.calls <= 1 + most + (2 if phone and most else 0)


def test_the_deadline_is_what_ends_them() -> None:
    """The control of the one above: with time enough the same tries reach the limit.

    Feature: production-deployment-fix, Property 7
    """
    for seconds, calls in ((9.5, 4), (1e6, 21)):
        clock, failing = Clock(), Failing([AutoReconnect("lost")])
        recovery = Recovery(Classifier(), None, retries=20, base=1.0, sleep=clock.sleep)  # type: ignore[arg-type]
        with clock.request(seconds, {}), pytest.raises(AutoReconnect):
            recovery.run(failing, idempotent=True)
        assert failing.calls == calls


@given(most=st.integers(0, 5), crowd=st.integers(2, 12), least=st.integers(0, 20), share=st.floats(0, 1))
def test_many_at_once(most: int, crowd: int, least: int, share: float) -> None:
    """One object serves all greenlets (here threads; greenlets in the run under gevent): each operation keeps to the limit,
    and all of them together to the budget. What was counted is what was called.

    Feature: production-deployment-fix, Property 7
    """
    budget = RetryBudget(share=share, least=least)
    options = {"retries": most, "base": 1.0, "sleep": lambda seconds: time.sleep(0), "budget": budget}
    recovery = Recovery(Classifier(), None, **options)  # type: ignore[arg-type]
    failing = [Failing([AutoReconnect(f"lost {number}")]) for number in range(crowd)]
    caught: dict[int, BaseException] = {}

    def work(number: int) -> None:
        try:
            recovery.run(failing[number], idempotent=True)
        except AutoReconnect as error:
            caught[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(caught[number] is failing[number].last for number in range(crowd))
    assert max(one.calls for one in failing) <= 1 + most
    retries = sum(one.calls - 1 for one in failing)
    assert retries == budget.status().to_json()["retries"] <= max(least, int(crowd * share))
    if least >= crowd * most:
        assert retries == crowd * most, "the control: with budget enough each reaches its limit"


@given(
    most=limits,
    after_conflicts=limits,
    given_here=st.none() | limits,
    errors=st.lists(reasons, min_size=1, max_size=5),
)
def test_a_transaction(most: int, after_conflicts: int, given_here: int | None, errors: list[OperationFailure]) -> None:
    """The same for a transaction that the server asks to run again each time, with a maximum for each of two reasons:
    ``MAX_RETRY_ATTEMPTS`` for what an outage does to it, ``MAX_CONFLICT_RETRIES`` for write conflicts, which are none. What the
    caller gives is the maximum of both together.

    Feature: production-deployment-fix, Property 7
    """
    failing, slept, waited = Failing(errors), [], []  # type: ignore[var-annotated]
    client: MongoClient[Any]
    with MongoClient("127.0.0.1", 1, connect=False) as client:  # a transaction without operations asks no server
        conflicts = Conflicts(most=after_conflicts, sleep=waited.append)
        transactions = Transactions(lambda: client, retries=most, base=0.1, conflicts=conflicts, sleep=slept.append)
        with pytest.raises(OperationFailure) as raised:
            transactions.run(failing, retries=given_here)
    assert raised.value is failing.last
    assert len(slept) + len(waited) == failing.calls - 1
    if given_here is not None:
        assert failing.calls - 1 == given_here, "and with time enough it is reached"
        return
    assert len(slept) <= most
    assert len(waited) <= after_conflicts
    reached = len(waited) == after_conflicts if raised.value.code in CONFLICTS else len(slept) == most
    assert reached, "it is given up for the reason whose maximum is reached"


class Uncertain:
    """A session whose commit fails each time, with the next of these errors."""

    in_transaction = True
    has_ended = True

    def __init__(self, errors: list[OperationFailure]) -> None:
        self.errors, self.commits = errors, 0

    def commit_transaction(self) -> None:
        self.commits += 1
        raise self.errors[self.commits % len(self.errors)]

    def start_transaction(self) -> None: ...

    def end_session(self) -> None: ...

    def start_session(self) -> Any:
        return self


def unanswered(code: int) -> OperationFailure:
    return OperationFailure("perhaps", code, {"errorLabels": ["UnknownTransactionCommitResult"]})


@given(most=limits, errors=st.lists(reasons | st.just(unanswered(91)), min_size=1, max_size=5))
def test_a_commit(most: int, errors: list[OperationFailure]) -> None:
    """Tries of the whole after an outage and tries of the commit count together; those after conflicts have their own maximum.

    Feature: production-deployment-fix, Property 7
    """
    uncertain, slept, waited = Uncertain(errors), [], []  # type: ignore[var-annotated]
    conflicts = Conflicts(most=7, sleep=waited.append)
    transactions = Transactions(lambda: uncertain, retries=most, base=0.1, conflicts=conflicts, sleep=slept.append)  # type: ignore[arg-type, return-value]
    with pytest.raises(OperationFailure):
        transactions.run(lambda session: None)
    assert len(slept) + len(waited) == uncertain.commits - 1
    assert len(slept) <= most
    assert len(waited) <= 7
    assert len(slept) == most or len(waited) == 7


@given(most=limits, label=st.sampled_from(["TransientTransactionError", "UnknownTransactionCommitResult"]))
def test_a_commit_whose_time_was_over(most: int, label: str) -> None:
    """It is not sent again at all, whatever its label, also if it is the write concern that took too long.

    Feature: production-deployment-fix, Property 7
    """
    both = ["UnknownTransactionCommitResult", label]
    plain = OperationFailure("late", 50, {"code": 50, "errorLabels": both})
    within = WriteConcernError("late", 64, {"writeConcernError": {"code": 50}, "errorLabels": both})
    for error in (plain, within):
        uncertain = Uncertain([error])
        transactions = Transactions(lambda one=uncertain: one, retries=most, base=0.1, sleep=lambda seconds: None)  # type: ignore[misc]
        with pytest.raises(OperationFailure):
            transactions.run(lambda session: None)
        assert uncertain.commits == 1


@pytest.fixture
def refusing(database_uri: str) -> Iterator[Callable[[QueryInterceptor], MongoClient[Any]]]:
    """Makes a client to a server that answers each `find` with an error which the driver itself retries."""
    application = {"appName": "property 7"}
    point = {"configureFailPoint": "failCommand", "data": {"failCommands": ["find"], "errorCode": 134, **application}}
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(MongoClient[Any](database_uri)).admin
        admin.command(point | {"mode": "alwaysOn"})
        stack.callback(admin.command, point | {"mode": "off"})
        yield lambda listener: stack.enter_context(
            MongoClient(database_uri, appname=application["appName"], event_listeners=[listener])
        )


class Counting(QueryInterceptor):
    def started(self, event: Any) -> None:
        super().started(event)
        self.finds = getattr(self, "finds", 0) + (event.command_name == "find")


def test_the_wire(refusing: Callable[[QueryInterceptor], MongoClient[Any]]) -> None:
    """What the server sees is twice that at most: the driver repeats each read once by itself, and nothing else does.

    Feature: production-deployment-fix, Property 7
    """
    listener = Counting()
    collection = refusing(listener).get_default_database().things

    @given(most=st.integers(0, 20))
    def search(most: int) -> None:
        listener.finds = 0
        recovery = Recovery(Classifier(), None, retries=most, base=1.0, sleep=lambda seconds: None)  # type: ignore[arg-type]
        with pytest.raises(OperationFailure):
            recovery.run(collection.find_one, idempotent=True)
        assert listener.finds == 2 * (1 + most)

    search()


@given(most=st.integers(1, 12))
def test_a_deferred_write(tmp_path: Path, most: int) -> None:
    """A deferred write is replayed ``DEFERRED_MAX_ATTEMPTS`` times at most, and then put aside.

    Failures to reach the database at all do not count: they say nothing about this write. One whose document does not answer
    in time is not put aside before five minutes, whatever the number: what holds a document at the server is over by then.

    Feature: production-deployment-fix, Property 7
    """
    failing = Failing([ConnectionResetError("lost")])
    journal = Journal(tmp_path)
    now = [time.time() + 1]
    bounds = {"max_entries": 1000, "max_bytes": 2**20}
    deferred = DeferredQueue(journal, failing, enabled=True, durable=True, **bounds)
    drainer = Drainer(
        deferred,
        journal,
        Classifier(),
        max_attempts=most,
        max_age=1e6,
        rate=1e9,
        clock=lambda: now[0],
        sleep=lambda seconds: None,
    )
    deferred.register("note", lambda arguments: [Insert("notes", arguments)])
    journal.open()
    try:
        write = Write("note", {"text": "x"})
        deferred.put(write)
        calls = []
        for _ in range(most + 5):
            drainer.drain()
            calls.append(failing.calls)
            now[0] += LONGEST_WAIT * 1.1
        assert calls == [min(number, most) for number in range(1, most + 6)]
        assert journal.read("SELECT id FROM writes") == []
        assert (write.id, most) in journal.read("SELECT id, attempts FROM dead")
    finally:
        journal.close()
