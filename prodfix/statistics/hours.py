"""Hours that are over: one document over all instances, made once, and again whenever one of its minutes arrives late."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from bson import Binary
from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.statistics.closed_hours import DAY, ERROR_HOURS, OURS, UNBELIEVABLE
from prodfix.statistics.counts import frequent, seen_of
from prodfix.statistics.instance_hours import ERROR_MINUTES, contents_of, open_rows_of, shared, sums_of, within
from prodfix.statistics.packing import packed
from prodfix.statistics.parts import part_of
from prodfix.statistics.window import HOUR, Window, moment_of
from prodfix.statistics.windows import GRACE, LATEST, Windows

HOUR_KEYS = 2_000  # kinds of errors in one hour over all instances
DAYS = 7  # before this one, that have a document
FORM = 2  # of an hour's document: an earlier release has read no instance's document of this one
CLOSED_AT_ONCE = 6  # hours in one tick
HEAVIEST = 2**31  # of what one instance adds to the weight of an hour: as many changes nobody makes
LONGEST_REST = 2.2 * 3600  # seconds from one look for closed hours to the next
SPREAD = 60.0  # seconds within which the instances look


class Hours:
    """Closes hours."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._close_at = 0.0

    def closed(self, database: Database[Any], hours: set[int]) -> list[int]:
        """Those of ``hours`` that are closed: by this instance's clock, or by that of one which is ahead of it."""
        open_ones = [hour for hour in hours if hour * HOUR >= self._windows.open()]
        ahead = {row["_id"] for row in database[ERROR_HOURS].find({"_id": {"$in": open_ones}}, {"_id": 1})}
        return sorted(hours.difference(open_ones) | ahead)

    def look(self, database: Database[Any]) -> None:
        """Once an hour, and at the start: make the documents of closed hours that have none, and of days that are over."""
        rest = self._close_at - self._windows.clock()
        if 0 < rest <= LONGEST_REST:  # later than that means that the clock was put back
            return
        last = self._windows.open() // HOUR - 1
        first = (self._windows.now() - LATEST) // HOUR + 1
        made = {"_id": {"$gte": first}, "form": FORM, **OURS}
        there = {row["_id"] for row in database[ERROR_HOURS].find(made, {"_id": 1})}
        wanted = {"$in": [moment_of(hour * HOUR) for hour in range(first, last + 1) if hour not in there]}
        # An hour without a minute gets no document, and must not stand before those that need one.
        counted = database[ERROR_MINUTES].distinct("timestamp", {"timestamp": wanted})
        missing = sorted(int(moment.timestamp() // 3600) for moment in counted)
        for hour in missing[-CLOSED_AT_ONCE:]:
            self.close(database, hour)
        if len(missing) <= CLOSED_AT_ONCE:
            today = self._windows.open() // HOUR // DAY
            self._windows.closed.add_days(database, range(today - DAYS, today))
            # Not all instances at the same second: the first one does it for all.
            self._close_at = ((last + 2) * HOUR + GRACE) * 60 + random.uniform(0, SPREAD)

    def close(self, database: Database[Any], hour: int) -> None:
        """Make the document of an hour of what its instances have stored."""
        window, weight = Window(HOUR_KEYS), 0
        for document in database[ERROR_MINUTES].find(within([hour]), shared()):
            try:
                for content in (*contents_of(document), *sums_of(open_rows_of(document))):
                    _add(window, content)
                window.workers.update([str(worker) for worker in document["workers"]])
                weight += min(max(1, int(document["revision"])), HEAVIEST)
            except UNBELIEVABLE:
                weight += 1  # of what could be read it is the hour all the same
            self._windows.pause()
        if not weight:
            return
        parts = {
            "_id": hour,
            "timestamp": moment_of(hour * HOUR),
            "weight": weight,
            "form": FORM,
            **_contents(window),
        }
        database[ERROR_HOURS].delete_one({"_id": hour, "counts": {"$exists": False}})  # another release's
        try:
            # Another instance may have seen a later minute of this hour already: the heavier document has all of the lighter.
            database[ERROR_HOURS].replace_one({"_id": hour, "weight": {"$lte": weight}}, parts, upsert=True)
        except DuplicateKeyError:
            # So does one that an earlier release has made: it is not made again and again.
            database[ERROR_HOURS].update_one({"_id": hour, "form": {"$exists": False}}, {"$set": {"form": FORM}})


def _contents(window: Window) -> dict[str, Binary]:
    """The hour, and beside it the steps of each of its rows: who asks only how many there were need not have them."""
    content = window.to_json()
    del content["trends"]  # as its readers make them of its rows
    steps = [row[9] for row in content["errors"]]
    content["errors"] = [row[:9] if len(row) == 10 else [*row[:9], [], *row[10:]] for row in content["errors"]]
    return {"counts": Binary(packed(content)), "steps": Binary(packed(steps))}


def _add(window: Window, content: Mapping[str, Any]) -> None:
    """Add a part of an hour: each row of errors, and each point, under the part's first minute."""
    for offset, requests, failed, errors, _ in content["minutes"]:
        window.point(part_of(offset)).add(requests, failed, errors)
    for row in sorted(content["errors"], key=frequent):
        window.counts.count_error(*seen_of(row, {part_of(row[9][0]): row[5]}))
    window.counts.add_traffic(content["traffic"])
