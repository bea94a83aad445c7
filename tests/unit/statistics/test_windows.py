"""Reading a window: nothing is counted twice, nothing is left out, wherever it is just then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.journal.journal import Journal
from prodfix.statistics import closed_hours as module
from prodfix.statistics import windows as reading
from prodfix.statistics.closed_hours import DAY, ERROR_DAYS, ERROR_HOURS, KEPT, days_of
from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour, identity_of
from prodfix.statistics.packing import packed
from prodfix.statistics.window import HOUR, moment_of
from prodfix.statistics.windows import (
    COLUMNS,
    GRACE,
    LATEST,
    Counted,
    Windows,
    keep_newest,
)
from tests.support.counting_worker import MINUTE, Clock, Worker

NOTHING: dict[str, Any] = {"devices": [], "endpoints": [], "routes": []}


def row(count: int, fingerprint: str = "f1") -> list[Any]:
    return ["unknown", "mobile", "/", fingerprint, "title", count, 0.0, 0.0, []]


def hold(journal: Journal, minute: int, count: int, *, revision: int = 1, stored: int = 0, worker: str = "w") -> None:
    """A minute in a journal."""
    values = (worker, minute, revision, stored, orjson.dumps([row(count)]), orjson.dumps(NOTHING))
    journal.write([("INSERT OR REPLACE INTO minutes (" + COLUMNS + ") VALUES (?, ?, ?, ?, ?, ?)", values)])


def store(database: Any, minute: int, count: int, *, revision: int = 1, worker: str = "w", instance: str = "i") -> None:
    """A minute in the document of an instance's hour, as it is put there."""
    hour = minute // HOUR
    document = database[ERROR_MINUTES].find_one({"_id": identity_of(hour, instance)})
    state = InstanceHour(hour, instance, document)
    state.put(Counted(worker, minute, revision, 0, [row(count)], NOTHING), lambda minute: [])
    state.settle(minute if minute % 2 else minute + 1)  # some are over, others may grow
    database[ERROR_MINUTES].bulk_write([state.update()])


def hour_document(hour: int, count: int) -> dict[str, Any]:
    content = {
        "workers": ["w"],
        "errors": [row(count)],
        "traffic": NOTHING,
        "series": [[0, 0, 0, [["unknown", count]]]],
    }
    return {"_id": hour, "timestamp": moment_of(hour * HOUR), "weight": count, "counts": packed(content)}


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
    store(database, minute, 5, revision=3, instance=windows.identity.made() or "")
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
    store(database, MINUTE, 60)
    store(database, MINUTE + 1, 40, worker="v")
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
    store(database, MINUTE, 60)
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
            store(database, MINUTE + hour * HOUR + offset, 1)
    first, last = MINUTE + 30, MINUTE + 2 * HOUR + 29
    assert total(windows, first, last) == 1 + 2 + 1
    assert total(windows, MINUTE + 11, MINUTE + 49) == 0
    assert total(windows, MINUTE + 10, MINUTE + 50) == 2


