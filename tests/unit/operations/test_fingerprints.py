from __future__ import annotations

from typing import Any

import pytest
from bson import SON
from hypothesis import given
from hypothesis import strategies as st

from prodfix import redact_command
from prodfix.operations.fingerprints import CommandKey, collection_of, command_key, filter_of, fingerprint

VALUES = st.one_of(st.integers(), st.text(max_size=20), st.booleans(), st.none(), st.floats(allow_nan=False))


def of(command: dict[str, Any]) -> str:
    return fingerprint(redact_command(command))


@given(st.text(), st.text(), st.integers(1, 50), st.integers(1, 50))
def test_values_and_lengths_of_lists_make_no_difference(one: str, other: str, few: int, many: int) -> None:
    assert of({"find": "notes", "filter": {"a": one, "b": {"$in": [one] * few}}, "limit": few}) == of(
        {"find": "notes", "filter": {"a": other, "b": {"$in": [other] * many}}, "limit": many}
    )


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_a_filters_fields_makes_no_difference(names: list[str]) -> None:
    assert of({"find": "n", "filter": dict.fromkeys(names, 1)}) == of({"find": "n", "filter": dict.fromkeys("abcd", 1)})


def test_the_order_of_alternatives_makes_no_difference() -> None:
    one = {"find": "n", "filter": {"$or": [{"a": 1}, {"b": 2}, {"a": 3}]}}
    other = {"find": "n", "filter": {"$or": [{"b": 5}, {"a": 4}]}}
    assert of(one) == of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"find": "n", "sort": SON([("a", 1), ("b", 1)])}, {"find": "n", "sort": SON([("b", 1), ("a", 1)])}),
        ({"find": "n", "sort": {"a": 1}}, {"find": "n", "sort": {"a": -1}}),
        ({"find": "n", "filter": {"a": 1}}, {"find": "m", "filter": {"a": 1}}),
        ({"find": "n", "filter": {"a": 1}}, {"find": "n", "filter": {"a": {"$gt": 1}}}),
        (
            {"aggregate": "n", "pipeline": [{"$match": {"a": 1}}, {"$limit": 1}]},
            {"aggregate": "n", "pipeline": [{"$limit": 1}, {"$match": {"a": 1}}]},
        ),
    ],
)
def test_what_has_a_meaning_makes_a_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert of(one) != of(other)


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ({"find": "n", "filter": {"b": 1, "a": 2}}, ("b", "a")),
        ({"count": "n", "query": {"a": 1}}, ("a",)),
        ({"distinct": "n", "key": "x", "query": {"a": 1}}, ("a",)),
        ({"findAndModify": "n", "query": {"_id": 1}}, ("_id",)),
        ({"update": "n", "updates": [{"q": {"a": 1}, "u": {}}]}, ("a",)),
        ({"delete": "n", "deletes": [{"q": {"a": 1}, "limit": 1}]}, ("a",)),
        ({"aggregate": "n", "pipeline": [{"$match": {"a": 1}}]}, ("a",)),
        ({"aggregate": "n", "pipeline": []}, ()),
        ({"insert": "n", "documents": [{"a": 1}]}, ()),
        ({"find": "n", "filter": {str(number): 1 for number in range(99)}}, tuple(str(number) for number in range(16))),
    ],
)
def test_a_key_has_the_names_of_the_filters_top_level_fields(command: dict[str, Any], fields: tuple[str, ...]) -> None:
    assert command_key(next(iter(command)), command) == CommandKey(next(iter(command)), "n", fields)


def test_a_getmore_and_a_bulk_write_name_their_collections_elsewhere() -> None:
    assert collection_of("getMore", {"getMore": 5, "collection": "n"}) == "n"
    assert collection_of("bulkWrite", {"bulkWrite": 1, "nsInfo": [{"ns": "db.b"}, {"ns": "db.a"}]}) == "a,b"


@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=5))
def test_nothing_that_a_driver_sends_is_too_odd(command: dict[str, Any]) -> None:
    for name in ("find", "update", "aggregate", "bulkWrite", "getMore"):
        assert filter_of(name, {name: "n", **command}) is None or isinstance(
            filter_of(name, {name: "n", **command}), dict
        )
