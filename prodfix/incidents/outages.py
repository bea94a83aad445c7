"""When the database was away, for who asks whether an error is a consequence of that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pymongo.errors import PyMongoError

from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import GAP, NOTICED

BEFORE, AFTER = timedelta(seconds=NOTICED), timedelta(seconds=GAP)
"""Requests notice a loss before it is certain, and those that waited through it end after it."""


class Outage(NamedTuple):
    """``begin`` and ``end`` are seconds since the epoch, between which its consequences are."""

    incident: str
    begin: float
    end: float


class Outages:
    """Incidents of ``log`` that are losses of the database, as all instances have seen them."""

    def __init__(self, log: Callable[[], IncidentLog]) -> None:
        self._log = log

    def between(self, begin: float, end: float) -> list[Outage]:
        """Those that touch this time, in seconds since the epoch. Never raises: what nobody can tell was none, and an error that
        is told once too often is better than one that is not told."""
        first, last = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
        try:
            page = self._log().read(begin=first - AFTER, end=last + BEFORE, cause="database_lost", limit=1000)
        except (TimeoutError, OSError, PyMongoError):
            return []
        return [
            Outage(one.id, (one.from_ - BEFORE).timestamp(), (one.to + AFTER).timestamp()) for one in page.incidents
        ]
