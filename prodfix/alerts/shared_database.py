"""The database in which instances agree: asked within limits, and left alone for a while by who is refused again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pymongo
from pymongo.synchronous.database import Database

from prodfix.alerts.agreement import Contended
from prodfix.alerts.messages import Report
from prodfix.errors import UNANSWERED, Severity

LIMIT = 3.0  # seconds for one claim
REFUSALS = 3  # claims in a row that fail, until this instance goes on alone
ALONE = 60.0  # seconds

Answer = TypeVar("Answer")


class SharedDatabase:
    """``answering`` is the database while it answers. ``report`` is told when this instance goes on alone."""

    def __init__(self, answering: Callable[[], Database[Any] | None], report: Report) -> None:
        self._answering, self._report = answering, report
        self._refusals = 0
        self._alone_since: float | None = None

    def at(self, now: float) -> Database[Any] | None:
        """The database; None while it does not answer, or has refused claims a moment ago."""
        database = self._answering()
        if database is None:
            self._refusals, self._alone_since = 0, None  # it is away, and has not refused anything
        return None if self.refuses(now) else database

    def refuses(self, now: float) -> bool:
        """Whether it answers, and has refused claims a moment ago."""
        return self._alone_since is not None and 0 <= now - self._alone_since < ALONE

    def ask(
        self, now: float, work: Callable[[Database[Any]], Answer], database: Database[Any], *, claims: bool = True
    ) -> Answer | None:
        """The answer of ``work``; None if MongoDB gave none. Whose ``claims`` are refused in a row goes on alone for a while."""
        try:
            with pymongo.timeout(LIMIT):
                answer = work(database)
        except Contended:
            return None
        except UNANSWERED as error:
            self._refusals += claims
            if self._refusals >= REFUSALS:
                self._refusals, self._alone_since = 0, now
                facts = {"error": type(error).__name__, "seconds": ALONE}
                self._report(Severity.WARN, "alerts are not agreed upon with other instances", facts)
            return None
        if claims:
            self._refusals = 0
        return answer
