"""A result that is read after the last try is refused: nothing of it would be tried again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from prodfix import Recovery
from prodfix.classification.classifier import Classifier
from prodfix.deferral.queue import DeferredQueue


@pytest.fixture
def recovery(make_deferred: Callable[..., DeferredQueue]) -> Recovery:
    return Recovery(Classifier(), make_deferred(), retries=2, base=0.001, sleep=lambda seconds: None)


@pytest.fixture
def notes(database: Any) -> Any:
    database.notes.insert_many([{"n": number} for number in range(300)])
    return database.notes


def made(notes: Any) -> Iterator[Any]:
    yield from notes.find()


async def later() -> None: ...


class BaseQuerySet:
    """As mongoengine names it."""

    __module__ = "mongoengine.queryset.base"


class QuerySet(BaseQuerySet):
    pass


LAZY: dict[str, Callable[[Any], Any]] = {
    "find": lambda notes: notes.find(),
    "find, sorted": lambda notes: notes.find({}).sort("n").limit(5),
    "find, raw": lambda notes: notes.find_raw_batches(),
    "aggregate": lambda notes: notes.aggregate([{"$match": {}}]),
    "list_indexes": lambda notes: notes.list_indexes(),
    "list_collections": lambda notes: notes.database.list_collections(),
    "cursor_command": lambda notes: notes.database.cursor_command({"find": "notes"}),
    "generator": made,
    "generator expression": lambda notes: (note["n"] for note in notes.find()),
    "map": lambda notes: map(str, notes.find()),
    "filter": lambda notes: filter(None, notes.find()),
    "zip": lambda notes: zip(notes.find(), range(5), strict=False),
    "islice": lambda notes: itertools.islice(notes.find(), 5),
    "coroutine": lambda notes: later(),
    "another library's": lambda notes: QuerySet(),
}


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_result_is_refused_with_what_to_do_and_tried_once(recovery: Recovery, notes: Any, name: str) -> None:
    tries: list[int] = []

    def operation() -> Any:
        tries.append(1)
        return LAZY[name](notes)

    with pytest.raises(TypeError, match=r"recovery\.run\(\) got a .*(wrap it in list\(\.\.\.\)|not async)"):
        recovery.run(operation, idempotent=True)
    assert len(tries) == 1
    assert notes.count_documents({}) == 300


READ: dict[str, Callable[[Any], Any]] = {
    "list": lambda notes: list(notes.find()),
    "to_list": lambda notes: notes.find().to_list(),
    "find_one": lambda notes: notes.find_one(),
    "nothing": lambda notes: None,
    "$merge": lambda notes: notes.aggregate([{"$merge": {"into": "copies"}}]),
    "$out": lambda notes: notes.aggregate([{"$out": "copies"}]),
    "insert": lambda notes: notes.insert_one({}),
    "dict": lambda notes: {note["n"]: note for note in notes.find()},
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_the_result(recovery: Recovery, notes: Any, name: str) -> None:
    result = recovery.run(lambda: READ[name](notes))
    assert type(result) is type(READ[name](notes))


def test_the_sentence_is_right(recovery: Recovery, notes: Any, fail: Any) -> None:
    # The control: the cursor is asked when nobody tries again, and the list while somebody does.
    cursor = notes.find()
    fail("find", times=2, errorCode=134)
    with pytest.raises(OperationFailure):
        list(cursor)
    fail("find", times=2, errorCode=134)
    assert len(recovery.run(lambda: list(notes.find()), idempotent=True)) == 300


def test_also_after_a_retry(recovery: Recovery, notes: Any) -> None:
    errors = [OperationFailure("conflict", 112)]

    def operation() -> Any:
        if errors:
            raise errors.pop()
        return notes.find()

    with pytest.raises(TypeError, match="Cursor"):
        recovery.run(operation, idempotent=True)
