"""The plot of one kind of error: how often over a window, by release, and where a release was seen for the first time.

Counts are exact, and know no release: which share of a bar a release has is told by the records that are kept of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from prodfix.blueprints.diagnostics.pages.plots import AxisLabel, Box, clock_steps, nice_step

WIDTH, HEIGHT = 480.0, 112.0  # small: on a phone its words are still to be read
LEFT, RIGHT, TOP, BOTTOM = 34.0, 4.0, 16.0, 19.0  # beside the bars: counts, nothing, names of releases, times
GAP = 0.08  # of a bar's room, at each side of it
TOLD_APART = 4  # releases with a colour of their own
SHORTEST = 12  # characters of a release that are shown
MINUTE = timedelta(minutes=1)
UNKNOWN, OTHERS = "unknown", "others"


@dataclass(frozen=True, slots=True)
class KindBar:
    """How many from one moment to another, and how many of the records that are kept of it are of which release."""

    at: datetime
    to: datetime
    count: int
    kept: Counter[str]


class KindPart(NamedTuple):
    """A part of a bar: ``slot`` is its colour."""

    slot: str
    box: Box


class DrawnBar(NamedTuple):
    """One bar as a link to its errors; ``words`` begin with its ``moment``."""

    parts: list[KindPart]
    href: str
    words: str
    moment: datetime


class ReleaseMarker(NamedTuple):
    """Where a release was first seen. ``before``: its name stands at the left of its line, as it would be cut at the right."""

    at: float
    text: str
    before: bool


class KindPlot(NamedTuple):
    """``legend``: colour and name of each release, the newest first."""

    bars: list[DrawnBar]
    counts: list[AxisLabel]
    times: list[AxisLabel]
    markers: list[ReleaseMarker]
    legend: list[tuple[str, str]]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    floor: float = HEIGHT - BOTTOM


def bars_of(
    trend: Sequence[int], begin: datetime, end: datetime, kept: Iterable[tuple[datetime, str]]
) -> list[KindBar]:
    """The counts of ``trend`` as bars of whole minutes, as equal as can be; ``kept``: time and release of records, in any
    order."""
    minutes, steps = max(1, (end - begin) // MINUTE), max(1, len(trend))
    found: list[Counter[str]] = [Counter() for _ in trend]
    for at, release in kept:
        if begin <= at < end:
            found[min(steps - 1, (at - begin) // MINUTE * steps // minutes)][release] += 1
    bounds = [begin + MINUTE * -(-number * minutes // steps) for number in range(steps + 1)]
    return [KindBar(bounds[number], bounds[number + 1], count, found[number]) for number, count in enumerate(trend)]


def kind_over_time(
    bars: Sequence[KindBar],
    releases: Sequence[str],
    firsts: Iterable[tuple[datetime, str]],
    label: Callable[[datetime], str],
    link: Callable[[KindBar], str],
) -> KindPlot:
    """``releases``: those that are told apart, the newest first; a single one has all bars. ``firsts``: when which of them was
    first seen."""
    room = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    floor = HEIGHT - BOTTOM
    highest = max((bar.count for bar in bars), default=0)
    step = nice_step(highest)
    most = step * max(1, math.ceil(highest / step))
    scale = (floor - TOP) / most
    slots = {release: f"release-{number}" for number, release in enumerate(releases[:TOLD_APART], start=1)}
    drawn = []
    for number, bar in enumerate(bars):
        if bar.count:
            x, y, parts = LEFT + (number + GAP) * room, floor, []
            for slot, share in _shares(bar, slots):
                height = bar.count * share * scale
                y -= height
                parts.append(KindPart(slot, Box(x, y, room * (1 - 2 * GAP), height)))
            drawn.append(DrawnBar(parts, link(bar), f"{label(bar.at)} UTC: {bar.count} {_of(bar)}".rstrip(), bar.at))
    shown = {part.slot for one in drawn for part in one.parts}
    legend = [(slot, release) for release, slot in slots.items() if slot in shown]
    legend += [(f"release-{slot}", slot) for slot in (OTHERS, UNKNOWN) if f"release-{slot}" in shown]
    return KindPlot(
        drawn,
        [AxisLabel(floor - count * scale, str(count)) for count in (range(0, most + 1, step) if highest else (0,))],
        _times(bars, label),
        _markers(bars, firsts),
        legend,
    )


def _times(bars: Sequence[KindBar], label: Callable[[datetime], str]) -> list[AxisLabel]:
    """At whole steps of UTC's clock: where they are, as a bar may begin at any minute."""
    if not bars or bars[-1].to <= bars[0].at:
        return []
    begin, whole = bars[0].at, bars[-1].to - bars[0].at
    return [
        AxisLabel(LEFT + (WIDTH - LEFT - RIGHT) * ((at - begin) / whole), label(at), at)
        for at in clock_steps(begin, bars[-1].to)
    ]


def _shares(bar: KindBar, slots: dict[str, str]) -> list[tuple[str, float]]:
    """Colours and their shares of a bar, which are 1 together."""
    if len(slots) == 1 and not set(bar.kept) - set(slots):
        return [(next(iter(slots.values())), 1.0)]
    whole = bar.kept.total()
    if not whole:
        return [(f"release-{UNKNOWN}", 1.0)]
    found: Counter[str] = Counter()
    for release, count in bar.kept.items():
        found[slots.get(release) or f"release-{OTHERS if release else UNKNOWN}"] += count
    return [(slot, count / whole) for slot, count in sorted(found.items(), reverse=True)]


def _of(bar: KindBar) -> str:
    names = [release[:SHORTEST] for release, _ in bar.kept.most_common(3) if release]
    return f"in {', '.join(names)}" if names else ""


def _markers(bars: Sequence[KindBar], firsts: Iterable[tuple[datetime, str]]) -> list[ReleaseMarker]:
    if not bars:
        return []
    begin, whole = bars[0].at, bars[-1].to - bars[0].at
    found = []
    for at, release in sorted(firsts):
        if begin < at < bars[-1].to and whole > timedelta():
            step = int((at - begin) / whole * len(bars))  # the line stands before its bar
            x = LEFT + (WIDTH - LEFT - RIGHT) * step / len(bars)
            found.append(ReleaseMarker(x, release[:SHORTEST], before=x > WIDTH / 2))
    return found
