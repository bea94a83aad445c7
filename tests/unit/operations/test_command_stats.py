from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor

import orjson
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import strategies as st

from prodfix.operations.command_stats import ACCURACY, FRESH, KINDS, OTHER, CommandStats, bin_of, masked, quantile
from prodfix.operations.fingerprints import CommandKey

FIND = CommandKey("find", "notes", ("a",))


def test_counts_errors_and_sums_are_exact_under_threads() -> None:
    profile = CommandStats()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: profile.add(FIND, number, failed=number % 10 == 0), range(2000)))
    ((key, kind),) = profile.drain()
    assert (key, kind.count, kind.errors, kind.micros) == (FIND, 2000, 200, sum(range(2000)))
    assert kind.sampled == FRESH


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=FRESH))
def test_quantiles_are_within_two_percent_also_when_written_and_read(durations: list[int]) -> None:
    profile = CommandStats()
    for micros in durations:
        profile.add(FIND, micros, failed=False)
    ((_, kind),) = profile.drain()
    read = orjson.loads(orjson.dumps(kind.totals().to_json()))
    median = quantile([read["bins"]], 0.5)
    assert median is not None
    assert statistics.median_low(durations) * 0.97 <= median <= statistics.median_high(durations) * 1.03


@given(st.integers(0, 10**12))
def test_a_bin_is_the_one_of_the_sketchs_own_mapping(micros: int) -> None:
    assert bin_of(micros) == LogarithmicMapping(ACCURACY).key(micros or 1)


def test_several_processes_are_one() -> None:
    entries = []
    for low in (100, 1_000, 10_000):
        profile = CommandStats()
        for step in range(50):
            profile.add(FIND, low + step, failed=False)
        entries += [kind.totals().bins for _, kind in profile.drain()]
    middle = quantile(entries, 0.5)
    assert middle is not None
    assert 950 < middle < 1_100
    assert quantile([], 0.5) is None


def test_only_what_has_changed_is_drained() -> None:
    profile = CommandStats()
    profile.add(FIND, 5, failed=False)
    assert len(profile.drain()) == 1
    assert profile.drain() == []
    profile.repeat(FIND)
    assert [kind.repeated for _, kind in profile.drain()] == [1]


def test_kinds_beyond_the_limit_are_counted_together() -> None:
    profile = CommandStats()
    for number in range(KINDS + 50):
        profile.add(CommandKey("find", f"c{number}", ()), 1, failed=False)
    kinds = dict(profile.drain())
    assert len(kinds) == KINDS + 1
    assert kinds[OTHER].count == 50


def test_names_that_are_data_are_hidden_and_their_order_is_not_told_apart() -> None:
    assert masked(CommandKey("find", "n", ("b", "ann@example.com", "a"))).fields == ("?key", "a", "b")
