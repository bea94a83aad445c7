"""How often each kind of command ran, how often it failed, and how long it took: counted in the process, bounded."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import partial
from typing import Any

from ddsketch.mapping import LogarithmicMapping

from prodfix.operations.fingerprints import (
    MOST_FIELDS,
    UNFILTERED,
    CommandKey,
    collection_of,
    command_key,
    filter_of,
    shown_collection,
)
from prodfix.process.native import allocate_lock
from prodfix.process.per_process import in_each_process
from prodfix.redaction.names import mask_key
from prodfix.serialization import Serializable
from prodfix.slotted import frozen, mutable

KINDS = 500  # kinds of commands that are told apart; further ones are counted together
MET = 4096  # keys as they come, before they are masked, that are remembered
OTHER = CommandKey("__other__", None, ())
FRESH = 64  # durations of one kind, the last ones, that are kept until the next drain; of others only the sum is
ACCURACY = 0.02  # relative accuracy of quantiles (DDSketch, VLDB 2019)

_END = object()  # no name of a field

_MAPPING = LogarithmicMapping(ACCURACY)
_MULTIPLIER = math.log(2) / math.log(_MAPPING.gamma)


def bin_of(micros: int) -> int:
    """The place of a duration in a sketch; what has the same place differs by 2 % at most. As the mapping itself has it, without
    its three calls: each request and each command asks for one."""
    return math.ceil(math.log(micros or 1, 2) * _MULTIPLIER)


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
    fresh: deque[int] = field(default_factory=partial(deque, maxlen=FRESH))
    drained: tuple[int, int] = (0, 0)

    def drain(self) -> None:
        """Put the fresh durations into the bins; others may come meanwhile."""
        for _ in range(len(self.fresh)):
            self.bins[bin_of(self.fresh.popleft())] += 1
            self.sampled += 1

    def totals(self) -> KindTotals:
        return KindTotals(self.count, self.errors, self.micros, self.repeated, self.sampled, list(self.bins.items()))


class CommandStats:
    """The kinds of commands of one process. ``count`` is on the path of every command: a table, three sums, a short list.

    It holds no lock, which would take half of its time: each of its steps is one that Python's own lock lets no other thread
    come between, and :meth:`drain` takes what is there.
    """

    def __init__(self) -> None:
        self._kinds: dict[CommandKey, Kind] = {}
        # By what of a command makes its key, one word after the other: such a walk takes half of what making a key does.
        self._met: dict[Any, Any] = {}
        self._remembered = 0
        in_each_process(self._renew)

    def _renew(self) -> None:
        self._lock = allocate_lock()  # around new kinds

    @property
    def commands(self) -> int:
        """How many were counted."""
        return sum(kind.count for kind in tuple(self._kinds.values()))

    def count(self, name: str, command: Mapping[str, Any], micros: int, failed: bool) -> CommandKey:
        """Count a command; its key (:func:`prodfix.operations.fingerprints.command_key`), whose collection may be told."""
        # Most have both where a find has them: only the others are looked at in full.
        collection: Any = command.get(name)
        if type(collection) is not str:
            collection = collection_of(name, command)
        found: Any = command.get("filter")
        if type(found) is not dict:
            found = () if name in UNFILTERED else filter_of(name, command) or ()
        key: CommandKey
        kind: Kind
        try:
            met = self._met[name][collection]
            for field_name in found:
                met = met[field_name]
            key, kind = met[_END]
        except KeyError:
            key, kind = self._meet(command_key(name, command))
        kind.count += 1
        kind.micros += micros
        if failed:
            kind.errors += 1
        kind.fresh.append(micros)
        return key

    def repeat(self, key: CommandKey) -> None:
        """One request has sent commands of this kind again and again."""
        self._meet(key)[1].repeated += 1

    def _meet(self, key: CommandKey) -> tuple[CommandKey, Kind]:
        with self._lock:
            shown = masked(key)
            told = key if key.collection == shown.collection else key._replace(collection=shown.collection)
            kind = self._kinds.get(shown)
            if kind is None:
                kind = self._kinds.setdefault(shown if len(self._kinds) < KINDS else OTHER, Kind())
            if self._remembered < MET and len(key.fields) < MOST_FIELDS:  # of so many, there may have been more
                self._remembered += 1
                met = self._met
                for word in (key.operation, key.collection, *key.fields):
                    met = met.setdefault(word, {})
                met[_END] = told, kind
            return told, kind

    def drain(self) -> list[tuple[CommandKey, Kind]]:
        """The kinds that were counted since the last drain, their fresh durations in their bins."""
        changed = []
        for key, kind in tuple(self._kinds.items()):
            counted = kind.count, kind.repeated
            if counted != kind.drained:
                kind.drain()
                kind.drained = counted
                changed.append((key, kind))
        return changed


def masked(key: CommandKey) -> CommandKey:
    """The key as it may be shown: names that are data are hidden, and their order is not told apart."""
    fields = tuple(sorted({mask_key(name) for name in key.fields}))
    return CommandKey(key.operation, shown_collection(key.collection), fields)


def micros_at(place: int) -> float:
    """The duration that a place of :func:`bin_of` stands for."""
    found: float = _MAPPING.value(place)
    return found


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
