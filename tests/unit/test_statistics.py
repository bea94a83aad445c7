"""Statistics: nothing is counted twice, nothing is left out, and the answer says what it covers."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prodfix import journal as journals
from prodfix import statistics as module
from prodfix import storage
from prodfix.errors import ErrorCategory
from prodfix.journal import Journal
from prodfix.statistics import ERROR_MINUTES, Statistics
from prodfix.storage import Storage

HOUR = 3600.0


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def statistics(journal: Journal, clock: Clock) -> Statistics:
    return Statistics(journal, lambda: None, clock=clock)


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as Python can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def count(statistics: Statistics, message: str = "x", device: str = "mobile", endpoint: str = "/") -> None:
    statistics._journal.write(statistics.count(ErrorCategory.UNKNOWN, device, endpoint, message))


def total(statistics: Statistics, time_range: Any = "1h") -> int:
    return int(statistics.read(time_range).to_json()["totalErrors"])


def test_errors_are_counted_by_kind_device_endpoint_and_category(statistics: Statistics) -> None:
    for _ in range(3):
        count(statistics, "a", "mobile", "/notes/<id>")
    count(statistics, "b", "desktop", "/")
    answer = statistics.read("1h").to_json()
    assert answer["totalErrors"] == 4
    assert answer["errorsByCategory"] == {"unknown": 4}
    assert answer["errorsByDevice"] == {"mobile": 3, "desktop": 1}
    assert answer["errorsByEndpoint"] == {"/notes/<id>": 3, "/": 1}
    assert answer["topErrors"] == [{"message": "a", "count": 3}, {"message": "b", "count": 1}]
    assert (answer["scope"], answer["workers"]) == ("instance", 1)


@pytest.mark.parametrize(("time_range", "hours"), [("1h", 1), ("24h", 24), ("7d", 168)])
def test_a_window_holds_its_minutes_and_no_other(
    statistics: Statistics, clock: Clock, time_range: Any, hours: int
) -> None:
    begun = clock.now
    count(statistics)
    clock.now = begun + hours * HOUR - 60
    assert total(statistics, time_range) == 1
    clock.now = begun + hours * HOUR
    answer = statistics.read(time_range).to_json()
    assert answer["totalErrors"] == 0
    assert answer["windowFrom"] == "2027-01-15T08:01:00Z"


def test_every_minute_has_its_own_total(statistics: Statistics, clock: Clock) -> None:
    for _ in range(3):
        count(statistics)
        count(statistics)
        clock.now += 60
    assert total(statistics) == 6


def test_a_clock_that_goes_back_loses_nothing_of_the_minute_it_counts(statistics: Statistics, clock: Clock) -> None:
    count(statistics)
    clock.now += 60
    count(statistics)
    clock.now -= 60
    count(statistics)
    clock.now += 60
    assert total(statistics) == 3


def test_kinds_of_errors_beyond_the_bound_are_counted_together(
    statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEYS", 3)
    for number in range(10):
        count(statistics, str(number), endpoint=f"/{number}")
    count(statistics, "0", endpoint="/0")
    answer = statistics.read("1h").to_json()
    assert answer["totalErrors"] == 11
    assert answer["topErrors"][0] == {"message": "__other__", "count": 7}
    assert answer["errorsByEndpoint"] == {"__other__": 7, "/0": 2, "/1": 1, "/2": 1}


def test_only_the_ten_most_frequent_are_named(statistics: Statistics) -> None:
    for number in range(15):
        count(statistics, f"{number:02}")
    assert len(statistics.read("1h").to_json()["topErrors"]) == 10


def test_threads_that_count_at_once_lose_nothing(statistics: Statistics, switching: None) -> None:
    def work(name: int) -> None:
        for number in range(40):
            statistics.count(ErrorCategory.UNKNOWN, "m", "/", f"{name} {number}")

    with ThreadPoolExecutor(6) as pool:
        for task in [pool.submit(work, name) for name in range(6)]:
            task.result(20)
    count(statistics)
    assert total(statistics) == 6 * 40 + 1


def test_the_same_minute_in_the_journal_and_in_mongodb_is_counted_once(
    journal: Journal, clock: Clock, database: Any
) -> None:
    statistics = Statistics(journal, lambda: database, clock=clock)
    writer = Storage(journal, lambda: database, retention_days=3650)
    count(statistics)
    writer._store_minutes(database)
    assert database[ERROR_MINUTES].count_documents({}) == 1
    assert total(statistics) == 1
    count(statistics)  # the journal is ahead of MongoDB now
    assert total(statistics) == 2
    journal.write([("DELETE FROM minutes", ())])  # and MongoDB alone knows what it had
    answer = statistics.read("1h").to_json()
    assert (answer["totalErrors"], answer["scope"]) == (1, "all")


def test_workers_and_instances_are_summed(open_journal: Callable[[], Journal], clock: Clock, database: Any) -> None:
    first, second = (Statistics(open_journal(), lambda: database, clock=clock) for _ in range(2))
    count(first)
    count(second)
    counts = orjson.dumps([["unknown", "unknown", "/", "x", 5]])
    database[ERROR_MINUTES].insert_one(storage._minute(int(clock.now // 60), "elsewhere", 1, counts))
    for worker in (first, second):
        answer = worker.read("1h")
        assert (answer.counts.total(), answer.workers, answer.scope) == (7, 3, "all")


def test_a_database_that_fails_is_left_out_and_the_answer_says_so(journal: Journal, clock: Clock, nowhere: Any) -> None:
    statistics = Statistics(journal, nowhere.get_default_database, clock=clock)
    count(statistics)
    answer = statistics.read("1h").to_json()
    assert (answer["totalErrors"], answer["scope"]) == (1, "instance")


TOTALS = st.lists(st.tuples(st.sampled_from(["v", "w"]), st.integers(0, 3), st.integers(1, 9)), max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(totals=TOTALS, seed=st.integers(0, 99))
def test_in_whatever_order_totals_arrive_the_newest_of_each_worker_and_minute_counts(
    totals: list[tuple[str, int, int]], seed: int
) -> None:
    newest: dict[tuple[str, int], tuple[int, list[Any]]] = {}
    random.Random(seed).shuffle(totals)
    for worker, minute, revision in totals:
        module._keep(newest, (worker, minute), revision, [revision])
    expected = {
        (worker, minute): max(revision for w, m, revision in totals if (w, m) == (worker, minute))
        for worker, minute, _ in totals
    }
    assert {key: revision for key, (revision, _) in newest.items()} == expected


def test_a_row_is_what_the_writer_stores(statistics: Statistics, journal: Journal, clock: Clock) -> None:
    count(statistics, "x", "mobile", "/")
    ((worker, minute, revision, counts),) = journal.read("SELECT worker, minute, revision, counts FROM minutes")
    assert (worker, minute, revision) == (journal.boot, int(clock.now // 60), 1)
    assert orjson.loads(counts) == [["unknown", "mobile", "/", "x", 1]]


def test_an_error_that_is_counted_while_the_disk_fails_is_counted_once(
    tmp_path: Path, open_journal: Callable[[], Journal], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "RETRY", 0.0)
    (tmp_path / "journal").touch()
    statistics = Statistics(open_journal(), lambda: None, clock=clock)
    count(statistics)
    count(statistics)
    assert total(statistics) == 2
    (tmp_path / "journal").unlink()
    count(statistics)
    other = Statistics(open_journal(), lambda: None, clock=clock)
    assert (total(statistics), total(other)) == (3, 3)
