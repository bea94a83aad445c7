"""What the parts of prodfix have to tell, in the words of the log: retries, conflicts, commands, connection changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any

from prodfix.connection.status import ConnectionEvent
from prodfix.errors import ErrorCategory, Severity
from prodfix.incidents.incident_log import Incident
from prodfix.journal.quarantine import DamageReport
from prodfix.logs.logs import Logs
from prodfix.operations.command_stats import masked
from prodfix.operations.fingerprints import CommandKey
from prodfix.queries.advice import QueryAdvice
from prodfix.queries.interceptor import CommandRecord
from prodfix.records.record_indexes import CONNECTION_EVENTS
from prodfix.records.storage import Storage
from prodfix.redaction.redacted import Redacted
from prodfix.redaction.redactor import redact_document, redact_text, redact_uri
from prodfix.request.context import RequestContext
from prodfix.serialization import iso_of
from prodfix.signals import error_escalated, error_kind_appeared, error_regressed, error_unignored
from prodfix.statistics.decision_orders import DecisionOrder

FILE = "database"
HINT_PERIOD = 3600.0  # seconds
HINTS = 1000  # places that are remembered
_kept = attrgetter(*(name for name in CommandRecord._fields if name != "command"))  # which is the driver's


class Reports:
    """One method for each kind of event; the parts are given these methods and know nothing of logs."""

    def __init__(self, logs: Logs, storage: Storage, *, uri: str | None, options: Mapping[str, Any]) -> None:
        self._logs, self._storage = logs, storage
        self._place = redact_uri(uri, hosts=False) if uri else None
        self._told: dict[tuple[str, CommandKey], float] = {}
        self._timeouts = {name: value for name, value in options.items() if name.endswith("MS")}

    def retry(self, attempt: int, delay: float, error: BaseException) -> None:
        facts = {"attempt": attempt, "delaySeconds": round(delay, 3), "error": type(error).__name__}
        self._logs.event(Severity.WARN, "retry", f"trying again after {type(error).__name__}", facts=facts)

    def breaker(self, before: str, after: str, facts: Mapping[str, Any]) -> None:
        """The circuit breaker has changed its state."""
        severity = Severity.INFO if after == "closed" else Severity.WARN
        facts = {"category": ErrorCategory.DATABASE_CONNECTION, "before": str(before), "after": str(after), **facts}
        self._logs.event(severity, "breaker", f"circuit breaker {after}", FILE, facts=facts)

    def idempotency(self, message: str, facts: Mapping[str, Any]) -> None:
        self._logs.event(Severity.WARN, "idempotency", message, facts=facts)

    def transaction(self, severity: Severity, message: str, facts: Mapping[str, Any]) -> None:
        self._logs.event(severity, "transaction", message, FILE, facts=facts)

    def conflict(self, message: str, facts: Mapping[str, Any]) -> None:
        self._logs.event(Severity.WARN, "conflict", message, FILE, facts={"category": ErrorCategory.CONFLICT, **facts})

    def deferred(self, severity: Severity, message: str, facts: Mapping[str, Any]) -> None:
        """A write that waits on disk, could not be kept, or was put aside."""
        self._logs.event(
            severity, "deferred", message, FILE, facts={"category": ErrorCategory.DATABASE_CONNECTION, **facts}
        )

    def order(self, order: Mapping[str, Any]) -> None:
        """What an admin has ordered of a deferred write, and this worker has done."""
        self._logs.event(Severity.WARN, "deferred-order", f"a deferred write was {order['result']}", FILE, facts=order)

    def waited(self, order: DecisionOrder, result: str) -> None:
        """What became of a decision that has waited for MongoDB, and of which its admin was told that it holds."""
        severity = Severity.INFO if result == "changed" else Severity.WARN
        told = {"userId": order.by, "method": "WAITED", "endpoint": f"errors {order.action}"}
        facts = {**told, "fingerprint": order.fingerprint, "result": result}
        self._logs.event(severity, "audit", f"WAITED errors {order.action}", "auth", facts=facts)

    def command(self, record: CommandRecord) -> None:
        """A command from the driver's events: slow, failed, partly failed, sampled, or all of them when debugging."""
        notes = record.context.notes if record.context is not None else None
        if notes is not None and notes.holding and record.outcome in ("failed", "partly_failed"):
            # The error in which the request may end tells all of it, and what that means besides: one line then, and not two.
            notes.hold(record.operation, partial(self._tell_later, time.time(), partial(CommandRecord, *_kept(record))))
        else:
            self._tell(record)

    def _tell_later(self, at: float, make: Callable[..., CommandRecord]) -> None:
        try:
            self._tell(make(command={}), timestamp=iso_of(at))
        except Exception:  # noqa: BLE001 - nobody above expects it any more; counted
            self._logs.sinks.dropped += 1

    def _tell(self, record: CommandRecord, **facts: str) -> None:
        operation = record.operation
        took = "" if operation.duration_ms is None else f" after {operation.duration_ms:.0f} ms"
        place = f" on {operation.collection}" if operation.collection else ""
        message = f"{operation.operation}{place} {record.outcome}{took}"
        routine = record.outcome in ("started", "succeeded")
        told = Redacted({**_facts(record), **facts})
        self._logs.event(Severity.INFO if routine else Severity.WARN, "query", message, FILE, facts=told)

    def repeated(self, key: CommandKey, context: RequestContext) -> None:
        """One request has sent the same kind of command again and again: once for each endpoint and kind, and hour."""
        now = time.monotonic()
        place = (context.endpoint, key)
        if now - self._told.get(place, -HINT_PERIOD) < HINT_PERIOD or len(self._told) >= HINTS:
            return
        self._told[place] = now
        seen = masked(key)
        facts = {
            "category": ErrorCategory.DATABASE_QUERY,
            "endpoint": context.endpoint,
            "database": {"operation": seen.operation, "collection": seen.collection, "query": {"fields": seen.fields}},
        }
        message = f"{seen.operation} on {seen.collection} again and again in one request: an N+1 query?"
        self._logs.event(Severity.WARN, "repeated-query", message, FILE, facts=facts)

    def advice(self, advice: QueryAdvice) -> None:
        """The plan of a slow command, and the index that would serve it."""
        fields = ", ".join(f"{field}: {direction}" for field, direction in advice.index)
        plan = f"{advice.operation} on {advice.collection} uses {advice.plan}"
        message = f"{plan}; an index on {{{fields}}} would serve it" if fields else plan
        self._logs.event(
            Severity.INFO, "advice", message, FILE, facts={"category": ErrorCategory.DATABASE_QUERY, **advice.to_json()}
        )

    def regression(self, group: Mapping[str, Any]) -> None:
        """A kind of error that an admin had resolved is back."""
        self._logs.event(Severity.ERROR, "regression", "a resolved error is back", "error", facts={"group": group})
        error_regressed.send(self, group=group)

    def new_kind(self, group: Mapping[str, Any]) -> None:
        """A kind of error that nobody has seen before."""
        self._logs.event(Severity.WARN, "new-kind", "a new kind of error", "error", facts={"group": group})
        error_kind_appeared.send(self, group=group)

    def escalation(self, group: Mapping[str, Any]) -> None:
        """A kind of error happens more often than its last days predict."""
        message = "an error happens more often than expected"
        self._logs.event(Severity.ERROR, "escalation", message, "error", facts={"group": group})
        error_escalated.send(self, group=group)

    def unignored(self, group: Mapping[str, Any]) -> None:
        """What a kind of error was ignored until has come: it is open again."""
        self._logs.event(Severity.WARN, "unignored", "an ignored error is open again", "error", facts={"group": group})
        error_unignored.send(self, group=group)

    def alarm(self, severity: Severity, message: str, facts: Mapping[str, Any]) -> None:
        """Something is wrong with the service, or is no longer; and what became of an alert."""
        files = ("error",) if severity in (Severity.ERROR, Severity.CRITICAL) else ()
        self._logs.event(severity, "alarm", message, *files, facts=facts)

    def incident(self, incident: Incident) -> None:
        """An incident is over."""
        message = f"incident over after {incident.seconds:.0f} s: {incident.cause}"
        self._logs.event(Severity.WARN, "incident", message, FILE, facts={"incident": incident.to_json()})

    def attempt(self, attempt: int, number: int, error: str) -> None:
        """A ping that failed: the attempt of that number to reach the database since it last answered, told for so many."""
        facts = {
            "category": ErrorCategory.DATABASE_CONNECTION,
            "attempt": attempt,
            "attempts": number,
            "error": error,
        }
        before = f", as did {number - 1} before it" if number > 1 else ""
        message = f"attempt {attempt} to reach the database failed{before}"
        self._logs.event(Severity.WARN, "reconnect", message, FILE, facts=facts)

    def damage(self, damage: DamageReport) -> None:
        """A journal was damaged: what came home of it and what is gone, told once, by the worker that has adopted it."""
        gone, certain = damage.lost_writes, damage.certain
        least = "" if certain else "at least "
        lost = f"{least}{gone} acknowledged writes are gone" if gone or not certain else "no acknowledged write is gone"
        message = f"a journal was damaged: {lost}"
        self._logs.event(Severity.CRITICAL, "journal-damaged", message, "error", "database", facts=damage.to_json())

    def refused(self, reason: str | None) -> None:
        """The database answers and takes nothing of what is ours, for this reason; or it does again."""
        facts = {"category": ErrorCategory.DATABASE_QUERY, "reason": reason}
        if reason is None:
            self._logs.event(Severity.INFO, "storage", "errors and counts are stored again", FILE, facts=facts)
        else:
            message = f"errors and counts are not stored: {reason}; they wait on disk"
            self._logs.event(Severity.ERROR, "storage", message, "error", FILE, facts=facts)

    def connection(self, event: ConnectionEvent) -> None:
        """A change of the connection's state, with what Property 1 of the seed asks for."""
        facts = {
            "category": ErrorCategory.DATABASE_CONNECTION,
            "connectionString": self._place,
            "timeouts": self._timeouts,
            **event.details.to_json(),
            "environment": event.environment.to_json(),
        }
        severity = Severity.INFO if event.event == "connected" else Severity.CRITICAL
        self._logs.event(severity, "connection", f"connection {event.event}", FILE, facts=facts)
        self._storage.put(CONNECTION_EVENTS, event.to_document())


