"""Plots as SVG within the page, drawn by pygal; colours, fonts and sizes are the stylesheet's.

pygal brings styles and a script of its own in every plot. The page's Content-Security-Policy allows neither, and its colours
would be dark on dark at night: they are taken out, and each series gets the class of its category.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from prodfix import ErrorCategory

XLINK = "{http://www.w3.org/1999/xlink}"
WIDTH, HEIGHT = 880, 240
LABELS = 6  # along the time
BAND = 6  # units, of the incidents below the bars

SERVICE = tuple(
    map(
        str,
        (
            ErrorCategory.DATABASE_CONNECTION,
            ErrorCategory.TIMEOUT,
            ErrorCategory.DATABASE_QUERY,
            ErrorCategory.NETWORK,
            ErrorCategory.UNKNOWN,
        ),
    )
)
"""The categories that the service is to blame for; the others are answered with 4xx."""

_ALL = (*SERVICE, *(str(category) for category in ErrorCategory if category not in SERVICE), "__other__")
_DROPPED = ("defs", "desc", "title")

Stretch = tuple[float, float, str]
"""Where an incident begins and ends, in bars, and its cause."""


@dataclass(slots=True)
class Bar:
    """What happened from one moment to another; errors by category."""

    at: datetime
    to: datetime
    requests: int = 0
    failed_requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def errors_over_time(
    points: Sequence[Bar],
    shown: Sequence[str],
    label: Callable[[datetime], str],
    link: Callable[[datetime, str], str],
    incidents: Sequence[Stretch] = (),
) -> Markup:
    """Of each of ``points`` one part for each category in ``shown``; ``link`` leads from a bar and category to its errors. Below
    the bars are the incidents."""
    bars = _bars()
    most = max((sum(point.errors[name] for name in shown) for point in points), default=0)
    places = [round(number * (len(points) - 1) / (LABELS - 1)) for number in range(LABELS)]
    chart = bars(
        css=[],
        js=[],
        width=WIDTH,
        height=HEIGHT,
        margin=2,
        margin_left=12,
        spacing=6,
        no_prefix=True,
        show_legend=False,
        show_minor_x_labels=False,
        max_scale=5,
        truncate_label=-1,
        range=(0, max(most, 4)),
        value_formatter=lambda value: f"{value:g}",
        disable_xml_declaration=True,
    )
    chart.x_labels = [str(number) for number in range(len(points))]
    chart.x_labels_major = [str(place) for place in places]
    for category in shown:
        chart.add(category, [_value(point, category, label, link) for point in points])
    tree = chart.render_tree()
    _name_the_times(tree, points, label, incidents)
    return _cleaned(tree, shown)


@cache
def _bars() -> Any:
    import pygal  # here: 2 MB in each worker, and nobody may ever look

    # It leaves a finder of its plugins among Python's, of a kind that 3.11 warns of at each import.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

    class Bars(pygal.StackedBar):  # type: ignore[misc]
        def _tooltip_and_print_values(self, *_: Any) -> None:
            """Half of the time that pygal takes, for elements that are taken out."""

    return Bars


def categories(points: Sequence[Bar], among: Sequence[str] = _ALL) -> list[str]:
    """Those that occur, always in the same order: what the service is to blame for comes first."""
    there = {category for point in points for category in point.errors}
    return [category for category in among if category in there]


def _value(
    point: Bar, category: str, label: Callable[[datetime], str], link: Callable[[datetime, str], str]
) -> dict[str, Any] | None:
    count = point.errors[category]
    if not count:
        return None
    words = f"{label(point.at)}: {count} {category.replace('_', ' ')}"
    return {"value": count, "label": words, "xlink": {"href": link(point.at, category), "target": "_self"}}


def _name_the_times(
    tree: Element, points: Sequence[Bar], label: Callable[[datetime], str], incidents: Sequence[Stretch]
) -> None:
    """pygal knows points by their numbers, so that none is taken for another of the same time of day. Where they are on its
    axis the incidents are, too."""
    plot = next(group for group in tree.iter("g") if group.get("class") == "plot")
    words = [text for axis in plot.iter("g") if axis.get("class") == "axis x" for text in axis.iter("text")]
    known = sorted((int(text.text or 0), float(text.get("x", 0))) for text in words)
    for text in words:
        text.text = label(points[int(text.text or 0)].at)
    (first, begin), (last, end) = known[0], known[-1]
    unit = (end - begin) / max(1, last - first)
    floor = float(next(plot.iter("rect")).get("height", HEIGHT))
    for start, stop, cause in incidents:
        width = max(3.0, (stop - start) * unit)
        place = {"x": begin + (start - first - 0.5) * unit, "y": floor + 1, "width": width, "height": BAND}
        SubElement(
            plot, "rect", {name: f"{value:.1f}" for name, value in place.items()} | {"class": f"incident {cause}"}
        )


def _needless(element: Element) -> bool:
    kind = element.get("class", "")
    empty = kind == "bar" and element.tag == "g" and element.find("a") is None  # of nothing
    return element.tag in _DROPPED or callable(element.tag) or empty or "overlay" in kind


def _cleaned(tree: Element, shown: Sequence[str]) -> Markup:
    for link in list(tree.iter("a")):
        words = link.findtext("desc[@class='label']", "")
        link.set("aria-label", words)
        link.set("href", link.attrib.pop(f"{XLINK}href", ""))
        for rect in link.iter("rect"):
            rect.set("class", "bar")
            SubElement(rect, "hint").text = words
    for parent in list(tree.iter()):
        if len(parent):
            parent[:] = [child for child in parent if not _needless(child)]
        parent.attrib.pop("style", None)
        kind = parent.get("class", "")
        if kind.startswith("series serie-"):
            number = int(kind.split()[1].removeprefix("serie-"))
            parent.set("class", f"series category-{shown[number].strip('_')}")
    for hint in tree.iter("hint"):
        hint.tag = "title"
    tree.set("class", "plot-of-errors")
    tree.attrib.pop("id", None)
    # Made by pygal and ElementTree, which escape what they are given.
    return Markup(tostring(tree, encoding="unicode"))  # noqa: S704
