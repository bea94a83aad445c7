"""Reading a window: nothing is counted twice, nothing is left out, wherever it is just then."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.journal.journal import Journal
from prodfix.statistics import windows as module
from prodfix.statistics.windows import (
    ERROR_HOURS,
    ERROR_MINUTES,
    GRACE,
    HOUR,
    KEPT,
    LATEST,
    Counted,
    Windows,
    keep_newest,
)
from tests.support.counting_worker import MINUTE, Clock, Worker

NOTHING: dict[str, Any] = {"devices": [], "endpoints": []}


def row(count: int, fingerprint: str = "f1") -> list[Any]:
    return ["unknown", "mobile", "/", fingerprint, "title", count, 0.0, 0.0, []]


def hold(journal: Journal, minute: int, count: int, *, revision: int = 1, stored: int = 0, worker: str = "w") -> None:
    """A minute in a journal."""
    values = (worker, minute, revision, stored, orjson.dumps([row(count)]), orjson.dumps(NOTHING))
    journal.write([("INSERT OR REPLACE INTO minutes (" + module.COLUMNS + ") VALUES (?, ?, ?, ?, ?, ?)", values)])


def minute_document(minute: int, count: int, *, revision: int = 1, worker: str = "w") -> dict[str, Any]:
    return {
        "_id": {"minute": minute, "worker": worker},
        "timestamp": module.moment_of(minute),
        "revision": revision,
        "errors": [row(count)],
        "traffic": NOTHING,
    }


def hour_document(hour: int, count: int) -> dict[str, Any]:
    return {
        "_id": hour,
        "timestamp": module.moment_of(hour * HOUR),
        "weight": count,
        "workers": ["w"],
        "errors": [row(count)],
        "traffic": NOTHING,
        "series": [[0, 0, 0, [["unknown", count]]]],
    }


@pytest.fixture
def windows(journal: Journal, clock: Clock, database: Any) -> Windows:
    return Windows(journal, lambda: database, clock=clock)


def total(windows: Windows, first: int, last: int) -> int:
    return windows.load(first, last).counts.total_errors


@given(totals=st.lists(st.tuples(st.sampled_from(["v", "w"]), st.integers(0, 3), st.integers(1, 9)), max_size=12))
def test_in_whatever_order_totals_arrive_the_newest_of_each_worker_and_minute_counts(
    totals: list[tuple[str, int, int]],
) -> None:
    newest: dict[tuple[str, int], Counted] = {}
    for worker, minute, revision in totals:
        keep_newest(newest, Counted(worker, minute, revision, 0, [row(revision)], NOTHING))
    expected: dict[tuple[str, int], int] = {}
    for worker, minute, revision in totals:
        expected[worker, minute] = max(revision, expected.get((worker, minute), 0))
    assert {key: counted.revision for key, counted in newest.items()} == expected
    assert {key: counted.errors[0][5] for key, counted in newest.items()} == expected


@pytest.mark.parametrize("place", ["open hour", "closed hour without a document", "closed hour with a document"])
def test_the_same_minute_in_a_journal_and_in_mongodb_is_counted_once(
    windows: Windows, journal: Journal, database: Any, clock: Clock, place: str
) -> None:
    clock.now += 90 * 60
    minute = MINUTE + (70 if place == "open hour" else 10)
    hold(journal, minute, 5, revision=3, stored=3)
    database[ERROR_MINUTES].insert_one(minute_document(minute, 5, revision=3))
    if place.endswith("with a document"):
        database[ERROR_HOURS].insert_one(hour_document(MINUTE // HOUR, 5))
    window = windows.load(MINUTE, MINUTE + 90)
    assert (window.counts.total_errors, window.scope, window.workers) == (5, "all", {"w"})
    assert sum(sum(point.errors.values()) for point in window.points.values()) == 5
    hold(journal, minute, 7, revision=4, stored=3)  # the journal is ahead of MongoDB now
    assert total(windows, MINUTE, MINUTE + 90) == 7
    journal.write([("DELETE FROM minutes", ())])  # and MongoDB alone knows what it had
    assert total(windows, MINUTE, MINUTE + 90) == 5


def test_an_hour_that_a_journal_is_ahead_of_is_summed_from_its_minutes(
    windows: Windows, journal: Journal, database: Any, clock: Clock
) -> None:
    clock.now += 5 * 3600
    hour = MINUTE // HOUR
    database[ERROR_HOURS].insert_many([hour_document(hour, 100), hour_document(hour + 1, 1000)])
    database[ERROR_MINUTES].insert_many([minute_document(MINUTE, 60), minute_document(MINUTE + 1, 40, worker="v")])
    assert total(windows, MINUTE, MINUTE + 300) == 1100  # the control: documents only
    hold(journal, MINUTE + 2, 7)
    window = windows.load(MINUTE, MINUTE + 300)
    assert window.counts.total_errors == 1107
    assert [minute - MINUTE for minute in sorted(window.points)] == [0, 1, 2, 60]


def test_the_document_of_an_hour_is_not_read_before_the_hour_is_over(
    windows: Windows, database: Any, clock: Clock
) -> None:
    hour = MINUTE // HOUR
    database[ERROR_HOURS].insert_one(hour_document(hour, 100))
    database[ERROR_MINUTES].insert_one(minute_document(MINUTE, 60))
    clock.now += (HOUR + GRACE) * 60 - 1
    assert total(windows, MINUTE, windows.now()) == 60
    clock.now += 1
    assert total(windows, MINUTE, windows.now()) == 100


def test_of_an_hour_that_a_window_holds_in_part_only_those_minutes_are_summed(
    windows: Windows, database: Any, clock: Clock
) -> None:
    clock.now += 5 * 3600
    for hour in range(3):
        database[ERROR_HOURS].insert_one(hour_document(MINUTE // HOUR + hour, 2))
        for offset in (10, 50):
            database[ERROR_MINUTES].insert_one(minute_document(MINUTE + hour * HOUR + offset, 1))
    first, last = MINUTE + 30, MINUTE + 2 * HOUR + 29
    assert total(windows, first, last) == 1 + 2 + 1
    assert total(windows, MINUTE + 11, MINUTE + 49) == 0
    assert total(windows, MINUTE + 10, MINUTE + 50) == 2


@given(step=st.integers(1, 200), length=st.integers(1, 3 * HOUR), offset=st.integers(0, 200))
def test_every_minute_of_a_window_is_asked_for_once(step: int, length: int, offset: int) -> None:
    # Without a server: which minutes are asked for, over random borders and closed hours with and without a document.
    there = {
        hour for hour in range(MINUTE // HOUR - 2, MINUTE // HOUR + 8) if random.Random(step + hour).random() < 0.5
    }
    asked: list[int] = []

    class Hours:
        def find(self, wanted: Any, _: Any) -> list[dict[str, int]]:
            return [{"_id": hour, "weight": 1} for hour in wanted["_id"]["$in"] if hour in there]

    class Minutes:
        def find(self, wanted: Any) -> list[dict[str, Any]]:
            low, high = (int(wanted["timestamp"][side].timestamp() // 60) for side in ("$gte", "$lte"))
            asked.extend(range(low, high + 1))
            return []

    now = MINUTE + offset + length
    windows = Windows(None, lambda: None, clock=lambda: now * 60.0)  # type: ignore[arg-type]
    collections: Any = {ERROR_HOURS: Hours(), ERROR_MINUTES: Minutes()}
    first, last = MINUTE + offset, MINUTE + offset + length - 1
    hours = windows._hours(collections, {}, first, last)
    covered = asked + [minute for hour, _ in hours for minute in range(hour * HOUR, (hour + 1) * HOUR)]
    assert sorted(covered) == list(range(first, last + 1))


def test_hours_that_cannot_change_any_more_are_asked_for_once(clock: Clock) -> None:
    asked: list[list[int]] = []

    class Hours:
        def find(self, wanted: Any, _: Any) -> list[dict[str, int]]:
            asked.append(wanted["_id"]["$in"])
            return [{"_id": hour, "weight": hour} for hour in asked[-1] if hour % 2]

    windows = Windows(None, lambda: None, clock=clock)  # type: ignore[arg-type]
    collections: Any = {ERROR_HOURS: Hours()}
    closed = windows.open() // HOUR
    week, old = range(closed - 168, closed), (windows.now() - KEPT) // HOUR
    answers = [dict(windows._weights(collections, week)) for _ in range(2)]
    assert answers == [{hour: hour for hour in week if hour % 2}] * 2
    assert asked == [list(week), list(range(old, closed))]
    clock.now += 3600
    dict(windows._weights(collections, range(closed - 24, closed)))
    assert asked[2] == list(range(closed - 24, closed))
    clock.now += 9 * 86_400
    dict(windows._weights(collections, range(closed, closed + 1)))
    assert set(windows._old) == {closed}, "what is no longer in any window is forgotten"


def test_a_minute_that_waits_for_too_long_does_not_hide_its_hours_document(
    windows: Windows, journal: Journal, database: Any, clock: Clock
) -> None:
    clock.now += (KEPT + 5 * HOUR) * 60
    database[ERROR_HOURS].insert_one(hour_document(MINUTE // HOUR, 100))
    hold(journal, MINUTE + 3, 7)  # it will be dropped: its hour cannot be summed any more
    assert total(windows, MINUTE, windows.now()) == 100
    hold(journal, MINUTE + HOUR, 9)  # and this is all that is known of that one
    assert total(windows, MINUTE, windows.now()) == 109


def test_a_late_minute_that_can_still_be_added_counts(
    windows: Windows, journal: Journal, database: Any, clock: Clock
) -> None:
    clock.now += (LATEST - 1) * 60
    database[ERROR_HOURS].insert_one(hour_document(MINUTE // HOUR, 100))
    database[ERROR_MINUTES].insert_one(minute_document(MINUTE + 1, 100))
    hold(journal, MINUTE, 7)
    assert total(windows, MINUTE, windows.now()) == 107


def test_workers_and_instances_are_summed(make_worker: Callable[..., Worker], database: Any) -> None:
    workers = [make_worker(database) for _ in range(2)]
    for worker in workers:
        worker.error()
    database[ERROR_MINUTES].insert_one(minute_document(MINUTE, 5, worker="elsewhere"))
    for worker in workers:
        answer = worker.answer()
        assert (answer["totalErrors"], answer["workers"], answer["scope"]) == (7, 3, "all")


def test_a_database_that_is_away_is_left_out_and_the_answer_says_so(
    make_worker: Callable[..., Worker], nowhere: Any
) -> None:
    for database in (None, nowhere.get_default_database()):
        worker = make_worker(database)
        before = worker.total()
        worker.error()
        answer = worker.answer()
        assert (answer["totalErrors"] - before, answer["scope"]) == (1, "instance")


@pytest.mark.parametrize("reading", [1, 2, 3])
def test_a_database_that_fails_half_way_leaves_nothing_half_counted(
    journal: Journal, clock: Clock, database: Any, fail: Any, reading: int
) -> None:
    clock.now += 5 * 3600
    windows = Windows(journal, lambda: database, clock=clock)
    database[ERROR_HOURS].insert_one(hour_document(MINUTE // HOUR, 100))
    database[ERROR_MINUTES].insert_one(minute_document(MINUTE + HOUR, 50))
    hold(journal, MINUTE + 2 * HOUR, 7)
    hold(journal, MINUTE + 3 * HOUR, 3, stored=1)
    # The control; MongoDB has lost the stored one.
    assert total(Windows(journal, lambda: database, clock=clock), MINUTE, windows.now()) == 157
    find = type(database[ERROR_HOURS]).find
    calls = []

    def failing(collection: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(collection.name)
        if len(calls) == reading:
            fail("find", errorCode=8000)
        return find(collection, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(database[ERROR_HOURS]), "find", failing)
        window = windows.load(MINUTE, windows.now())
    assert calls == [ERROR_HOURS, ERROR_MINUTES, ERROR_HOURS][:reading]
    assert (window.counts.total_errors, window.scope) == (10, "instance")
    assert sum(sum(point.errors.values()) for point in window.points.values()) == 10


def test_the_sum_of_closed_hours_is_asked_for_once_and_again_when_one_of_them_changes(
    journal: Journal, clock: Clock, connect: Callable[..., Any], commands: Any
) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    windows = Windows(journal, lambda: database, clock=clock)
    clock.now += 9 * 3600
    database[ERROR_HOURS].insert_many([hour_document(MINUTE // HOUR + hour, 1) for hour in range(8)])
    asked = []
    for change in (None, None, 5, None):
        if change:
            database[ERROR_HOURS].replace_one({"_id": MINUTE // HOUR + 3}, hour_document(MINUTE // HOUR + 3, change))
        commands.names.clear()
        window = windows.load(MINUTE, windows.now())
        asked.append((window.counts.total_errors, sum(sum(one.errors.values()) for one in window.points.values())))
        asked.append(commands.names.count("find"))
    assert asked == [(8, 8), 3, (8, 8), 2, (12, 12), 3, (12, 12), 2]
    for first in range(MINUTE, MINUTE + 5 * HOUR, HOUR):
        windows.load(first, windows.now())
    assert len(windows._sums) == module.SUMS
