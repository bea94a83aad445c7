"""One error, from the moment it is caught to the answer, the log, the statistics and the collection: one record."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import bson
import pymongo
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.classifications import Classification
from prodfix.classifier import Classifier
from prodfix.context import RequestContext
from prodfix.errors import ErrorCategory, Severity
from prodfix.frames import database_operation, stack
from prodfix.journal import Journal
from prodfix.logs import Logs
from prodfix.records import FILE_OF, ErrorRecord, summary
from prodfix.signals import error_recorded
from prodfix.statistics import Statistics
from prodfix.storage import ERROR_LOG, Storage


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
    files = [FILE_OF[record.meaning.category]] if record.meaning.category in FILE_OF else []
    if not files or record.meaning.severity in (Severity.ERROR, Severity.CRITICAL):
        files.append("error")
    return files
