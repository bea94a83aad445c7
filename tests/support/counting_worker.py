"""What counts errors and requests in one worker, with a clock that the test turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.journal.journal import Journal
from prodfix.records.storage import Storage
from prodfix.statistics.counters import Counters
from prodfix.statistics.counts import ErrorKey
from prodfix.statistics.decision_orders import DecisionOrders
from prodfix.statistics.escalations import Escalations
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.triage import Triage
from prodfix.statistics.windows import Windows
from prodfix.workers.worker_state import WorkerState

BEGIN = 4_102_444_800.0  # 2100-01-01T00:00:00Z: nothing of it is old enough for the server to delete it
MINUTE = int(BEGIN // 60)
HOUR = 3600.0


class Clock:
    """Seconds since the epoch, turned by hand."""

    def __init__(self, now: float = BEGIN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def kind(
    fingerprint: str = "f1", *, category: str = "unknown", device: str = "mobile", endpoint: str = "/", title: str = ""
) -> ErrorKey:
    return ErrorKey(category, device, endpoint, fingerprint, title or f"title of {fingerprint}")


class Worker:
    """One worker's counting on ``journal``. ``database`` is ``None`` while MongoDB is down; ``told`` are regressions."""

    def __init__(self, journal: Journal, clock: Clock, database: Any = None, *, release: str = "v1") -> None:
        self.journal, self.clock, self.database = journal, clock, database
        self.told: list[Mapping[str, Any]] = []
        self.counters = Counters(journal, release=release, clock=clock)
        self.windows = Windows(journal, lambda: self.database, clock=clock)
        self.minutes = Minutes(journal, self.windows, period=0.0)
        self.orders = DecisionOrders(journal)
        self.new: list[Mapping[str, Any]] = []
        self.early: list[Mapping[str, Any]] = []
        self.unignored: list[Mapping[str, Any]] = []
        self.further: list[Mapping[str, int]] = []
        self.escalated: list[Mapping[str, Any]] = []
        self.groups = Groups(
            lambda: self.database,
            kinds=self.counters.kinds,
            orders=self.orders,
            on_regression=self.told.append,
            on_new_kind=self.new.append,
            on_early_kind=self.early.append,
            on_further_kinds=self.further.append,
            on_escalation=self.escalated.append,
            on_unignored=self.unignored.append,
            clock=clock,
        )
        self.triage = Triage(lambda: self.database, self.groups, self.orders)
        self.escalations = Escalations(self.windows, self.groups, stored=lambda: self.minutes.stored, period=0.0)
        self.storage = Storage(journal, lambda: self.database, self.minutes, self.groups, retention_days=3650, period=0)
        self.statistics = Statistics(
            self.windows, live=lambda: [WorkerState(worker=journal.boot, dropped=self.minutes.dropped)]
        )

    def error(self, fingerprint: str = "f1", times: int = 1, user: str | None = None, **parts: str) -> None:
        for _ in range(times):
            self.counters.error(kind(fingerprint, **parts), user)
        self.journal.settle(limit=5)

    def request(self, endpoint: str = "/", device: str = "mobile", micros: int = 1000, *, failed: bool = False) -> None:
        self.counters.request(endpoint, device, micros, failed=failed)
        self.counters.flush()

    def end(self) -> None:
        """What the kernel does when its process ends: its file is nobody's, and what it has led is free."""
        self.minutes.close()
        self.journal.close()

    def store(self) -> None:
        """Minutes and groups only."""
        self.minutes.store(self.database, self.groups.store)

    def answer(self, time_range: Any = "1h") -> dict[str, Any]:
        return self.statistics.read(time_range).statistics().to_json()

    def total(self, time_range: Any = "1h") -> int:
        return int(self.answer(time_range)["totalErrors"])
