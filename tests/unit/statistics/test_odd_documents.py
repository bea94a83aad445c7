"""One document of counts that cannot be believed hides no other one, and the answer says that it is a part."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from prodfix.statistics.closed_hours import ERROR_DAYS, ERROR_HOURS
from prodfix.statistics.minutes import ERROR_MINUTES
from prodfix.statistics.packing import packed
from tests.support.counting_worker import BEGIN, HOUR, MINUTE, Clock, Worker

ODD = (
    None,
    "x",
    -1,
    2**62,
    float("inf"),
    [],
    {},
    b"",
    b"x\x9c",
    packed([]),
    packed({"errors": [["x"]]}),
    bson.ObjectId("0" * 24),
)


def counted(worker: Worker, clock: Clock, hours: int) -> None:
    """An error in each of these hours, all of which are closed then."""
    for hour in range(hours):
        clock.now = BEGIN + hour * HOUR
        worker.error("f1")
        worker.store()
    clock.now += 2 * HOUR
    worker.store()


@pytest.fixture
def worker(worker: Worker, database: Any) -> Worker:
    worker.database = database
    return worker


def told(worker: Worker, time_range: str = "24h") -> tuple[int, bool]:
    answer = worker.answer(time_range)
    return answer["totalErrors"], answer["partial"]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("name", ["counts", "weight"])
def test_an_hour_that_cannot_be_believed_hides_no_other(
    worker: Worker, clock: Clock, database: Any, name: str, odd: Any
) -> None:
    counted(worker, clock, 5)
    assert told(worker) == (5, False), "the control"
    spoilt = MINUTE // 60 + 1
    assert database[ERROR_HOURS].update_one({"_id": spoilt}, {"$set": {name: odd, "form": 2}}).matched_count == 1
    reader = Worker(worker.journal, clock, database)  # which has no sums of its own
    total, partial = told(reader)
    # A weight alone says nothing of what is there; without one the hour is read from its instances again.
    assert (total, partial) in ([(4, True)] if name == "counts" else [(5, False)])
    clock.now += HOUR
    worker.error("f1")
    worker.store()
    assert told(reader)[0] == total + 1


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_day_that_cannot_be_believed_is_made_anew(worker: Worker, clock: Clock, database: Any, odd: Any) -> None:
    counted(worker, clock, 30)
    (day,) = [one["_id"] for one in database[ERROR_DAYS].find({"_id": MINUTE // 60 // 24})]
    for name in ("counts", "hours"):
        database[ERROR_DAYS].update_one({"_id": day}, {"$set": {name: odd}})
        assert told(Worker(worker.journal, clock, database), "7d") == (30, False)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("name", ["minutes", "sums", "workers", "revision"])
def test_what_one_instance_has_left_keeps_no_hour_from_being_closed(
    worker: Worker, clock: Clock, database: Any, name: str, odd: Any
) -> None:
    worker.error("f1")
    worker.store()
    document = database[ERROR_MINUTES].find_one()
    database[ERROR_MINUTES].insert_one({**document, "_id": document["_id"][:-1] + "~", name: odd})
    clock.now += 2 * HOUR
    worker.store()
    assert database[ERROR_HOURS].count_documents({"_id": MINUTE // 60}) == 1
    assert told(Worker(worker.journal, clock, database))[0] >= 1
