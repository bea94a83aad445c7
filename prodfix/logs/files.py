"""Log files that any number of processes append to, whole lines only, rotated by size and by day of UTC."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prodfix.logs.outlets import PartlyWritten
from prodfix.process.per_process import in_each_process

FILES = ("error", "database", "validation", "auth")


class Room:
    """Room on the disk of ``folder``, ``size`` bytes or a tenth of that disk, which logs on the same one leave to others."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size

    def spare(self, descriptor: int) -> None:
        """Raises ``OSError`` if what is left on the disk of this open file is no longer for logs. Takes some microseconds."""
        try:
            here = os.stat(self._folder).st_dev == os.fstat(descriptor).st_dev
        except FileNotFoundError:
            return  # nobody has kept anything there yet
        disk = os.fstatvfs(descriptor)
        if here and disk.f_bavail * disk.f_frsize < min(self._size, disk.f_blocks * disk.f_frsize // 10):
            raise OSError(errno.ENOSPC, "what is left of the disk is kept for the journals")


class RotatingFile:
    """One file, mode 0600; rotated by size and, if ``daily``, by UTC day of ``clock`` (seconds since 1970).

    Each write holds an flock on a sibling ``.lock`` file; a process notices by the inode that another one has rotated.
    Rotating without such a lock loses lines as soon as two workers write (Delgan/loguru#929).
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        keep: int,
        daily: bool,
        room: Room | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._room = room
        self.name = path.name
        self.path, self.max_bytes, self.keep, self.daily, self.clock = path, max_bytes, keep, daily, clock
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._descriptor: int | None = None  # a parent's is left alone

    def write(self, data: bytes) -> None:
        """Append whole lines. Raises ``OSError``; of a ``PartlyWritten`` the lines up to ``written`` are in the file."""
        lock = self._open(self.path.with_suffix(self.path.suffix + ".lock"), os.O_WRONLY)
        done = 0
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._room is not None:
                self._room.spare(lock)
            while done < len(data):
                done += self._append(data, done)
        except OSError as error:
            raise PartlyWritten(error, done) from error
        finally:
            # Not by closing alone: a process forked in this moment has the lock's descriptor too, and keeps it for ever.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    def close(self) -> None:
        """Let go of it; the next line opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _append(self, data: bytes, start: int) -> int:
        """Write the lines from ``start`` that still fit into the file (one in any case); how many bytes that were."""
        end = data.find(b"\n", start) + 1 or len(data)
        descriptor = self._current(end - start)
        size = os.fstat(descriptor).st_size
        end = max(end, data.rfind(b"\n", start, start + max(0, self.max_bytes - size)) + 1)
        written = start
        try:
            while written < end:
                written += os.write(descriptor, memoryview(data)[written:end])
        except OSError as error:
            whole = max(start, data.rfind(b"\n", start, written) + 1)
            os.ftruncate(descriptor, size + whole - start)  # a disk that is full leaves no half of a line
            raise PartlyWritten(error, whole) from error
        if self.daily:
            # The file's day is that of our clock: the kernel's lags by milliseconds, that of a network disk by any time.
            now = self.clock()
            os.utime(descriptor, (now, now))
        return end - start

    def _current(self, coming: int) -> int:
        if self._descriptor is None or not self._same_file(self._descriptor):
            self._reopen()
        assert self._descriptor is not None
        state = os.fstat(self._descriptor)
        stale = self.daily and _day(state.st_mtime) < _day(self.clock())
        if state.st_size and (stale or state.st_size + coming > self.max_bytes):
            self._rotate()
        return self._descriptor

    def _same_file(self, descriptor: int) -> bool:
        try:
            return os.stat(self.path).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self._descriptor = self._open(self.path, os.O_WRONLY | os.O_APPEND)

    def _open(self, path: Path, flags: int) -> int:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # nobody has logged yet, or somebody has removed the folder
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        os.rename(self.path, self.path.with_name(f"{self.path.stem}.{time.time_ns()}{self.path.suffix}"))
        self._reopen()
        old = sorted(self.path.parent.glob(f"{self.path.stem}.[0-9]*{self.path.suffix}"))
        for path in old[: max(0, len(old) - self.keep + 1)]:
            path.unlink(missing_ok=True)


def _day(seconds: float) -> int:
    return datetime.fromtimestamp(seconds, UTC).toordinal()


def category_files(
    folder: Path, *, max_bytes: int, keep: int, daily: bool, room: Room | None = None
) -> list[RotatingFile]:
    """``error.log``, ``database.log``, ``validation.log`` and ``auth.log`` in ``folder``."""
    return [
        RotatingFile(folder / f"{name}.log", max_bytes=max_bytes, keep=keep, daily=daily, room=room) for name in FILES
    ]
