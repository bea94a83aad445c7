"""What the parts of prodfix have to tell, in the words of the log: retries, conflicts, commands, connection changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.connection import ConnectionEvent
from prodfix.errors import ErrorCategory, Severity
from prodfix.interceptor import CommandRecord
from prodfix.logs import Logs
from prodfix.redaction import redact_uri
from prodfix.storage import CONNECTION_EVENTS, Storage

FILE = "database"


class Reports:
    """One method for each kind of event; the parts are given these methods and know nothing of logs."""

    def __init__(self, logs: Logs, storage: Storage, *, uri: str | None, options: Mapping[str, Any]) -> None:
        self._logs, self._storage = logs, storage
        self._place = redact_uri(uri, hosts=False) if uri else None
        self._timeouts = {name: value for name, value in options.items() if name.endswith("MS")}

    def retry(self, attempt: int, delay: float, error: BaseException) -> None:
        facts = {"attempt": attempt, "delaySeconds": round(delay, 3), "error": type(error).__name__}
        self._logs.note(Severity.WARN, "retry", f"trying again after {type(error).__name__}", facts=facts)

    def transaction(self, severity: Severity, message: str, facts: Mapping[str, Any]) -> None:
        self._logs.note(severity, "transaction", message, FILE, facts=facts)

    def conflict(self, message: str, facts: Mapping[str, Any]) -> None:
        self._logs.note(Severity.WARN, "conflict", message, FILE, facts={"category": ErrorCategory.CONFLICT, **facts})

    def command(self, record: CommandRecord) -> None:
        """A slow, failed or partly failed command, from the driver's event."""
        operation = record.operation
        message = (
            f"{operation.operation} on {operation.collection} {record.outcome} after {operation.duration_ms:.0f} ms"
        )
        facts = {"category": ErrorCategory.DATABASE_QUERY, **record.to_json()}
        self._logs.note(Severity.WARN, "query", message, FILE, facts=facts)

    def attempt(self, attempt: int, error: str) -> None:
        """A ping that failed: the attempt of that number to reach the database since it last answered."""
        facts = {"category": ErrorCategory.DATABASE_CONNECTION, "attempt": attempt, "error": error}
        self._logs.note(
            Severity.WARN, "reconnect", f"attempt {attempt} to reach the database failed", FILE, facts=facts
        )

    def connection(self, event: ConnectionEvent) -> None:
        """A change of the connection's state, with what Property 1 of the seed asks for."""
        document = event.to_document()
        facts = {
            "category": ErrorCategory.DATABASE_CONNECTION,
            "connectionString": self._place,
            "timeouts": self._timeouts,
            **document["details"],
            "environment": document["environment"],
        }
        severity = Severity.INFO if event.event == "connected" else Severity.CRITICAL
        self._logs.note(severity, "connection", f"connection {event.event}", FILE, facts=facts)
        self._storage.put(CONNECTION_EVENTS, document)
