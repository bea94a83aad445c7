"""One sink behind a bounded queue and a native thread of its own: whatever it does, nobody waits for it.

Not one thread for all sinks: a pipe that nobody reads would stop the files with it, and nothing would be seen to fail.
"""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

from prodfix.native import allocate_lock, original_queue, start_thread

LONGEST_QUEUE = 10_000  # lines
LONGEST_WRITE = 5.0  # seconds; what takes longer is shown as failing, though it may still come to an end


class Sink(Protocol):
    """Something that takes whole lines. ``write`` runs in a native thread and raises ``OSError`` when it cannot."""

    name: str

    def write(self, data: bytes) -> None: ...


class Outlet:
    """The way to one sink. The thread is started by the first line, in each process that has one."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.dropped = 0  # what a full queue did not take
        self.lost = 0  # what the sink did not take
        self._failure: str | None = None
        self._begun: float | None = None  # when the write that is running began
        self._marks: list[Any] = []
        self._pid = 0
        self._starting = allocate_lock()

    @property
    def running(self) -> bool:
        """Whether this process (not one that it was forked from) has put a line."""
        return self._pid == os.getpid()

    @property
    def failing(self) -> str | None:
        begun = self._begun if self.running else None
        return "stalled" if begun is not None and time.monotonic() - begun > LONGEST_WRITE else self._failure

    @property
    def waiting(self) -> int:
        """How many lines are put and not yet written; after a flush in vain, what it could not write."""
        return max(0, self._queue.qsize() - len(self._marks)) + (self._begun is not None) if self.running else 0

    def put(self, line: bytes) -> bool:
        """Queue one line, and never wait; whether there was room for it."""
        if not self.running:
            self._start()
        if self._queue.qsize() >= LONGEST_QUEUE:
            self.dropped += 1
            return False
        self._queue.put(line)
        return True

    def mark(self) -> Any:
        """A lock that is released as soon as everything that was put before is written."""
        mark = allocate_lock()
        mark.acquire()
        self._marks.append(mark)
        self._queue.put(mark)
        return mark

    def _start(self) -> None:
        with self._starting:
            if not self.running:
                self._queue = original_queue()
                # What a parent process was in the middle of is not ours.
                self._failure, self._begun, self._marks = None, None, []
                start_thread(self._write_for_ever)
                self._pid = os.getpid()

    def _write_for_ever(self) -> None:
        while True:
            line = self._queue.get()
            if isinstance(line, bytes):
                self._write(line)
            else:
                self._marks.remove(line)
                line.release()

    def _write(self, line: bytes) -> None:
        self._begun = time.monotonic()
        try:
            self.sink.write(line)
            self._failure = None
        except Exception as error:  # noqa: BLE001 - without this thread nothing reaches the sink any more
            number = error.errno if isinstance(error, OSError) else None
            self._failure = os.strerror(number) if number else type(error).__name__
            self.lost += 1
        finally:
            self._begun = None
