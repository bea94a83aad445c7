"""Lets others go on while something long is computed: requests of the same worker wait for its one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from prodfix.process.native import hub_held

EVERY = 0.005  # seconds of work
HELD = 0.0003  # seconds for which background work may hold the hub, where it can be left
INSTANT = 1e-6  # seconds: over before the hub has looked; from some ten on it would wait for a millisecond
TRIES = 8  # times that one gives way: where everybody is busy, it has its turn all the same


class Breather:
    """To be called often, between small parts of the work."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._since = clock()

    def __call__(self) -> None:
        """Let others go on if it is time."""
        if self._clock() - self._since >= EVERY:
            _yield(self._sleep)
            self._since = self._clock()


def give_way(
    *,
    held: Callable[[], float] = hub_held,
    sleep: Callable[[float], None] = time.sleep,
    tries: int = TRIES,
) -> None:
    """Let requests go on, if background work, or the reading of a body, has kept gevent's hub from looking for them for
    :data:`HELD` seconds. Costs next to nothing otherwise, and nothing elsewhere: a thread lets go of Python's lock by itself."""
    while held() >= HELD and tries > 0:
        _yield(sleep)
        tries -= 1


def _yield(sleep: Callable[[float], None]) -> None:
    """Under gevent ``sleep(0)`` leads to those that are ready already, and not to the network: the hub calls them over and
    over, for some milliseconds, before it looks what has come. A timer that is over at once makes it look. It is called before
    what has come then, and that is called before the second step is."""
    sleep(INSTANT)
    sleep(0)
