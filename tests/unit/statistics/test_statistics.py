"""Statistics: what an answer says, which minutes it covers, and what it costs."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import bson
import orjson
import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from prodfix.journal.journal import Journal
from prodfix.statistics import windows
from prodfix.statistics.counts import Counts, Seen
from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour
from prodfix.statistics.statistics import CountedWindow, Statistics
from prodfix.statistics.windows import COLUMNS, ERROR_HOURS, HOUR, KEPT, Counted, Window, Windows, moment_of
from tests.support.counting_worker import BEGIN, Clock, Worker, kind

WEEK = 7 * 24 * HOUR
CLOSED = 7 * 24  # hours of it that are over
OPEN = 31  # minutes of the one that is not, at half past


def test_errors_are_counted_by_kind_device_endpoint_and_category(worker: Worker) -> None:
    worker.error("a", 3, endpoint="/notes/<id>")
    worker.error("b", device="desktop", category="timeout")
    answer = worker.answer()
    assert answer["totalErrors"] == 4
    assert answer["errorsByCategory"] == {"unknown": 3, "timeout": 1}
    assert answer["errorsByDevice"] == {"mobile": 3, "desktop": 1}
    assert answer["errorsByEndpoint"] == {"/notes/<id>": 3, "/": 1}
    assert answer["topErrors"] == [
        {"message": "title of a", "count": 3, "fingerprint": "a"},
        {"message": "title of b", "count": 1, "fingerprint": "b"},
    ]
    assert (answer["scope"], answer["workers"], answer["dropped"]) == ("instance", 1, 0)


def test_requests_are_counted_by_device_and_endpoint_with_their_durations(worker: Worker) -> None:
    worker.request("/notes", "mobile", 10_000)
    worker.request("/notes", "mobile", 20_000, failed=True)
    worker.request("/", "desktop", 1_000)
    worker.error(endpoint="/notes")
    answer = worker.answer()
    assert (answer["requests"], answer["failedRequests"], answer["errorRate"]) == (3, 1, 0.333333)
    mobile, desktop = answer["devices"]["mobile"], answer["devices"]["desktop"]
    assert (mobile["errors"], mobile["requests"], mobile["failedRequests"], mobile["errorRate"]) == (1, 2, 1, 0.5)
    assert (desktop["errors"], desktop["requests"], desktop["errorRate"]) == (0, 1, 0.0)
    assert mobile["latencyMs"]["p50"] == pytest.approx(10, rel=0.021)
    assert mobile["latencyMs"]["p99"] == pytest.approx(20, rel=0.021)  # of few, the slow one shows
    assert desktop["latencyMs"]["p50"] == pytest.approx(1, rel=0.021)
    known = ("endpoint", "errors", "requests", "failedRequests", "errorRate")
    assert [[one[name] for name in known] for one in answer["endpoints"]] == [
        ["/notes", 1, 2, 1, 0.5],
        ["/", 0, 1, 0, 0.0],
    ]


def test_without_a_request_there_is_no_rate_and_no_duration(worker: Worker) -> None:
    answer = worker.answer()
    assert (answer["requests"], answer["errorRate"]) == (0, None)
    assert answer["latencyMs"] == {"p50": None, "p95": None, "p99": None}
    assert orjson.loads(orjson.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("complete_from", "told"),
    [(None, (False, 100)), (100, (True, 100)), (110, (True, 110)), (159, (True, 159)), (160, (True, None))],
)
def test_what_is_whole_is_told_by_a_moment_within_the_window_or_by_none(complete_from: int | None, told: Any) -> None:
    window = Window()
    window.complete_from = complete_from
    coverage = CountedWindow("1h", 100, 159, window, 1, 0).coverage()
    begin = None if told[1] is None else moment_of(told[1])
    assert (coverage.partial, coverage.complete_from) == (told[0], begin)
    assert begin is None or coverage.window_from <= begin < coverage.window_to


@pytest.mark.parametrize(("time_range", "hours"), [("1h", 1), ("24h", 24), ("7d", 168)])
def test_a_window_holds_its_minutes_and_no_other(worker: Worker, clock: Clock, time_range: Any, hours: int) -> None:
    clock.now = BEGIN + 30 * 60
    begun = clock.now
    worker.error()
    # Whole hours only are kept for seven days: that window begins with a full one.
    last_inside = begun + hours * 3600 - 60 + (29 * 60 if time_range == "7d" else 0)
    clock.now = last_inside
    assert worker.total(time_range) == 1
    clock.now = last_inside + 60
    answer = worker.answer(time_range)
    assert answer["totalErrors"] == 0
    if time_range == "7d":
        assert (answer["windowFrom"], answer["windowTo"]) == ("2100-01-01T01:00:00.000Z", "2100-01-08T01:00:00.000Z")
    else:
        assert answer["windowFrom"] == "2100-01-01T00:31:00.000Z"


@pytest.mark.parametrize(("time_range", "step", "points"), [("1h", 1, 60), ("24h", 15, 96), ("7d", 60, 168)])
def test_a_series_has_a_point_for_every_step_and_all_that_happened(
    worker: Worker, clock: Clock, time_range: Any, step: int, points: int
) -> None:
    for _ in range(3):
        worker.error(times=2)
        worker.request(failed=True)
        clock.now += 19 * 60
    clock.now = BEGIN + 59 * 60
    series = worker.answer(time_range)["series"]
    assert (series["stepMinutes"], len(series["points"])) == (step, points)
    assert [point["at"] for point in series["points"]] == sorted({point["at"] for point in series["points"]})
    summed: Counter[str] = Counter()
    for point in series["points"]:
        summed.update(point["errors"])
        summed.update(requests=point["requests"], failed=point["failedRequests"])
    assert summed == {"unknown": 6, "requests": 3, "failed": 3}
    at = next(point for point in series["points"] if point["errors"])
    assert at["at"] == "2100-01-01T00:00:00.000Z"


def test_only_the_ten_most_frequent_are_named(worker: Worker) -> None:
    for number in range(15):
        worker.error(f"{number:02}", times=1 + (number == 7))
    answer = worker.answer()
    assert len(answer["topErrors"]) == 10
    assert answer["topErrors"][0] == {"message": "title of 07", "count": 2, "fingerprint": "07"}
    assert answer["totalErrors"] == 16


def test_every_worker_gives_the_same_answer(make_worker: Callable[..., Worker], database: Any, clock: Clock) -> None:
    first, second = make_worker(database), make_worker(database)
    for worker, times in ((first, 3), (second, 2)):
        worker.error(times=times)
        worker.request(micros=times * 1000)
    for _ in range(2):
        for time_range in ("1h", "24h", "7d"):
            assert first.answer(time_range) == second.answer(time_range)
            assert first.total(time_range) == 5
        first.store()
        clock.now += 60


# -- the cost ---------------------------------------------------------------------------------------------------------


KINDS = [
    kind(f"{number:016x}", category=category, device=device, endpoint=f"/resource/{number % 12}/<id>")
    for number, category in enumerate(["timeout", "unknown", "database_query", "conflict"] * 5)
    for device in ("mobile", "desktop")
]


def week_of(worker: Worker, errors: int) -> dict[str, int]:
    """``errors`` spread over seven days: closed hours in MongoDB, the open one in the journal. How many of each kind."""
    chance = random.Random(errors)
    now = worker.windows.now()
    first = (now - WEEK + 1) // HOUR * HOUR
    spread = Counter(chance.choices(range(first, now + 1), k=errors))
    per_minute = {minute: Counter(chance.choices(range(len(KINDS)), k=count)) for minute, count in spread.items()}
    total: Counter[str] = Counter()
    rows: dict[int, list[Counted]] = {}
    for minute, kinds in per_minute.items():
        counts = Counts(300)
        for number, count in kinds.items():
            counts.count_error(KINDS[number], Seen(count, minute * 60.0, minute * 60.0, frozenset(["v1"])))
            total[KINDS[number].fingerprint] += count
        counts.count_request("/", "mobile", 5000, failed=True)
        counted = Counted("w", minute, 1, 0, counts.error_rows(), counts.traffic_rows())
        rows.setdefault(minute // HOUR, []).append(counted)
    for hour in [hour for hour in rows if hour * HOUR < worker.windows.open()]:
        state = InstanceHour(hour, "i")
        for counted in rows[hour]:
            state.put(counted, lambda minute: [])
        worker.database[ERROR_MINUTES].bulk_write([state.update()])
        worker.minutes.hours.close(worker.database, hour)
    worker.database[ERROR_MINUTES].delete_many({})
    for counted in [one for hour, some in rows.items() if hour * HOUR >= worker.windows.open() for one in some]:
        values = (*counted[:4], orjson.dumps(counted.errors), orjson.dumps(counted.traffic))
        worker.journal.write([(f"INSERT INTO minutes ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)])
    return dict(total)


class Reads(CommandListener):
    """Counts what comes from MongoDB and from the journal."""

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clear()
        read = journal.read

        def counted(*arguments: Any, **options: Any) -> Any:
            rows = list(read(*arguments, **options))
            self.rows += len(rows)
            self.bytes += sum(len(value) for row in rows for value in row if isinstance(value, str | bytes))
            return rows

        monkeypatch.setattr(journal, "read", counted)

    def clear(self) -> None:
        self.commands = self.documents = self.rows = self.bytes = 0

    def started(self, event: CommandStartedEvent) -> None:
        self.commands += 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {})
        batch = cursor.get("firstBatch", cursor.get("nextBatch", []))
        self.documents += len(batch)
        self.bytes += sum(len(bson.encode(document)) for document in batch)

    def failed(self, event: CommandFailedEvent) -> None:
        raise AssertionError(event.failure)


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions ``work`` calls: the same on however busy a machine."""
    events: Counter[str] = Counter()
    sys.setprofile(lambda frame, event, argument: events.update([event]))
    try:
        work()
    finally:
        sys.setprofile(None)
    return events["call"] + events["c_call"]


