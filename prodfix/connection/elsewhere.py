"""Whether the database answers that has what is ours, where that is another one than the application's.

Nothing asks it when nobody wants to know: what is written tells by itself, and who reads asks first
(:mod:`prodfix.connection.readable`). One that does not answer is tried again at growing intervals.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

FIRST, LONGEST = 1.0, 30.0  # seconds until the next try


class Elsewhere:
    """``database`` is it, answering or not."""

    def __init__(self, database: Callable[[], Database[Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._next, self._pause = 0.0, FIRST
        self.lost_since: datetime | None = None
        """Since when it is known not to answer."""

    def answering(self) -> Database[Any] | None:
        """The database, unless it is known not to answer and too early for another try."""
        return None if self.lost_since is not None and self._clock() < self._next else self._database()

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Around what asks it: learns from what it raises, and lets it pass."""
        try:
            yield
        except PyMongoError:
            self.lost_since = self.lost_since or datetime.now(UTC)
            self._next = self._clock() + self._pause * random.uniform(0.8, 1.2)
            self._pause = min(LONGEST, 2 * self._pause)
            raise
        self.lost_since, self._pause = None, FIRST
