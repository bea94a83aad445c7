"""What many instances would have stored, made by the code that stores it, minute by minute, as if the time passed.

The same errors and requests are given to fleets of several sizes, so that their answers must be equal and only their cost may
differ. Whole days before the last two are those two again, under other hours: instances are kept for two days only.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bson import Binary

from prodfix.journal.journal import Journal
from prodfix.statistics.counters import KEYS
from prodfix.statistics.counts import Counts, ErrorKey
from prodfix.statistics.groups import Groups
from prodfix.statistics.hours import Hours
from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour
from prodfix.statistics.packing import packed, unpacked
from prodfix.statistics.windows import ERROR_HOURS, HOUR, KEPT, Counted, Windows

CATEGORIES = ("unknown", "timeout", "database_query", "conflict", "validation", "network")
DEVICES = ("mobile", "mobile", "mobile", "desktop", "unknown")
ENDPOINTS = tuple(f"/api/v1/resource/{number}/<identity>" for number in range(24))
RELEASE = frozenset(["3f2a9c1"])
SKEW = 1.0  # of how often the kinds happen: the first twice as often as the second, three times as often as the third
DAY = 24  # hours


class Event(NamedTuple):
    """An error, and when, in seconds; or a request, and how long it took."""

    key: ErrorKey | None
    at: float
    endpoint: str
    device: str
    micros: int


def kinds_of(number: int) -> list[ErrorKey]:
    """So many kinds of errors; the device is another one each time."""
    return [
        ErrorKey(
            CATEGORIES[one % len(CATEGORIES)],
            "",
            ENDPOINTS[one % len(ENDPOINTS)],
            f"{one:016x}",
            f"INTERNAL_ERROR (Failure{one}) in shop/resource{one % 40}.py:change",
        )
        for one in range(number)
    ]


def events(minute: int, kinds: Sequence[ErrorKey], errors: int, requests: int, chance: random.Random) -> list[Event]:
    """What happens in a minute."""
    weights = list(itertools.accumulate(1 / (place + 1) ** SKEW for place in range(len(kinds))))
    found = []
    for key in chance.choices(kinds, cum_weights=weights, k=errors):
        device, at = chance.choice(DEVICES), round(minute * 60 + chance.random() * 60, 3)
        found.append(Event(key._replace(device=device), at, key.endpoint, device, 0))
    for _ in range(requests):
        micros = int(chance.lognormvariate(9.2, 0.8))
        found.append(Event(None, 0.0, chance.choice(ENDPOINTS), chance.choice(DEVICES), micros))
    return found


class Fleet:
    """So many workers of so many instances. :meth:`pass_minute` for each minute, then :meth:`end`."""

    def __init__(self, database: Any, *, workers: int, instances: int, now: float) -> None:
        self.database, self.workers, self.instances = database, workers, instances
        self.clock = now
        self._windows = Windows(Journal(Path("nowhere")), lambda: database, clock=lambda: self.clock)
        self._hours = Hours(self._windows)
        self._groups = Groups(lambda: database)
        self._states: list[InstanceHour] = []
        self._rows: list[Counted] = []
        self._hour = -1
        self.totals: Counter[int] = Counter()

    def pass_minute(self, minute: int, happened: Sequence[Event], chance: random.Random) -> None:
        """Let the workers count what happened, and their instances store it."""
        if minute // HOUR != self._hour:
            self._close()
            self._hour = minute // HOUR
            self._states = [InstanceHour(self._hour, f"{number:016x}") for number in range(self.instances)]
        counted = [Counts(KEYS) for _ in range(self.workers)]
        for event in happened:
            counts = counted[chance.randrange(self.workers)]
            if event.key is None:
                counts.count_request(event.endpoint, event.device, event.micros, failed=False)
            else:
                counts.count_one(event.key, event.at, RELEASE)
                self.totals[minute] += 1
        self._rows = []
        for number, counts in enumerate(counted):
            if counts.errors or counts.devices:
                errors, traffic = counts.error_rows(), counts.traffic_rows()
                row = Counted(f"{number}-{number:012x}", minute, 1, 0, errors, traffic)
                self._rows.append(row)
                self._states[number % self.instances].put(row, lambda minute: [])
        for state in self._states:
            state.settle(minute)

    def _close(self) -> None:
        """Store the hour, and close it if it is over."""
        changed = [state for state in self._states if state.changed]
        if not changed:
            return
        for state in changed:
            if self._hour * HOUR < self._windows.open():
                state.settle((self._hour + 1) * HOUR)
        self.database[ERROR_MINUTES].bulk_write([state.update() for state in changed], ordered=False)
        self._groups.store(self.database, self._rows)
        if self._hour * HOUR < self._windows.open():
            self._hours.close(self.database, self._hour)

    def end(self, days: int) -> None:
        """Store what is open, and put the two days before the last ones there again until there are so many."""
        self._close()
        closed = {one["_id"]: one for one in self.database[ERROR_HOURS].find()}
        known = dict(self.totals)
        for back in range(2, days + 1, 2):
            for hour, document in closed.items():
                self.database[ERROR_HOURS].replace_one({"_id": hour - back * DAY}, _moved(document, back), upsert=True)
            for minute, count in known.items():
                if minute // HOUR in closed:
                    self.totals[minute - back * DAY * HOUR] = count
        today = self._windows.open() // HOUR // DAY
        self._windows.closed.add_days(self.database, range(today - days, today))
        oldest = datetime.fromtimestamp((self._windows.now() - KEPT) // HOUR * 3600, UTC)
        self.database[ERROR_MINUTES].delete_many({"timestamp": {"$lt": oldest}})


def _moved(document: dict[str, Any], days: int) -> dict[str, Any]:
    content, hour = unpacked(document["counts"]), document["_id"] - days * DAY
    for row in content["errors"]:
        row[6], row[7] = row[6] - days * 86_400, row[7] - days * 86_400
    moved = {"_id": hour, "timestamp": datetime.fromtimestamp(hour * 3600, UTC), "counts": Binary(packed(content))}
    return {**document, **moved}


def minutes_of(now: float, hours: int) -> Iterator[int]:
    """The minutes of so many hours until ``now``, from a full hour on."""
    last = int(now // 60)
    yield from range((last // HOUR - hours) * HOUR, last + 1)
