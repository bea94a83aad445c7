"""Which of the writes that wait go next: those that were tried before, then the others, each in the order of their coming."""

from __future__ import annotations

from collections.abc import Callable

from prodfix.deferral.stuck import Stuck
from prodfix.deferral.waiting import Entry, Kind, Waiting

PAGE = 200  # rows that are looked at together while some have to be passed over


class Selection:
    """Passes over what touches a document that is stuck, and what would overtake that. ``prepare`` gives an entry its steps, or
    says that it cannot be applied."""

    def __init__(self, waiting: Waiting, stuck: Stuck, prepare: Callable[[Entry], bool]) -> None:
        self._waiting, self._stuck, self._prepare = waiting, stuck, prepare
        self.restart()

    def restart(self) -> None:
        """A new drain: look at all of them."""
        self._version, self._after, self._keys = -1, 0, set[str]()

    def next(self, size: int) -> list[Entry]:
        """At most ``size`` of them. What was passed over is not looked at again before a document has answered."""
        self._stuck.begin()
        picked, _ = self._pick("tried", size, 0, set())
        if picked:
            return picked
        if not self._stuck or self._version != self._stuck.version:
            self._version, self._after, self._keys = self._stuck.version, 0, set()
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
                if not self._prepare(entry):
                    continue
                if entry.key in keys or not self._stuck.lets(entry.documents):
                    keys.add(entry.key)
                    held.append(entry)
                else:
                    picked.append(entry)
                    full = len(picked) == size
                    if full:
                        break
            full = full or len(page) < most
        if held:
            self._waiting.hold(held)
        return picked, after
