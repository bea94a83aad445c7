"""What is known of each route: how often, how long, and what it asks of the database."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.operations.command_stats import bin_of
from prodfix.statistics.counts import Counts
from prodfix.statistics.route_counts import COARSE, RouteCounts
from prodfix.statistics.route_figures import RouteSort, routes_of
from tests.support.counting_worker import Worker


def counts_of(*requests: tuple[str, int, bool, int, int]) -> Counts:
    counts = Counts(9)
    for endpoint, millis, failed, commands, micros in requests:
        counts.count_request(endpoint, "mobile", millis * 1000, failed=failed, commands=commands, command_micros=micros)
    return counts


SOME = counts_of(
    ("/fast", 1, False, 1, 500),
    ("/fast", 1, False, 1, 500),
    ("/fast", 2, True, 0, 0),
    ("/slow", 900, False, 40, 800_000),
    ("/failing", 10, True, 0, 0),
    ("/failing", 10, True, 0, 0),
)


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("failing", ["/failing", "/fast", "/slow"]),
        ("slowest", ["/slow", "/failing", "/fast"]),
        ("busiest", ["/fast", "/failing", "/slow"]),
        ("database", ["/slow", "/fast", "/failing"]),
    ],
)
def test_they_are_sorted_by_what_one_looks_for(sort: RouteSort, names: list[str]) -> None:
    assert [one.endpoint for one in routes_of(SOME, sort)] == names


def test_each_has_its_rates_durations_and_what_a_request_asks_of_the_database() -> None:
    found = {one.endpoint: one.to_json() for one in routes_of(SOME)}
    assert (found["/fast"]["requests"], found["/fast"]["failedRequests"], found["/fast"]["commands"]) == (3, 1, 0.67)
    assert found["/fast"]["databaseMs"] == pytest.approx(1 / 3, abs=0.01)
    assert found["/slow"]["latencyMs"]["p99"] == pytest.approx(900, rel=0.1)
    assert found["/fast"]["latencyMs"]["p50"] == pytest.approx(1, rel=0.1)


@given(micros=st.integers(1, 10**9))
def test_a_duration_is_right_within_a_tenth(micros: int) -> None:
    route = RouteCounts(bins={bin_of(micros) >> COARSE: 1})
    (found,) = route.millis(0.5)
    assert found is not None
    assert abs(found - micros / 1e3) <= 0.1 * micros / 1e3 + 0.005, "which is told in hundredths of a millisecond"


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    counts = counts_of(*[("/", millis, False, 0, 0) for millis in (10, 20, 30, 40, 1000)])
    assert counts.routes["/"].millis(0.5, 0.8, 0.95, 0.99) == [
        pytest.approx(millis, rel=0.1) for millis in (30, 40, 1000, 1000)
    ]
    assert RouteCounts().millis(0.5, 0.95) == [None, None]


COUNTS = st.tuples(st.integers(0, 9), st.integers(0, 10**6), st.dictionaries(st.integers(0, 200), st.integers(1, 99)))


@given(parts=st.lists(COUNTS, max_size=5))
def test_rows_add_up_to_what_one_would_have_counted(parts: list[Any]) -> None:
    whole, added = RouteCounts(), RouteCounts()
    for commands, micros, bins in parts:
        part = RouteCounts(sum(bins.values()), 0, commands, micros, dict(bins)) if bins else RouteCounts()
        added.add(part.requests, 0, orjson.loads(orjson.dumps(part.to_row())))
        whole.requests += part.requests
        whole.commands += part.commands
        whole.command_micros += part.command_micros
        for place, count in part.bins.items():
            whole.bins[place] = whole.bins.get(place, 0) + count
    assert added == whole


def test_what_an_earlier_release_has_counted_has_requests_and_no_more() -> None:
    counts = Counts(9)
    counts.add_traffic(
        {"devices": [], "endpoints": [["/old", 4, 1], ["/new", 1, 0]], "routes": [[], [2, 1000, 100, 1]]}
    )
    counts.add_traffic({"devices": [], "endpoints": [["/old", 2, 0]]})
    old, new = (next(one for one in routes_of(counts) if one.endpoint == name) for name in ("/old", "/new"))
    assert (old.rates.requests, old.rates.failed_requests) == (6, 1)
    assert (old.latency_ms.p95, old.commands, old.database_ms) == (None, None, None)
    assert (new.commands, new.database_ms) == (2.0, 1.0)


def test_the_window_before_is_compared_with_as_long_as_there_was_one(worker: Worker, clock: Any) -> None:
    worker.error()
    worker.request()
    clock.now += 3600
    worker.error(times=3)
    read = worker.statistics.read("1h")
    before = worker.statistics.before(read)
    assert before is not None
    assert (read.counts.total_errors, before.total_errors, before.whole().requests) == (3, 1, 1)
    clock.now += 7200
    assert worker.statistics.before(worker.statistics.read("1h")) is None, "nothing was counted"


def test_a_window_before_of_many_hours_is_one_of_whole_ones(worker: Worker, clock: Any) -> None:
    clock.now += 1800
    worker.error()
    clock.now += 24 * 3600 - 1200
    read = worker.statistics.read("24h")
    assert read.counts.total_errors == 1
    assert worker.statistics.before(read) is None
    clock.now += 24 * 3600
    before = worker.statistics.before(worker.statistics.read("24h"))
    assert before is not None
    assert before.errors_by(3) == {"f1": 1}


def test_the_window_before_is_read_once_and_not_compared_with_that_of_another_scope(
    make_worker: Any, database: Any, clock: Any
) -> None:
    worker = make_worker(database)
    worker.error()
    worker.storage.tick()
    clock.now += 3600
    worker.error()
    assert worker.statistics.before(worker.statistics.read("1h")) is not None
    worker.database = None
    read = worker.statistics.read("1h")
    assert (read.window.scope, worker.statistics.before(read)) == ("instance", None)
    worker.database = database
    database.drop_collection("error_minutes")
    assert worker.statistics.before(worker.statistics.read("1h")) is not None, "it is remembered for this minute"
    read.window.complete_from = read.first
    assert worker.statistics.before(read) is None, "a slow database is not asked for more"
