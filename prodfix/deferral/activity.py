"""Whether somebody waits for the database now: requests of this worker, and of the other workers of the instance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prodfix.instance.heartbeat import Heartbeat

LIVE = 2.0  # seconds after a request's last operation in which more are expected
LOOK = 1.0  # seconds between two looks at the other workers, who tell of themselves as often


class Activity:
    """``touch`` is called with every operation that a request asks of the database, whether it answers or not.

    ``observed`` is when this process's listeners last saw a command of a request, in the monotonic clock's seconds: a host
    may use clients of its own. ``others`` are the other workers that live; None while nobody can know them.
    """

    def __init__(
        self,
        others: Callable[[], Sequence[Heartbeat] | None] = list,
        *,
        observed: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._beats, self._observed, self._clock = others, observed, clock
        self._last: float | None = None
        self._looked_at = -LOOK
        self._others = False

    def touch(self) -> None:
        self._last = self._clock()

    @property
    def asked(self) -> float | None:
        """When this worker's requests last asked the database for something, in the clock's seconds; None if none has."""
        return max((moment for moment in (self._last, self._observed()) if moment is not None), default=None)

    @property
    def idle_seconds(self) -> float | None:
        """Since then."""
        asked = self.asked
        return None if asked is None else max(0.0, self._clock() - asked)

    def live(self) -> bool:
        """Whether requests use the database. Never raises; costs a look at the others once a second."""
        idle = self.idle_seconds
        if idle is not None and idle < LIVE:
            return True
        now = self._clock()
        if now - self._looked_at >= LOOK:
            self._looked_at = now
            beats = self._beats()
            # A disk that is too slow to tell is no reason to hurry.
            self._others = beats is None or any(one.asked and now - one.asked < LIVE + LOOK for one in beats)
        return self._others
