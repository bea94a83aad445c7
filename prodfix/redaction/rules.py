"""What a rule is, and what rules are made of.

Every pattern is linear: repetitions are bounded or possessive. Python 3.11 before 3.11.5 finds nothing if a turn of a
possessive group fails half-way: each turn of ours begins with a character that no other turn begins with, and ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

MASK = "***"


class Rule(NamedTuple):
    """``instead`` is put where ``pattern`` matches. One of ``hints`` is in each text in which it can, in lower case: looking
    for them first costs next to nothing."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    instead: str | Callable[[re.Match[str]], str]


def whole(match: re.Match[str]) -> str:
    """For patterns that also take what only begins like a secret, so that no character is looked at twice."""
    return MASK if match[1] else match[0]


STRING = r"""\\{0,8}+(?:"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?)"""


def bracketed(levels: int) -> str:
    """All between two brackets; to the end of the text if nothing closes, or it is too deep. It never steps back."""
    inner = bracketed(levels - 1) if levels else r"[\[({].*+"
    return rf"[\[({{](?:[^\[\](){{}}\"']++|{STRING}|{inner})*+[\])}}]?"
