"""Minutes of counts on their way from the journals into MongoDB.

One worker of the instance does it for all: it reads what the journals hold and MongoDB does not have, some every ten seconds,
and puts it into one document of the instance and hour (``error_minutes``), kept for 48 hours. Only then it notes which rows
these were, and the workers mark their own. An hour that is over becomes one document over all instances (``error_hours``).
So seven days are some 170 documents, however many errors and workers there were.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.synchronous.database import Database

from prodfix.journal.journal import Journal, Statement
from prodfix.journal.leadership import Leadership
from prodfix.statistics.counts import Counts
from prodfix.statistics.hours import HOUR_KEYS, Hours
from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour, decoded, identity_of
from prodfix.statistics.window import HOUR, Counted
from prodfix.statistics.windows import COLUMNS, KEPT, LATEST, Windows, keep_newest

PERIOD = 10.0  # seconds from one time to the next, of an instance that counts
JITTER = 0.2  # of it, so that instances that began together do not stay so
MARKED = 3  # periods from one look of a worker for what is stored of its rows to the next
PATIENCE = 30.0  # seconds for which a worker waits for the one that does it
SETTLED = 20.0  # seconds after its end until a minute is over: a worker flushes each second, and may be late
BATCH = 200  # rows of each journal at once
AWAY = 4.0  # seconds without being asked, after which the database was away
TRIES = 5  # of a document that somebody else changes meanwhile
CACHED = 4  # hours that are remembered as they stand in MongoDB
NOTED = 2 * HOUR  # minutes for which it is noted what is stored: who has not looked by then is told once more

_HELD = f"SELECT {COLUMNS} FROM minutes WHERE stored < revision AND minute > ? ORDER BY minute LIMIT ?"  # noqa: S608
_NOTE = "INSERT OR REPLACE INTO folded (worker, minute, revision) VALUES (?, ?, ?)"
_MARK = "UPDATE minutes SET stored = max(stored, ?) WHERE worker = ? AND minute = ?"

Then = Callable[[Database[Any], Sequence[Counted]], None]


class Minutes:
    """Stores the minutes of the instance and closes hours. ``period`` in seconds; 0: each time that it is asked to."""

    def __init__(self, journal: Journal, windows: Windows, *, period: float = PERIOD) -> None:
        self._journal, self._windows, self._period = journal, windows, period
        self._leadership = Leadership(journal, "counts")
        self.hours = Hours(windows)
        self._states: dict[int, InstanceHour] = {}
        self._noted: dict[tuple[str, int], int] = {}
        self._due_at = self._mark_at = 0.0
        self._asked_at: float | None = None
        self._spread = False
        self._waits_since: float | None = None
        self._ending = False
        self.stored = 0
        """How often this worker has stored something of all workers of the instance."""
        self.dropped = 0
        """Errors and requests that waited for MongoDB for too long, or of which nobody knows any more what they were."""

    def store(self, database: Database[Any], then: Then) -> None:
        """Once in a period, if this worker is the one that does it: store what has changed, and hand it to ``then``.

        Raises what MongoDB and ``then`` say; all of it comes again then.
        """
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > AWAY and not (self._spread or self._ending):
            # The database is back, for all instances at once. Once only: who is asked seldom must come to it all the same.
            self._due_at, self._spread = now + self._period * random.random(), True
        self._asked_at = now
        if now >= self._due_at:
            self._due_at, self._spread = now + self._rest(), False
            if self._does_it(now):
                self._store(database, then)
                self.hours.look(database)
        if now >= self._mark_at:
            self._mark_at = now + MARKED * self._rest()
            self._mark()

    def finish(self) -> None:
        """The worker ends: store next time, whoever does it otherwise, and also what is not over yet."""
        self._ending, self._due_at, self._mark_at = True, 0.0, 0.0

    def close(self) -> None:
        """Let another worker do it."""
        self._leadership.give()
        self._ending = False

    def _rest(self) -> float:
        return self._period * random.uniform(1 - JITTER, 1 + JITTER)

    def _does_it(self, now: float) -> bool:
        if self._leadership.taken() or self._ending or self._journal.failure is not None:
            return True  # what a worker has in memory while its disk fails nobody else sees
        # Whoever does it may be stopped, or have lost its database: it bears being done by two.
        if self._waits():
            self._mark()
        if not self._waits():
            self._waits_since = None
            return False
        self._waits_since = now if self._waits_since is None else self._waits_since
        return now - self._waits_since >= PATIENCE

    def _waits(self) -> bool:
        """Whether a row of this worker is over, and nobody is known to have stored it."""
        waiting = "SELECT 1 FROM minutes WHERE stored < revision AND minute < ? LIMIT 1"
        return bool(self._journal.read_own(waiting, (self._over(),)))

    def _over(self) -> int:
        """The first minute that may still grow."""
        return int((self._windows.clock() - SETTLED) // 60)

    # -- storing ----------------------------------------------------------------------------------------------------------

    def _store(self, database: Database[Any], then: Then) -> None:
        rows, full = self._held()
        if not rows:
            return
        if full:
            self._due_at = 0.0
        self._put(database, rows)
        for hour in self.hours.closed(database, {row.minute // HOUR for row in rows}):
            self.hours.close(database, hour)
        then(database, rows)
        self.stored += 1
        # Only now: until then readers know that the hour's document cannot contain these minutes yet.
        self._note(rows)

    def _held(self) -> tuple[list[Counted], bool]:
        """What the journals hold and MongoDB does not have, the oldest first; and whether there is more of it."""
        newest: dict[tuple[str, int], Counted] = {}
        found = self._journal.read(_HELD, (self._windows.now() - LATEST, BATCH))
        for row in found:
            if row[2] > self._noted.get((row[0], row[1]), 0):
                keep_newest(newest, decoded(row))
        instance = self._windows.identity.made()
        if instance is None and not self._ending:
            # No folder, so no name that is the instance's: of what this worker alone knows only what will not grow.
            newest = {key: row for key, row in newest.items() if row.minute < self._over()}
        return sorted(newest.values(), key=lambda row: row.minute), len(newest) >= BATCH

    def _put(self, database: Database[Any], rows: Sequence[Counted]) -> None:
        """Have the rows in the documents of their hours. Another worker may write them too: then look again."""
        for _ in range(TRIES):
            states = self._hours_of(database, sorted({row.minute // HOUR for row in rows}))
            lost = sum(states[row.minute // HOUR].put(row, self._windows.rows_of) for row in rows)
            changed = [state for state in states.values() if state.changed]
            for state in changed:
                state.settle(self._over())
            if not changed or _write(database, changed):
                self.dropped += lost
                return
            self._states.clear()
        raise OperationFailure(f"others have changed the same hours {TRIES} times")

    def _hours_of(self, database: Database[Any], hours: Sequence[int]) -> dict[int, InstanceHour]:
        instance = self._windows.instance()
        cached, self._states = self._states, {}  # what fails on the way is read again
        states = {hour: cached[hour] for hour in hours if hour in cached and cached[hour].instance == instance}
        missing = {identity_of(hour, instance): hour for hour in hours if hour not in states}
        if missing:
            stored = {one["_id"]: one for one in database[ERROR_MINUTES].find({"_id": {"$in": list(missing)}})}
            for identity, hour in missing.items():
                states[hour] = InstanceHour(hour, instance, stored.get(identity))
        newest = sorted({**cached, **states}.items())[-CACHED:]
        self._states = dict(newest)
        return states

    def _note(self, rows: Iterable[Counted]) -> None:
        """Mark what is this worker's own, and note for the others what is theirs."""
        self._noted.update(((row.worker, row.minute), row.revision) for row in rows)
        before = self._windows.now() - NOTED
        self._noted = {key: revision for key, revision in self._noted.items() if key[1] >= before}
        statements: list[Statement] = [("DELETE FROM folded WHERE minute < ?", (before,))]
        for row in rows:
            statements.append((_NOTE, (row.worker, row.minute, row.revision)))
            statements.append((_MARK, (row.revision, row.worker, row.minute)))
        self._journal.write(statements)

    # -- what is stored ---------------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        """Mark which of this worker's rows MongoDB has, and forget those that are old."""
        now = self._windows.now()
        own = self._journal.read_own("SELECT worker, minute, revision, stored FROM minutes WHERE stored < revision")
        stored: dict[tuple[str, int], int] = {}
        if own:
            query, oldest = "SELECT worker, minute, revision FROM folded WHERE minute >= ?", min(row[1] for row in own)
            for worker, minute, revision in self._journal.read(query, (oldest,)):
                stored[worker, minute] = max(revision, stored.get((worker, minute), 0))
        marks: list[Statement] = []
        dropped = 0
        for worker, minute, revision, before in own:
            known = max(before, stored.get((worker, minute), 0))
            if minute <= now - LATEST:
                dropped += max(0, revision - known)  # a revision is as many as were counted
                known = revision
            if known > before:
                marks.append((_MARK, (known, worker, minute)))
        old = self._journal.read_own("SELECT 1 FROM minutes WHERE minute < ? LIMIT 1", (now - KEPT,))
        if old:
            marks.append(("DELETE FROM minutes WHERE stored >= revision AND minute < ?", (now - KEPT,)))
        if marks:
            self._journal.write(marks)
        self.dropped += dropped

    # -- without MongoDB --------------------------------------------------------------------------------------------------

    def fold(self, days: int) -> None:
        """Where there is no MongoDB: make one row of each old hour, and forget what is older than ``days``."""
        query = f"SELECT {COLUMNS} FROM minutes WHERE minute < ? ORDER BY minute"  # noqa: S608
        groups: dict[tuple[str, int], list[Counted]] = {}
        for row in map(decoded, self._journal.read_own(query, ((self._windows.now() - KEPT) // HOUR * HOUR,))):
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


def _write(database: Database[Any], states: Sequence[InstanceHour]) -> bool:
    """Whether all of them stood in MongoDB as they were known here, and were changed."""
    changes = [state.update() for state in states]
    try:
        result = database[ERROR_MINUTES].bulk_write(changes, ordered=False)
    except BulkWriteError as error:
        # An hour that was made meanwhile: it does not match, and the insert in its place is a duplicate.
        failures = error.details.get("writeErrors", [])
        if not failures or any(failure["code"] != 11000 for failure in failures):
            raise
        if error.details.get("writeConcernErrors"):
            raise
        return False
    if result.matched_count + result.upserted_count < len(states):
        return False
    for state in states:
        state.stored()
    return True
