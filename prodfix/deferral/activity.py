"""Whether somebody waits for the database now: requests of this worker, and of the other workers of the instance."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import orjson

from prodfix.journal.journal import Journal

LIVE = 2.0  # seconds after a request's last operation in which more are expected
LOOK = 1.0  # seconds between two looks at the other workers, who tell of themselves as often
FRESH = 5.0  # seconds; what is older was told by a worker that is no more


class Activity:
    """``touch`` is called with every operation that a request asks of the database, whether it answers or not.

    ``observed`` is when this process's listeners last saw a command of a request, in the monotonic clock's seconds: a host
    may use clients of its own.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        observed: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._observed, self._clock, self._wall = journal, observed, clock, wall
        self._last: float | None = None
        self._looked_at = -LOOK
        self._others = False

    def touch(self) -> None:
        self._last = self._clock()

    @property
    def idle_seconds(self) -> float | None:
        """Since this worker's requests last asked the database for something; None if none has."""
        asked = [moment for moment in (self._last, self._observed()) if moment is not None]
        return max(0.0, self._clock() - max(asked)) if asked else None

    def live(self) -> bool:
        """Whether requests use the database. Never raises; costs a look at the journals once a second."""
        idle = self.idle_seconds
        if idle is not None and idle < LIVE:
            return True
        if self._clock() - self._looked_at >= LOOK:
            self._looked_at = self._clock()
            self._others = self._others_are_live()
        return self._others

    def _others_are_live(self) -> bool:
        try:
            rows = self._journal.read("SELECT at, entry FROM status WHERE worker <> ?", (self._journal.boot,))
        except TimeoutError:
            return True  # a disk that is so slow is no reason to hurry
        return any(_idle(entry) < LIVE for at, entry in rows if abs(self._wall() - at) < FRESH)


def _idle(entry: bytes) -> float:
    """What a sibling has written of itself, perhaps of another release; for ever, if it does not say."""
    try:
        seconds = orjson.loads(entry)["idleSeconds"]
    except (ValueError, TypeError, KeyError):
        return math.inf
    return seconds if isinstance(seconds, (int, float)) else math.inf
