"""What counts as a jump of the error rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.statistics.rates import BEFORE, RECENT, compared, jumped
from prodfix.statistics.windows import Point

NOW = 30_000_000


def minutes(before: tuple[int, int], recent: tuple[int, int]) -> dict[int, Point]:
    """Requests and failed ones of each minute, before and recently."""
    points = {NOW - RECENT - number: Point(*before) for number in range(BEFORE)}
    return points | {NOW - number: Point(*recent) for number in range(RECENT)}


@pytest.mark.parametrize(
    ("before", "recent", "expected"),
    [
        ((100, 0), (100, 50), True),
        ((100, 1), (100, 5), True),
        ((100, 1), (100, 3), False),  # less than four times
        ((100, 0), (1000, 20), False),  # two percent
        ((2, 0), (3, 3), False),  # six requests prove nothing
        ((0, 0), (10, 10), True),  # no traffic before
        ((0, 0), (0, 0), False),
        ((100, 60), (100, 90), False),  # it was nearly as bad before
    ],
)
def test_a_jump_is_large_against_what_was_before_and_not_a_handful(
    before: tuple[int, int], recent: tuple[int, int], expected: bool
) -> None:
    assert jumped(minutes(before, recent), NOW) is expected


def test_what_is_compared_is_told_in_words() -> None:
    assert compared(minutes((100, 5), (60, 30)), NOW) == {
        "failed": "60 of 120 requests in 2 minutes",
        "before": "50 of 1000 requests in 10 minutes",
    }


def test_what_has_begun_ends_when_the_share_is_low_again() -> None:
    assert jumped(minutes((100, 50), (100, 10)), NOW, jumping=True)
    assert not jumped(minutes((100, 50), (100, 2)), NOW, jumping=True)
    assert not jumped(minutes((100, 50), (0, 0)), NOW, jumping=True)


@given(st.dictionaries(st.integers(NOW - 20, NOW + 5), st.builds(Point, st.integers(0, 50), st.integers(0, 50))))
def test_whatever_it_is_shown_it_answers(points: dict[int, Point]) -> None:
    assert jumped(points, NOW) in (True, False)
    outside = {minute: point for minute, point in points.items() if NOW - RECENT - BEFORE < minute <= NOW}
    assert jumped(points, NOW) == jumped(outside, NOW)
