"""Plots as SVG within the page, drawn by pygal; colours, fonts and sizes are the stylesheet's.

pygal brings styles and a script of its own in every plot. The page's Content-Security-Policy allows neither, and its colours
would be dark on dark at night: they are taken out, and each series gets the class of its category.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import pygal
from markupsafe import Markup

from prodfix import ErrorCategory

XLINK = "{http://www.w3.org/1999/xlink}"
WIDTH, HEIGHT = 880, 240
LABELS = 6  # along the time

_DROPPED = ("defs", "desc", "title")


def errors_over_time(
    points: Sequence[dict[str, Any]], label: Callable[[str], str], link: Callable[[str, str], str]
) -> Markup:
    """One bar for each point, one part of it for each category; ``link`` leads from a point and category to its errors."""
    chart = pygal.StackedBar(
        css=[],
        js=[],
        width=WIDTH,
        height=HEIGHT,
        margin=2,
        spacing=4,
        no_prefix=True,
        show_legend=False,
        show_minor_x_labels=False,
        x_labels_major_count=LABELS,
        max_scale=5,
        truncate_label=-1,
        value_formatter=lambda value: f"{value:g}",
        disable_xml_declaration=True,
    )
    chart.x_labels = [label(point["at"]) for point in points]
    most = max((sum(point["errors"].values()) for point in points), default=0)
    chart.range = (0, max(most, 4))
    shown = categories(points)
    for category in shown:
        chart.add(category, [_value(point, category, label, link) for point in points])
    return _cleaned(chart.render_tree(), shown)


def categories(points: Sequence[dict[str, Any]]) -> list[str]:
    """Those that occur, always in the same order."""
    there = {category for point in points for category in point["errors"]}
    return [category for category in (*map(str, ErrorCategory), "__other__") if category in there]


def _value(
    point: dict[str, Any], category: str, label: Callable[[str], str], link: Callable[[str, str], str]
) -> dict[str, Any] | None:
    count = point["errors"].get(category)
    if not count:
        return None
    words = f"{label(point['at'])}: {count} {category.replace('_', ' ')}"
    return {"value": count, "label": words, "xlink": {"href": link(point["at"], category), "target": "_self"}}


def _cleaned(tree: Element, shown: Sequence[str]) -> Markup:
    for link in list(tree.iter("a")):
        words = link.findtext("desc[@class='label']", "")
        link.set("aria-label", words)
        link.set("href", link.attrib.pop(f"{XLINK}href", ""))
        for rect in link.iter("rect"):
            rect.set("class", "bar")
            SubElement(rect, "hint").text = words
    for parent in list(tree.iter()):
        for child in [*parent]:
            empty = child.get("class") == "bar" and child.tag == "g" and child.find("a") is None  # of nothing
            if child.tag in _DROPPED or callable(child.tag) or empty or "overlay" in child.get("class", ""):
                parent.remove(child)
        for number, category in enumerate(shown):
            if f"serie-{number}" in parent.get("class", "").split():
                parent.set("class", f"series category-{category.strip('_')}")
        parent.attrib.pop("style", None)
    for hint in tree.iter("hint"):
        hint.tag = "title"
    tree.set("class", "plot-of-errors")
    tree.attrib.pop("id", None)
    # Made by pygal and ElementTree, which escape what they are given.
    return Markup(tostring(tree, encoding="unicode"))  # noqa: S704
