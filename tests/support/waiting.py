"""Waiting for something to become true, with a limit, instead of sleeping for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], *, limit: float = 30.0, every: float = 0.05, what: str = "it") -> Found:
    """The first true value of ``look()``; fails when there is none within ``limit`` seconds: of a look that began after them."""
    end = time.monotonic() + limit
    while True:
        begun = time.monotonic()
        if found := look():
            return found
        # A look may be as long as the limit where a machine is busy, and what it saw may be as old.
        if begun > end:
            raise AssertionError(f"{what} did not happen within {limit:.1f} s; last seen: {found!r}")
        time.sleep(every)


@dataclass(frozen=True)
class Lasting:
    """Equal to a number of seconds that is not less, but for a clock's grain, and more by what a busy machine may add only."""

    seconds: float
    added: float = 2.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and self.seconds - 0.02 <= other < self.seconds + self.added

    __hash__ = None  # type: ignore[assignment]
