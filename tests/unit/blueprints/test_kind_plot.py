"""The plot of a kind: counts are exact, releases are those of the kept records, and no letter is cut."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.blueprints.diagnostics.html import _environment
from prodfix.blueprints.diagnostics.pages.kind_plot import KindBar, KindPlot, bars_of, kind_over_time
from prodfix.statistics.group_summary import trend_of

SVG = "{http://www.w3.org/2000/svg}"
BEGIN = datetime(2026, 11, 26, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
END = BEGIN + 24 * HOUR


def plotted(trend: list[int], kept: list[tuple[datetime, str]], releases: list[str], **more: Any) -> KindPlot:
    bars = bars_of(trend, BEGIN, END, kept)
    return kind_over_time(bars, releases, more.get("firsts", ()), "{:%H:%M}".format, lambda bar: f"/e?{bar.at:%H}&<b>")


def drawn(plot: KindPlot) -> Element:
    module: Any = _environment().get_template("diagnostics/_kind_plot.html").module
    return fromstring(str(module.kind_bars(plot)))


def heights(plot: KindPlot, number: int = 0) -> dict[str, float]:
    return {part.slot: part.box.height for part in plot.bars[number].parts}


def test_records_fall_into_the_bar_of_their_time() -> None:
    kept = [(BEGIN, "a"), (BEGIN + HOUR, "b"), (END - timedelta(seconds=1), "c"), (END, "d"), (BEGIN - HOUR, "e")]
    bars = bars_of([1] * 24, BEGIN, END, kept)
    assert [bar.kept for bar in (bars[0], bars[1], bars[23])] == [Counter(a=1), Counter(b=1), Counter(c=1)]
    assert (bars[0].at, bars[23].to) == (BEGIN, END)
    assert sum(bar.kept.total() for bar in bars) == 3


def test_a_bar_is_shared_as_its_kept_records_are() -> None:
    plot = plotted([40] + [0] * 23, [(BEGIN, "new")] * 3 + [(BEGIN, "old")], ["new", "old"])
    shares = heights(plot)
    assert shares["release-1"] == pytest.approx(3 * shares["release-2"])
    assert plot.legend == [("release-1", "new"), ("release-2", "old")]


def test_where_no_record_is_kept_the_release_is_not_known() -> None:
    plot = plotted([4, 4] + [0] * 22, [(BEGIN, "new"), (BEGIN + HOUR * 30, "old")], ["new", "old"])
    assert [*heights(plot, 1)] == ["release-unknown"]
    assert ("release-unknown", "unknown") in plot.legend


def test_a_single_release_has_all_bars() -> None:
    plot = plotted([4, 4] + [0] * 22, [(BEGIN, "new")], ["new"])
    assert [[*heights(plot, number)] for number in (0, 1)] == [["release-1"], ["release-1"]]


def test_rare_releases_share_a_colour() -> None:
    kept = [(BEGIN, name) for name in "abcdef"]
    plot = plotted([6] + [0] * 23, kept, list("abcdef"))
    assert heights(plot)["release-others"] == pytest.approx(2 * heights(plot)["release-1"])


def test_a_release_is_marked_before_the_bar_it_was_first_seen_in() -> None:
    firsts = [(BEGIN + 6 * HOUR + HOUR / 2, "3f2a9c1d5e6f7a8b"), (BEGIN - HOUR, "older"), (END + HOUR, "newer")]
    plot = plotted([1] * 24, [], ["x", "y"], firsts=firsts)
    (marker,) = plot.markers
    assert marker.text == "3f2a9c1d5e6f"
    assert marker.at < plot.bars[6].parts[0].box.x
    assert marker.at > plot.bars[5].parts[0].box.x + plot.bars[5].parts[0].box.width
    (late,) = plotted([1] * 24, [], ["x", "y"], firsts=[(END - HOUR, "new")]).markers
    assert late.before


def test_each_bar_leads_to_its_errors_and_says_what_it_is() -> None:
    tree = drawn(plotted([0, 3] + [0] * 22, [(BEGIN + HOUR, "<b>")] * 3, ["<b>"]))
    (link,) = tree.iter(f"{SVG}a")
    assert (link.get("href"), link.get("aria-label")) == ("/e?01&<b>", "01:00 UTC: 3 in <b>")
    assert [rect.get("class") for rect in link.iter(f"{SVG}rect")] == ["release-1"]
    assert [one.get("data-at") for one in link.iter(f"{SVG}title")] == ["2026-11-26T01:00:00.000Z"]
    axis = next(group for group in tree.iter(f"{SVG}g") if group.get("class") == "x")
    assert [one.get("data-at") for one in axis][:2] == ["2026-11-26T00:00:00.000Z", "2026-11-26T04:00:00.000Z"]


def test_it_needs_no_style_and_no_script_of_its_own() -> None:
    module: Any = _environment().get_template("diagnostics/_kind_plot.html").module
    plot = plotted([3] * 24, [(BEGIN, "a")], ["a"], firsts=[(BEGIN + HOUR, "<script>")])
    for forbidden in ("<style", "<script", "style=", "onclick"):
        assert forbidden not in str(module.kind_bars(plot))


@given(trend=st.lists(st.integers(0, 10**7), min_size=24, max_size=24))
def test_the_heights_of_the_bars_are_as_the_counts(trend: list[int]) -> None:
    plot = plotted(trend, [], ["a"])
    whole = [sum(part.box.height for part in bar.parts) for bar in plot.bars]
    counts = [count for count in trend if count]
    assert len(whole) == len(counts)
    if counts:
        assert max(whole) <= plot.floor - plot.top + 0.1
        for height, count in zip(whole, counts, strict=True):
            assert height / max(whole) == pytest.approx(count / max(counts), rel=0.01)


def test_nothing_is_no_plot() -> None:
    assert plotted([], [], []).bars == []
    assert plotted([0] * 24, [], []).bars == []
    assert kind_over_time([KindBar(BEGIN, BEGIN, 0, Counter())], [], [(BEGIN, "a")], str, str).markers == []


def test_bars_begin_at_the_minute_whose_errors_they_count() -> None:
    # As :func:`prodfix.statistics.group_summary.trend_of` counts them.
    end = BEGIN + HOUR
    minutes = {number: 1 for number in range(60)}
    first = int(BEGIN.timestamp()) // 60
    trend = trend_of({first + number: count for number, count in minutes.items()}, first, first + 59)
    kept = [(BEGIN + timedelta(minutes=number, seconds=59), "a") for number in minutes]
    bars = bars_of(trend, BEGIN, end, kept)
    assert [bar.kept.total() for bar in bars] == trend
    assert [(bar.to - bar.at) // timedelta(minutes=1) for bar in bars] == trend
    assert [bar.at for bar in bars[1:]] == [bar.to for bar in bars[:-1]]
    assert (bars[0].at, bars[-1].to) == (BEGIN, end)
