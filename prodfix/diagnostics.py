"""What an admin may ask: how the database is, whether it works, and all that is known of one request."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

import bson
import orjson
import pymongo
from pymongo import IndexModel
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.connection.clients import Clients
from prodfix.context import iso
from prodfix.deferral.backlog import Backlog
from prodfix.journal.journal import Journal
from prodfix.records.lookup import Lookup
from prodfix.records.records import error_summary, summary

Answer = TypeVar("Answer")
TestOperation = Literal["read", "write", "transaction"]
TEST_OPERATIONS: tuple[TestOperation, ...] = get_args(TestOperation)
TEST_COLLECTION = "prodfix_test"

MOST_COLLECTIONS = 50
REPORT_LIMIT = 3.0  # seconds for all that MongoDB is asked
EACH_LIMIT = 1.0  # seconds for one figure
STALE = 10.0  # seconds after which a worker's status no longer counts

_WORST_FIRST = ("error", "disconnected", "reconnecting", "connected")
_UNKNOWN: dict[str, Any] = {"waiting": None, "dead": None, "oldestSeconds": None, "bytes": None}
_SUMMED = ("poolSize", "availableConnections", "checkedOut", "waiting", "capacity")


class Diagnostics:
    """Reads only; what it cannot learn it shows as unavailable."""

    def __init__(self, clients: Clients, journal: Journal, lookup: Lookup, backlog: Backlog) -> None:
        self._clients, self._journal = clients, journal
        self._lookup, self._backlog = lookup, backlog
        self.state: Callable[[], Mapping[str, Any]] | None = None
        """How this worker is now; set by who knows all of its parts."""

    def workers(self) -> list[dict[str, Any]]:
        """How each live worker of the instance was at its last second.

        This one is there in any case, as it is now if it cannot be read: a broken disk must not look like a lost database.
        A process that has opened no journal (the command line) is no worker.
        """
        query = "SELECT worker, at, entry FROM status WHERE at > ?"
        rows = _told(lambda: self._journal.read(query, (time.time() - STALE,))) or []
        found = {worker: orjson.loads(entry) for worker, _, entry in sorted(rows, key=lambda row: row[1])}
        boot = self._journal.boot
        if self.state is not None and boot and boot not in found:
            found[boot] = orjson.loads(orjson.dumps(self.state()))
        return [{"worker": worker, **entry} for worker, entry in sorted(found.items())]

    def database(self) -> dict[str, Any]:
        """The seed's database report, of all workers of the instance."""
        workers = self.workers()
        return {
            "connection": _connection([worker["connection"] for worker in workers]),
            "collections": self._collections(),
            "recentErrors": _told(lambda: [error_summary(document) for document in self._lookup.recent()]),
            "deferred": self._deferred(workers),
            "journal": _journal([worker.get("journal", {}) for worker in workers]),
            "workers": workers,
        }

    def deferred(self) -> dict[str, Any]:
        """How many writes wait and are dead, how old and how large they are, and what was refused, over all workers."""
        return self._deferred(self.workers())

    def _deferred(self, workers: list[dict[str, Any]]) -> dict[str, Any]:
        counts = _told(self._backlog.counts) or _UNKNOWN
        return {**self._backlog.mode, **counts, "refused": sum(worker.get("deferredRefused", 0) for worker in workers)}

    def request(self, request_id: str) -> list[dict[str, Any]]:
        """All records of one request, newest first."""
        return [
            {**document, "_id": str(document["_id"]), "timestamp": iso(document["timestamp"])}
            for document in self._lookup.request(request_id)
        ]

    def test(self, operation: TestOperation) -> dict[str, Any]:
        """Read, write or run a transaction in a collection of our own, and leave nothing behind."""
        begun = time.monotonic()
        error: str | None = None
        try:
            with pymongo.timeout(REPORT_LIMIT):
                _TESTS[operation](self._clients.own_db)
        except Exception as failure:  # noqa: BLE001 - that it fails is the answer
            error = summary(failure)
        return {
            "operation": operation,
            "success": error is None,
            "durationMs": round((time.monotonic() - begun) * 1000, 2),
            "error": error,
        }

    def _collections(self) -> list[dict[str, Any]] | None:
        end = time.monotonic() + REPORT_LIMIT
        try:
            database = self._clients.own_db
            with pymongo.timeout(EACH_LIMIT):
                names = sorted(database.list_collection_names())
            return [
                _figures(database, name, end) for name in names[:MOST_COLLECTIONS] if not name.startswith("system.")
            ]
        except Exception:  # noqa: BLE001 - a report without this part is still a report
            return None


