"""Whose turn it is: the greenlet that runs now, or, in a process without greenlets, the thread.

What stands in its ``__dict__`` is its own, and is gone with it. Setting a context variable takes many times as long.
"""

from __future__ import annotations

try:
    from greenlet import getcurrent as current
except ImportError:  # neither gevent nor anybody else's: threads are all that there is
    from threading import current_thread as current  # type: ignore[assignment]

__all__ = ["current"]