@given(begin=st.integers(0, 99), length=st.integers(1, 99), closed=st.sets(st.integers(0, 199)))
def test_every_hour_of_a_window_is_asked_for_once_the_newest_day_first(
    begin: int, length: int, closed: set[int]
) -> None:
    found = list(days_of(range(begin, begin + length), closed))
    assert sorted(hour for _, over, others in found for hour in over + others) == list(range(begin, begin + length))
    assert [part.start for part, _, _ in found] == sorted((part.start for part, _, _ in found), reverse=True)
    for part, over, others in found:
        assert len({hour // DAY for hour in part}) == 1
        assert (set(over) <= closed, not closed & set(others)) == (True, True)
        assert sorted(over + others) == list(part)


def test_a_day_that_is_over_is_one_document_as_long_as_it_is_what_its_hours_are(
    journal: Journal, clock: Clock, connect: Callable[..., Any], commands: Any
) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    clock.now += 2 * 86_400
    first = MINUTE // HOUR
    database[ERROR_HOURS].insert_many([hour_document(first + hour, 1) for hour in range(0, 48, 2)])

    def read() -> tuple[int, int]:
        commands.names.clear()
        commands.sent.clear()
        window = Windows(journal, lambda: database, clock=clock).load(MINUTE, MINUTE + 2 * DAY * HOUR)
        hours = [one for one in commands.sent if one.get("find") == ERROR_HOURS and one["projection"] == {"counts": 1}]
        return window.counts.total_errors, len(hours)

    assert read() == (24, 2)  # the control: of each day its hours
    Windows(journal, lambda: database, clock=clock).closed.add_days(database, range(first // DAY, first // DAY + 2))
    assert database[ERROR_DAYS].count_documents({}) == 2
    assert read() == (24, 0)
    database[ERROR_HOURS].replace_one({"_id": first + 2}, hour_document(first + 2, 7))
    assert read() == (30, 1)
    database[ERROR_HOURS].insert_one(hour_document(first + 3, 5))
    assert read() == (35, 1)
    Windows(journal, lambda: database, clock=clock).closed.add_days(database, range(first // DAY, first // DAY + 2))
    assert read() == (35, 0)


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
    answers = [dict(windows.closed.weights(collections, week)) for _ in range(2)]
    assert answers == [{hour: hour for hour in week if hour % 2}] * 2
    assert asked == [list(week), list(range(old, closed))]
    clock.now += 3600
    dict(windows.closed.weights(collections, range(closed - 24, closed)))
    assert asked[2] == list(range(closed - 24, closed))
    clock.now += 9 * 86_400
    dict(windows.closed.weights(collections, range(closed, closed + 1)))
    assert set(windows.closed._old) == {closed}, "what is no longer in any window is forgotten"


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
    store(database, MINUTE + 1, 100, worker="v")
    hold(journal, MINUTE, 7)
    assert total(windows, MINUTE, windows.now()) == 107


def test_workers_and_instances_are_summed(make_worker: Callable[..., Worker], database: Any) -> None:
    workers = [make_worker(database) for _ in range(2)]
    for worker in workers:
        worker.error()
    store(database, MINUTE, 5, worker="elsewhere")
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


@pytest.mark.parametrize("reading", [1, 2, 3, 4])
def test_a_database_that_fails_half_way_leaves_nothing_half_counted(
    journal: Journal, clock: Clock, database: Any, fail: Any, reading: int
) -> None:
    clock.now += 5 * 3600
    windows = Windows(journal, lambda: database, clock=clock)
    database[ERROR_HOURS].insert_one(hour_document(MINUTE // HOUR, 100))
    store(database, MINUTE + HOUR, 50)
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
    assert calls == [ERROR_HOURS, ERROR_MINUTES, ERROR_MINUTES, ERROR_HOURS][:reading]
    assert (window.counts.total_errors, window.scope) == (10, "instance")
    assert sum(sum(point.errors.values()) for point in window.points.values()) == 10


def test_the_sum_of_closed_hours_is_asked_for_once_and_again_when_one_of_them_changes(
    journal: Journal, clock: Clock, connect: Callable[..., Any], commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUMS", 3)
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
    assert len(windows.closed._sums) == module.SUMS


# -- too slow ---------------------------------------------------------------------------------------------------------

SLOW = 2_000  # ms for which the server keeps an answer


@pytest.fixture
def filled(windows: Windows, journal: Journal, database: Any, clock: Clock) -> Windows:
    """Two days of closed hours, an open hour of two instances, and what a journal holds of it: 1000, 100, 20 and 3."""
    clock.now += (2 * DAY + 1) * 3600 + 1800
    first = MINUTE // HOUR
    database[ERROR_HOURS].insert_many([hour_document(first + hour, 1000) for hour in (3, DAY + 1)])
    for number, count in enumerate((20, 100)):
        store(database, windows.now() - 3, count, instance=str(number))
    hold(journal, windows.now(), 3)
    hold(journal, windows.now() - 10, 5, stored=1)  # MongoDB has lost it
    return windows


@pytest.mark.parametrize(
    ("skipped", "total", "hours_before_now"),
    [(9, 2123, None), (6, 1123, 25.5), (3, 123, 1.5), (2, 3, 0.0), (0, 8, 0.0)],
    ids=["all in time", "one day is missing", "two are missing", "open hour slow", "nothing in time"],
)
def test_what_is_too_slow_is_left_out_and_what_was_read_is_told_as_a_part(
    filled: Windows,
    clock: Clock,
    fail: Any,
    monkeypatch: pytest.MonkeyPatch,
    skipped: int,
    total: int,
    hours_before_now: Any,
) -> None:
    monkeypatch.setattr(reading, "READ_LIMIT", SLOW / 2000)
    first, last = MINUTE, filled.now()
    fail("find", skip=skipped, blockConnection=True, blockTimeMS=SLOW)
    window = filled.load(first, last)
    assert (window.counts.total_errors, window.scope) == (total, "all"), "an outage is another thing"
    assert sum(sum(point.errors.values()) for point in window.points.values()) == total
    if hours_before_now is None:
        assert window.complete_from is None
    else:
        assert window.complete_from == pytest.approx(last + 1 - hours_before_now * HOUR, abs=1)


def test_a_database_that_has_gone_meanwhile_is_an_outage(
    filled: Windows, journal: Journal, database: Any, clock: Clock, fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READ_LIMIT", SLOW / 2000)
    answers = iter([database, None])
    fail("find", skip=3, blockConnection=True, blockTimeMS=SLOW)
    window = Windows(journal, lambda: next(answers), clock=clock).load(MINUTE, filled.now())
    assert (window.counts.total_errors, window.scope, window.complete_from) == (8, "instance", None)


def test_a_database_that_is_there_and_answers_nothing_in_time_is_slow_and_not_away(
    filled: Windows, journal: Journal, clock: Clock
) -> None:
    window = Windows(journal, lambda: None, slow=lambda: True, clock=clock).load(MINUTE, filled.now())
    assert (window.counts.total_errors, window.scope, window.complete_from) == (8, "all", filled.now() + 1)
    window = Windows(journal, lambda: None, clock=clock).load(MINUTE, filled.now())
    assert (window.counts.total_errors, window.scope, window.complete_from) == (8, "instance", None)


def test_what_was_too_slow_is_there_the_next_time(
    filled: Windows, fail: Any, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READ_LIMIT", SLOW / 2000)
    fail("find", skip=4, blockConnection=True, blockTimeMS=SLOW)
    assert filled.load(MINUTE, filled.now()).complete_from is not None
    fail.off()
    window = filled.load(MINUTE, filled.now())
    assert (window.counts.total_errors, window.complete_from) == (2123, None)
