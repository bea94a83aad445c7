"""What a check has found, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from prodfix.slotted import frozen


class Level(StrEnum):
    """How bad it is, the worst last. Only errors, and warnings if asked for, make the command fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Level).index(self)


@frozen
class Finding:
    """One finding. ``found`` and ``advice`` are a sentence each; ``advice`` is empty where nothing is to be done.

    ``check`` is the code of the check, which stays what it is over releases. ``facts`` hold numbers and names: never a
    user, a password, a host or a key.
    """

    level: Level
    found: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    check: str = ""
    """Set by who runs the check."""

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "level": self.level.value,
            "found": self.found,
            "advice": self.advice,
            "facts": dict(self.facts),
        }


class NotApplicable(Exception):
    """Raised by a check that has nothing to look at here: then there is no finding, not even a good one."""


class NotChecked(Exception):
    """Raised by a check that cannot look now. Its text, which holds no value, says why."""


def told(found: str, **facts: Any) -> Finding:
    """Nothing is wrong, and it is worth a line."""
    return Finding(Level.OK, found, "", facts)


def note(found: str, advice: str, **facts: Any) -> Finding:
    """Worth knowing; nothing has to be done."""
    return Finding(Level.NOTE, found, advice, facts)


def warning(found: str, advice: str, **facts: Any) -> Finding:
    """Works, and will not on a bad day."""
    return Finding(Level.WARNING, found, advice, facts)


def error(found: str, advice: str, **facts: Any) -> Finding:
    """Does not work, or loses or shows what it must not."""
    return Finding(Level.ERROR, found, advice, facts)


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
