"""Minutes of counts: from this worker's journal into MongoDB, and there into hours.

A worker's minute is one document with absolute totals (``error_minutes``), kept for 48 hours. An hour that is over becomes
one document over all workers (``error_hours``), recomputed whenever one of its minutes arrives late. So seven days are some
170 documents, however many errors and workers there were.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.journal.journal import Journal, Statement
from prodfix.statistics.counts import Counts
from prodfix.statistics.windows import (
    COLUMNS,
    ERROR_HOURS,
    ERROR_MINUTES,
    GRACE,
    HOUR,
    KEPT,
    LATEST,
    Counted,
    Point,
    Windows,
    counted_of,
    moment_of,
    point_of,
    stored_minute,
    stored_minutes,
)

STEP = 5  # minutes of one point of an hour's series
HOUR_KEYS = 1_000  # kinds of errors in one hour over all workers
BATCH = 200
CLOSED_AT_ONCE = 6  # hours in one tick
LONGEST_REST = 2.2 * 3600  # seconds from one look for closed hours to the next


class Minutes:
    """Stores this worker's minutes and closes hours."""

    def __init__(self, journal: Journal, windows: Windows) -> None:
        self._journal, self._windows = journal, windows
        self._close_at = 0.0
        self.dropped = 0
        """Errors and requests that waited for MongoDB for too long."""

    def store(self, database: Database[Any], then: Callable[[Database[Any], Sequence[Counted]], None]) -> None:
        """Store what has changed, and hand it to ``then``. Raises what MongoDB and ``then`` say; all of it comes again then."""
        query = f"SELECT {COLUMNS} FROM minutes WHERE stored < revision ORDER BY minute LIMIT ?"  # noqa: S608
        rows = [counted_of(row) for row in self._journal.read_own(query, (BATCH,))]
        late = self._windows.now() - LATEST
        fresh = [row for row in rows if row.minute > late]
        if fresh:
            _replace(database, [_document(row) for row in fresh])
            for hour in self._closed(database, {row.minute // HOUR for row in fresh}):
                self._close(database, hour)
            then(database, fresh)
        if rows:
            # Only now: until then readers know that the hour's document cannot contain these minutes yet.
            mark = "UPDATE minutes SET stored = max(stored, ?) WHERE worker = ? AND minute = ?"
            marks: list[Statement] = [(mark, (row.revision, row.worker, row.minute)) for row in rows]
            marks.append(("DELETE FROM minutes WHERE stored >= revision AND minute < ?", (self._windows.now() - KEPT,)))
            self._journal.write(marks)
            self.dropped += _gone(database, [row for row in rows if row.minute <= late])
        self._close_hours(database)

    def _closed(self, database: Database[Any], hours: set[int]) -> list[int]:
        """Those of ``hours`` that are closed: by this worker's clock, or by that of one which is ahead of it."""
        open_ones = [hour for hour in hours if hour * HOUR >= self._windows.open()]
        ahead = {row["_id"] for row in database[ERROR_HOURS].find({"_id": {"$in": open_ones}}, {"_id": 1})}
        return sorted(hours.difference(open_ones) | ahead)

    def _close_hours(self, database: Database[Any]) -> None:
        """Once an hour, and at the start: make the documents of closed hours that have none."""
        if (
            0 < self._close_at - self._windows.clock() <= LONGEST_REST
        ):  # later than that means that the clock was put back
            return
        last = self._windows.open() // HOUR - 1
        hours = range((self._windows.now() - LATEST) // HOUR + 1, last + 1)
        there = {row["_id"] for row in database[ERROR_HOURS].find({"_id": {"$gte": hours.start}}, {"_id": 1})}
        # An hour without a minute gets no document, and must not stand before those that need one.
        within = {"$gte": moment_of(hours.start * HOUR), "$lt": moment_of(hours.stop * HOUR)}
        counted = {
            moment.timestamp() // 3600
            for moment in database[ERROR_MINUTES].distinct("timestamp", {"timestamp": within})
        }
        missing = sorted(int(hour) for hour in counted - there)
        for hour in missing[-CLOSED_AT_ONCE:]:
            self._close(database, hour)
        if len(missing) <= CLOSED_AT_ONCE:
            # Not all workers at the same second: the first one does it for all.
            self._close_at = ((last + 2) * HOUR + GRACE) * 60 + random.uniform(0, 60)

    def _close(self, database: Database[Any], hour: int) -> None:
        rows = list(stored_minutes(database, [(hour * HOUR, hour * HOUR + HOUR - 1)]))
        if not rows:
            return
        document = _hour(hour, rows)
        try:
            # Another worker may have seen a later minute of this hour already: the heavier document has all of the lighter.
            found = {"_id": hour, "weight": {"$lte": document["weight"]}}
            database[ERROR_HOURS].replace_one(found, document, upsert=True)
        except DuplicateKeyError:
            pass

    def fold(self, days: int) -> None:
        """Where there is no MongoDB: make one row of each old hour, and forget what is older than ``days``."""
        query = f"SELECT {COLUMNS} FROM minutes WHERE minute < ? ORDER BY minute"  # noqa: S608
        groups: dict[tuple[str, int], list[Counted]] = {}
        for row in map(counted_of, self._journal.read_own(query, ((self._windows.now() - KEPT) // HOUR * HOUR,))):
            groups.setdefault((row.worker, row.minute // HOUR), []).append(row)
        statements: list[Statement] = [
            ("DELETE FROM minutes WHERE minute < ?", (self._windows.now() - days * 24 * HOUR,)),
        ]
        for (worker, hour), rows in groups.items():
            if len(rows) > 1 or rows[0].minute % HOUR:
                whole = Counts(HOUR_KEYS)
                for row in rows:
                    whole.add(row.errors, row.traffic)
                within = "DELETE FROM minutes WHERE worker = ? AND minute BETWEEN ? AND ?"
                statements.append((within, (worker, hour * HOUR, hour * HOUR + HOUR - 1)))
                insert = f"INSERT INTO minutes ({COLUMNS}) VALUES (?, ?, ?, 0, ?, ?)"  # noqa: S608
                totals = (orjson.dumps(whole.error_rows()), orjson.dumps(whole.traffic_rows()))
                statements.append((insert, (worker, hour * HOUR, sum(row.revision for row in rows), *totals)))
        self._journal.write(statements)


def _gone(database: Database[Any], late: Sequence[Counted]) -> int:
    """Errors and requests of what came too late, but for those that an earlier total of the same minute has."""
    again = [{"minute": row.minute, "worker": row.worker} for row in late if row.stored]
    earlier = map(stored_minute, database[ERROR_MINUTES].find({"_id": {"$in": again}})) if again else ()
    return max(0, sum(map(_total, late)) - sum(map(_total, earlier)))


def _total(counted: Counted) -> int:
    requests, _, errors = point_of(counted)
    return requests + sum(count for _, count in errors)


def _document(row: Counted) -> dict[str, Any]:
    return {
        "_id": {"minute": row.minute, "worker": row.worker},
        "timestamp": moment_of(row.minute),
        "revision": row.revision,
        "errors": row.errors,
        "traffic": row.traffic,
    }


def _hour(hour: int, rows: Sequence[Counted]) -> dict[str, Any]:
    whole, series = Counts(HOUR_KEYS), dict[int, Point]()
    for row in rows:
        whole.add(row.errors, row.traffic)
        series.setdefault(row.minute % HOUR // STEP * STEP, Point()).add(*point_of(row))
    return {
        "_id": hour,
        "timestamp": moment_of(hour * HOUR),
        "weight": sum(row.revision for row in rows),
        "workers": sorted({row.worker.rstrip("+") for row in rows}),
        "errors": whole.error_rows(),
        "traffic": whole.traffic_rows(),
        "series": [
            [offset, point.requests, point.failed, list(point.errors.items())]
            for offset, point in sorted(series.items())
        ],
    }


def _replace(database: Database[Any], minutes: Sequence[dict[str, Any]]) -> None:
    """Each minute in place of an earlier revision of it: the file of a disk that failed is adopted late."""
    changes = [
        ReplaceOne({"_id": minute["_id"], "revision": {"$lte": minute["revision"]}}, minute, upsert=True)
        for minute in minutes
    ]
    try:
        database[ERROR_MINUTES].bulk_write(changes, ordered=False)
    except BulkWriteError as error:
        # A later revision is there: it does not match, and the insert in its place is a duplicate.
        if any(failure["code"] != 11000 for failure in error.details["writeErrors"]):
            raise
        if error.details.get("writeConcernErrors"):
            raise
