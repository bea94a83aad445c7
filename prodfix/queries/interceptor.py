"""Every command that the driver sends, seen from its own events; slow and failed ones become records.

The good path does next to nothing: one reference is kept, one duration compared. Nothing is copied, parsed, redacted or
logged until a command is slow or failed. Duplicate keys and validation failures arrive as *succeeded* events, with
``writeErrors`` in the reply (command-logging-and-monitoring specification), so the reply is read.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from prodfix.operations.command_stats import CommandStats
from prodfix.operations.fingerprints import CommandKey, collection_of, fingerprint, shown_collection
from prodfix.operations.operation import MAY_CHANGE, TRANSACTION_OVER, DatabaseOperation, changes
from prodfix.operations.shapes import redact_command
from prodfix.process.current import current
from prodfix.queries import replies
from prodfix.request.context import RequestContext, current_context, quick_background, quick_context, watched_effects
from prodfix.request.effects import Effects
from prodfix.slotted import frozen

CommandOutcome = Literal["started", "succeeded", "slow", "failed", "partly_failed"]

# The driver's housekeeping, and commands whose content is a credential (the driver itself empties those).
_IGNORED = frozenset(
    "hello isMaster ismaster ping endSessions killCursors authenticate saslStart saslContinue getnonce createUser updateUser "
    "copydbgetnonce copydbsaslstart copydb".split()
)
# What of a command's shape is not an option of it.
_CONTENT = frozenset("filter query pipeline documents updates deletes update q u ops nsInfo cursors $db".split())

_READS = frozenset({"find", "getMore"})  # what can be refused as a whole only
_NOTHING: Mapping[str, Any] = {}

_now = time.monotonic
_failed: ContextVar[tuple[int | None, int]] = ContextVar("prodfix_failed", default=(None, 0))
_observed: ContextVar[list[Observed] | None] = ContextVar("prodfix_observed", default=None)


class CommandRecord(NamedTuple):
    """One command that is slow, failed or partly failed, or was sampled. ``operation.query`` is its redacted shape.

    ``attempts``: how often the driver has sent it. ``command`` is the driver's own document, for the moment of the call
    only: it must be neither changed nor kept.

    A tuple, since a frozen dataclass takes six times as long to make.
    """

    operation: DatabaseOperation
    database: str
    outcome: CommandOutcome
    code: int | None
    results: int | None
    attempts: int
    context: RequestContext | None
    command: Mapping[str, Any]

    def __repr__(self) -> str:
        """Without the command, which has values."""
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields[:-1], self, strict=False))
        return f"CommandRecord({shown})"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.operation.query or {})

    @property
    def options(self) -> dict[str, Any]:
        """The command's options: what of its shape is neither its name nor its content."""
        parts = iter((self.operation.query or {}).items())
        next(parts, None)
        return {key: value for key, value in parts if key not in _CONTENT}

    def to_json(self) -> dict[str, Any]:
        return {
            "database": self.operation.to_json() | {"name": self.database, "options": self.options},
            "fingerprint": self.fingerprint,
            "outcome": self.outcome,
            "code": self.code,
            "resultCount": self.results,
            "driverAttempts": self.attempts,
            "requestId": self.context.request_id if self.context else None,
            "context": self.context.to_json() if self.context else None,
        }


@frozen
class Observed:
    """One command that was sent while somebody observed. ``place`` is the line of the application that sent it."""

    operation: str
    collection: str | None
    millis: float
    succeeded: bool
    transaction: int | None
    place: str

    def to_json(self) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "collection": self.collection,
            "durationMs": self.millis,
            "succeeded": self.succeeded,
            "txnNumber": self.transaction,
        }


@contextmanager
def observed() -> Iterator[list[Observed]]:
    """The commands that this greenlet or thread sends within, as they end."""
    commands: list[Observed] = []
    token = _observed.set(commands)
    try:
        yield commands
    finally:
        _observed.reset(token)


