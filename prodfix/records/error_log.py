"""One error, from the moment it is caught to the answer, the log, the statistics and the collection: one record."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pymongo import MongoClient

from prodfix.classification.classifications import INTERNAL_ERROR, INVALID, UNAUTHENTICATED, Classification
from prodfix.classification.classifier import Classifier
from prodfix.classification.wording import in_safe_words
from prodfix.errors import ErrorCategory, FieldError, PartlyApplied, Severity
from prodfix.journal.journal import Journal
from prodfix.logs.logs import Logs
from prodfix.operations.frames import frames_of, name_of, places, stack, walk
from prodfix.operations.operation import DatabaseOperation
from prodfix.operations.shapes import document_shape
from prodfix.operations.tracebacks import Way
from prodfix.records.outcomes import Ending
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.records.records import Answered, ErrorRecord, facts_of, named_place, rules_of, summary
from prodfix.records.span_outcome import tell_error, tell_warning
from prodfix.records.storage import Storage
from prodfix.request.context import RequestContext, current_context
from prodfix.request.identities import new_request_id
from prodfix.signals import error_recorded
from prodfix.statistics.counters import Counters
from prodfix.statistics.group_summary import KindWords
from prodfix.statistics.kinds import words_of
from prodfix.statistics.storms import Storms

_RECORDED = (
    "__prodfix_recorded__"  # of an exception: the context of the request that it was recorded for, the last time
)

_REFUSED = frozenset({ErrorCategory.AUTHENTICATION, ErrorCategory.AUTHORIZATION})


class ErrorLog:
    """Makes records, and puts each where it belongs (the seed's ErrorLoggerService)."""

    def __init__(
        self,
        classifier: Classifier,
        logs: Logs,
        counters: Counters,
        journal: Journal,
        storage: Storage,
        storms: Storms,
        *,
        release: str = "",
        instance: str = "",
        database_down: Callable[[], bool] = lambda: False,
        sees: Callable[[MongoClient[Any] | None], bool] = lambda client: False,
        on_failure: Callable[[ErrorRecord], None] = lambda record: None,
        report: Callable[[ErrorRecord], None] | None = None,
        tally: Callable[[ErrorRecord], None] | None = None,
    ) -> None:
        self._classifier, self._logs, self._counters = classifier, logs, counters
        self._journal, self._storage, self.storms = journal, storage, storms
        self._release, self._instance = release, instance
        self._database_down, self._sees, self._on_failure = database_down, sees, on_failure
        self._report, self._tally = report, tally
        self.failures = 0
        """Steps that failed: most of what they were to do was done all the same."""

    def failed(self) -> None:
        """Count a step that failed, of here or of what answers with its records."""
        self.failures += 1

    # -- making -----------------------------------------------------------------------------------------------------------

    def record(
        self,
        error: BaseException,
        context: RequestContext | None,
        operation: DatabaseOperation | None = None,
        answered: Answered | None = None,
    ) -> ErrorRecord:
        """What ``error`` is, with what its traceback and its request know, or the caller of its ``operation``. Never raises: what
        is too odd to be looked at is an internal error, and counted in ``failures``."""
        try:
            return self._record(error, context, operation, answered)
        except Exception:  # noqa: BLE001 - somebody's exception with properties that raise
            self.failures += 1
            return ErrorRecord(
                meaning=INTERNAL_ERROR,
                summary=name_of(error),
                error_type=name_of(error),
                stack=stack(error),
                places=tuple(places(error)),
                context=context,
                operation=operation,
                request_id=context.request_id if context else new_request_id(),
                release=self._release,
                instance=self._instance,
                answered=answered,
            )

    def _record(
        self,
        error: BaseException,
        context: RequestContext | None,
        known: DatabaseOperation | None,
        answered: Answered | None,
    ) -> ErrorRecord:
        walked = walk(error)
        meaning, claimed = self.meaning(error, walked[0][1]), self._classifier.claims(error)
        failed = context.notes.failed if context else None
        links = [link for link, _, _ in walked]
        frames = frames_of(error, whole=meaning.category is not ErrorCategory.CLIENT, known=failed, links=walked)
        call = frames.call
        operation = call.operation if known is None and call is not None else known
        outcome = Ending(
            meaning,
            operation,
            context,
            seen=self._sees(call.client if call is not None else None),
            halfway=call is not None and call.halfway,
            claimed=claimed,
            certain=any(isinstance(link, PartlyApplied) for link in links),
        ).outcome
        facts = facts_of(error, meaning, context)
        return ErrorRecord(
            meaning=meaning if answered is None else _as_answered(meaning, answered),
            summary=summary(error, links),
            error_type=frames.error_type,
            stack=frames.stack,
            context=context,
            operation=operation,
            request_id=context.request_id if context else new_request_id(),
            release=self._release,
            instance=self._instance,
            outcome=outcome,
            places=frames.places,
            facts=facts,
            answered=answered,
        )

    def meaning(self, error: BaseException, way: Way | None = None) -> Classification:
        """The table's row; a timeout while the database is known to be down is that, and not a slow query. ``way``: of its
        traceback, for who has it."""
        meaning = self._classifier.classify(error, way)
        if meaning.category is ErrorCategory.TIMEOUT and meaning.of_database and self._database_down():
            return self._classifier.unreachable(meaning)
        return meaning

    def _append_facts(
        self, meaning: Classification, kind: str, text: str, facts: Mapping[str, Any], context: RequestContext | None
    ) -> ErrorRecord:
        """Record what was seen without an exception."""
        context = context or current_context()
        record = ErrorRecord(
            meaning=meaning,
            summary=in_safe_words(text[:2000])[:500],
            error_type=kind[:100],
            stack="",
            context=context,
            operation=None,
            request_id=context.request_id if context else new_request_id(),
            release=self._release,
            instance=self._instance,
            places=(str(facts["model"])[:100],) if "model" in facts else (),
            facts=facts,
        )
        self.append(record)
        return record

    # -- the seed's methods -----------------------------------------------------------------------------------------------

    def log_error(
        self, error: BaseException, context: RequestContext | None = None, answered: Answered | None = None
    ) -> ErrorRecord:
        """Record an error; without ``answered`` one that nobody answers: of a background task, or one that the application has
        dealt with."""
        record = self.record(error, context or current_context(), None, answered)
        self.append(record)
        if record.context is not None:
            try:
                vars(error)[_RECORDED] = record.context
            except Exception:  # noqa: BLE001 - an exception of somebody's that keeps nothing
                self.failures += 1
            if record.context.notes.span is not None:
                self._step(lambda told: tell_error(told, error), record)
        return record

    def has(self, error: BaseException, context: RequestContext | None) -> bool:
        """Whether :meth:`log_error` has recorded ``error`` for this request already: its application may have called it."""
        return context is not None and vars(error).get(_RECORDED) is context

    def log_answer(self, status: int, context: RequestContext | None, request_id: str) -> ErrorRecord:
        """Record an answer of the application's that tells of a failure, with no exception to be seen: a view's ``return x,
        503``. There is its request, with the commands that it has sent, and no more; ``request_id`` is for one without a
        context, which a middleware has answered."""
        meaning = self._classifier.of_status(status)
        operation = context.notes.failed if context is not None else None
        record = ErrorRecord(
            meaning=meaning,
            summary=f"answered with {status}",
            error_type="Response",
            stack="",
            context=context,
            operation=operation,
            request_id=context.request_id if context is not None else request_id,
            release=self._release,
            instance=self._instance,
            outcome=Ending(meaning, operation, context, seen=self._sees(None)).outcome,
            places=(context.endpoint[:100] if context is not None else "a middleware",),
            answered=Answered("host", status),
        )
        self.append(record)
        return record

    def log_database_error(
        self, operation: str, collection: str, query: Any, error: BaseException, context: RequestContext | None = None
    ) -> ErrorRecord:
        """The same for an operation whose name, collection and query the caller knows better than the traceback.

        Of ``query`` (a filter, a pipeline, a document) only the shape is kept.
        """
        known = DatabaseOperation(operation, collection, {"query": document_shape(query)})
        record = self.record(error, context or current_context(), known)
        self.append(record)
        return record

    def log_validation_error(
        self, model: str, document: Any, errors: Sequence[FieldError], context: RequestContext | None = None
    ) -> ErrorRecord:
        """Record that ``document`` is not a valid ``model``: its shape, and the rules that failed."""
        facts = {"model": model, "document": document_shape(document), "rules": rules_of(errors)}
        meaning = replace(INVALID, details=tuple(errors))
        return self._append_facts(meaning, "ValidationError", f"{model} is not valid", facts, context)

    def log_auth_error(
        self, kind: str, user_id: str | None, reason: str, context: RequestContext | None = None
    ) -> ErrorRecord:
        """Record that somebody was refused: ``kind`` such as ``InvalidPassword``, the user if known, and why."""
        facts = {"type": kind, "userId": user_id, "reason": in_safe_words(reason[:2000])[:500]}
        return self._append_facts(UNAUTHENTICATED, kind, reason, facts, context)

    def log_recovery(self, error: BaseException, context: RequestContext | None) -> None:
        """Record that an operation succeeded after ``error``: a warning, and no error in the statistics."""
        self._warn(error, context, {}, recovered=True)

    def log_deferral(self, error: BaseException, context: RequestContext | None, facts: Mapping[str, Any]) -> None:
        """Record that a write waits on disk because of ``error``, so that who has the request's ID finds the write
        (``facts``): a warning, too."""
        self._warn(error, context, facts, recovered=False)

    def _warn(
        self, error: BaseException, context: RequestContext | None, facts: Mapping[str, Any], *, recovered: bool
    ) -> None:
        record = self.record(error, context)
        meaning = replace(record.meaning, severity=Severity.WARN, retryable=False, outcome=None)
        record = replace(record, meaning=meaning, recovered=recovered, facts={**record.facts, **facts})
        self._step(partial(self._append, counted=False), record)
        if context is not None and context.notes.span is not None:
            self._step(tell_warning, record)

    # -- keeping ----------------------------------------------------------------------------------------------------------

    def append(self, record: ErrorRecord) -> None:
        """Count it, log it, store it if its kind is stored, and tell of it. Never raises; what cannot be kept is counted."""
        self._step(self._append, record)

    def _step(self, work: Callable[[ErrorRecord], object], record: ErrorRecord) -> None:
        # What is done with a record and no more: what a lambda holds for each step takes longer than most of them.
        try:
            work(record)
        except Exception:  # noqa: BLE001 - the answer matters more than its record, and each step than the one before
            self.failures += 1

    def _append(self, record: ErrorRecord, *, counted: bool = True) -> None:
        key, disposition = record.key, record.disposition
        stored = disposition == "stored"
        if counted:
            self._count(record, stored=stored)
        if record.context is not None and disposition != "counted":
            record.context.notes.answered(record.operation)
        whole = disposition == "counted" or self.storms.admit(key.fingerprint, key.title)
        if disposition != "counted" and whole:
            self._step(self._show, record)
        if stored:
            self._step(self._store if whole else self._store_little, record)
        if record.meaning.severity is Severity.CRITICAL:
            # Waiting for the commit (no fsync) makes the error known to every worker before its own client hears of it, and what
            # is not committed by then is so with the next ones. Of all others they hear some milliseconds later.
            # The request's deadline may have passed, and must not end what tells of it.
            self._step(self._settle, record)
        if counted and record.status >= 500:
            self._step(self._on_failure, record)
        report = self._report
        if report is not None and counted and stored and whole:
            self._step(report, record)
        # Not a receiver of the signal: another one's that raises would keep it from this one.
        tally = self._tally
        if tally is not None and counted:
            self._step(tally, record)
        if counted and error_recorded.receivers:
            self._step(self._send, record)

    def _show(self, record: ErrorRecord) -> None:
        self._logs.emit(record.meaning.severity, record.to_entry(), *record.files)

    def _store(self, record: ErrorRecord, *, whole: bool = True) -> None:
        entry, fingerprint = record.to_bson(whole=whole), record.key.fingerprint
        self._journal.gather(self._storage.insertion_of(ERROR_LOG, record.id, entry, record.request_id, fingerprint))

    def _store_little(self, record: ErrorRecord) -> None:
        self._store(record, whole=False)

    def _settle(self, record: ErrorRecord) -> None:
        contextvars.Context().run(partial(self._journal.settle, limit=0.25))

    def _send(self, record: ErrorRecord) -> None:
        error_recorded.send(self, record=record)

    def _count(self, record: ErrorRecord, *, stored: bool) -> None:
        """In the statistics; of a request that nobody counts only what we are to blame for, and who was refused."""
        notes = record.context.notes if record.context is not None else None
        if notes is not None:
            notes.unlogged = False  # whatever its route says: an error has a line that shows its request
            notes.stored = notes.stored or stored
            if notes.uncounted and record.status < 500 and record.meaning.category not in _REFUSED:
                return
            notes.uncounted = False
        self._step(self._count_error, record)
        self._step(self._name_kind, record)

    def _count_error(self, record: ErrorRecord) -> None:
        self._counters.error(record.key, record.context.notes.user_id if record.context is not None else None)

    def _name_kind(self, record: ErrorRecord) -> None:
        self._counters.kinds.see(record.key.fingerprint, lambda: _words(record))

    def tell_of_storms(self) -> None:
        """One line for each kind of error that was held back since the last time."""
        for fingerprint, title, held in self.storms.summary():
            facts = {"fingerprint": fingerprint, "error": title, "suppressed": held}
            # As loud as what it stands for: else it would be silent where only errors are logged.
            self._logs.event(Severity.ERROR, "storm", f"{held} more of the same were not logged", "error", facts=facts)


def _words(record: ErrorRecord) -> KindWords:
    return words_of(record.error_type, record.summary, record.meaning.code, named_place(record.places))


def _as_answered(meaning: Classification, answered: Answered) -> Classification:
    """A failure that was answered is one, also of what the client could have mended."""
    failed = (answered.status or 0) >= 500 and meaning.severity in (Severity.INFO, Severity.WARN)
    return replace(meaning, severity=Severity.ERROR) if failed and meaning.status < 500 else meaning
