"""Which worker of the instance sends: the one that has the lock, for as long as it lives.

The kernel gives a lock free when its holder is gone: no lease that a clock could make too long or too short. A courier's stdout
is the lock's own open file, so it holds the lock too, and writes its results there: whoever has the lock after a kill knows
what was delivered before.

A disk that fails must not silence the alert about it. Who cannot open the file takes a name of the kernel's own instead
(an abstract socket, unix(7)); who has the file takes that name too, if it can.
"""

from __future__ import annotations

import _socket  # the bare one: gevent's would bring a hub into the native thread that runs this
import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

NAME = "alerts.sender"


class SenderLock:
    """Held by one worker of all that have ``folder``. All methods may wait for the disk: call them in a native thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: int | None = None
        self._writable = False
        self._name: _socket.socket | None = None

    @property
    def held(self) -> bool:
        return self._file is not None or self._name is not None

    @property
    def descriptor(self) -> int | None:
        """The file that a courier may write into; None while there is only the name."""
        return self._file if self._writable else None

    def take(self) -> bool:
        """Take the lock, or keep it; whether this process has it."""
        if self._file is not None:
            if self._still_there():
                return True
            self.release()
        opened = self._open()
        if opened is None:
            return self._name is not None or self._take_name()
        descriptor, writable = opened
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                self.release()  # somebody has the file: the name was for the time without it
                return False
            return self._name is not None or self._take_name()
        self._file, self._writable = descriptor, writable
        if not self._still_there():  # removed between the two steps, and perhaps made anew by another one
            self.release()
            return False
        if self._name is None:
            self._take_name()
        return True

    def _open(self) -> tuple[int, bool] | None:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            return os.open(self._path, flags, 0o600), True
        with contextlib.suppress(OSError):  # a disk that can only be read
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), False
        return None

    def _still_there(self) -> bool:
        if self._file is None:
            return False
        try:
            return os.stat(self._path).st_ino == os.fstat(self._file).st_ino
        except FileNotFoundError:
            return False
        except OSError:
            return True  # the disk does not tell; whoever asks it now cannot open the file either

    def _take_name(self) -> bool:
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
        """What the last courier wrote. Raises ``OSError``."""
        if self._file is None:
            return b""
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def clear(self) -> None:
        """Forget it. Raises ``OSError``."""
        if self.descriptor is not None and os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, 0)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
        if self._name is not None:
            self._name.close()
        self._file, self._name, self._writable = None, None, False
