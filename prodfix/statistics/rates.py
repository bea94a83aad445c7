"""Whether the share of failed requests has jumped, told by this instance's own minutes; robust where traffic is low."""

from __future__ import annotations

from collections.abc import Mapping

from prodfix.statistics.windows import Point

RECENT = 2  # minutes that are compared
BEFORE = 10  # minutes with which they are compared
LEAST_FAILED = 10  # requests: fewer are no jump, whatever their share
LEAST_SHARE = 0.05
JUMP = 4.0  # times the share before
CALM = 0.5  # of the share that began it, until it is over


def jumped(points: Mapping[int, Point], now: int, *, jumping: bool = False) -> bool:
    """Whether the last minutes have far more failed requests (5xx) than those before; ``jumping`` is what it was last.

    What has begun goes on until the share is half of what would begin it: one quiet minute is no end.
    """
    requests, failed = _sum(points, now - RECENT + 1, now)
    asked, lost = _sum(points, now - RECENT - BEFORE + 1, now - RECENT)
    usual = lost / asked if asked else 0.0
    needed = max(LEAST_SHARE, usual * JUMP) if not jumping else LEAST_SHARE * CALM
    return requests > 0 and failed >= (1 if jumping else LEAST_FAILED) and failed / requests >= min(needed, 1.0)


def compared(points: Mapping[int, Point], now: int) -> dict[str, str]:
    """What :func:`jumped` compares, in words."""
    requests, failed = _sum(points, now - RECENT + 1, now)
    asked, lost = _sum(points, now - RECENT - BEFORE + 1, now - RECENT)
    return {
        "failed": f"{failed} of {requests} requests in {RECENT} minutes",
        "before": f"{lost} of {asked} requests in {BEFORE} minutes",
    }


def _sum(points: Mapping[int, Point], first: int, last: int) -> tuple[int, int]:
    chosen = [point for minute, point in points.items() if first <= minute <= last]
    return sum(point.requests for point in chosen), sum(point.failed for point in chosen)
