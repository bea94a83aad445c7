"""Whether our own database can be read from now: it may answer pings while it answers nothing else.

Look-ups are for bad days, and must not wait on one for each of their parts. One cheap command asks before them, and what it
found holds for a moment: with it an answer has what MongoDB knows, without it what the journals of this instance hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymongo
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

LIMIT = 0.45  # seconds for the command; the driver waits for a server in steps of half a second
HOLDS = 2.0  # seconds for which its answer holds
ASKED = "error_log"  # any collection: nothing is found


class Readable:
    """Call it for the database, or for None. ``answering`` is the database unless it is known to be down.

    Never raises, and never waits for much longer than ``limit`` seconds.
    """

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        limit: float = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answering, self._clock = answering, clock
        self._limit = limit
        self._asked_at = -HOLDS
        self._reads = False

    def allow(self, seconds: float) -> None:
        """From now on let the command take so long: for who asks once, over a connection that is to be made first."""
        self._limit = seconds

    def __call__(self) -> Database[Any] | None:
        database = self._answering()
        if database is None:
            return None
        if self._clock() - self._asked_at >= HOLDS:
            self._reads = self._ask(database)
            self._asked_at = self._clock()
        return database if self._reads else None

    def _ask(self, database: Database[Any]) -> bool:
        try:
            with pymongo.timeout(self._limit):
                database[ASKED].find_one({"_id": 0}, {"_id": 1})
        except PyMongoError:
            return False
        return True
