"""Who asked for what: the context of one request, for every log line and record made while it is served."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from prodfix.errors import Outcome
from prodfix.operations.fingerprints import CommandKey
from prodfix.operations.operation import DatabaseOperation
from prodfix.process.per_process import in_each_process
from prodfix.redaction.redactor import redact_text
from prodfix.request.devices import LONGEST, DeviceType, client_hint, device_type, quick_device
from prodfix.request.effects import Effects
from prodfix.serialization import Millis, Serializable, iso_of, json_maker
from prodfix.slotted import frozen

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
# W3C Trace Context, section 3.2: nothing follows version 00, and whatever is new another hyphen in a higher one; ff is none.
_TRACEPARENT = re.compile(
    r"(?!ff)(?:00(?=.{53}\Z)|(?!00)[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?", re.ASCII
)
_VERSION = re.compile(r"[A-Za-z0-9.+_()-]{1,24}")
_ZEROS = "0" * 32

TRAIL = 20  # commands of a request that an error record shows
AT_ONCE = 64  # identities
KINDS = 200  # kinds of commands of a request that are told apart


@frozen
class SentCommand(Serializable):
    """One command of a request."""

    operation: str = ""
    collection: str | None = None
    duration_ms: Millis = None
    failed: bool = False


@frozen
class ErrorContext(Serializable):
    """The seed's ErrorContext, as records have it: without the notes, and with its text redacted."""

    request_id: str = ""
    trace_id: str | None = None
    user_id: str | None = None
    endpoint: str | None = None
    method: str | None = None
    user_agent: str | None = None
    device_type: DeviceType | None = None
    app_version: str | None = None
    ip: str | None = None
    timestamp: str | None = None


_sent, _context = json_maker(SentCommand), json_maker(ErrorContext)


Ends = tuple[float, float]
"""When the request's time is over, and when the database's is, in monotonic seconds."""


class Notes:
    """What becomes known while a request is served: the user once a view has verified one, its database commands, the
    ID of what it does (:func:`prodfix.current_operation_id`), and what recovery did: ``retries`` are our own,
    ``driver_retries`` commands that the driver has sent again by itself. ``identified``: the view has asked for that ID;
    ``stored``: an error of it is kept under its ID; ``conflict_at`` is when (in the monotonic clock's seconds) a write met a
    conflict, None if something may have been applied since; ``holding``: somebody will call :meth:`tell` when the request ends;
    ``ends``: its deadline, while it is served.

    Of most requests nothing becomes known: what is here stands in the class until it is another."""

    user_id: str | None = None
    commands: int = 0
    command_micros: int = 0
    failed: DatabaseOperation | None = None
    ledger: Effects | None = None
    retries: int = 0
    driver_retries: int = 0
    recovered: bool = False
    operation_id: str | None = None
    identified: bool = False
    keyed: bool = False
    uncounted: bool = False
    unlogged: bool = False
    stored: bool = False
    conflict_at: float | None = None
    holding: bool = False
    _held: tuple[DatabaseOperation, Callable[[], None]] | None = None
    ends: Ends | None = None
    device: DeviceType | None = None
    _kinds: dict[CommandKey, int] | None = None
    _trail: deque[tuple[CommandKey, int, bool]] | None = None

    @property
    def effects(self) -> Effects:
        """What its writes came to. Most requests write nothing, and have no ledger before they are asked for it."""
        if self.ledger is None:
            self.ledger = Effects()
        return self.ledger

    def count(self, key: CommandKey, micros: int, failed: bool) -> int:
        """Note one command; how many of its kind there were in this request (0 for kinds beyond the limit)."""
        self.commands += 1
        self.command_micros += micros
        if self._trail is None or self._kinds is None:
            self._trail, self._kinds = deque(maxlen=TRAIL), {}
        self._trail.append((key, micros, failed))
        seen = self._kinds.get(key, 0)
        if not seen and len(self._kinds) >= KINDS:
            return 0
        self._kinds[key] = seen + 1
        return seen + 1

    def hold(self, operation: DatabaseOperation, tell: Callable[[], None]) -> None:
        """Let the telling of an operation that failed wait until another one fails, or the request ends: the error in which it
        may end tells of it too. One that goes on may end in it all the same, as a guarded write does that looks what is there."""
        self.tell()
        self._held = operation, tell

    def answered(self, operation: DatabaseOperation | None) -> None:
        """It is told by an error."""
        if self._held is not None and self._held[0] is operation:
            self._held = None

    def tell(self) -> None:
        """What waits, if no error has told it."""
        if self._held is not None:
            _, tell = self._held
            self._held = None
            tell()

    def trail_json(self) -> list[dict[str, Any]]:
        """The last commands of the request, oldest first: each a :class:`SentCommand`."""
        return [_sent(key.operation, key.collection, micros / 1e3, failed) for key, micros, failed in self._trail or ()]


