"""How an application is put together, from what knows nothing of the others to what knows them all.

Every part is given what it needs, and what it is to tell of, when it is made; nothing is set afterwards. What a lower part
tells of goes up through a function that looks for the higher one only when it is called. Making them opens no file and no
connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.synchronous.database import Database

from prodfix import driver
from prodfix.alerts import service as alerts
from prodfix.background import Background
from prodfix.classification.classifications import Row
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.connection.readable import Readable
from prodfix.connection.status import ConnectionEvent
from prodfix.deferral.activity import Activity
from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.diagnostics.collections import Collections
from prodfix.diagnostics.report import Diagnostics
from prodfix.diagnostics.requests import Requests
from prodfix.diagnostics.selftest import SelfTest
from prodfix.documents import Documents
from prodfix.idempotency.keys import Idempotency
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import Incidents
from prodfix.journal.journal import Journal
from prodfix.links import Links
from prodfix.logs.logs import Logs
from prodfix.logs.uncaught import Uncaught
from prodfix.observers import Observers
from prodfix.operations.fingerprints import CommandKey
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import CommandRecord, observes
from prodfix.queries.query_statistics import QueryStatistics
from prodfix.records.error_log import ErrorLog
from prodfix.records.lookup import Lookup
from prodfix.records.reports import Reports
from prodfix.records.storage import Storage
from prodfix.recovery.aborts import Aborts
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.recovery import Recovery
from prodfix.recovery.retries import RetryDetails
from prodfix.recovery.transactions import Transactions
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
from prodfix.statistics.counters import Counters
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.rates import BEFORE, RECENT, compared
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.storms import Storms
from prodfix.statistics.windows import Windows
from prodfix.web.handlers import request_user
from prodfix.workers.workers import Workers

Result = TypeVar("Result")


class Composition:
    """All parts of one application, each made when it is first needed.

    ``uri``: where our own records go, None for nowhere. ``served``: it is the application of :func:`prodfix.create_app`;
    ``owning``: the process's logging is ours.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        uri: str | None,
        classifications: Mapping[type[BaseException], Row] | None,
        observers: Observers,
        links: Links,
        served: bool,
        owning: bool = False,
    ) -> None:
        self.settings, self.links = settings, links
        self.interceptor, self.monitor = observers.interceptor, observers.monitor
        self._uri, self._served, self._owning = uri, served, owning
        self.classifier = Classifier(classifications)
        self.journal = Journal(settings.state_dir / "journal")
        self._budget = RetryBudget(share=settings.retry_budget)
        self._conflicts = Conflicts(most=settings.max_conflict_retries)
        self._background = Background()

    # -- what is told upwards -------------------------------------------------------------------------------------------------

    def command(self, record: CommandRecord) -> None:
        """Of a command that is worth a line."""
        self.reports.command(record)
        self.advisor.consider(record)

    def repeated(self, key: CommandKey, context: RequestContext) -> None:
        """Of a kind of command that one request sends again and again."""
        self.reports.repeated(key, context)

    def connection_changed(self, event: ConnectionEvent) -> None:
        if not self._background.held:
            (self.incidents.end if event.event == "connected" else self.incidents.begin)("database_lost")
            self.reports.connection(event)

    def ping_failed(self, attempt: int, error: str) -> None:
        if not self._background.held:
            self.reports.attempt(attempt, error)

    def _retried(self, details: RetryDetails) -> None:
        self.incidents.count("retried")
        self.reports.retry(details.attempt, details.delay, details.error)

    def _recovered(self, details: RetryDetails) -> None:
        self.incidents.count("recovered")
        self.error_log.log_recovery(details.error, current_context())

    def _deferred(self, details: RetryDetails) -> None:
        write = details.write
        facts = {} if write is None else {"operationId": write.id, "operation": write.operation}
        self.error_log.log_deferral(details.error, current_context(), facts)

    def _regressed(self, group: Mapping[str, Any]) -> None:
        self.reports.regression(group)
        self.alerts.regressed(group)

    # -- the database ---------------------------------------------------------------------------------------------------------

    @cached_property
    def breaker(self) -> Breaker:
        return Breaker(
            lambda: self.monitor.down,
            failures=self.settings.breaker_failures if self.settings.enable_error_recovery else 0,
            refuse=self.monitor.gate,
            on_change=self.reports.breaker,
        )

    @cached_property
    def clients(self) -> Clients:
        listeners = (self.interceptor,) if self.settings.enable_query_logging else ()
        counter = () if driver.COUNTS_POOLS else (self.monitor.pool,)
        return Clients(
            self._uri,
            self.settings.mongo_options(),
            listeners=(*listeners, *counter),
            watchers=self.monitor.watchers,
            gate=self.breaker.gate,
            call=self._call,
            follow=not self.settings.enable_query_logging,
        )

    def _call(self, operation: Callable[[], Result]) -> Result:
        if current_context() is not None:
            self.activity.touch()
        return self.breaker.call(operation)

    def _sees(self, client: MongoClient[Any] | None) -> bool:
        """Whether the commands of ``client``, or of the clients that there are, are seen."""
        ours = self.clients.in_use
        if client is None:
            return ours is not None or self.interceptor.commands > 0
        return client is ours or observes(client)

    def _answering(self) -> Database[Any] | None:
        """Our own database while it answers, None while it does not: nobody waits for what is known to be down."""
        return self.clients.own_db if self.clients.configured and not self.monitor.down else None

    @cached_property
    def readable(self) -> Readable:
        return Readable(self._answering)

    @cached_property
    def transactions(self) -> Transactions:
        return Transactions.made(
            self.settings,
            lambda: self.clients.application,
            budget=self._budget,
            conflicts=self._conflicts,
            aborts=Aborts(lambda session: self.clients.own.admin.command("killSessions", [session])),
            report=self.reports.transaction,
        )

    @cached_property
    def documents(self) -> Documents:
        return Documents(
            lambda: self.clients.db,
            lambda: self.clients.own_db,
            auto_index=not self.settings.production,
            answering=lambda: not self.monitor.down,
            report=self.reports.conflict,
        )

    # -- counting and recording -----------------------------------------------------------------------------------------------

    @cached_property
    def logs(self) -> Logs:
        return Logs.made(self.settings, served=self._served, owning=self._owning)

    @cached_property
    def windows(self) -> Windows:
        return Windows(self.journal, self.readable)

    @cached_property
    def minutes(self) -> Minutes:
        return Minutes(self.journal, self.windows)

    @cached_property
    def groups(self) -> Groups:
        return Groups(self.readable, on_regression=self._regressed)

    @cached_property
    def counters(self) -> Counters:
        return Counters(self.journal, release=self.settings.release)

    @cached_property
    def incidents(self) -> Incidents:
        return Incidents(self.journal, instance=self.settings.instance, release=self.settings.release)

    @cached_property
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

    @cached_property
    def reports(self) -> Reports:
        return Reports(self.logs, self.storage, uri=self._uri, options=self.settings.mongo_options())

    @cached_property
    def error_log(self) -> ErrorLog:
        return ErrorLog(
            self.classifier,
            self.logs,
            self.counters,
            self.journal,
            self.storage,
            Storms(burst=self.settings.error_burst, rate=self.settings.error_rate),
            release=self.settings.release,
            database_down=lambda: self.monitor.looked and not self.monitor.healthy,
            sees=self._sees,
            on_failure=lambda record: self.incidents.failed(database=record.meaning.of_database),
        )

    @cached_property
    def advisor(self) -> Advisor:
        enabled = self.settings.enable_query_advice
        return Advisor(lambda: self.clients.own, self.journal, enabled=enabled, on_advice=self.reports.advice)

    # -- deferring and recovering ---------------------------------------------------------------------------------------------

    @cached_property
    def activity(self) -> Activity:
        return Activity(self.journal, observed=lambda: self.interceptor.last_asked)

    @cached_property
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

    @cached_property
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

    @cached_property
    def statuses(self) -> OperationStatuses:
        return OperationStatuses(
            self.journal,
            self._answering,
            readable=self.readable,
            configured=self.clients.configured,
            uptime=lambda: self.monitor.status().uptime,
            retention_days=self.settings.error_retention_days,
            live=self.activity.live,
            round_trip=lambda: self.monitor.round_trip,
        )

    @cached_property
    def recovery(self) -> Recovery:
        return Recovery(
            self.classifier,
            self.deferred,
            retries=self.settings.max_retry_attempts,
            base=self.settings.retry_base_delay_ms / 1000,
            mobile_retries=self.settings.mobile_extra_retries,
            enabled=self.settings.enable_error_recovery,
            budget=self._budget,
            conflicts=self._conflicts,
            on_retry=self._retried,
            on_recovered=self._recovered,
            on_deferred=self._deferred,
            applied=self.statuses.applied,
            sees=self._sees,
        )

    # -- all of it ------------------------------------------------------------------------------------------------------------

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.journal, state=lambda: self.services.state())  # noqa: PLW0108 - which is made of this

    @cached_property
    def alerts(self) -> alerts.Alerts:
        return alerts.made(
            self.settings,
            self.journal,
            self.workers,
            self._answering,
            link=self._link,
            rates=lambda: compared(self.windows.recent(RECENT + BEFORE), self.windows.now()),
            report=self.reports.alarm,
        )

    def _link(self) -> str:
        """Where the diagnostics are, for who is told of it; empty if nobody knows."""
        address, path = self.settings.address, self.links.diagnostics
        return f"{address}{path}" if address and path is not None else ""

    @cached_property
    def services(self) -> Services:
        lookup = Lookup(self.journal, self.readable)
        incident_log = IncidentLog(self.journal, self.readable, on_closed=self.reports.incident)
        orders = AdminCommands(self.journal, done=self.reports.order)
        backlog = Backlog(self.journal, self.deferred, orders)
        return Services(
            settings=self.settings,
            links=self.links,
            classifier=self.classifier,
            recovery=self.recovery,
            documents=self.documents,
            database=DatabaseServices(self.clients, self.monitor, self.breaker, self.readable, self.transactions),
            requests=RequestServices(
                self.counters,
                self.minutes,
                self.windows,
                Statistics(self.windows, live=self.workers.read),
                Idempotency.made(self.settings, self._answering, self.classifier, report=self.reports.idempotency),
            ),
            errors=ErrorServices(self.error_log, self.storage, lookup, self.groups, self.incidents, incident_log),
            queries=QueryServices(
                self.interceptor, QueryStatistics(self.journal, self.interceptor.command_stats), self.advisor
            ),
            deferral=DeferralServices(self.deferred, self.drainer, self.statuses, self.activity, orders, backlog),
            alerts=self.alerts,
            logs=self.logs,
            diagnostics=DiagnosticServices(
                Diagnostics(self.workers, Collections(self.readable), lookup, backlog),
                Requests(lookup, self.statuses, incident_log, configured=self.clients.configured),
                SelfTest(lambda: self.clients.own_db, self.classifier),
            ),
            runtime=RuntimeServices(
                self._background, self.journal, self.workers, Uncaught(self.error_log.log_error, self.logs.uncaught)
            ),
        )
