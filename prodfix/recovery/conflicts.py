"""Write conflicts: two that were at the same data, of which the server has taken one back. Nothing is wrong with the database.

So they have waits and a limit of their own, and draw on nobody's budget: short waits at random moments, a little longer
each time (convenient-transactions specification), so that who met at one document does not meet there again. With the waits
alone, a few that have no luck wait for seconds (8 at once at one document of the embedded server: p95 of 0.5 to 1.5 s with the
driver's own helper). So those of one worker that have met take turns as well; and who is known to come to a place where turns
are taken joins at once (0.2 s). Who only might come there does not: all of an endpoint would stand in line for one document.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack
from typing import TypeVar

from pymongo.errors import OperationFailure

from prodfix.classification.classifier import classify
from prodfix.driver import csot
from prodfix.operations.frames import database_operation
from prodfix.recovery.turns import Turns
from prodfix.request.context import current_context
from prodfix.request.deadlines import database_remaining
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

FIRST, GROWTH, LONGEST = 0.005, 1.5, 0.5  # seconds; the specification's
_WRITE_CONFLICT = 112
PATIENCE = 2.0  # seconds for one's turn
MOST = 50  # tries after conflicts, of one operation: they last some ten seconds
SPENT = "tried again after write conflicts, as often and as long as possible"
FRESH = 3.0  # seconds for which a conflict tells that the database works: longer than one's turn may be waited for

Result = TypeVar("Result")


def pause(number: int) -> float:
    """Seconds to wait after the conflict of that number (1 for the first): any up to 5 ms x 1.5^(number-1), 500 ms at most."""
    return random.random() * min(FIRST * GROWTH ** min(number - 1, 30), LONGEST)


def time_left() -> float | None:
    """Seconds left for the database, of the request's deadline and of ``pymongo.timeout``; ``None`` without both."""
    left = [seconds for seconds in (database_remaining(), csot.remaining()) if seconds is not None]
    return max(0.0, min(left)) if left else None


def fresh() -> bool:
    """Whether what this request writes is kept waiting by others, and not by the database: it met a conflict a moment ago, and
    has sent no commit since."""
    context = current_context()
    at = context.notes.conflict_at if context is not None else None
    return at is not None and time.monotonic() - at < FRESH


def forget() -> None:
    """Say that something may be applied from here on."""
    context = current_context()
    if context is not None:
        context.notes.conflict_at = None


def without_end(error: BaseException) -> OperationFailure:
    """What to raise in the place of a limit that has ended tries after conflicts: not the database was late."""
    text = "write conflicts until the time was over"
    conflict = OperationFailure(text, _WRITE_CONFLICT, {"code": _WRITE_CONFLICT, "errmsg": text})
    conflict.__cause__ = error
    conflict.add_note(SPENT)
    return conflict


@frozen
class ConflictCounts(Serializable):
    """Conflicts that were ``met``, and operations that were ``given_up`` for them."""

    met: int = 0
    given_up: int = 0


class Conflicts:
    """Tries again what met a conflict. ``most``: tries of one operation after its first one."""

    def __init__(self, *, most: int = MOST, sleep: Callable[[float], None] = time.sleep) -> None:
        self.most = most
        self._sleep = sleep
        self._turns = Turns()
        self.met = self.given_up = 0

    def tries(self) -> Iterator[int]:
        """For :meth:`through`: the tries after conflicts that one operation has."""
        return iter(range(self.most))

    def through(
        self,
        operation: Callable[[], Result],
        left: Iterator[int],
        *,
        place: Hashable = None,
        worth: Callable[[BaseException], bool] = lambda error: True,
    ) -> Result:
        """The result of ``operation``, which is called again after each conflict as long as something is ``left``, there is time
        for the wait, and the error is ``worth`` it. Raises its last error, unchanged. ``place``: what it changes, if that
        is known before."""
        number, taken = 0, False
        with ExitStack() as turns:
            if place is not None and self._turns.taken(place):
                taken = self._join(turns, place)
            while True:
                try:
                    return operation()
                except Exception as error:
                    if not classify(error).contended or not worth(error) or SPENT in getattr(error, "__notes__", ()):
                        raise
                    number += 1
                    wait = self._wait(number, left)
                    if wait is None:
                        error.add_note(SPENT)
                        raise
                    where = place or _place(error)
                # Outside of the block, where a later error would get this one as its context.
                self._sleep(wait)
                if not taken and self._join(turns, where):
                    number, taken = 0, True

    def counts(self) -> ConflictCounts:
        """Since this process began."""
        return ConflictCounts(self.met, self.given_up)

    def _wait(self, number: int, left: Iterator[int]) -> float | None:
        """Count a conflict; the seconds until the next try, None if there is none."""
        self.met += 1
        _remember()
        wait, until = pause(number), time_left()
        if (until is None or wait < until) and next(left, None) is not None:
            return wait
        self.given_up += 1
        return None

    def _join(self, turns: ExitStack, place: Hashable) -> bool:
        """Wait for the turn at ``place``; whether it has come in time."""
        left = time_left()
        _remember()  # also for a deadline that cuts the wait
        taken = turns.enter_context(self._turns.turn(place, PATIENCE if left is None else min(PATIENCE, left)))
        _remember()
        return taken


def _remember() -> None:
    context = current_context()
    if context is not None:
        context.notes.conflict_at = time.monotonic()


def _place(error: BaseException) -> Hashable:
    found = database_operation(error)
    return found.collection if found is not None else None