def _told(ask: Callable[[], Answer]) -> Answer | None:
    """What the journals tell; None if their disk does not answer."""
    try:
        return ask()
    except (TimeoutError, OSError, sqlite3.Error):
        return None


def _journal(workers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Why the journal of a worker fails, if one does, and the files that were not adopted."""
    failing = sorted({worker["failing"] for worker in workers if worker.get("failing")})
    return {
        "failing": ", ".join(failing) or None,
        "quarantined": sum(worker.get("quarantined", 0) for worker in workers),
        "otherVersions": max((worker.get("otherVersions", 0) for worker in workers), default=0),
    }


def _figures(database: Database[Any], name: str, end: float) -> dict[str, Any]:
    """The figures of one collection; each that is refused or too slow is ``None``."""

    def figure(ask: Callable[[], Any]) -> Any:
        left = end - time.monotonic()
        if left <= 0:
            return None
        try:
            with pymongo.timeout(min(left, EACH_LIMIT)):
                return ask()
        except PyMongoError:
            return None

    collection = database[name]
    size = figure(lambda: database.command("collStats", name).get("avgObjSize"))
    return {
        "name": name,
        "documentCount": figure(collection.estimated_document_count),
        "indexes": figure(lambda: sorted(collection.index_information())),
        "avgDocSize": size,
    }


def _connection(workers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The ConnectionStatus of the instance: the worst state, the shortest uptime, and the sums of the pools."""
    if not workers:
        return {"state": "disconnected", "uptime": 0.0, "lastError": None, "reconnectAttempts": 0} | dict.fromkeys(
            _SUMMED, 0
        )
    worst = min(workers, key=lambda worker: _WORST_FIRST.index(worker["state"]))
    return {
        "state": worst["state"],
        "uptime": min(worker["uptime"] for worker in workers),
        "lastError": worst["lastError"],
        "reconnectAttempts": max(worker["reconnectAttempts"] for worker in workers),
        **{name: sum(worker[name] for worker in workers) for name in _SUMMED},
        "poolExhausted": any(worker["poolExhausted"] for worker in workers),
    }


def _read(database: Database[Any]) -> None:
    database[TEST_COLLECTION].find_one({}, {"_id": 1})


def _write(database: Database[Any]) -> None:
    with _swept(database) as document:
        database[TEST_COLLECTION].insert_one(document)
        database[TEST_COLLECTION].update_one({"_id": document["_id"]}, {"$set": {"seen": True}})


def _transaction(database: Database[Any]) -> None:
    with _swept(database) as document, database.client.start_session() as session, session.start_transaction():
        database[TEST_COLLECTION].insert_one(document, session=session)
        database[TEST_COLLECTION].update_one({"_id": document["_id"]}, {"$set": {"seen": True}}, session=session)


@contextmanager
def _swept(database: Database[Any]) -> Iterator[dict[str, Any]]:
    """A document that is gone afterwards: deleted here, or by the collection's TTL where even that fails."""
    expiry = IndexModel("timestamp", name="prodfix_expiry", expireAfterSeconds=60)
    database[TEST_COLLECTION].create_indexes([expiry])
    identity = bson.ObjectId()
    try:
        yield {"_id": identity, "timestamp": identity.generation_time, "seen": False}
    finally:
        database[TEST_COLLECTION].delete_one({"_id": identity})


_TESTS: dict[TestOperation, Callable[[Database[Any]], None]] = {
    "read": _read,
    "write": _write,
    "transaction": _transaction,
}
