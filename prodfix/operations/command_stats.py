"""How often each kind of command ran, how often it failed, and how long it took: counted in the process, bounded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import field

from ddsketch.mapping import LogarithmicMapping

from prodfix.operations.fingerprints import CommandKey
from prodfix.process.native import allocate_lock
from prodfix.redaction.names import mask_key
from prodfix.serialization import Serializable
from prodfix.slotted import frozen, mutable

KINDS = 500  # kinds of commands that are told apart; further ones are counted together
MET = 4096  # keys as they come, before they are masked, that are remembered
OTHER = CommandKey("__other__", None, ())
FRESH = 64  # durations of one kind that are kept until the next drain; of further ones only the sum is
ACCURACY = 0.02  # relative accuracy of quantiles (DDSketch, VLDB 2019)

_MAPPING = LogarithmicMapping(ACCURACY)


def bin_of(micros: int) -> int:
    """The place of a duration in a sketch; what has the same place differs by 2 % at most."""
    place: int = _MAPPING.key(micros or 1)
    return place


@frozen
class KindTotals(Serializable):
    """A :class:`Kind` as all workers read it."""

    count: int = 0
    errors: int = 0
    micros: int = 0
    repeated: int = 0
    sampled: int = 0
    bins: list[tuple[int, int]] = field(default_factory=list)


@mutable
class Kind:
    """One kind of command: exact counts, and the durations (microseconds) of ``sampled`` of them in a DDSketch's bins."""

    count: int = 0
    errors: int = 0
    micros: int = 0
    repeated: int = 0
    sampled: int = 0
    bins: Counter[int] = field(default_factory=Counter)
    fresh: list[int] = field(default_factory=list)
    drained: tuple[int, int] = (0, 0)

    def drain(self, durations: Iterable[int]) -> None:
        for micros in durations:
            self.bins[bin_of(micros)] += 1
            self.sampled += 1

    def totals(self) -> KindTotals:
        return KindTotals(self.count, self.errors, self.micros, self.repeated, self.sampled, list(self.bins.items()))


class CommandStats:
    """The kinds of commands of one process. ``add`` is on the path of every command: a table, three sums, a short list."""

    def __init__(self) -> None:
        self._kinds: dict[CommandKey, Kind] = {}
        self._met: dict[CommandKey, Kind] = {}  # the same by keys as they come, for most commands
        self._lock = allocate_lock()

    def add(self, key: CommandKey, micros: int, failed: bool) -> None:
        with self._lock:
            kind = self._met.get(key) or self._kind(key)
            kind.count += 1
            kind.micros += micros
            if failed:
                kind.errors += 1
            if len(kind.fresh) < FRESH:
                kind.fresh.append(micros)

    def repeat(self, key: CommandKey) -> None:
        """One request has sent commands of this kind again and again."""
        with self._lock:
            self._kind(key).repeated += 1

    def _kind(self, key: CommandKey) -> Kind:
        shown = masked(key)
        kind = self._kinds.get(shown)
        if kind is None:
            kind = self._kinds.setdefault(shown if len(self._kinds) < KINDS else OTHER, Kind())
        if len(self._met) < MET:
            self._met[key] = kind
        return kind

    def drain(self) -> list[tuple[CommandKey, Kind]]:
        """The kinds that were counted since the last drain, their fresh durations in their bins."""
        with self._lock:
            changed = [
                (key, kind, kind.fresh)
                for key, kind in self._kinds.items()
                if kind.drained != (kind.count, kind.repeated)
            ]
            for _, kind, _ in changed:
                kind.fresh, kind.drained = [], (kind.count, kind.repeated)
        for _, kind, durations in changed:
            kind.drain(durations)
        return [(key, kind) for key, kind, _ in changed]


def masked(key: CommandKey) -> CommandKey:
    """The key as it may be shown: names that are data are hidden, and their order is not told apart."""
    return CommandKey(key.operation, key.collection, tuple(sorted({mask_key(name) for name in key.fields})))


def quantile(parts: Iterable[Iterable[tuple[int, int]]], share: float) -> float | None:
    """The duration in microseconds under which ``share`` of the commands were, over the bins of several processes; ``None``
    without a duration."""
    bins: Counter[int] = Counter()
    for part in parts:
        for place, count in part:
            bins[place] += count
    # The nearest rank, rounded up: of few durations the slow one must show.
    rank, passed = max(1, math.ceil(share * bins.total())), 0
    for place in sorted(bins):
        passed += bins[place]
        if passed >= rank:
            found: float = _MAPPING.value(place)
            return found
    return None
