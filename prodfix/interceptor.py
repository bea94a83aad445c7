"""Every command that the driver sends, seen from its own events; slow and failed ones become records.

The good path does next to nothing: one reference is kept, one duration compared. Nothing is copied, parsed, redacted or
logged until a command is slow or failed. Duplicate keys and validation failures arrive as *succeeded* events, with
``writeErrors`` in the reply (command-logging-and-monitoring specification), so the reply is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from prodfix.context import RequestContext, current_context
from prodfix.operations import DatabaseOperation
from prodfix.redaction import redact_command

CommandOutcome = Literal["slow", "failed", "partly_failed"]

# The driver's housekeeping, and commands whose content is a credential (the driver itself empties those).
_IGNORED = frozenset(
    [
        "hello",
        "isMaster",
        "ismaster",
        "ping",
        "endSessions",
        "killCursors",
        "authenticate",
        "saslStart",
        "saslContinue",
        "getnonce",
        "createUser",
        "updateUser",
        "copydbgetnonce",
        "copydbsaslstart",
        "copydb",
    ]
)

# A slot and not a table: a command that a timeout or a kill cuts never ends, and its entry in a table would stay for ever.
_started: ContextVar[CommandStartedEvent | None] = ContextVar("prodfix_command", default=None)


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """One slow, failed or partly failed command. ``operation.query`` is its redacted shape."""

    operation: DatabaseOperation
    database: str
    outcome: CommandOutcome
    code: int | None
    results: int | None
    operation_id: int | None
    context: RequestContext | None

    def to_json(self) -> dict[str, Any]:
        return {
            "database": self.operation.to_json() | {"name": self.database},
            "outcome": self.outcome,
            "code": self.code,
            "resultCount": self.results,
            "requestId": self.context.request_id if self.context else None,
            "context": self.context.to_json() if self.context else None,
        }


class QueryInterceptor(CommandListener):
    """A listener for any MongoClient, with or without an application.

    ``slow_ms``: commands that took at least so long are recorded. ``on_record`` is called with each
    :class:`CommandRecord`, in the greenlet or thread that sent the command, while its connection is still checked out:
    it must not use MongoDB. The listener never raises, never changes an event, and counts what went wrong in ``errors``.
    """

    def __init__(self, *, slow_ms: float = 1000.0, on_record: Callable[[CommandRecord], None] | None = None) -> None:
        self.slow_micros = slow_ms * 1000.0
        self.on_record = on_record or (lambda record: None)
        self.commands = 0
        self.errors = 0

    def started(self, event: CommandStartedEvent) -> None:
        _started.set(event)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        try:
            micros = event.duration_micros
            self.commands += 1
            context = current_context()
            if context is not None:
                context.notes.commands += 1
                context.notes.command_micros += micros
            reply = event.reply
            if (
                micros >= self.slow_micros
                or "writeErrors" in reply
                or "writeConcernError" in reply
                or reply.get("nErrors")
            ):
                self._record_success(event, reply)
        except Exception:  # noqa: BLE001 - the driver would print a traceback, with values, for each command
            self.errors += 1
        finally:
            _started.set(None)

    def failed(self, event: CommandFailedEvent) -> None:
        try:
            self.commands += 1
            failure = event.failure
            code = failure.get("code") if isinstance(failure, Mapping) else None
            self._record(event, "failed", code if isinstance(code, int) else None, None)
        except Exception:  # noqa: BLE001 - see succeeded
            self.errors += 1
        finally:
            _started.set(None)

    def _record_success(self, event: CommandSucceededEvent, reply: Mapping[str, Any]) -> None:
        errors = reply.get("writeErrors") or ()
        code = errors[0].get("code") if errors else (reply.get("writeConcernError") or {}).get("code")
        partly = bool(errors or reply.get("writeConcernError") or reply.get("nErrors"))
        self._record(event, "partly_failed" if partly else "slow", code, _results(reply))

    def _record(
        self,
        event: CommandSucceededEvent | CommandFailedEvent,
        outcome: CommandOutcome,
        code: int | None,
        results: int | None,
    ) -> None:
        if event.command_name in _IGNORED:
            return
        started = _started.get()
        command = started.command if started is not None and started.request_id == event.request_id else {}
        context = current_context()
        operation = DatabaseOperation(
            event.command_name,
            _collection(event.command_name, command),
            redact_command(command),
            event.duration_micros / 1e3,
        )
        if context is not None and outcome != "slow":
            context.notes.failed = operation
        self.on_record(
            CommandRecord(operation, event.database_name, outcome, code, results, event.operation_id, context)
        )


def _collection(name: str, command: Mapping[str, Any]) -> str | None:
    """Most commands name their collection under their own name; a getMore and a client's bulkWrite do not."""
    value = command.get("collection") if name == "getMore" else command.get(name)
    if name == "bulkWrite":
        spaces = {str(space.get("ns", "")).partition(".")[2] for space in command.get("nsInfo", ())[:5]}
        return ",".join(sorted(spaces)) or None
    return value if isinstance(value, str) else None


def _results(reply: Mapping[str, Any]) -> int | None:
    cursor = reply.get("cursor")
    if isinstance(cursor, Mapping):
        batch = cursor.get("firstBatch", cursor.get("nextBatch"))
        return len(batch) if isinstance(batch, list) else None
    count = reply.get("n")
    return count if isinstance(count, int) else None
