"""How often a kind of error is expected within an hour, by its last seven days, and how often would be more than that.

Expected is what its days have shown: the mean of all hours, or, if that is more, the second greatest of its days' busiest hours.
So what comes each night, or at each peak, is expected; one bad day alone predicts nothing. Events are few, and a factor says
little of few: so the expectation is taken at its upper confidence limit (Garwood, Biometrika 28, 1936, of a Poisson count, with
the approximation of Wilson and Hilferty, PNAS 17, 1931), and the bound above that is Chernoff's for a Poisson variable (Annals of
Mathematical Statistics 23, 1952): more than it happens by chance once in a million hours at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from prodfix.statistics.window import HOUR

DAY = 24 * HOUR  # minutes
LEAST = 10  # within an hour: fewer are no escalation, whatever was expected
CHANCE = 1e-6  # with which a kind that happens as often as expected exceeds its bound
_Z = 1.645  # of the normal distribution: the upper limit is exceeded by the true mean in 5 %


class Usual(NamedTuple):
    """What the days before the last hour have shown: how often in all, in how many hours, and the busiest hour of each day,
    the greatest first. ``recent``: within the last of the hours, if that alone predicts as much."""

    total: int
    hours: float
    peaks: tuple[int, ...]
    recent: int = 0

    @property
    def expected(self) -> float:
        """Within an hour."""
        return float(max(self.total / self.hours, self._again()))

    @property
    def bound(self) -> int:
        """More than so many within an hour is an escalation."""
        mean = max(garwood(self.total) / self.hours, garwood(self._again()) if self._again() else 0.0)
        return max(LEAST - 1, chernoff(mean))

    def _again(self) -> int:
        """The busiest hour of a day, as at least two days had it."""
        return max(self.recent, self.peaks[1] if len(self.peaks) > 1 else 0)


def usual_of(points: Mapping[int, int], last: int, minutes: int) -> Usual:
    """Of counts by minute (or by the middle of hours), of the ``minutes`` until ``last``."""
    hours: dict[int, int] = {}
    for minute, count in points.items():
        if last - minutes < minute <= last:
            hours[minute // HOUR] = hours.get(minute // HOUR, 0) + count
    peaks: dict[int, int] = {}
    for hour, count in hours.items():
        day = (last - hour * HOUR) // DAY
        peaks[day] = max(peaks.get(day, 0), count)
    return Usual(sum(hours.values()), max(1.0, minutes / HOUR), tuple(sorted(peaks.values(), reverse=True)[:2]))


def garwood(count: int) -> float:
    """The upper limit (95 %) of the mean of a Poisson variable that was seen as ``count``."""
    more = count + 1
    return float(more * (1 - 1 / (9 * more) + _Z / (3 * math.sqrt(more))) ** 3)


def chernoff(mean: float, chance: float = CHANCE) -> int:
    """The least number that a Poisson variable of ``mean`` exceeds with at most this ``chance``, by
    P(X >= x) <= exp(-mean) (e mean / x)^x."""
    needed, low, high = math.log(1 / chance), max(0, int(mean)), max(16, int(2 * mean) + 1)
    while _exponent(high + 1, mean) < needed:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if _exponent(middle + 1, mean) >= needed:
            high = middle
        else:
            low = middle + 1
    return low


def _exponent(count: int, mean: float) -> float:
    if count <= mean:
        return 0.0
    return count * math.log(count / mean) - count + mean if mean > 0 else math.inf
