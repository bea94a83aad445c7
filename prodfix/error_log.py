"""One error, from the moment it is caught to the answer, the log, the statistics and the collection: one record."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import bson
import pymongo
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.context import RequestContext, iso
from prodfix.deadlines import retry_after
from prodfix.errors import Classification, Classifier, ErrorCategory, Outcome, Severity, chain, server_code
from prodfix.frames import database_operation, stack
from prodfix.journal import Journal
from prodfix.logs import Logs
from prodfix.operations import DatabaseOperation
from prodfix.redaction import redact_text
from prodfix.signals import error_recorded
from prodfix.sinks import render
from prodfix.statistics import Statistics
from prodfix.storage import ERROR_LOG, Storage

Disposition = Literal["stored", "logged", "counted"]

# Which category goes into which file; error.log has everything of severity error and critical besides, and what has no file.
_FILE = {
    ErrorCategory.DATABASE_CONNECTION: "database",
    ErrorCategory.DATABASE_QUERY: "database",
    ErrorCategory.TIMEOUT: "database",
    ErrorCategory.DUPLICATE_KEY: "database",
    ErrorCategory.CONFLICT: "database",
    ErrorCategory.VALIDATION: "validation",
    ErrorCategory.AUTHENTICATION: "auth",
    ErrorCategory.AUTHORIZATION: "auth",
}
_LOGGED = frozenset(_FILE) - {ErrorCategory.DATABASE_CONNECTION, ErrorCategory.DATABASE_QUERY, ErrorCategory.TIMEOUT}
_MOST_DETAILS = 50
LARGEST_DETAILS = 1400  # bytes; the whole answer stays below 2 KB


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """One error (the seed's EnrichedError and Error Log Entry). ``summary`` is redacted; ``meaning`` has the public text."""

    meaning: Classification
    summary: str
    error_type: str
    stack: str
    context: RequestContext | None
    operation: DatabaseOperation | None
    request_id: str
    release: str
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: bson.ObjectId = field(default_factory=bson.ObjectId)

    @property
    def outcome(self) -> Outcome | None:
        """What became of the write; ``None`` for what was not one."""
        return self.meaning.outcome if self.operation is not None and self.operation.writes else None

    @property
    def title(self) -> str:
        """What errors of this kind have in common: no message, whose values would make every error a kind of its own."""
        return f"{self.meaning.code} ({self.error_type})"

    @property
    def disposition(self) -> Disposition:
        if self.meaning.category is ErrorCategory.CLIENT:
            return "counted"
        return "logged" if self.meaning.category in _LOGGED else "stored"

    def to_entry(self) -> dict[str, Any]:
        """The line of the log."""
        return {
            "timestamp": iso(self.timestamp),
            "level": str(self.meaning.severity),
            "event": "error",
        } | self._fields()

    def to_document(self) -> dict[str, Any]:
        """The document of the collection ``error_log``."""
        return {"timestamp": self.timestamp} | self._fields()

    def _fields(self) -> dict[str, Any]:
        notes = self.context.notes if self.context else None
        return {
            "requestId": self.request_id,
            "category": str(self.meaning.category),
            "severity": str(self.meaning.severity),
            "code": self.meaning.code,
            "status": self.meaning.status,
            "message": self.summary,
            "errorType": self.error_type,
            "stack": self.stack,
            "context": self.context.to_json() if self.context else None,
            "database": self.operation.to_json() if self.operation else None,
            "trail": notes.trail_json() if notes else [],
            "recovery": {
                "attempted": bool(notes and notes.retries),
                "successful": False,
                "attempts": notes.retries if notes else 0,
            },
            "outcome": str(self.outcome) if self.outcome else None,
            "retryable": self.meaning.retryable,
            "release": self.release or None,
        }

    def to_response(self, *, detailed: bool = False) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Body, status and headers of the answer (RFC 9457 members and the seed's). ``detailed``: never in production."""
        meaning = self.meaning
        body: dict[str, Any] = {
            "type": "urn:prodfix:" + meaning.code.lower().replace("_", "-"),
            "title": meaning.code.replace("_", " ").capitalize(),
            "status": meaning.status,
            "detail": meaning.message,
            "code": meaning.code,
            "message": meaning.message,
            "details": [problem.to_json() for problem in meaning.details[:_MOST_DETAILS]],
            "requestId": self.request_id,
            "timestamp": iso(self.timestamp),
            "retryable": meaning.retryable,
        }
        if self.outcome is not None:
            body["outcome"] = str(self.outcome)
        if detailed and meaning.status >= 500:
            body["debug"] = self.summary
        while body["details"] and len(render({"details": body["details"]})) > LARGEST_DETAILS:
            body["details"].pop()
        return body, meaning.status, {"Retry-After": str(retry_after())} if meaning.retryable else {}


class ErrorLog:
    """Makes records, and puts each where it belongs (the seed's ErrorLoggerService)."""

    def __init__(
        self,
        classifier: Classifier,
        logs: Logs,
        statistics: Statistics,
        journal: Journal,
        storage: Storage,
        database: Callable[[], Database[Any] | None],
        *,
        release: str = "",
        database_down: Callable[[], bool] = lambda: False,
    ) -> None:
        self._classifier, self._logs, self._statistics = classifier, logs, statistics
        self._journal, self._storage, self._database = journal, storage, database
        self._release = release
        self._database_down = database_down
        self.failures = 0

    def record(
        self,
        error: BaseException,
        context: RequestContext | None,
        request_id: str,
        meaning: Classification | None = None,
    ) -> ErrorRecord:
        """What ``error`` is, with what its traceback and its request know. ``meaning`` overrules the table."""
        meaning = meaning or self.meaning(error)
        operation = database_operation(error)
        failed = context.notes.failed if context else None
        if failed is not None and operation is not None and failed.operation == operation.operation:
            operation = failed  # the command's own event knows more: its whole shape, and how long it took
        return ErrorRecord(
            meaning=meaning,
            summary=summary(error),
            error_type=type(error).__name__,
            stack=stack(error) if meaning.category is not ErrorCategory.CLIENT else "",
            context=context,
            operation=operation,
            request_id=request_id,
            release=self._release,
        )

    def meaning(self, error: BaseException) -> Classification:
        """The table's row; a timeout while the database is known to be down is that, and not a slow query."""
        meaning = self._classifier.classify(error)
        if meaning.category is ErrorCategory.TIMEOUT and self._database_down():
            return self._classifier.unreachable(meaning)
        return meaning

    def append(self, record: ErrorRecord) -> None:
        """Log it, count it, and store it if its kind is stored. Never raises; what cannot be kept is counted."""
        for step in (self._log, self._keep_apart, self._announce):
            try:
                step(record)
            except Exception:  # noqa: BLE001 - the answer matters more than its record, and each step than the one before
                self.failures += 1

    def _log(self, record: ErrorRecord) -> None:
        if record.disposition != "counted":
            self._logs.emit(record.meaning.severity, record.to_entry(), *_files(record))

    def _announce(self, record: ErrorRecord) -> None:
        error_recorded.send(self, record=record)

    def _keep_apart(self, record: ErrorRecord) -> None:
        # The request's deadline may have passed, and must not end what tells of it.
        contextvars.Context().run(self._keep, record)

    def _keep(self, record: ErrorRecord) -> None:
        context = record.context
        statements = self._statistics.count(
            record.meaning.category,
            context.device_type if context else "unknown",
            context.endpoint if context else "background",
            record.title,
        )
        if record.disposition == "stored":
            statements += self._storage.insertion(ERROR_LOG, record.id, record.to_document(), record.request_id)
        # Waiting for the commit (no fsync) makes the error known to every worker before its own client hears of it.
        self._journal.write(statements, limit=0.25)

    def recent(self, most: int = 20) -> list[dict[str, Any]]:
        """The newest error summaries: those of MongoDB, and those that still wait for it."""
        query = "SELECT entry FROM records WHERE collection = ? ORDER BY at DESC LIMIT ?"
        return self._merged(query, (ERROR_LOG, most), {}, most)

    def find(self, request_id: str, most: int = 50) -> list[dict[str, Any]]:
        """All records of one request, newest first, from whichever worker served it, also while MongoDB is down."""
        query = "SELECT entry FROM records WHERE collection = ? AND request_id = ? ORDER BY at DESC LIMIT ?"
        return self._merged(query, (ERROR_LOG, request_id, most), {"requestId": request_id}, most)

    def _merged(self, query: str, values: tuple[Any, ...], wanted: dict[str, Any], most: int) -> list[dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        document: dict[str, Any]
        for (entry,) in self._journal.read(query, values):
            document = bson.decode(entry, bson.CodecOptions(tz_aware=True))
            found[document["_id"]] = document
        database = self._database()
        if database is not None:
            try:
                with pymongo.timeout(2.0):
                    for document in database[ERROR_LOG].find(wanted).sort("timestamp", -1).limit(most):
                        found[document["_id"]] = document
            except PyMongoError:
                pass  # the answer says what it covers; what this instance holds is still right
        return sorted(found.values(), key=lambda document: document["timestamp"], reverse=True)[:most]


def _files(record: ErrorRecord) -> list[str]:
    files = [_FILE[record.meaning.category]] if record.meaning.category in _FILE else []
    if not files or record.meaning.severity in (Severity.ERROR, Severity.CRITICAL):
        files.append("error")
    return files


def summary(error: BaseException) -> str:
    """The error in words that are safe in a log: its type, the server's code, and, unless it is a driver's, its redacted text.

    Texts of the driver and of MongoDB hold hosts, values and keys; type and code say the same without them.
    """
    parts = []
    for link in list(chain(error))[:3]:
        name = type(link).__name__
        code = server_code(link)
        if isinstance(link, PyMongoError):
            parts.append(f"{name} (code {code})" if code else name)
        else:
            text = _text(link)
            parts.append(f"{name}: {text}" if text and text != name else name)
    return " <- ".join(parts)


def _text(error: BaseException) -> str:
    try:
        return redact_text(str(error)[:2000])[:500] if error.args else ""
    except Exception:  # noqa: BLE001 - an exception of somebody else's whose text cannot be had
        return ""


def error_summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """The seed's ErrorSummary of a stored record."""
    context = document.get("context") or {}
    return {
        "id": str(document["_id"]),
        "timestamp": iso(document["timestamp"]),
        "requestId": document.get("requestId"),
        "category": document.get("category"),
        "severity": document.get("severity"),
        "code": document.get("code"),
        "message": document.get("message"),
        "endpoint": context.get("endpoint"),
        "database": document.get("database"),
    }
