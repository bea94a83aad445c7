"""How a figure has changed since the window before. Worse is only what chance does not explain."""

from __future__ import annotations

import math
from typing import NamedTuple

FEW = 20  # requests, below which a duration says nothing
SLOWER = 1.2  # times as long


class FigureChange(NamedTuple):
    """In words for under the figure; ``before`` is what the figure was."""

    words: str
    before: str
    worse: bool = False


def of_counts(now: int, before: int, *, bad: bool = True) -> FigureChange | None:
    """``bad``: more of it is worse. Two counts of the same rate differ by the root of their sum, or twice that (Poisson)."""
    if not now and not before:
        return None
    worse = bad and now - before > 2 * math.sqrt(now + before)
    return FigureChange(_words(now, before), f"{before:,}", worse)


def of_rates(now: tuple[int, int], before: tuple[int, int]) -> FigureChange | None:
    """Each as what failed, and of how many."""
    (failed, of), (failed_before, of_before) = now, before
    if not of or not of_before:
        return None
    expected = failed_before * of / of_before
    worse = failed - expected > 2 * math.sqrt(failed + expected * of / of_before)
    share = f"{failed_before / of_before * 100:.2f} %"
    return FigureChange(f"{share} before", share, worse)


def of_durations(now: float | None, before: float | None, requests: int) -> FigureChange | None:
    """In milliseconds, over ``requests`` in the shorter-lived of the two windows."""
    if not now or not before:
        return None
    worse = requests >= FEW and now > before * SLOWER
    return FigureChange(_words(now, before), f"{before:,.0f} ms" if before >= 10 else f"{before:.1f} ms", worse)


def _words(now: float, before: float) -> str:
    if not before:
        return "none before"
    share = (now - before) / before
    if share >= 9:
        return f"{now / before:,.0f} times as many" if isinstance(before, int) else f"{now / before:,.0f} times as long"
    percent = round(share * 100)
    return "as before" if not percent else f"{percent:+d} %".replace("-", "\N{MINUS SIGN}")
