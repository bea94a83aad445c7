"""Who asked for what: the context of one request, for every log line and record made while it is served."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from prodfix.errors import Outcome
from prodfix.process.tracing import ids_of
from prodfix.redaction.redactor import redact_text
from prodfix.request.devices import LONGEST, DeviceType, client_hint, device_type, quick_device
from prodfix.request.effects import Effects
from prodfix.request.identities import REQUEST_ID, identities
from prodfix.request.notes import Notes
from prodfix.request.trace_context import PARENT, Carried
from prodfix.serialization import Serializable, iso_of, json_maker
from prodfix.slotted import frozen

_VERSION = re.compile(r"[A-Za-z0-9.+_()-]{1,24}")


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


_context = json_maker(ErrorContext)


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
    made, notes = identities.next(), Notes()
    if traced:
        notes.carried = Carried(state, baggage, traced[2], traced[3])
    elif baggage:
        notes.carried = Carried("", baggage)
    # What the class itself does, without its step in Python.
    return tuple.__new__(
        RequestContext,
        (
            request_id if request_id and REQUEST_ID.fullmatch(request_id) else made[:32],
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
