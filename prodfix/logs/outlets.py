"""One sink behind a bounded queue and a native thread of its own: whatever it does, nobody waits for it.

Not one thread for all sinks: a pipe that nobody reads would stop the files with it, and nothing would be seen to fail.

A sink that can write without ever waiting (:class:`prodfix.logs.sinks.Console` on a pipe) has its lines from the hub's own
thread as long as it takes them. A native thread costs a request more than the line itself: each time that it wants the
interpreter's lock, the thread that serves wakes it in vain at every system call.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from prodfix.process.native import Alarm, allocate_lock, original_queue, start_thread
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

    One that can write without waiting at all says so by ``quick``, and has ``write_at_once``, as
    :class:`prodfix.logs.sinks.Console` has.
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
        self._put = self._taken = 0  # bytes; each is changed by a step that no other Python thread can interrupt
        self._handed = self._done = 0  # lines to the thread, and which of them it has tried to write; as the bytes
        self._starting = allocate_lock()
        self._unhurried = allocate_lock()  # released by whoever cannot wait for more lines
        self._unhurried.acquire()
        self._gathered: list[bytes] = []  # of the hub's thread, for the sink itself
        self._size = 0  # bytes of these
        self._alarm = Alarm(self._settle)
        self._settled = -math.inf  # when they were last written

    @property
    def failing(self) -> str | None:
        begun = self._begun if self.running else None
        return "stalled" if begun is not None and time.monotonic() - begun > LONGEST_WRITE else self._failure

    @property
    def waiting(self) -> int:
        """How many lines are put and not yet written; after a flush in vain, what it could not write."""
        # Not by the length of the queue: between that and the write a line is in neither.
        return self._handed - self._done + len(self._gathered)

    @property
    def untold(self) -> int:
        """How many lines are missing in the sink of which nothing was told yet."""
        return self.lost + self.dropped - self._told

    def put(self, line: bytes, *, urgent: bool = False, alone: bool = False) -> bool:
        """Queue one line, and never wait; whether there was room for it. It is written within milliseconds, together with others;
        one that is ``urgent``, with all before it, at once. So is one that is ``alone``, where that costs no other thread.

        While the hub is blocked, what it has gathered for a quick sink waits with it: at most what 10 ms have brought.
        """
        if self._quick():
            self._gather(line, urgent or alone)
            return True
        if self._gathered and self._alarm.here():
            self._settle()
        size, lines = len(line), self._queue.qsize() if self.running else 0
        if lines >= LONGEST_QUEUE or self._put - self._taken + size > LARGEST_QUEUE:
            self.dropped += 1
            self._tell_failing("its queue is full")
            return False
        self._hand_over(line, urgent)
        return True

    def _quick(self) -> bool:
        """Whether the sink may have it from this thread: it is the hub's, and nothing is before it in the queue."""
        return (
            getattr(self.sink, "quick", False)
            and self._put == self._taken
            and self._failure is None
            and not self._telling
            and not self.untold
            and self._alarm.here()
        )

    def _gather(self, line: bytes, at_once: bool) -> None:
        self._gathered.append(line)
        self._size += len(line)
        if at_once or len(self._gathered) >= LONGEST_BATCH or self._size >= LARGEST_BATCH:
            self._settle()
        elif len(self._gathered) == 1:
            # The first one after a pause does not wait: it may be the last that a process says.
            rest = self._settled + GATHERING - time.monotonic()
            if rest <= 0:
                self._settle()
            else:
                self._alarm.set(rest)

    def _settle(self) -> None:
        """Write what was gathered; what the sink does not take at once is the thread's."""
        lines, self._gathered, self._size = self._gathered, [], 0
        if not lines:
            return
        self._settled = time.monotonic()
        sink: Any = self.sink
        quick = self._put == self._taken and self._failure is None and getattr(sink, "quick", False)
        for line in lines[sink.write_at_once(lines) if quick else 0 :]:
            self._hand_over(line, urgent=True)

    def _hand_over(self, line: bytes, urgent: bool) -> None:
        """To the thread."""
        if not self.running:
            self._start()
        self._put += len(line)
        self._handed += 1
        self._queue.put(line)
        if urgent or self._queue.qsize() > LONGEST_BATCH or self._put - self._taken >= LARGEST_BATCH:
            self._hurry()

    def mark(self) -> Any:
        """A lock that is released as soon as everything that was put before is written."""
        if self._alarm.here():
            self._settle()
        mark = allocate_lock()
        if not self.running:
            return mark  # nothing was put, or all of it is written
        mark.acquire()
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
        """Write what waits, and then let others gather for a moment: one wake-up and one write cost as much for one line as
        for a hundred."""
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
                mark.release()
            self._unhurried.acquire(True, GATHERING)

    def _take(self, queue: Any) -> tuple[list[bytes], Any]:
        """All lines that wait, up to a batch, and the mark behind them, if that came first. Waits for one of both."""
        item = queue.get()
        lines: list[bytes] = []
        size = 0
        while isinstance(item, bytes):
            lines.append(item)
            size += len(item)
            if len(lines) >= LONGEST_BATCH or size >= LARGEST_BATCH or not queue.qsize():
                return lines, None
            item = queue.get()
        return lines, item

    def _write(self, data: bytes, lines: int) -> None:
        self._try(data, lines)
        self._taken += len(data)
        self._done += lines
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
        self._begun = None

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
