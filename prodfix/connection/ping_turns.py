"""One ping at a time for all workers of an instance, each of which asks in its turn, over its own connection.

The one that has not asked for the longest time asks next; the others wait a little longer, and hear what it found. So each
connection is tried now and then, and an instance sends no more pings than one worker would. Nobody leads, and nobody holds a
lock: one that is stopped or killed, also within its ping, leaves its turn to the next one.

A worker believes what it hears only as long as that agrees with its own last ping. Else it asks itself, at once: a change is
seen by each worker with its own eyes, what lasts is shared. One whose pings have failed before others' were good, and fail
still, is alone: it says so, asks for itself, and nobody listens to it.

==================================== ==========================================================================
what happens                         what the others do
==================================== ==========================================================================
the one whose turn it is is killed   the next one asks ``STAGGER`` seconds later
it is stopped within its ping        the next one asks after half of a ping's limit
its ping fails                       each asks itself; all agree then, or it is alone
the database is back                 whoever asks finds it; the others hear of it, and ask themselves
its connection is broken             it says so; they ask themselves once, and go on without it
the file cannot be written           each asks for itself
==================================== ==========================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from prodfix.connection.monitor import ConnectionMonitor
from prodfix.instance.heartbeat import PingReport

RETRY = 0.5  # seconds from a ping that has failed to the next one, at most
STAGGER, STEP, LONGEST = (
    0.15,
    0.05,
    0.3,
)  # seconds that one waits for whose turn comes before its own, and for each more
BEAT = 1.0  # seconds between two looks at the others, at most: by these they know that this worker lives
SOON = 0.15  # seconds, while one of them waits for its answer, which may come at any moment
SHORTEST = 0.01

Tell = Callable[[PingReport], Sequence[PingReport]]


class PingTurns:
    """When this worker pings. ``tell`` makes its own report known, and answers with those of the siblings that live."""

    def __init__(self, monitor: ConnectionMonitor, tell: Tell, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitor, self._tell, self._clock = monitor, tell, clock
        self._alone = self._checked = False
        self._heard = 0.0
        self._lost: float | None = None

    def tick(self) -> float:
        """Look, and ask if it is this worker's turn; the seconds until it is to be called again."""
        others = self._look()
        due = self._due(others)
        late = self._clock() - due
        if late >= 0:
            doubted = self._alone
            self._share(replace(self._monitor.own, begun=self._clock()))
            self._monitor.ping(known=doubted, late=late)
            # What was seen again, and is still so, is a trouble of its own, and no news.
            self._checked = doubted and not self._monitor.own.good
            others = self._look()
        longest = SOON if any(one.asking for one in others) else BEAT
        return max(SHORTEST, min(self._due(others) - self._clock(), longest))

    # -- what the others know ---------------------------------------------------------------------------------------------

    def _look(self) -> Sequence[PingReport]:
        others = self._share(self._monitor.own)
        own, newest = self._monitor.own, _newest(others)
        failed = own.found and not own.good
        self._lost = (own.ended if self._lost is None else self._lost) if failed else None
        self._alone = self._lost is not None and newest is not None and newest.good and newest.ended > self._lost
        if newest is not None and own.found and newest.good is own.good and newest.ended > max(own.ended, self._heard):
            self._heard = newest.ended
            self._monitor.hear(newest)
        self._monitor.overhear(min((one.begun for one in others if one.asking), default=None))
        return others

    def _share(self, own: PingReport) -> Sequence[PingReport]:
        """The siblings that somebody can listen to."""
        return [one for one in self._tell(replace(own, alone=self._alone)) if not one.alone]

    # -- whose turn it is -------------------------------------------------------------------------------------------------

    def _due(self, others: Sequence[PingReport]) -> float:
        """When this worker is to ask."""
        own = self._monitor.own
        pause = self._monitor.interval if own.good else min(RETRY, self._monitor.interval)
        if not own.found or self._monitor.doubted:
            return self._clock()
        if self._alone and self._checked:
            return own.since + pause
        if self._alone or _disagree(own, _newest(others)):
            return own.ended
        last = max([own, *others], key=lambda one: one.begun)
        if last.asking:
            pause = self._monitor.limit * (
                0.5 if own.good else 1.2
            )  # of a lost database nobody expects an answer sooner
        return last.begun + pause + _wait(sum(not one.asking and one.begun < own.begun for one in others))


def _wait(before: int) -> float:
    """Seconds that are left to so many others, whose turn is before this one's."""
    return min(STAGGER + STEP * (before - 1), LONGEST) if before else 0.0


def _newest(others: Sequence[PingReport]) -> PingReport | None:
    return max((one for one in others if one.found), key=lambda one: one.ended, default=None)


def _disagree(own: PingReport, newest: PingReport | None) -> bool:
    """Whether a sibling has found something else since this worker has asked itself."""
    return own.found and newest is not None and newest.ended > own.ended and newest.good is not own.good