def test_a_hundred_times_the_errors_of_a_week_are_answered_with_the_same_work(
    worker: Worker, connect: Callable[..., MongoClient[Any]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured against the clock but a limit of seconds: what is read and what is called is counted."""
    monkeypatch.setattr(windows, "READ_LIMIT", 30.0)  # whatever the embedded server has to do besides
    clock.now += WEEK * 60 + 1800
    reads = Reads(worker.journal, monkeypatch)
    worker.database = database = connect(event_listeners=[reads]).get_default_database()
    calls = {}
    for errors in (10_000, 1_000_000):
        database[ERROR_HOURS].delete_many({})
        worker.journal.write([("DELETE FROM minutes", ())])
        worker.statistics = Statistics(Windows(worker.journal, lambda: database, clock=clock))
        kinds = week_of(worker, errors)
        # The first answer in an hour reads the documents of closed hours, whose size grows with the kinds of errors in each.
        reads.clear()
        answer = worker.answer("7d")
        assert (answer["totalErrors"], answer["scope"]) == (errors, "all")
        assert {one["fingerprint"]: one["count"] for one in answer["topErrors"]} == dict(
            sorted(kinds.items(), key=lambda item: (-item[1], f"title of {item[0]}"))[:10]
        )
        assert reads.documents == 2 * CLOSED  # their weights, and what they hold
        reads.clear()
        begun = time.thread_time()
        worker.answer("7d")
        assert time.thread_time() - begun < 1
        # All others read the weights of hours that may still change, and the minutes of the one that is not over.
        # Of the open hour no instance has stored anything yet, and this one neither.
        assert (reads.commands, reads.documents) == (3, KEPT // HOUR)
        assert 0 < reads.rows <= OPEN
        assert 0 < reads.bytes < OPEN * len(KINDS) * 150 + KEPT // HOUR * 100
        calls[errors] = calls_of(lambda: worker.answer("7d"))
    assert calls[1_000_000] < 2 * calls[10_000], calls
