"""A fork, and native threads in the middle of what its child could not get out of.

A child has only the thread that forked. A lock within C code that another thread held just then is never free there. Python
makes its own anew, and so do logging, loguru and :mod:`prodfix.process.per_process`; SQLite does not: it has mutexes for the
whole process, in its allocator and around its files, and a connection that was in the middle of something is so in the child
for ever (sqlite.org/howtocorrupt.html section 2.6). So who works with SQLite does it ``apart_from_forks``, all of a commit or
of a look at other files, and a fork waits for that and keeps others out until it is over.

There is no lock in here that a child could inherit, or that a signal's handler could wait for in the thread that holds it: each
side writes down that it comes, and only then looks for the other one. Each wait ends after :data:`LIMIT`, or twice that.
"""

from __future__ import annotations

import os
import time

from prodfix.process.native import original, thread_number

# Seconds after which a fork goes on. On a machine that is busy a look at many files takes one; what takes longer mostly waits for
# a disk, and SQLite then holds nothing that is everybody's.
LIMIT = 5.0
LOOK = 0.0005  # seconds between two looks

# By native thread: how often it is within, and how many forks it has begun. A thread waits for neither of its own: it may fork
# from within (a hook, a signal's handler), and is in the child, too.
_within: dict[int, int] = {}
_forking: dict[int, int] = {}


class _ApartFromForks:
    """``with apart_from_forks:`` no other thread forks meanwhile. Once a thread is within it may come again."""

    __slots__ = ()

    def __enter__(self) -> None:
        own = thread_number()
        depth = _within.get(own, 0)
        _within[own] = depth + 1
        if _forking and not depth and own not in _forking:
            _let_pass(own)

    def __exit__(self, *_: object) -> None:
        own = thread_number()
        depth = _within[own] - 1
        if depth:
            _within[own] = depth
        else:
            del _within[own]


apart_from_forks = _ApartFromForks()


def _let_pass(own: int) -> None:
    """A fork waits for no longer than ``LIMIT`` itself, and then takes milliseconds."""
    sleep, end = original("time", "sleep"), time.monotonic() + 2 * LIMIT
    while _forking and time.monotonic() < end:
        _within.pop(own, None)
        while _forking and time.monotonic() < end:
            sleep(LOOK)
        _within[own] = 1


def _before() -> None:
    own = thread_number()
    _forking[own] = _forking.get(own, 0) + 1
    sleep, end = original("time", "sleep"), time.monotonic() + LIMIT
    while any(one != own for one in tuple(_within)) and time.monotonic() < end:
        sleep(LOOK)


def _in_parent() -> None:
    own = thread_number()
    depth = _forking.pop(own, 1) - 1
    if depth:
        _forking[own] = depth


def _in_child() -> None:
    own = thread_number()
    depth = _within.get(own, 0)
    _forking.clear()
    _within.clear()
    if depth:
        _within[own] = depth


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
