"""One deadline for each request, from which every wait spends."""

from __future__ import annotations

import random
import time
from contextvars import ContextVar, Token
from typing import Any

from prodfix.native import start_timer

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


class Enforced:
    """A block that is cut once ``seconds`` have passed, whatever it waits for; then it raises ``error``.

    Works under gevent only: nothing can interrupt a thread that waits. The timer is a ``BaseException`` within, so that
    an ``except Exception`` in a view or in a retry loop cannot swallow it; outside it is ``error``.
    """

    __slots__ = ("_error", "_seconds", "_timer")

    def __init__(self, seconds: float | None, error: type[Exception]) -> None:
        self._seconds, self._error = seconds, error
        self._timer: Any = None

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._timer = start_timer(self._seconds)

    def __exit__(self, kind: Any, raised: BaseException | None, trace: Any) -> None:
        if self._timer is not None:
            self._timer.close()
            if raised is self._timer:
                raise self._error from raised


def backoff(attempt: int, base: float, *, longest: float = 16.0, jitter: float = 0.1) -> float:
    """Seconds to wait after the given attempt (1 for the first): base, 2x, 4x ... up to ``longest``, spread by ``jitter``."""
    return min(base * 2.0 ** min(attempt - 1, 30), longest) * random.uniform(1 - jitter, 1 + jitter)


def retry_after(least: int = 2, most: int = 6) -> int:
    """Whole seconds for a ``Retry-After``, spread so that phones do not all come back in the same second."""
    return random.randint(least, most)
