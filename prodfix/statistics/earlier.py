"""The window before the one that is asked for: whether there are more errors now than there were.

What lies so far back hardly changes, so that a worker reads it once in a while only: an hour each minute, a day each hour.
"""

from __future__ import annotations

from prodfix.slotted import frozen
from prodfix.statistics.counts import Counts
from prodfix.statistics.window import HOUR
from prodfix.statistics.windows import Scope, Windows


@frozen
class Earlier:
    """What was counted in so many minutes before ``first``, the first one of a window; None if that cannot be read as a whole."""

    first: int
    scope: Scope
    counts: Counts | None


class EarlierWindows:
    """Those of one worker, by their lengths in minutes."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._known: dict[int, Earlier] = {}

    def read(self, first: int, minutes: int, scope: Scope) -> Counts | None:
        """What was counted in ``minutes`` before ``first``; more than an hour in whole hours of the clock. None if it cannot be
        read as a whole, if nothing was counted, or if it is of another ``scope``, which must not be compared.

        Never raises for a database that is down. Raises ``TimeoutError`` if the disk does not answer.
        """
        if minutes > HOUR:
            first -= first % HOUR
        known = self._known.get(minutes)
        if known is None or known.first != first:
            window = self._windows.load(first - minutes, first - 1)
            whole = window.complete_from is None and bool(window.counts.devices or window.counts.errors)
            known = self._known[minutes] = Earlier(first, window.scope, window.counts if whole else None)
        return known.counts if known.scope == scope else None
