"""The clients of an engine, and its databases: the application's, and the one that has what is ours.

What asks one of them is given a function that says whether it answers: nobody waits for what is known to be down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pymongo.synchronous.database import Database

from prodfix.alerts.agreement import ALERT_CLAIMS
from prodfix.connection.clients import Call, Clients
from prodfix.connection.elsewhere import Elsewhere
from prodfix.connection.monitor import FIRST_PING, ConnectionMonitor
from prodfix.connection.readable import Readable
from prodfix.deferral.operation_status import OPERATIONS
from prodfix.driver.listening import EventListener
from prodfix.driver.pool_numbers import COUNTS_POOLS
from prodfix.idempotency.claims import KEYS
from prodfix.incidents.incident_log import HEADS, INCIDENTS
from prodfix.observers import LISTENERS
from prodfix.process.lazy import Lazy, made_once
from prodfix.records.keeper import ERROR_SAMPLING
from prodfix.records.record_indexes import CONNECTION_EVENTS, ERROR_LOG
from prodfix.recovery.breaker import Breaker
from prodfix.settings import Settings
from prodfix.statistics.closed_hours import ERROR_DAYS, ERROR_HOURS
from prodfix.statistics.groups import ERROR_GROUPS
from prodfix.statistics.instance_hours import ERROR_MINUTES

OURS = (
    ERROR_LOG, CONNECTION_EVENTS, ERROR_MINUTES, ERROR_HOURS, ERROR_DAYS, ERROR_GROUPS, ERROR_SAMPLING, INCIDENTS, HEADS,
    ALERT_CLAIMS,
)  # fmt: skip
"""The collections with what is known of the application; those that its own requests need are with its data."""
WITH_THE_DATA = (OPERATIONS, KEYS)


class EngineDatabases(Lazy):
    """``uri``: where our own records go, None for nowhere. ``call`` is around each of the application's operations;
    ``hears`` is asked for the listener of the application's commands when its client is made. ``muted``: the applications are
    under test, and are told of themselves and of nothing else."""

    def __init__(
        self,
        settings: Settings,
        uri: str | None,
        monitor: ConnectionMonitor,
        *,
        breaker: Callable[[], Breaker],
        call: Call,
        hears: Callable[[], EventListener],
        muted: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.apart = settings.diagnostics_uri is not None
        """Whether what is ours has a database of its own."""
        self._settings, self._uri, self._monitor = settings, uri, monitor
        self._breaker, self._call, self._hears, self._muted = breaker, call, hears, muted

    @made_once
    def clients(self) -> Clients:
        logs, elsewhere = self._settings.enable_query_logging, self._settings.diagnostics_uri
        listeners: Sequence[EventListener] = (self._hears(),) if logs else ()
        counter = () if COUNTS_POOLS else (self._monitor.pool,)
        return Clients(
            self._uri,
            self._settings.mongo_options(),
            diagnostics_uri=elsewhere.get_secret_value() if elsewhere is not None else None,
            listeners=(*listeners, *counter),
            watchers=self._monitor.watchers,
            foreign=LISTENERS,
            gate=self._breaker().gate,
            call=self._call,
            follow=not logs,
        )

    def release(self) -> None:
        """Close the clients, if there are any."""
        if "clients" in vars(self):
            self.clients.close()

    def answering(self) -> Database[Any] | None:
        """Our own database while it answers, None while it does not: nobody waits for what is known to be down."""
        return self.clients.own_db if self.clients.configured and not self._monitor.down else None

    def _stored(self) -> Database[Any] | None:
        """The same, of what was stored before: a test is told of itself, and of nothing else."""
        return None if self._muted() else self.answering()

    @made_once
    def readable(self) -> Readable:
        return Readable(self._stored)

    # -- what is ours ---------------------------------------------------------------------------------------------------------

    @made_once
    def elsewhere(self) -> Elsewhere:
        """Of what is ours, where that has a database of its own."""
        return Elsewhere(lambda: self.clients.diagnostics_db)

    def diagnostics_answering(self) -> Database[Any] | None:
        """The database with what is ours, while it is not known to be down."""
        return self.elsewhere.answering() if self.apart else self.answering()

    def _diagnostics_stored(self) -> Database[Any] | None:
        return None if self._muted() else self.clients.diagnostics_db

    @made_once
    def diagnostics(self) -> Readable:
        """The same while it can be read: also while the application's does not answer, if it is another one."""
        if not self.apart:
            return self.readable
        return Readable(self._diagnostics_stored, lost=lambda: self.elsewhere.lost_since is not None)

    def ask(self) -> None:
        """Under test nothing pings beside requests: who asks how the database is asks it now, and leaves nothing behind."""
        if self._muted() and self.clients.configured and not self._monitor.healthy:
            self._monitor.allow(FIRST_PING)
            self._monitor.ping()
            self.clients.close_watch()
