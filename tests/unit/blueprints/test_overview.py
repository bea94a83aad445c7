"""The bars of the page's plot: as wide as a thumb, and each leads to what it counts."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prodfix.blueprints.diagnostics.pages.overview import _together
from prodfix.models import SeriesPoint


def point(at: str, requests: int = 0, failed: int = 0, **errors: int) -> SeriesPoint:
    return SeriesPoint(datetime.fromisoformat(at), requests, failed, errors)


def test_points_of_the_same_half_hour_are_one_bar_which_ends_with_it() -> None:
    points = [
        point("2026-11-26T11:45:00.000Z", 1, 0, timeout=1),
        point("2026-11-26T12:00:00.000Z", 10, 2, timeout=1, unknown=1),
        point("2026-11-26T12:15:00.000Z", 20, 3, unknown=2),
        point("2026-11-26T12:30:00.000Z", 40, 4),
    ]
    assert [
        (f"{bar.at:%H:%M}", f"{bar.to:%H:%M}", bar.requests, dict(bar.errors)) for bar in _together(points, 30)
    ] == [
        ("11:45", "12:00", 1, {"timeout": 1}),
        ("12:00", "12:30", 30, {"timeout": 1, "unknown": 3}),
        ("12:30", "13:00", 40, {}),
    ]


@given(step=st.sampled_from([1, 15, 60]), together=st.integers(1, 4), counts=st.lists(st.integers(0, 9), max_size=24))
def test_nothing_is_lost_or_doubled(step: int, together: int, counts: list[int]) -> None:
    moments = [number * step for number in range(len(counts))]
    points = [
        point(f"2026-11-26T{at // 60:02}:{at % 60:02}:00.000Z", count, count, unknown=count)
        for at, count in zip(moments, counts, strict=True)
    ]
    bars = _together(points, step * together)
    for name in ("requests", "failed_requests"):
        assert sum(getattr(bar, name) for bar in bars) == sum(counts)
    assert sum(bar.errors["unknown"] for bar in bars) == sum(counts)
    assert all(bar.to <= after.at for bar, after in pairwise(bars))
