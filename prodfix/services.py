"""The service layer of one application: at ``app.extensions["prodfix"]``, reached as ``current_prodfix``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import pymongo
from flask import current_app
from pymongo.synchronous.client_session import ClientSession
from werkzeug.local import LocalProxy

from prodfix.alerts.service import Alerts
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.readable import Readable
from prodfix.deferral.activity import Activity
from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.diagnostics.report import Diagnostics
from prodfix.diagnostics.requests import Requests
from prodfix.diagnostics.selftest import SelfTest
from prodfix.documents import Documents
from prodfix.idempotency.keys import Idempotency
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.observed import Incidents
from prodfix.journal.journal import Journal
from prodfix.journal.quarantine import DamageReport
from prodfix.links import Links
from prodfix.logs.logs import Logs
from prodfix.logs.uncaught import Uncaught
from prodfix.queries.advice import Advisor
from prodfix.queries.interceptor import QueryInterceptor
from prodfix.queries.query_statistics import QueryStatistics
from prodfix.records.error_log import ErrorLog
from prodfix.records.lookup import Lookup
from prodfix.records.storage import Storage
from prodfix.recovery.breaker import Breaker
from prodfix.recovery.recovery import Recovery
from prodfix.recovery.transactions import Transactions
from prodfix.settings import Settings
from prodfix.settings_names import named_for_host
from prodfix.slotted import frozen
from prodfix.statistics.counters import Counters
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.triage import Triage
from prodfix.statistics.windows import Windows
from prodfix.workers.asks import Asks
from prodfix.workers.log_levels import LogLevels
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers

if TYPE_CHECKING:
    from prodfix.metrics.instance_metrics import Metrics
    from prodfix.workers.worker_stacks import StacksReport

Result = TypeVar("Result")

EXTENSION = "prodfix"


class Runner(Protocol):
    """What runs beside the requests of one process: :class:`prodfix.background.Background`.

    ``serving``: whether this worker still takes requests, or drains. ``lag_ms`` is how late its loops wake up, ``uptime`` how
    many seconds they have been running. ``held``: this process begins nothing, and is none of the workers.
    """

    @property
    def lag_ms(self) -> float: ...

    def serving(self) -> bool: ...

    @property
    def held(self) -> bool: ...

    @property
    def uptime(self) -> float: ...

    @property
    def running(self) -> bool: ...

    def start(self, serving: Callable[[], bool] | None = None, *, testing: bool = False) -> None: ...

    def hold(self) -> None: ...

    def stop(self) -> None: ...


@frozen
class DatabaseServices:
    """How the database is reached, and what knows whether it answers. ``readable`` is our own, while it can be read;
    ``diagnostics`` the one with what is ours, which may be another one."""

    clients: Clients
    monitor: ConnectionMonitor
    breaker: Breaker
    readable: Readable
    diagnostics: Readable
    transactions: Transactions


@frozen
class RequestServices:
    """What is counted of requests, minute by minute, and which of them came before."""

    counters: Counters
    minutes: Minutes
    windows: Windows
    statistics: Statistics
    idempotency: Idempotency


@frozen
class ErrorServices:
    """What is recorded of errors, and where it is found again."""

    log: ErrorLog
    storage: Storage
    lookup: Lookup
    groups: Groups
    triage: Triage
    incidents: Incidents
    incident_log: IncidentLog


@frozen
class QueryServices:
    """What is seen of the application's commands."""

    interceptor: QueryInterceptor
    statistics: QueryStatistics
    advisor: Advisor


@frozen
class DeferralServices:
    """Writes that wait on disk. ``status`` is what became of each, ``activity`` whether requests need the database meanwhile;
    ``admin`` and ``backlog`` are an admin's."""

    queue: DeferredQueue
    drainer: Drainer
    status: OperationStatuses
    activity: Activity
    admin: AdminCommands
    backlog: Backlog


@frozen
class DiagnosticServices:
    """What an admin is answered over all the others."""

    report: Diagnostics
    requests: Requests
    selftest: SelfTest


@frozen
class RuntimeServices:
    """This process, and the others of the instance."""

    background: Runner
    journal: Journal
    workers: Workers
    uncaught: Uncaught
    asks: Asks
    log_levels: LogLevels

    def stacks(self) -> StacksReport:
        """Where the greenlets and threads of all workers stand. Raises :class:`prodfix.errors.JournalUnavailable` if the disk
        fails. It takes some seconds: each worker answers for itself."""
        from prodfix.workers.worker_stacks import gathered

        return gathered(self.asks, lambda: [one.worker for one in self.workers.read()])


