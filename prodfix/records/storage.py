"""From the journals of this instance into MongoDB, in batches, through our own client: error records, events, counts.

Everything is written so that writing it again changes nothing: a record has its ``_id`` from the start, and a minute's
counts are absolute totals under the worker that counted them. So nothing is counted twice, whatever was killed when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import bson
import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.deferral.throttle import Throttle
from prodfix.incidents.incident_log import INCIDENTS
from prodfix.journal.instance_lock import InstanceLock
from prodfix.journal.journal import Journal, Statement
from prodfix.records.records import encoded
from prodfix.statistics.groups import ERROR_GROUPS, Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.windows import ERROR_HOURS, ERROR_MINUTES

ERROR_LOG = "error_log"
CONNECTION_EVENTS = "connection_events"

BATCH = 200
LIMIT = 5.0  # seconds for one batch
MOST_AT_ONCE = 1.0  # seconds of them, while requests make it slow
WAITING = 5_000  # records of this worker that may wait for MongoDB; the oldest are dropped then, and counted
LARGEST_WAITING = 48 * 1024 * 1024  # bytes of them: the same file keeps deferred writes
MADE_ROOM = 16  # records that go at once when they are too large together
MINUTES_KEPT = timedelta(hours=50)
KEPT = 500  # stored records that stay readable here, for an outage


class Storage:
    """The background writer of one process. ``tick`` is called every second, while MongoDB answers."""

    def __init__(
        self,
        journal: Journal,
        database: Callable[[], Database[Any]],
        minutes: Minutes,
        groups: Groups,
        *,
        retention_days: int,
        live: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal, self._database = journal, database
        self._minutes, self._groups = minutes, groups
        self._retention = timedelta(days=retention_days)
        self._throttle = Throttle(live, InstanceLock(journal), largest=BATCH)
        self._indexed = False
        self._waiting = self._bytes = 0
        self.dropped = 0

    def insertion(
        self, collection: str, identity: bson.ObjectId, document: dict[str, Any], request_id: str | None
    ) -> list[Statement]:
        """The statements that put a document on its way; if too many wait already, it takes the place of the oldest."""
        return self.insertion_of(collection, identity, encoded({**document, "_id": identity}), request_id)

    def insertion_of(
        self, collection: str, identity: bson.ObjectId, entry: bytes, request_id: str | None
    ) -> list[Statement]:
        """The same of a document that is encoded already, with its ``_id``."""
        insert = "INSERT OR IGNORE INTO records (id, collection, request_id, at, entry) VALUES (?, ?, ?, ?, ?)"
        statements: list[Statement] = [(insert, (str(identity), collection, request_id, time.time(), entry))]
        gone = MADE_ROOM if self._bytes + len(entry) > LARGEST_WAITING else int(self._waiting >= WAITING)
        gone = min(gone, self._waiting)
        if gone:
            oldest = "SELECT id FROM records WHERE stored = 0 ORDER BY at LIMIT ?"
            statements.insert(0, (f"DELETE FROM records WHERE id IN ({oldest})", (gone,)))  # noqa: S608 - no value is in the text
            self._bytes -= gone * self._bytes // self._waiting  # counted exactly with the next tick
            self.dropped += gone
        self._waiting += 1 - gone
        self._bytes += len(entry)
        return statements

    def put(self, collection: str, document: dict[str, Any]) -> None:
        """Put a document on its way. Never raises; what the journal refuses is counted there, and here what is no document."""
        try:
            statements = self.insertion(collection, bson.ObjectId(), document, None)
        except (bson.errors.BSONError, OverflowError, UnicodeError):
            self.dropped += 1
        else:
            self._journal.offer(statements, limit=1.0)

    def adopt(self) -> None:
        """Adopt what dead workers left, while it cannot be stored; no more waits then than may wait."""
        if not self._journal.adopt():
            return
        self._count()
        if self._waiting > WAITING:
            oldest = "SELECT id FROM records WHERE stored = 0 ORDER BY at DESC LIMIT -1 OFFSET ?"
            self._journal.write([(f"DELETE FROM records WHERE id IN ({oldest})", (WAITING,))])  # noqa: S608 - no value is in the text
            self.dropped += self._waiting - WAITING
            self._count()

    def tick(self) -> None:
        """Adopt what dead workers left, and store what waits. Raises what MongoDB says; the next tick goes on."""
        self._journal.adopt()
        database = self._database()
        with pymongo.timeout(LIMIT):
            if not self._indexed:
                self._make_indexes(database)
            self._minutes.store(database, self._groups.store)
            self._store_records(database)

    def indexes(self) -> dict[str, list[IndexModel]]:
        """The indexes of each collection that is written from here."""
        kept = self._retention
        return {
            ERROR_LOG: [_expiry(kept), IndexModel([("requestId", ASCENDING)], name="prodfix_request")],
            CONNECTION_EVENTS: [_expiry(kept)],
            ERROR_MINUTES: [_expiry(min(kept, MINUTES_KEPT))],
            ERROR_HOURS: [_expiry(kept)],
            ERROR_GROUPS: self._groups.indexes(),
            INCIDENTS: [_expiry(kept, "to")],
        }

    def _make_indexes(self, database: Database[Any]) -> None:
        for name, indexes in self.indexes().items():
            try:
                database[name].create_indexes(indexes)
            except PyMongoError as error:
                # A TTL of another length (code 85) is an operator's choice, or that of an earlier setting: it stays.
                if getattr(error, "code", None) not in (85, 86):
                    raise
        self._indexed = True

    def _store_records(self, database: Database[Any]) -> None:
        left, end = BATCH, time.monotonic() + MOST_AT_ONCE
        while left > 0 and time.monotonic() < end and (stored := self._store_some(database, left)):
            left -= stored
        self._count()

    def _store_some(self, database: Database[Any], most: int) -> int:
        query = "SELECT id, collection, entry FROM records WHERE stored = 0 ORDER BY at LIMIT ?"
        rows = self._journal.read_own(query, (min(most, self._throttle.size()),))
        if not rows:
            return 0
        with self._throttle.batch(len(rows)):
            for collection in sorted({row[1] for row in rows}):
                with self._throttle.command():
                    _insert(database, collection, [bson.decode(row[2]) for row in rows if row[1] == collection])
            marks: list[Statement] = [("UPDATE records SET stored = 1 WHERE id = ?", (row[0],)) for row in rows]
            keep = "SELECT id FROM records WHERE stored = 1 ORDER BY at DESC LIMIT -1 OFFSET ?"
            marks.append((f"DELETE FROM records WHERE id IN ({keep})", (KEPT,)))  # noqa: S608 - no value is in the text
            self._journal.write(marks)
        return len(rows)

    def _count(self) -> None:
        rows = self._journal.read_own("SELECT count(*), coalesce(sum(length(entry)), 0) FROM records WHERE stored = 0")
        self._waiting, self._bytes = sum(row[0] for row in rows), sum(row[1] for row in rows)


def _expiry(kept: timedelta, field: str = "timestamp") -> IndexModel:
    seconds = int(kept.total_seconds())
    return IndexModel([(field, DESCENDING)], name="prodfix_expiry", expireAfterSeconds=seconds)


def _insert(database: Database[Any], collection: str, documents: Sequence[dict[str, Any]]) -> None:
    try:
        database[collection].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # A duplicate _id was stored by a try whose answer was lost. Any other refusal of one document must not hold up
        # the rest for ever: the whole record is in the log files too.
        if not error.details.get("writeErrors"):
            raise
