"""Limits of what greenlets wait for: one timer of a hub for all of them.

Nearly every block that has a limit ends long before it. So a block is only noted when it begins, and forgotten when it ends.
The timer runs until the first of those that it knows of may be over, looks then, and goes on for the next one.
"""

from __future__ import annotations

import math
import time
from typing import Any

from prodfix.process.native import under_gevent

_of_thread: Any = None  # its ``limits`` are the native thread's, as its hub is


class Limit:
    """A limit of the block that the current greenlet is in: it ends with ``raised``, a ``gevent.Timeout``, which is None
    before."""

    __slots__ = ("_limits", "ends", "greenlet", "raised")

    def __init__(self, limits: _Limits, greenlet: Any, ends: float) -> None:
        self._limits, self.greenlet, self.ends = limits, greenlet, ends
        self.raised: BaseException | None = None

    def close(self) -> None:
        """The block is over."""
        self._limits.remove(self)


class _Limits:
    """Those of one hub. The loop waits for the timer as long as a block is running, and not for its own sake."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self._running: dict[Limit, None] = {}
        self._timer: Any = None
        self._fires = math.inf

    def add(self, limit: Limit) -> None:
        if not self._running and self._timer is not None:
            self._timer.ref = True
        self._running[limit] = None
        if limit.ends < self._fires:
            self._start(limit.ends)

    def remove(self, limit: Limit) -> None:
        self._running.pop(limit, None)
        if not self._running and self._timer is not None:
            self._timer.ref = False

    def _start(self, at: float) -> None:
        self._stop()
        self._fires = at
        self._timer = self.hub.loop.timer(max(0.0, at - time.monotonic()))
        self._timer.start(self._look, update=True)

    def _stop(self) -> None:
        timer, self._timer, self._fires = self._timer, None, math.inf
        if timer is not None:
            timer.stop()
            timer.close()

    def _look(self) -> None:
        self._stop()
        now = time.monotonic()
        for limit in self._running:
            if limit.ends <= now:
                self.hub.loop.run_callback(self._end, limit)  # each by itself, as what it ends runs within
        later = min((limit.ends for limit in self._running if limit.ends > now), default=None)
        if later is not None:
            self._start(later)

    def _end(self, limit: Limit) -> None:
        from gevent import Timeout

        if limit in self._running:  # else its block has ended meanwhile
            self.remove(limit)
            limit.raised = Timeout()
            limit.greenlet.throw(limit.raised)


def start_limit(seconds: float) -> Limit | None:
    """A limit for what this greenlet does from here on, until it is closed; ``None`` without gevent: nothing can interrupt a
    thread that waits."""
    if not under_gevent():
        return None
    import gevent

    limits = _here(gevent.get_hub())
    limit = Limit(limits, gevent.getcurrent(), time.monotonic() + seconds)
    limits.add(limit)
    return limit


def _here(hub: Any) -> _Limits:
    global _of_thread  # noqa: PLW0603 - made once there is gevent
    if _of_thread is None:
        from gevent.monkey import get_original

        _of_thread = get_original("threading", "local")()
    limits: _Limits | None = getattr(_of_thread, "limits", None)
    if limits is None or limits.hub is not hub:
        limits = _of_thread.limits = _Limits(hub)
    return limits
