"""What stands in the files of all workers, read through connections that change nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from prodfix.journal.file import read_only, unreadable
from prodfix.journal.tables import SCHEMA_VERSION
from prodfix.slotted import frozen, mutable

TRIES = 3  # of a folder in which files are adopted meanwhile
PATIENCE = 0.5  # seconds


@mutable
class Reading:
    """The rows of all files; and those of which it is not known what they hold, with the reason. Not ``whole``: nor is it known
    which files there are."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    unread: dict[Path, sqlite3.Error] = field(default_factory=dict)
    whole: bool = True

    @property
    def complete(self) -> bool:
        return self.whole and not self.unread


def read_each(folder: Path, queries: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Reading]:
    """Ask all files of ``folder`` that have our tables. Raises what is wrong with a query.

    Opening the files takes longer than most answers do: for several questions they are opened once."""
    found: list[Reading] = []
    for _ in range(TRIES):
        unread: dict[Path, sqlite3.Error] = {}
        found = [Reading([], unread) for _ in queries]
        try:
            for path, connection in opened(sorted(folder.glob("*.db")), unread):
                try:
                    for (query, values), reading in zip(queries, found, strict=True):
                        reading.rows += connection.execute(query, values).fetchall()
                except sqlite3.DatabaseError as error:
                    if not unreadable(error):
                        raise
                    unread[path] = error
            return found
        except FileNotFoundError:
            continue  # adopted between the listing and the opening: its rows are in another file now
        except OSError:
            break  # a folder that this process may not list, a disk that fails
    for reading in found:
        reading.whole = False
    return found


def opened(
    paths: Sequence[Path], unread: dict[Path, sqlite3.Error] | None = None
) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Read-only connections to all files, opened before the first is read, so that a row that moves is seen once at least.

    Raises ``FileNotFoundError`` if one is gone meanwhile. One that has no tables yet, or those of another version, is left out;
    one that cannot be read is put into ``unread``.
    """
    unread = {} if unread is None else unread
    with contextlib.ExitStack() as stack:
        connections = []
        for path in paths:
            if not path.exists():
                raise FileNotFoundError
            if not path.stat().st_size:
                continue  # just made; or cut off, and SQLite would remove its -wal
            try:
                connection = stack.enter_context(contextlib.closing(_connection(path)))
                if version(connection) == SCHEMA_VERSION:
                    connections.append((path, connection))
            except sqlite3.DatabaseError as error:
                unread[path] = error
        yield from connections


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(read_only(path), uri=True, isolation_level=None, timeout=PATIENCE)


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@frozen
class Others:
    """Files of another version of this library, which no worker of this one reads; and the writes that wait in them."""

    files: int = 0
    writes: int = 0


def others(folder: Path) -> Others:
    """What is there of other versions, as far as their tables are like ours."""
    counts = [count for (count,) in _of_others(folder, "SELECT count(*) FROM writes", ())]
    return Others(len(counts), sum(count or 0 for count in counts))


def waits_elsewhere(folder: Path, identity: str) -> tuple[str, bytes, float] | None:
    """The operation, the entry and the time of a write that waits in a file of another version."""
    query = "SELECT operation, entry, created FROM writes WHERE id = ?"
    return next((row for row in _of_others(folder, query, (identity,)) if len(row) > 1), None)


def _of_others(folder: Path, query: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The first row of each file of another version, and ``(None,)`` for one that has none, or cannot say."""
    for path in sorted(folder.glob("*.db")):
        with contextlib.suppress(OSError, sqlite3.Error):
            if not path.stat().st_size:
                continue
            with contextlib.closing(_connection(path)) as connection:
                if version(connection) in (0, SCHEMA_VERSION):
                    continue
                row: tuple[Any, ...] | None = None
                with contextlib.suppress(sqlite3.Error):
                    row = connection.execute(query, values).fetchone()
                yield row or (None,)
