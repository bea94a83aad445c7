"""The service layer of one application: a frozen record at ``app.extensions["prodfix"]``, reached as ``current_prodfix``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import pymongo
from flask import current_app
from pymongo.synchronous.client_session import ClientSession
from werkzeug.local import LocalProxy

from prodfix import driver
from prodfix.alerts.conditions import LOSS_PERIOD
from prodfix.alerts.service import Alerts
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.readable import Readable
from prodfix.connection.status import environment
from prodfix.deferral.activity import Activity
from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.diagnostics.report import Diagnostics
from prodfix.diagnostics.requests import Requests
from prodfix.diagnostics.selftest import SelfTest
from prodfix.documents import Documents
from prodfix.errors import Severity
from prodfix.idempotency.keys import Idempotency
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import Incidents
from prodfix.journal.journal import Journal
from prodfix.journal.quarantine import DamageReport
from prodfix.links import Links
from prodfix.logs.logs import Logs
from prodfix.logs.uncaught import Uncaught
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import QueryInterceptor
from prodfix.queries.query_statistics import QueryStatistics
from prodfix.records.error_log import ErrorLog
from prodfix.records.lookup import Lookup
from prodfix.records.storage import Storage
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.recovery import Recovery
from prodfix.recovery.transactions import Transactions
from prodfix.settings import Settings
from prodfix.slotted import frozen
from prodfix.statistics.counters import Counters
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.windows import Windows
from prodfix.workers.worker_state import CommandCounts, JournalStatus, WorkerState
from prodfix.workers.workers import Workers

Result = TypeVar("Result")

EXTENSION = "prodfix"


class Runner(Protocol):
    """What runs beside the requests of one process: :class:`prodfix.background.Background`.

    ``serving``: whether this worker still takes requests, or drains. ``lag_ms`` is how late its loops wake up, ``uptime`` how
    many seconds they have been running. ``held``: this process begins nothing, and is none of the workers.
    """

    lag_ms: float

    def serving(self) -> bool: ...

    @property
    def held(self) -> bool: ...

    @property
    def uptime(self) -> float: ...

    @property
    def running(self) -> bool: ...

    def start(self, services: Services, serving: Callable[[], bool] | None = None) -> None: ...

    def hold(self) -> None: ...

    def stop(self, services: Services) -> None: ...


@frozen
class DatabaseServices:
    """How the database is reached, and what knows whether it answers. ``readable`` is our own, while it can be read."""

    clients: Clients
    monitor: ConnectionMonitor
    breaker: Breaker
    readable: Readable
    transactions: Transactions


@frozen
class RequestServices:
    """What is counted of requests, minute by minute, and which of them came before."""

    counters: Counters
    minutes: Minutes
    windows: Windows
    statistics: Statistics
    idempotency: Idempotency


@frozen
class ErrorServices:
    """What is recorded of errors, and where it is found again."""

    log: ErrorLog
    storage: Storage
    lookup: Lookup
    groups: Groups
    incidents: Incidents
    incident_log: IncidentLog


@frozen
class QueryServices:
    """What is seen of the application's commands."""

    interceptor: QueryInterceptor
    statistics: QueryStatistics
    advisor: Advisor


@frozen
class DeferralServices:
    """Writes that wait on disk. ``status`` is what became of each, ``activity`` whether requests need the database meanwhile;
    ``admin`` and ``backlog`` are an admin's."""

    queue: DeferredQueue
    drainer: Drainer
    status: OperationStatuses
    activity: Activity
    admin: AdminCommands
    backlog: Backlog


@frozen
class DiagnosticServices:
    """What an admin is answered over all the others."""

    report: Diagnostics
    requests: Requests
    selftest: SelfTest


@frozen
class RuntimeServices:
    """This process, and the others of the instance."""

    background: Runner
    journal: Journal
    workers: Workers
    uncaught: Uncaught


