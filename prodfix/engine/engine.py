"""What the applications of one process have in common that use one database: clients, pinger, journal, counts, logs.

So there is one set of them, and of what runs beside requests, however many applications a process makes. Every part is given
what it needs, and what it is to tell of, when it is made; nothing is set afterwards. Making them opens no file and no connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from prodfix.alerts import service as alerts
from prodfix.alerts.conditions import LOSS_PERIOD
from prodfix.classification.classifier import Classifier
from prodfix.connection import attempts
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.pool import PoolCounter
from prodfix.connection.readable import Readable
from prodfix.connection.status import ConnectionEvent, environment
from prodfix.deferral.activity import Activity
from prodfix.diagnostics.collections import Collections
from prodfix.diagnostics.selftest import SelfTest
from prodfix.driver import missing_names
from prodfix.engine.engine_databases import OURS, WITH_THE_DATA, EngineDatabases
from prodfix.engine.engine_deferral import EngineDeferral
from prodfix.engine.engine_instance import EngineInstance
from prodfix.engine.engine_kinds import EngineKinds
from prodfix.engine.engine_metrics import EngineMetrics
from prodfix.engine.tenants import Tenants
from prodfix.idempotency.keys import Idempotency
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import Incidents
from prodfix.incidents.outages import Outages
from prodfix.journal.journal import Journal
from prodfix.logs.logs import Logs
from prodfix.logs.uncaught import Uncaught
from prodfix.observers import POOLS
from prodfix.process.lazy import Lazy, made_once
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import CommandRecord
from prodfix.records.lookup import Lookup
from prodfix.records.records import ErrorRecord
from prodfix.records.reports import Reports
from prodfix.records.storage import Storage
from prodfix.recovery.aborts import Aborts
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.recovery import RecoveryStatus
from prodfix.recovery.transactions import Transactions
from prodfix.reporters.reporter import ErrorReporter
from prodfix.reporters.reporting import Reporting
from prodfix.request.context import current_context
from prodfix.settings import Settings
from prodfix.statistics.affected import key_of
from prodfix.statistics.counters import Counters
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.rates import BEFORE, RECENT, compared
from prodfix.statistics.windows import Windows
from prodfix.workers.worker_state import CommandCounts, JournalStatus, WorkerState
from prodfix.workers.workers import connection_of, or_none

Result = TypeVar("Result")


class Engine(Lazy):
    """Each part is made when it is first needed.

    ``uri``: where our own records go, None for nowhere. ``served``: it is that of :func:`prodfix.create_app`, and has one
    application; ``owning``: the process's logging is ours. ``uptime``: seconds that its background work has run for.
    """

    def __init__(
        self,
        settings: Settings,
        classifier: Classifier,
        *,
        uri: str | None,
        served: bool,
        owning: bool,
        reporters: Sequence[ErrorReporter] = (),
    ) -> None:
        super().__init__()
        self.settings, self.classifier, self.uri = settings, classifier, uri
        self.served, self._owning = served, owning
        self.reporting = Reporting.made(settings, reporters)
        self.journal = Journal(settings.state_dir / "journal")
        self.tenants = Tenants()
        self.instance = EngineInstance(
            self.journal,
            state=self.state,
            follow=lambda levels: self.logs.levels.follow(levels),  # noqa: PLW0108 - which are made of this
            muted=lambda: self.quiet,
        )
        self.presence = self.instance.presence
        self.budget = RetryBudget(share=settings.retry_budget)
        self.conflicts = Conflicts(most=settings.max_conflict_retries)
        self.monitor = ConnectionMonitor(
            lambda: self.clients.watch,
            interval=settings.health_ping_interval_ms / 1000,
            max_age=settings.health_max_age_ms / 1000,
            on_event=self.connection_changed,
            on_attempt=self.ping_failed,
            on_answer=self.ping_answered,
            last_command=self.tenants.last_success,
            pool=PoolCounter() if served else POOLS,
            pools=lambda: self.clients.pools(),  # noqa: PLW0108 - which are made of this
            ask=lambda: self.databases.ask(),  # noqa: PLW0108 - the same
        )
        self.held = self.quiet = False

    # -- its applications -----------------------------------------------------------------------------------------------------

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
            if self.metrics.own is not None:
                self.metrics.own.flush()

    def release(self) -> None:
        """Close what was opened without any background work."""
        if "databases" in vars(self):
            self.databases.release()

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
        each = attempts.lines_each(max(self.monitor.interval, self.monitor.limit))
        if attempts.has_line(attempt, each):
            self._tell_attempts(attempt, attempts.before(attempt, each), error)

    def ping_answered(self, attempt: int, error: str) -> None:
        """``attempt`` was the last that failed: what no line has told of yet."""
        each = attempts.lines_each(max(self.monitor.interval, self.monitor.limit))
        if not attempts.has_line(attempt, each):
            self._tell_attempts(attempt, attempts.before(attempt, each), error)

    def _tell_attempts(self, attempt: int, told: int, error: str) -> None:
        if not (self.held or self.quiet):
            self.reports.attempt(attempt, attempt - told, error)

    def report(self, record: ErrorRecord) -> None:
        """Of an error that was recorded in full; under test nothing leaves the process."""
        if not self.quiet:
            self.reporting.put(record)

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
    def databases(self) -> EngineDatabases:
        return EngineDatabases(
            self.settings,
            self.uri,
            self.monitor,
            breaker=lambda: self.breaker,
            call=self._call,
            # Of the served application there is one, which needs nobody to look whose command it was.
            hears=lambda: next(iter(self.tenants)).interceptor if self.served else self.tenants.router,
            muted=lambda: self.quiet,
        )

    def _call(self, operation: Callable[[], Result]) -> Result:
        if current_context() is not None:
            self.activity.touch()
        return self.breaker.call(operation)

    @property
    def clients(self) -> Clients:
        return self.databases.clients

    @made_once
    def collections(self) -> Collections:
        """Those of the application's database."""
        return Collections(self.readable)

    @made_once
    def diagnostics_collections(self) -> Collections | None:
        """Ours, where they have a database of their own."""
        return Collections(self.databases.diagnostics, only=OURS) if self.databases.apart else None

    @property
    def readable(self) -> Readable:
        return self.databases.readable

    def store(self) -> bool:
        """Store what is ours; whether MongoDB takes it. Raises what MongoDB says. Where it has a database of its own, that one is
        left alone for a while after it has not answered."""
        if not self.databases.apart:
            return self.storage.tick()
        if self.databases.elsewhere.answering() is None:
            self.storage.adopt()
            return False
        with self.databases.elsewhere.noticing():
            return self.storage.tick()

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
        return Uncaught(self.tenants.log_error, self.logs.uncaught)

    @made_once
    def windows(self) -> Windows:
        readable = self.databases.diagnostics
        return Windows(self.journal, readable, slow=lambda: readable.slow)

    @made_once
    def minutes(self) -> Minutes:
        return Minutes(self.journal, self.windows)

    @made_once
    def kinds(self) -> EngineKinds:
        return EngineKinds(
            self.journal,
            self.databases,
            self.counters,
            self.windows,
            self.minutes,
            lookup=lambda: self.lookup,
            reports=lambda: self.reports,
            alerts=lambda: self.alerts,
            outages=Outages(lambda: self.incident_log),
            kept=self.uri is not None,
        )

    @made_once
    def counters(self) -> Counters:
        secret = self.settings.jwt_secret_key
        known = secret.get_secret_value() if secret is not None else self.uri or ""
        return Counters(self.journal, release=self.settings.release, users_key=key_of(known))

    @made_once
    def idempotency(self) -> Idempotency:
        return Idempotency.made(
            self.settings, self.databases.answering, self.classifier, report=self.reports.idempotency
        )

    @made_once
    def incidents(self) -> Incidents:
        return Incidents(self.journal, instance=self.settings.instance, release=self.settings.release)

    @made_once
    def incident_log(self) -> IncidentLog:
        return IncidentLog(self.journal, self.databases.diagnostics, on_closed=self.reports.incident)

    @made_once
    def lookup(self) -> Lookup:
        return Lookup(self.journal, self.databases.diagnostics)

    @made_once
    def storage(self) -> Storage:
        return Storage(
            self.journal,
            lambda: self.clients.diagnostics_db,
            self.minutes,
            self.kinds.groups,
            retention_days=self.settings.error_retention_days,
            keep_per_kind=self.settings.error_keep_per_kind,
            max_mb=self.settings.error_max_mb,
            collections=OURS if self.databases.apart else (*OURS, *WITH_THE_DATA),
            others=(
                lambda database: self.incident_log.store(database),  # noqa: PLW0108 - which is made of this
                self.kinds.store,
            ),
            live=self.activity.live,
            siblings=self.instance.living,
            report=lambda reason: self.reports.refused(reason),  # noqa: PLW0108 - the same
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

    @made_once
    def activity(self) -> Activity:
        return Activity(self.instance.siblings, observed=self.tenants.last_asked)

    @made_once
    def deferral(self) -> EngineDeferral:
        return EngineDeferral(
            self.settings,
            self.journal,
            self.classifier,
            self.databases,
            self.monitor,
            self.activity,
            transact=self.transactions.run,
            reports=self.reports,
            count=self.incidents.count,
            ended=self.incidents.ended,
            away=self._away,
        )

    def _away(self) -> bool:
        """As this worker knows, or another one: a command line asks nobody itself."""
        if self.clients.configured and self.databases.answering() is None:
            return True
        workers = or_none(self.instance.workers.read)
        return connection_of(workers).state != "connected" if workers else False

    # -- all workers ----------------------------------------------------------------------------------------------------------

    @made_once
    def alerts(self) -> alerts.Alerts:
        return alerts.made(
            self.settings,
            self.journal,
            self.instance.workers,
            self.databases.diagnostics_answering,
            version=self.instance.version,
            link=self._link,
            rates=lambda: compared(self.windows.recent(RECENT + BEFORE), self.windows.now()),
            report=self.reports.alarm,
        )

    def _link(self) -> str:
        """Where the diagnostics are, for who is told of it; empty if nobody knows."""
        address, path = self.settings.address, self.tenants.diagnostics()
        return f"{address}{path}" if address and path is not None else ""

    @made_once
    def metrics(self) -> EngineMetrics:
        return EngineMetrics(
            self.settings,
            self.instance,
            state=self.state,
            configured=lambda: self.clients.configured,
            gather=self.gather,
            logs=lambda: self.logs,
        )

    def state(self, *, uptime: float = 0.0, lag_ms: float = 0.0) -> WorkerState:
        """How this worker is, for all workers to read."""
        tenants, quarantine = list(self.tenants), self.journal.quarantine
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
            driver_missing=tuple(name.name for name in missing_names.missing()),
            aborts=self.transactions.aborts.counts(),
            commands=CommandCounts(sum(one.commands for one in heard), sum(one.errors for one in heard)),
            logs=self.logs.sinks.status(),
            journal=JournalStatus(self.journal.failure, quarantine.files, quarantine.lost, self.journal.other_versions),
            siblings_unseen=self.presence.failure if self.presence.opened else None,
            idempotency=self.idempotency.counts(),
            storage=replace(self.storage.status(), lost_since=self.databases.elsewhere.lost_since),
            deferred_refused=self.deferral.queue.refused,
            idle_seconds=self.activity.idle_seconds,
            dropped=self.storage.dropped + self.minutes.dropped + self.counters.dropped + self.journal.lost,
            failed_steps=sum(log.failures for log in logs),
            suppressed=sum(log.storms.held for log in logs),
            failed_rows=sum(tenant.classifier.failures for tenant in tenants),
            loop_lag_ms=lag_ms,
            reporters=self.reporting.status(),
            serves_metrics=self.metrics.port is not None and self.metrics.port.serving,
            environment=environment(),
        )

    def _recovered(self) -> RecoveryStatus:
        """Over its applications, which have the budget in common."""
        found = [one.status() for tenant in self.tenants if (one := tenant.recovery) is not None]
        if not found:
            enabled = self.settings.enable_error_recovery
            return RecoveryStatus(enabled, 0, self.conflicts.counts(), self.budget.status())
        return replace(found[0], recovered=sum(one.recovered for one in found))
