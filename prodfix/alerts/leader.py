"""Which worker of the instance leads: the one that has the lock, for as long as it lives.

The kernel gives a lock free when its holder is gone: no lease that a clock could make too long or too short. The stdout of the
program that delivers is the lock's own open file, so it holds the lock too, and writes its results there: whoever has the lock
after a kill knows what was delivered before.

A disk that fails must not silence the alert about it. Who cannot lock the file takes a name of the kernel's own instead
(an abstract socket, unix(7)); who has the file takes that name too, if it can.
"""

from __future__ import annotations

import _socket  # the bare one: gevent's would bring a hub into the native thread that runs this
import fcntl
import hashlib
import os
from pathlib import Path

LOCK = "alerts.leader"


class Leader:
    """Of all workers that have ``folder`` one holds this. All methods may wait for the disk: call them in a native thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self.file: int | None = None
        """The locked file, which a program may write its results into; None while there is only the name."""
        self._name: _socket.socket | None = None

    @property
    def held(self) -> bool:
        return self.file is not None or self._name is not None

    def take(self) -> bool:
        """Take the lock, or keep it; whether this process has it."""
        if self.file is not None and not self._is(self.file):
            self.release()
        if self.file is None:
            try:
                self.file = self._locked()
            except BlockingIOError:
                self.release()  # somebody has the file: the name was for the time without it
                return False
            except OSError:
                return self._named()
            self._named()
        return True

    def _locked(self) -> int:
        """The file, locked. Raises ``BlockingIOError`` if another worker has it, ``OSError`` if the disk lets nobody have it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is(file):  # removed between the two steps, and perhaps made anew by another one
                raise BlockingIOError
        except OSError:
            os.close(file)
            raise
        return file

    def _is(self, file: int) -> bool:
        """Whether it is still the one with that name."""
        try:
            return os.stat(self._path).st_ino == os.fstat(file).st_ino
        except FileNotFoundError:
            return False
        except OSError:
            return True  # the disk does not tell; whoever asks it now cannot open the file either

    def _named(self) -> bool:
        if self._name is None:
            own = f"{os.getuid()}:{self._path.absolute()}".encode()
            name = b"\0prodfix-alerts-" + hashlib.blake2b(own, digest_size=16).hexdigest().encode()
            taken = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
            try:
                taken.bind(name)
            except OSError:  # another worker has it; or this system has no such names
                taken.close()
                return False
            self._name = taken
        return True

    def results(self) -> bytes:
        """What the last program wrote. Raises ``OSError``."""
        return os.pread(self.file, os.fstat(self.file).st_size, 0) if self.file is not None else b""

    def release(self) -> None:
        if self.file is not None:
            os.close(self.file)
        if self._name is not None:
            self._name.close()
        self.file = self._name = None