@frozen
class Services:
    """Everything that an application has of prodfix, by what it is for. Its parts are public: blueprints and tests use them.

    An application itself needs :attr:`db`, ``recovery`` and ``documents``.
    """

    settings: Settings
    links: Links
    classifier: Classifier
    recovery: Recovery
    documents: Documents
    database: DatabaseServices
    requests: RequestServices
    errors: ErrorServices
    queries: QueryServices
    deferral: DeferralServices
    alerts: Alerts
    logs: Logs
    diagnostics: DiagnosticServices
    runtime: RuntimeServices

    @property
    def db(self) -> Any:
        """The application's database."""
        return self.database.clients.db

    def start(self, serving: Callable[[], bool] | None = None) -> None:
        """Start this process's background work, if it does not run yet. ``serving`` is what the server knows: whether this
        process still takes requests."""
        background = self.runtime.background
        if serving is not None or not (background.running or background.held):
            background.start(self, serving)

    def close(self) -> None:
        """End this process's background work, after storing what waits."""
        self.runtime.background.stop(self)

    def state(self) -> WorkerState:
        """How this worker is, for all workers to read."""
        quarantine = self.runtime.journal.quarantine
        return WorkerState(
            worker=self.runtime.journal.boot,
            pid=os.getpid(),
            uptime_seconds=round(self.runtime.background.uptime, 1),
            connection=self.database.monitor.status(),
            servers=self.database.monitor.servers(),
            network=self.database.monitor.network(),
            losses=self.database.monitor.losses(LOSS_PERIOD),
            incidents=tuple(sorted(self.errors.incidents.open)),
            alerts=self.alerts.state(),
            breaker=self.database.breaker.status(),
            recovery=self.recovery.status(),
            aborts=self.database.transactions.aborts.counts(),
            driver_missing=tuple(name.name for name in driver.missing()),
            commands=CommandCounts(self.queries.interceptor.commands, self.queries.interceptor.errors),
            logs=self.logs.sinks.status(),
            journal=JournalStatus(
                self.runtime.journal.failure, quarantine.files, quarantine.lost, self.runtime.journal.other_versions
            ),
            idempotency=self.requests.idempotency.counts(),
            deferred_refused=self.deferral.queue.refused,
            idle_seconds=self.deferral.activity.idle_seconds,
            dropped=self.errors.storage.dropped
            + self.requests.minutes.dropped
            + self.requests.counters.dropped
            + self.runtime.journal.lost,
            failed_steps=self.errors.log.failures,
            suppressed=self.errors.log.storms.held,
            failed_rows=self.classifier.failures,
            loop_lag_ms=self.runtime.background.lag_ms,
            environment=environment(),
        )

    def tell_of_damage(self, damage: DamageReport) -> None:
        """Tell that a journal was damaged, what came home of it and what is gone: once, by the worker that has adopted it."""
        gone, certain = damage.lost_writes, damage.certain
        least = "" if certain else "at least "
        lost = f"{least}{gone} acknowledged writes are gone" if gone or not certain else "no acknowledged write is gone"
        message = f"a journal was damaged: {lost}"
        self.logs.event(Severity.CRITICAL, "journal-damaged", message, "error", "database", facts=damage.to_json())

    def loop_failed(self, name: str, error: Exception) -> None:
        """Tell that a background loop failed this time."""
        meaning = self.classifier.classify(error)
        facts = {"error": type(error).__name__, "code": meaning.code}
        self.logs.event(Severity.WARN, "background", f"{name} failed", facts=facts)

    def loop_recovered(self, name: str) -> None:
        """Tell that a background loop that failed succeeds again."""
        self.logs.event(Severity.INFO, "background", f"{name} works again")


def _current() -> Services:
    return cast(Services, current_app.extensions[EXTENSION])


current_prodfix: Services = cast(Services, LocalProxy(_current))
"""The :class:`Services` of the current Flask application."""


def run_transaction(
    callback: Callable[[ClientSession], Result], *, retries: int | None = None, deadline: float | None = None
) -> Result:
    """:meth:`prodfix.recovery.transactions.Transactions.run` of the current application, within ``deadline`` seconds if given."""
    if deadline is None:
        return current_prodfix.database.transactions.run(callback, retries=retries)
    with pymongo.timeout(deadline):
        return current_prodfix.database.transactions.run(callback, retries=retries)