class QueryInterceptor(CommandListener):
    """A listener for any MongoClient, with or without an application.

    ``slow_ms``: commands that took at least so long are recorded. ``sample``: the share of the others that is recorded
    too; ``verbose``: every start and end. ``shown_values``: fields whose values the shapes show. ``on_record`` is called with
    each :class:`CommandRecord`, in the greenlet or thread that sent the command, while its connection is still checked out: it
    must not use MongoDB. ``on_repeat`` is called when one request sends the same kind of command for the ``repeats``-th time.

    The listener never raises, never changes an event, and counts what went wrong in ``errors``.
    """

    def __init__(
        self,
        *,
        slow_ms: float = 1000.0,
        sample: float = 0.0,
        repeats: int = 10,
        shown_values: frozenset[str] = frozenset(),
        verbose: bool = False,
        on_record: Callable[[CommandRecord], None] | None = None,
        on_repeat: Callable[[CommandKey, RequestContext], None] | None = None,
    ) -> None:
        self._slow_micros = math.ceil(slow_ms * 1000.0)
        self._sample, self._repeats, self._verbose = sample, repeats, verbose
        self._on_record = on_record or (lambda record: None)
        self._on_repeat = on_repeat or (lambda key, context: None)
        self._shown_values = shown_values
        self.command_stats = CommandStats()
        # The command that a greenlet (or a thread: its own is its first) sends is kept with it. Not in a table: a command that
        # a timeout or a kill cuts never ends, and its entry would stay for ever. Not in a context variable: setting one twice
        # costs as much as counting does.
        self._slot = f"prodfix_command_{id(self)}"
        self.last_success: float | None = None
        self.last_asked: float | None = None
        """When a command of a request last ended, in the monotonic clock's seconds."""
        self.errors = 0

    @property
    def commands(self) -> int:
        """How many were seen to end."""
        return self.command_stats.commands

    def started(self, event: CommandStartedEvent) -> None:
        try:
            current().__dict__[self._slot] = event
            if event.command_name in MAY_CHANGE:
                context = quick_context()
                effects = context.notes.effects if context is not None else quick_background()
                if effects is not None:
                    _note_sent(effects, event)
            if self._verbose:
                self._record_start(event)
        except Exception:  # noqa: BLE001 - see succeeded
            self.errors += 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        try:
            started = current().__dict__.pop(self._slot, None)
            self.last_success = now = _now()
            name = event.command_name
            if name in _IGNORED:
                return
            command = started.command if started is not None else _NOTHING
            micros, partly = event.duration_micros, name not in _READS and _is_partly(name, event.reply)
            key = self.command_stats.count(name, command, micros, partly)
            context = quick_context()
            if name in MAY_CHANGE:
                effects = context.notes.effects if context is not None else quick_background()
                if effects is not None:
                    _note_end(effects, name, command, event)
            if context is not None:
                self.last_asked = now
                self._note(context, key, micros, partly, event, now)
            if (observer := _observed.get()) is not None:
                observer.append(_seen(key, command, micros, failed=partly))
            if partly or micros >= self._slow_micros:
                self._record(event, command, "partly_failed" if partly else "slow", event.reply)
            elif self._verbose or (self._sample and random.random() < self._sample):
                self._record(event, command, "succeeded", event.reply)
        except Exception:  # noqa: BLE001 - the driver would print a traceback, with values, for each command
            self.errors += 1

    def failed(self, event: CommandFailedEvent) -> None:
        try:
            started = current().__dict__.pop(self._slot, None)
            name = event.command_name
            if name not in _IGNORED:
                command = started.command if started is not None else _NOTHING
                # The server ends a transaction by itself when one of its writes fails. The driver aborts it all the same,
                # and passes over the refusal: nothing has failed.
                failed = not (name == "abortTransaction" and _code(event.failure) in TRANSACTION_OVER)
                key = self.command_stats.count(name, command, event.duration_micros, failed)
                context = quick_context()
                if name in MAY_CHANGE and (effects := watched_effects()) is not None:
                    _note_end(effects, name, command, event)
                if context is not None:
                    self.last_asked = now = _now()
                    self._note(context, key, event.duration_micros, failed, event, now)
                if (observer := _observed.get()) is not None:
                    observer.append(_seen(key, command, event.duration_micros, failed=failed))
                if failed:
                    self._record(event, command, "failed", event.failure)
            operation_id, times = _failed.get()
            _failed.set((event.operation_id, times + 1 if operation_id == event.operation_id else 1))
        except Exception:  # noqa: BLE001 - see succeeded
            self.errors += 1

    def _note(
        self,
        context: RequestContext,
        key: CommandKey,
        micros: int,
        failed: bool,
        event: CommandSucceededEvent | CommandFailedEvent,
        ended: float,
    ) -> None:
        # The driver keeps an operation's ID when it sends the command again.
        earlier = _failed.get()[0]
        if earlier is not None and earlier == event.operation_id:
            context.notes.driver_retries += 1
        if context.notes.count(key, micros, failed, ended) == self._repeats:
            self.command_stats.repeat(key)
            self._on_repeat(key, context)

    def _record_start(self, event: CommandStartedEvent) -> None:
        name = event.command_name
        if name not in _IGNORED:
            collection = shown_collection(collection_of(name, event.command))
            operation = DatabaseOperation(name, collection, redact_command(event.command, self._shown_values))
            self._on_record(
                CommandRecord(
                    operation, event.database_name, "started", None, None, 1, current_context(), event.command
                )
            )

    def _record(
        self,
        event: CommandSucceededEvent | CommandFailedEvent,
        command: Mapping[str, Any],
        outcome: CommandOutcome,
        reply: Mapping[str, Any],
    ) -> None:
        collection = shown_collection(collection_of(event.command_name, command))
        context = current_context()
        shape = redact_command(command, self._shown_values)
        operation = DatabaseOperation(event.command_name, collection, shape, event.duration_micros / 1e3)
        if context is not None and outcome in ("failed", "partly_failed"):
            context.notes.failed = operation
        failed_id, failures = _failed.get()
        attempts = failures + 1 if failed_id is not None and failed_id == event.operation_id else 1
        self._on_record(
            CommandRecord(
                operation, event.database_name, outcome, _code(reply), _results(reply), attempts, context, command
            )
        )


