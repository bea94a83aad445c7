from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient

from prodfix import QueryInterceptor
from prodfix.journal.journal import Journal
from prodfix.queries.advice import PERIOD, Advisor, suggested_index
from prodfix.queries.interceptor import CommandRecord
from prodfix.schemas import GUARD

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    journal.open()
    yield journal
    journal.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def advise(database_uri: str, journal: Journal) -> Iterator[Callable[..., Any]]:
    """Runs commands that all count as slow, and returns the advice that follows."""
    told: list[dict[str, Any]] = []
    with MongoClient(database_uri) as own:
        clock = Clock()
        advisor = Advisor(
            lambda: own, journal, enabled=True, on_advice=lambda advice: told.append(advice.to_json()), clock=clock
        )

        def record(command: CommandRecord) -> None:
            advisor.consider(command)

        interceptor = QueryInterceptor(slow_ms=0, on_record=record)
        with MongoClient(database_uri, event_listeners=[interceptor]) as client:

            def run(work: Callable[[Any], object], *, later: float = 0.0) -> list[dict[str, Any]]:
                told.clear()
                clock.now += later
                work(client.get_default_database())
                advisor.work()
                assert interceptor.errors == 0
                return [advice for advice in told if advice["operation"] not in ("insert", "createIndexes")]

            yield run


WORK: dict[str, Callable[[Any], object]] = {
    "find": lambda db: list(db.items.find({"owner": "canary-owner", "n": {"$gt": 3}}).sort("at", -1)),
    "aggregate": lambda db: list(
        db.items.aggregate([{"$match": {"owner": "canary-owner", "n": {"$gt": 3}}}, {"$sort": {"at": -1}}])
    ),
    "update": lambda db: db.items.update_many(
        {"owner": "canary-owner", "n": {"$gt": 3}}, {"$set": {"seen": "canary-set"}}
    ),
    "delete": lambda db: db.items.delete_many({"owner": "canary-owner", "n": {"$gt": 3}}),
}


@pytest.mark.parametrize("operation", WORK)
def test_a_scan_is_told_with_the_index_that_would_serve_it(
    advise: Callable[..., Any], journal: Journal, operation: str
) -> None:
    advise(lambda db: db.items.insert_many([{"owner": "x", "n": 1}, {"owner": "y", "n": 2}]))
    (advice,) = advise(WORK[operation])
    assert (advice["operation"], advice["collection"], advice["plan"]) == (operation, "items", "COLLSCAN")
    assert advice["index"][0] == ["owner", 1]
    assert advice["index"][-1] == ["n", 1]
    assert advice["documents"] == 2
    stored = journal.read("SELECT entry FROM advice")
    assert "canary" not in str(advice) + str(stored)


def test_nothing_is_executed_by_an_explanation(advise: Callable[..., Any], database_uri: str) -> None:
    client: Client
    with MongoClient(database_uri) as client:
        items = client.get_default_database().items
        items.insert_many([{"owner": "canary-owner", "n": number} for number in range(5)])
        advise(lambda db: db.items.delete_many({"owner": "nobody", "n": {"$gt": 3}}))
        assert items.count_documents({}) == 5


def test_an_index_that_is_there_already_is_not_suggested(advise: Callable[..., Any]) -> None:
    advise(lambda db: db.items.create_index([("owner", 1), ("at", -1), ("n", 1)]))
    advise(lambda db: db.items.insert_one({"owner": "x"}))
    assert [advice["index"] for advice in advise(WORK["find"])] == [[]]


def test_one_kind_is_explained_once_an_hour_whatever_its_values(advise: Callable[..., Any]) -> None:
    def find(db: Any) -> list[Any]:
        return [list(db.items.find({"owner": owner})) for owner in ("a", "b", "c")]

    assert len(advise(find)) == 1
    assert advise(find) == []
    assert len(advise(find, later=PERIOD + 1)) == 1


def test_it_can_be_switched_off(journal: Journal) -> None:
    def refuse() -> Any:
        raise AssertionError("asked the database")

    advisor = Advisor(refuse, journal, enabled=False)
    interceptor = QueryInterceptor(slow_ms=0, on_record=advisor.consider)
    assert interceptor.errors == 0
    advisor.work()