class Parts(Protocol):
    """What makes the parts of one application: :class:`prodfix.composition.Composition`."""

    settings: Settings
    links: Links
    classifier: Classifier
    testing: Callable[[], bool]
    served: bool

    @property
    def recovery(self) -> Recovery: ...

    @property
    def documents(self) -> Documents: ...

    @property
    def alerts(self) -> Alerts: ...

    @property
    def logs(self) -> Logs: ...

    @property
    def metrics(self) -> Metrics | None: ...

    def database(self) -> DatabaseServices: ...

    def requests(self) -> RequestServices: ...

    def errors(self) -> ErrorServices: ...

    def queries(self) -> QueryServices: ...

    def deferral(self) -> DeferralServices: ...

    def diagnostics(self) -> DiagnosticServices: ...

    def runtime(self) -> RuntimeServices: ...

    def state(self) -> WorkerState: ...

    def damage(self, damage: DamageReport) -> None: ...


class Services:
    """Everything that an application has of prodfix, by what it is for. Its parts are public: blueprints and tests use them.

    An application itself needs :attr:`db`, ``recovery`` and ``documents``. Each part is made when it is first asked for: who
    makes an application for each test needs few of them.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.settings, self.links, self.classifier = parts.settings, parts.links, parts.classifier
        self.served = parts.served
        """Whether it is the application of :func:`prodfix.create_app`, and none that has taken prodfix in."""

    def named(self, text: str) -> str:
        """``text``, in a host with the prefix before the names of settings: the bare ones are the host's own."""
        return text if self.served else named_for_host(text)

    @cached_property
    def recovery(self) -> Recovery:
        return self._parts.recovery

    @cached_property
    def documents(self) -> Documents:
        return self._parts.documents

    @cached_property
    def alerts(self) -> Alerts:
        return self._parts.alerts

    @cached_property
    def logs(self) -> Logs:
        return self._parts.logs

    @cached_property
    def metrics(self) -> Metrics | None:
        """None where nobody asked for them."""
        return self._parts.metrics

    @cached_property
    def database(self) -> DatabaseServices:
        return self._parts.database()

    @cached_property
    def requests(self) -> RequestServices:
        return self._parts.requests()

    @cached_property
    def errors(self) -> ErrorServices:
        return self._parts.errors()

    @cached_property
    def queries(self) -> QueryServices:
        return self._parts.queries()

    @cached_property
    def deferral(self) -> DeferralServices:
        return self._parts.deferral()

    @cached_property
    def diagnostics(self) -> DiagnosticServices:
        return self._parts.diagnostics()

    @cached_property
    def runtime(self) -> RuntimeServices:
        return self._parts.runtime()

    @property
    def db(self) -> Any:
        """The application's database."""
        return self.database.clients.db

    def start(self, serving: Callable[[], bool] | None = None) -> None:
        """Start this process's background work, if it does not run yet. ``serving`` is what the server knows: whether this
        process still takes requests."""
        background = self.runtime.background
        if serving is not None or not (background.running or background.held):
            background.start(serving, testing=self._parts.testing())

    def close(self) -> None:
        """End this process's background work, after storing what waits; also that of other applications of it with the same
        settings, until one of them is asked again."""
        self.runtime.background.stop()

    def state(self) -> WorkerState:
        """How this worker is, for all workers to read."""
        return self._parts.state()

    def tell_of_damage(self, damage: DamageReport) -> None:
        """Tell that a journal was damaged, what came home of it and what is gone: once, by the worker that has adopted it."""
        self._parts.damage(damage)


def _current() -> Services:
    return cast(Services, current_app.extensions[EXTENSION])


current_prodfix: Services = cast(Services, LocalProxy(_current))
"""The :class:`Services` of the current Flask application."""


def run_transaction(
    callback: Callable[[ClientSession], Result], *, retries: int | None = None, deadline: float | None = None
) -> Result:
    """:meth:`prodfix.recovery.transactions.Transactions.run` of the current application, within ``deadline`` seconds if given."""
    if deadline is None:
        return current_prodfix.database.transactions.run(callback, retries=retries)
    with pymongo.timeout(deadline):
        return current_prodfix.database.transactions.run(callback, retries=retries)
