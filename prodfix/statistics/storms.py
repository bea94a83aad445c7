"""Keeps one kind of error from flooding the log: a token bucket for each fingerprint.

What is held back is counted, and told in one line for each kind and period; statistics count everything all the same.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from prodfix.process.native import allocate_lock
from prodfix.process.per_process import in_each_process
from prodfix.slotted import mutable
from prodfix.statistics.counts import OTHER

KINDS = 1_000  # fingerprints that are remembered


@mutable
class Bucket:
    """``held`` were held back since the last summary, ``title`` says what."""

    title: str
    tokens: float
    at: float
    held: int = 0


class Storms:
    """``burst`` errors of a kind at once, then ``rate`` a second, in this process. Times are monotonic."""

    def __init__(self, *, burst: int, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._clock = burst, rate, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        in_each_process(self._renew)
        self._forgotten: list[tuple[str, str, int]] = []
        self._others = 0
        self.held = 0
        """All that were held back so far."""

    def _renew(self) -> None:
        self._lock = allocate_lock()  # nothing within waits

    def admit(self, fingerprint: str, title: str) -> bool:
        """Whether this one is told in full."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(fingerprint)
            if bucket is None:
                bucket = self._buckets[fingerprint] = Bucket(title, self._burst, now)
                self._forget()
            self._buckets.move_to_end(fingerprint)
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return True
            bucket.held += 1
            self.held += 1
            return False

    def _forget(self) -> None:
        while len(self._buckets) > KINDS:
            fingerprint, bucket = self._buckets.popitem(last=False)
            if bucket.held and len(self._forgotten) < KINDS:
                self._forgotten.append((fingerprint, bucket.title, bucket.held))
            else:
                self._others += bucket.held

    def summary(self) -> list[tuple[str, str, int]]:
        """Fingerprint, title and number of what was held back since the last summary; kinds beyond the bound together."""
        with self._lock:
            told, self._forgotten = self._forgotten, []
            if self._others:
                told.append((OTHER, OTHER, self._others))
                self._others = 0
            for fingerprint, bucket in self._buckets.items():
                if bucket.held:
                    told.append((fingerprint, bucket.title, bucket.held))
                    bucket.held = 0
            return told
