"""What an instance is called in what its workers write together: a name in the folder of their journals, made once.

Not a name that somebody gives, which two may have. An instance whose disk is gone begins under a new name, beside what the
old one has left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from prodfix.journal.journal import Journal

NAME = "instance"
LENGTH = 16  # hexadecimal digits


class InstanceIdentity:
    """The instance's name, kept once it is known."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: str | None = None

    def read(self) -> str | None:
        """None if there is none yet, or the disk does not tell. Never raises."""
        if self._known is None:
            with contextlib.suppress(OSError, TimeoutError):
                self._known = self._journal.aside(_read, self._journal.folder / NAME)
        return self._known

    def made(self) -> str | None:
        """The same, and make it if there is none, also after somebody has removed it; None while the disk fails."""
        try:
            found = self._journal.aside(
                _kept, self._journal.folder / NAME, self._known or secrets.token_hex(LENGTH // 2)
            )
        except (OSError, TimeoutError):
            return self._known
        self._known = self._known or found
        return self._known


def _read(path: Path) -> str | None:
    try:
        name = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    # Of a loss of power there may be a file without its content.
    return name if len(name) == LENGTH and set(name) <= set("0123456789abcdef") else None


def _kept(path: Path, wanted: str) -> str | None:
    found = _read(path)
    if found is not None:
        return found
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # of several that make it, one does
        if _read(path) is None:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, wanted.encode())
            os.fsync(descriptor)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile has the descriptor too
        os.close(descriptor)
    return _read(path)
