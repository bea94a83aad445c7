"""One sink behind a bounded queue and a native thread of its own: whatever it does, nobody waits for it.

Not one thread for all sinks: a pipe that nobody reads would stop the files with it, and nothing would be seen to fail.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from prodfix.process.native import allocate_lock, original_queue, start_thread
from prodfix.process.per_process import in_each_process

LONGEST_QUEUE = 10_000  # lines
LARGEST_QUEUE = 8 * 2**20  # bytes
LONGEST_BATCH = 256  # lines that are written in one go, if so many wait
LARGEST_BATCH = 256 * 2**10  # bytes, and one line more
GATHERING = 0.01  # seconds that a line may wait for others
LONGEST_WRITE = 5.0  # seconds; what takes longer is shown as failing, though it may still come to an end
_END = object()  # in a queue: nothing follows
QUIET = 10.0  # seconds between two tellings that a sink fails, which may come and go with each line


class PartlyWritten(OSError):
    """A sink took only the first ``written`` bytes, which are whole lines."""

    def __init__(self, error: OSError, written: int) -> None:
        super().__init__(error.errno, error.strerror)
        self.written: int = error.written if isinstance(error, PartlyWritten) else written


class Sink(Protocol):
    """Something that takes whole lines, one or many. ``write`` runs in a native thread.

    It raises ``OSError`` if it took none, and :class:`PartlyWritten` if it took some. One that keeps something open has ``close``
    too, which is called when nobody writes for now.
    """

    name: str

    def write(self, data: bytes) -> None: ...


class Outlet:
    """The way to one sink. The thread is started by the first line, in each process that has one.

    ``on_change(sink, reason, missing)`` is told that the sink fails, with the reason; and that it works again, with
    ``None`` and how many lines it did not get: then it returns the line that tells so in the sink itself. It is called by
    whichever thread finds out, and must not wait.
    """

    def __init__(self, sink: Sink, on_change: Callable[[Sink, str | None, int], bytes] | None = None) -> None:
        self.sink = sink
        self._on_change = on_change or (lambda sink, reason, missing: b"")
        in_each_process(self._begin)

    def _begin(self) -> None:
        """From nothing: what a parent process was in the middle of is not ours."""
        self.running = False
        """Whether this process (not one that it was forked from) has put a line."""
        self.dropped = 0  # lines that a full queue did not take
        self.lost = 0  # lines that the sink did not take
        self._told = 0  # of both
        self._failure: str | None = None
        self._telling = False  # that it fails has been told, and not yet that it works again
        self._quiet_until = 0.0
        self._begun: float | None = None  # when the write that is running began
        self._writing = 0  # lines of that write
        self._put = self._taken = 0  # bytes; each is changed by a step that no other Python thread can interrupt
        self._marks: list[Any] = []
        self._starting = allocate_lock()
        self._unhurried = allocate_lock()  # released by whoever cannot wait for more lines
        self._unhurried.acquire()

    @property
    def failing(self) -> str | None:
        begun = self._begun if self.running else None
        return "stalled" if begun is not None and time.monotonic() - begun > LONGEST_WRITE else self._failure

    @property
    def waiting(self) -> int:
        """How many lines are put and not yet written; after a flush in vain, what it could not write."""
        return max(0, self._queue.qsize() - len(self._marks)) + self._writing if self.running else 0

    @property
    def untold(self) -> int:
        """How many lines are missing in the sink of which nothing was told yet."""
        return self.lost + self.dropped - self._told

    def put(self, line: bytes, *, urgent: bool = False) -> bool:
        """Queue one line, and never wait; whether there was room for it. It is written within milliseconds, together with others;
        one that is ``urgent``, with all before it, at once."""
        if not self.running:
            self._start()
        size, lines = len(line), self._queue.qsize()
        if lines >= LONGEST_QUEUE or self._put - self._taken + size > LARGEST_QUEUE:
            self.dropped += 1
            self._tell_failing("its queue is full")
            return False
        self._put += size
        self._queue.put(line)
        if urgent or lines >= LONGEST_BATCH or self._put - self._taken >= LARGEST_BATCH:
            self._hurry()
        return True

    def mark(self) -> Any:
        """A lock that is released as soon as everything that was put before is written."""
        mark = allocate_lock()
        mark.acquire()
        self._marks.append(mark)
        self._queue.put(mark)
        self._hurry()
        return mark

    def end(self) -> None:
        """End the thread, once everything is written; one that hangs is left alone. Another line starts another one."""
        with self._starting:
            if self.running and not self.waiting:
                self.running = False
                self._queue.put(_END)
                self._hurry()

    def _hurry(self) -> None:
        if self._unhurried.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._unhurried.release()

    def _start(self) -> None:
        with self._starting:
            if not self.running:
                self._queue = original_queue()
                start_thread(self._write_for_ever)
                self.running = True

    def _write_for_ever(self) -> None:
        queue = self._queue
        while True:
            lines, mark = self._take(queue)
            if lines:
                self._write(b"".join(lines), len(lines))
            if mark is _END:
                with contextlib.suppress(OSError):
                    getattr(self.sink, "close", lambda: None)()
                return
            if mark is not None:
                self._marks.remove(mark)
                mark.release()

    def _take(self, queue: Any) -> tuple[list[bytes], Any]:
        """All lines that wait, up to a batch, and the mark behind them, if that came first. Waits for one of both, and then a
        moment for more: one wake-up, one lock and one write cost as much for one line as for a hundred."""
        item = queue.get()
        self._unhurried.acquire(True, GATHERING)
        lines: list[bytes] = []
        size = 0
        while isinstance(item, bytes):
            lines.append(item)
            self._writing = len(lines)
            size += len(item)
            if len(lines) >= LONGEST_BATCH or size >= LARGEST_BATCH or not queue.qsize():
                return lines, None
            item = queue.get()
        return lines, item

    def _write(self, data: bytes, lines: int) -> None:
        self._try(data, lines)
        self._taken += len(data)
        if self._failure:
            self._tell_failing(self._failure)
        elif self._telling or (self.untold and time.monotonic() >= self._quiet_until):
            self._tell_working()

    def _try(self, data: bytes, lines: int) -> None:
        self._begun = time.monotonic()
        try:
            self.sink.write(data)
            self._failure = None
        except Exception as error:  # noqa: BLE001 - without this thread nothing reaches the sink any more
            number = error.errno if isinstance(error, OSError) else None
            self._failure = os.strerror(number) if number else type(error).__name__
            written = data.count(b"\n", 0, error.written) if isinstance(error, PartlyWritten) else 0
            self.lost += max(0, lines - written)
        self._begun, self._writing = None, 0

    def _tell_failing(self, reason: str) -> None:
        if not self._telling and (now := time.monotonic()) >= self._quiet_until:
            self._telling, self._quiet_until = True, now + QUIET
            self._on_change(self.sink, reason, 0)

    def _tell_working(self) -> None:
        missing, self._telling = self.untold, False
        # Not through the queue, which may be full.
        if line := self._on_change(self.sink, None, missing):
            self._try(line, 0)  # a telling that fails is not one of the lines that were put
        if not self._failure:
            self._told += missing
