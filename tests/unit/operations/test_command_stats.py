from __future__ import annotations

import statistics
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import strategies as st

from prodfix.operations.command_stats import ACCURACY, FRESH, KINDS, MET, OTHER, CommandStats, bin_of, masked, quantile
from prodfix.operations.fingerprints import CommandKey, command_key

FIND = CommandKey("find", "notes", ("a",))


def add(profile: CommandStats, key: CommandKey, micros: int, *, failed: bool = False) -> CommandKey:
    command = {key.operation: key.collection, "filter": dict.fromkeys(key.fields, 1)}
    return profile.count(key.operation, command, micros, failed)


def test_counts_errors_and_sums_are_exact_under_threads() -> None:
    profile, interval = CommandStats(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            done = pool.map(lambda number: add(profile, FIND, number, failed=number % 10 == 0), range(20_000))
            drained = [profile.drain() for _ in range(50)]
            list(done)
    finally:
        sys.setswitchinterval(interval)
    drained.append(profile.drain())
    ((key, kind),) = {key: kind for found in drained for key, kind in found}.items()
    assert (key, kind.count, kind.errors, kind.micros) == (FIND, 20_000, 2_000, sum(range(20_000)))
    assert profile.commands == 20_000
    assert FRESH <= kind.sampled == sum(kind.bins.values()) <= FRESH * len(drained)


WORDS = st.sampled_from(["a", "b", "$or", "c.d", "x" * 30])
FILTERS = st.one_of(
    st.none(),
    st.dictionaries(WORDS, st.just(1)),
    st.integers(14, 20).map(lambda many: {f"f{number}": 1 for number in range(many)}),
)
COMMANDS = st.one_of(
    st.builds(lambda name, found: {name: "notes", "filter": found}, st.sampled_from(["find", "insert", "x"]), FILTERS),
    st.builds(lambda found: {"update": "notes", "updates": [{"q": found or {}, "u": {}}]}, FILTERS),
    st.builds(lambda found: {"aggregate": 1, "pipeline": [{"$match": found}] if found else []}, FILTERS),
    st.builds(lambda cursor: {"getMore": cursor, "collection": "notes"}, st.integers(1, 2**60)),
    st.just({"bulkWrite": 1, "nsInfo": [{"ns": "d.b"}, {"ns": "d.a"}]}),
    st.just({"dropDatabase": 1}),
    st.just({"odd": {"not": "a name"}}),
    st.just({}),
)


@given(st.lists(COMMANDS, min_size=1, max_size=30))
def test_each_command_is_counted_under_its_key_also_when_it_comes_again(commands: list[dict[str, Any]]) -> None:
    profile = CommandStats()
    keys = [(next(iter(command), "gone"), command) for command in (*commands, *commands)]
    wanted = [command_key(name, command) for name, command in keys]
    assert [profile.count(name, command, 1, False) for name, command in keys] == wanted
    assert {key: kind.count for key, kind in profile.drain()} == Counter(map(masked, wanted))


def test_what_is_remembered_is_bounded() -> None:
    profile = CommandStats()
    for number in range(MET + 100):
        profile.count("getMore", {"getMore": number, "collection": "notes"}, 1, False)
        add(profile, CommandKey("find", "notes", (f"field{number}",)), 1)
    profile.count("find", {"find": "notes", "filter": {f"f{n}": 1 for n in range(100_000)}}, 1, False)
    found = profile._met["find"]["notes"]
    assert len(found) <= MET < MET + 100
    assert list(profile._met["getMore"]) == ["notes"]
    assert profile.commands == 2 * (MET + 100) + 1


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=FRESH))
def test_quantiles_are_within_two_percent_also_when_written_and_read(durations: list[int]) -> None:
    profile = CommandStats()
    for micros in durations:
        add(profile, FIND, micros, failed=False)
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
            add(profile, FIND, low + step, failed=False)
        entries += [kind.totals().bins for _, kind in profile.drain()]
    middle = quantile(entries, 0.5)
    assert middle is not None
    assert 950 < middle < 1_100
    assert quantile([], 0.5) is None


def test_only_what_has_changed_is_drained() -> None:
    profile = CommandStats()
    add(profile, FIND, 5, failed=False)
    assert len(profile.drain()) == 1
    assert profile.drain() == []
    profile.repeat(FIND)
    assert [kind.repeated for _, kind in profile.drain()] == [1]


def test_kinds_beyond_the_limit_are_counted_together() -> None:
    profile = CommandStats()
    for number in range(KINDS + 50):
        add(profile, CommandKey("find", f"c{number}", ()), 1, failed=False)
    kinds = dict(profile.drain())
    assert len(kinds) == KINDS + 1
    assert kinds[OTHER].count == 50


def test_names_that_are_data_are_hidden_and_their_order_is_not_told_apart() -> None:
    assert masked(CommandKey("find", "n", ("b", "ann@example.com", "a"))).fields == ("?key", "a", "b")


def test_a_collection_that_is_named_by_a_users_address_is_told_without_it() -> None:
    profile, name = CommandStats(), "inbox_ada@example.org"
    keys = [profile.count("find", {"find": name, "filter": {"a": 1}}, 1, False) for _ in range(3)]
    profile.repeat(keys[0])
    ((shown, kind),) = profile.drain()
    assert (kind.count, kind.repeated) == (3, 1), "found again by its own name, and by the one that is told"
    assert [key for key in (*keys, shown) if "ada" in str(key) or key.collection is None] == []
    assert masked(CommandKey("find", "inbox_ada", ())).collection == "inbox_ada", "the control: other names stay"
