"""The records that wait for one reporter in this process, and the turns in which it is told of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from prodfix.process.per_process import in_each_process
from prodfix.records.records import ErrorRecord
from prodfix.reporters.reporter import ErrorReporter, ReporterFailed, ReporterStatus, StandsBack

MOST = 100  # records that wait
BATCH = 20  # of one turn
TRIES = 3
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0  # seconds after a failure; each is twice the one before


class ReportQueue:
    """``make`` makes the reporter when there is something to tell: its library is loaded then, in the process that serves.

    :meth:`put` is called by requests, :meth:`work` by one loop of this process.
    """

    def __init__(
        self, name: str, make: Callable[[], ErrorReporter], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self._make, self._clock = name, make, clock
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._waiting: deque[tuple[ErrorRecord, int]] = deque()
        self._reporter: ErrorReporter | None = None
        self._sent = self._failed = self._dropped = 0
        self._failing: str | None = None
        self._note: str | None = None
        self._pause, self._until = FIRST_PAUSE, 0.0

    def put(self, record: ErrorRecord) -> None:
        """Never waits; what finds no room is counted."""
        if self._note is not None:
            return
        if len(self._waiting) >= MOST:
            self._dropped += 1
        else:
            self._waiting.append((record, 1))

    def work(self) -> None:
        """Tell of some of what waits. Raises :class:`ReporterFailed` as long as that fails: after a failure it pauses."""
        if self._failing is not None and (self._clock() < self._until or not self._waiting):
            raise ReporterFailed(self._failing)
        for _ in range(BATCH):
            if not self._next():
                return

    def _next(self) -> bool:
        try:
            record, tries = self._waiting.popleft()
        except IndexError:
            return False
        try:
            if self._reporter is None:
                self._reporter = self._make()
            self._reporter.report(record)
        except StandsBack as reason:
            self._note = str(reason)
            self._waiting.clear()
            return False
        except Exception as error:  # noqa: BLE001 - somebody's reporter, of which nothing is known
            self._give_back(record, tries)
            self._fail(error)
        self._sent += 1
        self._failing, self._pause = None, FIRST_PAUSE
        return True

    def _give_back(self, record: ErrorRecord, tries: int) -> None:
        if tries >= TRIES:
            self._failed += 1
        elif len(self._waiting) >= MOST:
            self._dropped += 1
        else:
            self._waiting.appendleft((record, tries + 1))

    def _fail(self, error: Exception) -> None:
        self._failing = str(error)[:100] if isinstance(error, ReporterFailed) else type(error).__name__[:100]
        self._until = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        raise ReporterFailed(self._failing) from None

    def close(self, limit: float) -> None:
        """Tell of the rest, for ``limit`` seconds at most; what is left is counted as waiting. Nothing is put any more."""
        if self._reporter is None and not self._waiting:
            return
        # In a thread of its own, as nobody knows how long a reporter takes.
        last = threading.Thread(target=self._end, args=(limit,), name=f"prodfix-{self.name}-end", daemon=True)
        last.start()
        last.join(limit)

    def _end(self, limit: float) -> None:
        end = self._clock() + limit
        self._until = 0.0
        try:
            while self._waiting and self._clock() < end:
                self.work()
            close = getattr(self._reporter, "close", None)
            if close is not None:
                close(max(0.1, end - self._clock()))
        except Exception as error:  # noqa: BLE001 - the worker ends, and is told of by its counts
            self._failing = self._failing or type(error).__name__[:100]

    def status(self) -> ReporterStatus:
        return ReporterStatus(
            self.name,
            self._failing,
            self._note,
            sent=self._sent,
            failed=self._failed,
            dropped=self._dropped,
            waiting=len(self._waiting),
        )
