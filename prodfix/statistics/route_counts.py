"""What is counted of one route: its requests, how long they took, and what they asked of the database.

Durations have coarser places than those of all requests of a device: a route has few requests in a minute, and each place
costs room in every document. What has the same one differs by a sixth at most, which tells the slow routes from the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field

from prodfix.operations.command_stats import ACCURACY, micros_at
from prodfix.slotted import mutable

COARSE = 2  # bits that are cut off: four places of :func:`prodfix.operations.command_stats.bin_of` are one
MIDDLE = 1  # of the four, and half a place more


@mutable
class RouteCounts:
    """Requests, those answered with 5xx, commands of the database and their microseconds; durations of requests by
    :data:`COARSE` places. What an earlier release has counted has requests only."""

    requests: int = 0
    failed: int = 0
    commands: int = 0
    command_micros: int = 0
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, requests: int, failed: int, more: Sequence[int]) -> None:
        """``more`` as :meth:`to_row` has written it, or nothing."""
        self.requests += requests
        self.failed += failed
        if len(more) > 2:
            commands, micros, first, *counts = more
            self.commands += commands
            self.command_micros += micros
            bins = self.bins
            for place, count in enumerate(counts, first):
                if count:
                    bins[place] = bins.get(place, 0) + count

    def to_row(self) -> list[int]:
        """Commands, their microseconds, the first place, and the counts of all places from there on: without a place's number
        before each of them it is half as long."""
        if not self.bins:
            return []
        first = min(self.bins)
        counts = [self.bins.get(place, 0) for place in range(first, max(self.bins) + 1)]
        return [self.commands, self.command_micros, first, *counts]

    @property
    def measured(self) -> int:
        """Requests whose duration and commands are known."""
        return sum(self.bins.values())

    def millis(self, *shares: float) -> list[float | None]:
        """Of each of ``shares``, the smallest first, the duration under which so many of the requests were, within a tenth;
        ``None`` without any. The rank is rounded up: of few durations the slow one must show."""
        ranks = [max(1, math.ceil(share * self.measured)) for share in shares]
        found: list[float | None] = []
        passed = 0
        for place, count in sorted(self.bins.items()):
            passed += count
            while len(found) < len(ranks) and passed >= ranks[len(found)]:
                micros = micros_at((place << COARSE) + MIDDLE)
                found.append(round(micros * (1 + ACCURACY) / 1e3, 2))
        return found or [None] * len(ranks)
