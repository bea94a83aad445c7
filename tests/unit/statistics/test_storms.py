"""Storms: a burst is told in full, what is held back is counted exactly, and memory is bounded."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.statistics import storms as module
from prodfix.statistics.storms import Storms
from tests.support.counting_worker import Clock

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("error"), st.integers(0, 6)),
        st.tuples(st.just("wait"), st.integers(0, 3)),
        st.tuples(st.just("tell"), st.just(0)),
    ),
    max_size=80,
)


def admitted(storms: Storms, times: int, fingerprint: str = "f") -> int:
    return sum(storms.admit(fingerprint, "title") for _ in range(times))


def test_a_burst_is_told_and_then_a_few_each_second(clock: Clock) -> None:
    storms = Storms(burst=5, rate=2.0, clock=clock)
    assert admitted(storms, 20) == 5
    for _ in range(3):
        clock.now += 1
        assert admitted(storms, 20) == 2
    clock.now += 0.4
    assert admitted(storms, 20) == 0
    clock.now += 0.2
    assert admitted(storms, 20) == 1
    clock.now += 3600
    assert admitted(storms, 20) == 5


def test_one_kind_does_not_hold_back_another(clock: Clock) -> None:
    storms = Storms(burst=2, rate=1.0, clock=clock)
    assert [admitted(storms, 9, name) for name in ("a", "b")] == [2, 2]


def test_a_summary_tells_each_kind_once(clock: Clock) -> None:
    storms = Storms(burst=2, rate=1.0, clock=clock)
    for name, times in (("a", 5), ("b", 2), ("c", 3)):
        admitted(storms, times, name)
    assert storms.summary() == [("a", "title", 3), ("c", "title", 1)]
    assert storms.summary() == []
    admitted(storms, 1, "a")
    assert (storms.summary(), storms.held) == ([("a", "title", 1)], 5)


@given(steps=STEPS, kinds=st.integers(1, 4))
def test_what_is_admitted_and_what_is_told_as_held_back_is_all(steps: list[tuple[str, int]], kinds: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "KINDS", kinds)
        clock = Clock()
        storms = Storms(burst=2, rate=0.5, clock=clock)
        counted = Counter[str]()
        told = Counter[str]()
        for what, how in [*steps, ("tell", 0)]:
            if what == "error":
                counted["all"] += 1
                counted["admitted"] += storms.admit(f"f{how}", "title")
                assert len(storms._buckets) <= kinds
                assert len(storms._forgotten) <= kinds
            elif what == "wait":
                clock.now += how
            else:
                for fingerprint, _, held in storms.summary():
                    told[fingerprint] += held
        assert counted["admitted"] + told.total() == counted["all"]
        assert told.total() == storms.held


def test_memory_is_bounded_and_what_is_forgotten_is_told_all_the_same(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KINDS", 10)
    storms = Storms(burst=1, rate=0.0, clock=clock)
    for number in range(100):
        admitted(storms, 3, f"f{number}")
    assert (len(storms._buckets), len(storms._forgotten)) == (10, 10)
    told = storms.summary()
    assert len(told) == 21
    assert sum(held for _, _, held in told) == 200
    assert ("__other__", "__other__", 160) in told


def test_the_kind_that_was_seen_last_is_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KINDS", 2)
    storms = Storms(burst=1, rate=0.0, clock=clock)
    for name in ("a", "b", "a", "c"):
        admitted(storms, 1, name)
    assert admitted(storms, 1, "a") == 0
    assert admitted(storms, 1, "b") == 1  # the control: forgotten, so it may burst again


def test_threads_at_once_admit_no_more_than_the_burst(switching: None) -> None:
    storms = Storms(burst=50, rate=0.0, clock=Clock())
    with ThreadPoolExecutor(6) as pool:
        tasks = [pool.submit(admitted, storms, 300) for _ in range(6)]
        assert sum(task.result(30) for task in tasks) == 50
    assert storms.summary() == [("f", "title", 6 * 300 - 50)]
