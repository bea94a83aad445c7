"""How the parts are put together for one application, from the bottom of the house to its top."""

from __future__ import annotations

from collections.abc import Mapping

from prodfix.advice import Advisor
from prodfix.backlog import Backlog
from prodfix.classifications import Classification
from prodfix.classifier import Classifier
from prodfix.clients import Clients
from prodfix.connection import ConnectionMonitor
from prodfix.deferred import Deferred
from prodfix.diagnostics import Diagnostics
from prodfix.documents import Documents
from prodfix.drainer import Drainer
from prodfix.error_log import ErrorLog
from prodfix.handlers import request_user
from prodfix.interceptor import CommandRecord, QueryInterceptor
from prodfix.journal import Journal
from prodfix.logs import Logs
from prodfix.orders import Orders
from prodfix.queries import QueryStatistics
from prodfix.recovery import Recovery
from prodfix.reports import Reports
from prodfix.services import Services, stored_database
from prodfix.settings import Settings
from prodfix.sinks import Console, Sinks, category_files
from prodfix.statistics import Statistics
from prodfix.storage import Storage
from prodfix.traces import Traces
from prodfix.transactions import Transactions

TRANSACTION_BASE = 0.2  # seconds; a write conflict is over sooner than an outage


def assemble(
    settings: Settings,
    *,
    uri: str | None,
    classifications: Mapping[type[BaseException], Classification] | None,
    interceptor: QueryInterceptor,
    monitor: ConnectionMonitor,
    served: bool,
) -> Services:
    """The services of one application. Opens no file and no connection.

    ``interceptor`` and ``monitor`` exist before: a host needs their listeners when it makes its client.
    """
    options = settings.mongo_options()
    classifier = Classifier(classifications)
    clients = Clients(
        uri,
        options,
        listeners=(interceptor, monitor.pool) if settings.enable_query_logging else (monitor.pool,),
        watchers=monitor.watchers,
        gate=monitor.gate,
    )
    logs = Logs(_sinks(settings), served=served)
    journal = Journal(settings.state_dir / "journal")
    storage = Storage(journal, lambda: clients.own_db, retention_days=settings.error_retention_days)
    reports = Reports(logs, storage, uri=uri, options=options)
    answering = stored_database(clients, monitor)
    statistics = Statistics(journal, answering)
    error_log = ErrorLog(
        classifier,
        logs,
        statistics,
        journal,
        storage,
        answering,
        release=settings.release,
        database_down=lambda: monitor.looked and not monitor.healthy,
    )
    retries, base = settings.max_retry_attempts, settings.retry_base_delay_ms / 1000
    transactions = Transactions(
        lambda: clients.application,
        retries=retries,
        base=min(base, TRANSACTION_BASE),
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
    )
    orders = Orders(journal, done=reports.order)
    backlog = Backlog(journal, deferred, orders)
    advisor = Advisor(lambda: clients.own, journal, enabled=settings.enable_query_advice, on_advice=reports.advice)
    _set_up(interceptor, settings, reports, advisor)
    monitor.last_command = lambda: interceptor.last_success
    monitor.on_event, monitor.on_attempt = reports.connection, reports.attempt
    monitor.interval, monitor.max_age = settings.health_ping_interval_ms / 1000, settings.health_max_age_ms / 1000
    return Services(
        settings=settings,
        classifier=classifier,
        clients=clients,
        interceptor=interceptor,
        monitor=monitor,
        logs=logs,
        journal=journal,
        storage=storage,
        statistics=statistics,
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
            enabled=settings.enable_error_recovery,
            on_retry=reports.retry,
        ),
        transactions=transactions,
        documents=Documents(
            lambda: clients.db,
            lambda: clients.own_db,
            auto_index=not settings.production,
            answering=lambda: not monitor.down,
            report=reports.conflict,
        ),
        diagnostics=Diagnostics(clients, journal, error_log, backlog),
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
