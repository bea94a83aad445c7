"""What an engine has of writes that wait: their queue, who applies them, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prodfix.classification.classifier import Classifier
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.deferral.activity import Activity
from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue, Ended, Transact
from prodfix.engine.engine_databases import EngineDatabases
from prodfix.journal.journal import Journal
from prodfix.process.lazy import Lazy, made_once
from prodfix.records.reports import Reports
from prodfix.settings import Settings
from prodfix.web.handlers import request_user


class EngineDeferral(Lazy):
    """``transact`` runs a write in its transaction; ``count`` counts those that are deferred in the incident that
    there is, ``ended`` what becomes of them in the one that there was. ``away``: whether MongoDB is,
    for all workers."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        classifier: Classifier,
        databases: EngineDatabases,
        monitor: ConnectionMonitor,
        activity: Activity,
        *,
        transact: Transact,
        reports: Reports,
        count: Callable[[str], None],
        ended: Callable[[Ended, Sequence[float]], None],
        away: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._settings, self._journal, self._classifier = settings, journal, classifier
        self._databases, self._monitor, self._reports = databases, monitor, reports
        self._away = away
        self.activity, self._transact, self._count, self._ended = activity, transact, count, ended

    @made_once
    def queue(self) -> DeferredQueue:
        return DeferredQueue.made(
            self._settings,
            self._journal,
            lambda: self._databases.clients.db,
            transact=self._transact,
            user=request_user,
            report=self._reports.deferred,
            count=self._count,
            ended=self._ended,
        )

    @made_once
    def drainer(self) -> Drainer:
        return Drainer(
            self.queue,
            self._journal,
            self._classifier,
            max_attempts=self._settings.deferred_max_attempts,
            max_age=self._settings.deferred_max_age_hours * 3600,
            rate=self._settings.deferred_drain_rate,
            live=self.activity.live,
            round_trip=lambda: self._monitor.round_trip,
        )

    @made_once
    def orders(self) -> AdminCommands:
        return AdminCommands(self._journal, done=self._reports.order)

    @made_once
    def backlog(self) -> Backlog:
        return Backlog(self._journal, self.queue, self.orders, self._away)

    @made_once
    def statuses(self) -> OperationStatuses:
        return OperationStatuses(
            self._journal,
            self._databases.answering,
            readable=self._databases.readable,
            configured=self._databases.clients.configured,
            uptime=lambda: self._monitor.status().uptime,
            retention_days=self._settings.error_retention_days,
            live=self.activity.live,
            round_trip=lambda: self._monitor.round_trip,
        )