def _is_partly(name: str, reply: Mapping[str, Any]) -> bool:
    """Whether the server has answered, and refused a part of what was asked."""
    if "writeErrors" in reply or "writeConcernError" in reply:
        return True
    return name == "bulkWrite" and bool(reply.get("nErrors"))


def _seen(key: CommandKey, command: Mapping[str, Any], micros: int, *, failed: bool) -> Observed:
    number = command.get("txnNumber") if command.get("autocommit") is False else None
    return Observed(key.operation, key.collection, micros / 1e3, not failed, number, _place())


def _note_sent(effects: Effects, event: CommandStartedEvent) -> None:
    if changes(name := event.command_name, command := event.command):
        replies.note_sent(effects, name, command, event.operation_id)


def _note_end(
    effects: Effects, name: str, command: Mapping[str, Any], event: CommandSucceededEvent | CommandFailedEvent
) -> None:
    if not changes(name, command):
        return
    key = replies.key_of(name, command, event.operation_id)
    if key is None:
        return
    if isinstance(event, CommandSucceededEvent):
        replies.note_reply(effects, key, name, command, event.reply)
    else:
        replies.note_failure(effects, key, name, command, event.failure)


def _code(reply: Mapping[str, Any]) -> int | None:
    """The server's code: of the first failed write, of the write concern, or of the command."""
    errors = reply.get("writeErrors") or ()
    found = errors[0] if errors else reply.get("writeConcernError") or reply
    code = found.get("code") if isinstance(found, Mapping) else None
    return code if isinstance(code, int) else None


def _place() -> str:
    """The innermost line outside the driver and this library."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(("pymongo.", "prodfix.", "flask_pymongo.", "contextlib")):
            break
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno}"


def _results(reply: Mapping[str, Any]) -> int | None:
    cursor = reply.get("cursor")
    if isinstance(cursor, Mapping):
        batch = cursor.get("firstBatch", cursor.get("nextBatch"))
        return len(batch) if isinstance(batch, list) else None
    count = reply.get("n")
    return count if isinstance(count, int) else None
