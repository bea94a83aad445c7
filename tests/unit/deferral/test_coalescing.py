"""Several updates as one: the document comes out as if they had come one after another, or they are not merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodfix.deferral.coalescing import mergeable, merged

WHOLE = st.integers(-(2**40), 2**40)
ITEMS = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.just({"name": "a"}), st.just([1, 2]), st.none())
ADDED = st.one_of(ITEMS, st.lists(ITEMS, max_size=3).map(lambda items: {"$each": items}))
COUNTS = st.dictionaries(st.sampled_from(["n", "counts.a", "counts.b"]), WHOLE, min_size=1)
LISTS = st.dictionaries(st.sampled_from(["tags", "lists.a"]), ADDED, min_size=1)
SETS = st.dictionaries(st.sampled_from(["kinds", "lists.b"]), ADDED, min_size=1)
UPDATES = st.fixed_dictionaries({}, optional={"$inc": COUNTS, "$push": LISTS, "$addToSet": SETS}).filter(bool)


@settings(max_examples=60)
@given(updates=st.lists(UPDATES, min_size=1, max_size=6), there=st.booleans())
def test_one_update_does_what_all_of_them_do_one_after_another(
    database: Any, updates: Sequence[Mapping[str, Any]], there: bool
) -> None:
    assert all(mergeable(update) for update in updates)
    database.books.delete_many({})
    if there:
        begun = {"n": 5, "tags": ["a"], "kinds": ["b", 1], "counts": {"a": 1}}
        database.books.insert_many([{"_id": name, **begun} for name in ("each", "merged")])
    for update in updates:
        database.books.update_one({"_id": "each"}, update, upsert=True)
    database.books.update_one({"_id": "merged"}, merged(updates), upsert=True)
    each, whole = (database.books.find_one({"_id": name}, {"_id": 0}) for name in ("each", "merged"))
    assert each == whole


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"title": "a"}},
        {"$max": {"n": 1}},
        {"$inc": {"n": 1}, "$setOnInsert": {"made": 1}},
        {"$inc": {"n": 0.1}},
        {"$inc": {"n": True}},
        {"$inc": {"n": bson.Int64(1)}},
        {"$inc": {"n": bson.Decimal128("1")}},
        {"$inc": 1},
        {"$push": {"tags": {"$each": ["a"], "$slice": -3}}},
        {"$push": {"tags": {"$each": ["a"], "$sort": 1}}},
        {"$push": {"tags": {"$each": "a"}}},
        {"$push": {"tags": {"$unknown": 1}}},
        {"$addToSet": {"tags": {"$in": ["a"]}}},
    ],
    ids=str,
)
def test_what_would_not_come_to_the_same_is_not_merged(update: Any) -> None:
    assert not mergeable(update)


def test_a_sum_that_bson_cannot_hold_is_none() -> None:
    largest = {"$inc": {"n": 2**63 - 1}}
    assert merged([largest]) == largest
    assert merged([largest, {"$inc": {"n": 1}}]) is None
    assert merged([largest, {"$inc": {"n": -1}}, {"$inc": {"n": 1}}]) == largest


def test_the_updates_themselves_stay_as_they_are() -> None:
    updates = [{"$push": {"tags": {"$each": ["a"]}}}, {"$push": {"tags": "b"}}]
    assert merged(updates) == {"$push": {"tags": {"$each": ["a", "b"]}}}
    assert updates == [{"$push": {"tags": {"$each": ["a"]}}}, {"$push": {"tags": "b"}}]
