"""One worker of an instance that does something for all of them, for as long as it lives: it keeps an flock on a file.

The kernel gives it free when its holder is gone. A holder that is stopped keeps it: who waits for what it should have done does
it instead, and so whatever is done must bear being done by two.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from prodfix.journal.journal import Journal
from prodfix.process.per_process import in_each_process


class Leadership:
    """``name`` is that of the file in the journals' folder; not ``*.lock``, which are the files' own."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal, self._name = journal, name
        self._descriptor: int | None = None
        in_each_process(self._begin)

    def _begin(self) -> None:
        inherited, self._descriptor = self._descriptor, None
        if inherited is not None:
            os.close(inherited)  # a parent's: its lock stays its own

    def taken(self) -> bool:
        """Whether it is this one's, which takes it if it is free. Never raises: a disk that fails has no lock to give."""
        if self._descriptor is None:
            with contextlib.suppress(OSError, TimeoutError):
                self._descriptor = self._journal.aside(_taken, self._journal.folder / self._name)
        return self._descriptor is not None

    def give(self) -> None:
        """Let another worker have it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _taken(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
