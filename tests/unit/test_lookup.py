"""Records found again: from every worker, once, newest first, also while MongoDB is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest

from prodfix.records.lookup import Lookup
from prodfix.records.storage import CONNECTION_EVENTS, ERROR_LOG
from tests.unit.counting import Worker

NOW = datetime.now(UTC).replace(microsecond=0)


def put(worker: Worker, request_id: str, minute: int = 0, collection: str = ERROR_LOG) -> None:
    document = {"timestamp": NOW + timedelta(minutes=minute), "requestId": request_id, "minute": minute}
    worker.journal.write(worker.storage.insertion(collection, bson.ObjectId(), document, request_id))


def lookup(worker: Worker) -> Lookup:
    return Lookup(worker.journal, lambda: worker.database)


def minutes(documents: list[dict[str, Any]]) -> list[int]:
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
        assert minutes(lookup(worker).recent()) == [4, 3, 2, 1]


def test_also_while_mongodb_is_away(pair: tuple[Worker, Worker], nowhere: Any) -> None:
    for away in (None, nowhere.get_default_database()):
        for worker in pair:
            worker.database = away
            assert minutes(lookup(worker).request("asked")) == [3, 2, 1]
            assert minutes(lookup(worker).recent()) == [4, 3, 2, 1]


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
        assert minutes(lookup(worker).recent(2)) == [4, 3]
        assert minutes(lookup(worker).request("asked", 1)) == [3]


def test_events_of_the_connection_are_no_errors(pair: tuple[Worker, Worker]) -> None:
    put(pair[0], "asked", 9, CONNECTION_EVENTS)
    assert minutes(lookup(pair[0]).request("asked")) == [3, 2, 1]
    assert minutes(lookup(pair[0]).recent(1)) == [4]


def test_what_a_dead_worker_left_is_found_before_and_after_it_is_adopted(
    pair: tuple[Worker, Worker], nowhere: Any
) -> None:
    first, second = pair
    first.database = None
    second.journal.close()
    assert minutes(lookup(first).recent()) == [4, 3, 2, 1]
    first.storage.adopt()
    assert minutes(lookup(first).recent()) == [4, 3, 2, 1]
