"""From the journals of this instance into MongoDB, in batches, through our own client: error records, events, counts.

Everything is written so that writing it again changes nothing: a record has its ``_id`` from the start, and a minute's
counts are absolute totals under the worker that counted them. So nothing is counted twice, whatever was killed when.

A record that need not be stored (:mod:`prodfix.records.sampling`) stays in the journal for a while, for who looks for its
request. Of the other instances' records this one knows some ten seconds later: they are stored together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import bson
import pymongo
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.deferral.throttle import Throttle
from prodfix.journal.instance_lock import InstanceLock
from prodfix.journal.journal import Journal, Statement
from prodfix.journal.news import News
from prodfix.records.keeper import Keeper
from prodfix.records.record_indexes import RecordIndexes
from prodfix.records.records import encoded
from prodfix.records.sampling import Sampling
from prodfix.records.storage_refusal import StorageRefusal, StorageStatus, refused
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes

BATCH = 200
TOGETHER = 20  # records of one command while requests use the database, at least
FEW = 2  # records of one batch at least, while all that is ours has grown too large
PERIOD = 10.0  # seconds for which records wait for others
LIMIT = 5.0  # seconds for one batch
MOST_AT_ONCE = 1.0  # seconds of them, while requests make it slow
WAITING = 5_000  # records of this worker that may wait for MongoDB; the oldest are dropped then, and counted
CROWD = 1_000  # that wait, with which no more of a kind are sent that is known
LARGEST_WAITING = 48 * 1024 * 1024  # bytes of them: the same file keeps deferred writes
MADE_ROOM = 16  # records that go at once when they are too large together
DEAD = 5.0  # seconds between two looks for files of dead workers, while all that are known live
KEPT = 500  # stored records that stay readable here, for an outage
THINNED = 10_000  # records of this worker that are not stored, and stay readable here
THINNED_FOR = 3600.0  # seconds
LARGEST_THINNED = 16 * 1024 * 1024  # bytes
TIDY = 60.0  # seconds until those that must go do, or
TIDY_AFTER = 2_000  # records

_INSERT = "INSERT OR IGNORE INTO records (id, collection, request_id, at, entry, stored) VALUES (?, ?, ?, ?, ?, ?)"
WAITS, STORED, FOR_A_WHILE = 0, 1, 2
"""What a row of the journal is."""


class Storage:
    """The background writer of one process. ``tick`` is called every second, while MongoDB answers. ``others`` write what else is
    ours; ``report`` is told why MongoDB takes nothing of it, and None when it does again. ``siblings`` is another one whenever a
    worker of the instance has come or gone, None while nobody can say."""

    def __init__(
        self,
        journal: Journal,
        database: Callable[[], Database[Any]],
        minutes: Minutes,
        groups: Groups,
        *,
        retention_days: int,
        keep_per_kind: int = 200,
        max_mb: int | None = None,
        collections: Sequence[str] = (),
        others: Sequence[Callable[[Database[Any]], None]] = (),
        live: Callable[[], bool] = lambda: False,
        siblings: Callable[[], object | None] = lambda: None,
        report: Callable[[str | None], None] = lambda reason: None,
        period: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._database, self._clock, self._period = journal, database, clock, period
        self._minutes, self._groups, self._others = minutes, groups, others
        self._throttle = Throttle(live, InstanceLock(journal), largest=BATCH, least=TOGETHER)
        self.indexes = RecordIndexes(retention_days, groups.indexes)
        self.refusal = StorageRefusal(report)
        self.sampling = Sampling(keep_per_kind)
        self.keeper = Keeper(
            lambda: journal.boot,
            self.sampling,
            Throttle(live, InstanceLock(journal), largest=BATCH, least=TOGETHER),
            keep=keep_per_kind,
            max_mb=max_mb,
            collections=collections,
        )
        self._waiting = self._bytes = 0
        self._stored_at, self._tidy_at = -TIDY, 0.0
        self._untidy = 0
        self._left = News(lambda: _known(siblings(), journal.file_name), rest=DEAD)
        self.dropped = 0

    # -- what is put on its way -----------------------------------------------------------------------------------------------

    def insertion(
        self, collection: str, identity: bson.ObjectId, document: dict[str, Any], request_id: str | None
    ) -> list[Statement]:
        """The statements that put a document on its way; if too many wait already, it takes the place of the oldest."""
        return self.insertion_of(collection, identity, encoded({**document, "_id": identity}), request_id)

    def insertion_of(
        self,
        collection: str,
        identity: bson.ObjectId,
        entry: bytes,
        request_id: str | None,
        fingerprint: str | None = None,
    ) -> list[Statement]:
        """The same of a document that is encoded already, with its ``_id``. Of a ``fingerprint`` there may be enough: then
        it stays here for a while."""
        sent = fingerprint is None or self.sampling.admits(fingerprint, identity)
        values = (str(identity), collection, request_id, time.time(), entry, WAITS if sent else FOR_A_WHILE)
        statements: list[Statement] = [(_INSERT, values)]
        if not sent:
            self._untidy += 1
            return statements
        gone, size = 0, len(entry)
        if self._bytes + size > LARGEST_WAITING:
            gone = min(MADE_ROOM, self._waiting)
        elif self._waiting >= WAITING:
            gone = 1
        if gone:
            oldest = "SELECT id FROM records WHERE stored = 0 ORDER BY at LIMIT ?"
            statements.insert(0, (f"DELETE FROM records WHERE id IN ({oldest})", (gone,)))  # noqa: S608 - no value is in the text
            self._bytes -= gone * self._bytes // self._waiting  # counted exactly with the next tick
            self.dropped += gone
        self._waiting += 1 - gone
        self._bytes += size
        if self._waiting >= CROWD:
            self.sampling.crowded = True
        return statements

    def put(self, collection: str, document: dict[str, Any]) -> None:
        """Put a document on its way. Never raises; what the journal refuses is counted there, and here what is no document."""
        try:
            statements = self.insertion(collection, bson.ObjectId(), document, None)
        except (bson.errors.BSONError, OverflowError, UnicodeError):
            self.dropped += 1
        else:
            self._journal.offer(statements, limit=1.0)

    # -- what is done beside requests -----------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Adopt what dead workers left, while it cannot be stored; no more waits then than may wait."""
        self._tidy()
        if not self._journal.adopt():
            return
        self._untidy += 1
        self._count()
        if self._waiting > WAITING:
            oldest = "SELECT id FROM records WHERE stored = 0 ORDER BY at DESC LIMIT -1 OFFSET ?"
            self._journal.write([(f"DELETE FROM records WHERE id IN ({oldest})", (WAITING,))])  # noqa: S608 - no value is in the text
            self.dropped += self._waiting - WAITING
            self._count()

    def tick(self) -> bool:
        """Adopt what dead workers left, and store what waits; whether MongoDB takes it. Raises what MongoDB says otherwise; the
        next tick goes on."""
        if self.refusal.waits:
            self.adopt()
            return False
        try:
            self._store()
        except PyMongoError as error:
            if not self.refusal.noticed(error):
                raise
            return False
        return self.refusal.reason is None

    def _store(self) -> None:
        left = self._left.begin()
        if left is not None and self._journal.adopt():
            self._count()
            self._untidy += 1  # the dead one may have had some
        elif left is not None:
            self._left.done(left)
        self._tidy()
        database = self._database()
        if self.keeper.full(database):
            self.refusal.hold("DISK_FULL")
            return
        if self.refusal.reason is not None:
            self._try_again(database)
        with pymongo.timeout(LIMIT):
            if not self.indexes.made:
                self.indexes.begin(database)
            self._minutes.store(database, self._groups.store)
            due = self._waiting >= BATCH or self._clock() - self._stored_at >= self._period
            stored = self._store_records(database) if due else 0
        for store in self._others:
            store(database)
        self.refusal.over()
        self.keeper.work(database, stored=stored > 0)

    def _try_again(self, database: Database[Any]) -> None:
        """Write what changes nothing, and then what waits: that nothing is due now does not say that it would be taken."""
        with pymongo.timeout(LIMIT):
            self.keeper.touch(database)
        self.hurry()

    def hurry(self) -> None:
        """Let the next tick store what waits, whatever else might come."""
        self._stored_at = -TIDY

    def status(self) -> StorageStatus:
        """How it is stored, for all workers to read."""
        kept = self.keeper.kept
        return StorageStatus(
            refused=self.refusal.reason,
            since=self.refusal.since,
            waiting=self._waiting,
            thinned=self.sampling.thinned,
            sampled_kinds=self.sampling.kinds,
            kept=kept.records if kept else None,
            counted_at=kept.at if kept else None,
            bytes=kept.bytes if kept else None,
            max_bytes=kept.max_bytes if kept else None,
            unbounded=self.keeper.failing,
        )

    def _store_records(self, database: Database[Any]) -> int:
        self._send_lasts()
        if self._waiting == 0:
            return 0
        self._stored_at = self._clock()
        most = max(FEW, BATCH >> self.sampling.floor)
        left, end = most, time.monotonic() + MOST_AT_ONCE
        while left > 0 and time.monotonic() < end and (stored := self._store_some(database, left)):
            left -= stored
        self._count()
        return most - left

    def _send_lasts(self) -> None:
        """The last one of each kind that was not sent is what an operator looks at."""
        change = "UPDATE records SET stored = 0 WHERE id = ? AND stored = 2"
        lasts: list[Statement] = [(change, (str(identity),)) for identity in self.sampling.lasts()]
        if lasts:
            self._journal.write(lasts)
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

    def _tidy(self) -> None:
        """Let go of those that are not stored, once there are too many, or the oldest is too old. Without any nothing is done."""
        if not self._untidy or (self._untidy < TIDY_AFTER and self._clock() < self._tidy_at):
            return
        query = "SELECT count(*), coalesce(sum(length(entry)), 0), min(at) FROM records WHERE stored = 2"
        found = [row for row in self._journal.read_own(query) if row[0]]
        count, size, oldest = sum(row[0] for row in found), sum(row[1] for row in found), time.time() - THINNED_FOR
        most = min(THINNED, int(LARGEST_THINNED * count / size)) if size else THINNED
        first = min((row[2] for row in found), default=0.0)
        if count and (count > most or first < oldest):
            keep = "SELECT id FROM records WHERE stored = 2 ORDER BY at DESC LIMIT -1 OFFSET ?"
            old: Statement = ("DELETE FROM records WHERE stored = 2 AND at < ?", (oldest,))
            self._journal.write([old, (f"DELETE FROM records WHERE id IN ({keep})", (most,))])  # noqa: S608 - no value is in the text
        self._untidy = int(count > 0)
        self._tidy_at = self._clock() + max(TIDY, first - oldest)

    def _count(self) -> None:
        rows = self._journal.read_own("SELECT count(*), coalesce(sum(length(entry)), 0) FROM records WHERE stored = 0")
        self._waiting, self._bytes = sum(row[0] for row in rows), sum(row[1] for row in rows)
        self.sampling.crowded = self._waiting >= CROWD


def _known(siblings: object | None, own: str) -> object | None:
    """Another one, too, once this worker's file was given up: what is whole in it is to come home."""
    return None if siblings is None else (siblings, own)


def _insert(database: Database[Any], collection: str, documents: Sequence[dict[str, Any]]) -> None:
    try:
        database[collection].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # A duplicate _id was stored by a try whose answer was lost. Any other refusal of one document must not hold up
        # the rest for ever: the whole record is in the log files too. What the database says of all of them is another matter.
        if not error.details.get("writeErrors") or refused(error) is not None:
            raise
