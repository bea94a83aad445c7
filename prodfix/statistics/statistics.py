"""How many errors, of what kind, from where, out of how many requests: the same answer from every worker.

The cost of an answer grows with the number of minutes and hours in its window, not with that of errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal, Protocol, get_args

from prodfix.serialization import INLINE, Description, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.affected import Affected, K
from prodfix.statistics.counts import Counts, Traffic
from prodfix.statistics.earlier import EarlierWindows
from prodfix.statistics.route_figures import EndpointFigures, Latency, RequestRates, RouteSort, rates_of, routes_of
from prodfix.statistics.windows import HOUR, Point, Scope, Window, Windows, moment_of

TimeRange = Literal["1h", "24h", "7d"]
TIME_RANGES: tuple[TimeRange, ...] = get_args(TimeRange)
_MINUTES = {"1h": HOUR, "24h": 24 * HOUR, "7d": 7 * 24 * HOUR}
_STEPS = {"1h": 1, "24h": 15, "7d": HOUR}  # minutes from one point of the series to the next

TOP = 10
ENDPOINTS = 20


@frozen
class Coverage(Serializable):
    """What an answer is made of. ``workers`` is how many have counted something or are there now, ``dropped`` what those of
    this instance had to drop: what is gone, and not what is late, or counted and without its record."""

    scope: Annotated[Scope, Description("`instance` while MongoDB cannot be asked")]
    window_from: datetime
    window_to: datetime
    workers: int
    dropped: Annotated[int, Description("Errors, events and counted requests that are gone")]
    partial: Annotated[bool, Description("Some of it could not be read in time; `completeFrom` tells what was")]
    complete_from: Annotated[
        datetime | None,
        Description(
            "From then on all is in the answer: `windowFrom`, or later if it is partial; null if nothing is whole"
        ),
    ]
    other_errors: Annotated[
        int, Description("Errors of kinds beyond those that are told apart: in no list of kinds")
    ] = 0
    other_kinds: Annotated[
        int | None,
        Description(
            "How many kinds these are, within some 20 % from 24 on; null if an earlier release has counted them"
        ),
    ] = 0

    @property
    def others(self) -> str:
        """What is in no list of kinds, for people; empty if all is."""
        if not self.other_errors:
            return ""
        errors = f"{self.other_errors:,} {'error' if self.other_errors == 1 else 'errors'}"
        kinds = "further kinds"
        if self.other_kinds is not None:
            about = "about " if self.other_kinds >= K else ""
            kinds = f"{about}{self.other_kinds:,} further {'kind' if self.other_kinds == 1 else 'kinds'}"
        return f"{errors} of {kinds}, which are counted and not told apart."


@frozen
class RequestFigures(Serializable):
    """The same with their durations."""

    rates: Annotated[RequestRates, INLINE]
    latency_ms: Latency


@frozen
class DeviceFigures(Serializable):
    """Of one device type: the seed's mobile metrics apart."""

    errors: int
    requests: Annotated[RequestFigures, INLINE]


@frozen
class TopError(Serializable):
    """One kind of error; ``fingerprint`` is None for those that are not told apart."""

    message: str
    count: int
    fingerprint: str | None


@frozen
class SeriesPoint(Serializable):
    """One step of the window."""

    at: datetime
    requests: int
    failed_requests: int
    errors: Annotated[dict[str, int], Description("By category")]


@frozen
class Series(Serializable):
    """One point for each step of the window, also where nothing happened."""

    step_minutes: int
    points: list[SeriesPoint]


@frozen
class ErrorStatistics(Serializable):
    """The seed's ErrorStatistics, and what it covers."""

    time_range: TimeRange
    total_errors: int
    errors_by_category: dict[str, int]
    errors_by_device: dict[str, int]
    errors_by_endpoint: dict[str, int]
    top_errors: list[TopError]
    requests: Annotated[RequestFigures, INLINE]
    devices: dict[str, DeviceFigures]
    endpoints: list[EndpointFigures]
    series: Series
    coverage: Annotated[Coverage, INLINE]


