"""How fast a backlog may go to the database: as fast as it can while nobody else waits for it, and gently while requests do."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from prodfix.journal.instance_lock import InstanceLock

LEAST = 3
COMMAND = 0.004  # seconds that one command may always take at the server while requests come: who asks meanwhile waits so long
STEPS = 10  # or as long as so many steps usually take there: a slower server makes requests slower too
LATELY = 4  # batches: what all of them took is the server's doing; what one of them did, somebody else's on its machine
REST = 4  # times as long as the commands of a batch took at the server
LONGEST_REST = 1.0  # seconds
SEEN = 100  # commands that say what is usual, and round trips of which the least is the network's


def _median(values: Iterable[float]) -> float:
    from statistics import median

    return median(values)


class Throttle:
    """Batches of ``largest`` entries, ``rate`` entries a second at most. While ``live`` says that requests use the database,
    batches are as small as their commands must be to be quick, but for ``least`` entries; each has its ``lock`` among all of the
    instance's, and is followed by a rest.

    Quick is measured against what steps usually cost, with and without requests beside them. Of the time that a command takes,
    ``round_trip`` (the last ping's, in seconds) is the network's: then the server serves others, and needs no rest.
    """

    def __init__(
        self,
        live: Callable[[], bool],
        lock: InstanceLock,
        *,
        largest: int,
        least: int = LEAST,
        rate: float = math.inf,
        round_trip: Callable[[], float | None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._live, self._lock, self._largest, self._rate, self._sleep = live, lock, largest, rate, sleep
        self._round_trip = round_trip
        self._round_trips: deque[float] = deque(maxlen=SEEN)
        self._costs: deque[float] = deque(maxlen=SEEN)
        self._size = self._least = least
        self._lately: deque[tuple[float, float]] = deque(maxlen=LATELY)
        self._slowest = self._cost = 0.0
        self._gentle = False

    def size(self) -> int:
        """How many entries the next batch may have."""
        self._gentle = self._live()
        self._slowest = self._cost = 0.0
        return self._size if self._gentle else self._largest

    @contextmanager
    def batch(self, entries: int) -> Iterator[None]:
        """Around the work for a batch of so many: waits for its lock before, and rests afterwards if nothing was raised."""
        with self._lock.taken() if self._gentle else nullcontext():
            begun = time.monotonic()
            yield
            took = time.monotonic() - begun
        self._sleep(self._pause(entries, took))

    @contextmanager
    def command(self, steps: int = 1) -> Iterator[None]:
        """Around each command of the batch, for so many steps: how long it takes tells how large the next batch may be."""
        begun = time.monotonic()
        yield
        cost = max(0.0, time.monotonic() - begun - self.network)
        self._costs.append(cost / steps)
        self._slowest = max(self._slowest, cost)
        self._cost += cost

    @property
    def network(self) -> float:
        """What of a command's time is not the server's: a ping's, when that was not kept waiting either."""
        last = self._round_trip()
        if last is not None:
            self._round_trips.append(last)
        return min(self._round_trips, default=0.0)

    @property
    def _quick(self) -> float:
        return max(COMMAND, STEPS * _median(self._costs)) if self._costs else COMMAND

    def _pause(self, entries: int, took: float) -> float:
        pause = max(0.0, entries / self._rate - took)
        if not self._gentle:
            return pause
        self._lately.append((self._slowest, self._cost))
        # One that was quick says how large a command may be; how much the server has to do, the usual one.
        quick = min(slowest for slowest, _ in self._lately) < self._quick
        self._size = min(self._largest, self._size + 1) if quick else max(self._least, self._size // 2)
        return max(pause, min(_median(cost for _, cost in self._lately) * REST, LONGEST_REST))
