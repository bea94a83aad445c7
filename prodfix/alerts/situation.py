"""How the instance is, read from the journals of all its workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from prodfix.alerts.conditions import JournalUse, Situation
from prodfix.journal.journal import Journal
from prodfix.journal.news import News
from prodfix.process.breather import give_way
from prodfix.workers.workers import KNOWN, Workers, or_none

REST = 20.0  # times as long as counting took, until what is on disk is counted again

_COUNTS = (
    "SELECT (SELECT count(*) FROM writes), (SELECT total(length(entry)) FROM writes),"
    " (SELECT count(*) FROM dead), (SELECT total(length(entry)) FROM dead)"
)


class Observer:
    """Reads the states of the live workers and what waits on disk. ``memory_limit`` is in MiB, and asked for once; ``rates``
    tells the failed requests that are compared; ``version`` is another one whenever a journal has changed, None while nobody
    can say."""

    def __init__(
        self,
        journal: Journal,
        workers: Workers,
        *,
        instance: str,
        max_entries: int,
        max_bytes: int,
        memory_limit: Callable[[], float | None],
        rates: Callable[[], Mapping[str, Any]] = dict,
        version: Callable[[], object | None] = lambda: None,
    ) -> None:
        self.workers, self._journal = workers, journal
        self._instance, self._memory_limit, self._rates = instance, cache(memory_limit), rates
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._use: JournalUse | None = None
        self._count_at = 0.0
        self._changes = News(version, rest=KNOWN)

    def situation(self, now: float, disk: str | None = None) -> Situation:
        """``now``: seconds since the epoch. ``disk``: why the caller's own reading or writing failed."""
        self._count()
        workers = self.workers.read(fresh=False)
        give_way()
        return Situation(
            self._instance,
            workers,
            now=now,
            journals=self._use,
            disk=disk,
            memory_limit=self._memory_limit(),
            rates=self._compared() if any("error_rate" in worker.incidents for worker in workers) else {},
        )

    def _compared(self) -> Mapping[str, Any]:
        return or_none(self._rates) or {}  # that it is so has been told by those who could read it

    def _count(self) -> None:
        begun = time.monotonic()
        found = self._changes.begin()
        if begun < self._count_at or (found is None and self._use is not None):
            return
        files = or_none(lambda: self._journal.read(_COUNTS))  # a row of each file
        if files is None:
            self._use = None
            self._changes.forget()
        else:
            self._use = JournalUse(
                sum(dead for _, _, dead, _ in files),
                max((self._share(row[0] + row[2], row[1] + row[3]) for row in files), default=0.0),
            )
            if found is not None:
                self._changes.done(found)
        self._count_at = begun + REST * (time.monotonic() - begun)

    def _share(self, entries: int, size: float) -> float:
        return max(entries / self._max_entries, size / self._max_bytes)
