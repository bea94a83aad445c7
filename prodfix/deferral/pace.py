"""How fast a backlog may go to the database: as fast as it can while nobody else waits for it, and gently while requests do."""

from __future__ import annotations

import math
from collections.abc import Callable

LEAST = 2
COMMAND = 0.004  # seconds that one command may take while requests come: who asks meanwhile may wait for as long


class Pace:
    """Batches of ``largest`` entries, ``rate`` entries a second at most. While ``live`` says that requests use the database,
    batches are as small as their commands must be to be quick, and each is followed by a rest that is as long as it took.
    """

    def __init__(self, live: Callable[[], bool] = lambda: False, *, largest: int, rate: float = math.inf) -> None:
        self._live, self._largest, self._rate = live, largest, rate
        self._size = LEAST
        self._slowest = 0.0
        self._gentle = False

    def size(self) -> int:
        """How many entries the next batch may have."""
        self._gentle, self._slowest = self._live(), 0.0
        return self._size if self._gentle else self._largest

    def command(self, took: float) -> None:
        """Tell how many seconds one command of the batch took."""
        self._slowest = max(self._slowest, took)

    def pause(self, entries: int, took: float) -> float:
        """Seconds to rest after a batch of so many, which took so long."""
        pause = max(0.0, entries / self._rate - took)
        if not self._gentle:
            return pause
        quick = self._slowest < COMMAND
        self._size = min(self._largest, self._size + 1) if quick else max(LEAST, self._size // 2)
        return max(took, pause)
