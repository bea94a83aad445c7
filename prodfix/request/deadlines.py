"""One deadline for each request, from which every wait spends."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token, copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prodfix.errors import DeadlineExceeded
from prodfix.process.limits import Limit, innermost_limit, start_limit
from prodfix.request.context import current_context
from prodfix.request.notes import Ends

JOURNAL_SHARE = 0.5  # seconds of each deadline that are kept for the journal: the database never gets them
ANSWERING = 0.5  # seconds that a view has at least, to answer, once a shielded block is over
VIEW = "__prodfix_deadline__"
REQUEST = "__prodfix_request__"  # of an exception, the context of the request that it belongs to

View = TypeVar("View", bound=Callable[..., Any])
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_deadline: ContextVar[Ends | None] = ContextVar("prodfix_deadline", default=None)
"""Of what runs outside a request, and in another greenlet than it: a request's own stands in its notes, as setting a context
variable takes longer than all else that is done for it."""


def deadline(seconds: float | None) -> Callable[[View], View]:
    """Give a view a deadline of its own instead of ``REQUEST_DEADLINE_MS``; ``None`` exempts it (exports, change streams).

    Above or below the route's decorator. It is known before the body is read, which a view without one reads itself, as it
    arrives. Raises ``ValueError`` for what is no number of seconds above 0.
    """
    if seconds is not None and (callable(seconds) or not 0 < seconds < math.inf):
        raise ValueError("deadline() takes a number of seconds above 0, or None: @deadline(30)")

    def mark(view: View) -> View:
        setattr(view, VIEW, seconds)
        return view

    return mark


def start(seconds: float) -> Token[Ends | None]:
    """Begin a deadline for what this greenlet or thread does from here on. Give the token to :func:`stop`."""
    now = time.monotonic()
    return _deadline.set((now + seconds, now + database_share(seconds)))


def own() -> bool:
    """Whether this greenlet or thread has one by :func:`start`, which counts before a request's."""
    return _deadline.get() is not None


def begin(ends: Ends) -> Token[Ends | None]:
    """:func:`start`, for who has looked at the clock."""
    return _deadline.set(ends)


def ends() -> Ends | None:
    """When what is done here must have ended."""
    found = _deadline.get()
    if found is not None:
        return found
    context = current_context()
    return None if context is None else context.notes.ends


def stop(token: Token[Ends | None]) -> None:
    _deadline.reset(token)


def remaining() -> float | None:
    """Seconds left, never negative; ``None`` where there is no deadline."""
    found = ends()
    return None if found is None else max(0.0, found[0] - time.monotonic())


def database_remaining() -> float | None:
    """Seconds left for the database: :func:`remaining` without what is kept for the journal."""
    found = ends()
    return None if found is None else max(0.0, found[1] - time.monotonic())


def database_share(seconds: float) -> float:
    """How much of a deadline of that many seconds the database may use."""
    return seconds - JOURNAL_SHARE if seconds > 2 * JOURNAL_SHARE else seconds / 2


class Enforced:
    """A block that is cut once ``seconds`` have passed, whatever it waits for; then it raises ``error``.

    Works under gevent only: nothing can interrupt a thread that waits. It is a ``BaseException`` within, so that
    an ``except Exception`` in a view or in a retry loop cannot swallow it; outside it is ``error``.
    """

    __slots__ = ("_error", "_limit", "_seconds")

    def __init__(self, seconds: float | None, error: type[Exception]) -> None:
        self._seconds, self._error = seconds, error
        self._limit: Limit | None = None

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._limit = start_limit(self._seconds)

    def __exit__(self, kind: Any, raised: BaseException | None, trace: Any) -> None:
        limit = self._limit
        if limit is not None:
            limit.close()
            if raised is not None and raised is limit.raised:
                raise self._error from raised


@contextmanager
def shield() -> Iterator[None]:
    """A block that no deadline of this greenlet cuts, and which must therefore be bounded itself.

    What is left of them goes on afterwards, and at least ``ANSWERING`` seconds: what was done must still be told.
    """
    paused = []
    limit = innermost_limit()
    while limit is not None:
        if limit.pause():
            paused.append(limit)
        limit = limit.outer
    try:
        yield
    finally:
        for limit in paused:
            limit.go_on(max(limit.ends, time.monotonic() + ANSWERING))


def in_request(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``work``, to be run by another greenlet or thread as a part of the request that is served now, which is written once:
    ``gevent.spawn(in_request(fetch), number)``, ``executor.map(in_request(fetch), numbers)``.

    A greenlet or thread begins with nothing. With this it has the request's context (its ID in every log line and record),
    what is left of its deadline, which ends the driver's operations there and under gevent whatever else waits, with
    :class:`prodfix.errors.DeadlineExceeded`, and Flask's ``request``, ``current_app`` and ``g``. It may be run more than
    once, and at the same time. Outside of a request it is just ``work``. What shall outlive the request is spawned without it.
    """
    carried = copy_context()
    carried.run(_deadline.set, ends())  # it may outlive the request

    @wraps(work)
    def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        return carried.copy().run(_enforced, work, arguments, options)

    return run


def _enforced(work: Callable[..., Result], arguments: tuple[Any, ...], options: dict[str, Any]) -> Result:
    try:
        with Enforced(remaining(), DeadlineExceeded):
            return work(*arguments, **options)
    except Exception as error:
        # Nobody may wait for it: then it is recorded where its variables are gone (prodfix.logs.uncaught).
        error.__dict__.setdefault(REQUEST, current_context())
        raise


def backoff(attempt: int, base: float, *, longest: float = 16.0, jitter: float = 0.1) -> float:
    """Seconds to wait after the given attempt (1 for the first): base, 2x, 4x ... up to ``longest``, spread by ``jitter``."""
    return min(base * 2.0 ** min(attempt - 1, 30), longest) * random.uniform(1 - jitter, 1 + jitter)


def retry_after(least: int = 2, most: int = 6) -> int:
    """Whole seconds for a ``Retry-After``, spread so that phones do not all come back in the same second."""
    return random.randint(least, most)
