"""Deferred writes: each is applied exactly once, in order, and a bad one never blocks the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError

from prodfix.classifier import Classifier, classify
from prodfix.deferred import Deferred
from prodfix.errors import JournalUnavailable, Outcome, PartlyApplied, ValidationFailed
from prodfix.guards import REMEMBERED
from prodfix.journal import Journal
from prodfix.schemas import GUARD
from prodfix.writes import Insert, Step, Update, Write


def steps(arguments: Mapping[str, Any]) -> Sequence[Step]:
    """Inserts a note and counts it, as an application would."""
    if arguments.get("poison"):
        raise KeyError("poison")
    return [
        Insert("notes", {"text": arguments["text"]}),
        Update("books", {"_id": "book"}, {"$inc": {"notes": 1}, "$push": {"texts": arguments["text"]}}, upsert=True),
    ]


@pytest.fixture
def make(journal: Journal, database: Any) -> Callable[..., Deferred]:
    def make_deferred(**options: Any) -> Deferred:
        known = {"enabled": True, "durable": True, "max_entries": 100, "max_bytes": 2**20, "database": lambda: database}
        chosen = known | options
        deferred = Deferred(journal, chosen.pop("database"), **chosen)
        deferred.register("note", steps)
        return deferred

    return make_deferred


@pytest.fixture
def deferred(make: Callable[..., Deferred]) -> Deferred:
    return make()


def note(text: str = "a", **more: Any) -> Write:
    return Write("note", {"text": text, **more})


def update(deferred: Deferred, *changes: Update) -> Write:
    deferred.register("update", lambda _: changes)
    return Write("update", {})


def texts(database: Any) -> list[str]:
    return [document["text"] for document in database.notes.find().sort("_id", 1)]


# -- operations -------------------------------------------------------------------------------------------------------------


def test_an_operation_has_one_meaning(deferred: Deferred) -> None:
    with pytest.raises(ValueError, match="'note' is registered twice"):
        deferred.register("note", steps)


def test_an_inserted_document_has_the_writes_identity(deferred: Deferred, database: Any) -> None:
    write = note()
    deferred.apply(write)
    assert database.notes.find_one() == {"_id": bson.ObjectId(write.id), "text": "a"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_applying_a_write_again_changes_nothing(deferred: Deferred, database: Any, order: list[int]) -> None:
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


def test_a_write_that_was_half_applied_is_completed(deferred: Deferred, database: Any, fail: Any) -> None:
    write = note()
    fail("update", times=1, errorCode=2)
    with pytest.raises(PartlyApplied) as refused:
        deferred.apply(write)
    assert (classify(refused.value).code, classify(refused.value).outcome) == ("DATABASE_ERROR", Outcome.UNKNOWN)
    deferred.apply(write)
    assert (texts(database), database.books.find_one()["texts"]) == (["a"], ["a"])


def test_two_updates_of_one_document_are_both_applied_and_both_once(deferred: Deferred, database: Any) -> None:
    once = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)
    write = update(deferred, once, once)
    deferred.apply(write)
    deferred.apply(write)
    assert database.books.find_one()["notes"] == 2


def test_two_inserts_into_one_collection_are_refused_before_anything_is_written(
    deferred: Deferred, database: Any
) -> None:
    deferred.register("twice", lambda _: [Insert("notes", {"text": "a"}), Insert("notes", {"text": "b"})])
    with pytest.raises(ValueError, match="inserts twice"):
        deferred.apply(Write("twice", {}))
    assert texts(database) == []


def test_a_document_remembers_only_so_many_operations(deferred: Deferred, database: Any) -> None:
    for number in range(REMEMBERED + 5):
        deferred.apply(note(str(number)))
    assert len(database.books.find_one()[GUARD]) == REMEMBERED


def test_many_writers_that_make_the_same_document_all_count(deferred: Deferred, database: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: deferred.apply(note(str(number))), range(40)))
    assert database.books.find_one()["notes"] == 40


def test_a_clash_with_another_unique_field_is_told_and_not_taken_for_an_earlier_try(
    deferred: Deferred, database: Any
) -> None:
    database.books.create_index("title", unique=True)
    database.books.insert_one({"_id": "first", "title": "taken"})
    write = update(deferred, Update("books", {"_id": "second"}, {"$set": {"title": "taken"}}, upsert=True))
    with pytest.raises(DuplicateKeyError):
        deferred.apply(write)
    database.notes.create_index("text", unique=True)
    deferred.apply(note("taken"))
    with pytest.raises(DuplicateKeyError):
        deferred.apply(note("taken"))


# -- keeping ----------------------------------------------------------------------------------------------------------------


def test_a_put_is_durable_and_counted_once(deferred: Deferred, journal: Journal, monkeypatch: Any) -> None:
    asked: list[bool] = []
    write = journal.write
    monkeypatch.setattr(journal, "write", lambda rows, durable=False: (asked.append(durable), write(rows))[1])
    kept = note()
    deferred.put(kept)
    deferred.put(kept)
    assert asked == [True, True]
    assert (deferred.waiting(), deferred.counts()) == (1, {"waiting": 1, "dead": 0})


def test_a_full_journal_refuses(make: Callable[..., Deferred]) -> None:
    deferred = make(max_entries=2)
    deferred.put(note())
    deferred.put(note())
    with pytest.raises(JournalUnavailable, match="full"):
        deferred.put(note())
    deferred.drain()
    deferred.put(note())


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", {1: "a"}])
def test_what_bson_cannot_hold_is_refused_before_it_is_kept(deferred: Deferred, value: Any) -> None:
    with pytest.raises(ValidationFailed):
        deferred.put(note(value))
    assert deferred.waiting() == 0


@pytest.mark.parametrize("method", ["write", "read_own"])
def test_a_disk_that_does_not_answer_refuses(
    deferred: Deferred, journal: Journal, monkeypatch: Any, method: str
) -> None:
    def hang(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(journal, method, hang)
    with pytest.raises(JournalUnavailable):
        deferred.put(note())


def test_all_workers_together_are_counted(open_journal: Callable[[], Journal], deferred: Deferred) -> None:
    other = Deferred(
        open_journal(), lambda: None, Classifier(), enabled=True, durable=False, max_entries=9, max_attempts=1
    )
    other.put(note())
    deferred.put(note())
    assert (deferred.counts()["waiting"], deferred.waiting()) == (2, 1)
    assert (deferred.durability, other.durability) == ("durable", "ephemeral")