@pytest.mark.parametrize(
    ("command", "index"),
    [
        ({"find": "n", "filter": {"a": 1}}, [["a", 1]]),
        ({"find": "n", "filter": {"r": {"$gt": 1}, "a": 1}, "sort": {"s": -1}}, [["a", 1], ["s", -1], ["r", 1]]),
        ({"find": "n", "filter": {"a": {"$in": [1]}, "s": {"$lt": 5}}, "sort": {"s": 1}}, [["a", 1], ["s", 1]]),
        ({"find": "n", "filter": {"$and": [{"a": 1}, {"b": {"$ne": 2}}]}}, [["a", 1], ["b", 1]]),
        ({"find": "n", "filter": {"a": {"embedded": 1}}}, [["a", 1]]),
        ({"find": "n", "filter": {"$or": [{"a": 1}, {"b": 1}]}}, []),
        ({"find": "n", "filter": {}}, []),
        ({"find": "n", "filter": {}, "sort": {"$natural": 1}}, []),
        ({"find": "n", "filter": {"ann@example.com": 1}}, []),
        ({"find": "n", "filter": {"_id": 1, "a": 1}}, []),
        ({"find": "n", "filter": {"_id": {"$in": [1, 2]}}, "sort": {"a": 1}}, []),
        ({"find": "n", "filter": {"$and": [{"a": 1}, {"$and": [{"_id": {"$eq": 2}}]}]}}, []),
        ({"find": "n", "filter": {"_id": {"$gt": 1}, "a": 1}}, [["a", 1]]),
        ({"find": "n", "filter": {}, "sort": {"_id": -1}}, []),
        ({"find": "n", "filter": {"a": 1}, "sort": {"s": -1, "_id": -1}}, [["a", 1], ["s", -1]]),
        ({"find": "n", "filter": {"a": 1, "_id.tenant": {"$gt": 1}}}, [["a", 1]]),
        ({"find": "n", "filter": {"_operations": {"$ne": "x"}, "a": 1}}, [["a", 1]]),
        ({"find": "n", "filter": {"_operations.0": "x"}, "sort": {"_operations": 1}}, []),
        ({"find": "n", "filter": {"a": 1}, "sort": {"s": -1.0}}, [["a", 1], ["s", -1]]),
    ],
)
def test_equality_comes_first_then_the_sort_then_ranges(command: dict[str, Any], index: list[Any]) -> None:
    assert suggested_index("find", command) == index


FIELDS = st.sampled_from(["_id", "_id.a", GUARD, f"{GUARD}.0", "a", "b.c", "version"])
VALUES = st.sampled_from([1, {"$gt": 1}, {"$in": [1]}, {"$ne": 1}, {"$eq": 1}, {"x": 1}])
FILTERS = st.recursive(
    st.dictionaries(FIELDS, VALUES, max_size=4),
    lambda inner: st.builds(lambda parts, more: {"$and": parts, **more}, st.lists(inner, max_size=3), inner),
    max_leaves=6,
)


@given(
    FILTERS,
    st.dictionaries(FIELDS, st.sampled_from([1, -1]), max_size=3),
    st.sampled_from(["find", "update", "aggregate"]),
)
def test_no_advice_names_an_identity_or_our_own_guard(wanted: dict[str, Any], sort: dict[str, int], name: str) -> None:
    command: dict[str, Any] = {"find": "n", "filter": wanted, "sort": sort}
    if name == "update":
        command = {"update": "n", "updates": [{"q": wanted, "u": {}}], "sort": sort}
    elif name == "aggregate":
        command = {"aggregate": "n", "pipeline": [{"$match": wanted}, {"$sort": sort}]}
    fields = [field for field, _ in suggested_index(name, command)]
    assert not any(field.startswith(("_id", GUARD)) for field in fields)
    assert len(fields) == len(set(fields))


def test_a_slow_drain_of_a_deferred_write_gets_no_index_of_ours(advise: Callable[..., Any]) -> None:
    advise(lambda db: db.items.insert_many([{"_id": number, "owner": "x"} for number in range(3)]))
    guarded = {"_id": 2, GUARD: {"$ne": "0" * 24}}
    told = advise(lambda db: db.items.update_one(guarded, {"$set": {"n": 1}}))
    assert [advice["index"] for advice in told] == [[]]
    by_field = advise(lambda db: db.items.update_one({"owner": "x", GUARD: {"$ne": "0" * 24}}, {"$set": {"n": 1}}))
    assert [advice["index"] for advice in by_field] == [[["owner", 1]]]
