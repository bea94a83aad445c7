"""Which error records are kept in MongoDB: of each kind the first, the newest, and a sample of those between.

All of them are counted; what is not kept here is a record, and no error. A record's level is a property of its ID: half of all
have level 0, a quarter level 1, and so on. Of a kind of which there are enough only those from some level on are kept, which
halves them with each level: whoever thins them, of whatever worker and when, keeps the same ones (P. Gibbons, "Distinct Sampling
for Highly-Accurate Answers", VLDB 2001).

A worker decides when a record is made, in a microsecond, so that what need not be stored is not sent. What an operator sees of a
kind is at most a minute old: each minute one more is sent, and the last one follows.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson

KINDS = 5_000  # that a worker tells apart; all others have one level together
PULSE = 60.0  # seconds after which one more is sent, whatever its level
LASTS = 50  # last ones of a kind that follow in one batch
FORGOTTEN = 3600.0  # seconds without one, after which a worker knows nothing of a kind any more
HIGHEST = 32


def level(identity: bson.ObjectId) -> int:
    """0 for half of all IDs, 1 for a quarter of them, and so on."""
    check = zlib.crc32(identity.binary)
    return (check & -check).bit_length() - 1 if check else HIGHEST


class SampledKind:
    """What a worker knows of one kind: from which level on it sends, how many it has sent since that is so, and when."""

    __slots__ = ("at", "known", "last", "level", "raised", "sent", "told")

    def __init__(self) -> None:
        self.level = self.sent = self.known = 0
        self.at = self.told = self.raised = -PULSE
        self.last: bson.ObjectId | None = None


class Sampling:
    """``keep``: records of one kind that are kept. ``crowded`` is set while too many wait: then only new kinds are sent."""

    def __init__(self, keep: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep, self._clock = keep, clock
        self._kinds: dict[str, SampledKind] = {}
        self._others = SampledKind()
        self._agreed: Mapping[str, int] = {}
        self._held = False
        self.floor = 0
        """The least level of all kinds, while all that is ours has grown too large."""
        self.crowded = False
        self.thinned = 0
        """Records of this worker that are kept for a while only."""

    def admits(self, fingerprint: str, identity: bson.ObjectId) -> bool:
        """Whether the record of that ID is to be sent."""
        kind = self._kinds.get(fingerprint) or self._met(fingerprint)
        if not kind.level and not self.crowded:  # as most are
            kind.sent += 1
            if kind.sent >= self._keep:
                self._raise(kind)
            return True
        return self._chosen(kind, identity)

    def _chosen(self, kind: SampledKind, identity: bson.ObjectId) -> bool:
        now = self._clock()
        first = not kind.sent and kind is not self._others
        if first or (not self.crowded and (now - kind.at >= PULSE or level(identity) >= kind.level)):
            kind.at = now
            kind.sent += 1
            if kind.sent >= self._keep:
                self._raise(kind)
            return True
        kind.last = identity
        self.thinned += 1
        self._held = True
        return False

    def _raise(self, kind: SampledKind) -> None:
        kind.level += 1
        kind.sent //= 2
        kind.at = kind.raised = self._clock()

    def _met(self, fingerprint: str) -> SampledKind:
        if len(self._kinds) >= KINDS:
            return self._others
        kind = SampledKind()
        kind.level = max(self._agreed.get(fingerprint, 0), self.floor)
        self._kinds[fingerprint] = kind
        return kind

    def lasts(self) -> list[bson.ObjectId]:
        """The last of each kind that was not sent, if its kind was not told of for a while: at most :data:`LASTS`."""
        found: list[bson.ObjectId] = []
        if self.crowded or not self._held:
            return found
        now, self._held = self._clock(), False
        for kind in (*self._kinds.values(), self._others):
            if kind.last is None:
                continue
            if now - kind.told >= PULSE and len(found) < LASTS:
                found.append(kind.last)
                kind.last, kind.told = None, now
            else:
                self._held = True
        return found

    def agree(self, levels: Mapping[str, int], floor: int) -> None:
        """What all workers have found: from which level on records of these kinds are kept."""
        self._agreed, self.floor = levels, floor
        now = self._clock()
        for fingerprint, kind in [*self._kinds.items(), ("", self._others)]:
            agreed = max(levels.get(fingerprint, 0), floor)
            if agreed > kind.level:
                kind.at = kind.at if kind.level else now
                kind.level, kind.raised = agreed, now

    def forget(self) -> None:
        """Kinds that did not happen for long: when they are back, they are as good as new. Of a flood that is over one level goes
        each hour."""
        now = self._clock()
        # Copies: where there are threads, others meet new kinds meanwhile.
        for kind in list(self._kinds.values()):
            if not kind.level and kind.sent != kind.known:  # of which nobody has looked at the clock
                kind.known, kind.at = kind.sent, max(kind.at, now - PULSE)
        gone = [name for name, kind in list(self._kinds.items()) if kind.last is None and now - kind.at >= FORGOTTEN]
        for name in gone:
            self._kinds.pop(name, None)
        if not self._kinds:
            self._others = SampledKind()
        for kind in (*self._kinds.values(), self._others):
            if kind.level > self.floor and now - kind.raised >= FORGOTTEN:
                kind.level, kind.raised = kind.level - 1, now

    @property
    def kinds(self) -> int:
        """Of how many kinds only a sample is kept, as far as this worker knows."""
        return sum(kind.level > 0 for kind in [*self._kinds.values(), self._others])


def thinned(documents: Sequence[Mapping[str, Any]], keep: int, *, at_least: int = 0) -> tuple[list[Any], int]:
    """The IDs of those of one kind (oldest first) that must go so that ``keep`` of them stay, and the level from which on the
    others are kept: the first stays, the newest quarter, and of the rest those of the highest levels."""
    newest = max(1, keep // 4)
    middle = [one["_id"] for one in documents[1 : max(1, len(documents) - newest)]]
    room, least = max(0, keep - newest - 1), at_least
    levels = [level(identity) for identity in middle]
    while least < HIGHEST and sum(one >= least for one in levels) > room:
        least += 1
    return [identity for identity, one in zip(middle, levels, strict=True) if one < least], least
