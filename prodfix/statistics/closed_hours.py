"""Reading hours that are over, of which there is one document over all instances, and days, which are sums of them.

A day's document tells of which hours it is the sum, and how heavy each was: what has the same weight has the same content. So
it is never wrong, only of no use once one of its hours has changed, until somebody makes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bson import Binary
from pymongo.synchronous.database import Database

from prodfix.statistics.packing import packed, unpacked
from prodfix.statistics.window import HOUR, Window, moment_of

ERROR_HOURS = "error_hours"
ERROR_DAYS = "error_days"

DAY = 24  # hours
FORM = 2  # of a day's document: with trends
KEPT = 48 * HOUR  # minutes that are kept as such, in the journals and in MongoDB
KNOWN = 8 * DAY  # closed hours whose weights are kept
SUMS = 18  # days, and parts of days, that are kept: those of a week, and those of the last 24 hours

OURS = {"counts": {"$exists": True}}
"""The query for what this release can read: another one may have left other documents under the same name."""

Version = tuple[tuple[int, int], ...]
"""Hours and the weights of their documents."""

UNBELIEVABLE = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
"""What is raised over a document that another release, a hand or a damage has left: it must not hide all others."""


class ClosedHours:
    """``now`` is the minute that it is; ``pause`` is called between two documents, as others wait for this thread."""

    def __init__(self, now: Callable[[], int], pause: Callable[[], None]) -> None:
        self._now, self._pause = now, pause
        self._sums: dict[Version, bytes] = {}
        self._old: dict[int, int | None] = {}
        self.unread: set[int] = set()
        """Hours of which no sum that is kept has all."""

    def weights(self, database: Database[Any], hours: range) -> Iterator[tuple[int, int]]:
        """Of those that have a document. One of which MongoDB takes no minute any more stays as it is, and is asked for once."""
        changing = (self._now() - KEPT) // HOUR
        wanted = [hour for hour in hours if hour >= changing or hour not in self._old]
        query = {"_id": {"$in": wanted}, **OURS}
        rows = [(row["_id"], row.get("weight")) for row in database[ERROR_HOURS].find(query, {"weight": 1})]
        found = {hour: weight for hour, weight in rows if isinstance(weight, int)}
        known = {hour: weight for hour, weight in self._old.items() if hour >= self._now() // HOUR - KNOWN}
        self._old = known | {hour: found.get(hour) for hour in wanted if hour < changing}
        for hour in hours:
            weight = found.get(hour, self._old.get(hour))
            if weight is not None:
                yield hour, weight

    def summed(self, database: Database[Any], hours: Version, *, whole: bool = False) -> dict[str, Any]:
        """The sum of these hours of a day, kept until one of them changes. ``whole``: they are all that the day has, so that
        it may have a document."""
        kept = self._sums.pop(hours, None)
        if kept is None:
            kept = (self._day(database, hours) if whole else None) or self._sum(database, hours)
            if len(self._sums) >= SUMS:
                self._sums.pop(next(iter(self._sums)), None)
        self._sums[hours] = kept  # at the end again: what was not asked for the longest goes first
        found: dict[str, Any] = unpacked(kept)
        return found

    def _day(self, database: Database[Any], hours: Version) -> bytes | None:
        document = database[ERROR_DAYS].find_one({"_id": hours[0][0] // DAY})
        if document is None or _version(document) != hours:
            return None
        try:
            Window().add_hour(0, unpacked(document["counts"]))
        except UNBELIEVABLE:
            return None
        self.unread.difference_update(hour for hour, _ in hours)
        return bytes(document["counts"])

    def _sum(self, database: Database[Any], hours: Version) -> bytes:
        whole, wanted = Window(), [hour for hour, _ in hours]
        for document in database[ERROR_HOURS].find({"_id": {"$in": wanted}}, {"counts": 1}):
            try:
                whole.add_hour(document["_id"], unpacked(document["counts"]))
                self.unread.discard(document["_id"])
            except UNBELIEVABLE:
                self.unread = {hour for hour in self.unread if hour >= self._now() // HOUR - KNOWN} | {document["_id"]}
            self._pause()
        return packed(whole.to_json())

    def add_days(self, database: Database[Any], days: range) -> None:
        """Make the documents of these days, which are over, as far as they are not what their hours are."""
        hours: dict[int, list[tuple[int, int]]] = {}
        for hour, weight in self.weights(database, range(days.start * DAY, days.stop * DAY)):
            hours.setdefault(hour // DAY, []).append((hour, weight))
        query = {"_id": {"$in": list(hours)}}
        there = {one["_id"]: _version(one) for one in database[ERROR_DAYS].find(query, {"hours": 1, "form": 1})}
        for day, some in hours.items():
            version = tuple(some)
            if there.get(day) != version:
                parts = {
                    "timestamp": moment_of(day * DAY * HOUR),
                    "hours": [list(one) for one in version],
                    "form": FORM,
                }
                document = {"_id": day, **parts, "counts": Binary(self._sum(database, version))}
                if self.unread.isdisjoint(hour for hour, _ in version):
                    database[ERROR_DAYS].replace_one({"_id": day}, document, upsert=True)


def _version(document: dict[str, Any]) -> Version | None:
    """None of one that another release has made, with other contents."""
    try:
        return None if document.get("form") != FORM else tuple((hour, weight) for hour, weight in document["hours"])
    except UNBELIEVABLE:
        return None


def days_of(hours: range, closed: Iterable[int]) -> Iterator[tuple[range, list[int], list[int]]]:
    """The hours by day, from the newest to the oldest: those of the day, the closed ones of them, and the others."""
    there = set(closed)
    for day in range((hours.stop - 1) // DAY, hours.start // DAY - 1, -1):
        part = range(max(hours.start, day * DAY), min(hours.stop, (day + 1) * DAY))
        yield part, [hour for hour in part if hour in there], [hour for hour in part if hour not in there]
