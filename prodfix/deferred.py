"""Writes as data, which can wait on disk and be applied exactly once when the database is back.

A :class:`Write` names a registered operation and its arguments; never a closure, which no other process could run. The
operation turns the arguments into guarded single-document steps: an insert whose ``_id`` is the write's ID, or an update
that the same ID guards within the document. Applying a write twice therefore changes nothing, whatever was killed when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import bson
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.classifier import Classifier
from prodfix.errors import ErrorCategory, JournalUnavailable, NotFound, PartlyApplied, ValidationFailed
from prodfix.journal import Journal
from prodfix.schemas import GUARD

REMEMBERED = 50  # IDs in it
DRAINED_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert ``document``; its ``_id`` becomes the write's ID."""

    collection: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """Apply ``update`` once to the document that ``filter`` finds (by its ``_id`` or another unique field)."""

    collection: str
    filter: Mapping[str, Any]
    update: Mapping[str, Any]
    upsert: bool = False


Step = Insert | Update
Steps = Callable[[Mapping[str, Any]], Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Write:
    """A registered operation with arguments that BSON can hold. ``id`` is made once, before the first try."""

    operation: str
    arguments: Mapping[str, Any]
    id: str = field(default_factory=lambda: str(bson.ObjectId()))
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """``applied`` or ``deferred``; ``durability`` says of a deferred write what its disk survives."""

    status: Literal["applied", "deferred"]
    operation_id: str
    durability: Literal["durable", "ephemeral"] | None


class Deferred:
    """The registered operations, the way to the journal, and the way back from it."""

    def __init__(
        self,
        journal: Journal,
        database: Callable[[], Database[Any]],
        classifier: Classifier,
        *,
        enabled: bool,
        durable: bool,
        max_entries: int,
        max_attempts: int,
    ) -> None:
        self._journal, self._database, self._classifier = journal, database, classifier
        self.enabled = enabled
        self.durability: Literal["durable", "ephemeral"] = "durable" if durable else "ephemeral"
        self._max_entries, self._max_attempts = max_entries, max_attempts
        self._operations: dict[str, Steps] = {}

    def register(self, name: str, steps: Steps) -> None:
        """Make ``name`` known. Raises ``ValueError`` if it is taken: a replay would run something else."""
        if name in self._operations:
            raise ValueError(f"the deferrable operation {name!r} is registered twice")
        self._operations[name] = steps

    def apply(self, write: Write) -> None:
        """Apply each step that is not applied yet. Raises what the database says, as the cause of
        :class:`prodfix.errors.PartlyApplied` once a step was applied.

        Raises ``ValueError`` for two inserts into one collection: both would have the write's ID.
        """
        database = self._database()
        steps = self._operations[write.operation](write.arguments)
        inserted = [step.collection for step in steps if isinstance(step, Insert)]
        if len(set(inserted)) < len(inserted):
            raise ValueError(f"the operation {write.operation!r} inserts twice into one collection")
        for number, step in enumerate(steps):
            try:
                if isinstance(step, Insert):
                    _insert(database, step, write.id)
                else:  # each with a guard of its own: two of them may change the same document
                    _update(database, step, f"{write.id}.{number}" if number else write.id)
            except Exception as error:
                if number:
                    raise PartlyApplied(f"step {number + 1} of {write.operation}") from error
                raise

    def put(self, write: Write) -> None:
        """Keep ``write`` on disk; returns after fsync.

        Raises :class:`prodfix.errors.JournalUnavailable` if it could not be kept, or the journal is full;
        :class:`prodfix.errors.ValidationFailed` if BSON cannot hold it.
        """
        try:
            entry = bson.encode(
                {"operation": write.operation, "arguments": dict(write.arguments), "requestId": write.request_id}
            )
        except (bson.errors.BSONError, OverflowError, TypeError, UnicodeError) as error:
            raise ValidationFailed("the arguments do not fit into BSON") from error
        insert = "INSERT OR IGNORE INTO writes (id, entry, created) VALUES (?, ?, ?)"
        try:
            if self.waiting() >= self._max_entries:
                raise JournalUnavailable("the journal is full")
            self._journal.write([(insert, (write.id, entry, time.time()))], durable=True)
        except TimeoutError as error:
            raise JournalUnavailable("the disk did not answer in time") from error

    def waiting(self) -> int:
        """How many writes wait in this worker's file."""
        return sum(row[0] for row in self._journal.read_own("SELECT count(*) FROM writes"))

    def counts(self) -> dict[str, int]:
        """Waiting and dead writes of all workers of the instance."""
        waiting = self._journal.read("SELECT count(*) FROM writes")
        dead = self._journal.read("SELECT count(*) FROM dead")
        return {"waiting": sum(row[0] for row in waiting), "dead": sum(row[0] for row in dead)}

    def drain(self) -> int:
        """Apply what waits in this worker's file, in order; the number applied. Stops at the first connection error."""
        applied = 0
        while rows := self._journal.read_own(
            "SELECT id, entry, attempts FROM writes ORDER BY position LIMIT ?", (DRAINED_AT_ONCE,)
        ):
            for identity, entry, attempts in rows:
                try:
                    applied += self._replay(identity, bson.decode(entry), entry, attempts)
                except (PyMongoError, PartlyApplied):
                    return applied
        return applied

    def _replay(self, identity: str, entry: Mapping[str, Any], raw: bytes, attempts: int) -> int:
        """Apply one write and forget it; put it aside if it can never be applied. Raises connection errors."""
        try:
            self.apply(Write(entry["operation"], entry["arguments"], identity, entry.get("requestId")))
        except Exception as error:
            meaning = self._classifier.classify(error)
            if meaning.category is ErrorCategory.DATABASE_CONNECTION:
                raise  # the database is away again, or refuses us: that says nothing about this write
            if meaning.transient and attempts + 1 < self._max_attempts:
                self._journal.write(
                    [("UPDATE writes SET attempts = attempts + 1 WHERE id = ?", (identity,))], to_disk=True
                )
                raise
            reason = f"{meaning.code} ({type(error).__name__})"
            bury = "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?)"
            forget = ("DELETE FROM writes WHERE id = ?", (identity,))
            self._journal.write([(bury, (identity, raw, reason, time.time())), forget], durable=True)
            return 0
        # Not into memory while the disk fails: the write would be found there again, and again.
        self._journal.write([("DELETE FROM writes WHERE id = ?", (identity,))], to_disk=True)
        return 1


def _insert(database: Database[Any], step: Insert, identity: str) -> None:
    collection = database[step.collection]
    key = _identity(identity)
    try:
        collection.insert_one({**step.document, "_id": key})
    except DuplicateKeyError as error:
        pattern = (error.details or {}).get("keyPattern") or {"_id": 1}
        # Our own _id is there: an earlier try has applied it. Any other clash is the caller's to hear of.
        if list(pattern) != ["_id"]:
            raise


def _update(database: Database[Any], step: Update, identity: str) -> None:
    pushes = {**step.update.get("$push", {}), GUARD: {"$each": [identity], "$slice": -REMEMBERED}}
    guarded = {**step.filter, GUARD: {"$ne": identity}}
    changes = {**step.update, "$push": pushes}
    collection = database[step.collection]
    try:
        result = collection.update_one(guarded, changes, upsert=step.upsert)
        if not step.upsert and not result.matched_count and not collection.count_documents(dict(step.filter), limit=1):
            raise NotFound(f"no document of {step.collection} for an update that makes none")
    except DuplicateKeyError:
        # With upsert, the guard hides a document that has the ID already, and the server tries to insert a second one.
        # Or another write has made the document meanwhile: then this one is not applied yet. Any other clash is the caller's.
        if not step.upsert:
            raise
        if not collection.update_one(guarded, changes).matched_count and not collection.count_documents(
            {**step.filter, GUARD: identity}, limit=1
        ):
            raise


def _identity(text: str) -> bson.ObjectId | str:
    return bson.ObjectId(text) if bson.ObjectId.is_valid(text) else text
