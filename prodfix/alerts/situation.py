"""How the instance is, read from the journals of all its workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from prodfix.alerts.conditions import JournalUse, Situation
from prodfix.journal.journal import Journal
from prodfix.workers.workers import Workers, or_none

REST = 20.0  # times as long as counting took, until what is on disk is counted again

_COUNTS = (
    "SELECT (SELECT count(*) FROM writes), (SELECT total(length(entry)) FROM writes),"
    " (SELECT count(*) FROM dead), (SELECT total(length(entry)) FROM dead)"
)


class Observer:
    """Reads the states of the live workers and what waits on disk. ``memory_limit`` is in MiB, and asked for once; ``rates``
    tells the failed requests that are compared."""

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
    ) -> None:
        self.workers, self._journal = workers, journal
        self._instance, self._memory_limit, self._rates = instance, cache(memory_limit), rates
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._use: JournalUse | None = None
        self._count_at = 0.0

    def situation(self, disk: str | None = None) -> Situation:
        """``disk``: why the caller's own reading or writing failed."""
        self._count()
        workers = self.workers.read()
        return Situation(
            self._instance,
            workers,
            journals=self._use,
            disk=disk,
            memory_limit=self._memory_limit(),
            rates=self._compared() if any("error_rate" in worker.incidents for worker in workers) else {},
        )

    def _compared(self) -> Mapping[str, Any]:
        return or_none(self._rates) or {}  # that it is so has been told by those who could read it

    def _count(self) -> None:
        begun = time.monotonic()
        if begun < self._count_at:
            return
        files = or_none(lambda: self._journal.read(_COUNTS))  # a row of each file
        if files is None:
            self._use = None
        else:
            self._use = JournalUse(
                sum(dead for _, _, dead, _ in files),
                max((self._share(row[0] + row[2], row[1] + row[3]) for row in files), default=0.0),
            )
        self._count_at = begun + REST * (time.monotonic() - begun)

    def _share(self, entries: int, size: float) -> float:
        return max(entries / self._max_entries, size / self._max_bytes)
