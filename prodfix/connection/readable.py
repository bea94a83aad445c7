"""Whether our own database can be read from now: it may answer pings while it answers nothing else.

Look-ups are for bad days, and must not wait on one for each of their parts. One cheap command asks before them, and what it
found holds for a moment: with it an answer has what MongoDB knows, without it what the journals of this instance hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymongo
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from pymongo.synchronous.database import Database

from prodfix.errors import answers_late

LIMIT = 0.45  # seconds for the command; the driver waits for a server in steps of half a second
HOLDS = 2.0  # seconds for which its answer holds
ASKED = "error_log"  # any collection: nothing is found


class Readable:
    """Call it for the database, or for None. ``answering`` is the database unless it is known to be down.

    Never raises, and never waits for much longer than ``limit`` seconds. ``lost`` says whether it is known not to answer, where
    ``answering`` cannot: nothing pings it.
    """

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        lost: Callable[[], bool] | None = None,
        limit: float = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answering, self._lost, self._clock = answering, lost, clock
        self._limit = limit
        self._asked_at = -HOLDS
        self._reads = False
        self._late, self._pinged = False, lost is None

    def allow(self, seconds: float) -> None:
        """From now on let the command take so long: for who asks once, over a connection that is to be made first."""
        self._limit, self._pinged = seconds, False

    @property
    def slow(self) -> bool:
        """Whether it is there, and answers too late to be read: no refusal, and no lost connection."""
        return self._late and self._answering() is not None and not (self._lost is not None and self._lost())

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
        except PyMongoError as error:
            # A server of which pings say that it is there is slow also while the driver finds none: after a command without an
            # answer it looks for it anew. Where nothing pings, it is lost.
            unfound = self._pinged and isinstance(error, ServerSelectionTimeoutError)
            self._late = unfound or answers_late(error)
            return False
        self._late = False
        return True
