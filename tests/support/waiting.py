"""Waiting for something to become true, with a limit, instead of sleeping for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], *, limit: float = 10.0, every: float = 0.05, what: str = "it") -> Found:
    """The first true value of ``look()``; fails when there is none within ``limit`` seconds."""
    end = time.monotonic() + limit
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {limit:.1f} s; last seen: {found!r}")
        time.sleep(every)
    return found
