"""One at a time of all workers of an instance: whoever holds an flock on a file beside the journals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prodfix.journal.journal import Journal
from prodfix.process.per_process import this_process

NAME = "lock"
LOOK = 0.002  # seconds between two looks whether the other one is done
LIMIT = 1.0  # seconds to wait for one that is stopped, or waits for a database itself


class InstanceLock:
    """``with lock.taken():`` waits until no other worker, and nobody else of this one, has it; but not for ever, nor for a disk
    that fails. The kernel gives it back when a worker is killed."""

    def __init__(self, journal: Journal, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._journal, self._sleep = journal, sleep

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        """Whether it is this one's lock; after ``LIMIT`` seconds it goes on without. Never raises by itself."""
        try:
            descriptor = self._journal.aside(_opened, self._journal.folder / NAME)
        except (OSError, TimeoutError):
            yield False
            return
        process = this_process()
        try:
            yield self._free(descriptor)
        finally:
            # Not by closing alone: a process forked meanwhile has the descriptor too, and would keep the lock. A greenlet goes on
            # in there, and must leave it to its parent.
            if process is this_process():
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _free(self, descriptor: int) -> bool:
        end = time.monotonic() + LIMIT
        while not _locked(descriptor):
            if time.monotonic() > end:
                return False
            self._sleep(LOOK)
        return True


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else has it, or nobody can here: NFS may have no locks
        return False
    return True
