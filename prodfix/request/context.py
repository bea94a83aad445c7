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
from typing import Annotated, Any, NamedTuple

from prodfix.errors import Outcome
from prodfix.operations.fingerprints import CommandKey
from prodfix.operations.operation import DatabaseOperation
from prodfix.process.per_process import in_each_process
from prodfix.process.tracing import SpanIds, active_span, ids_of
from prodfix.redaction.names import mask_key
from prodfix.redaction.redactor import redact_text
from prodfix.request.devices import LONGEST, DeviceType, client_hint, device_type, quick_device
from prodfix.request.effects import Effects
from prodfix.request.trace_context import PARENT, Carried, baggage, parent_header, trace_state
from prodfix.serialization import Description, Millis, Serializable, iso_of, json_maker
from prodfix.slotted import frozen

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_VERSION = re.compile(r"[A-Za-z0-9.+_()-]{1,24}")

TRAIL = 20  # commands of a request that an error record shows
AT_ONCE = 64  # identities
_NO_FIELDS: dict[str, str] = {}
KINDS = 200  # kinds of commands of a request that are told apart


@frozen
class SentCommand(Serializable):
    """One command of a request."""

    operation: str = ""
    collection: str | None = None
    duration_ms: Millis = None
    failed: bool = False
    offset_ms: Annotated[Millis, Description("From the begin of the request to that of the command")] = None
    fields: Annotated[tuple[str, ...], Description("Names of its filter's fields")] = ()


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
    ``ends``: its deadline, while it is served; ``carried``: what came along of its caller's trace; ``span``: the application's
    own of this request, where it has a tracer; ``outcome``: what that was told of the answer, and ``outcome_of`` of which error
    (its ``id``, as it may hold the request).

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
    carried: Carried | None = None
    span: Any = None
    outcome: dict[str, Any] | None = None
    outcome_of: int | None = None
    _kinds: dict[CommandKey, int] | None = None
    _trail: deque[tuple[CommandKey, int, bool, float]] | None = None

    @property
    def effects(self) -> Effects:
        """What its writes came to. Most requests write nothing, and have no ledger before they are asked for it."""
        if self.ledger is None:
            self.ledger = Effects()
        return self.ledger

    def count(self, key: CommandKey, micros: int, failed: bool, ended: float) -> int:
        """Note one command that ended at ``ended``, in the monotonic clock's seconds; how many of its kind there were in this
        request (0 for kinds beyond the limit)."""
        self.commands += 1
        self.command_micros += micros
        if self._trail is None or self._kinds is None:
            self._trail, self._kinds = deque(maxlen=TRAIL), {}
        self._trail.append((key, micros, failed, ended))
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

    def trail_json(self, begun: float) -> list[dict[str, Any]]:
        """The last commands of the request, oldest first: each a :class:`SentCommand`. ``begun``: when the request came."""
        return [
            _sent(
                key.operation,
                key.collection,
                micros / 1e3,
                failed,
                round(max(0.0, (ended - begun) * 1e3 - micros / 1e3), 3),
                tuple(sorted({_shown_name(name) for name in key.fields})),
            )
            for key, micros, failed, ended in self._trail or ()
        ]


@lru_cache(4096)
def _shown_name(name: str) -> str:
    """The name of a filter's field, which may be data where somebody has made a key of it: the key of a command has it as it
    came."""
    return redact_text(mask_key(name))


class RequestContext(NamedTuple):
    """One request. ``endpoint`` is the route's template, never the raw path: a path may hold personal values.

    A tuple, since a frozen dataclass takes ten times as long to make."""

    request_id: str
    first_trace_id: str  # before a tracer has begun its span
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
    def trace_id(self) -> str:
        """That of the application's own span, if it has one; else the caller's, or one of its own."""
        span = self.notes.span
        if span is None:
            return self.first_trace_id
        try:
            return ids_of(span).trace
        except Exception:  # noqa: BLE001 - a tracer of somebody's
            return self.first_trace_id

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
        state=header("tracestate", ""),
        baggage=header("baggage", ""),
        agent=header("User-Agent", ""),
        version=header("X-App-Version", ""),
        hint=client_hint(headers),
    )
    return context if timestamp is None else context._replace(at=timestamp.timestamp())


