"""The sparkline: a bar for each count, in its proportion, and quickly; and moments as people read them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.blueprints.diagnostics.html import _environment, ago, clock
from prodfix.blueprints.diagnostics.sparklines import sparks


@given(st.lists(st.integers(0, 10**9), max_size=48))
def test_each_count_has_its_bar_and_none_but_nought_is_unseen(counts: list[int]) -> None:
    heights = [float(height) for height in re.findall(r"v-([\d.]+)h3", sparks(counts))]
    assert len(heights) == len(counts)
    for count, height in zip(counts, heights, strict=True):
        assert (height == 0.5) if count == 0 else (1 <= height <= 24)
    if any(counts):
        assert heights[counts.index(max(counts))] == 24
    assert [x for x in re.findall(r"M(\d+) ", sparks(counts))] == [str(4 * number) for number in range(len(counts))]


def test_one_takes_less_than_two_milliseconds() -> None:
    spark = _environment().get_template("diagnostics/_plot.html").module.spark  # type: ignore[attr-defined]
    taken = []
    for _ in range(20):
        begun = time.process_time()
        spark(range(24), "words")
        taken.append(time.process_time() - begun)
    assert min(taken) < 0.002


def test_what_it_shows_is_said_and_escaped() -> None:
    spark = _environment().get_template("diagnostics/_plot.html").module.spark  # type: ignore[attr-defined]
    assert 'role="img" aria-label="&lt;a&gt;"' in str(spark([1, 2], "<a>"))


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=61), "1 min ago"),
        (timedelta(minutes=59, seconds=30), "59 min ago"),
        (timedelta(hours=1, seconds=1), "1 h ago"),
        (timedelta(hours=47, minutes=59), "47 h ago"),
        (timedelta(hours=48, seconds=1), "2 days ago"),
        (timedelta(days=59), "59 days ago"),
        (timedelta(seconds=-30), "just now"),
    ],
)
def test_how_long_ago_it_was(passed: timedelta, words: str) -> None:
    assert ago(datetime.now(UTC) - passed) == words


def test_what_was_long_ago_has_its_day() -> None:
    long_ago = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert ago(long_ago) == "on 2020-02-03"
    assert (clock(long_ago), clock(long_ago, True)) == ("2020-02-03 04:05 UTC", "2020-02-03 04:05:06 UTC")
