"""How many errors, of what kind, from where, out of how many requests: the same answer from every worker.

The cost of an answer grows with the number of minutes and hours in its window, not with that of errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from prodfix.serialization import iso
from prodfix.statistics.windows import HOUR, Point, Window, Windows, moment_of
from prodfix.tallies import OTHER, Tally, Traffic

TimeRange = Literal["1h", "24h", "7d"]
TIME_RANGES: tuple[TimeRange, ...] = get_args(TimeRange)
_MINUTES = {"1h": HOUR, "24h": 24 * HOUR, "7d": 7 * 24 * HOUR}
_STEPS = {"1h": 1, "24h": 15, "7d": HOUR}  # minutes from one point of the series to the next

TOP = 10
ENDPOINTS = 20


@dataclass(frozen=True, slots=True)
class ErrorStatistics:
    """The seed's ErrorStatistics, and what it covers. Minutes are counted since the epoch, ``first`` to ``last`` inclusive.

    ``workers`` is how many have counted something or are there now, ``dropped`` what those of this instance had to drop:
    what is gone, and not what is late, or counted and without its record.
    """

    time_range: TimeRange
    first: int
    last: int
    window: Window
    workers: int
    dropped: int

    @property
    def tally(self) -> Tally:
        return self.window.tally

    def to_json(self) -> dict[str, Any]:
        whole = self.tally.whole()
        return {
            "timeRange": self.time_range,
            "totalErrors": self.tally.total_errors,
            "errorsByCategory": self.tally.errors_by(0),
            "errorsByDevice": self.tally.errors_by(1),
            "errorsByEndpoint": self.tally.errors_by(2),
            "topErrors": self._top(),
            **_traffic(whole),
            "devices": self._devices(),
            "endpoints": self._endpoints(),
            "series": {"stepMinutes": _STEPS[self.time_range], "points": self._series()},
            **self.coverage(),
        }

    def coverage(self) -> dict[str, Any]:
        """What an answer that is made of this covers."""
        return {
            "scope": self.window.scope,
            "windowFrom": iso(moment_of(self.first)),
            "windowTo": iso(moment_of(self.last + 1)),
            "workers": self.workers,
            "dropped": self.dropped,
        }

    def _top(self) -> list[dict[str, Any]]:
        counts: Counter[tuple[str, str]] = Counter()
        for key, seen in self.tally.errors.items():
            counts[(key.title, key.fingerprint)] += seen.count
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [
            {"message": title, "count": count, "fingerprint": None if fingerprint == OTHER else fingerprint}
            for (title, fingerprint), count in ordered[:TOP]
        ]

    def _devices(self) -> dict[str, Any]:
        """The seed's mobile metrics apart: errors, requests and durations of each device type."""
        errors = self.tally.errors_by(1)
        names = sorted({*errors, *self.tally.devices})
        return {
            name: {"errors": errors.get(name, 0), **_traffic(self.tally.devices.get(name, Traffic()))} for name in names
        }

    def _endpoints(self) -> list[dict[str, Any]]:
        errors = self.tally.errors_by(2)
        known = self.tally.endpoints
        busiest = sorted({*errors, *known}, key=lambda name: (-errors.get(name, 0), -known.get(name, [0])[0], name))
        return [
            {"endpoint": name, "errors": errors.get(name, 0), **_rates(*known.get(name, [0, 0]))}
            for name in busiest[:ENDPOINTS]
        ]

    def _series(self) -> list[dict[str, Any]]:
        """One point for each step of the window, also where nothing happened."""
        step = _STEPS[self.time_range]
        points = {at: Point() for at in range(self.first // step * step, self.last + 1, step)}
        for minute, point in self.window.points.items():
            at = minute // step * step
            if at in points:
                points[at].add(point.requests, point.failed, point.errors.items())
        return [
            {
                "at": iso(moment_of(at)),
                "requests": point.requests,
                "failedRequests": point.failed,
                "errors": point.errors,
            }
            for at, point in sorted(points.items())
        ]


class Statistics:
    """Answers for all workers. ``live`` tells how those of this instance are."""

    def __init__(self, windows: Windows, *, live: Callable[[], list[dict[str, Any]]] = list) -> None:
        self._windows, self._live = windows, live

    def read(self, time_range: TimeRange) -> ErrorStatistics:
        """The statistics of the last hour, day or week. Never raises for a database that is down.

        Raises ``TimeoutError`` if the disk does not answer.
        """
        last = self._windows.now()
        first = last - _MINUTES[time_range] + 1
        if time_range == "7d":
            first -= first % HOUR  # minutes are not kept for so long
        window, live = self._windows.load(first, last), self._live()
        workers = window.workers.union(str(worker["worker"]) for worker in live)
        dropped = sum(int(worker.get("dropped", 0)) for worker in live)
        return ErrorStatistics(time_range, first, last, window, len(workers), dropped)


def _rates(requests: int, failed: int) -> dict[str, Any]:
    return {
        "requests": requests,
        "failedRequests": failed,
        "errorRate": round(failed / requests, 6) if requests else None,
    }


def _traffic(traffic: Traffic) -> dict[str, Any]:
    latency = {f"p{share:.0f}": traffic.millis(share / 100) for share in (50, 95, 99)}
    return {**_rates(traffic.requests, traffic.failed), "latencyMs": latency}
