"""How the lower parts of one application are put together: what all others stand on, and what counts and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.synchronous.database import Database

from prodfix.classification.classifications import Row
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.readable import Readable
from prodfix.context import current_context
from prodfix.deferral.traffic import Traffic
from prodfix.journal.journal import Journal
from prodfix.links import Links
from prodfix.logs.files import Room, category_files
from prodfix.logs.logs import Logs
from prodfix.logs.sinks import Console, Sinks
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import QueryInterceptor, observes
from prodfix.records.error_log import ErrorLog
from prodfix.records.incidents import Incidents
from prodfix.records.reports import Reports
from prodfix.records.storage import Storage
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.budget import RetryBudget
from prodfix.settings import Settings
from prodfix.statistics.counters import Counters
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.storms import Storms
from prodfix.statistics.windows import Windows

Result = TypeVar("Result")


class Foundations:
    """The lower parts of one application, made as they are needed. Making them opens no file and no connection.

    ``interceptor`` and ``monitor`` exist before: a host needs their listeners when it makes its client.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        uri: str | None,
        classifications: Mapping[type[BaseException], Row] | None,
        interceptor: QueryInterceptor,
        monitor: ConnectionMonitor,
        links: Links,
        served: bool,
        owning: bool = False,
    ) -> None:
        self.settings, self.interceptor, self.monitor = settings, interceptor, monitor
        self.links = links
        self._uri, self._served, self._owning = uri, served, owning
        self.classifier = Classifier(classifications)
        self.journal = Journal(settings.state_dir / "journal")
        self._budget = RetryBudget(share=settings.retry_budget)

    # -- what all of them stand on ------------------------------------------------------------------------------------------

    @cached_property
    def breaker(self) -> Breaker:
        failures = self.settings.breaker_failures if self.settings.enable_error_recovery else 0
        return Breaker(lambda: self.monitor.down, failures=failures, refuse=self.monitor.gate)

    @cached_property
    def clients(self) -> Clients:
        pool = self.monitor.pool
        return Clients(
            self._uri,
            self.settings.mongo_options(),
            listeners=(self.interceptor, pool) if self.settings.enable_query_logging else (pool,),
            watchers=self.monitor.watchers,
            gate=self.breaker.gate,
            call=self._call,
            follow=not self.settings.enable_query_logging,
        )

    def _call(self, operation: Callable[[], Result]) -> Result:
        if current_context() is not None:
            self.traffic.note()
        return self.breaker.call(operation)

    def _sees(self, client: MongoClient[Any] | None) -> bool:
        """Whether the commands of ``client``, or of the clients that there are, are seen."""
        ours = self.clients.in_use
        if client is None:
            return ours is not None or self.interceptor.commands > 0
        return client is ours or observes(client)

    @cached_property
    def traffic(self) -> Traffic:
        return Traffic(self.journal, observed=lambda: self.interceptor.last_asked)

    def answering(self) -> Database[Any] | None:
        """Our own database while it answers, None while it does not: nobody waits for what is known to be down."""
        return self.clients.own_db if self.clients.configured and not self.monitor.down else None

    @cached_property
    def readable(self) -> Readable:
        return Readable(self.answering)

    @cached_property
    def logs(self) -> Logs:
        return Logs(_sinks(self.settings), served=self._served, owning=self._owning)

    @cached_property
    def storage(self) -> Storage:
        days = self.settings.error_retention_days
        return Storage(
            self.journal,
            lambda: self.clients.own_db,
            self.minutes,
            self.groups,
            retention_days=days,
            live=self.traffic.live,
        )

    @cached_property
    def reports(self) -> Reports:
        return Reports(self.logs, self.storage, uri=self._uri, options=self.settings.mongo_options())

    # -- counting and recording ---------------------------------------------------------------------------------------------

    @cached_property
    def windows(self) -> Windows:
        return Windows(self.journal, self.readable)

    @cached_property
    def minutes(self) -> Minutes:
        return Minutes(self.journal, self.windows)

    @cached_property
    def groups(self) -> Groups:
        return Groups(self.readable)

    @cached_property
    def counters(self) -> Counters:
        return Counters(self.journal, release=self.settings.release)

    @cached_property
    def incidents(self) -> Incidents:
        return Incidents(self.journal, instance=self.settings.instance, release=self.settings.release)

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


def _sinks(settings: Settings) -> Sinks:
    files = category_files(
        settings.log_dir,
        max_bytes=settings.log_file_max_size,
        keep=settings.log_file_max_files,
        daily=settings.log_rotation == "daily",
        room=Room(settings.state_dir / "journal", settings.log_disk_reserve),
    )
    return Sinks([Console(), *files])
