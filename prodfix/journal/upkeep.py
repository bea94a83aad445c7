"""What keeps a worker's file sound and small while nobody waits for it: a little at a time, in the thread that writes."""

from __future__ import annotations

import sqlite3

from prodfix.journal.tables import whole

SLACK = 256  # free pages that a file keeps for what comes next: 1 MiB
STEP = 256  # pages that go back to the disk at once: some milliseconds
ROWS = 100  # that are looked at, at once

LOOKED_AT = ("writes", "dead")
"""What was promised to somebody."""


class Upkeep:
    """Of one file. :meth:`shrink` and :meth:`look` are called often, and each does a little."""

    def __init__(self) -> None:
        self._seen = dict.fromkeys(LOOKED_AT, 0)

    def shrink(self, connection: sqlite3.Connection) -> int:
        """Give back room that a backlog has had; how many pages. The file gets shorter with the next checkpoint."""
        free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        if free <= SLACK:
            return 0
        pages = min(STEP, free - SLACK)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        return pages

    def look(self, connection: sqlite3.Connection) -> bool:
        """Whether the next rows of what was promised are what was written. Raises ``sqlite3.Error``."""
        return all([self._look(connection, table) for table in LOOKED_AT])

    def _look(self, connection: sqlite3.Connection, table: str) -> bool:
        query = f"SELECT rowid, {whole(table)} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - constants
        rows = connection.execute(query, (self._seen[table], ROWS)).fetchall()
        self._seen[table] = rows[-1][0] if len(rows) == ROWS else 0
        return all(sound for _, sound in rows)
