"""Kinds of errors beyond those that are told apart in a minute: how many they are, where others of that minute are new.

Nobody can tell which of them are new. But who hears of the new ones that are told apart must hear that there are more. Their
number is that of a sketch (:mod:`prodfix.statistics.affected`), so that a minute that is stored again counts none twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prodfix.statistics.affected import affected, joined, smallest
from prodfix.statistics.counts import OTHER, ErrorKey, Seen, seen_of
from prodfix.statistics.window import Counted

REMEMBERED = 10  # minutes, the newest in which something was new: counts of a minute have come long before that


class FurtherKinds:
    """What one worker knows of them, by minute and category: of a storm of clients' errors nobody is told."""

    def __init__(self) -> None:
        self._sketches: dict[tuple[int, str], str] = {}

    def note(self, new: Iterable[tuple[ErrorKey, Seen]]) -> None:
        """These kinds are new: what is not told apart beside them is looked at."""
        for key, seen in new:
            self._sketches.setdefault((int(seen.first // 60), key.category), "")
        minutes = sorted({minute for minute, _ in self._sketches})[-REMEMBERED:]
        self._sketches = {place: sketch for place, sketch in self._sketches.items() if place[0] in minutes}

    def grown(self, minutes: Iterable[Counted]) -> Mapping[str, int]:
        """By category, how many further kinds there were in all those minutes: of the categories that have more by these."""
        changed = {category for one in minutes for category in self._add(one)}
        return {category: self._number(category) for category in sorted(changed)}

    def _add(self, one: Counted) -> Iterable[str]:
        for row in one.errors if self._sketches else ():
            place = one.minute, row[0]
            if row[3] != OTHER or place not in self._sketches:
                continue
            before = self._sketches[place]
            after = self._sketches[place] = smallest(joined(before, seen_of(row)[1].kinds))
            if after != before:
                yield row[0]

    def _number(self, category: str) -> int:
        whole = ""
        for place, sketch in self._sketches.items():
            whole = joined(whole, sketch) if place[1] == category else whole
        found = affected(whole)
        return found.users if found is not None else 0
