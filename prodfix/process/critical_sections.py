"""Moments at which a greenlet must not be interrupted, as a lock or a count of others would be wrong for ever after.

CPython's ``threading.Condition`` and PyMongo's pools are made for threads, which nothing can interrupt. Under gevent each
lock that they take is a place where an exception can come in:

- ``Condition.wait`` takes its lock again before it returns. Interrupted there, the ``with`` around it releases a lock that
  another has by then, and that one fails with ``RuntimeError: Semaphore released too many times``; of an ``RLock``, which
  futures have, it is the interrupted one that fails with an error that is not its deadline's.
- A waiter that has been notified and is interrupted before it runs takes the notice with it: nobody else is woken.
- gevent yields whenever a lock is tried without waiting (gevent#1464), which ``Condition.notify`` does while it holds it.
- A pool that gives a connection back takes its lock several times, and counts between (PYTHON-2334): interrupted there, a
  place in the pool is lost.

Each of them lasts for as long as somebody else holds a lock that is never held while something is waited for.
"""

from __future__ import annotations

import threading
from types import FrameType
from typing import Any

_ENTERS = threading.Condition.__enter__.__code__
_WAITS = threading.Condition.wait.__code__


_BALANCED = frozenset({"_acquire_restore", "_release_save", "_is_owned"})
"""What a condition does with its lock: methods of its own, or of a lock that has them (RLock, which is gevent's)."""


def in_critical_section(greenlet: Any) -> bool:
    """Whether ``greenlet``, which is suspended, is at such a moment."""
    frame: FrameType | None = greenlet.gr_frame
    only_locks = True  # no socket, no sleep: what is compiled has no frame, gevent.thread has the one of its lock
    while frame is not None and (module := _module(frame)).startswith("gevent."):
        if frame.f_code.co_name in _BALANCED:
            return True
        only_locks = only_locks and module == "gevent.thread"
        frame = frame.f_back
    if frame is None:
        return False
    if frame.f_code.co_name in _BALANCED and _module(frame) == "threading":
        return True
    if frame.f_code is _WAITS:
        waiter = frame.f_locals.get("waiter")
        return waiter is not None and not waiter.locked()
    if frame.f_code is _ENTERS:
        frame = frame.f_back
    return only_locks and frame is not None and _module(frame).startswith("pymongo.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
