"""Write conflicts: tried again soon, often and in turns, within the time there is; and never taken for an outage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure, WaitQueueTimeoutError

from prodfix import Recovery, Write
from prodfix.classification.classifier import Classifier, classify
from prodfix.deferral import guards
from prodfix.deferral.writes import Insert, Update
from prodfix.errors import DeadlineExceeded, PartlyApplied
from prodfix.recovery import conflicts
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import FIRST, GROWTH, LONGEST, Conflicts, pause
from prodfix.recovery.transactions import Transactions
from prodfix.request import deadlines
from prodfix.request.context import current_context, new_context, reset_context, set_context
from prodfix.request.notes import Notes

LABEL = {"errorLabels": ["TransientTransactionError"]}


def conflict(code: int = 112) -> OperationFailure:
    return OperationFailure("again", code, LABEL)


class Clashing:
    """Meets that many conflicts, then succeeds; counts its calls."""

    def __init__(self, times: int, code: int = 112) -> None:
        self.times, self.code, self.calls = times, code, 0

    def __call__(self, *_: Any) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise conflict(self.code)
        return "done"


@pytest.fixture
def notes() -> Iterator[Notes]:
    token = set_context(new_context(endpoint="/", method="POST", ip="", headers={}))
    context = current_context()
    assert context is not None
    yield context.notes
    reset_context(token)


# -- what is one ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [24, 46, 112, 117, 239, 246, 251, 267, 290, 363, 365])
def test_who_lost_against_somebody_else_has_met_a_conflict(code: int) -> None:
    assert classify(conflict(code)).contended


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("lost"),
        NetworkTimeout("late"),
        WaitQueueTimeoutError("the pool is full"),
        OperationFailure("election", 11602, LABEL),
        OperationFailure("overloaded", 462, {"errorLabels": ["SystemOverloadedError", "TransientTransactionError"]}),
        OperationFailure("perhaps", 91, {"errorLabels": ["UnknownTransactionCommitResult"]}),
        OperationFailure("taken", 11000),
        ValueError(),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'code', '')}",
)
def test_nothing_else_is_one(error: Exception) -> None:
    assert not classify(error).contended


def test_what_is_applied_in_part_is_more_than_a_conflict() -> None:
    partly = PartlyApplied("step 2")
    partly.__cause__ = conflict()
    assert not classify(partly).contended


# -- how often, and how long --------------------------------------------------------------------------------------------------


@given(number=st.integers(1, 10_000))
def test_a_wait_is_the_specifications(number: int) -> None:
    assert 0 <= pause(number) <= min(FIRST * GROWTH ** min(number - 1, 100), LONGEST)


def test_waits_are_at_random_over_all_of_their_length() -> None:
    waits = [pause(1) for _ in range(200)]
    assert min(waits) < FIRST / 4 < FIRST * 3 / 4 < max(waits)


@given(times=st.integers(0, 30), most=st.integers(0, 30))
def test_it_is_tried_again_as_often_as_it_may_be(times: int, most: int) -> None:
    slept: list[float] = []
    clashing = Clashing(times)
    tried = Conflicts(most=most, sleep=slept.append)
    if times > most:
        with pytest.raises(OperationFailure):
            tried.through(clashing, tried.tries())
    else:
        assert tried.through(clashing, tried.tries()) == "done"
    assert clashing.calls == 1 + min(times, most)
    assert len(slept) == clashing.calls - 1
    assert tried.counts().to_json() == {"met": min(times, most + 1), "givenUp": int(times > most)}


@pytest.mark.parametrize("within", ["a request", "pymongo.timeout"])
def test_it_ends_with_the_time_and_raises_the_conflict(within: str) -> None:
    clashing, begun = Clashing(10_000), time.monotonic()
    tried = Conflicts(most=10_000)
    token = deadlines.start(2.0 if within == "a request" else 100)  # 1 s for the database
    try:
        with pytest.raises(OperationFailure) as raised, pymongo.timeout(100 if within == "a request" else 0.3):
            tried.through(clashing, tried.tries())
    finally:
        deadlines.stop(token)
    assert raised.value.code == 112
    assert time.monotonic() - begun < 1.9
    assert clashing.calls > 3


def test_what_was_tried_to_the_end_inside_is_not_tried_so_again_outside() -> None:
    clashing = Clashing(10_000)
    inner, outer = Conflicts(most=5, sleep=lambda wait: None), Conflicts(most=5, sleep=lambda wait: None)
    with pytest.raises(OperationFailure):
        outer.through(lambda: inner.through(clashing, inner.tries()), outer.tries())
    assert clashing.calls == 6


# -- the parts that use it ----------------------------------------------------------------------------------------------------


class NoSession:
    """A session that needs no server."""

    in_transaction = has_ended = True

    def start_transaction(self) -> None: ...

    def commit_transaction(self) -> None: ...

    def end_session(self) -> None: ...

    def start_session(self) -> Any:
        return self


def transactions(**options: Any) -> Transactions:
    client: Any = NoSession()
    return Transactions(lambda: client, **{"retries": 3, "base": 0.2, "sleep": lambda wait: None} | options)


@pytest.mark.parametrize("code", [24, 112, 251])
def test_conflicts_of_a_transaction_take_nothing_from_the_budget_for_outages(code: int) -> None:
    budget = RetryBudget(least=0, share=0)
    assert transactions(budget=budget).run(Clashing(20, code)) == "done"
    assert budget.status().to_json()["retries"] == budget.status().to_json()["refusedByBudget"] == 0
    with pytest.raises(OperationFailure):  # the control: an outage's retries are refused by it
        transactions(budget=budget).run(Clashing(1, 11602))
    assert budget.status().to_json()["refusedByBudget"] == 1


def test_conflicts_of_an_operation_take_nothing_from_its_retries() -> None:
    slept: list[float] = []
    recovery = Recovery(Classifier(), None, retries=0, base=1.0, sleep=slept.append)  # type: ignore[arg-type]
    clashing = Clashing(10)
    assert recovery.run(clashing) == "done"
    assert (clashing.calls, recovery.recovered) == (11, 0)
    assert max(slept) <= LONGEST
    with pytest.raises(OperationFailure):
        recovery.run(Clashing(1, 11602))


class Atomic:
    """Deferred, whose writes are one transaction each."""

    enabled, durability = True, "durable"

    def __init__(self, apply: Callable[[], None]) -> None:
        self._apply = apply
        self.kept: list[Write] = []

    def atomic(self, write: Write) -> bool:
        return True

    def apply(self, write: Write, *, since: float | None = None) -> None:
        self._apply()

    def put(self, write: Write, *, tried: float | None = None) -> None:
        self.kept.append(write)


def raises(error: Exception) -> Callable[[], None]:
    def apply() -> None:
        raise error

    return apply


def written(apply: Callable[[], None]) -> tuple[Any, Atomic]:
    """What became of a write that is applied so: the result, or the error."""
    deferred = Atomic(apply)
    recovery = Recovery(Classifier(), deferred, retries=3, base=1.0, sleep=lambda wait: None)  # type: ignore[arg-type]
    try:
        return recovery.write(Write("note", {})), deferred
    except Exception as error:  # noqa: BLE001 - it is what the tests look at
        return error, deferred


@pytest.mark.parametrize("code", [24, 112, 251])
def test_a_conflict_is_never_a_reason_to_defer(code: int) -> None:
    result, deferred = written(raises(conflict(code)))
    meaning = classify(result)
    assert (meaning.status, meaning.code, meaning.outcome) == (503, "DATABASE_BUSY", "not_applied")
    assert deferred.kept == []
    result, deferred = written(raises(AutoReconnect("lost")))  # the control
    assert (result.status, len(deferred.kept)) == ("deferred", 1)


def test_what_is_applied_in_part_is_kept_to_be_finished() -> None:
    def apply() -> None:
        raise PartlyApplied("step 2") from conflict()

    result, deferred = written(apply)
    assert (result.status, len(deferred.kept)) == ("deferred", 1)


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), NetworkTimeout("late")])
def test_time_that_is_over_while_others_are_at_the_document_is_no_reason_either(notes: Notes, error: Exception) -> None:
    def apply() -> None:
        tried = [conflict(), error]

        def callback(session: Any) -> None:
            raise tried.pop(0)

        transactions().run(callback)

    result, deferred = written(apply)
    assert classify(result).code == "DATABASE_BUSY"
    assert (classify(result).outcome, deferred.kept) == ("not_applied", [])
    assert result.__cause__ is not None


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), NetworkTimeout("late")])
@pytest.mark.parametrize("when", ["no conflict", "long ago", "committing"])
def test_but_a_database_that_does_not_answer_is(notes: Notes, error: Exception, when: str) -> None:
    def apply() -> None:
        if when == "long ago":
            notes.conflict_at = time.monotonic() - conflicts.FRESH
        elif when == "committing":
            notes.conflict_at = time.monotonic()
            transactions().run(lambda session: None)
        raise error

    result, deferred = written(apply)
    assert (result.status, len(deferred.kept)) == ("deferred", 1)


# -- turns --------------------------------------------------------------------------------------------------------------------


class Document:
    """One document: who changes it while somebody else does meets a conflict."""

    def __init__(self) -> None:
        self.writer = threading.Lock()
        self.version = self.conflicts = 0

    def change(self) -> None:
        seen = self.version
        time.sleep(0.002)  # what a transaction takes
        with self.writer:
            if self.version != seen:
                self.conflicts += 1
                raise conflict()
            self.version += 1


@pytest.mark.parametrize("place", ["hot", None])
def test_a_crowd_at_one_document_comes_through_in_turns(place: str | None) -> None:
    document, tried = Document(), Conflicts(most=1000)

    def work() -> None:
        for _ in range(10):
            tried.through(document.change, tried.tries(), place=place)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert document.version == 80
    if place is not None:
        assert document.conflicts < 40, "who knows that others take turns there does not try to pass them"
    assert tried._turns._waiting == {}


def test_who_stands_in_line_when_the_time_is_over_has_met_others_too(notes: Notes) -> None:
    tried = Conflicts()
    with tried._turns.turn("hot", 1), pymongo.timeout(0.05):
        assert tried.through(conflicts.fresh, tried.tries(), place="hot")
    notes.conflict_at = None
    assert not tried.through(conflicts.fresh, tried.tries(), place="hot"), "the control: nobody is there"


def test_the_place_of_a_write_is_the_document_that_it_changes() -> None:
    insert = Insert("notes", {"a": 1})
    update = Update("books", {"_id": "b", "open": True}, {"$inc": {"n": 1}})
    same = Update("books", {"_id": "b"}, {"$inc": {"n": 2}})
    assert guards.place([insert]) is None
    assert guards.place([insert, update]) == guards.place([same])
    assert guards.place([update]) != guards.place([Update("books", {"_id": "c"}, {"$inc": {"n": 1}})])
