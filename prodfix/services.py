"""The service layer of one application: a frozen record at ``app.extensions["prodfix"]``, reached as ``current_prodfix``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import pymongo
from flask import current_app
from pymongo.synchronous.client_session import ClientSession
from werkzeug.local import LocalProxy

from prodfix.alerts.conditions import LOSS_PERIOD
from prodfix.alerts.service import Alerts
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.readable import Readable
from prodfix.connection.status import environment
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.deferred import Deferred
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.orders import Orders
from prodfix.deferral.traces import Traces
from prodfix.deferral.traffic import Traffic
from prodfix.diagnostics.report import Diagnostics
from prodfix.diagnostics.requests import Requests
from prodfix.diagnostics.selftest import SelfTest
from prodfix.documents import Documents
from prodfix.errors import Severity
from prodfix.journal.journal import Journal
from prodfix.logs.logs import Logs
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import QueryInterceptor
from prodfix.queries.queries import QueryStatistics
from prodfix.records.error_log import ErrorLog
from prodfix.records.incident_log import IncidentLog
from prodfix.records.incidents import Incidents
from prodfix.records.lookup import Lookup
from prodfix.records.storage import Storage
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.idempotency import Idempotency
from prodfix.recovery.recovery import Recovery
from prodfix.recovery.transactions import Transactions
from prodfix.settings import Settings
from prodfix.statistics.counters import Counters
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.windows import Windows
from prodfix.workers import Workers

Result = TypeVar("Result")

EXTENSION = "prodfix"


class Runner(Protocol):
    """What runs beside the requests of one process: :class:`prodfix.background.Background`.

    ``serving`` is set by the server's hook: whether this worker still takes requests, or drains. ``lag_ms`` is how late its
    loops wake up, ``uptime`` how many seconds they have been running.
    """

    serving: Callable[[], bool]
    lag_ms: float

    @property
    def uptime(self) -> float: ...

    @property
    def running(self) -> bool: ...

    def start(self, services: Services) -> None: ...

    def hold(self) -> None: ...

    def stop(self, services: Services) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that an application has of prodfix. Its parts are public: they are what blueprints and tests use."""

    settings: Settings
    classifier: Classifier
    clients: Clients
    interceptor: QueryInterceptor
    monitor: ConnectionMonitor
    readable: Readable
    breaker: Breaker
    logs: Logs
    journal: Journal
    storage: Storage
    counters: Counters
    minutes: Minutes
    windows: Windows
    groups: Groups
    statistics: Statistics
    lookup: Lookup
    incidents: Incidents
    incident_log: IncidentLog
    queries: QueryStatistics
    advisor: Advisor
    error_log: ErrorLog
    deferred: Deferred
    drainer: Drainer
    traces: Traces
    traffic: Traffic
    orders: Orders
    backlog: Backlog
    recovery: Recovery
    idempotency: Idempotency
    transactions: Transactions
    documents: Documents
    diagnostics: Diagnostics
    workers: Workers
    requests: Requests
    selftest: SelfTest
    alerts: Alerts
    background: Runner

    def __post_init__(self) -> None:
        self.workers.state = self.state

    @property
    def db(self) -> Any:
        """The application's database."""
        return self.clients.db

    def start(self) -> None:
        """Start this process's background work, if it does not run yet."""
        if not self.background.running:
            self.background.start(self)

    def close(self) -> None:
        """End this process's background work, after storing what waits."""
        self.background.stop(self)

    def state(self) -> dict[str, Any]:
        """How this worker is, for all workers to read."""
        return {
            "pid": os.getpid(),
            "uptimeSeconds": round(self.background.uptime, 1),
            "connection": self.monitor.status().to_json(),
            "servers": self.monitor.status().servers,
            "network": self.monitor.network(),
            "losses": self.monitor.losses(LOSS_PERIOD),
            "incidents": sorted(self.incidents.open),
            "alerts": self.alerts.state(),
            "breaker": self.breaker.to_json(),
            "recovery": self.recovery.to_json(),
            "aborts": self.transactions.aborts.to_json(),
            "commands": {"observed": self.interceptor.commands, "listenerErrors": self.interceptor.errors},
            "logs": self.logs.sinks.status(),
            "journal": {
                "failing": self.journal.failure,
                "quarantined": self.journal.quarantine.files,
                "lostWrites": self.journal.quarantine.lost,
                "otherVersions": self.journal.other_versions,
            },
            "idempotency": self.idempotency.to_json(),
            "deferredRefused": self.deferred.refused,
            "idleSeconds": self.traffic.idle_seconds,
            "dropped": self.storage.dropped + self.minutes.dropped + self.counters.dropped + self.journal.lost,
            "failedSteps": self.error_log.failures,
            "suppressed": self.error_log.storms.held,
            "failedRows": self.classifier.failures,
            "loopLagMs": self.background.lag_ms,
            **environment(),
        }

    def tell_of_damage(self, facts: Mapping[str, Any]) -> None:
        """Tell that a journal was damaged, what came home of it and what is gone: once, by the worker that has adopted it."""
        gone, certain = facts["lostWrites"], facts["certain"]
        least = "" if certain else "at least "
        lost = f"{least}{gone} acknowledged writes are gone" if gone or not certain else "no acknowledged write is gone"
        message = f"a journal was damaged: {lost}"
        self.logs.note(Severity.CRITICAL, "journal-damaged", message, "error", "database", facts=facts)

    def loop_failed(self, name: str, error: Exception) -> None:
        """Tell that a background loop failed this time."""
        meaning = self.classifier.classify(error)
        facts = {"error": type(error).__name__, "code": meaning.code}
        self.logs.note(Severity.WARN, "background", f"{name} failed", facts=facts)

    def loop_recovered(self, name: str) -> None:
        """Tell that a background loop that failed succeeds again."""
        self.logs.note(Severity.INFO, "background", f"{name} works again")


def _current() -> Services:
    return cast(Services, current_app.extensions[EXTENSION])


current_prodfix: Services = cast(Services, LocalProxy(_current))
"""The :class:`Services` of the current Flask application."""


def run_transaction(
    callback: Callable[[ClientSession], Result], *, retries: int | None = None, deadline: float | None = None
) -> Result:
    """:meth:`prodfix.recovery.transactions.Transactions.run` of the current application, within ``deadline`` seconds if given."""
    if deadline is None:
        return current_prodfix.transactions.run(callback, retries=retries)
    with pymongo.timeout(deadline):
        return current_prodfix.transactions.run(callback, retries=retries)
