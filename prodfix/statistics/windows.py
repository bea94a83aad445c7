"""What the workers have counted in a window of minutes, read from wherever it is.

A reader takes the document of an hour that is over (``error_hours``), unless a journal of this instance holds a minute that
it cannot contain yet; such an hour, and the open ones, are summed from their minutes. While MongoDB is down all comes from
the journals of this instance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import orjson
import pymongo
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED
from prodfix.journal.journal import Journal
from prodfix.slotted import mutable
from prodfix.statistics.counts import Counts

ERROR_MINUTES = "error_minutes"
ERROR_HOURS = "error_hours"

HOUR = 60  # minutes
KEPT = 48 * HOUR  # minutes that are kept as such, in the journals and in MongoDB
LATEST = 47 * HOUR  # minutes; a minute that is stored later than this could no longer be added to its hour
GRACE = 3  # minutes after its end until an hour is closed: its last totals are still on their way
WINDOW_KEYS = 5_000  # kinds of errors in a whole answer
READ_LIMIT = 3.0  # seconds

KNOWN = 8 * 24  # closed hours whose weights are kept
SUMS = 2  # of closed hours, that are kept: those of a day and of a week

COLUMNS = "worker, minute, revision, stored, errors, traffic"


Version = tuple[tuple[int, int], ...]
"""Hours and the weights of their documents: what has the same weight has the same content."""


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
    """The sum of what a window of minutes holds, with a point for each minute, or for five of them where only hours are
    known."""

    def __init__(self) -> None:
        self.counts = Counts(WINDOW_KEYS)
        self.points: dict[int, Point] = {}
        self.workers: set[str] = set()
        self.scope: Scope = "instance"

    def add_minute(self, counted: Counted) -> None:
        self.counts.add(counted.errors, counted.traffic)
        self.workers.add(counted.worker.rstrip("+"))
        self._point(counted.minute).add(*point_of(counted))

    def add_hour(self, document: dict[str, Any]) -> None:
        self.counts.add(document["errors"], document["traffic"])
        self.workers.update(document["workers"])
        for offset, requests, failed, errors in document["series"]:
            self._point(document["_id"] * HOUR + offset).add(requests, failed, errors)

    def to_document(self) -> dict[str, Any]:
        """What :meth:`add_hour` adds."""
        series = [(minute, one.requests, one.failed, list(one.errors.items())) for minute, one in self.points.items()]
        parts = {"_id": 0, "workers": self.workers, "series": series}
        return {**parts, "errors": self.counts.error_rows(), "traffic": self.counts.traffic_rows()}

    def _point(self, minute: int) -> Point:
        return self.points.setdefault(minute, Point())


def point_of(counted: Counted) -> tuple[int, int, list[tuple[str, int]]]:
    devices = counted.traffic.get("devices", ())
    errors = [(row[0], row[5]) for row in counted.errors]
    return sum(row[1] for row in devices), sum(row[2] for row in devices), errors


class Windows:
    """Loads windows. ``answering`` is our own database while it answers."""

    def __init__(
        self,
        journal: Journal,
        answering: Callable[[], Database[Any] | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._answering, self.clock = journal, answering, clock
        self._sums: dict[Version, dict[str, Any]] = {}
        self._old: dict[int, int | None] = {}

    def now(self) -> int:
        """The minute that it is."""
        return int(self.clock() // 60)

    def open(self) -> int:
        """The first minute that no closed hour has."""
        return (self.now() - GRACE) // HOUR * HOUR

    def load(self, first: int, last: int) -> Window:
        """What the minutes from ``first`` to ``last`` hold; beyond 48 hours whole hours only.

        Never raises for a database that is down. Raises ``TimeoutError`` if the disk does not answer.
        """
        # Journals first: a total that is stored and forgotten in between is then found in MongoDB, never in neither.
        newest = self._held(first, last, "(minute >= ? OR stored < revision)", self.open())
        window = Window()
        database = self._answering()
        if database is not None:
            try:
                with pymongo.timeout(READ_LIMIT):
                    window.add_hour(self._summed(database, self._hours(database, newest, first, last)))
                    window.scope = "all"
            except UNANSWERED:
                window = Window()
        if window.scope == "instance":
            newest = self._held(first, last)
        for counted in newest.values():
            window.add_minute(counted)
        return window

    def recent(self, minutes: int) -> dict[int, Point]:
        """The last minutes as the workers of this instance have counted them, without asking MongoDB."""
        window, last = Window(), self.now()
        for counted in self._held(last - minutes + 1, last).values():
            window.add_minute(counted)
        return window.points

    def _held(self, first: int, last: int, condition: str = "true", *values: int) -> dict[tuple[str, int], Counted]:
        query = f"SELECT {COLUMNS} FROM minutes WHERE minute BETWEEN ? AND ? AND {condition}"  # noqa: S608
        newest: dict[tuple[str, int], Counted] = {}
        for row in self._journal.read(query, (first, last, *values)):
            keep_newest(newest, counted_of(row))
        return newest

    def _hours(self, database: Database[Any], newest: dict[tuple[str, int], Counted], first: int, last: int) -> Version:
        """The whole hours that have a document; ``newest`` gets the minutes of all others."""
        late = self.now() - LATEST
        incomplete = {minute // HOUR for _, minute in newest if minute > late}
        closed = range(-(-first // HOUR), min(self.open() // HOUR, (last + 1) // HOUR))
        there = {hour: weight for hour, weight in self._weights(database, closed) if hour not in incomplete}
        for key in [key for key in newest if key[1] // HOUR in there]:
            del newest[key]  # it waited for too long, and will be dropped
        oldest = self.now() - KEPT
        ranges = [(max(first, oldest), min(last, closed.start * HOUR - 1))]
        ranges += [(hour * HOUR, hour * HOUR + HOUR - 1) for hour in closed if hour not in there]
        ranges.append((max(first, closed.stop * HOUR), last))
        for counted in stored_minutes(database, _joined(part for part in ranges if oldest <= part[0] <= part[1])):
            keep_newest(newest, counted)
        return tuple(there.items())

    def _weights(self, database: Database[Any], hours: range) -> Iterator[tuple[int, int]]:
        """Of those that have a document. One of which MongoDB takes no minute any more stays as it is, and is asked for once."""
        changing = (self.now() - KEPT) // HOUR
        wanted = [hour for hour in hours if hour >= changing or hour not in self._old]
        found = {
            row["_id"]: row["weight"] for row in database[ERROR_HOURS].find({"_id": {"$in": wanted}}, {"weight": 1})
        }
        known = {hour: weight for hour, weight in self._old.items() if hour >= self.now() // HOUR - KNOWN}
        self._old = known | {hour: found.get(hour) for hour in wanted if hour < changing}
        for hour in hours:
            weight = found.get(hour, self._old.get(hour))
            if weight is not None:
                yield hour, weight

    def _summed(self, database: Database[Any], hours: Version) -> dict[str, Any]:
        """One document of all these hours. They are over, and seldom change: their sum is kept until one of them does."""
        found = self._sums.get(hours)
        if found is None:
            whole = Window()
            for document in database[ERROR_HOURS].find({"_id": {"$in": [hour for hour, _ in hours]}}):
                whole.add_hour(document)
            found = whole.to_document()
            if len(self._sums) >= SUMS:
                self._sums.pop(next(iter(self._sums)), None)
            self._sums[hours] = found
        return found


def counted_of(row: Sequence[Any]) -> Counted:
    worker, minute, revision, stored, errors, traffic = row
    return Counted(worker, minute, revision, stored, orjson.loads(errors), orjson.loads(traffic))


def keep_newest(newest: dict[tuple[str, int], Counted], counted: Counted) -> None:
    key = (counted.worker, counted.minute)
    if key not in newest or newest[key].revision < counted.revision:
        newest[key] = counted


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same minutes in as few ranges as possible."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and joined[-1][1] + 1 >= first:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def moment_of(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def stored_minutes(database: Database[Any], ranges: Iterable[tuple[int, int]]) -> Iterator[Counted]:
    # Each range by itself: the embedded server reads the whole collection for an $or.
    for first, last in ranges:
        for document in database[ERROR_MINUTES].find(
            {"timestamp": {"$gte": moment_of(first), "$lte": moment_of(last)}}
        ):
            yield stored_minute(document)


def stored_minute(document: dict[str, Any]) -> Counted:
    identity, revision = document["_id"], document["revision"]
    return Counted(identity["worker"], identity["minute"], revision, revision, document["errors"], document["traffic"])
