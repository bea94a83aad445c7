"""The plot: every bar leads somewhere, nothing in it needs a looser policy, and incidents stand where they were."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix import ErrorCategory
from prodfix.blueprints.diagnostics.html import _environment
from prodfix.blueprints.diagnostics.pages.plots import (
    LABELS,
    SERVICE,
    STEPS,
    Bar,
    Plot,
    categories,
    errors_over_time,
    nice_step,
)

SVG = "{http://www.w3.org/2000/svg}"


BEGIN = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def points(*errors: dict[str, int]) -> list[Bar]:
    moments = [BEGIN + number * MINUTE for number in range(len(errors))]
    return [Bar(at, at + MINUTE, errors=Counter(one)) for at, one in zip(moments, errors, strict=True)]


def drawn(there: list[Bar], shown: list[str], **more: Any) -> Element:
    def link(at: datetime, name: str) -> str:
        return f"/errors?from={at:%H:%M}&category={name}&<script>"

    return fromstring(written(errors_over_time(there, shown, lambda at: f"{at:%H:%M}", link, **more)))


def written(plot: Plot) -> str:
    """The SVG, as the page has it."""
    return str(_environment().get_template("diagnostics/_plot.html").module.bars(plot))  # type: ignore[attr-defined]


def bars(tree: Element) -> list[Element]:
    return [link for link in tree.iter(f"{SVG}a")]


def test_each_count_is_a_bar_that_leads_to_its_errors_and_says_what_it_is() -> None:
    tree = drawn(points({"timeout": 3}, {}, {"timeout": 1, "unknown": 2}), ["timeout", "unknown"])
    assert [link.get("aria-label") for link in bars(tree)] == [
        "10:00 UTC: 3 timeout",
        "10:02 UTC: 1 timeout",
        "10:02 UTC: 2 bug",
    ]
    assert bars(tree)[0].get("href") == "/errors?from=10:00&category=timeout&<script>"
    assert [rect.findtext(f"{SVG}title") for link in bars(tree) for rect in link] == [
        link.get("aria-label") for link in bars(tree)
    ]
    heights = [float(link[0].get("height", 0)) for link in bars(tree)]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
    assert heights[2] == pytest.approx(2 * heights[1], rel=0.01)


@pytest.mark.parametrize(("form", "day"), [("%H:%M", False), ("%a %H:%M", True)])
def test_each_time_carries_its_moment_for_the_script(form: str, day: bool) -> None:
    there = points({"timeout": 3}, {}, {"timeout": 1})
    tree = fromstring(
        written(errors_over_time(there, ["timeout"], lambda at: at.strftime(form), lambda at, name: "/e"))
    )
    axis = next(group for group in tree.iter(f"{SVG}g") if group.get("class") == "x")
    told = [*axis, *tree.iter(f"{SVG}title")]
    moments = [f"2026-11-26T10:0{number}:00.000Z" for number in (0, 1, 2, 0, 2)]
    assert [one.get("data-at") for one in told] == moments
    assert [one.text for one in axis] == [f"{point.at:{form}}" for point in there]
    assert all((one.get("data-day") is not None) is day for one in told)
    counts = next(group for group in tree.iter(f"{SVG}g") if group.get("class") == "y")
    assert all(one.get("data-at") is None for one in counts)


def test_it_needs_no_style_and_no_script_of_its_own() -> None:
    plot = errors_over_time(points({"timeout": 1}), ["timeout"], str, lambda at, name: "/x", [(0.0, 1.0, "error_rate")])
    text = written(plot)
    for forbidden in ("<style", "<script", "style=", "onclick"):
        assert forbidden not in text
    assert 'class="category-timeout"' in text
    assert 'class="incident error_rate"' in text


def test_what_a_link_or_a_label_says_stays_text() -> None:
    plot = errors_over_time(points({"timeout": 1}), ["timeout"], lambda at: "<b>&", lambda at, name: '"><script>')
    assert "<b>" not in written(plot)
    assert "<script>" not in written(plot)
    (link,) = bars(fromstring(written(plot)))
    assert (link.get("href"), link.get("aria-label")) == ('"><script>', "<b>& UTC: 1 timeout")


def test_parts_of_one_bar_stand_on_each_other_and_none_above_the_plot() -> None:
    tree = drawn(points({"timeout": 3, "unknown": 4, "network": 1}), ["timeout", "network", "unknown"])
    tops = [(float(rect[0].get("y", 0)), float(rect[0].get("height", 0))) for rect in bars(tree)]
    for (lower, _), (upper, height) in pairwise(tops):
        assert upper + height == pytest.approx(lower, abs=0.11)  # a decimal is told
    assert min(top for top, _ in tops) >= 0


@given(most=st.integers(0, 10**9))
def test_counts_along_the_axis_are_few_and_round_and_reach_the_highest_bar(most: int) -> None:
    step = nice_step(most)
    assert str(step).rstrip("0") in ("1", "2", "5")
    assert step * STEPS >= most
    plot = errors_over_time(points({"timeout": most}), ["timeout"], str, lambda at, name: "/")
    counts = [int(label.text) for label in plot.counts]
    assert counts == [step * number for number in range(len(counts))]
    assert 2 <= len(counts) <= STEPS + 1
    assert counts[-1] >= most


@pytest.mark.parametrize("number", [1, 2, 60])
def test_no_word_beside_the_axes_is_cut(number: int) -> None:
    plot = errors_over_time(
        points(*[{"timeout": 7}] * number), ["timeout"], lambda at: "Mon 10:00", lambda at, name: "/"
    )
    assert all(30 <= label.at <= plot.width - 30 for label in plot.times)
    assert all(6 <= label.at <= plot.height for label in plot.counts)


def test_a_plot_costs_little() -> None:
    # The busiest there is: a week with every category in each bar. What is asserted is a limit and no figure.
    shown = [str(category) for category in ErrorCategory]
    busy = points(*[dict.fromkeys(shown, 3)] * 60)
    begun = time.process_time()
    for _ in range(20):
        written(errors_over_time(busy, shown, lambda at: f"{at:%H:%M}", lambda at, name: f"/errors?category={name}"))
    assert (time.process_time() - begun) / 20 < 0.05


def test_what_is_not_shown_has_no_bar() -> None:
    assert bars(drawn(points({"timeout": 3, "client": 9}), ["timeout"]))[0].get("aria-label") == "10:00 UTC: 3 timeout"
    assert len(bars(drawn(points({"timeout": 3, "client": 9}), ["timeout"]))) == 1


def test_the_service_comes_before_its_clients() -> None:
    there = points({"client": 1, "unknown": 1}, {"validation": 1, "database_connection": 1, "__other__": 1})
    assert categories(there) == ["database_connection", "unknown", "validation", "client", "__other__"]
    assert categories(there, SERVICE) == ["database_connection", "unknown"]
    assert set(SERVICE) < set(map(str, ErrorCategory))


@pytest.mark.parametrize("number", [1, 2, 60, 96, 168])
def test_an_incident_stands_below_the_bars_of_its_time(number: int) -> None:
    there = points(*[{"timeout": 1}] * number)
    for place in {0, number // 2, number - 1}:
        tree = drawn(there, ["timeout"], incidents=[(float(place), place + 1.0, "database_lost")])
        rect = bars(tree)[place][0]
        (incident,) = [one for one in tree.iter(f"{SVG}rect") if "incident" in one.get("class", "")]
        middle = [float(one.get("x", 0)) + float(one.get("width", 0)) / 2 for one in (rect, incident)]
        assert middle[0] == pytest.approx(middle[1], abs=2.0)


@pytest.mark.parametrize(
    ("begin", "bar", "number", "words"),
    [
        ("2026-11-26T10:00", 1, 60, "10:00 10:10 10:20 10:30 10:40 10:50"),
        ("2026-11-26T17:47", 1, 60, "17:50 18:00 18:10 18:20 18:30 18:40"),
        ("2026-11-26T17:30", 30, 49, "20:00 00:00 04:00 08:00 12:00 16:00"),
        ("2026-11-22T15:00", 180, 57, "00:00 00:00 00:00 00:00 00:00 00:00 00:00"),
        ("2026-11-26T17:47", 1, 3, "17:47 17:48 17:49"),
    ],
)
def test_times_along_the_axis_are_whole_steps_of_the_clock(begin: str, bar: int, number: int, words: str) -> None:
    at = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    moments = [at + one * bar * MINUTE for one in range(number)]
    tree = drawn([Bar(one, one + bar * MINUTE, errors=Counter({"timeout": 1})) for one in moments], ["timeout"])
    assert " ".join(times(tree)) == words


def test_a_first_bar_that_is_cut_has_no_odd_time() -> None:
    # A window begins in the middle of the half hour that its first bar is.
    there = [
        Bar(BEGIN - 15 * MINUTE, BEGIN),
        *(Bar(BEGIN + n * 30 * MINUTE, BEGIN + (n + 1) * 30 * MINUTE) for n in range(48)),
    ]
    assert times(drawn(there, [])) == ["12:00", "16:00", "20:00", "00:00", "04:00", "08:00"]


@given(begin=st.integers(0, 7 * 1440), bar=st.sampled_from([1, 30, 180]))
def test_labels_are_few_and_evenly_apart(begin: int, bar: int) -> None:
    first = BEGIN.replace(hour=0) + (begin // bar) * bar * MINUTE
    there = [
        Bar(first + n * bar * MINUTE, first + (n + 1) * bar * MINUTE) for n in range({1: 60, 30: 49, 180: 57}[bar])
    ]
    places = [label.at for label in errors_over_time(there, [], lambda at: "x", lambda at, name: "/").times]
    assert 5 <= len(places) <= LABELS
    assert (
        max(later - one for one, later in pairwise(places)) - min(later - one for one, later in pairwise(places)) < 0.1
    )


def times(tree: Element) -> list[str | None]:
    return [text.text for axis in tree.iter(f"{SVG}g") if axis.get("class") == "x" for text in axis.iter(f"{SVG}text")]
