"""The seed's test operations: read, write or run a transaction on the database, step by step, and leave nothing behind.

What is written is deleted at the end whatever has failed. What could not be deleted then, or may be written only later by a
server that is slow, is deleted in the background; and by the collection's TTL where this process does not live for so long.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import bson
import pymongo
from pymongo import IndexModel
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.classification.classifier import Classifier
from prodfix.errors import ProdFixError
from prodfix.records.records import summary
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

TestOperation = Literal["read", "write", "transaction"]
TEST_OPERATIONS: tuple[TestOperation, ...] = get_args(TestOperation)
TEST_COLLECTION = "prodfix_test"

LIMIT = 3.0  # seconds for one operation
CLEANING_LIMIT = 1.0  # seconds more for its deletion
EXPIRY = 60  # seconds after which the collection's TTL deletes what nobody could
SWEPT = 30.0  # seconds within which a command that was given up may still be carried out
LEFT = 1000  # documents that are remembered for a later deletion; the TTL has the others


@frozen
class Step(Serializable):
    """One command of a test, or its commit."""

    name: str
    success: bool
    duration_ms: float


@frozen
class Tested(Serializable):
    """How a test went. ``code`` is the table's."""

    operation: TestOperation
    success: bool
    duration_ms: float
    steps: list[Step]
    error: Annotated[str | None, Description("Types and codes, no values")]
    code: str | None


class Steps:
    """The steps of one operation, each with its duration."""

    def __init__(self) -> None:
        self.done: list[Step] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun, success = time.monotonic(), False
        try:
            yield
            success = True
        finally:
            self.done.append(Step(name, success, _millis(begun)))


class SelfTest:
    """Runs the operations through our own client."""

    def __init__(self, database: Callable[[], Database[Any]], classifier: Classifier) -> None:
        self._database, self._classifier = database, classifier
        self._left: dict[bson.ObjectId, float] = {}

    def run(self, operation: TestOperation) -> Tested:
        """How it went, with each of its steps. Never raises what the database says."""
        begun, steps, failure = time.monotonic(), Steps(), None
        try:
            with pymongo.timeout(LIMIT):
                _OPERATIONS[operation](self, self._database(), steps)
        except Exception as error:  # noqa: BLE001 - that it fails is the answer
            failure = error
        return Tested(
            operation=operation,
            success=failure is None,
            duration_ms=_millis(begun),
            steps=steps.done,
            error=summary(failure) if failure else None,
            code=self._classifier.classify(failure).code if failure else None,
        )

    def sweep(self) -> None:
        """Delete what could not be deleted when it was due. Raises what MongoDB says; it is tried again then."""
        now, left = time.monotonic(), list(self._left)
        if not left:
            return
        with pymongo.timeout(CLEANING_LIMIT):
            self._database()[TEST_COLLECTION].delete_many({"_id": {"$in": left}})
        for identity in left:
            if self._left.get(identity, now) <= now:
                self._left.pop(identity, None)

    def _read(self, database: Database[Any], step: Steps) -> None:
        with step("ping"):
            database.command("ping")
        with step("find"):
            database[TEST_COLLECTION].find_one({}, {"_id": 1})

    def _write(self, database: Database[Any], step: Steps) -> None:
        collection = database[TEST_COLLECTION]
        with self._document(database, step) as (identity, document):
            with step("insert"):
                collection.insert_one(document)
            with step("find"):
                _must_be(collection.find_one({"_id": identity}), seen=False)
            with step("update"):
                collection.update_one({"_id": identity}, {"$set": {"seen": True}})

    def _transaction(self, database: Database[Any], step: Steps) -> None:
        collection = database[TEST_COLLECTION]
        with self._document(database, step) as (identity, document), database.client.start_session() as session:
            session.start_transaction()
            with step("insert"):
                collection.insert_one(document, session=session)
            with step("update"):
                collection.update_one({"_id": identity}, {"$set": {"seen": True}}, session=session)
            with step("commit"):
                session.commit_transaction()
            with step("find"):
                _must_be(collection.find_one({"_id": identity}), seen=True)

    @contextmanager
    def _document(self, database: Database[Any], step: Steps) -> Iterator[tuple[bson.ObjectId, dict[str, Any]]]:
        """A document that is gone afterwards."""
        with step("prepare"):
            expiry = IndexModel("timestamp", name="prodfix_expiry", expireAfterSeconds=EXPIRY)
            database[TEST_COLLECTION].create_indexes([expiry])
        identity = bson.ObjectId()
        try:
            yield identity, {"_id": identity, "timestamp": datetime.now(UTC), "seen": False}
        except BaseException:
            self._remember(identity)
            # In a context of its own: the operation's time may be over, and pymongo.timeout never lengthens.
            with suppress(PyMongoError):  # what the operation has failed with is told; this one is swept later
                contextvars.Context().run(self._delete, database, identity)
            raise
        with step("delete"):
            try:
                self._delete(database, identity)
            except BaseException:
                self._remember(identity)
                raise

    def _remember(self, identity: bson.ObjectId) -> None:
        if len(self._left) < LEFT:
            self._left[identity] = time.monotonic() + SWEPT

    def _delete(self, database: Database[Any], identity: bson.ObjectId) -> None:
        with pymongo.timeout(CLEANING_LIMIT):
            database[TEST_COLLECTION].delete_one({"_id": identity})


_OPERATIONS: dict[TestOperation, Callable[[SelfTest, Database[Any], Steps], None]] = {
    "read": SelfTest._read,
    "write": SelfTest._write,
    "transaction": SelfTest._transaction,
}


def _must_be(found: Mapping[str, Any] | None, *, seen: bool) -> None:
    if found is None or found.get("seen") is not seen:
        raise ProdFixError("what was written is not there")


def _millis(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 2)
