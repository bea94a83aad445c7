"""What the workers have counted in a window of minutes, read from wherever it is.

A reader takes the documents of hours that are over (``error_hours``), and of days (``error_days``), unless a journal of this
instance holds a minute that they cannot contain yet; such an hour, the open ones, and one that the window begins within are
summed from the documents of the instances (``error_minutes``). So what is read grows with hours and instances, never with
workers and their minutes. Of its own instance a reader adds what the journals hold and MongoDB does not have yet. While MongoDB
is down all comes from the journals.

The newest day is read first: what is too slow is left out, and what was read is told as a part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pymongo
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED, answers_late
from prodfix.journal.instance_identity import InstanceIdentity
from prodfix.journal.journal import Journal
from prodfix.process.breather import Breather
from prodfix.statistics.closed_hours import DAY, ERROR_HOURS, KEPT, UNBELIEVABLE, ClosedHours, days_of
from prodfix.statistics.instance_hours import (
    ERROR_MINUTES,
    InstanceHour,
    contents_of,
    decoded,
    hour_of,
    identity_of,
    open_rows_of,
    shared,
    within,
)
from prodfix.statistics.window import HOUR, Counted, Point, Scope, Window, moment_of

__all__ = [
    "ERROR_HOURS",
    "ERROR_MINUTES",
    "HOUR",
    "KEPT",
    "Counted",
    "Point",
    "Scope",
    "Window",
    "Windows",
    "moment_of",
]

LATEST = 47 * HOUR  # minutes; a minute that is stored later than this could no longer be added to its hour
GRACE = 3  # minutes after its end until an hour is closed: its last totals are still on their way
READ_LIMIT = 3.0  # seconds

COLUMNS = "worker, minute, revision, stored, errors, traffic"


class Windows:
    """Loads windows. ``answering`` is our own database while it answers, ``slow`` whether it is there when it does not."""

    def __init__(
        self,
        journal: Journal,
        answering: Callable[[], Database[Any] | None],
        *,
        slow: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._answering, self._slow, self.clock = journal, answering, slow, clock
        self.pause = Breather()
        self.identity = InstanceIdentity(journal)
        self.closed = ClosedHours(self.now, self.pause)

    def instance(self) -> str:
        """What this instance's documents are called. Without a folder it is this process alone."""
        return self.identity.read() or self._journal.boot

    def now(self) -> int:
        """The minute that it is."""
        return int(self.clock() // 60)

    def open(self) -> int:
        """The first minute that no closed hour has."""
        return (self.now() - GRACE) // HOUR * HOUR

    def load(self, first: int, last: int) -> Window:
        """What the minutes from ``first`` to ``last`` hold; beyond 48 hours whole hours only.

        Never raises for a database that is down, or slow. Raises ``TimeoutError`` if the disk does not answer.
        """
        # Journals first: a total that is stored and marked in between is then found in MongoDB, never in neither.
        held = self.held(first, last, "stored < revision")
        database = self._answering()
        if database is None:
            return self._without(first, last)
        window = Window(first=first, last=last)
        reading = _WindowReading(self, database, window, held, first, last)
        try:
            with pymongo.timeout(READ_LIMIT):
                reading.read()
        except UNANSWERED as error:
            if not answers_late(error) or self._answering() is None:
                return self._without(first, last)
            return reading.part() or self._without(first, last, slow=True)
        window.scope = "all"
        return window

    def _without(self, first: int, last: int, *, slow: bool = False) -> Window:
        """What the journals of this instance hold: all that there is while the database is down, and a part of it if the
        database is there, and too slow."""
        window = self._of_journals(first, last)
        if slow or self._slow():
            window.scope, window.complete_from = "all", last + 1
        return window

    def _of_journals(self, first: int, last: int) -> Window:
        window = Window(first=first, last=last)
        for counted in self.held(first, last).values():
            window.add_minute(counted)
        return window

    def recent(self, minutes: int) -> dict[int, Point]:
        """The last minutes as the workers of this instance have counted them, without asking MongoDB."""
        last = self.now()
        return self._of_journals(last - minutes + 1, last).points

    def rows_of(self, minute: int) -> list[Counted]:
        """What the journals of this instance hold of a minute, of each worker the newest."""
        return list(self.held(minute, minute).values())

    def held(self, first: int, last: int, condition: str = "true") -> dict[tuple[str, int], Counted]:
        """The newest row of each worker and minute from the journals of the instance."""
        query = f"SELECT {COLUMNS} FROM minutes WHERE minute BETWEEN ? AND ? AND {condition}"  # noqa: S608
        newest: dict[tuple[str, int], Counted] = {}
        for row in self._journal.read(query, (first, last)):
            keep_newest(newest, decoded(row))
        return newest


class _WindowReading:
    """One window's way out of MongoDB, from the newest day to the oldest one."""

    def __init__(
        self,
        windows: Windows,
        database: Database[Any],
        window: Window,
        held: dict[tuple[str, int], Counted],
        first: int,
        last: int,
    ) -> None:
        self._windows, self._database, self._window, self._held = windows, database, window, held
        self._first, self._last = first, last
        self._read_from = last + 1
        self._found = False

    def read(self) -> None:
        """Raises what the driver says; :meth:`part` tells what was read until then."""
        windows, first, last = self._windows, self._first, self._last
        late = windows.now() - LATEST
        incomplete = {minute // HOUR for _, minute in self._held if minute > late}
        closed = range(-(-first // HOUR), min(windows.open() // HOUR, (last + 1) // HOUR))
        there = dict(windows.closed.weights(self._database, closed))
        there = {hour: weight for hour, weight in there.items() if hour not in incomplete}
        for key in [key for key in self._held if key[1] // HOUR in there]:
            del self._held[key]  # it waited for too long, and will be dropped
        for day, over, others in days_of(range(first // HOUR, last // HOUR + 1), there):
            self._add_instances(others)
            if over:
                self._read_from = min(self._read_from, max(first, (over[-1] + 1) * HOUR))
                version = tuple((hour, there[hour]) for hour in over)
                whole = len(day) == DAY
                self._window.add_hour(0, windows.closed.summed(self._database, version, whole=whole))
                self._found = True
                for hour in windows.closed.unread.intersection(over):
                    self._incomplete(hour)
            self._read_from = max(first, day.start * HOUR)
        self._add_held()  # of hours of which no instance has a document any more

    def part(self) -> Window | None:
        """What was read in time; None if that is nothing."""
        if not self._found:
            return None
        self._add_held()
        self._window.scope, self._window.complete_from = "all", self._read_from
        return self._window

    def _add_held(self) -> None:
        for counted in self._held.values():
            self._window.add_minute(counted)
        self._held.clear()

    def _add_instances(self, hours: list[int]) -> None:
        """Add hours that have no document of their own, instance by instance."""
        oldest = (self._windows.now() - KEPT) // HOUR
        hours = [hour for hour in hours if hour >= oldest]
        if not hours:
            return
        own = self._add_own(hours)
        begun = [hour for hour in hours if hour * HOUR < self._first]  # the one that the window begins within
        for some in ([hour for hour in hours if hour not in begun], begun):
            if some:
                self._add_others(some, own)

    def _add_others(self, hours: list[int], own: set[str]) -> None:
        fields = shared(hours[0], self._first)
        for document in self._database[ERROR_MINUTES].find(within(hours), fields).sort("timestamp", -1):
            if document["_id"] not in own:
                self._add_other(document)
                self._windows.pause()

    def _add_other(self, document: Mapping[str, Any]) -> None:
        """What another release, or a damage, has left there hides nobody else's; the answer says that it is a part."""
        hour = hour_of(document["_id"])
        try:
            workers, contents = [str(worker) for worker in document["workers"]], list(contents_of(document))
            self._add(hour, workers, contents, open_rows_of(document))
        except UNBELIEVABLE:
            self._incomplete(hour)

    def _incomplete(self, hour: int) -> None:
        self._window.complete_from = max(self._window.complete_from or 0, (hour + 1) * HOUR)

    def _add_own(self, hours: list[int]) -> set[str]:
        """Add those of this instance, of which its journals know more; which these are."""
        instance = self._windows.instance()
        rows: dict[int, list[Counted]] = {}
        for row in self._held.values():
            if instance and row.minute // HOUR in hours:
                rows.setdefault(row.minute // HOUR, []).append(row)
        own = {identity_of(hour, instance): hour for hour in rows}
        if not own:
            return set()
        stored = {one["_id"]: one for one in self._database[ERROR_MINUTES].find({"_id": {"$in": list(own)}})}
        for identity, hour in own.items():
            state = InstanceHour(hour, instance, stored.get(identity))
            for row in rows[hour]:
                state.put(row, self._windows.rows_of)
                del self._held[row.worker, row.minute]
            self._add(hour, state.workers, state.contents())
        return set(own)

    def _add(self, hour: int, workers: Iterable[str], contents: Iterable[Any], rows: Iterable[Counted] = ()) -> None:
        for content in contents:
            self._window.add_part(hour, content, self._first, self._last)
        for row in rows:
            if self._first <= row.minute <= self._last:
                self._window.add_minute(row)
        self._window.workers.update(workers)
        self._found = True


def keep_newest(newest: dict[tuple[str, int], Counted], counted: Counted) -> None:
    key = (counted.worker, counted.minute)
    if key not in newest or newest[key].revision < counted.revision:
        newest[key] = counted
