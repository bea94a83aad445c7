"""One deadline for each request, from which every wait spends."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

import pymongo

from prodfix.native import gevent_timer

JOURNAL_SHARE = 0.5  # seconds of each deadline that are kept for the journal: the database never gets them

_deadline: ContextVar[float | None] = ContextVar("prodfix_deadline", default=None)


def start(seconds: float) -> Token[float | None]:
    """Begin a deadline for what this greenlet or thread does from here on. Give the token to :func:`stop`."""
    return _deadline.set(time.monotonic() + seconds)


def stop(token: Token[float | None]) -> None:
    _deadline.reset(token)


def remaining() -> float | None:
    """Seconds left, never negative; ``None`` where there is no deadline."""
    end = _deadline.get()
    return None if end is None else max(0.0, end - time.monotonic())


def database_share(seconds: float) -> float:
    """How much of a deadline of that many seconds the database may use."""
    return max(seconds - JOURNAL_SHARE, seconds / 2)


@contextmanager
def database_limit(seconds: float) -> Iterator[None]:
    """The driver's own limit (client-side operations timeout) for all operations within."""
    with pymongo.timeout(database_share(seconds)):
        yield


@contextmanager
def enforced(seconds: float | None, error: type[Exception]) -> Iterator[None]:
    """Raise ``error`` here once that many seconds have passed, whatever the code within waits for.

    Works under gevent only: nothing can interrupt a thread that waits. The timer is a ``BaseException`` within, so that
    an ``except Exception`` in a view or in a retry loop cannot swallow it; outside it is ``error``.
    """
    if seconds is None:
        yield
        return
    with gevent_timer(seconds) as expired:
        try:
            yield
        except BaseException as raised:
            if expired(raised):
                raise error from raised
            raise


def backoff(attempt: int, base: float, *, longest: float = 16.0, jitter: float = 0.1) -> float:
    """Seconds to wait after the given attempt (1 for the first): base, 2x, 4x ... up to ``longest``, spread by ``jitter``."""
    return min(base * 2.0 ** min(attempt - 1, 30), longest) * random.uniform(1 - jitter, 1 + jitter)


def retry_after(least: int = 2, most: int = 6) -> int:
    """Whole seconds for a ``Retry-After``, spread so that phones do not all come back in the same second."""
    return random.randint(least, most)
