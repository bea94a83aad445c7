"""How many retries one process may make: a share of its load, so that an outage is not made worse by those who wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from prodfix.process.per_process import in_each_process
from prodfix.recovery.sliding_counts import SlidingCounts
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

SHARE = 0.2  # retries for each first try (Google's SRE book and Finagle's RetryBudget: 10 % to 20 %)
LEAST = 3  # retries that are always left, for services with little traffic
SECONDS = 10.0


@frozen
class BudgetStatus(Serializable):
    """Counts since the process began, and over the last ``window_seconds``."""

    tries: int = 0
    retries: int = 0
    refused_by_budget: int = 0
    window_seconds: float = SECONDS
    window_tries: int = 0
    window_retries: int = 0
    window_allows: int = 0


class RetryBudget:
    """At most ``share`` retries for each first try, over the last ``seconds``, and never fewer than ``least``."""

    def __init__(
        self,
        *,
        share: float = SHARE,
        least: int = LEAST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.share, self.least, self.seconds = share, least, seconds
        self._clock = clock
        in_each_process(self._begin)

    def _begin(self) -> None:
        """A forked process has a load of its own."""
        self._lock = threading.Lock()
        self._window = SlidingCounts(self.seconds, self._clock)
        self.tries = self.retries = self.refused = 0

    def tried(self) -> None:
        """Count a first try. Without the lock: most operations come here and nowhere else."""
        self.tries += 1
        self._window.add(1)

    def take(self) -> bool:
        """Whether there is a retry left; it is taken then."""
        with self._lock:
            tries, retries = self._window.sums()
            if retries >= max(self.least, int(tries * self.share)):
                self.refused += 1
                return False
            self.retries += 1
            self._window.add(second=1)
            return True

    def status(self) -> BudgetStatus:
        """How much of it is used."""
        with self._lock:
            tries, retries = self._window.sums()
            return BudgetStatus(
                tries=self.tries,
                retries=self.retries,
                refused_by_budget=self.refused,
                window_seconds=self.seconds,
                window_tries=tries,
                window_retries=retries,
                window_allows=max(self.least, int(tries * self.share)),
            )
