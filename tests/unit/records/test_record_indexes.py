"""The indexes of what is stored: a page of a filtered list costs what it shows, and making them holds up nothing."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from pymongo import DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from prodfix.records import record_indexes
from prodfix.records.lookup import Lookup
from prodfix.records.record_indexes import (
    CONNECTION_EVENTS,
    ERROR_LOG,
    FILTERS,
    SEVERAL,
    RecordIndexes,
    difference,
    make,
)
from prodfix.records.wanted_records import Place, Wanted
from tests.support.counting_worker import Worker
from tests.support.index_scan import scanned, value

NOW = datetime.now(UTC).replace(microsecond=0)
OF_ERRORS = [name for name in FILTERS if name != "event"]
INDEXES = RecordIndexes(8, list)
BY_NAME = {index.document["name"]: index for index in INDEXES.wanted()[ERROR_LOG]}
LIMIT = 20


def record(number: int, chance: random.Random) -> dict[str, Any]:
    """Fields that depend on each other a little, as they do; two records of each moment."""
    kind = chance.choice("abcdefgh")
    return {
        "_id": bson.ObjectId(),
        "timestamp": NOW - timedelta(seconds=number // 2),
        "requestId": f"r{number // 3}",
        "category": {"a": "timeout", "b": "timeout"}.get(kind, "unknown"),
        "severity": chance.choice(["error", "error", "critical"]),
        "code": f"CODE_{kind}",
        "fingerprint": kind * 16,
        "context": {
            "endpoint": f"/{chance.choice([kind, 'x'])}",
            "deviceType": chance.choice(["mobile", "desktop", "unknown"]),
            "userId": chance.choice([None, None, f"user{chance.randrange(5)}"]),
        },
    }


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    chance = random.Random(7)
    return [record(number, chance) for number in range(400)]


def asked(records: list[dict[str, Any]], names: tuple[str, ...]) -> Wanted:
    """What the newest record with a user has of these fields, in the last two minutes."""
    one = next(record for record in records if record["context"]["userId"])
    fields = tuple((name, value(one, FILTERS[name])) for name in names)
    return Wanted(NOW - timedelta(seconds=120), NOW + timedelta(seconds=1), fields)


def combinations(most: int) -> list[tuple[str, ...]]:
    return [names for size in range(1, most + 1) for names in itertools.combinations(OF_ERRORS, size)]


def used(wanted: Wanted) -> IndexModel:
    return BY_NAME[wanted.hint or f"prodfix_{wanted.fields[0][0]}"]


@pytest.mark.parametrize("names", combinations(len(OF_ERRORS)), ids="-".join)
def test_a_page_reads_the_documents_that_it_shows(records: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    wanted = asked(records, names)
    middle = records[len(records) // 8]
    for after in (None, Place.of(middle)):
        for query in wanted.queries(after):
            read, returned = scanned(used(wanted), query, records, LIMIT)
            assert read <= 2 * len(returned)


def test_by_an_index_of_one_field_several_would_read_more(records: list[dict[str, Any]]) -> None:
    # The control of the test above.
    (query,) = asked(records, ("category", "user")).queries(None)
    read, returned = scanned(BY_NAME["prodfix_category"], query, records, LIMIT)
    assert read > 2 * len(returned) > 0


def explained(database: Any, query: dict[str, Any], hint: str | None, limit: int = LIMIT) -> dict[str, Any]:
    find = {"find": ERROR_LOG, "filter": query, "sort": {"timestamp": -1, "_id": -1}, "limit": limit}
    if hint is not None:
        find["hint"] = hint
    answer: dict[str, Any] = database.command("explain", find, verbosity="executionStats")
    return answer


def scan_of(plan: Any) -> dict[str, Any]:
    """The stage that reads keys or documents."""
    stage: dict[str, Any] = plan
    while "inputStage" in stage:
        stage = stage["inputStage"]
    return stage


@pytest.fixture
def filled(database: Any, records: list[dict[str, Any]]) -> Any:
    make(database, INDEXES.wanted())
    database[ERROR_LOG].insert_many(records)
    return database


def test_the_server_uses_the_index_of_each_field_and_pages_by_it(filled: Any, records: list[dict[str, Any]]) -> None:
    after = Place.of(records[30])
    for name in OF_ERRORS:
        wanted = asked(records, (name,))
        for query in [*wanted.queries(None), *wanted.queries(after)]:
            answer = explained(filled, query, wanted.hint)
            scan = scan_of(answer["queryPlanner"]["winningPlan"])
            assert (scan["stage"], scan["indexName"]) == ("IXSCAN", used(wanted).document["name"]), query
            stats = answer["executionStats"]
            assert stats["totalDocsExamined"] <= 2 * stats["nReturned"]
    by_request = explained(filled, {"requestId": "r5"}, None)
    assert scan_of(by_request["queryPlanner"]["winningPlan"])["indexName"] == "prodfix_request"


def test_without_an_index_the_server_reads_the_whole_collection(filled: Any, records: list[dict[str, Any]]) -> None:
    # The control of the tests above and below.
    filled[ERROR_LOG].drop_index("prodfix_user")
    (query,) = asked(records, ("user",)).queries(None)
    answer = explained(filled, {FILTERS["user"]: query[FILTERS["user"]]}, None)
    assert scan_of(answer["queryPlanner"]["winningPlan"])["stage"] == "COLLSCAN"
    assert answer["executionStats"]["totalDocsExamined"] == len(records)


@pytest.mark.skipif("TEST_MONGODB_URI" not in os.environ, reason="the embedded server tells what it returned")
def test_a_real_server_reads_what_it_shows(filled: Any, records: list[dict[str, Any]]) -> None:
    for names in combinations(3):
        wanted = asked(records, names)
        for query in wanted.queries(None):
            stats = explained(filled, query, wanted.hint)["executionStats"]
            assert stats["totalDocsExamined"] <= 2 * max(1, stats["nReturned"]), names


def test_pages_have_all_that_fits_once_whatever_is_asked(
    filled: Any, worker: Worker, records: list[dict[str, Any]]
) -> None:
    worker.database = filled
    lookup = Lookup(worker.journal, lambda: filled)
    newest_first = sorted(records, key=lambda one: (one["timestamp"], one["_id"]), reverse=True)
    for names in [(), *combinations(1), *combinations(2)[len(OF_ERRORS) :: 4]]:
        wanted = asked(records, names)
        expected = [one["_id"] for one in newest_first if wanted.has(one)]
        found: list[Any] = []
        cursor: str | None = None
        while True:
            fields: Any = dict(wanted.fields)
            page = lookup.errors(begin=wanted.begin, end=wanted.end, after=cursor, limit=7, **fields)
            assert page.scope == "all"
            found += [one["_id"] for one in page.records]
            cursor = page.next
            if cursor is None:
                break
        assert found == expected, names


def test_an_index_that_is_not_there_hides_nothing(filled: Any, worker: Worker, records: list[dict[str, Any]]) -> None:
    lookup = Lookup(worker.journal, lambda: filled)
    before = lookup.errors(severity="error", device="mobile").records
    filled[ERROR_LOG].drop_index(SEVERAL)
    page = lookup.errors(severity="error", device="mobile")
    assert (page.records, page.scope) == (before, "all")


def test_what_takes_long_goes_on_beside(database: Any, until: Callable[..., Any], fail: Any) -> None:
    indexes = RecordIndexes(8, list)
    fail("createIndexes", times=1, blockConnection=True, blockTimeMS=1500)
    record_indexes.SOON, before = 0.05, record_indexes.SOON
    try:
        indexes.begin(database)
        assert not indexes.made
        until(lambda: indexes.begin(database) or indexes.made)
    finally:
        record_indexes.SOON = before
    assert SEVERAL in database[CONNECTION_EVENTS].index_information()


def test_what_the_server_refuses_is_told_and_tried_again(database: Any, fail: Any) -> None:
    indexes = RecordIndexes(8, list)
    fail("createIndexes", times=1, errorCode=13)
    with pytest.raises(OperationFailure):
        indexes.begin(database)
    assert not indexes.made
    indexes.begin(database)
    assert indexes.made


def test_an_operators_own_index_keeps_no_other_from_being_made(database: Any) -> None:
    database[ERROR_LOG].create_index([("timestamp", DESCENDING)], name="prodfix_expiry", expireAfterSeconds=60)
    make(database, INDEXES.wanted())
    there = database[ERROR_LOG].index_information()
    assert set(BY_NAME) <= set(there)
    assert there["prodfix_expiry"]["expireAfterSeconds"] == 60


def test_what_is_missing_is_told_and_made_by_an_operator(database: Any) -> None:
    indexes = RecordIndexes(8, list)
    assert f"{ERROR_LOG}: create index prodfix_user" in indexes.differences(database)
    done = indexes.apply(database)
    assert indexes.differences(database) == []
    assert len(done) == sum(map(len, indexes.wanted().values()))
    assert indexes.apply(database) == []


@pytest.mark.parametrize(
    ("index", "found", "state"),
    [
        (IndexModel([("a", 1), ("b", -1)], name="x"), {"y": {"key": [("a", 1), ("b", -1)]}}, "same"),
        (IndexModel([("a", 1), ("b", -1)], name="x"), {"x": {"key": [("a", 1)]}}, "missing"),
        (IndexModel([("a", 1)], name="x", partialFilterExpression={"a": {"$gt": ""}}), {"x": {"key": [("a", 1)]}}, "other"),
        (IndexModel([("a", -1)], name="x", expireAfterSeconds=5), {"x": {"key": [("a", 1)], "expireAfterSeconds": 5}}, "same"),
        (IndexModel([("a", -1)], name="x", expireAfterSeconds=5), {"x": {"key": [("a", -1)], "expireAfterSeconds": 6}}, "other"),
        (IndexModel([("a", -1)], name="x", expireAfterSeconds=5), {"x": {"key": [("a", -1)]}}, "missing"),
    ],
)  # fmt: skip
def test_an_index_is_known_by_its_key_and_options(index: IndexModel, found: dict[str, Any], state: str) -> None:
    assert difference(index, found) == state
