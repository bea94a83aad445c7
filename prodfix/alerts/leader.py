"""Which worker of the instance leads: the one that has the lock, for as long as it lives.

The kernel gives a lock free when its holder is gone: no lease that a clock could make too long or too short. The stdout of the
program that delivers is the lock's own open file, so it holds the lock too, and writes its results there: whoever has the lock
after a kill knows what was delivered before.

A disk that fails must not silence the alert about it. Who cannot lock the file takes a name of the kernel's own instead
(an abstract socket, unix(7)); who has the file takes that name too, if it can.
"""

from __future__ import annotations

import _socket  # the bare one: gevent's would bring a hub into the native thread that runs this
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prodfix.alerts import leader_state
from prodfix.alerts.leader_state import LOCK, LeaderState
from prodfix.alerts.mutes import Mute, MuteMap, Mutes
from prodfix.process.native import Pool, Task
from prodfix.process.per_process import in_each_process

DISK_LIMIT = 2.0  # seconds for each access to the disk
READING_TRIES = 5  # looks in which the disk may fail to tell what was before, until the leader begins from nothing

Answer = TypeVar("Answer")


class Leader:
    """This worker, as the one that leads while it does. It waits for the disk in one native thread, one access after another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutes = Mutes(folder)
        self._muted: MuteMap = {}
        self.lock = LeaderLock(folder)
        self.state: LeaderState | None = None
        """What the leader knows; None in who does not lead, or does not know yet what was before."""
        self.failure: str | None = None
        """Why the disk did not take or tell it; None while it does."""
        self._pid = 0

    def begin(self) -> bool:
        """What belongs to one process is made in the process that uses it; whether it was made now."""
        if self._pid == os.getpid():
            return False
        self.lock.release()  # a parent's: its lock stays its own
        self.state, self._unread = None, 0
        self._disk = Pool(1)
        self._accessing: Task[Any] | None = None
        self._pid = os.getpid()
        return True

    def lead(self) -> ValueError | None:
        """Lead if nobody else does, and know what was before; why that is not known, if it is damaged."""
        try:
            leads = self._on_disk(self.lock.take)
        except TimeoutError:
            leads = self.lock.held  # the disk hangs: a lock that is held stays held
        if not leads:
            self.state, self._unread = None, 0
        elif self.state is None:
            try:
                self.state = self._read()
            except ValueError as error:
                self.state = LeaderState()
                return error
        return None

    def _read(self) -> LeaderState | None:
        """What was before; None if the disk does not tell, and may yet. Raises ``ValueError`` if it is damaged."""
        try:
            return self._on_disk(leader_state.read, self._folder)
        except FileNotFoundError:
            return LeaderState()  # nobody has led here
        except OSError as error:
            self.failure = type(error).__name__
            self._unread += 1
            return LeaderState() if self._unread >= READING_TRIES else None

    def save(self, now: float) -> None:
        """Never raises: what the disk does not take comes again with the next change, and is an alert of its own."""
        if self.state is not None:
            self.state.prune(now)
            try:
                self._on_disk(leader_state.write, self._folder, leader_state.encode(self.state))
                self.failure = None
            except OSError as error:
                self.failure = type(error).__name__

    def mutes(self, heard: Sequence[Mute] = ()) -> MuteMap:
        """What is muted, with what was ``heard`` of other instances; as it was last known while the disk does not tell."""
        with contextlib.suppress(OSError):
            self._muted = self._on_disk(self._mutes.merge, heard) if heard else self._on_disk(self._mutes.read)
        return self._muted

    def results(self) -> bytes:
        """What the last program wrote; nothing if the disk does not tell."""
        try:
            return self._on_disk(self.lock.results)
        except OSError:
            return b""

    def stand_down(self) -> None:
        """Let another worker lead."""
        if self._pid == os.getpid():
            self.state = None
            with contextlib.suppress(
                TimeoutError
            ):  # while the disk hangs, only the end of the process lets go of the lock
                self._on_disk(self.lock.release)

    def close(self) -> None:
        """Let another worker lead, and end what has touched the disk, unless it hangs. It begins anew when it is asked to."""
        if self._pid == os.getpid():
            self.stand_down()
            if self._accessing is None or self._accessing.ended(0):
                self._disk.close()
                self._pid = 0

    def _on_disk(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """Raises what ``work`` raises, and ``TimeoutError``: it, or what was begun before, goes on."""
        if self._accessing is not None and not self._accessing.ended(DISK_LIMIT):
            raise TimeoutError
        self._accessing = task = self._disk.submit(work, *arguments)
        return task.wait(DISK_LIMIT)


class LeaderLock:
    """Of all workers that have ``folder`` one holds this. All methods may wait for the disk: call them in a native thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self.file: int | None = None
        """The locked file, which a program may write its results into; None while there is only the name."""
        self._name: _socket.socket | None = None
        in_each_process(self.release)  # who is forked would keep it for as long as it lives, asked for alerts or not

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
