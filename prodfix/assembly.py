"""How all parts are put together for one application: each says what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from prodfix.alerts import service as alerts
from prodfix.alerts.service import Alerts
from prodfix.background import Background
from prodfix.connection.status import ConnectionEvent
from prodfix.context import current_context
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.deferred import Deferred
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.orders import Orders
from prodfix.deferral.traces import Traces
from prodfix.deferral.writes import Write
from prodfix.diagnostics.collections import Collections
from prodfix.diagnostics.report import Diagnostics
from prodfix.diagnostics.requests import Requests
from prodfix.diagnostics.selftest import SelfTest
from prodfix.documents import Documents
from prodfix.foundations import Foundations
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
from prodfix.queries.queries import QueryStatistics
from prodfix.records.incident_log import IncidentLog
from prodfix.records.lookup import Lookup
from prodfix.records.reports import Reports
from prodfix.recovery.aborts import Aborts
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.idempotency import Idempotency
from prodfix.recovery.recovery import Recovery
from prodfix.recovery.transactions import Transactions
from prodfix.services import Services
from prodfix.settings import Settings
from prodfix.statistics.rates import BEFORE, RECENT, compared
from prodfix.statistics.statistics import Statistics
from prodfix.web.handlers import request_user
from prodfix.workers import Workers

DIAGNOSTICS = "/api/v1/diagnostics"
TRANSACTION_BASE = 0.2  # seconds; an election is over sooner than an outage


class Assembly(Foundations):
    """All parts of one application."""

    # -- writing and recovering ---------------------------------------------------------------------------------------------

    @cached_property
    def transactions(self) -> Transactions:
        return Transactions(
            lambda: self.clients.application,
            retries=self.settings.max_retry_attempts,
            base=min(self.settings.retry_base_delay_ms / 1000, TRANSACTION_BASE),
            budget=self._budget,
            clashes=self.conflicts,
            aborts=self.aborts,
            report=self.reports.transaction,
            verbose=self.settings.log_level == "debug",
        )

    @cached_property
    def conflicts(self) -> Conflicts:
        return Conflicts(most=self.settings.max_conflict_retries)

    @cached_property
    def aborts(self) -> Aborts:
        return Aborts(lambda session: self.clients.own.admin.command("killSessions", [session]))

    @cached_property
    def documents(self) -> Documents:
        return Documents(
            lambda: self.clients.db,
            lambda: self.clients.own_db,
            auto_index=not self.settings.production,
            answering=lambda: not self.monitor.down,
            report=self.reports.conflict,
        )

    @cached_property
    def deferred(self) -> Deferred:
        return Deferred(
            self.journal,
            lambda: self.clients.db,
            enabled=self.settings.defers_writes,
            durable=self.settings.durable,
            max_entries=self.settings.deferred_max_entries,
            max_bytes=self.settings.deferred_max_bytes,
            transact=self.transactions.run,
            user=request_user,
            report=self.reports.deferred,
            count=self.incidents.count,
        )

    @cached_property
    def drainer(self) -> Drainer:
        return Drainer(
            self.deferred,
            self.journal,
            self.classifier,
            max_attempts=self.settings.deferred_max_attempts,
            max_age=self.settings.deferred_max_age_hours * 3600,
            rate=self.settings.deferred_drain_rate,
            live=self.traffic.live,
            round_trip=lambda: self.monitor.round_trip,
        )

    @cached_property
    def traces(self) -> Traces:
        return Traces(
            self.journal,
            self.answering,
            readable=self.readable,
            configured=self.clients.configured,
            uptime=lambda: self.monitor.status().uptime,
            retention_days=self.settings.error_retention_days,
            live=self.traffic.live,
            round_trip=lambda: self.monitor.round_trip,
        )

    @cached_property
    def orders(self) -> Orders:
        return Orders(self.journal, done=self.reports.order)

    @cached_property
    def backlog(self) -> Backlog:
        return Backlog(self.journal, self.deferred, self.orders)

    @cached_property
    def recovery(self) -> Recovery:
        def on_retry(attempt: int, delay: float, error: BaseException) -> None:
            self.incidents.count("retried")
            self.reports.retry(attempt, delay, error)

        def on_recovered(attempts: int, error: BaseException) -> None:
            self.incidents.count("recovered")
            self.error_log.log_recovery(error, current_context())

        def on_deferred(write: Write, error: BaseException) -> None:
            facts = {"operationId": write.id, "operation": write.operation}
            self.error_log.log_deferral(error, current_context(), facts)

        return Recovery(
            self.classifier,
            self.deferred,
            retries=self.settings.max_retry_attempts,
            base=self.settings.retry_base_delay_ms / 1000,
            mobile_retries=self.settings.mobile_extra_retries,
            enabled=self.settings.enable_error_recovery,
            budget=self._budget,
            clashes=self.conflicts,
            on_retry=on_retry,
            on_recovered=on_recovered,
            on_deferred=on_deferred,
            applied=self.traces.applied,
            sees=self._sees,
        )

    @cached_property
    def idempotency(self) -> Idempotency:
        key = self.settings.jwt_secret_key
        return Idempotency(
            self.answering,
            self.classifier,
            secret=key.get_secret_value() if key else "",
            ttl=self.settings.idempotency_ttl,
            report=self.reports.idempotency,
        )

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.journal)

    # -- alerts -------------------------------------------------------------------------------------------------------------

    @cached_property
    def alerts(self) -> Alerts:
        return alerts.made(
            self.settings,
            self.journal,
            self.workers,
            self.answering,
            link=lambda: f"{self.settings.address}{DIAGNOSTICS}" if self.settings.address else "",
            rates=lambda: compared(self.windows.recent(RECENT + BEFORE), self.windows.now()),
            report=self.reports.alarm,
        )

    # -- all of it ----------------------------------------------------------------------------------------------------------

    def services(self) -> Services:
        self._wire()
        lookup = Lookup(self.journal, self.readable)
        incident_log = IncidentLog(self.journal, self.readable, on_closed=self.reports.incident)
        diagnostics = Diagnostics(self.workers, Collections(self.readable), lookup, self.backlog)
        return Services(
            statistics=Statistics(self.windows, live=self.workers.read),
            lookup=lookup,
            incident_log=incident_log,
            workers=self.workers,
            requests=Requests(lookup, self.traces, incident_log, configured=self.clients.configured),
            readable=self.readable,
            selftest=SelfTest(lambda: self.clients.own_db, self.classifier),
            queries=QueryStatistics(self.journal, self.interceptor.profile),
            diagnostics=diagnostics,
            alerts=self.alerts,
            background=Background(),
            settings=self.settings,
            classifier=self.classifier,
            clients=self.clients,
            interceptor=self.interceptor,
            monitor=self.monitor,
            breaker=self.breaker,
            logs=self.logs,
            journal=self.journal,
            storage=self.storage,
            counters=self.counters,
            minutes=self.minutes,
            windows=self.windows,
            groups=self.groups,
            incidents=self.incidents,
            advisor=self.advisor,
            error_log=self.error_log,
            deferred=self.deferred,
            drainer=self.drainer,
            traces=self.traces,
            traffic=self.traffic,
            orders=self.orders,
            backlog=self.backlog,
            recovery=self.recovery,
            idempotency=self.idempotency,
            transactions=self.transactions,
            documents=self.documents,
        )

    def _wire(self) -> None:
        """What the lower parts tell the higher ones, of which they know nothing."""
        monitor, settings = self.monitor, self.settings

        def connection_changed(event: ConnectionEvent) -> None:
            (self.incidents.end if event.event == "connected" else self.incidents.begin)("database_lost")
            self.reports.connection(event)

        monitor.on_event, monitor.on_attempt = connection_changed, self.reports.attempt
        monitor.last_command = lambda: self.interceptor.last_success
        monitor.interval, monitor.max_age = settings.health_ping_interval_ms / 1000, settings.health_max_age_ms / 1000

        def regressed(group: Mapping[str, Any]) -> None:
            self.reports.regression(group)
            self.alerts.regressed(group)

        self.groups.on_regression = regressed
        self.breaker.on_change = self.reports.breaker
        _set_up(self.interceptor, settings, self.reports, self.advisor)


def _set_up(interceptor: QueryInterceptor, settings: Settings, reports: Reports, advisor: Advisor) -> None:
    """What the interceptor is to record; with ENABLE_QUERY_LOGGING=false it goes on counting only."""
    interceptor.slow_micros = settings.slow_query_threshold_ms * 1000.0
    interceptor.repeats = settings.query_repeat_threshold
    interceptor.shown_values = settings.query_log_values
    if settings.enable_query_logging:

        def record(command: CommandRecord) -> None:
            reports.command(command)
            advisor.consider(command)

        interceptor.on_record, interceptor.on_repeat = record, reports.repeated
        interceptor.sample = settings.query_log_sample
        interceptor.verbose = settings.log_level == "debug"
