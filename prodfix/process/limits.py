"""Limits of what greenlets wait for: one timer of a hub for all of them.

Nearly every block that has a limit ends long before it. So a block is only noted when it begins, and forgotten when it ends.
The timer runs until the first of those that it knows of may be over, looks then, and goes on for the next one.
"""

from __future__ import annotations

import math
import time
from typing import Any

from prodfix.process.native import under_gevent

_HERE = "prodfix_limits"  # of a hub, which is a native thread's own
_gevent: Any = None  # the module, once it is there and has patched


class Limit:
    """A limit of the block that the current greenlet is in: it ends with ``raised``, a ``gevent.Timeout``, which is None
    before."""

    __slots__ = ("_limits", "ends", "greenlet", "raised")

    def __init__(self, limits: _Limits, greenlet: Any, ends: float) -> None:
        self._limits = limits
        self.greenlet = greenlet
        self.ends = ends
        self.raised: BaseException | None = None

    def close(self) -> None:
        """The block is over."""
        limits = self._limits
        limits.running.pop(self, None)
        if not limits.running and limits.timer is not None:
            limits.timer.ref = False


class _Limits:
    """Those of one hub. The loop waits for the timer as long as a block is running, and not for its own sake."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self.running: dict[Limit, None] = {}
        self.timer: Any = None
        self._fires = math.inf

    def add(self, limit: Limit) -> None:
        if not self.running and self.timer is not None:
            self.timer.ref = True
        self.running[limit] = None
        if limit.ends < self._fires:
            self._start(limit.ends)

    def _start(self, at: float) -> None:
        self._stop()
        self._fires = at
        self.timer = self._hub.loop.timer(max(0.0, at - time.monotonic()))
        self.timer.start(self._look, update=True)

    def _stop(self) -> None:
        timer, self.timer, self._fires = self.timer, None, math.inf
        if timer is not None:
            timer.stop()
            timer.close()

    def _look(self) -> None:
        self._stop()
        now = time.monotonic()
        for limit in self.running:
            if limit.ends <= now:
                self._hub.loop.run_callback(self._end, limit)  # each by itself, as what it ends runs within
        later = min((limit.ends for limit in self.running if limit.ends > now), default=None)
        if later is not None:
            self._start(later)

    def _end(self, limit: Limit) -> None:
        from gevent import Timeout

        if limit in self.running:  # else its block has ended meanwhile
            limit.close()
            limit.raised = Timeout()
            limit.greenlet.throw(limit.raised)


def start_limit(seconds: float) -> Limit | None:
    """A limit for what this greenlet does from here on, until it is closed; ``None`` without gevent: nothing can interrupt a
    thread that waits."""
    return limit_until(time.monotonic() + seconds)


def current_greenlet() -> Any:
    """``None`` without gevent."""
    return _gevent.getcurrent() if _gevent is not None or _found() else None


def _found() -> bool:
    global _gevent  # noqa: PLW0603 - what was patched stays so
    if under_gevent():
        import gevent

        _gevent = gevent
    return _gevent is not None


def limit_until(ends: float) -> Limit | None:
    """:func:`start_limit`, until a moment of the monotonic clock."""
    if _gevent is None and not _found():
        return None
    hub = _gevent.get_hub()
    limits: _Limits | None = getattr(hub, _HERE, None)
    if limits is None:
        limits = _Limits(hub)
        setattr(hub, _HERE, limits)
    limit = Limit(limits, _gevent.getcurrent(), ends)
    limits.add(limit)
    return limit
