"""What one application has for itself, and what it has in common with others of the process: its services.

Every part is given what it needs, and what it is to tell of, when it is made; nothing is set afterwards. What a lower part
tells of goes up through a function that looks for the higher one only when it is called. Making them opens no file and no
connection.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from prodfix.alerts.service import Alerts
from prodfix.background import Background
from prodfix.classification.classifications import Row
from prodfix.classification.classifier import Classifier
from prodfix.diagnostics.report import Diagnostics
from prodfix.diagnostics.requests import Requests
from prodfix.documents import Documents
from prodfix.engine.engine import Engine
from prodfix.engine.tenant import Tenant
from prodfix.engines import ENGINES, Running
from prodfix.journal.quarantine import DamageReport
from prodfix.links import Links
from prodfix.logs.logs import Logs
from prodfix.logs.request_lines import RequestLines
from prodfix.observers import COMMANDS
from prodfix.operations.fingerprints import CommandKey
from prodfix.process.lazy import Lazy, made_once
from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
from prodfix.queries.query_statistics import QueryStatistics
from prodfix.queries.routing import observes
from prodfix.records.error_log import ErrorLog
from prodfix.recovery.recovery import Recovery
from prodfix.recovery.retries import RetryDetails
from prodfix.reporters.reporter import ErrorReporter
from prodfix.request.context import RequestContext, current_context
from prodfix.services import (
    DatabaseServices,
    DeferralServices,
    DiagnosticServices,
    ErrorServices,
    QueryServices,
    RequestServices,
    RuntimeServices,
    Services,
)
from prodfix.settings import Settings
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.storms import Storms
from prodfix.workers.worker_state import WorkerState

if TYPE_CHECKING:
    from prodfix.metrics.instance_metrics import Metrics
    from prodfix.metrics.tallies import Tallies

_numbers = count()


def _weakly(owner: Composition, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of ``owner``, for who lives longer, as a client's listener does; it answers ``None`` once ``owner`` is gone."""
    found = weakref.ref(owner)

    def call(*given: Any) -> Any:
        living = found()
        return None if living is None else method(living, *given)

    return call


