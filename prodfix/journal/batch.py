"""Statements of several tasks that are committed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prodfix.errors import JournalUnavailable

LARGEST = 256  # statements in one commit

Statement = tuple[str, Sequence[Any]]


class Unwritten(NamedTuple):
    """What somebody has for the journal, and ``written``, which is to be called once it is committed."""

    statements: Sequence[Statement]
    written: Callable[[], None] = lambda: None


def write_together(write: Callable[[Sequence[Statement]], None], *parts: Unwritten | None) -> None:
    """Commit what these have, at once: each commit costs a turn of a native thread, and of the hub. Raises what ``write`` does;
    none of them is told that it is written then."""
    found = [part for part in parts if part is not None]
    if found:
        write([statement for part in found for statement in part.statements])
        for part in found:
            part.written()


@dataclass(slots=True, eq=False)
class Part:
    """What one task writes. ``durable``: also after fsync. ``to_disk``: memory will not do. ``reserve``: it makes room.

    ``counted``: nobody waits for it to the end, so whoever commits counts it if it is lost. ``settles``: IDs of writes that are
    done with, so that it can wait in memory for a disk that has no room.
    """

    statements: Sequence[Statement]
    durable: bool = False
    to_disk: bool = False
    reserve: bool = False
    counted: bool = False
    settles: Sequence[str] | None = None
    kept: bool = False
    """Set by the thread that commits: it waits in memory for room on the disk."""


@dataclass(slots=True, eq=False)
class Batch:
    """What is set by the thread that commits: ``done``; why the disk refused (``error``), which concerns what must be there;
    and whether memory refused the others too (``lost``)."""

    parts: list[Part] = field(default_factory=list)
    size: int = 0
    done: bool = False
    lost: bool = False
    error: JournalUnavailable | None = None

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.size += len(part.statements)

    @property
    def durable(self) -> bool:
        return any(part.durable for part in self.parts)

    @property
    def reserve(self) -> bool:
        return any(part.reserve for part in self.parts)

    def statements(self, *, to_disk: bool | None = None) -> list[Statement]:
        """All of them: first those that must be on disk."""
        chosen = (True, False) if to_disk is None else (to_disk,)
        return [one for wanted in chosen for part in self.parts if part.to_disk is wanted for one in part.statements]

    def refused(self, part: Part) -> JournalUnavailable | None:
        """Why ``part`` was not committed, if it was not."""
        return self.error if self.error is not None and (part.to_disk or self.lost) and not part.kept else None
