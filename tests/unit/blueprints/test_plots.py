"""The plot: every bar leads somewhere, nothing in it needs a looser policy, and incidents stand where they were."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from prodfix import ErrorCategory
from prodfix.blueprints.diagnostics.plots import SERVICE, Bar, categories, errors_over_time

SVG = "{http://www.w3.org/2000/svg}"


BEGIN = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def points(*errors: dict[str, int]) -> list[Bar]:
    moments = [BEGIN + number * MINUTE for number in range(len(errors))]
    return [Bar(at, at + MINUTE, errors=Counter(one)) for at, one in zip(moments, errors, strict=True)]


def drawn(given: list[Bar], shown: list[str], **more: Any) -> Element:
    def link(at: datetime, name: str) -> str:
        return f"/errors?from={at:%H:%M}&category={name}&<script>"

    return fromstring(errors_over_time(given, shown, lambda at: f"{at:%H:%M}", link, **more))


def bars(tree: Element) -> list[Element]:
    return [link for link in tree.iter(f"{SVG}a")]


def test_each_count_is_a_bar_that_leads_to_its_errors_and_says_what_it_is() -> None:
    tree = drawn(points({"timeout": 3}, {}, {"timeout": 1, "unknown": 2}), ["timeout", "unknown"])
    assert [link.get("aria-label") for link in bars(tree)] == [
        "10:00: 3 timeout",
        "10:02: 1 timeout",
        "10:02: 2 unknown",
    ]
    assert bars(tree)[0].get("href") == "/errors?from=10:00&category=timeout&<script>"
    assert [rect.findtext(f"{SVG}title") for link in bars(tree) for rect in link] == [
        link.get("aria-label") for link in bars(tree)
    ]
    heights = [float(link[0].get("height", 0)) for link in bars(tree)]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
    assert heights[2] == pytest.approx(2 * heights[1], rel=0.01)


def test_it_needs_no_style_and_no_script_of_its_own() -> None:
    text = errors_over_time(points({"timeout": 1}), ["timeout"], str, lambda at, name: "/x", [(0.0, 1.0, "error_rate")])
    for forbidden in ("<style", "<script", "style=", "onclick", "xlink", "pygal", "<desc", "http://www.pygal"):
        assert forbidden not in text
    assert 'class="series category-timeout"' in text
    assert len(text) < 4000


def test_what_is_not_shown_has_no_bar() -> None:
    assert bars(drawn(points({"timeout": 3, "client": 9}), ["timeout"]))[0].get("aria-label") == "10:00: 3 timeout"
    assert len(bars(drawn(points({"timeout": 3, "client": 9}), ["timeout"]))) == 1


def test_the_service_comes_before_its_clients() -> None:
    given = points({"client": 1, "unknown": 1}, {"validation": 1, "database_connection": 1, "__other__": 1})
    assert categories(given) == ["database_connection", "unknown", "validation", "client", "__other__"]
    assert categories(given, SERVICE) == ["database_connection", "unknown"]
    assert set(SERVICE) < set(map(str, ErrorCategory))


@pytest.mark.parametrize("number", [1, 2, 60, 96, 168])
def test_an_incident_stands_below_the_bars_of_its_time(number: int) -> None:
    given = points(*[{"timeout": 1}] * number)
    for place in {0, number // 2, number - 1}:
        tree = drawn(given, ["timeout"], incidents=[(float(place), place + 1.0, "database_lost")])
        rect = bars(tree)[place][0]
        (incident,) = [one for one in tree.iter(f"{SVG}rect") if "incident" in one.get("class", "")]
        middle = [float(one.get("x", 0)) + float(one.get("width", 0)) / 2 for one in (rect, incident)]
        assert middle[0] == pytest.approx(middle[1], abs=2.0)


def test_times_along_the_axis_are_those_of_the_points() -> None:
    tree = drawn(points(*[{"timeout": 1}] * 60), ["timeout"])
    words = [
        text.text for axis in tree.iter(f"{SVG}g") if axis.get("class") == "axis x" for text in axis.iter(f"{SVG}text")
    ]
    assert words == ["10:00", "10:12", "10:24", "10:35", "10:47", "10:59"]


def test_no_finder_of_pygals_stays_among_pythons() -> None:
    drawn(points({"timeout": 1}), ["timeout"])
    assert "pygal" in sys.modules
    assert [finder for finder in sys.meta_path if "pygal" in type(finder).__module__] == []
