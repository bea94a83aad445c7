"""The service layer of one application: a frozen record at ``app.extensions["prodfix"]``, reached as ``current_prodfix``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import orjson
import pymongo
from flask import current_app
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.database import Database
from werkzeug.local import LocalProxy

from prodfix.advice import Advisor
from prodfix.backlog import Backlog
from prodfix.breaker import PATIENCE, Breaker
from prodfix.classifier import Classifier
from prodfix.clients import Clients
from prodfix.connection import ConnectionMonitor
from prodfix.counters import Counters
from prodfix.deferred import Deferred
from prodfix.diagnostics import Diagnostics
from prodfix.documents import Documents
from prodfix.drainer import Drainer
from prodfix.error_log import ErrorLog
from prodfix.errors import Severity
from prodfix.groups import Groups
from prodfix.idempotency import Idempotency
from prodfix.incident_log import IncidentLog
from prodfix.incidents import Incidents
from prodfix.interceptor import QueryInterceptor
from prodfix.journal import Journal
from prodfix.logs import Logs
from prodfix.lookup import Lookup
from prodfix.loops import Loop
from prodfix.minutes import Minutes
from prodfix.orders import Orders
from prodfix.queries import QueryStatistics
from prodfix.rates import BEFORE, RECENT, jumped
from prodfix.recovery import Recovery
from prodfix.settings import Settings
from prodfix.statistics import Statistics
from prodfix.status import environment
from prodfix.storage import Storage
from prodfix.traces import Traces
from prodfix.transactions import Transactions
from prodfix.uncaught import Uncaught
from prodfix.windows import Windows

Result = TypeVar("Result")

EXTENSION = "prodfix"
TICK = 1.0  # seconds between two batches to MongoDB, and between two states of a worker
RATE_PERIOD = 10.0  # seconds between two looks at the share of failed requests
STORM_PERIOD = 10.0  # seconds between two summaries of errors that were not logged one by one
FOLD_PERIOD = 3600.0
DRAIN_PERIOD = 0.25  # seconds between two looks for deferred writes
LOG_PERIOD = 30.0  # seconds between two lines of the monitor (the seed's period)


class Background:
    """What runs beside the requests of one process: the pinger, the writer, and the worker's state."""

    def __init__(self) -> None:
        self._pid = 0
        self._starting = threading.Lock()
        self._loops: list[Loop] = []
        self._warm = False
        self._disk_failure: str | None = None
        self._uncaught: Uncaught | None = None
        self.lag_ms = 0.0
        self.serving: Callable[[], bool] = lambda: True
        """Set by the server's hook: whether this worker still takes requests, or drains."""

    @property
    def running(self) -> bool:
        return self._pid == os.getpid()

    def start(self, services: Services) -> None:
        """Open what this process needs, once. Called by the server's hook, or by the first request."""
        with self._starting:
            if self.running:
                return
            services.journal.open()
            if services.logs.served:
                self._uncaught = Uncaught(services.error_log.log_error)
                self._uncaught.attach()
            told = (services.loop_failed, services.loop_recovered)
            # The loops of a parent process are not ours: after a fork only their records are left.
            self._loops = [
                Loop("state", lambda: self._state(services), TICK, *told),
                Loop("rates", lambda: self._watch_rate(services), RATE_PERIOD, *told, delay=RATE_PERIOD),
                Loop("storms", services.error_log.tell_of_storms, STORM_PERIOD, *told, delay=STORM_PERIOD),
            ]
            if not services.clients.configured:
                days = services.settings.error_retention_days
                self._loops.append(Loop("fold", lambda: self._fold(services, days), FOLD_PERIOD, *told))
            else:
                self._loops += [
                    Loop("pinger", lambda: self._ping(services), services.monitor.interval, *told),
                    Loop("probe", lambda: self._probe(services), TICK, *told),
                    Loop("writer", lambda: self._write(services), TICK, *told),
                    Loop("drainer", lambda: self._drain(services), DRAIN_PERIOD, *told),
                    Loop("monitor", lambda: self._tell(services), LOG_PERIOD, *told, delay=LOG_PERIOD),
                ]
            self._pid, self._warm = os.getpid(), False
            services.drainer.stopped = False
            for loop in self._loops:
                loop.start()

    def stop(self, services: Services) -> None:
        """Stop the loops, store once more what waits, and close files and clients. Safe to call twice."""
        with self._starting:
            if not self.running:
                return
            self._pid = 0
            services.drainer.stopped = True
            for loop in self._loops:
                loop.stop()
            if self._uncaught is not None:
                self._uncaught.detach()
            services.error_log.tell_of_storms()
            last: tuple[tuple[str, Callable[[], None]], ...] = (
                ("last counts", services.counters.flush),
                ("last incident", services.incidents.flush),
                ("last write", lambda: self._write(services)),
            )
            for name, work in last:
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - the rest must be closed all the same; the journal keeps it
                    services.loop_failed(name, error)
            services.clients.close()
            services.journal.close()
            services.logs.sinks.close()

    def _ping(self, services: Services) -> None:
        before = services.monitor.healthy
        services.monitor.ping()
        services.breaker.look()
        if services.monitor.healthy != before:
            self._put_state(services)  # the other workers' reports need not be a second late with it

    def _probe(self, services: Services) -> None:
        def patiently() -> None:
            with pymongo.timeout(PATIENCE):
                services.clients.watch.admin.command("ping")

        services.breaker.ask(patiently)

    def _state(self, services: Services) -> None:
        self._tell_of_disk(services)
        self._put_state(services)
        services.counters.flush()
        services.incidents.flush()
        services.queries.store()
        services.orders.obey()
        # Waking up late is what a blocked hub looks like from inside.
        begun = time.monotonic()
        time.sleep(0.01)
        self.lag_ms = max(0.0, round((time.monotonic() - begun) * 1000 - 10.0, 2))

    def _watch_rate(self, services: Services) -> None:
        incidents = services.incidents
        jumping = "error_rate" in incidents.open
        jump = jumped(services.windows.recent(RECENT + BEFORE), services.windows.now(), jumping=jumping)
        # What failed because the database was lost is that incident.
        if jump and not incidents.within("database_lost", (RECENT + 1) * 60):
            incidents.begin("error_rate")
        elif jumping:
            incidents.end("error_rate")

    def _tell_of_disk(self, services: Services) -> None:
        failure = services.journal.failure
        if failure != self._disk_failure:
            self._disk_failure = failure
            severity, message = (Severity.WARN, "fails") if failure else (Severity.INFO, "works again")
            services.logs.note(severity, "background", f"journal {message}", facts={"failing": failure})

    def _put_state(self, services: Services) -> None:
        entry = orjson.dumps(services.state())
        upsert = "INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)"
        services.journal.write([(upsert, (services.journal.boot, time.time(), entry))])

    def _write(self, services: Services) -> None:
        if services.clients.configured and services.monitor.healthy:
            if services.logs.served and not self._warm:
                services.clients.application.admin.command("ping")  # fills the pool before the first request needs it
                services.documents.prepare()
                self._warm = True
            services.storage.tick()
            services.incident_log.store(services.clients.own_db)
            services.idempotency.work()
            services.deferred.recount()
            services.traces.store()
            services.advisor.work()
        else:
            self._adopt(services)

    def _adopt(self, services: Services) -> None:
        services.storage.adopt()
        services.deferred.recount()

    def _drain(self, services: Services) -> None:
        applied = services.drainer.tick(services.monitor.healthy)
        if applied:
            services.incidents.count("replayed", applied)

    def _fold(self, services: Services, days: int) -> None:
        self._adopt(services)
        services.minutes.fold(days)

    def _tell(self, services: Services) -> None:
        status = services.monitor.status()
        services.logs.note(Severity.INFO, "connection-status", f"connection {status.state}", facts=status.to_json())


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that an application has of prodfix. Its parts are public: they are what blueprints and tests use."""

    settings: Settings
    classifier: Classifier
    clients: Clients
    interceptor: QueryInterceptor
    monitor: ConnectionMonitor
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
    orders: Orders
    backlog: Backlog
    recovery: Recovery
    idempotency: Idempotency
    transactions: Transactions
    documents: Documents
    diagnostics: Diagnostics
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        self.diagnostics.state = self.state

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
            "connection": self.monitor.status().to_json(),
            "servers": self.monitor.status().servers,
            "network": self.monitor.network(),
            "breaker": self.breaker.to_json(),
            "recovery": self.recovery.to_json(),
            "commands": {"observed": self.interceptor.commands, "listenerErrors": self.interceptor.errors},
            "logs": self.logs.sinks.status(),
            "journal": {
                "failing": self.journal.failure,
                "quarantined": self.journal.dropped,
                "otherVersions": self.journal.other_versions,
            },
            "idempotency": self.idempotency.to_json(),
            "deferredRefused": self.deferred.refused,
            "dropped": self.storage.dropped
            + self.minutes.dropped
            + self.counters.dropped
            + self.error_log.failures
            + self.logs.sinks.dropped,
            "suppressed": self.error_log.storms.held,
            "loopLagMs": self.background.lag_ms,
            **environment(),
        }

    def loop_failed(self, name: str, error: Exception) -> None:
        """Tell that a background loop failed this time."""
        meaning = self.classifier.classify(error)
        facts = {"error": type(error).__name__, "code": meaning.code}
        self.logs.note(Severity.WARN, "background", f"{name} failed", facts=facts)

    def loop_recovered(self, name: str) -> None:
        """Tell that a background loop that failed succeeds again."""
        self.logs.note(Severity.INFO, "background", f"{name} works again")


def stored_database(clients: Clients, monitor: ConnectionMonitor) -> Callable[[], Database[Any] | None]:
    """Our own database while it answers, ``None`` while it does not: nobody waits for what is known to be down."""
    return lambda: clients.own_db if clients.configured and not monitor.down else None


def _current() -> Services:
    return cast(Services, current_app.extensions[EXTENSION])


current_prodfix: Services = cast(Services, LocalProxy(_current))
"""The :class:`Services` of the current Flask application."""


def run_transaction(
    callback: Callable[[ClientSession], Result], *, retries: int | None = None, deadline: float | None = None
) -> Result:
    """:meth:`prodfix.transactions.Transactions.run` of the current application, within ``deadline`` seconds if given."""
    if deadline is None:
        return current_prodfix.transactions.run(callback, retries=retries)
    with pymongo.timeout(deadline):
        return current_prodfix.transactions.run(callback, retries=retries)
