"""Counts over the last seconds, in a fixed number of buckets."""

from __future__ import annotations

import time
from collections.abc import Callable

BUCKETS = 10


class SlidingCounts:
    """Two counts over the last ``seconds``, forgotten a tenth at a time.

    No lock: of two threads that count at the same moment one may lose a count, which a share of many does not notice.
    """

    __slots__ = ("_clock", "_counts", "_newest", "_now", "_width")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._width, self._clock = seconds / BUCKETS, clock
        self._counts = [[0, 0] for _ in range(BUCKETS)]
        self._newest = int(clock() // self._width)
        self._now = self._counts[self._newest % BUCKETS]

    def add(self, first: int = 0, second: int = 0, *, at: float | None = None) -> None:
        """``at``: the clock's time, of who has just asked for it."""
        if (self._clock() if at is None else at) // self._width != self._newest:
            self._forget()
        self._now[0] += first
        if second:
            self._now[1] += second

    def sums(self) -> tuple[int, int]:
        self._forget()
        return sum(bucket[0] for bucket in self._counts), sum(bucket[1] for bucket in self._counts)

    def clear(self) -> None:
        for bucket in self._counts:
            bucket[:] = (0, 0)

    def _forget(self) -> None:
        number = int(self._clock() // self._width)
        for passed in range(max(self._newest + 1, number - BUCKETS + 1), number + 1):
            self._counts[passed % BUCKETS][:] = (0, 0)
        self._newest = max(self._newest, number)
        self._now = self._counts[self._newest % BUCKETS]