class RequestContext(NamedTuple):
    """One request. ``endpoint`` is the route's template, never the raw path: a path may hold personal values.

    A tuple, since a frozen dataclass takes ten times as long to make."""

    request_id: str
    trace_id: str
    endpoint: str
    method: str
    ip: str
    user_agent: str
    app_version: str
    mobile_hint: str
    at: float  # when it came, in seconds since the epoch
    notes: Notes
    begun: float  # the same in the monotonic clock's

    @property
    def timestamp(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    @property
    def looks_mobile(self) -> bool:
        """Cheaper than :attr:`device_type`, and less sure."""
        return self.quick_device == "mobile"

    @property
    def quick_device(self) -> DeviceType:
        """For counting every request."""
        notes = self.notes
        found = notes.device
        if found is None:
            found = notes.device = quick_device(self.user_agent, self.mobile_hint)
        return found

    @property
    def device_type(self) -> DeviceType:
        return device_type(self.user_agent, {"Sec-CH-UA-Mobile": self.mobile_hint} if self.mobile_hint else None)

    def to_json(self) -> dict[str, Any]:
        """The seed's :class:`ErrorContext`."""
        return _context(
            request_id=self.request_id,
            trace_id=self.trace_id,
            user_id=self.notes.user_id,
            endpoint=self.endpoint,
            method=self.method,
            user_agent=_shown_agent(self.user_agent),
            device_type=self.device_type,
            app_version=self.app_version or None,
            ip=self.ip,
            timestamp=iso_of(self.at),
        )


@lru_cache(256)
def _shown_agent(user_agent: str) -> str:
    """Of few clients there are many requests."""
    return redact_text(user_agent)


def is_request_id(text: str) -> bool:
    """Whether a request can have it: what clients offer, and what is made here, has no other form."""
    return _REQUEST_ID.fullmatch(text) is not None


def new_request_id() -> str:
    """For what happened in no request: the records of it need an ID all the same."""
    return os.urandom(16).hex()


def new_context(
    *, endpoint: str, method: str, ip: str, headers: Mapping[str, str], timestamp: datetime | None = None
) -> RequestContext:
    """A context from a request's headers. Never raises: what is not acceptable is replaced, not refused."""
    header = headers.get
    context = made_context(
        endpoint,
        method,
        ip,
        request_id=header("X-Request-ID", ""),
        parent=header("traceparent", ""),
        agent=header("User-Agent", ""),
        version=header("X-App-Version", ""),
        hint=client_hint(headers),
    )
    return context if timestamp is None else context._replace(at=timestamp.timestamp())


def made_context(
    endpoint: str, method: str, ip: str, *, request_id: str, parent: str, agent: str, version: str, hint: str
) -> RequestContext:
    """The same from the headers' values, which are empty where there is none. ``hint``: what :func:`client_hint` gave."""
    # Most requests have one of these headers, and what is not there needs no pattern that it might fit.
    traced = _TRACEPARENT.fullmatch(parent) if parent else None
    made = _identities.next()
    # What the class itself does, without its step in Python.
    return tuple.__new__(
        RequestContext,
        (
            request_id if request_id and _REQUEST_ID.fullmatch(request_id) else made[:32],
            traced[1] if traced and traced[1] != _ZEROS and traced[2] != _ZEROS[:16] else made[32:],
            endpoint,
            method,
            ip,
            agent[:LONGEST],
            version if version and _VERSION.fullmatch(version) else "",
            hint,
            time.time(),
            Notes(),
            time.monotonic(),
        ),
    )


class _Identities:
    """Random identities, 32 bytes in hexadecimal, made a few at once: each request would ask the kernel."""

    def __init__(self) -> None:
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._left: list[str] = []  # a child must not give those of its parent

    def next(self) -> str:
        try:
            return self._left.pop()
        except IndexError:
            many = os.urandom(32 * AT_ONCE).hex()
            self._left.extend(many[start : start + 64] for start in range(64, len(many), 64))
            return many[:64]


_identities = _Identities()


# Every greenlet and thread begins empty; one greenlet serves all requests of a kept-alive connection, so it is always reset.
_current: ContextVar[RequestContext | None] = ContextVar("prodfix_request", default=None)


def current_context() -> RequestContext | None:
    """The context of the request that this greenlet or thread serves, or ``None`` outside one."""
    return _current.get()


_background: ContextVar[Effects | None] = ContextVar("prodfix_effects", default=None)
# The same without a frame of Python's, for who asks with every command of the driver's.
quick_context: Callable[[], RequestContext | None] = _current.get
quick_background: Callable[[], Effects | None] = _background.get


def current_effects() -> Effects:
    """What the writes came to of the request that is served now, or of this greenlet or thread outside one."""
    context = _current.get()
    if context is not None:
        return context.notes.effects
    found = _background.get()
    if found is None:
        _background.set(found := Effects())
    return found


def watched_effects() -> Effects | None:
    """The same for who only looks on: ``None`` outside a request where nobody has asked for it."""
    context = _current.get()
    return context.notes.effects if context is not None else _background.get()


def declare_outcome(outcome: Outcome | None) -> None:
    """Say what has become of the request's writes, where the application knows better than the commands that were seen: after
    it has undone them, say. Holds for this request until it is said anew; ``None`` takes it back."""
    context = _current.get()
    if context is not None:
        context.notes.effects.declared = outcome


def uncounted(*, logged: bool = True) -> None:
    """Leave the request that is served now out of the statistics of requests: none of the application's own users asks it.
    With ``logged=False`` it leaves no access line either: monitors ask every few seconds, for ever.

    One that ends in an error which is counted is counted and logged all the same: there are no errors without requests.
    """
    context = _current.get()
    if context is not None:
        context.notes.uncounted, context.notes.unlogged = True, not logged


def context_of(variables: Context | None) -> RequestContext | None:
    """The request that another greenlet served, given its context variables."""
    return variables.get(_current) if variables is not None else None


set_context = _current.set
reset_context = _current.reset