class Composition(Lazy):
    """All parts of one application, each made when it is first needed.

    ``uri``: where our own records go, None for nowhere. ``settings_key``: equal for applications that may have an engine in
    common, None for one that has its own. ``testing``: whether the application is under test, as of when it is first asked.
    ``served``: it is the application of :func:`prodfix.create_app`; ``owning``: the process's logging is ours.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        uri: str | None,
        classifications: Mapping[type[BaseException], Row] | None,
        settings_key: Hashable | None,
        links: Links,
        testing: Callable[[], bool],
        served: bool,
        owning: bool = False,
        reporters: Sequence[ErrorReporter] = (),
    ) -> None:
        super().__init__()
        self.settings, self.links = settings, links
        self._uri, self.served, self._owning = uri, served, owning
        self.testing, self._settings_key = testing, settings_key
        self._classifications, self._reporters = classifications or {}, tuple(reporters)
        self.classifier = Classifier(classifications)
        logs = settings.enable_query_logging
        self.interceptor = self._interceptor()(
            slow_ms=settings.slow_query_threshold_ms,
            sample=settings.query_log_sample if logs else 0.0,
            repeats=settings.query_repeat_threshold,
            shown_values=settings.query_log_values,
            verbose=logs and settings.log_level == "debug",
            on_record=_weakly(self, Composition._command) if logs else None,
            on_repeat=_weakly(self, Composition._repeated) if logs else None,
        )
        COMMANDS.add(self.interceptor)
        self.services = Services(self)

    def _interceptor(self) -> Callable[..., QueryInterceptor]:
        if not self.settings.collects_metrics:
            return QueryInterceptor
        from prodfix.metrics.measured import MeasuredInterceptor

        return partial(MeasuredInterceptor, _weakly(self, Composition._tallies))

    # -- what it has in common with others --------------------------------------------------------------------------------------

    @made_once
    def _running(self) -> Running:
        """Looked for when it is first needed: by then an application that is under test says so."""
        key = None if self._settings_key is None or self.testing() else self._key()
        found = ENGINES.shared(key) if key is not None else None
        if found is None:
            engine = Engine(
                self.settings,
                self.classifier,
                uri=self._uri,
                served=self.served,
                owning=self._owning,
                reporters=self._reporters,
            )
            found = ENGINES.add(Running(key, engine, Background(engine)))
        statistics = QueryStatistics(found.engine.journal, self.interceptor.command_stats, part=next(_numbers))
        make_log = _weakly(self, Composition._made_log)
        self._tenant = Tenant(self.classifier, self.links, self.interceptor, statistics, make_log)
        found.engine.tenants.add(self._tenant)
        return found

    def _key(self) -> Hashable:
        rows = frozenset((kind, id(row)) for kind, row in self._classifications.items())
        return self._settings_key, self._uri, rows, self._owning, tuple(map(id, self._reporters))

    @property
    def engine(self) -> Engine:
        return self._running.engine

    @property
    def logs(self) -> Logs:
        return self.engine.logs

    @property
    def alerts(self) -> Alerts:
        return self.engine.alerts

    @property
    def metrics(self) -> Metrics | None:
        return self.engine.metrics.own

    # -- what is told upwards -------------------------------------------------------------------------------------------------

    def _tallies(self) -> Tallies | None:
        metrics = self.engine.metrics.own
        return metrics.tallies if metrics is not None else None

    def _command(self, record: CommandRecord) -> None:
        """Of a command that is worth a line."""
        self.engine.command(record)

    def _repeated(self, key: CommandKey, context: RequestContext) -> None:
        """Of a kind of command that one request sends again and again."""
        self.engine.reports.repeated(key, context)

    def _made_log(self) -> ErrorLog:
        return self.error_log

    def _retried(self, details: RetryDetails) -> None:
        self.engine.incidents.count("retried")
        self.engine.reports.retry(details.attempt, details.delay, details.error)

    def _recovered(self, details: RetryDetails) -> None:
        self.engine.incidents.count("recovered")
        self.error_log.log_recovery(details.error, current_context())

    def _deferred(self, details: RetryDetails) -> None:
        write = details.write
        facts = {} if write is None else {"operationId": write.id, "operation": write.operation}
        self.error_log.log_deferral(details.error, current_context(), facts)

    def _sees(self, client: MongoClient[Any] | None) -> bool:
        """Whether the commands of ``client``, or of the clients that there are, are seen."""
        ours = self.engine.clients.in_use
        if client is None:
            return ours is not None or self.interceptor.commands > 0
        return client is ours or observes(client)

    # -- its own --------------------------------------------------------------------------------------------------------------

    @made_once
    def documents(self) -> Documents:
        engine = self.engine
        made = Documents(
            lambda: engine.clients.db,
            lambda: engine.clients.own_db,
            auto_index=not self.settings.production,
            answering=lambda: not engine.monitor.down,
            report=engine.reports.conflict,
        )
        return self._tenant.stores(made)

    @made_once
    def error_log(self) -> ErrorLog:
        engine = self.engine
        metrics = engine.metrics.own
        made = ErrorLog(
            self.classifier,
            engine.logs,
            engine.counters,
            engine.journal,
            engine.storage,
            Storms(burst=self.settings.error_burst, rate=self.settings.error_rate),
            release=self.settings.release,
            instance=self.settings.instance,
            database_down=lambda: engine.monitor.looked and not engine.monitor.healthy,
            sees=_weakly(self, Composition._sees),
            on_failure=lambda record: engine.incidents.failed(database=record.meaning.of_database),
            report=engine.report if engine.reporting.queues else None,
            tally=metrics.recorded if metrics is not None else None,
        )
        return self._tenant.logs(made)

    @made_once
    def recovery(self) -> Recovery:
        engine = self.engine
        made = Recovery(
            self.classifier,
            engine.deferral.queue,
            retries=self.settings.max_retry_attempts,
            base=self.settings.retry_base_delay_ms / 1000,
            mobile_retries=self.settings.mobile_extra_retries,
            enabled=self.settings.enable_error_recovery,
            budget=engine.budget,
            conflicts=engine.conflicts,
            on_retry=_weakly(self, Composition._retried),
            on_recovered=_weakly(self, Composition._recovered),
            on_deferred=_weakly(self, Composition._deferred),
            applied=engine.deferral.statuses.applied,
            sees=_weakly(self, Composition._sees),
        )
        return self._tenant.recovers(made)

    # -- by what they are for ---------------------------------------------------------------------------------------------------

    def database(self) -> DatabaseServices:
        engine = self.engine
        return DatabaseServices(
            engine.clients,
            engine.monitor,
            engine.breaker,
            engine.readable,
            engine.databases.diagnostics,
            engine.transactions,
        )

    def requests(self) -> RequestServices:
        engine = self.engine
        statistics = Statistics(engine.windows, live=engine.instance.workers.read, gather=engine.gather)
        return RequestServices(engine.counters, engine.minutes, engine.windows, statistics, engine.idempotency)

    def errors(self) -> ErrorServices:
        engine = self.engine
        return ErrorServices(
            self.error_log,
            engine.storage,
            engine.lookup,
            engine.kinds.groups,
            engine.kinds.triage,
            engine.incidents,
            engine.incident_log,
        )

    def queries(self) -> QueryServices:
        engine = self.engine
        return QueryServices(self.interceptor, self._tenant.query_statistics, engine.advisor)

    def deferral(self) -> DeferralServices:
        parts = self.engine.deferral
        return DeferralServices(parts.queue, parts.drainer, parts.statuses, parts.activity, parts.orders, parts.backlog)

    def diagnostics(self) -> DiagnosticServices:
        engine = self.engine
        configured = engine.clients.keeps
        return DiagnosticServices(
            Diagnostics(
                engine.instance.workers,
                engine.collections,
                engine.lookup,
                engine.deferral.backlog,
                elsewhere=engine.diagnostics_collections,
            ),
            Requests(
                engine.lookup,
                engine.deferral.statuses,
                engine.incident_log,
                engine.instance.workers,
                configured=configured,
                logs=RequestLines(self.settings.log_dir, engine.journal.aside),
                trace_url=self.settings.trace_url_template,
            ),
            engine.selftest,
        )

    def runtime(self) -> RuntimeServices:
        engine = self.engine
        return RuntimeServices(
            self._running.background,
            engine.journal,
            engine.instance.workers,
            engine.uncaught,
            engine.instance.asks,
            engine.instance.log_levels,
        )

    def state(self) -> WorkerState:
        background = self._running.background
        return self.engine.state(uptime=background.uptime, lag_ms=background.lag_ms)

    def damage(self, damage: DamageReport) -> None:
        self.engine.reports.damage(damage)