def _facts(record: CommandRecord) -> Redacted:
    """Of a command, what ``redact_document(record.to_json())`` would be. Its shape is redacted already, and there are few names
    of commands, collections and databases: most lines have no text that is looked at anew."""
    operation, context = record.operation, record.context
    query, options = operation.query, record.options
    if query is not None and type(query) is not Redacted:  # nobody's that comes from the interceptor
        query, options = redact_document(query), redact_document(options)
    asked = {} if context is None else _context_facts(context, context.notes.user_id)
    return Redacted(
        {
            "category": _CATEGORY,
            "database": {
                "operation": _known_text(operation.operation),
                "collection": None if operation.collection is None else _known_text(operation.collection),
                "query": query,
                "durationMs": operation.duration_ms,
                "name": _known_text(record.database),
                "options": options,
            },
            "fingerprint": record.fingerprint,
            "outcome": record.outcome,
            "code": record.code,
            "resultCount": record.results,
            "driverAttempts": record.attempts,
            "requestId": asked.get("requestId"),
            "context": asked or None,
        }
    )


_CATEGORY = ErrorCategory.DATABASE_QUERY.value
_known_text = lru_cache(1024)(redact_text)


@lru_cache(64)
def _context_facts(context: RequestContext, user_id: str | None) -> dict[str, Any]:
    """Of a request, for all of its commands. ``user_id`` is the context's own, which becomes known while it is served."""
    told: dict[str, Any] = redact_document(context.to_json())
    return told
