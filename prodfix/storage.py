"""From the journals of this instance into MongoDB, in batches, through our own client: error records, events, counts.

Everything is written so that writing it again changes nothing: a record has its ``_id`` from the start, and a minute's
counts are absolute totals under the worker that counted them. So nothing is counted twice, whatever was killed when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import orjson
import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.errors import JournalUnavailable
from prodfix.journal import Journal, Statement
from prodfix.sinks import renderable

ERROR_LOG = "error_log"
CONNECTION_EVENTS = "connection_events"
ERROR_MINUTES = "error_minutes"

BATCH = 200
LIMIT = 5.0  # seconds for one batch
WAITING = 5_000  # records of this worker that may wait for MongoDB; more are dropped and counted
KEPT = 500  # stored records that stay readable here, for an outage
KEPT_MINUTES = 2 * 24 * 60


class Storage:
    """The background writer of one process. ``tick`` is called every second, while MongoDB answers."""

    def __init__(self, journal: Journal, database: Callable[[], Database[Any]], *, retention_days: int) -> None:
        self._journal, self._database = journal, database
        self._retention = timedelta(days=retention_days)
        self._indexed = False
        self._waiting = 0
        self.dropped = 0

    def insertion(
        self, collection: str, identity: bson.ObjectId, document: dict[str, Any], request_id: str | None
    ) -> list[Statement]:
        """The statements that put a document on its way; none, and one more ``dropped``, if too many wait already."""
        if self._waiting >= WAITING:
            self.dropped += 1
            return []
        entry = _encoded({**document, "_id": identity})
        self._waiting += 1
        insert = "INSERT OR IGNORE INTO records (id, collection, request_id, at, entry) VALUES (?, ?, ?, ?, ?)"
        return [(insert, (str(identity), collection, request_id, time.time(), entry))]

    def put(self, collection: str, document: dict[str, Any]) -> None:
        """Put a document on its way. Never raises; what the journal refuses is counted in ``dropped``."""
        try:
            self._journal.write(self.insertion(collection, bson.ObjectId(), document, None), limit=1.0)
        except (JournalUnavailable, TimeoutError, bson.errors.BSONError, OverflowError, UnicodeError):
            self.dropped += 1

    def tick(self) -> None:
        """Adopt what dead workers left, and store what waits. Raises what MongoDB says; the next tick goes on."""
        self._journal.adopt()
        database = self._database()
        with pymongo.timeout(LIMIT):
            if not self._indexed:
                self._make_indexes(database)
            self._store_minutes(database)
            self._store_records(database)

    def _make_indexes(self, database: Database[Any]) -> None:
        seconds = int(self._retention.total_seconds())
        for name in (ERROR_LOG, CONNECTION_EVENTS, ERROR_MINUTES):
            indexes = [IndexModel([("timestamp", DESCENDING)], name="prodfix_expiry", expireAfterSeconds=seconds)]
            if name == ERROR_LOG:
                indexes.append(IndexModel([("requestId", ASCENDING)], name="prodfix_request"))
            try:
                database[name].create_indexes(indexes)
            except PyMongoError as error:
                # A TTL of another length (code 85) is an operator's choice, or that of an earlier setting: it stays.
                if getattr(error, "code", None) not in (85, 86):
                    raise
        self._indexed = True

    def _store_minutes(self, database: Database[Any]) -> None:
        query = "SELECT worker, minute, revision, counts FROM minutes WHERE stored < revision ORDER BY minute LIMIT ?"
        rows = self._journal.read_own(query, (BATCH,))
        if not rows:
            return
        _replace(database, [_minute(minute, worker, revision, counts) for worker, minute, revision, counts in rows])
        mark = "UPDATE minutes SET stored = max(stored, ?) WHERE worker = ? AND minute = ?"
        marks: list[Statement] = [(mark, (revision, worker, minute)) for worker, minute, revision, _ in rows]
        oldest = int(time.time() // 60) - KEPT_MINUTES
        marks.append(("DELETE FROM minutes WHERE stored >= revision AND minute < ?", (oldest,)))
        self._journal.write(marks)

    def _store_records(self, database: Database[Any]) -> None:
        query = "SELECT id, collection, entry FROM records WHERE stored = 0 ORDER BY at LIMIT ?"
        rows = self._journal.read_own(query, (BATCH,))
        for collection in sorted({row[1] for row in rows}):
            _insert(database, collection, [bson.decode(row[2]) for row in rows if row[1] == collection])
        if rows:
            marks: list[Statement] = [("UPDATE records SET stored = 1 WHERE id = ?", (row[0],)) for row in rows]
            keep = "SELECT id FROM records WHERE stored = 1 ORDER BY at DESC LIMIT -1 OFFSET ?"
            marks.append((f"DELETE FROM records WHERE id IN ({keep})", (KEPT,)))  # noqa: S608 - no value is in the text
            self._journal.write(marks)
        counts = self._journal.read_own("SELECT count(*) FROM records WHERE stored = 0")
        self._waiting = sum(count for (count,) in counts)


def _encoded(document: dict[str, Any]) -> bytes:
    """BSON, also of what only an error brings along: half a character in its text, a NUL in a key."""
    try:
        return bson.encode(document)
    except (bson.errors.BSONError, OverflowError, UnicodeError):
        kept = {name: value for name, value in document.items() if isinstance(value, (datetime, bson.ObjectId))}
        return bson.encode(renderable(document) | kept)


def _minute(minute: int, worker: str, revision: int, counts: bytes) -> dict[str, Any]:
    return {
        "_id": {"minute": minute, "worker": worker},
        "timestamp": datetime.fromtimestamp(minute * 60, UTC),
        "revision": revision,
        "counts": orjson.loads(counts),
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


def _insert(database: Database[Any], collection: str, documents: Sequence[dict[str, Any]]) -> None:
    try:
        database[collection].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # A duplicate _id was stored by a try whose answer was lost. Any other refusal of one document must not hold up
        # the rest for ever: the whole record is in the log files too.
        if not error.details.get("writeErrors"):
            raise
