"""Limits of what greenlets wait for: one timer of a hub for all of them.

Nearly every block that has a limit ends long before it. So a block is only noted when it begins, and forgotten when it ends.
The timer runs until the first of those that it knows of may be over, looks then, and goes on for the next one. What is in the
middle of a critical section is ended right after it.
"""

from __future__ import annotations

import math
import time
from typing import Any

from prodfix.process.critical_sections import in_critical_section
from prodfix.process.native import under_gevent

SOON = 0.001  # seconds until it is looked again whether a greenlet may be interrupted
LATEST = 5.0  # seconds after its end that a block is ended all the same: who has the lock that it waits for is stuck

_HERE = "prodfix_limits"  # of a hub, which is a native thread's own
_INNERMOST = "prodfix_limit"  # of a greenlet: the limit of the innermost block that it is in
_gevent: Any = None  # the module, once it is there and has patched


class Limit:
    """A limit of the block that the current greenlet is in: it ends with ``raised``, a ``gevent.Timeout``, which is None
    before. ``outer``: of the block around it."""

    __slots__ = ("_limits", "ends", "greenlet", "outer", "raised")

    def __init__(self, limits: _Limits, greenlet: Any, ends: float) -> None:
        self._limits = limits
        self.greenlet = greenlet
        self.ends = ends
        self.outer: Limit | None = getattr(greenlet, _INNERMOST, None)
        self.raised: BaseException | None = None

    def close(self) -> None:
        """The block is over."""
        self._limits.remove(self)
        self.greenlet.prodfix_limit = self.outer

    def pause(self) -> bool:
        """Whether it was running until now."""
        if self not in self._limits.running:
            return False
        self._limits.remove(self)
        return True

    def go_on(self, ends: float) -> None:
        """After :meth:`pause`."""
        self.ends = ends
        self._limits.add(self)


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

    def remove(self, limit: Limit) -> None:
        running = self.running
        running.pop(limit, None)
        if not running and self.timer is not None:
            self.timer.ref = False

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

        if limit not in self.running:  # its block has ended meanwhile
            return
        now = time.monotonic()
        if now < limit.ends + LATEST and in_critical_section(limit.greenlet):
            if now + SOON < self._fires:
                self._start(now + SOON)
            return
        self.remove(limit)
        limit.raised = Timeout()
        limit.greenlet.throw(limit.raised)


def start_limit(seconds: float) -> Limit | None:
    """A limit for what this greenlet does from here on, until it is closed; ``None`` without gevent: nothing can interrupt a
    thread that waits."""
    return limit_until(time.monotonic() + seconds)


def limit_until(ends: float) -> Limit | None:
    """:func:`start_limit`, until a moment of the monotonic clock."""
    if _gevent is None and not _found():
        return None
    hub, greenlet = _gevent.get_hub(), _gevent.getcurrent()
    limits: _Limits | None = getattr(hub, _HERE, None)
    if limits is None:
        limits = _Limits(hub)
        setattr(hub, _HERE, limits)
    limit = greenlet.prodfix_limit = Limit(limits, greenlet, ends)
    limits.add(limit)
    return limit


def innermost_limit() -> Limit | None:
    """Of the blocks that this greenlet is in."""
    return getattr(_gevent.getcurrent(), _INNERMOST, None) if _gevent is not None or _found() else None


def _found() -> bool:
    global _gevent  # noqa: PLW0603 - what was patched stays so
    if under_gevent():
        import gevent

        _gevent = gevent
    return _gevent is not None
