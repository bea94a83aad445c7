"""Writes that are done with while the disk has no room to say so: they wait in memory, and out of sight.

Should the process die meanwhile they are delivered once more, which changes nothing: a step is applied once for the ID of its
operation.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from prodfix.journal.batch import Statement

MOST = 5_000  # statements that may wait; more, and the backlog waits for room


class Settled:
    """What is to be committed with whatever is committed next; ``settled`` is a table of the connection, in its memory."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._identities: list[str] = []

    def keep(self, connection: sqlite3.Connection, statements: Sequence[Statement], identities: Sequence[str]) -> bool:
        """Whether there is room for them here."""
        if len(self.statements) + len(statements) > MOST:
            return False
        self.statements.extend(statements)
        self._identities.extend(identities)
        self.hide(connection)
        return True

    def hide(self, connection: sqlite3.Connection) -> None:
        """Keep them out of sight of a connection, which may be a new one."""
        rows = [(identity,) for identity in self._identities]
        connection.executemany("INSERT OR IGNORE INTO temp.settled VALUES (?)", rows)

    def forget(self, connection: sqlite3.Connection) -> None:
        """They have been committed."""
        self.statements, self._identities = [], []
        connection.execute("DELETE FROM temp.settled")
