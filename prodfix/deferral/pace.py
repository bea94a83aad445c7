"""How fast a backlog may go to the database: as fast as it can while nobody else waits for it, and gently while requests do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from prodfix.journal.turn import Turn

LEAST = 3
COMMAND = 0.004  # seconds that one command may take while requests come: who asks meanwhile may wait for as long
REST = 4  # times as long as a batch took
LONGEST_REST = 1.0  # seconds


class Pace:
    """Batches of ``largest`` entries, ``rate`` entries a second at most. While ``live`` says that requests use the database,
    batches are as small as their commands must be to be quick, each has its ``turn`` among all of the instance's, and is
    followed by a rest.
    """

    def __init__(
        self,
        live: Callable[[], bool],
        turn: Turn,
        *,
        largest: int,
        rate: float = math.inf,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._live, self._turn, self._largest, self._rate, self._sleep = live, turn, largest, rate, sleep
        self._size = LEAST
        self._slowest = 0.0
        self._gentle = False

    def size(self) -> int:
        """How many entries the next batch may have."""
        self._gentle, self._slowest = self._live(), 0.0
        return self._size if self._gentle else self._largest

    @contextmanager
    def batch(self, entries: int) -> Iterator[None]:
        """Around the work for a batch of so many: waits for its turn before, and rests afterwards if nothing was raised."""
        with self._turn.taken() if self._gentle else nullcontext():
            begun = time.monotonic()
            yield
            took = time.monotonic() - begun
        self._sleep(self._pause(entries, took))

    @contextmanager
    def command(self) -> Iterator[None]:
        """Around each command of the batch: how long it takes tells how large the next batch may be."""
        begun = time.monotonic()
        yield
        self._slowest = max(self._slowest, time.monotonic() - begun)

    def _pause(self, entries: int, took: float) -> float:
        pause = max(0.0, entries / self._rate - took)
        if not self._gentle:
            return pause
        quick = self._slowest < COMMAND
        self._size = min(self._largest, self._size + 1) if quick else max(LEAST, self._size // 2)
        return max(pause, min(took * REST, LONGEST_REST))
