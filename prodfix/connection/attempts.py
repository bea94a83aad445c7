"""Which failed attempts to reach the database have a line in the log: each is in one, and a long outage has few.

Attempts 1, 2, 4, 8 and so on have one, and so many more that there is one each minute; a line stands for those since the one
before it too. That follows from the number alone: so it does not matter which worker of an instance has made it.
"""

from __future__ import annotations

PERIOD = 60.0  # seconds in which there is one line at least
WAIT = 0.4  # seconds that pass between two attempts, besides the attempts themselves


def lines_each(seconds: float) -> int:
    """After how many attempts of so many seconds there is a line in any case."""
    return max(1, int(PERIOD / (seconds + WAIT)))


def before(attempt: int, each: int) -> int:
    """The last attempt before this one that has a line; 0 if it is the first."""
    if attempt < 2:
        return 0
    last = attempt - 1
    return max(1 << (last.bit_length() - 1), last // each * each)


def has_line(attempt: int, each: int) -> bool:
    return attempt & (attempt - 1) == 0 or attempt % each == 0
