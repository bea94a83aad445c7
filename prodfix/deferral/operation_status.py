"""What becomes of deferred writes, told to whoever may ask: by every worker of the instance from the journals, and by other
instances from MongoDB, where it is kept for ``retention_days``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import pymongo
from pymongo import IndexModel, ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.deferral.backlog_groups import AWAY, QUEUED
from prodfix.deferral.throttle import Throttle
from prodfix.deferral.writes import all_tries, is_identity, owner_of
from prodfix.errors import UNANSWERED, DatabaseUnavailable, JournalUnavailable, NotKnownNow
from prodfix.journal.instance_lock import InstanceLock
from prodfix.journal.journal import Journal, Statement
from prodfix.journal.news import News
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

OPERATIONS = "operations"

State = Literal["waiting", "applied", "failed"]
BATCH = 200
MOST_AT_ONCE = 1.0  # seconds
READ_LIMIT = 2.0  # seconds
FIND_LIMIT = 0.7  # seconds, while somebody waits for it
KEPT = 10_000  # statuses in one worker's file, once MongoDB has them
KEPT_SECONDS = 86_400.0
REST = 10.0  # seconds between two looks for what is to be told, while no table that holds such has changed
PRUNE_PERIOD, PRUNE_REST = 60.0, 3600.0  # seconds between two looks for old ones, and where none has come since
MOST = 100_000  # statuses that may wait for MongoDB
SETTLED = 10.0  # seconds after the connection's return within which the other instances may not have told yet

_WAITING = "SELECT id, 'waiting', operation, entry, reason, attempts, created, created, '', since FROM writes"
_ALL = f"""
SELECT id, 'applied', operation, owner, NULL, attempts, created, at, state, NULL FROM ended WHERE id = ?1
UNION ALL SELECT id, 'failed', operation, entry, reason, attempts, created, at, '', NULL FROM dead WHERE id = ?1
UNION ALL {_WAITING} WHERE id = ?1
"""  # noqa: S608 - constants
# Waiting ones are told only once they have failed: the others are applied before anybody could ask.
_UNPUBLISHED = (
    (
        "ended",
        "SELECT id, 'applied', operation, owner, NULL, attempts, created, at, state, NULL FROM ended WHERE published = 0",
    ),
    (
        "dead",
        "SELECT id, 'failed', operation, entry, reason, attempts, created, at, '', NULL FROM dead WHERE published = 0",
    ),
    ("writes", f"{_WAITING} WHERE published = 0 AND reason IS NOT NULL"),
)
_ORDER: tuple[State, ...] = ("applied", "failed", "waiting")
DISCARDED, LOST, OTHER_VERSION = "DISCARDED", "LOST", "OTHER_VERSION"
_GONE = {"discarded": DISCARDED, "lost": LOST}  # state in the file, reason


@frozen
class OperationAnswer(Serializable):
    """What has become of a write, for its owner and for admins."""

    operation_id: str
    operation: str
    status: State
    reason: str | None
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    waiting_since: Annotated[datetime | None, Description("Since when it waits for its `reason`")]


@frozen
class StoredOperation(Serializable):
    """The same in MongoDB, where ``timestamp`` is when it ended, or was last looked at."""

    _id: str
    operation: str
    state: State
    reason: str | None
    attempts: int
    created: datetime
    timestamp: datetime
    owner: str | None
    since: datetime | None = None


@frozen
class OperationStatus:
    """``reason`` is a code: why it failed, or why it still waits, and ``since`` when. Times are seconds since the epoch."""

    id: str
    operation: str
    state: State
    reason: str | None
    attempts: int
    created: float
    at: float
    owner: str | None
    since: float | None = None

    def answer(self) -> OperationAnswer:
        """What is told of it."""
        waits = self.state == "waiting"
        return OperationAnswer(
            operation_id=self.id,
            operation=self.operation,
            status=self.state,
            reason=self.reason,
            attempts=self.attempts,
            created_at=_moment(self.created),
            ended_at=None if waits else _moment(self.at),
            waiting_since=_moment(self.since) if waits and self.since is not None else None,
        )

    def to_document(self) -> dict[str, Any]:
        """The document of the collection ``operations``."""
        times = _moment(self.created), _moment(self.at)
        since = None if self.since is None else _moment(self.since)
        parts = (self.id, self.operation, self.state, self.reason, self.attempts, *times, self.owner, since)
        return StoredOperation(*parts).to_document()


class OperationStatuses:
    """Reads and stores what became of each write. ``uptime`` is how long the database has answered, in seconds; ``readable``
    the database while it answers more than pings, for who waits."""

    def __init__(
        self,
        journal: Journal,
        database: Callable[[], Database[Any] | None],
        *,
        configured: bool,
        uptime: Callable[[], float],
        retention_days: int,
        live: Callable[[], bool] = lambda: False,
        round_trip: Callable[[], float | None] = lambda: None,
        readable: Callable[[], Database[Any] | None] | None = None,
    ) -> None:
        self._journal, self._database, self._readable = journal, database, readable or database
        self._configured, self._uptime = configured, uptime
        self._retention = timedelta(days=retention_days)
        self._indexed = False
        self._throttle = Throttle(live, InstanceLock(journal), largest=BATCH, round_trip=round_trip)
        self._pruned = 0.0
        # A day without deferred writes asks nothing: what waits to be told is in one of these tables.
        self._untold = News(lambda: journal.version(*(table for table, _ in _UNPUBLISHED)), rest=REST)
        self._grown = News(lambda: journal.version("ended", "orders"), rest=PRUNE_REST)

    def find(self, identity: str, user: str | None) -> OperationStatus | None:
        """What became of a write, if ``user`` may know: its owner, or anybody who knows the ID of one without an owner.

        Raises :class:`prodfix.errors.DatabaseUnavailable` where another instance may know more than this one can learn now
        (:class:`prodfix.errors.NotKnownNow` while MongoDB answers), and :class:`prodfix.errors.JournalUnavailable`.
        """
        found = self.status(identity)
        return found if found is not None and found.owner in (None, user) else None

    def status(self, identity: str) -> OperationStatus | None:
        """The same for an admin, whoever the owner is. What cannot be an ID is none, and nobody is asked."""
        return (self._here(identity) or self._stored(identity)) if is_identity(identity) else None

    def applied(self, identity: str) -> bool:
        """Whether the write is known to be applied, here or in MongoDB. Never raises: what cannot be learned is not known."""
        try:
            found = self.status(identity)
        except (*UNANSWERED, JournalUnavailable):
            return False
        return found is not None and found.state == "applied"

    def published(self, identities: Sequence[str]) -> set[str]:
        """Those of which MongoDB knows that they have ended. Raises what it says."""
        if not self._configured:
            return set()
        database = self._database()
        if database is None:
            raise DatabaseUnavailable
        found: set[str] = set()
        for start in range(0, len(identities), BATCH):
            query = {"_id": {"$in": identities[start : start + BATCH]}, "state": {"$ne": "waiting"}}
            with pymongo.timeout(READ_LIMIT):
                found |= {document["_id"] for document in database[OPERATIONS].find(query, {"_id": 1})}
        return found

    def store(self) -> None:
        """Tell MongoDB what it does not know yet, and forget what is old. Raises what MongoDB says."""
        database = self._database()
        if database is None:
            return
        if not self._indexed:
            self._make_index(database)
        if (untold := self._untold.begin()) is not None and self._publish(database):
            self._untold.done(untold)
        if time.monotonic() - self._pruned > PRUNE_PERIOD and self._grown.begin() is not None:
            self._prune()
            self._pruned = time.monotonic()
            if (grown := self._grown.begin()) is not None:  # it was a change itself
                self._grown.done(grown)

    def _publish(self, database: Database[Any]) -> bool:
        """Whether that was all that is to be told."""
        whole = True
        for table, query in _UNPUBLISHED:
            end = time.monotonic() + MOST_AT_ONCE
            rows: Sequence[Any] = ((),)
            while time.monotonic() < end and (
                rows := self._journal.read_own(f"{query} LIMIT ?", (self._throttle.size(),))
            ):
                with self._throttle.batch(len(rows)):
                    with self._throttle.command(len(rows)):
                        publish(database, [_status(row) for row in rows])
                    mark = f"UPDATE {table} SET published = 1 WHERE id = ?"  # noqa: S608 - constants
                    self._journal.write([(mark, (row[0],)) for row in rows], to_disk=True)
            whole = whole and not rows
        return whole

    def _prune(self) -> None:
        old = time.time() - KEPT_SECONDS
        oldest: list[Statement] = [("DELETE FROM ended WHERE published = 1 AND at < ?", (old,))]
        for condition, most in (("published = 1", KEPT), ("published = 0", MOST)):
            keep = f"SELECT id FROM ended WHERE {condition} ORDER BY at DESC LIMIT -1 OFFSET ?"  # noqa: S608 - constants
            oldest.append((f"DELETE FROM ended WHERE id IN ({keep})", (most,)))  # noqa: S608
        orders = "SELECT id FROM orders ORDER BY at DESC LIMIT -1 OFFSET 200"
        oldest.append((f"DELETE FROM orders WHERE id IN ({orders})", ()))  # noqa: S608
        with contextlib.suppress(JournalUnavailable):  # another minute will do
            self._journal.write(oldest, to_disk=True)

    def index(self) -> IndexModel:
        """What lets the server remove the statuses that are old."""
        seconds = int(self._retention.total_seconds())
        return IndexModel("timestamp", name="prodfix_expiry", expireAfterSeconds=seconds)

    def _make_index(self, database: Database[Any]) -> None:
        try:
            database[OPERATIONS].create_indexes([self.index()])
        except PyMongoError as error:
            if getattr(error, "code", None) not in (85, 86):  # a TTL of another length: an operator's choice
                raise
        self._indexed = True

    def _here(self, identity: str) -> OperationStatus | None:
        try:
            # Once more before anybody is told that there is none: a file that could not be read may have it.
            rows = self._journal.read(_ALL, (identity,)) or self._journal.read(_ALL, (identity,), complete=True)
            found = [_status(row) for row in rows] or self._elsewhere(identity)
        except TimeoutError as error:
            raise JournalUnavailable("the disk did not answer in time") from error
        # A row that moves between two files may be seen in both, or as it was and as it is.
        first = min(found, key=lambda status: _ORDER.index(status.state), default=None)
        return first if first is None or first.state != "waiting" else self._explained(first)

    def _explained(self, status: OperationStatus) -> OperationStatus:
        """With the reason of what was not tried, which nobody has written down: the database is away, or others go first."""
        reason = status.reason or (AWAY if self._database() is None else QUEUED)
        return replace(status, reason=reason, since=status.created if status.since is None else status.since)

    def _elsewhere(self, identity: str) -> list[OperationStatus]:
        """In the file of a worker of another version, which nobody here applies."""
        row = self._journal.waits_elsewhere(identity)
        if row is None:
            return []
        operation, entry, created = row
        return [_status((identity, "waiting", operation, entry, OTHER_VERSION, 0, created, created, "", None))]

    def _stored(self, identity: str) -> OperationStatus | None:
        if not self._configured:
            return None
        database = self._readable()
        if database is None:
            raise DatabaseUnavailable
        with pymongo.timeout(FIND_LIMIT):
            document = database[OPERATIONS].find_one({"_id": identity})
        if document is None and self._uptime() < SETTLED:
            raise NotKnownNow
        return None if document is None else _from_document(document)


def known_as_applied(database: Database[Any], identities: Sequence[str]) -> set[str]:
    """Which of these writes MongoDB knows to be applied, whoever has applied them. Raises what it says."""
    wanted = {"_id": {"$in": list(identities)}, "state": "applied"}
    return {document["_id"] for document in database[OPERATIONS].find(wanted, {"_id": 1})}


def publish(database: Database[Any], statuses: Sequence[OperationStatus]) -> None:
    """Most are new. A write that was applied stays so, whatever an adopted file still thinks of it."""
    documents = [status.to_document() for status in statuses]
    with pymongo.timeout(READ_LIMIT):
        try:
            database[OPERATIONS].insert_many(documents, ordered=False)
        except BulkWriteError as error:
            known = error.details["writeErrors"]
            if error.details.get("writeConcernErrors") or any(failure["code"] != 11000 for failure in known):
                raise
            there = [documents[failure["index"]] for failure in known]
            changes = [ReplaceOne({"_id": told["_id"], "state": {"$ne": "applied"}}, told) for told in there]
            database[OPERATIONS].bulk_write(changes, ordered=False)


def _status(row: Sequence[Any]) -> OperationStatus:
    identity, state, operation, owner, reason, attempts, created, at, ended, since = row
    if isinstance(owner, bytes):
        attempts, owner = all_tries(owner, attempts), owner_of(owner)
    if ended in _GONE:
        state, reason = "failed", _GONE[ended]
    return OperationStatus(identity, operation, state, reason, attempts, created, at, owner, since)


def _from_document(document: Mapping[str, Any]) -> OperationStatus:
    stored = StoredOperation.from_json(document)
    return OperationStatus(
        stored._id,
        stored.operation,
        stored.state,
        stored.reason,
        stored.attempts,
        stored.created.timestamp(),
        stored.timestamp.timestamp(),
        stored.owner,
        stored.since.timestamp() if stored.since is not None else None,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
