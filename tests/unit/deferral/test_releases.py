"""A mark stays until nobody can try its write again, and not for ever: documents stay small, and nothing is applied twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import bson
import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from pymongo.errors import ExecutionTimeout, PyMongoError
from pymongo.monitoring import CommandListener, CommandStartedEvent

from prodfix.deferral import guards
from prodfix.deferral import releases as module
from prodfix.deferral.guards import FORGOTTEN, SKEW
from prodfix.deferral.operation_status import OPERATIONS
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.releases import ENOUGH, GRACE, LAST, LOOKED, Releases
from prodfix.deferral.writes import MADE, Insert, Update, Write, copyable
from prodfix.errors import DatabaseUnavailable, Uncertain
from prodfix.journal.journal import Journal
from prodfix.schemas import GUARD
from tests.support.deferred_notes import dead, note, steps
from tests.support.recorded_commands import Commands

Make = Callable[..., Any]
COUNT = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deferred(make_deferred: Make, clock: Clock) -> DeferredQueue:
    made: DeferredQueue = make_deferred()
    made.releases = Releases(lambda: made.database(), clock=clock)  # noqa: PLW0108 - tests give it another one
    made.register("count", lambda _: [COUNT])
    return made


FEW = 60


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents that remember fewer, so that a test need not write so many."""
    monkeypatch.setattr(guards, "REMEMBERED", FEW)
    monkeypatch.setattr(guards, "SLACK", FEW // 2)


def marks(database: Any, book: str = "book") -> list[str]:
    return [entry["id"] for entry in database.books.find_one({"_id": book})[GUARD]]


def count(deferred: DeferredQueue, times: int, **more: Any) -> list[Write]:
    writes = [Write("count", {}, **more) for _ in range(times)]
    for write in writes:
        deferred.apply(write)
    return writes


# -- what is removed, and when ------------------------------------------------------------------------------------------


def test_a_hot_document_remembers_only_the_last_few_that_are_known(deferred: DeferredQueue, database: Any) -> None:
    for _ in range(5):
        count(deferred, ENOUGH)
        assert len(marks(database)) == ENOUGH
        deferred.releases.work()
        assert marks(database) == []
    count(deferred, ENOUGH - 1)
    deferred.releases.work()
    assert len(marks(database)) == ENOUGH - 1, "a few are not worth a command"
    assert database.books.find_one()["notes"] == 6 * ENOUGH - 1


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("others", [FEW // 2, FEW + 5])
def test_the_mark_of_a_write_in_doubt_stays_whatever_comes_after_it(
    deferred: DeferredQueue, database: Any, others: int
) -> None:
    begun = time.time()
    lost, untried = Write("count", {}), Write("count", {})
    deferred.apply_steps(lost, [COUNT])  # its answer never came
    for _ in range(others // ENOUGH + 1):
        count(deferred, ENOUGH)
        deferred.releases.work()
    assert marks(database) == [lost.id]
    for write in (lost, untried, lost):
        deferred.apply_steps(write, [COUNT], since=begun)
    assert database.books.find_one()["notes"] == (others // ENOUGH + 1) * ENOUGH + 2


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("late", [False, True])
def test_a_mark_that_was_pushed_out_is_told_of_also_once_there_is_room_again(
    deferred: DeferredQueue, database: Any, late: bool
) -> None:
    begun = time.time()
    lost = Write("count", {})
    deferred.apply_steps(lost, [COUNT])
    count(deferred, FEW)  # with none removed meanwhile, as by processes that die
    deferred.releases.work()
    for _ in range(2):  # it says so once
        assert [entry["id"] for entry in database.books.find_one()[GUARD]] == [FORGOTTEN]
        count(deferred, FEW)
        deferred.releases.work()
    if late:  # what was tried only afterwards is in no doubt
        deferred.apply_steps(Write("count", {}), [COUNT], since=time.time() + 2 * SKEW.total_seconds())
        assert database.books.find_one()["notes"] == 3 * FEW + 2
    else:
        with pytest.raises(Uncertain):
            deferred.apply_steps(lost, [COUNT], since=begun)
        assert database.books.find_one()["notes"] == 3 * FEW + 1


def test_all_marks_of_one_command_are_removed_with_one_for_each_collection(
    deferred: DeferredQueue, database: Any, connect: Make, commands: Commands
) -> None:
    for number in range(2 * ENOUGH):
        deferred.apply(note(str(number), book=f"book {number % 2}"))
    deferred.database = connect(event_listeners=[commands]).get_default_database
    deferred.releases.work()
    assert commands.names == ["update"]
    assert marks(database, "book 0") == marks(database, "book 1") == []


def test_a_try_whose_answer_was_lost_is_met_by_its_mark_for_a_while(
    deferred: DeferredQueue, database: Any, clock: Clock
) -> None:
    for write in [Write("count", {}) for _ in range(ENOUGH)]:
        deferred.apply(write, since=time.time())
    deferred.releases.work()
    assert len(marks(database)) == ENOUGH
    clock.now += GRACE
    deferred.releases.work()
    assert marks(database) == []


def test_what_is_not_removed_is_tried_again(deferred: DeferredQueue, database: Any, nowhere: Any) -> None:
    count(deferred, ENOUGH)
    known = deferred.database
    deferred.database = nowhere.get_default_database
    with pytest.raises(PyMongoError):
        deferred.releases.work()
    deferred.database = known
    deferred.releases.work()
    assert marks(database) == []


def test_a_document_that_does_not_answer_keeps_no_other_waiting_and_is_asked_rarely(
    deferred: DeferredQueue, database: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2 * ENOUGH):
        deferred.apply(note(str(number), book=f"book {number % 2}"))
    asked: list[list[str]] = []
    forget = guards.forget

    def stuck(database: Any, those: Any) -> None:
        asked.append([bson.decode(named)["_id"] for _, named in those])
        if "book 0" in asked[-1]:
            raise ExecutionTimeout("locked", 50)
        forget(database, those)

    with monkeypatch.context() as patch:
        patch.setattr(guards, "forget", stuck)
        for _ in range(6):
            with contextlib.suppress(PyMongoError):
                deferred.releases.work()
        assert sorted(asked[0]) == ["book 0", "book 1"]
        assert sorted(asked[1:]) == [["book 0"], ["book 1"]]
        assert (len(marks(database, "book 0")), marks(database, "book 1")) == (ENOUGH, [])
    clock.now += GRACE
    deferred.releases.work()
    assert marks(database, "book 0") == []


def test_a_document_that_is_gone_is_nothing(deferred: DeferredQueue, database: Any) -> None:
    count(deferred, ENOUGH)
    database.books.drop()
    deferred.releases.work()
    assert not deferred.releases.pending
    assert database.books.find_one() is None


def test_the_marks_that_would_stay_are_removed_when_a_process_ends(
    deferred: DeferredQueue, database: Any, nowhere: Any
) -> None:
    for number in range(LAST + 1):
        deferred.apply(note(str(number)))
    deferred.apply(note("alone", book="rare"))
    deferred.releases.close()
    assert (marks(database), len(marks(database, "rare"))) == ([], 1)
    count(deferred, LAST)
    deferred.database = nowhere.get_default_database
    deferred.releases.close()
    assert len(marks(database)) == LAST


class Spans(CommandListener):
    """Which commands OpenTelemetry's instrumentation would make spans of."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.silent: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        (self.made if is_instrumentation_enabled() else self.silent).append(event.command_name)

    def succeeded(self, event: Any) -> None:
        pass

    failed = succeeded


def test_what_is_removed_is_no_span_and_what_was_applied_is(
    deferred: DeferredQueue, connect: Callable[..., Any], database: Any
) -> None:
    spans = Spans()
    deferred.database = connect(event_listeners=[spans]).get_default_database
    count(deferred, ENOUGH)
    assert (len(spans.made) >= ENOUGH, spans.silent) == (True, [])  # the control
    spans.made.clear()
    deferred.releases.work()
    count(deferred, LAST)
    deferred.releases.close()
    assert (set(spans.made), bool(spans.silent), marks(database)) == ({"update"}, True, [])
    assert len(spans.made) == LAST


def test_it_knows_of_so_many_documents_and_marks(
    deferred: DeferredQueue, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "LONGEST", ENOUGH + 1)
    for book in ("a", "b", "c"):
        for number in range(ENOUGH + 3):
            deferred.releases.settled(note(str(number)), steps({"text": "", "book": book}), lost=False)
    known = deferred.releases._marks
    assert [bson.decode(named)["_id"] for _, named in known] == ["b", "c"]
    assert {len(those) for those in known.values()} == {ENOUGH + 1}
    deferred.releases.work()
    assert not known


def test_a_plain_insert_has_no_mark(deferred: DeferredQueue) -> None:
    deferred.releases.settled(Write("insert", {}), [Insert("notes", {})], lost=True)
    assert not deferred.releases._marks


# -- what may come twice ----------------------------------------------------------------------------------------------------


def test_an_id_that_was_made_for_this_write_alone_comes_once() -> None:
    assert not copyable(note())
    write = note()
    assert not copyable(Write("note", {}, id=write.id, created=write.created + MADE / 2))
    for identity in ("order-7", "0" * 24, write.id + "00", "zz" * 12):
        assert copyable(Write("note", {}, id=identity)), identity


def test_a_write_that_others_may_bring_leaves_a_status_before_its_mark_is_gone(
    deferred: DeferredQueue, database: Any, clock: Clock
) -> None:
    writes = [Write("count", {}, id=f"order-{number:04}", owner="ada") for number in range(ENOUGH)]
    for write in writes:
        deferred.apply(write)
    deferred.releases.work()
    assert len(marks(database)) == ENOUGH
    told = {found["_id"]: (found["state"], found["owner"]) for found in database[OPERATIONS].find()}
    assert told == {write.id: ("applied", "ada") for write in writes}
    clock.now += LOOKED
    deferred.releases.work()
    assert marks(database) == []


@pytest.mark.parametrize("looking", [True, False])
def test_a_copy_that_waits_with_another_worker_is_not_applied_again(
    deferred: DeferredQueue,
    make_deferred: Make,
    make_drainer: Make,
    open_journal: Callable[[], Journal],
    database: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    looking: bool,
) -> None:
    theirs = make_deferred(journal=open_journal())
    theirs.register("count", lambda _: [COUNT])
    for write in [Write("count", {}, id=f"order-{number:04}") for number in range(ENOUGH)]:
        theirs.put(write)
        deferred.apply(write)
    deferred.releases.work()
    clock.now += LOOKED
    deferred.releases.work()
    assert marks(database) == []
    drainer = make_drainer(theirs, journal=theirs._journal)
    if not looking:  # the control
        monkeypatch.setattr("prodfix.deferral.drainer.known_as_applied", lambda database, identities: set())
    assert (drainer.drain(), dead(theirs._journal)) == (ENOUGH, {})
    assert database.books.find_one()["notes"] == (1 if looking else 2) * ENOUGH


def test_while_nobody_can_look_a_copy_waits(
    make_deferred: Make, make_drainer: Make, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred = make_deferred()
    deferred.put(Write("note", {"text": "a"}, id="order-0001"))

    def refuse(database: Any, identities: Any) -> set[str]:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr("prodfix.deferral.drainer.known_as_applied", refuse)
        assert make_drainer(deferred).drain() == 0
    assert database.notes.find_one() is None
    assert make_drainer(deferred, clock=lambda: time.time() + 60).drain() == 1


# -- disks that forget ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [False, True])
def test_what_a_power_failure_brings_back_still_meets_its_mark(
    deferred: DeferredQueue, make_drainer: Make, database: Any, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    writes = [note(str(number)) for number in range(ENOUGH)]
    for write in writes:
        deferred.put(write)
    drainer = make_drainer(deferred)
    assert drainer.drain() == ENOUGH
    if early:  # the control: as if forgetting had been an fsync
        for entry in drainer._forgotten:
            deferred.releases.settled(entry.write, entry.steps, lost=False)
        deferred.releases.work()
    # The commit that forgot them was not on the disk yet.
    deferred._journal.write([("DELETE FROM ended", ())])
    for write in writes:
        deferred.put(write, tried=write.created)
    assert make_drainer(deferred).drain() == ENOUGH
    assert database.books.find_one()["notes"] == (2 if early else 1) * ENOUGH