@frozen
class CountedWindow:
    """What was counted in a window, and what that covers. Minutes are since the epoch, ``first`` to ``last`` inclusive."""

    time_range: TimeRange
    first: int
    last: int
    window: Window
    workers: int
    dropped: int

    @property
    def counts(self) -> Counts:
        return self.window.counts

    def statistics(self) -> ErrorStatistics:
        return ErrorStatistics(
            time_range=self.time_range,
            total_errors=self.counts.total_errors,
            errors_by_category=self.counts.errors_by(0),
            errors_by_device=self.counts.errors_by(1),
            errors_by_endpoint=self.counts.errors_by(2),
            top_errors=self._top(),
            requests=_figures(self.counts.whole()),
            devices=self._devices(),
            endpoints=routes_of(self.counts)[:ENDPOINTS],
            series=Series(_STEPS[self.time_range], self._points()),
            coverage=self.coverage(),
        )

    def endpoints(self, sort: RouteSort) -> list[EndpointFigures]:
        """All routes."""
        return routes_of(self.counts, sort)

    def coverage(self) -> Coverage:
        """What an answer that is made of this covers."""
        return Coverage(
            scope=self.window.scope,
            window_from=moment_of(self.first),
            window_to=moment_of(self.last + 1),
            workers=self.workers,
            dropped=self.dropped,
            partial=self.window.complete_from is not None,
            complete_from=self._complete_from(),
            other_errors=self.counts.other_errors,
            other_kinds=_number(self.counts.other_kinds) if self.counts.others else 0,
        )

    def _complete_from(self) -> datetime | None:
        known = self.window.complete_from
        if known is None:
            return moment_of(self.first)
        return moment_of(known) if known <= self.last else None

    def _top(self) -> list[TopError]:
        counts: Counter[tuple[str, str]] = Counter()
        for key, seen in self.counts.errors.items():
            counts[(key.title, key.fingerprint)] += seen.count
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [TopError(title, count, fingerprint) for (title, fingerprint), count in ordered[:TOP]]

    def _devices(self) -> dict[str, DeviceFigures]:
        errors = self.counts.errors_by(1)
        known = self.counts.devices
        names = sorted({*errors, *known})
        return {name: DeviceFigures(errors.get(name, 0), _figures(known.get(name, Traffic()))) for name in names}

    def _points(self) -> list[SeriesPoint]:
        step = _STEPS[self.time_range]
        points = {at: Point() for at in range(self.first // step * step, self.last + 1, step)}
        for minute, point in self.window.points.items():
            at = minute // step * step
            if at in points:
                points[at].add(point.requests, point.failed, point.errors.items())
        return [
            SeriesPoint(moment_of(at), point.requests, point.failed, point.errors)
            for at, point in sorted(points.items())
        ]


class LiveWorker(Protocol):
    """What is asked of a worker's state."""

    @property
    def worker(self) -> str: ...

    @property
    def dropped(self) -> int: ...


class Statistics:
    """Answers for all workers. ``live`` tells how those of this instance are; ``gather`` is called first."""

    def __init__(
        self,
        windows: Windows,
        *,
        live: Callable[[], Sequence[LiveWorker]] = list,
        gather: Callable[[], None] = lambda: None,
    ) -> None:
        self._windows, self._live, self._gather = windows, live, gather
        self._earlier = EarlierWindows(windows)

    def read(self, time_range: TimeRange) -> CountedWindow:
        """What was counted in the last hour, day or week. Never raises for a database that is down.

        Raises ``TimeoutError`` if the disk does not answer.
        """
        self._gather()
        last = self._windows.now()
        first = last - _MINUTES[time_range] + 1
        if time_range == "7d":
            first -= first % HOUR  # minutes are not kept for so long
        window, live = self._windows.load(first, last), self._live()
        workers = window.workers.union(worker.worker for worker in live)
        dropped = sum(worker.dropped for worker in live)
        return CountedWindow(time_range, first, last, window, len(workers), dropped)

    def before(self, counted: CountedWindow) -> Counts | None:
        """What was counted in the window before that one: :meth:`prodfix.statistics.earlier.EarlierWindows.read`."""
        if counted.window.complete_from is not None:
            return None  # a database that is too slow for one window is not asked for two
        return self._earlier.read(counted.first, _MINUTES[counted.time_range], counted.window.scope)


def _number(kinds: Affected | None) -> int | None:
    return kinds.users if kinds is not None else None


def _figures(traffic: Traffic) -> RequestFigures:
    latency = Latency(traffic.millis(0.5), traffic.millis(0.95), traffic.millis(0.99))
    return RequestFigures(rates_of(traffic.requests, traffic.failed), latency)
