"""Whether a worker's journal has changed: who waits for rows of it asks for a number, and not for the rows.

Each commit, adoption and return from memory counts for the tables that it touches, so that a loop that found nothing looks
again only once there may be something, and now and then for what no counter has told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from prodfix.journal.batch import Statement


class Changes:
    """Counted in the thread that writes, and read by anybody."""

    def __init__(self) -> None:
        self._all = 0
        self._counts: Counter[str] = Counter()

    def note(self, statements: Sequence[Statement]) -> None:
        """These were committed."""
        for text, _ in statements:
            self._counts[_table(text)] += 1

    def note_all(self) -> None:
        """Any table may be another one now."""
        self._all += 1

    def of(self, *tables: str) -> int:
        """Of these tables, or of all: another number whenever one of them has changed."""
        names = tables or tuple(self._counts)
        return self._all + sum(self._counts[name] for name in names)


@lru_cache(512)
def _table(statement: str) -> str:
    """The one that it changes: ``INSERT [OR ...] INTO it``, ``DELETE FROM it``, ``UPDATE it``."""
    words = statement.split(None, 5)
    before = next((place for place, word in enumerate(words) if word in ("INTO", "FROM", "UPDATE")), None)
    return words[before + 1] if before is not None else ""


class News:
    """Whether ``version`` is another one than when the work was last done, or that was ``rest`` seconds ago; always, while it is
    None, as nobody can say then.

    ``begin`` is None if there is nothing to do; else what to call :meth:`done` with once it is done. Who raises instead finds
    it due again.
    """

    def __init__(
        self, version: Callable[[], object | None], *, rest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._version, self._rest, self._clock = version, rest, clock
        self._done: tuple[object] | None = None
        self._again = 0.0

    def begin(self) -> tuple[object] | None:
        found = (self._version(),)
        due = found == (None,) or found != self._done or self._clock() >= self._again
        return found if due else None

    def done(self, found: tuple[object]) -> None:
        """``found`` before the work began: changes that have come meanwhile are news."""
        self._done, self._again = found, self._clock() + self._rest

    def forget(self) -> None:
        """There is something to do, whatever the journal says."""
        self._done = None
