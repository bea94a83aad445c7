"""What a plot of the page is made of: bars on a time axis, in the units of its SVG, which the template ``_plot.html`` writes.

Colours, fonts and sizes are the stylesheet's: the page's Content-Security-Policy allows no style within a plot, and what is
light by day is dark at night. Nothing is drawn by a library: all of it is some hundred rectangles, in two milliseconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from prodfix import ErrorCategory
from prodfix.blueprints.diagnostics.html import category_name
from prodfix.models import SERVICE

WIDTH, HEIGHT = 880.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 36.0, 6.0, 12.0, 30.0  # beside the bars: counts, nothing, half a line, times
LETTER = 7.5  # the width of a wide one
LABELS = 8  # along the time, at most
HOUR, DAY = 60, 1440
CLOCK = (1, 2, 5, 10, 15, 30, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY)  # minutes of a step
STEPS = 5  # between counts, at most
GAP = 0.06  # of a bar's room, at each side of it
BAND = 6.0  # of the incidents below the bars
NARROWEST = 3.0  # of an incident that was over at once

_ALL = (*SERVICE, *(str(category) for category in ErrorCategory if category not in SERVICE), "__other__")

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


class Box(NamedTuple):
    """A rectangle: its upper left corner, and its extent."""

    x: float
    y: float
    width: float
    height: float

    def __html__(self) -> str:
        """Its attributes: nothing but numbers, which a template need not format one by one."""
        return f'x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}"'


class BarPart(NamedTuple):
    """One category in one bar, where it leads, what it says, and the time with which that begins."""

    box: Box
    href: str
    words: str
    moment: datetime


class AxisLabel(NamedTuple):
    """A word beside an axis, and where on it; ``moment`` is the time that it tells in UTC, if it is one."""

    at: float
    text: str
    moment: datetime | None = None


class Plot(NamedTuple):
    """``series`` are the parts of each category, ``incidents`` boxes with their causes."""

    series: list[tuple[str, list[BarPart]]]
    counts: list[AxisLabel]
    times: list[AxisLabel]
    incidents: list[tuple[str, Box]]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT


def errors_over_time(
    points: Sequence[Bar],
    shown: Sequence[str],
    label: Callable[[datetime], str],
    link: Callable[[datetime, str], str],
    incidents: Sequence[Stretch] = (),
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Plot:
    """Of each of ``points`` one part for each category in ``shown``; ``link`` leads from a bar and category to its errors, or
    nowhere. Below the bars are the incidents. ``notes``: what is to be known of a category's counts."""
    room = (WIDTH - LEFT - RIGHT) / max(1, len(points))
    width, floor = room * (1 - 2 * GAP), HEIGHT - BOTTOM
    highest = max((sum(point.errors[name] for name in shown) for point in points), default=0)
    step = nice_step(highest)
    most = step * max(1, math.ceil(highest / step))
    scale = (floor - TOP) / most
    series: dict[str, list[BarPart]] = {name: [] for name in shown}
    for number, point in enumerate(points):
        x, y, at, errors = LEFT + (number + GAP) * room, floor, label(point.at), point.errors
        for name in shown:
            if count := errors.get(name):
                y -= count * scale
                words = f"{at} UTC: {count} {category_name(name)}{f' ({notes[name]})' if notes.get(name) else ''}"
                box = Box(x, y, width, count * scale)
                series[name].append(BarPart(box, link(point.at, name), words, point.at))
    return Plot(
        list(series.items()),
        [AxisLabel(floor - count * scale, str(count)) for count in range(0, most + 1, step)],
        [_time(LEFT + (place + 0.5) * room, text, at) for place, text, at in _times(points, label)],
        [
            (cause, Box(LEFT + begin * room, floor + 1, max(NARROWEST, (end - begin) * room), BAND))
            for begin, end, cause in incidents
        ],
    )


def _times(points: Sequence[Bar], label: Callable[[datetime], str]) -> list[tuple[int, str, datetime]]:
    """The bars with a label: those that begin at a whole step of UTC's clock, the shortest of :data:`CLOCK` of which there are
    :data:`LABELS` at most."""
    minutes = [int(point.at.timestamp()) // 60 for point in points]
    for step in CLOCK:
        places = [number for number, minute in enumerate(minutes) if minute % step == 0]
        if len(places) <= LABELS:
            break
    return [(place, label(points[place].at), points[place].at) for place in places]


def clock_steps(begin: datetime, end: datetime) -> list[datetime]:
    """The moments from ``begin`` to before ``end`` at a whole step of UTC's clock, as of :func:`_times`."""
    first, last = -(-begin.timestamp() // 60), end.timestamp() / 60
    for step in CLOCK:
        places = range(int(-(-first // step) * step), math.ceil(last), step)
        if len(places) <= LABELS:
            break
    return [datetime.fromtimestamp(minute * 60, UTC) for minute in places]


def _time(at: float, text: str, moment: datetime) -> AxisLabel:
    """Its middle is at its bar's, unless the last letters would be cut off there."""
    return AxisLabel(min(at, WIDTH - len(text) * LETTER / 2), text, moment)


def nice_step(most: int) -> int:
    """From one count at the axis to the next: 1, 2 or 5 times a power of ten, so that :data:`STEPS` of them reach ``most``."""
    least = max(most, 1) / STEPS
    power: int = 10 ** max(0, math.floor(math.log10(least)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)


def categories(points: Sequence[Bar], among: Sequence[str] = _ALL) -> list[str]:
    """Those that occur, always in the same order: what the service is to blame for comes first."""
    there = {category for point in points for category in point.errors}
    return [category for category in among if category in there]
