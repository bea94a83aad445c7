"""How the parts are put together for one application, from the bottom of the house to its top."""

from __future__ import annotations

from collections.abc import Mapping

from prodfix.advice import Advisor
from prodfix.backlog import Backlog
from prodfix.breaker import Breaker
from prodfix.budget import RetryBudget
from prodfix.classifications import Row
from prodfix.classifier import Classifier
from prodfix.clients import Clients
from prodfix.connection import ConnectionMonitor
from prodfix.context import current_context
from prodfix.counters import Counters
from prodfix.deferred import Deferred
from prodfix.diagnostics import Diagnostics
from prodfix.documents import Documents
from prodfix.drainer import Drainer
from prodfix.error_log import ErrorLog
from prodfix.errors import ErrorCategory
from prodfix.groups import Groups
from prodfix.handlers import request_user
from prodfix.idempotency import Idempotency
from prodfix.incident_log import IncidentLog
from prodfix.incidents import Incidents
from prodfix.interceptor import CommandRecord, QueryInterceptor
from prodfix.journal import Journal
from prodfix.log_files import category_files
from prodfix.logs import Logs
from prodfix.lookup import Lookup
from prodfix.minutes import Minutes
from prodfix.orders import Orders
from prodfix.queries import QueryStatistics
from prodfix.recovery import Recovery
from prodfix.reports import Reports
from prodfix.services import Services, stored_database
from prodfix.settings import Settings
from prodfix.sinks import Console, Sinks
from prodfix.statistics import Statistics
from prodfix.status import ConnectionEvent
from prodfix.storage import Storage
from prodfix.storms import Storms
from prodfix.traces import Traces
from prodfix.transactions import Transactions
from prodfix.windows import Windows

_OF_DATABASE = (ErrorCategory.DATABASE_CONNECTION, ErrorCategory.TIMEOUT)
TRANSACTION_BASE = 0.2  # seconds; a write conflict is over sooner than an outage


