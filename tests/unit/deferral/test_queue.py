"""Deferred writes: an operation is guarded or refused, applied once, and kept on disk before anybody is told so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError, OperationFailure

from prodfix.classification.classifier import classify
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.guards import REMEMBERED, SLACK
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.writes import Insert, Update, Write
from prodfix.errors import (
    ConcurrentModification,
    Conflict,
    JournalUnavailable,
    JournalUncertain,
    Outcome,
    PartlyApplied,
    Uncertain,
    Unguarded,
    ValidationFailed,
)
from prodfix.journal.journal import Journal
from prodfix.request.context import new_context, reset_context, set_context
from prodfix.schemas import GUARD
from tests.support.deferred_notes import note, steps, texts, waiting

Make = Callable[..., DeferredQueue]


@pytest.fixture
def deferred(make_deferred: Make) -> DeferredQueue:
    return make_deferred()


def update(deferred: DeferredQueue, *changes: Update) -> Write:
    deferred.register("update", lambda _: changes)
    return Write("update", {})


# -- operations -------------------------------------------------------------------------------------------------------------


def test_an_operation_has_one_meaning(deferred: DeferredQueue) -> None:
    with pytest.raises(ValueError, match="'note' is registered twice"):
        deferred.register("note", steps)


def test_an_inserted_document_has_the_writes_identity(deferred: DeferredQueue, database: Any) -> None:
    write = note()
    deferred.apply(write)
    assert database.notes.find_one() == {"_id": bson.ObjectId(write.id), "text": "a"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_applying_a_write_again_changes_nothing(deferred: DeferredQueue, database: Any, order: list[int]) -> None:
    writes = [note(str(number)) for number in range(5)]
    database.notes.delete_many({})
    database.books.delete_many({})
    for number in order:
        deferred.apply(writes[number])
    assert sorted(texts(database)) == sorted({str(number) for number in order})
    assert database.books.find_one()["notes"] == len(set(order))


def test_without_its_guard_the_same_update_would_count_twice(database: Any) -> None:
    # The control of the test above.
    for _ in range(2):
        database.books.update_one({"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)
    assert database.books.find_one()["notes"] == 2


def test_a_write_that_was_half_applied_is_completed(deferred: DeferredQueue, database: Any, fail: Any) -> None:
    write = note()
    fail("update", times=1, errorCode=2)
    with pytest.raises(PartlyApplied) as refused:
        deferred.apply(write)
    assert (classify(refused.value).code, classify(refused.value).outcome) == ("DATABASE_ERROR", Outcome.UNKNOWN)
    deferred.apply(write)
    assert (texts(database), database.books.find_one()["texts"]) == (["a"], ["a"])


def test_two_updates_of_one_document_are_both_applied_and_both_once(deferred: DeferredQueue, database: Any) -> None:
    once = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)
    write = update(deferred, once, once)
    deferred.apply(write)
    deferred.apply(write)
    assert database.books.find_one()["notes"] == 2


def test_two_inserts_into_one_collection_are_refused_before_anything_is_written(
    deferred: DeferredQueue, database: Any
) -> None:
    deferred.register("twice", lambda _: [Insert("notes", {"text": "a"}), Insert("notes", {"text": "b"})])
    with pytest.raises(Unguarded, match="inserts twice"):
        deferred.apply(Write("twice", {}))
    assert texts(database) == []


def test_a_document_remembers_only_so_many_operations(deferred: DeferredQueue, database: Any) -> None:
    for number in range(REMEMBERED + 5):
        deferred.apply(note(str(number)))
    assert len(database.books.find_one()[GUARD]) == REMEMBERED


def test_many_writers_that_make_the_same_document_all_count(deferred: DeferredQueue, database: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: deferred.apply(note(str(number))), range(40)))
    assert database.books.find_one()["notes"] == 40


def test_a_clash_with_another_unique_field_is_told_and_not_taken_for_an_earlier_try(
    deferred: DeferredQueue, database: Any
) -> None:
    database.books.create_index("title", unique=True)
    database.books.insert_one({"_id": "first", "title": "taken"})
    write = update(deferred, Update("books", {"_id": "second"}, {"$set": {"title": "taken"}}, True, overwrite=True))
    with pytest.raises(DuplicateKeyError):
        deferred.apply(write)
    database.notes.create_index("text", unique=True)
    deferred.apply(note("taken"))
    with pytest.raises(DuplicateKeyError):
        deferred.apply(note("taken"))


# -- versions, conditions, and guards that forget ---------------------------------------------------------------------------


def test_an_update_of_a_version_counts_it_up_and_meets_only_that_one(deferred: DeferredQueue, database: Any) -> None:
    database.books.insert_one({"_id": "book", "version": 1})
    write = update(deferred, Update("books", {"_id": "book"}, {"$set": {"title": "new"}}, expected_version=1))
    deferred.apply(write)
    deferred.apply(write)
    assert (database.books.find_one()["title"], database.books.find_one()["version"]) == ("new", 2)
    with pytest.raises(ConcurrentModification) as refused:
        deferred.apply(Write("update", {}))
    assert (refused.value.expected, refused.value.found) == (1, 2)


def test_a_condition_that_no_longer_holds_is_a_conflict_and_no_second_try(
    deferred: DeferredQueue, database: Any
) -> None:
    database.books.insert_one({"_id": "book", "state": "open"})
    close = Update("books", {"_id": "book", "state": "open"}, {"$inc": {"closed": 1}})
    write = update(deferred, close)
    deferred.apply(write)
    database.books.update_one({}, {"$set": {"state": "shut"}})
    deferred.apply(write)  # it was applied, whatever the state is now
    with pytest.raises(Conflict):
        deferred.apply(Write("update", {}))
    assert database.books.find_one()["closed"] == 1


@pytest.mark.parametrize("others", [REMEMBERED - 1, REMEMBERED])
def test_a_document_that_may_have_forgotten_a_write_says_so(
    deferred: DeferredQueue, database: Any, others: int
) -> None:
    count = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)
    write = update(deferred, count)
    begun = time.time()
    deferred.apply(write)
    for _ in range(others):
        deferred.apply(Write("update", {}))
    if others < REMEMBERED:
        deferred.apply(write, since=begun)
    else:
        with pytest.raises(Uncertain) as told:
            deferred.apply(write, since=begun)
        assert classify(told.value).outcome is Outcome.UNKNOWN
    assert database.books.find_one()["notes"] == 1 + others


def test_a_full_guard_still_tells_of_what_was_tried_a_moment_ago(deferred: DeferredQueue, database: Any) -> None:
    # A busy document, and the connection is lost with some writes on their way: none of them may be given up.
    count = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)
    update(deferred, count)
    for _ in range(REMEMBERED):
        deferred.apply(Write("update", {}))
    time.sleep(0.002)  # MongoDB's times have milliseconds
    begun = time.time()
    arrived, lost = Write("update", {}), Write("update", {})
    deferred.apply(arrived)
    for _ in range(SLACK - 2):
        deferred.apply(Write("update", {}))
    for write in (arrived, lost, arrived, lost):
        deferred.apply(write, since=begun)
    assert database.books.find_one()["notes"] == REMEMBERED + SLACK


def test_a_full_guard_does_not_stop_what_was_never_tried_or_was_tried_later(
    deferred: DeferredQueue, database: Any
) -> None:
    count = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)
    update(deferred, count)
    for _ in range(REMEMBERED):
        deferred.apply(Write("update", {}))
    deferred.apply(Write("update", {}))
    deferred.apply(Write("update", {}), since=time.time() + 60)
    assert database.books.find_one()["notes"] == REMEMBERED + 2


# -- in one transaction -----------------------------------------------------------------------------------------------------


@pytest.fixture
def atomic(make_deferred: Make, make_transactions: Callable[[], Any]) -> DeferredQueue:
    deferred = make_deferred(transact=make_transactions().run)
    deferred.register("both", steps, atomic=True)
    return deferred


def test_an_atomic_operation_is_applied_as_a_whole_or_not_at_all(atomic: DeferredQueue, database: Any) -> None:
    database.notes.create_index("text", unique=True)
    database.notes.insert_one({"text": "taken"})
    atomic.apply(Write("both", {"text": "a"}))
    with pytest.raises(DuplicateKeyError):
        atomic.apply(Write("both", {"text": "taken"}))
    assert (database.notes.count_documents({}), database.books.find_one()["notes"]) == (2, 1)


def test_an_atomic_operation_whose_second_step_fails_leaves_nothing(
    atomic: DeferredQueue, database: Any, fail: Any
) -> None:
    database.books.insert_one({"_id": "book", "notes": 0})
    fail("update", times=1, errorCode=2)
    with pytest.raises(OperationFailure):
        atomic.apply(Write("both", {"text": "a"}))
    assert (database.notes.count_documents({}), database.books.find_one()["notes"]) == (0, 0)


def test_an_atomic_operation_whose_answer_was_lost_is_known_again(atomic: DeferredQueue, database: Any) -> None:
    write = Write("both", {"text": "a"})
    for _ in range(3):
        atomic.apply(write)
    atomic.apply_steps(write, atomic.steps(write))
    assert (texts(database), database.books.find_one()["notes"]) == (["a"], 1)


def test_many_atomic_writes_that_meet_in_one_document_all_count(atomic: DeferredQueue, database: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: atomic.apply(Write("both", {"text": str(number)})), range(12)))
    assert (database.notes.count_documents({}), database.books.find_one()["notes"]) == (12, 12)


def clash(field: str) -> DuplicateKeyError:
    return DuplicateKeyError("taken", 11000, {"keyPattern": {field: 1}, "keyValue": {field: "x"}})


@pytest.mark.parametrize(("field", "calls"), [("_id", 2), ("text", 1)])
def test_who_is_outrun_in_making_a_document_changes_it_then(
    make_deferred: Make, make_transactions: Callable[[], Any], database: Any, field: str, calls: int
) -> None:
    transact = make_transactions().run
    made: list[str] = []

    def outrun(callback: Any, **options: Any) -> None:
        made.append("")
        if len(made) == 1:
            database.books.insert_one({"_id": "book", "notes": 7})
            raise clash(field)
        transact(callback, **options)

    deferred = make_deferred(transact=outrun)
    deferred.register("both", steps, atomic=True)
    write = Write("both", {"text": "a"})
    if calls == 1:  # somebody has the text: that is for the client to know
        with pytest.raises(DuplicateKeyError):
            deferred.apply(write)
    else:
        deferred.apply(write)
        assert (texts(database), database.books.find_one()["notes"]) == (["a"], 8)
    assert len(made) == calls


# -- keeping ----------------------------------------------------------------------------------------------------------------


def test_a_put_is_durable_and_counted_once(deferred: DeferredQueue, journal: Journal, monkeypatch: Any) -> None:
    asked: list[bool] = []
    write = journal.write
    monkeypatch.setattr(journal, "write", lambda rows, durable=False: (asked.append(durable), write(rows))[1])
    kept = note()
    deferred.put(kept)
    deferred.put(kept)
    assert asked == [True, True]
    assert waiting(journal) == [kept.id]


@pytest.mark.parametrize("bound", [{"max_entries": 2}, {"max_bytes": 250}])
def test_a_full_journal_refuses_and_says_so(
    make_deferred: Make, make_drainer: Callable[..., Drainer], bound: dict[str, int]
) -> None:
    told: list[str] = []
    deferred = make_deferred(**bound, report=lambda severity, message, facts: told.append(message))
    deferred.put(note())
    deferred.put(note())
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match="full"):
            deferred.put(note())
    assert (deferred.refused, told) == (2, ["a write waits on disk"] * 2 + ["a write could not be kept"] * 2)
    make_drainer(deferred).drain()
    deferred.put(note())


def test_dead_letters_take_room_too(make_deferred: Make, make_drainer: Callable[..., Drainer]) -> None:
    now = [0.0]
    deferred = make_deferred(max_entries=1, clock=lambda: now[0])
    deferred.put(note())
    make_drainer(deferred, max_age=-1).drain()
    now[0] += 60
    with pytest.raises(JournalUnavailable, match="full"):
        deferred.put(note())


def test_an_entry_says_whose_it_is_and_which_request_made_it(make_deferred: Make, journal: Journal) -> None:
    deferred = make_deferred(user=lambda: "ada")
    token = set_context(new_context(endpoint="/", method="POST", ip="", headers={"X-Request-ID": "request-1"}))
    try:
        deferred.put(note("a"))
    finally:
        reset_context(token)
    deferred.put(Write("note", {"text": "b"}, request_id="request-2", owner="bob"))
    entries = [bson.decode(entry) for (entry,) in journal.read("SELECT entry FROM writes ORDER BY position")]
    assert [(entry["owner"], entry["requestId"], entry["version"]) for entry in entries] == [
        ("ada", "request-1", 2),
        ("bob", "request-2", 2),
    ]


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", {1: "a"}])
def test_what_bson_cannot_hold_is_refused_before_it_is_kept(
    deferred: DeferredQueue, journal: Journal, value: Any
) -> None:
    with pytest.raises(ValidationFailed):
        deferred.put(note(value))
    assert waiting(journal) == []


@pytest.mark.parametrize("identity", ["", "a" * 101, "a\0b", "a\nb"])
def test_an_id_that_cannot_be_one_is_refused(deferred: DeferredQueue, identity: str) -> None:
    with pytest.raises(ValidationFailed):
        deferred.put(Write("note", {"text": "a"}, identity))


@pytest.mark.parametrize("method", ["write", "read_own"])
def test_a_disk_that_does_not_answer_refuses(
    deferred: DeferredQueue, journal: Journal, monkeypatch: Any, method: str
) -> None:
    def hang(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(journal, method, hang)
    with pytest.raises(JournalUnavailable):
        deferred.put(note())
    assert deferred.refused == 1


def test_what_has_ended_does_not_wait_again(
    deferred: DeferredQueue, journal: Journal, make_drainer: Callable[..., Drainer]
) -> None:
    kept = note()
    deferred.put(kept)
    make_drainer(deferred).drain()
    deferred.put(kept)
    assert waiting(journal) == []


def test_an_operation_that_cannot_be_guarded_is_refused_and_not_kept(deferred: DeferredQueue, journal: Journal) -> None:
    write = update(deferred, Update("books", {"title": "not unique"}, {"$inc": {"notes": 1}}))
    for use in (deferred.apply, deferred.put):
        with pytest.raises(Unguarded, match="does not name its document"):
            use(write)
    assert waiting(journal) == []
    deferred.unique("books", "title")
    deferred.put(write)
    assert waiting(journal) == [write.id]


def test_a_disk_that_is_too_slow_is_told_for_certain_or_as_unknown(
    deferred: DeferredQueue, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal.write, "__kwdefaults__", {**(Journal.write.__kwdefaults__ or {}), "limit": 0.05})
    outcomes = [classify(error()).outcome for error in (JournalUnavailable, JournalUncertain)]
    assert outcomes == ["not_applied", "unknown"]
    assert journal._file is not None
    go_on = threading.Event()
    journal._file.connection.create_function("hang", 0, lambda: go_on.wait(30) and None)
    trigger = "CREATE TEMP TRIGGER slow BEFORE INSERT ON writes BEGIN SELECT hang(); END"
    journal._file.connection.execute(trigger)
    begun, waits = note("begun"), note("waits")
    with pytest.raises(JournalUncertain):
        deferred.put(begun)
    with pytest.raises(JournalUnavailable) as refused:
        deferred.put(waits)
    assert not isinstance(refused.value, JournalUncertain)
    go_on.set()
    left = journal.read_own("SELECT id FROM writes")
    assert left == [(begun.id,)], "it is known now; the other one never comes"
    assert deferred.refused == 2
