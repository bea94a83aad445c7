"""The file in which the workers of one instance have a place each, and see the others'.

``STATE_DIR/journal/presence``: a head, and places of a fixed size, each with a checksum and written by its owner alone. So
nobody waits for anybody: one that is stopped or killed at any moment leaves a place that gets old, and a place that is read
while it is written is left out until the next look. The head names the machine's boot: after another one nothing of it counts.

It is read and written with plain ``pread`` and ``pwrite``, in a native thread. A mapping would save the thread, and a file
that somebody cuts off, or a disk without room for its first write, would then be a SIGBUS that ends the worker (mmap(2)).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from prodfix.instance.heartbeat import SIZE, Heartbeat, decode, encode
from prodfix.process.native import Pool, Task
from prodfix.process.per_process import in_each_process

FILE = "presence"
HEAD = 64  # bytes
FORMAT = b"prodfix presence 1\n"
MOST = 1024  # places
GONE = 3.0  # seconds after which nobody waits for a worker any more: each tells of itself once a second
SILENT = 10.0  # seconds after which it is none any more: one that computes for long is told as it was
FREE = 60.0  # seconds after which a place is given to another one
LIMIT = 0.25  # seconds for one look: whoever waits longer for the disk goes on without the others
SPARE = 8  # places that are free at least, as long as there are less than MOST
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Presence:
    """This process's place in the file of ``folder``, and the last look at all of them. Opens nothing when it is made.

    ``watched``: a folder whose time of change is looked at together with the others.
    """

    def __init__(
        self, folder: Path, *, watched: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder, self._watched, self._clock = folder, watched, clock
        in_each_process(self._begin)

    def _begin(self) -> None:
        # A parent's descriptor is the parent's, and is left to it.
        self._places = Places(self.folder / FILE, watched=self._watched)
        self._disk: Pool | None = None
        self._begun: Task[list[Heartbeat]] | None = None
        self._own: Heartbeat | None = None
        self._others: list[Heartbeat] = []
        self.failure: str | None = "not opened"
        """Why the workers do not see each other, without any path; None while they do."""

    @property
    def opened(self) -> bool:
        return self._disk is not None

    def open(self) -> None:
        """Begin, in the process that uses it."""
        self._disk = self._disk or Pool(1)

    def close(self) -> None:
        """Leave: the others see at once that this worker is no more. Waits no longer than for two looks."""
        disk, self._disk, self.failure = self._disk, None, "not opened"
        self._own, self._others = None, []
        if disk is not None and self._free(LIMIT) and disk.submit(self._places.leave).ended(LIMIT):
            disk.close()

    @property
    def changed(self) -> int | None:
        """When the watched folder had changed last, as of the last look, in its file system's nanoseconds: 0 if there is none,
        None while nobody can say."""
        return self._places.changed if self.failure is None else None

    def exchange(self, own: Heartbeat) -> list[Heartbeat]:
        """Tell of this worker, and see the others that live. Never raises, and takes :data:`LIMIT` seconds at most; while the
        disk fails nobody is seen, and ``failure`` says why."""
        if self._disk is None:
            return []
        try:
            if not self._free(LIMIT if self.failure is None else 0.0):
                raise TimeoutError
            self._begun = task = self._disk.submit(self._places.exchange, own)
            found = task.wait(LIMIT)
        except OSError as error:  # a TimeoutError is one
            self.failure, self._own, self._others = _told(error), None, []
            return []
        self.failure, self._own = None, own
        self._others = [one for one in found if one.owner != own.owner]
        return self.others()

    def _free(self, limit: float) -> bool:
        """Whether the thread is done with what nobody has waited for to the end."""
        return self._begun is None or self._begun.ended(limit)

    def others(self) -> list[Heartbeat]:
        """Those that were at work at the last look, and may be so still. Costs nothing."""
        return self._since(GONE, self._others)

    def read(self) -> list[Heartbeat]:
        """All that live, this one too: as of the last look where this process is a worker, else as the file has it now. Never
        raises."""
        if self._disk is not None:
            return self._since(SILENT, [*self._others, *([self._own] if self._own is not None else [])])
        try:
            found = self._places.read()
        except OSError:
            return []
        return self._since(SILENT, found)

    def _since(self, seconds: float, beats: Sequence[Heartbeat]) -> list[Heartbeat]:
        now = self._clock()
        return [one for one in beats if -seconds < now - one.at < seconds]


class Places:
    """The file. Its methods wait for the disk: call them in a native thread. All of them raise ``OSError``."""

    def __init__(self, path: Path, *, watched: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._watched, self._clock = path, watched, clock
        self.changed = 0
        self._file: int | None = None
        self._place: int | None = None

    def exchange(self, own: Heartbeat) -> list[Heartbeat]:
        """Write ``own`` into its place, which is found if it has none; all that stand in the file."""
        file = self._opened()
        places = _places(file)
        if self._place is None or not self._is(places, self._place, own.owner):
            self._place = self._chosen(places)
        if self._place is not None:
            os.pwrite(file, encode(own), HEAD + self._place * SIZE)
        if self._watched is not None:
            try:
                self.changed = os.stat(self._watched).st_mtime_ns
            except FileNotFoundError:
                self.changed = 0
        return [one for one in places if one is not None]

    def read(self) -> list[Heartbeat]:
        """What stands there, if anybody has written it since the machine was started."""
        if self._file is not None:
            return [one for one in _places(self._file) if one is not None]
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            return [one for one in _places(file) if one is not None] if os.pread(file, HEAD, 0) == _head() else []
        finally:
            os.close(file)

    def leave(self) -> None:
        """Free the place."""
        file, place, self._file, self._place = self._file, self._place, None, None
        if file is not None:
            try:
                if place is not None:
                    os.pwrite(file, bytes(SIZE), HEAD + place * SIZE)
            finally:
                os.close(file)

    def _opened(self) -> int:
        if self._file is not None and not self._still_there(self._file):
            os.close(self._file)
            self._file = self._place = None
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.pread(self._file, HEAD, 0) != _head():
            # Of another boot, of nobody yet, or damaged. Who has written meanwhile does so again within a second.
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _head(), 0)
        return self._file

    def _still_there(self, file: int) -> bool:
        try:
            return os.stat(self._path).st_ino == os.fstat(file).st_ino
        except FileNotFoundError:
            return False

    @staticmethod
    def _is(places: Sequence[Heartbeat | None], place: int, owner: str) -> bool:
        """Whether it is this one's still: who was stopped for long may have lost it."""
        found = places[place] if place < len(places) else None
        return found is not None and found.owner == owner

    def _chosen(self, places: Sequence[Heartbeat | None]) -> int | None:
        """One of those that are free, or that nobody has used for long; None if there is none.

        Without a lock, which one that is stopped would keep: two may choose the same, and the one that finds the other in it
        chooses again a second later.
        """
        now = self._clock()
        taken = {place for place, one in enumerate(places) if one is not None and -FREE < now - one.at < FREE}
        room = range(min(MOST, 2 * len(taken) + SPARE))
        return random.choice([place for place in room if place not in taken] or [None])


def _places(file: int) -> list[Heartbeat | None]:
    content = os.pread(file, MOST * SIZE, HEAD)
    return [decode(content[start : start + SIZE]) for start in range(0, len(content), SIZE)]


@cache
def _head() -> bytes:
    try:
        boot = BOOT_ID.read_bytes().strip()
    except OSError:  # no Linux: there only the moments tell
        boot = b"?"
    return (FORMAT + boot[: HEAD - len(FORMAT)]).ljust(HEAD, b"\0")


def _told(error: OSError) -> str:
    """The type and the operating system's number only: the text may hold a path."""
    return f"{type(error).__name__} {error.errno}" if error.errno else type(error).__name__