def assemble(
    settings: Settings,
    *,
    uri: str | None,
    classifications: Mapping[type[BaseException], Row] | None,
    interceptor: QueryInterceptor,
    monitor: ConnectionMonitor,
    served: bool,
    owning: bool = False,
) -> Services:
    """The services of one application. Opens no file and no connection.

    ``interceptor`` and ``monitor`` exist before: a host needs their listeners when it makes its client.
    """
    options = settings.mongo_options()
    classifier = Classifier(classifications)
    recovers = settings.enable_error_recovery
    failures = settings.breaker_failures if recovers else 0
    breaker = Breaker(lambda: monitor.down, failures=failures, refuse=monitor.gate)
    clients = Clients(
        uri,
        options,
        listeners=(interceptor, monitor.pool) if settings.enable_query_logging else (monitor.pool,),
        watchers=monitor.watchers,
        gate=breaker.gate,
        call=breaker.call,
    )
    logs = Logs(_sinks(settings), served=served, owning=owning)
    journal = Journal(settings.state_dir / "journal")
    answering = stored_database(clients, monitor)
    windows = Windows(journal, answering)
    minutes, groups = Minutes(journal, windows), Groups(answering)
    storage = Storage(journal, lambda: clients.own_db, minutes, groups, retention_days=settings.error_retention_days)
    reports = Reports(logs, storage, uri=uri, options=options)
    groups.on_regression = reports.regression
    breaker.on_change = reports.breaker
    counters = Counters(journal, release=settings.release)
    incidents = Incidents(journal, instance=settings.instance, release=settings.release)
    error_log = ErrorLog(
        classifier,
        logs,
        counters,
        journal,
        storage,
        Storms(burst=settings.error_burst, rate=settings.error_rate),
        release=settings.release,
        database_down=lambda: monitor.looked and not monitor.healthy,
        on_failure=lambda record: incidents.failed(database=record.meaning.category in _OF_DATABASE),
    )
    retries, base = settings.max_retry_attempts, settings.retry_base_delay_ms / 1000
    budget = RetryBudget(share=settings.retry_budget)
    transactions = Transactions(
        lambda: clients.application,
        retries=retries,
        base=min(base, TRANSACTION_BASE),
        budget=budget,
        report=reports.transaction,
        verbose=settings.log_level == "debug",
    )
    deferred = Deferred(
        journal,
        lambda: clients.db,
        enabled=settings.defers_writes,
        durable=settings.durable,
        max_entries=settings.deferred_max_entries,
        max_bytes=settings.deferred_max_bytes,
        transact=transactions.run,
        user=request_user,
        report=reports.deferred,
        count=incidents.count,
    )
    orders = Orders(journal, done=reports.order)
    backlog = Backlog(journal, deferred, orders)
    lookup = Lookup(journal, answering)
    diagnostics = Diagnostics(clients, journal, lookup, backlog)
    advisor = Advisor(lambda: clients.own, journal, enabled=settings.enable_query_advice, on_advice=reports.advice)
    _set_up(interceptor, settings, reports, advisor)
    monitor.last_command = lambda: interceptor.last_success
    monitor.on_attempt = reports.attempt

    def on_retry(attempt: int, delay: float, error: BaseException) -> None:
        incidents.count("retried")
        reports.retry(attempt, delay, error)

    def on_recovered(attempts: int, error: BaseException) -> None:
        incidents.count("recovered")
        error_log.log_recovery(error, current_context())

    def connection_changed(event: ConnectionEvent) -> None:
        (incidents.end if event.event == "connected" else incidents.begin)("database_lost")
        reports.connection(event)

    monitor.on_event = connection_changed
    monitor.interval, monitor.max_age = settings.health_ping_interval_ms / 1000, settings.health_max_age_ms / 1000
    return Services(
        settings=settings,
        classifier=classifier,
        clients=clients,
        interceptor=interceptor,
        monitor=monitor,
        breaker=breaker,
        logs=logs,
        journal=journal,
        storage=storage,
        counters=counters,
        minutes=minutes,
        windows=windows,
        groups=groups,
        statistics=Statistics(windows, live=diagnostics.workers),
        lookup=lookup,
        incidents=incidents,
        incident_log=IncidentLog(journal, answering, on_closed=reports.incident),
        queries=QueryStatistics(journal, interceptor.profile),
        advisor=advisor,
        error_log=error_log,
        deferred=deferred,
        drainer=Drainer(
            deferred,
            journal,
            classifier,
            max_attempts=settings.deferred_max_attempts,
            max_age=settings.deferred_max_age_hours * 3600,
            rate=settings.deferred_drain_rate,
        ),
        traces=Traces(
            journal,
            answering,
            configured=clients.configured,
            uptime=lambda: monitor.status().uptime,
            retention_days=settings.error_retention_days,
        ),
        orders=orders,
        backlog=backlog,
        recovery=Recovery(
            classifier,
            deferred,
            retries=retries,
            base=base,
            mobile_retries=settings.mobile_extra_retries,
            enabled=recovers,
            budget=budget,
            on_retry=on_retry,
            on_recovered=on_recovered,
        ),
        idempotency=Idempotency(
            answering,
            classifier,
            secret=settings.jwt_secret_key.get_secret_value() if settings.jwt_secret_key else "",
            ttl=settings.idempotency_ttl,
            report=reports.idempotency,
        ),
        transactions=transactions,
        documents=Documents(
            lambda: clients.db,
            lambda: clients.own_db,
            auto_index=not settings.production,
            answering=lambda: not monitor.down,
            report=reports.conflict,
        ),
        diagnostics=diagnostics,
    )


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


def _sinks(settings: Settings) -> Sinks:
    files = category_files(
        settings.log_dir,
        max_bytes=settings.log_file_max_size,
        keep=settings.log_file_max_files,
        daily=settings.log_rotation == "daily",
    )
    return Sinks([Console(), *files])
