"""Records found again: from every worker, once, newest first, also while MongoDB is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON
from pymongo import MongoClient

from prodfix.connection.status import ConnectionDetails, ProcessEnvironment
from prodfix.records import lookup as module
from prodfix.records.lookup import Lookup, Page
from prodfix.records.record_indexes import CONNECTION_EVENTS, ERROR_LOG
from prodfix.records.wanted_records import Place, RecordFields
from tests.support.counting_worker import Worker
from tests.support.scripted_server import ScriptedServer

NOW = datetime.now(UTC).replace(microsecond=0)


def put(worker: Worker, request_id: str, minute: float = 0, collection: str = ERROR_LOG, **fields: Any) -> None:
    document = {"timestamp": NOW + timedelta(minutes=minute), "requestId": request_id, "minute": minute, **fields}
    worker.journal.write(worker.storage.insertion(collection, bson.ObjectId(), document, request_id))


def lookup(worker: Worker) -> Lookup:
    return Lookup(worker.journal, lambda: worker.database)


def minutes(documents: list[dict[str, Any]]) -> list[float]:
    return [document["minute"] for document in documents]


@pytest.fixture
def pair(make_worker: Callable[..., Worker], database: Any) -> tuple[Worker, Worker]:
    """Two workers of one instance, each with two records, and of each one is in MongoDB already."""
    first, second = make_worker(database), make_worker(database)
    put(first, "asked", 3)
    put(second, "asked", 1)
    for worker in (first, second):
        worker.storage.tick()
    put(first, "asked", 2)
    put(second, "other", 4)
    return first, second


def test_both_workers_find_all_of_a_request_once_and_newest_first(pair: tuple[Worker, Worker]) -> None:
    for worker in pair:
        assert minutes(lookup(worker).request("asked")) == [3, 2, 1]
        assert minutes(lookup(worker).request("other")) == [4]
        assert lookup(worker).request("nobody's") == []
        assert minutes(lookup(worker).errors(limit=20).records) == [4, 3, 2, 1]


def test_also_while_mongodb_is_away(pair: tuple[Worker, Worker], nowhere: Any) -> None:
    for away in (None, nowhere.get_default_database()):
        for worker in pair:
            worker.database = away
            assert minutes(lookup(worker).request("asked")) == [3, 2, 1]
            assert minutes(lookup(worker).errors(limit=20).records) == [4, 3, 2, 1]


def test_a_database_that_fails_meanwhile_hides_nothing(pair: tuple[Worker, Worker], fail: Any) -> None:
    fail("find", errorCode=8000)
    assert minutes(lookup(pair[0]).request("asked")) == [3, 2, 1]


def test_what_the_journals_no_longer_have_is_found_in_mongodb(pair: tuple[Worker, Worker]) -> None:
    for worker in pair:
        worker.storage.tick()
        worker.journal.write([("DELETE FROM records", ())])
    for worker in pair:
        assert minutes(lookup(worker).request("asked")) == [3, 2, 1]
        worker.database = None
        assert lookup(worker).request("asked") == []  # the control


def test_an_answer_has_the_newest_and_no_more(pair: tuple[Worker, Worker]) -> None:
    for worker in pair:
        assert minutes(lookup(worker).errors(limit=2).records) == [4, 3]
        assert minutes(lookup(worker).request("asked", 1)) == [3]


def test_events_of_the_connection_are_no_errors(pair: tuple[Worker, Worker]) -> None:
    put(pair[0], "asked", 9, CONNECTION_EVENTS)
    assert minutes(lookup(pair[0]).request("asked")) == [3, 2, 1]
    assert minutes(lookup(pair[0]).errors(limit=1).records) == [4]


def test_what_a_dead_worker_left_is_found_before_and_after_it_is_adopted(
    pair: tuple[Worker, Worker], nowhere: Any
) -> None:
    first, second = pair
    first.database = None
    second.journal.close()
    assert minutes(lookup(first).errors(limit=20).records) == [4, 3, 2, 1]
    first.storage.adopt()
    assert minutes(lookup(first).errors(limit=20).records) == [4, 3, 2, 1]


# -- pages ------------------------------------------------------------------------------------------------------------------


def all_pages(read: Callable[[str | None], Page]) -> list[Page]:
    pages: list[Page] = []
    place: str | None = None
    while len(pages) < 100:
        pages.append(read(place))
        place = pages[-1].next
        if place is None:
            return pages
    raise AssertionError("it never ends")


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_have_each_record_once_and_in_order_wherever_it_is(
    make_worker: Callable[..., Worker], database: Any, down: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    monkeypatch.setattr(module, "LATE", 3600.0)  # here times are made up, and rows have their real ones
    workers = [make_worker(database), make_worker(database)]
    for number in range(13):  # some at the same millisecond, and every second one stored
        put(workers[number % 2], "r", -(number // 3) / 60)
        if number % 2:
            workers[number // 2 % 2].storage.tick()
    if down:
        workers[0].database = None
    pages = all_pages(lambda after: lookup(workers[0]).errors(after=after, limit=limit))
    found = [record for page in pages for record in page.records]
    assert len({record["_id"] for record in found}) == len(found) == 13
    assert [Place.of(record) for record in found] == sorted(map(Place.of, found), reverse=True)
    assert {page.scope for page in pages} == {"instance" if down else "all"}
    assert all(len(page.records) == limit for page in pages[:-1])


def test_what_happens_between_two_pages_moves_nothing(make_worker: Callable[..., Worker], database: Any) -> None:
    worker = make_worker(database)
    for second in range(4):
        put(worker, "r", -second / 60)
    first = lookup(worker).errors(limit=2)
    put(worker, "later", 1 / 60)
    worker.storage.tick()
    second_page = lookup(worker).errors(after=first.next, limit=2)
    assert minutes(first.records + second_page.records) == [0, -1 / 60, -2 / 60, -3 / 60]


FIELDS: dict[str, dict[str, Any]] = {
    "category": {"category": "timeout"},
    "severity": {"severity": "critical"},
    "code": {"code": "DATABASE_TIMEOUT"},
    "fingerprint": {"fingerprint": "0123456789abcdef"},
    "endpoint": {"context": {"endpoint": "/orders"}},
    "device": {"context": {"deviceType": "mobile"}},
    "user": {"context": {"userId": "u1"}},
}


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", RecordFields.__annotations__)
def test_each_filter_finds_what_has_the_value_and_nothing_else(
    make_worker: Callable[..., Worker], database: Any, name: str, stored: bool, down: bool
) -> None:
    worker = make_worker(database)
    (value,) = (FIELDS[name].get("context") or FIELDS[name]).values()
    put(worker, "has it", **FIELDS[name])
    put(
        worker,
        "has another",
        **{"context": None, **dict.fromkeys(FIELDS[name], {} if "context" in FIELDS[name] else "x")},
    )
    if stored:
        worker.storage.tick()
    if down:
        worker.database = None
    page = lookup(worker).errors(**{name: value})
    assert [record["requestId"] for record in page.records] == ["has it"]
    assert len(lookup(worker).errors().records) == 2  # the control


def test_what_is_counted_are_errors_and_no_warnings_of_what_went_well_in_the_end(
    make_worker: Callable[..., Worker], database: Any
) -> None:
    worker = make_worker(database)
    records = [
        ("timeout", "error"),
        ("timeout", "warn"),
        ("client", "info"),
        ("unknown", "critical"),
        ("conflict", "warn"),
    ]
    for stored in (True, False):  # in MongoDB, and in the journal
        for number, (category, severity) in enumerate(records):
            put(worker, "asked", number + 10 * stored, category=category, severity=severity)
        if stored:
            worker.storage.tick()
    found = lookup(worker)
    assert minutes(found.errors(counted="service").records) == [13, 10, 3, 0]
    assert minutes(found.errors(counted="all").records) == [13, 12, 10, 3, 2, 0]
    assert minutes(found.errors(counted="service", category="timeout").records) == [10, 0]
    assert minutes(found.errors(counted="service", category="client").records) == [12, 2], "what is named comes first"
    assert minutes(found.errors(counted="all", severity="warn").records) == [14, 11, 4, 1]
    assert len(found.errors().records) == 10  # the control


def test_which_kinds_are_thinned_is_known_while_mongodb_says_so(
    make_worker: Callable[..., Worker], database: Any, nowhere: Any
) -> None:
    worker = make_worker(database)
    assert lookup(worker).thinned() == frozenset()
    database["error_sampling"].insert_one({"_id": "keeper", "levels": [{"kind": "f1", "level": 2}], "floor": 0})
    assert lookup(worker).thinned() == {"f1"}
    database["error_sampling"].update_one({"_id": "keeper"}, {"$set": {"floor": 1}})
    assert lookup(worker).thinned() is None, "all kinds are"
    for away in (None, nowhere.get_default_database()):
        worker.database = away
        assert lookup(worker).thinned() is None


@pytest.mark.parametrize("down", [False, True])
def test_the_kinds_of_a_user_are_those_of_the_records_that_are_kept(
    make_worker: Callable[..., Worker], database: Any, down: bool
) -> None:
    worker = make_worker(database)
    for number, (user, fingerprint) in enumerate((("ann", "f1"), ("ann", "f2"), ("ben", "f3"), (None, "f4"))):
        put(worker, "r", -number, context={"userId": user}, fingerprint=fingerprint)
    worker.storage.tick()
    put(worker, "r", -5, context={"userId": "ann"}, fingerprint="f5")  # which waits
    put(worker, "r", -500, context={"userId": "ann"}, fingerprint="f6")
    put(worker, "r", 0, context={"userId": "ann"})
    if down:
        worker.database = None
    assert lookup(worker).kinds_of_user("ann", begin=NOW - timedelta(hours=1)) == {"f1", "f2", "f5"}
    assert lookup(worker).kinds_of_user("ann") == {"f1", "f2", "f5", "f6"}
    assert lookup(worker).kinds_of_user("nobody") == set()


@pytest.mark.parametrize("down", [False, True])
def test_a_window_begins_with_its_first_moment_and_ends_before_its_last(
    make_worker: Callable[..., Worker], database: Any, down: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE", 3600.0)
    worker = make_worker(database)
    for second in range(-3, 1):
        put(worker, "r", second / 60)
    if down:
        worker.database = None
    assert minutes(lookup(worker).errors(begin=NOW - timedelta(seconds=2), end=NOW).records) == [-1 / 60, -2 / 60]


def test_events_have_pages_of_their_own(make_worker: Callable[..., Worker], database: Any) -> None:
    worker = make_worker(database)
    for event in ("connected", "disconnected", "connected"):
        put(worker, "r", 0, CONNECTION_EVENTS, event=event)
    put(worker, "no event")
    assert len(lookup(worker).connection_events().records) == 3
    page = lookup(worker).connection_events(event="connected", limit=1)
    assert (len(page.records), page.next is None) == (1, False)


def test_an_event_of_another_release_hides_no_other(worker: Worker) -> None:
    put(worker, "r", 0, CONNECTION_EVENTS, event="connected", details={"state": "connected", "poolSize": 3})
    put(worker, "r", 1, CONNECTION_EVENTS, event="asleep", details="none", environment={"driver": 7})
    odd, known = lookup(worker).connection_events().events
    assert (odd.event, odd.details, odd.environment) == ("disconnected", ConnectionDetails(), ProcessEnvironment())
    assert (known.event, known.details.pool_size, len(known._id)) == ("connected", 3, 24)


def test_a_long_search_ends_at_its_bound(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "CHUNKS", 2)
    put(worker, "r", 0, code="RARE")
    for _ in range(6):
        put(worker, "r", 1 / 60, code="OFTEN")
    assert lookup(worker).errors(code="RARE").records == []
    assert len(lookup(worker).errors(code="OFTEN").records) == 4


class Undecodable:
    """A database whose replies cannot be decoded."""

    def __getitem__(self, name: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        raise InvalidBSON("canary")


def test_a_reply_that_cannot_be_decoded_hides_nothing_that_is_held_here(pair: tuple[Worker, Worker]) -> None:
    for worker in pair:
        worker.database = Undecodable()
        assert minutes(lookup(worker).request("asked")) == [3, 2, 1]
        page = lookup(worker).errors()
        assert (minutes(page.records), page.scope) == ([4, 3, 2, 1], "instance")


def test_a_record_that_python_cannot_hold_hides_no_other(worker: Worker) -> None:
    far = {"_id": bson.ObjectId(), "timestamp": DatetimeMS(2**60), "requestId": "asked", "minute": 2}
    near = {"_id": bson.ObjectId(), "timestamp": NOW, "requestId": "asked", "minute": 1}
    reply = {"ok": 1, "cursor": {"id": bson.Int64(0), "ns": "scripted.error_log", "firstBatch": [far, near]}}
    with ScriptedServer(lambda command: reply) as server, MongoClient(server.uri, tz_aware=True) as client:
        with pytest.raises(InvalidBSON):  # the control
            list(client["scripted"][ERROR_LOG].find())
        worker.database = client["scripted"]
        page = lookup(worker).errors()
    assert (minutes(page.records), page.scope) == ([2, 1], "all")
    assert page.records[0]["timestamp"].year == 9999
