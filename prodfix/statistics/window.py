"""The sum of what a stretch of minutes holds, put together of minutes, of parts of an instance's hour, and of whole hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from prodfix.slotted import mutable
from prodfix.statistics.counts import OTHER, Counts, ErrorKey, Seen

HOUR = 60  # minutes
STEP = 5  # minutes of one part of an hour
WINDOW_KEYS = 5_000  # kinds of errors in a whole answer

Scope = Literal["all", "instance"]


class Counted(NamedTuple):
    """One worker's minute."""

    worker: str
    minute: int
    revision: int
    stored: int
    errors: Sequence[Any]
    traffic: dict[str, Any]


@mutable
class Point:
    """What happened in a few minutes, for a plot."""

    requests: int = 0
    failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def add(self, requests: int, failed: int, errors: Iterable[tuple[str, int]]) -> None:
        self.requests += requests
        self.failed += failed
        for category, count in errors:
            self.errors[category] = self.errors.get(category, 0) + count


class Window:
    """The sum, with a point for each minute, or for five of them where only hours are known.

    ``complete_from`` is the first minute from which on everything has been read, if some was not in time. ``first`` and ``last``
    are those that were asked for, inclusive. ``trends``: by fingerprint and minute how often; of hours that are over all of an
    hour stands in its middle.
    """

    def __init__(self, keys: int = WINDOW_KEYS, first: int | None = None, last: int | None = None) -> None:
        self.first, self.last = first, last
        self._keys = keys
        self.counts = Counts(keys)
        self.trends: dict[str, dict[int, int]] = {}
        self.points: dict[int, Point] = {}
        self.workers: set[str] = set()
        self.scope: Scope = "instance"
        self.complete_from: int | None = None

    def add_minute(self, counted: Counted) -> None:
        self.counts.add(counted.errors, counted.traffic)
        self._add_trends(counted.errors, counted.minute)
        self.workers.add(counted.worker.rstrip("+"))
        self.point(counted.minute).add(*point_of(counted))

    def add_part(self, hour: int, part: Mapping[str, Any], first: int, last: int) -> None:
        """Add what one part of an hour (:meth:`prodfix.statistics.parts.HourPart.to_json`) has of the minutes from ``first`` to
        ``last``."""
        base = hour * HOUR
        minutes = [one for one in part["minutes"] if first <= base + one[0] <= last]
        if len(minutes) == len(part["minutes"]):
            self.counts.add(part["errors"], part["traffic"])
            self._add_steps(part["errors"], base)
        else:
            self._add_rows(part["errors"], base, {one[0] for one in minutes}, first * 60.0)
            for one in minutes:
                self.counts.add_traffic(one[4])
        for offset, requests, failed, errors, _ in minutes:
            self.point(base + offset).add(requests, failed, errors)

    def _add_rows(self, errors: Iterable[Sequence[Any]], base: int, offsets: set[int], begun: float) -> None:
        """Of a part that the window begins within: each row tells in which minute how many were."""
        for row in errors:
            steps = row[9]
            count = sum(many for at, many in zip(steps[::2], steps[1::2], strict=True) if at in offsets)
            if count:
                trend = self._trend(row[3])
                for at, many in zip(steps[::2], steps[1::2], strict=True):
                    if at in offsets:
                        trend[base + at] = trend.get(base + at, 0) + many
                seen = Seen(count, max(row[6], begun), row[7], frozenset(row[8]), None, *row[10:12])
                self.counts.count_error(ErrorKey(*row[:5]), seen)

    def add_hour(self, hour: int, content: Mapping[str, Any]) -> None:
        """Add an hour over all instances, or what :meth:`to_json` made: then ``hour`` is 0."""
        self.counts.add(content["errors"], content["traffic"])
        self.workers.update(content["workers"])
        if "trends" in content:
            for fingerprint, points in content["trends"].items():
                trend = self._trend(fingerprint)
                for minute, count in zip(points[::2], points[1::2], strict=True):
                    trend[minute] = trend.get(minute, 0) + count
        else:
            self._add_trends(content["errors"], hour * HOUR + HOUR // 2)
        for offset, requests, failed, errors in content["series"]:
            self.point(hour * HOUR + offset).add(requests, failed, errors)

    def to_json(self) -> dict[str, Any]:
        """What :meth:`add_hour` adds."""
        return {
            "workers": sorted(self.workers),
            "series": [
                [at, one.requests, one.failed, list(one.errors.items())] for at, one in sorted(self.points.items())
            ],
            "errors": self.counts.error_rows(),
            "traffic": self.counts.traffic_rows(),
            "trends": {
                fingerprint: [part for point in sorted(trend.items()) for part in point]
                for fingerprint, trend in self.trends.items()
            },
        }

    def _trend(self, fingerprint: str) -> dict[int, int]:
        trend = self.trends.get(fingerprint)
        if trend is None:
            known = fingerprint if len(self.trends) < self._keys else OTHER
            trend = self.trends.setdefault(known, {})
        return trend

    def _add_trends(self, errors: Iterable[Sequence[Any]], minute: int) -> None:
        """Rows of which all was at one time."""
        for row in errors:
            trend = self._trend(row[3])
            trend[minute] = trend.get(minute, 0) + row[5]

    def _add_steps(self, errors: Iterable[Sequence[Any]], base: int) -> None:
        """Rows that tell in which minute how many were."""
        for row in errors:
            trend, steps = self._trend(row[3]), row[9]
            for place in range(0, len(steps), 2):
                minute = base + steps[place]
                trend[minute] = trend.get(minute, 0) + steps[place + 1]

    def point(self, minute: int) -> Point:
        """That of a minute, made if there is none."""
        point = self.points.get(minute)
        if point is None:
            point = self.points[minute] = Point()
        return point


def point_of(counted: Counted) -> tuple[int, int, list[tuple[str, int]]]:
    devices = counted.traffic.get("devices", ())
    errors = [(row[0], row[5]) for row in counted.errors]
    return sum(row[1] for row in devices), sum(row[2] for row in devices), errors


def moment_of(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)
