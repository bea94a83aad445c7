"""Plots as SVG files that need no script and no style from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Any
from xml.etree.ElementTree import tostring

STYLE = {
    "background": "white",
    "plot_background": "white",
    "font_family": "sans-serif",
    "guide_stroke_color": "#dddddd",
    "major_guide_stroke_color": "#dddddd",
    "guide_stroke_dasharray": "1,0",
    "major_guide_stroke_dasharray": "1,0",
    "title_font_size": 18.0,
    "legend_font_size": 14.0,
    "label_font_size": 13.0,
    "major_label_font_size": 13.0,
    "value_font_size": 12.0,
    # Okabe and Ito: told apart by everybody, in print too.
    "colors": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#B2A400"),
}


def _options(title: str) -> dict[str, Any]:
    from pygal.style import Style

    return {
        "title": title,
        "width": 860,
        "js": [],
        "disable_xml_declaration": True,
        "legend_at_bottom": True,
        "truncate_legend": -1,
        "truncate_label": -1,
        "margin": 14,
        "margin_right": 44,
        "style": Style(**STYLE),
    }


def bars(title: str, values: Mapping[str, float]) -> bytes:
    """One bar for each name, which stands beside its value."""
    import pygal

    chart = pygal.HorizontalBar(
        **_options(title),
        height=110 + 26 * len(values),
        show_legend=False,
        include_x_axis=True,
        spacing=8,
        value_formatter=lambda value: f"{value:g}",
    )
    names = list(values)[::-1]  # pygal draws from below
    chart.x_labels = [f"{name}  {values[name]:.2f}" for name in names]
    chart.add("", [values[name] for name in names])
    return _drawn(chart)


def lines(title: str, along: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> bytes:
    """Points over a logarithmic axis; the other one is logarithmic too where the values differ by more than 20 times.

    The logarithms are taken here: pygal's own would take those of both axes, and has no labels at the powers of ten alone.
    """
    import pygal

    values = [y for points in series.values() for _, y in points if y > 0]
    steep = bool(values) and max(values) / min(values) > 20
    power = range(floor(log10(min(values))), ceil(log10(max(values))) + 1) if steep else range(0)
    chart = pygal.XY(
        **_options(title),
        height=480,
        show_legend=len(series) > 1,
        # pygal leaves room for whole rows only.
        legend_at_bottom_columns=next((some for some in (4, 3, 2) if len(series) % some == 0), len(series)),
        x_title=along,
        y_title=unit,
        dots_size=4,
        x_value_formatter=lambda value: f"{round(10**value):,}",
        value_formatter=lambda value: _short(10**value if steep else value),
        include_x_axis=not steep,
        **({"range": (power[0], power[-1]), "y_labels": list(power)} if steep else {}),
    )
    chart.x_labels = sorted({log10(x) for points in series.values() for x, _ in points})
    for name, points in series.items():
        chart.add(name, [(log10(x), log10(y) if steep else y) for x, y in points if y > 0])
    return _drawn(chart)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"


def _drawn(chart: Any) -> bytes:
    """Without the script that pygal puts into each: browsers run none in a picture."""
    tree = chart.render_tree()
    for parent in list(tree.iter()):
        for child in [each for each in parent if str(each.tag).endswith("script")]:
            parent.remove(child)
    return bytes(tostring(tree))
