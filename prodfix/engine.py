"""What the applications of one process have in common that use one database: clients, pinger, journal, counts, logs.

So there is one set of them, and of what runs beside requests, however many applications a process makes. Every part is given
what it needs, and what it is to tell of, when it is made; nothing is set afterwards. Making them opens no file and no connection.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pymongo.synchronous.database import Database

from prodfix import driver
from prodfix.alerts import service as alerts
from prodfix.alerts.conditions import LOSS_PERIOD
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.pool import PoolCounter
from prodfix.connection.readable import Readable
from prodfix.connection.status import ConnectionEvent, environment
from prodfix.deferral.activity import Activity
from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.diagnostics.selftest import SelfTest
from prodfix.documents import Documents
from prodfix.idempotency.keys import Idempotency
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import Incidents
from prodfix.journal.journal import Journal
from prodfix.links import Links
from prodfix.logs.logs import Logs
from prodfix.logs.uncaught import Uncaught
from prodfix.observers import LISTENERS, POOLS, current_interceptor
from prodfix.process.lazy import Lazy, made_once
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
from prodfix.queries.query_statistics import QueryStatistics
from prodfix.queries.routing import CommandRouter
from prodfix.records.error_log import ErrorLog
from prodfix.records.lookup import Lookup
from prodfix.records.reports import Reports
from prodfix.records.storage import Storage
from prodfix.recovery.aborts import Aborts
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.recovery import Recovery, RecoveryStatus
from prodfix.recovery.transactions import Transactions
from prodfix.request.context import RequestContext, current_context
from prodfix.settings import Settings
from prodfix.statistics.counters import Counters
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.rates import BEFORE, RECENT, compared
from prodfix.statistics.windows import Windows
from prodfix.web.handlers import request_user
from prodfix.workers.worker_state import CommandCounts, JournalStatus, WorkerState
from prodfix.workers.workers import Workers

Result = TypeVar("Result")

FIRST_PING = 2.0  # seconds for a ping over a connection that is to be made first


class Tenant:
    """One of the applications, as far as what runs beside its requests has to do with it.

    Nothing in here holds the application: a thread that is just looking at this does not keep it alive.
    """

    def __init__(
        self,
        classifier: Classifier,
        links: Links,
        interceptor: QueryInterceptor,
        statistics: QueryStatistics,
        make_log: Callable[[], ErrorLog | None],
    ) -> None:
        self.classifier, self.links = classifier, links
        self.interceptor, self.query_statistics = interceptor, statistics
        self._make_log = make_log
        self.error_log: ErrorLog | None = None
        self.recovery: Recovery | None = None
        self.documents: Documents | None = None

    def logs(self, error_log: ErrorLog) -> ErrorLog:
        """It has this one now, as it was first needed."""
        self.error_log = error_log
        return error_log

    def needed_log(self) -> ErrorLog | None:
        """Its own, made now if this is its first error; ``None`` once the application is gone."""
        return self.error_log or self._make_log()

    def recovers(self, recovery: Recovery) -> Recovery:
        """The same."""
        self.recovery = recovery
        return recovery

    def stores(self, documents: Documents) -> Documents:
        """The same."""
        self.documents = documents
        return documents


class Engine(Lazy):
    """Each part is made when it is first needed.

    ``uri``: where our own records go, None for nowhere. ``served``: it is that of :func:`prodfix.create_app`, and has one
    application; ``owning``: the process's logging is ours. ``uptime``: seconds that its background work has run for.
    """

    def __init__(
        self, settings: Settings, classifier: Classifier, *, uri: str | None, served: bool, owning: bool
    ) -> None:
        super().__init__()
        self.settings, self.classifier, self.uri = settings, classifier, uri
        self.served, self._owning = served, owning
        self.journal = Journal(settings.state_dir / "journal")
        self.budget = RetryBudget(share=settings.retry_budget)
        self.conflicts = Conflicts(most=settings.max_conflict_retries)
        self.monitor = ConnectionMonitor(
            lambda: self.clients.watch,
            interval=settings.health_ping_interval_ms / 1000,
            max_age=settings.health_max_age_ms / 1000,
            on_event=self.connection_changed,
            on_attempt=self.ping_failed,
            last_command=self._last_success,
            pool=PoolCounter() if served else POOLS,
            pools=lambda: self.clients.pools(),  # noqa: PLW0108 - which are made of this
            ask=self._ask,
        )
        self._commands = CommandRouter(current_interceptor)
        self._tenants: tuple[weakref.ref[Tenant], ...] = ()
        self.held = self.quiet = False

    # -- its applications -----------------------------------------------------------------------------------------------------

    def join(self, tenant: Tenant) -> None:
        """Work for this application too, as long as it lives."""
        self._tenants = (*(one for one in self._tenants if one() is not None), weakref.ref(tenant))
        self._commands.add(tenant.interceptor)

    @property
    def tenants(self) -> list[Tenant]:
        return [tenant for one in self._tenants if (tenant := one()) is not None]

    def hold(self) -> None:
        """This process looks at the applications, and is none of their workers."""
        self.held = True

    def hush(self) -> None:
        """The applications are under test: nothing leaves the process, whatever they do."""
        self.quiet = True
        self.logs.sinks.mute()

    def gather(self) -> None:
        """Put what is counted where it is read from, where nothing does so beside requests."""
        if self.quiet:
            self.counters.flush()

    def release(self) -> None:
        """Close what was opened without any background work."""
        if "clients" in vars(self):
            self.clients.close()

    def _last_success(self) -> float | None:
        moments = [moment for one in self.tenants if (moment := one.interceptor.last_success) is not None]
        return max(moments, default=None)

    def _last_asked(self) -> float | None:
        moments = [moment for one in self.tenants if (moment := one.interceptor.last_asked) is not None]
        return max(moments, default=None)

    # -- what is told upwards -------------------------------------------------------------------------------------------------

    def command(self, record: CommandRecord) -> None:
        """Of a command that is worth a line."""
        self.reports.command(record)
        self.advisor.consider(record)

    def connection_changed(self, event: ConnectionEvent) -> None:
        if not self.held:
            (self.incidents.end if event.event == "connected" else self.incidents.begin)("database_lost")
            self.reports.connection(event)

    def ping_failed(self, attempt: int, error: str) -> None:
        if not (self.held or self.quiet):
            self.reports.attempt(attempt, error)

    def _regressed(self, group: Mapping[str, Any]) -> None:
        self.reports.regression(group)
        self.alerts.regressed(group)

    def _uncaught(self, error: BaseException, context: RequestContext | None) -> Any:
        log = next(log for tenant in self.tenants if (log := tenant.needed_log()) is not None)
        return log.log_error(error, context)

    # -- the database ---------------------------------------------------------------------------------------------------------

    @made_once
    def breaker(self) -> Breaker:
        return Breaker(
            lambda: self.monitor.down,
            failures=self.settings.breaker_failures if self.settings.enable_error_recovery else 0,
            refuse=self.monitor.gate,
            on_change=self.reports.breaker,
        )

    @made_once
    def clients(self) -> Clients:
        # Of the served application there is one, which needs nobody to look whose command it was.
        hears = self.tenants[0].interceptor if self.served else self._commands
        listeners = (hears,) if self.settings.enable_query_logging else ()
        counter = () if driver.COUNTS_POOLS else (self.monitor.pool,)
        return Clients(
            self.uri,
            self.settings.mongo_options(),
            listeners=(*listeners, *counter),
            watchers=self.monitor.watchers,
            foreign=LISTENERS,
            gate=self.breaker.gate,
            call=self._call,
            follow=not self.settings.enable_query_logging,
        )

    def _call(self, operation: Callable[[], Result]) -> Result:
        if current_context() is not None:
            self.activity.touch()
        return self.breaker.call(operation)

    def answering(self) -> Database[Any] | None:
        """Our own database while it answers, None while it does not: nobody waits for what is known to be down."""
        return self.clients.own_db if self.clients.configured and not self.monitor.down else None

    def _stored(self) -> Database[Any] | None:
        """The same, of what was stored before: a test is told of itself, and of nothing else."""
        return None if self.quiet else self.answering()

    def _ask(self) -> None:
        """Under test nothing pings beside requests: who asks how the database is asks it now, and leaves nothing behind."""
        if self.quiet and self.clients.configured and not self.monitor.healthy:
            self.monitor.allow(FIRST_PING)
            self.monitor.ping()
            self.clients.close_watch()

    @made_once
    def readable(self) -> Readable:
        return Readable(self._stored)

    @made_once
    def transactions(self) -> Transactions:
        return Transactions.made(
            self.settings,
            lambda: self.clients.application,
            budget=self.budget,
            conflicts=self.conflicts,
            aborts=Aborts(lambda session: self.clients.own.admin.command("killSessions", [session])),
            report=self.reports.transaction,
        )

    # -- counting and recording -----------------------------------------------------------------------------------------------

    @made_once
    def logs(self) -> Logs:
        return Logs.made(self.settings, served=self.served, owning=self._owning)

    @made_once
    def uncaught(self) -> Uncaught:
        return Uncaught(self._uncaught, self.logs.uncaught)

    @made_once
    def windows(self) -> Windows:
        return Windows(self.journal, self.readable)

    @made_once
    def minutes(self) -> Minutes:
        return Minutes(self.journal, self.windows)

    @made_once
    def groups(self) -> Groups:
        return Groups(self.readable, on_regression=self._regressed)

    @made_once
    def counters(self) -> Counters:
        return Counters(self.journal, release=self.settings.release)

    @made_once
    def idempotency(self) -> Idempotency:
        return Idempotency.made(self.settings, self.answering, self.classifier, report=self.reports.idempotency)

    @made_once
    def incidents(self) -> Incidents:
        return Incidents(self.journal, instance=self.settings.instance, release=self.settings.release)

    @made_once
    def incident_log(self) -> IncidentLog:
        return IncidentLog(self.journal, self.readable, on_closed=self.reports.incident)

    @made_once
    def lookup(self) -> Lookup:
        return Lookup(self.journal, self.readable)

    @made_once
    def storage(self) -> Storage:
        days = self.settings.error_retention_days
        return Storage(
            self.journal,
            lambda: self.clients.own_db,
            self.minutes,
            self.groups,
            retention_days=days,
            live=self.activity.live,
        )

    @made_once
    def reports(self) -> Reports:
        return Reports(self.logs, self.storage, uri=self.uri, options=self.settings.mongo_options())

    @made_once
    def advisor(self) -> Advisor:
        enabled = self.settings.enable_query_advice
        return Advisor(lambda: self.clients.own, self.journal, enabled=enabled, on_advice=self.reports.advice)

    @made_once
    def selftest(self) -> SelfTest:
        return SelfTest(lambda: self.clients.own_db, self.classifier)

    # -- deferring ------------------------------------------------------------------------------------------------------------

    @made_once
    def activity(self) -> Activity:
        return Activity(self.journal, observed=self._last_asked)

    @made_once
    def deferred(self) -> DeferredQueue:
        return DeferredQueue.made(
            self.settings,
            self.journal,
            lambda: self.clients.db,
            transact=self.transactions.run,
            user=request_user,
            report=self.reports.deferred,
            count=self.incidents.count,
        )

    @made_once
    def drainer(self) -> Drainer:
        return Drainer(
            self.deferred,
            self.journal,
            self.classifier,
            max_attempts=self.settings.deferred_max_attempts,
            max_age=self.settings.deferred_max_age_hours * 3600,
            rate=self.settings.deferred_drain_rate,
            live=self.activity.live,
            round_trip=lambda: self.monitor.round_trip,
        )

    @made_once
    def orders(self) -> AdminCommands:
        return AdminCommands(self.journal, done=self.reports.order)

    @made_once
    def backlog(self) -> Backlog:
        return Backlog(self.journal, self.deferred, self.orders)

    @made_once
    def statuses(self) -> OperationStatuses:
        return OperationStatuses(
            self.journal,
            self.answering,
            readable=self.readable,
            configured=self.clients.configured,
            uptime=lambda: self.monitor.status().uptime,
            retention_days=self.settings.error_retention_days,
            live=self.activity.live,
            round_trip=lambda: self.monitor.round_trip,
        )

    # -- all workers ----------------------------------------------------------------------------------------------------------

    @made_once
    def alerts(self) -> alerts.Alerts:
        return alerts.made(
            self.settings,
            self.journal,
            self.workers,
            self.answering,
            link=self._link,
            rates=lambda: compared(self.windows.recent(RECENT + BEFORE), self.windows.now()),
            report=self.reports.alarm,
        )

    def _link(self) -> str:
        """Where the diagnostics are, for who is told of it; empty if nobody knows."""
        address = self.settings.address
        paths = [tenant.links.diagnostics for tenant in self.tenants]
        path = next((path for path in paths if path is not None), None)
        return f"{address}{path}" if address and path is not None else ""

    @made_once
    def workers(self) -> Workers:
        return Workers(self.journal, state=self.state)

    def state(self, *, uptime: float = 0.0, lag_ms: float = 0.0) -> WorkerState:
        """How this worker is, for all workers to read."""
        tenants, quarantine = self.tenants, self.journal.quarantine
        heard = [tenant.interceptor for tenant in tenants]
        logs = [log for tenant in tenants if (log := tenant.error_log) is not None]
        return WorkerState(
            worker=self.journal.boot,
            pid=os.getpid(),
            uptime_seconds=round(uptime, 1),
            connection=self.monitor.status(),
            servers=self.monitor.servers(),
            network=self.monitor.network(),
            losses=self.monitor.losses(LOSS_PERIOD),
            incidents=tuple(sorted(self.incidents.open)),
            alerts=self.alerts.state(),
            breaker=self.breaker.status(),
            recovery=self._recovered(),
            driver_missing=tuple(name.name for name in driver.missing()),
            aborts=self.transactions.aborts.counts(),
            commands=CommandCounts(sum(one.commands for one in heard), sum(one.errors for one in heard)),
            logs=self.logs.sinks.status(),
            journal=JournalStatus(self.journal.failure, quarantine.files, quarantine.lost, self.journal.other_versions),
            idempotency=self.idempotency.counts(),
            deferred_refused=self.deferred.refused,
            idle_seconds=self.activity.idle_seconds,
            dropped=self.storage.dropped + self.minutes.dropped + self.counters.dropped + self.journal.lost,
            failed_steps=sum(log.failures for log in logs),
            suppressed=sum(log.storms.held for log in logs),
            failed_rows=sum(tenant.classifier.failures for tenant in tenants),
            loop_lag_ms=lag_ms,
            environment=environment(),
        )

    def _recovered(self) -> RecoveryStatus:
        """Over its applications, which have the budget in common."""
        found = [one.status() for tenant in self.tenants if (one := tenant.recovery) is not None]
        if not found:
            enabled = self.settings.enable_error_recovery
            return RecoveryStatus(enabled, 0, self.conflicts.counts(), self.budget.status())
        return replace(found[0], recovered=sum(one.recovered for one in found))
