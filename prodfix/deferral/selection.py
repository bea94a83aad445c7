"""Which of the writes that wait go next: those that were tried before, then the others, each in the order of their coming."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prodfix.deferral.guards import Document
from prodfix.deferral.stuck import Stuck
from prodfix.deferral.waiting import Entry, Kind, Waiting

PAGE = 200  # rows that are looked at together while some have to be passed over
AGAIN = 5.0  # seconds until what was passed over is looked at again, though no document has answered since
MOST = 10_000  # of what is passed over is known at once


class Selection:
    """Passes over what touches a document that is stuck, and what would overtake that. ``prepare`` gives an entry its steps, or
    says that it cannot be applied."""

    def __init__(
        self,
        waiting: Waiting,
        stuck: Stuck,
        prepare: Callable[[Entry], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting, self._stuck, self._prepare, self._clock = waiting, stuck, prepare, clock
        self._version, self._after, self._keys = -1, 0, set[str]()
        self._looked_at = 0.0
        self._held: dict[str, Sequence[Document]] = {}

    def next(self, size: int) -> list[Entry]:
        """At most ``size`` of them. What was passed over is not looked at again before a document has answered."""
        self._stuck.begin()
        picked, _ = self._pick("tried", size, 0, set())
        if picked:
            return picked
        if not self._stuck or self._version != self._stuck.version or self._clock() - self._looked_at > AGAIN:
            self._version, self._after, self._keys = self._stuck.version, 0, set()
            self._looked_at = self._clock()
        picked, self._after = self._pick("all", size, self._after, self._keys)
        return picked

    def _pick(self, kind: Kind, size: int, after: int, keys: set[str]) -> tuple[list[Entry], int]:
        """The first that may be tried now, beyond the position ``after``; none of ``keys``, to which those that may not add.
        And the position of the last one that was looked at."""
        picked: list[Entry] = []
        held: list[Entry] = []
        full = False
        while not full:
            most = PAGE if self._stuck else size - len(picked)
            page = self._waiting.next(kind, after, most)
            for entry in page:
                after = entry.position
                free = self._free(entry, keys)
                if free is not None:
                    (picked if free else held).append(entry)
                full = len(picked) == size
                if full:
                    break
            full = full or len(page) < most
        self._hold(held)
        return picked, after

    def _free(self, entry: Entry, keys: set[str]) -> bool | None:
        """Whether it may be tried; None if it never can."""
        known = self._held.get(entry.write.id)
        if known is not None:
            entry.documents = known
        elif not self._prepare(entry):
            return None
        if entry.key in keys or not self._stuck.lets(entry.documents):
            keys.add(entry.key)
            return False
        if known is not None:
            del self._held[entry.write.id]
            return True if self._prepare(entry) else None
        return True

    def _hold(self, entries: Sequence[Entry]) -> None:
        new = [entry for entry in entries if entry.write.id not in self._held]
        if not new:
            return
        self._waiting.hold(new)
        if len(self._held) > MOST:
            self._held.clear()
        self._held |= {entry.write.id: entry.documents for entry in new}
