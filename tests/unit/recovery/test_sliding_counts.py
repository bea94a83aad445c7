"""Counts over the last seconds, against a plain list of what was counted when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prodfix.recovery.sliding_counts import BUCKETS, SlidingCounts

steps = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3), st.integers(0, 3)), max_size=50)


@given(start=st.floats(0, 1e9), steps=steps)
def test_it_forgets_what_is_older_and_nothing_else(start: float, steps: list[tuple[float, int, int]]) -> None:
    now = start
    window = SlidingCounts(10, clock=lambda: now)
    counted: list[tuple[int, int, int]] = []
    for passed, first, second in steps:
        now += passed
        window.add(first, second)
        newest = int(now)  # a bucket of ten seconds' tenth is a second
        counted.append((newest, first, second))
        kept = [one for one in counted if one[0] > newest - BUCKETS]
        assert window.sums() == (sum(one[1] for one in kept), sum(one[2] for one in kept))


def test_it_is_empty_after_its_time_and_when_cleared() -> None:
    now = 5.0
    window = SlidingCounts(10, clock=lambda: now)
    window.add(3, 1)
    assert window.sums() == (3, 1)
    now += 11
    assert window.sums() == (0, 0)
    window.add(1)
    window.clear()
    assert window.sums() == (0, 0)
