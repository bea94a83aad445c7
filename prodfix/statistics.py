"""How many errors, of what kind, from where: counted by minute, the same from every worker.

A worker counts in absolute totals for the minute and puts each new total into its journal. An answer reads the journals
of all workers of the instance first and MongoDB second, and for each worker's minute takes the higher revision: so an
error is counted once, from whichever worker one asks, and also while MongoDB is down (``scope: "instance"``).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import orjson
import pymongo
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.errors import ErrorCategory
from prodfix.journal import Journal, Statement
from prodfix.storage import ERROR_MINUTES

TimeRange = Literal["1h", "24h", "7d"]
TIME_RANGES: tuple[TimeRange, ...] = get_args(TimeRange)
_MINUTES = {"1h": 60, "24h": 24 * 60, "7d": 7 * 24 * 60}

KEYS = 300  # different kinds of errors in one minute of one worker; further ones are counted together
OTHER = "__other__"
TOP = 10
READ_LIMIT = 3.0  # seconds

Key = tuple[str, str, str, str]  # category, device, endpoint, message


@dataclass(frozen=True, slots=True)
class ErrorStatistics:
    """The seed's ErrorStatistics, and what it covers. Minutes are counted since the epoch, ``from`` to ``to`` inclusive."""

    time_range: TimeRange
    window_from: int
    window_to: int
    scope: Literal["all", "instance"]
    workers: int
    counts: Counter[Key]

    def to_json(self) -> dict[str, Any]:
        return {
            "timeRange": self.time_range,
            "totalErrors": self.counts.total(),
            "errorsByCategory": self._by(0),
            "errorsByDevice": self._by(1),
            "errorsByEndpoint": self._by(2),
            "topErrors": [{"message": name, "count": count} for name, count in list(self._by(3).items())[:TOP]],
            "scope": self.scope,
            "windowFrom": _moment(self.window_from),
            "windowTo": _moment(self.window_to + 1),
            "workers": self.workers,
        }

    def _by(self, place: int) -> dict[str, int]:
        found: Counter[str] = Counter()
        for key, count in self.counts.items():
            found[key[place]] += count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


class Statistics:
    """Counts in this process, and answers for all."""

    def __init__(
        self,
        journal: Journal,
        database: Callable[[], Database[Any] | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._database, self._clock = journal, database, clock
        self._counting = threading.Lock()
        self._minute = 0
        self._revision = 0
        self._returns = 0
        self._counts: Counter[Key] = Counter()

    def count(self, category: ErrorCategory, device: str, endpoint: str, message: str) -> list[Statement]:
        """Count one error; the statements that make the new total known to all workers."""
        with self._counting:
            minute = int(self._clock() // 60)
            if minute != self._minute:
                # A clock that was set back counts a minute once more, beside the total that it has already.
                self._returns += minute < self._minute
                self._minute, self._revision, self._counts = minute, 0, Counter()
            key = (str(category), device, endpoint, message)
            if key not in self._counts and len(self._counts) >= KEYS:
                key = (str(category), device, OTHER, OTHER)
            self._counts[key] += 1
            self._revision += 1
            revision, worker = self._revision, self._journal.boot + "+" * self._returns
            counts = orjson.dumps([[*key, count] for key, count in self._counts.items()])
        upsert = (
            "INSERT INTO minutes (worker, minute, revision, counts) VALUES (?, ?, ?, ?) ON CONFLICT (worker, minute)"
            " DO UPDATE SET revision = excluded.revision, counts = excluded.counts WHERE excluded.revision > revision"
        )
        return [(upsert, (worker, minute, revision, counts))]

    def read(self, time_range: TimeRange) -> ErrorStatistics:
        """The statistics of the last hour, day or week. Never raises for a database that is down.

        Raises ``TimeoutError`` if the disk does not answer.
        """
        last = int(self._clock() // 60)
        first = last - _MINUTES[time_range] + 1
        # Journals first: a total that is stored and forgotten in between is then found in MongoDB, never in neither.
        query = "SELECT worker, minute, revision, counts FROM minutes WHERE minute BETWEEN ? AND ?"
        newest: dict[tuple[str, int], tuple[int, list[Any]]] = {}
        for worker, minute, revision, counts in self._journal.read(query, (first, last)):
            _keep(newest, (worker, minute), revision, orjson.loads(counts))
        stored = self._stored(first, last)
        for document in stored or ():
            identity = document["_id"]
            _keep(newest, (identity["worker"], identity["minute"]), document["revision"], document["counts"])
        total: Counter[Key] = Counter()
        for _, rows in newest.values():
            for category, device, endpoint, message, count in rows:
                total[(category, device, endpoint, message)] += count
        workers = len({worker.rstrip("+") for worker, _ in newest})
        return ErrorStatistics(time_range, first, last, "instance" if stored is None else "all", workers, total)

    def _stored(self, first: int, last: int) -> Iterable[dict[str, Any]] | None:
        database = self._database()
        if database is None:
            return None
        since = datetime.fromtimestamp(first * 60, UTC)
        until = datetime.fromtimestamp(last * 60, UTC)
        try:
            with pymongo.timeout(READ_LIMIT):
                return list(database[ERROR_MINUTES].find({"timestamp": {"$gte": since, "$lte": until}}))
        except PyMongoError:
            return None


def _keep(
    newest: dict[tuple[str, int], tuple[int, list[Any]]], key: tuple[str, int], revision: int, counts: list[Any]
) -> None:
    if key not in newest or newest[key][0] < revision:
        newest[key] = (revision, counts)


def _moment(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).isoformat().replace("+00:00", "Z")