def made_context(
    endpoint: str,
    method: str,
    ip: str,
    request_id: str,
    parent: str,
    agent: str,
    version: str,
    hint: str,
    state: str = "",
    baggage: str = "",
) -> RequestContext:
    """The same from the headers' values, which are empty where there is none. ``hint``: what :func:`client_hint` gave."""
    # Most requests have one of these headers, and what is not there needs no pattern that it might fit.
    traced = PARENT.fullmatch(parent) if parent else None
    made, notes = _identities.next(), Notes()
    if traced:
        notes.carried = Carried(state, baggage, traced[2], traced[3])
    elif baggage:
        notes.carried = Carried("", baggage)
    # What the class itself does, without its step in Python.
    return tuple.__new__(
        RequestContext,
        (
            request_id if request_id and _REQUEST_ID.fullmatch(request_id) else made[:32],
            traced[1] if traced else made[32:],
            endpoint,
            method,
            ip,
            agent[:LONGEST],
            version if version and _VERSION.fullmatch(version) else "",
            hint,
            time.time(),
            notes,
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
            self._left.extend([many[start : start + 64] for start in range(64, len(many), 64)])
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


def span_ids(context: RequestContext) -> SpanIds | None:
    """The trace and the span that are active now, or those of the request's own span; ``None`` where it has none."""
    own = context.notes.span
    if own is None:
        return None
    try:
        return ids_of(active_span() or own)
    except Exception:  # noqa: BLE001 - a tracer of somebody's
        return None


def trace_fields(context: RequestContext) -> dict[str, str]:
    """``traceId`` and ``spanId`` of a line that is said now: of a request that has a span."""
    if context.notes.span is None:
        return _NO_FIELDS
    ids = span_ids(context)
    return _NO_FIELDS if ids is None else {"traceId": ids.trace, "spanId": ids.span}


def trace_headers() -> dict[str, str]:
    """What a request to somebody else has to say so that it is found with the one that is served now: ``X-Request-ID``,
    ``traceparent``, and ``tracestate`` and ``baggage`` as they came, as far as they are valid. Empty outside a request.

    The parent is the active span; without a tracer the caller's, or, where there was none, one of nobody's that has the trace.
    """
    context = _current.get()
    if context is None:
        return {}
    carried = context.notes.carried or Carried()
    ids = span_ids(context)
    if ids is not None:
        sampled = context.notes.span.get_span_context().trace_flags
        parent = parent_header(ids.trace, ids.span, f"{int(sampled):02x}")
    else:
        parent = parent_header(context.trace_id, carried.parent or _identities.next()[:16], carried.flags)
    found = {
        "X-Request-ID": context.request_id,
        "traceparent": parent,
        "tracestate": trace_state(carried.state),
        "baggage": baggage(carried.baggage),
    }
    return {name: value for name, value in found.items() if value}


def declare_outcome(outcome: Outcome | None) -> None:
    """Say what has become of the request's writes, where the application knows better than the commands that were seen: after
    it has undone them, say. Holds for this request until it is said anew; ``None`` takes it back."""
    context = _current.get()
    if context is not None:
        context.notes.effects.declared = outcome


def uncounted(*, logged: bool = True) -> None:
    """Leave the request that is served now out of the statistics of requests: none of the application's own users asks it.
    With ``logged=False`` it leaves no access line either: monitors ask every few seconds, for ever.

    One that ends in an error is logged all the same; and counted, unless its client is to blame for it and was not refused: what
    an admin has mistyped is no error that the application's users have met, and who tries to come in is one.
    """
    context = _current.get()
    if context is not None:
        context.notes.uncounted, context.notes.unlogged = True, not logged


def context_of(variables: Context | None) -> RequestContext | None:
    """The request that another greenlet served, given its context variables."""
    return variables.get(_current) if variables is not None else None


set_context = _current.set
reset_context = _current.reset
