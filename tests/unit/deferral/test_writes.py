"""Writes as data: what can be guarded, what is refused and why, and how an operation gets its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import bson
import pytest
from flask import Blueprint

from prodfix.deferral import writes
from prodfix.deferral.writes import (
    Insert,
    Operation,
    Step,
    Update,
    Write,
    check,
    declared,
    declared_in,
    deferrable,
    new_identity,
    order_key,
    owner_of,
)
from prodfix.errors import Unguarded
from prodfix.schemas import GUARD

UNIQUE = {("books", "isbn")}
INC = {"$inc": {"n": 1}}


def by_id(update: Any, **options: Any) -> Update:
    return Update("books", {"_id": 1}, update, **options)


GOOD: list[Sequence[Step]] = [
    [Insert("notes", {"text": "a"}), Insert("books", {})],
    [by_id(INC, upsert=True), by_id(INC)],
    [Update("books", {"isbn": "1"}, INC)],
    [Update("books", {"_id": 1, "state": "open"}, INC)],
    [Update("books", {"_id": {"minute": 1, "worker": "a"}}, INC)],
    [by_id({"$set": {"title": "a"}}, expected_version=3)],
    [by_id({"$set": {"title": "a"}}, overwrite=True, upsert=True)],
    [by_id({"$push": {"tags": {"$each": ["a"]}}, "$min": {"low": 1}, "$setOnInsert": {"made": 1}}, upsert=True)],
    [by_id({"$set": {"all.$[].done": True}}, overwrite=True)],
]
BAD: list[tuple[Sequence[Any], str]] = [
    ([], "has no steps"),
    ([Insert("notes", {"_id": 1})], "_id of its own"),
    ([Insert("notes", {}), Insert("notes", {})], "inserts twice into one collection"),
    (["DELETE FROM notes"], "is a str, not an Insert or an Update"),
    ([Update("books", {}, INC)], "does not name its document"),
    ([Update("books", {"title": "a"}, INC)], "does not name its document"),
    ([Update("shelves", {"isbn": "1"}, INC)], "does not name its document"),
    ([Update("books", {"isbn": "1", "state": "open"}, INC)], "does not name its document"),
    ([Update("books", {"_id": {"$in": [1, 2]}}, INC)], "does not name one value of _id"),
    ([Update("books", {"isbn": re.compile("1")}, INC)], "does not name one value of isbn"),
    ([Update("books", {"isbn": None}, INC)], "does not name one value of isbn"),
    ([Update("books", {"_id": 1, "state": "open"}, INC, upsert=True)], "upsert"),
    ([by_id([{"$set": {"a": 1}}])], "is a pipeline"),
    ([by_id({})], "is a pipeline, or empty"),
    ([by_id({"title": "whole document"})], "has title, which cannot be guarded"),
    ([by_id({"$inc": {"n": 1}, "$where": {}})], "has \\$where, which cannot be guarded"),
    ([by_id({"$inc": {}})], "has an operator without fields"),
    ([by_id({"$push": {GUARD: "x"}})], f"changes {GUARD}"),
    ([by_id({"$unset": {f"{GUARD}.0": ""}}, overwrite=True)], f"changes {GUARD}"),
    ([by_id({"$set": {"version": 9}}, expected_version=1)], "changes version"),
    ([Update("books", {"isbn": "1"}, {"$set": {"isbn": "2"}}, overwrite=True)], "changes isbn"),
    ([by_id({"$inc": {"lines.$.n": 1}})], "positional operator"),
    ([by_id({"$inc": {"n": 1}}, upsert=True, expected_version=1)], "expects a version"),
    ([by_id({"$set": {"title": "a"}})], "older value over a newer one"),
    ([by_id({"$inc": {"n": 1}, "$unset": {"title": ""}})], "older value over a newer one"),
]


@pytest.mark.parametrize("steps", GOOD)
def test_what_can_be_guarded_is_let_through(steps: Sequence[Step]) -> None:
    check("op", steps, UNIQUE)


@pytest.mark.parametrize(("steps", "reason"), BAD)
def test_what_could_be_applied_twice_is_refused_with_its_reason(steps: Sequence[Any], reason: str) -> None:
    with pytest.raises(Unguarded, match=reason) as refused:
        check("op", steps, UNIQUE)
    assert isinstance(refused.value, ValueError)


def test_an_identity_is_an_object_id_that_tells_nothing_of_the_next() -> None:
    made = [new_identity() for _ in range(200)]
    assert all(bson.ObjectId.is_valid(identity) for identity in made)
    assert len({identity[8:] for identity in made}) == 200
    for place in range(8, 24):  # a counter, or a process's number, would stay the same in some place
        assert len({identity[place] for identity in made}) > 8


def test_an_order_key_is_the_first_document_and_shows_nothing_of_it() -> None:
    operation = Operation("op", lambda _: [])
    first, second = Write("op", {"who": "a"}), Write("op", {"who": "b"})
    one, other = Update("books", {"_id": "ada@example.org"}, INC), Update("shelves", {"_id": "ada@example.org"}, INC)
    key = order_key(first, operation, [one, other])
    assert key == order_key(second, operation, [one])
    assert key != order_key(first, operation, [other])
    assert "ada" not in key
    assert order_key(first, operation, [Insert("notes", {}), one]) == first.id
    named = Operation("op", lambda _: [], order_key=lambda arguments: arguments["who"])
    assert order_key(first, named, [one]) != order_key(second, named, [one])


@pytest.mark.parametrize(("entry", "owner"), [({"owner": "ada"}, "ada"), ({"owner": None}, None), ({}, None)])
def test_an_entry_names_its_owner(entry: dict[str, Any], owner: str | None) -> None:
    assert owner_of(bson.encode(entry)) == owner


def test_an_entry_that_cannot_be_read_is_nobodys_rather_than_everybodys() -> None:
    assert owner_of(b"\0") == ""


# -- names ------------------------------------------------------------------------------------------------------------------


@deferrable("tests.declared", atomic=True)
def declaration(arguments: Mapping[str, Any]) -> Sequence[Step]:
    return [Insert("notes", arguments)]


def test_a_declared_operation_is_still_the_function_and_is_known_by_name_and_module() -> None:
    assert declaration({"text": "a"}) == [Insert("notes", {"text": "a"})]
    operation = declared("tests.declared")
    assert operation is not None
    assert (operation.steps, operation.atomic) == (declaration, True)
    assert list(declared_in(__name__)) == [operation]
    assert operation in declared_in("tests.unit")
    assert declared("tests.unknown") is None
    assert list(declared_in("tests.uni")) == []


def test_a_name_has_one_function_in_a_module() -> None:
    def other(arguments: Mapping[str, Any]) -> Sequence[Step]:
        return []

    with pytest.raises(ValueError, match="is declared twice in tests"):
        deferrable("tests.declared")(other)
    other.__module__ = "another.module"
    deferrable("tests.declared")(other)
    try:
        with pytest.raises(ValueError, match="several modules declare"):
            declared("tests.declared")
    finally:
        del writes._declared["tests.declared", "another.module"]


def test_an_application_knows_the_operations_of_its_plug_ins_from_the_start(serve: Any) -> None:
    # A worker that has just been restarted replays before any view has used a name.
    with_it = serve([Blueprint("with_it", __name__)]).extensions["prodfix"].deferral.queue
    assert with_it._operations["tests.declared"].steps is declaration
    with pytest.raises(ValueError, match="registered twice"):
        with_it.register("tests.declared", lambda _: [])
    without = serve([]).extensions["prodfix"].deferral.queue
    assert "tests.declared" not in without._operations
    assert without.operation("tests.declared").steps is declaration  # a host's, at first use
    with pytest.raises(KeyError):
        without.operation("tests.unknown")
