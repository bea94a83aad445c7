"""The connections to MongoDB: made on first use, once in each process, never before a fork.

Three clients, so that the parts cannot disturb each other: the application's (flask-pymongo's, with the listeners), our
own for what prodfix stores and asks (no command listeners: it can never log itself), and the watch, with a connection for
pings and one for those with patience, which an exhausted pool of the application cannot starve. Where what is ours has a
database of its own there is a fourth one, for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import pymongo
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError
from pymongo.read_preferences import Primary
from pymongo.server_selectors import any_server_selector, writable_server_selector
from pymongo.synchronous.database import Database as DriverDatabase
from pymongo.topology_description import TopologyDescription

from prodfix.connection.checkouts import BoundedPool
from prodfix.connection.databases import Client, Database
from prodfix.connection.pool import Counts
from prodfix.connection.selections import Selections
from prodfix.connection.time_limits import limited
from prodfix.connection.unlistened import followed, may_write
from prodfix.driver import csot
from prodfix.driver.hooked_client import HookedClient
from prodfix.driver.listening import EventListener, keep_listeners
from prodfix.driver.pool_numbers import pool_counts
from prodfix.driver.resting import RestingClient
from prodfix.errors import DatabaseNotConfigured
from prodfix.process.current import current
from prodfix.process.per_process import PerProcess

DEFAULT_DATABASE = "prodfix"
TRIES = 2  # of one operation by the driver itself
CLOSING = 1.0  # seconds for one client
TIDYING = (
    30.0  # seconds between two looks for what our own clients have left: few cursors, and no pool that must be filled
)
SELECTION_STEP = 0.5  # seconds; the driver itself looks no more often (SDAM specification, minHeartbeatFrequencyMS)

Gate = Callable[[], None]
Result = TypeVar("Result")


class Call(Protocol):
    """What runs an operation: :meth:`prodfix.recovery.breaker.Breaker.call`, or nothing around it."""

    def __call__(self, operation: Callable[[], Result], /) -> Result: ...


class _OfOverload(NamedTuple):
    """Tries of an operation that an overloaded server has refused, and how many there may be."""

    made: int
    most: int


# Where a greenlet or thread (whose own greenlet is its first) keeps how often the operation that it is in was tried. Not in a
# context variable: setting one costs more than all else that is done here.
_TRIES = "prodfix_tries"


def _plainly(operation: Callable[[], Result]) -> Result:
    return operation()


class GatedClient(HookedClient, Client):
    """flask-pymongo's client where it is installed, else the driver's, which asks ``gate`` before it selects a server, and
    runs each operation within ``call``.

    ``follow``: note what its writes came to, where no command listener does.

    The gate raises :class:`prodfix.errors.DatabaseUnavailable` while the database is known to be down; so every
    operation fails in microseconds, inside the driver, where the traceback still names operation and collection.
    A request that already waits for a server learns of it within half a second.

    Each operation is tried twice at most, as the driver does without a deadline (retryable reads and writes
    specifications); three times, with its pauses, if the server says that it is overloaded. Under ``pymongo.timeout`` the
    driver goes on until the time is over, without a pause: pymongo 4.20 sent 13,791 commands in 3 seconds for one
    ``distinct`` that the server refused with a retryable code.
    """

    def __init__(
        self, *arguments: Any, gate: Gate, call: Call = _plainly, follow: bool = False, **options: Any
    ) -> None:
        self._prodfix_gate, self._prodfix_call, self._prodfix_follow = gate, call, follow
        self._prodfix_selections = Selections()
        super().__init__(*arguments, pool=BoundedPool, **options)

    def __getattr__(self, name: str) -> Any:
        return MongoClient.__getattr__(self, name)  # which refuses private names, and asks for the item of the others

    def __getitem__(self, name: str) -> Database:
        return Database(self, name)

    prodfix_work = staticmethod(limited)

    def prodfix_operation(
        self, run: Callable[[], Any], name: str, session: Any, is_read: bool, writes_out: bool
    ) -> Any:
        if self._prodfix_follow and may_write(name, is_read=is_read, writes_out=writes_out):
            run = partial(followed, run, name, session)
        here = current().__dict__
        outer = here.get(_TRIES)
        here[_TRIES] = 0
        try:
            return self._prodfix_call(run)
        finally:
            here[_TRIES] = outer

    @staticmethod
    def prodfix_overloaded(retries: int) -> None:
        here = current().__dict__
        tries = here.get(_TRIES)
        if tries is not None:
            made = tries.made if isinstance(tries, _OfOverload) else tries
            here[_TRIES] = _OfOverload(made, max(TRIES, 1 + retries))

    def prodfix_try(self) -> None:
        here = current().__dict__
        tries = here.get(_TRIES)
        if tries is not None:
            here[_TRIES] = 1 if tries == 0 else _once_more(tries)
        self._prodfix_gate()

    def prodfix_known(self, description: TopologyDescription, selector: Any) -> Any:
        found = self._prodfix_selections.get(description, selector)
        return found.server if found is not None else None

    def prodfix_selection(self, select: Callable[[], Any], selector: Any) -> Any:
        """In steps, between which the gate is asked; in none where a server is known."""
        if selector is not None and self._prodfix_selections.get(self.topology_description, selector) is not None:
            return select()
        limit = csot.remaining()
        if limit is None:
            limit = self.options.server_selection_timeout
        end = time.monotonic() + limit
        while True:
            described, left = self.topology_description, end - time.monotonic()
            try:
                with pymongo.timeout(max(0.001, min(left, SELECTION_STEP))):
                    server = select()
                break
            except ServerSelectionTimeoutError:
                if left <= SELECTION_STEP:
                    raise
            self._prodfix_gate()
        if described is self.topology_description and self._prodfix_may_note(selector):
            self._prodfix_selections.note(described, selector, server if _only(described, selector) else None)
        return server

    def _prodfix_may_note(self, selector: Any) -> bool:
        """Whether it finds the same again: a session can be pinned to one mongos, and a selector of the host's do anything."""
        sharded = self.topology_description.topology_type_name == "Sharded"
        return selector is not None and not sharded and self.options.server_selector is any_server_selector


def _once_more(tries: int | _OfOverload) -> int | _OfOverload:
    """One more try. Raises in place of the last: the driver then raises the error that the operation has failed with."""
    made, most = tries if isinstance(tries, _OfOverload) else (tries, TRIES)
    if made >= most:
        raise ServerSelectionTimeoutError(f"tried {made} times")
    return _OfOverload(made + 1, most)


def _only(description: TopologyDescription, selector: Any) -> bool:
    """Whether there is but one server that it can find: one that the client was given, or the primary."""
    kind = description.topology_type_name
    primary = selector is writable_server_selector or type(selector) is Primary
    return kind == "Single" or (kind == "ReplicaSetWithPrimary" and primary)


def _heard(client: MongoClient[Any], wanted: Callable[[Any], bool]) -> MongoClient[Any]:
    keep_listeners(client, wanted)
    return client


def _close(client: PerProcess[MongoClient[Any]]) -> None:
    made = client.take()
    if made is not None:
        # It tells the server which sessions are over, and would wait for one that is gone (serverSelectionTimeoutMS).
        with pymongo.timeout(CLOSING):
            made.close()


class Clients:
    """``application``, ``own`` and ``watch``; and ``db``, the application's database (the URI's, or ``prodfix``). What is ours is
    in that one too, or in that of ``diagnostics_uri``, whose client no gate of the application's closes.

    ``gate``, ``call`` and ``follow``: see :class:`GatedClient`; ``call`` is around the application's operations only.
    ``foreign`` listeners are for clients of others: where they are registered for all clients, ours are told of twice. Every
    property but ``in_use`` raises :class:`prodfix.errors.DatabaseNotConfigured` if there is no URI.
    """

    def __init__(
        self,
        uri: str | None,
        options: dict[str, Any],
        *,
        diagnostics_uri: str | None = None,
        listeners: Sequence[EventListener] = (),
        watchers: Sequence[EventListener] = (),
        foreign: Sequence[EventListener] = (),
        gate: Gate = lambda: None,
        call: Call = _plainly,
        follow: bool = False,
    ) -> None:
        self._uri, self._diagnostics_uri = uri, diagnostics_uri
        # Ours give up sooner than the application's, and have few connections.
        brief = {
            "connectTimeoutMS": min(options.get("connectTimeoutMS", 2_000), 2_000),
            "serverSelectionTimeoutMS": min(options.get("serverSelectionTimeoutMS", 2_000), 2_000),
            "socketTimeoutMS": 10_000,
            "waitQueueTimeoutMS": 1_000,
            "retryWrites": True,
            "serverMonitoringMode": "poll",
            "tz_aware": True,
        }
        own, watch = {"appname": "prodfix-own", "maxPoolSize": 4}, {"appname": "prodfix-watch", "maxPoolSize": 2}
        elsewhere = own | {"appname": "prodfix-diagnostics"}
        self._application: PerProcess[MongoClient[Any]] = PerProcess(
            lambda: _heard(
                GatedClient(
                    self.uri,
                    connect=False,
                    event_listeners=list(listeners),
                    gate=gate,
                    call=call,
                    follow=follow,
                    **options,
                ),
                lambda one: one in listeners or one not in foreign,
            )
        )
        self._own: PerProcess[MongoClient[Any]] = PerProcess(
            lambda: _heard(
                GatedClient(self.uri, connect=False, gate=gate, tidying=TIDYING, **(brief | own)), lambda one: False
            )
        )
        self._elsewhere: PerProcess[MongoClient[Any]] = PerProcess(
            lambda: _heard(
                GatedClient(diagnostics_uri, connect=False, gate=lambda: None, tidying=TIDYING, **(brief | elsewhere)),
                lambda one: False,
            )
        )
        self._watch: PerProcess[MongoClient[Any]] = PerProcess(
            lambda: _heard(
                RestingClient(
                    self.uri,
                    connect=False,
                    event_listeners=list(watchers),
                    tidying=TIDYING,
                    **(brief | watch),
                    retryReads=False,
                ),
                lambda one: one in watchers,
            )
        )

    @property
    def configured(self) -> bool:
        return self._uri is not None

    @property
    def apart(self) -> bool:
        """Whether what is ours is kept in another database."""
        return self._diagnostics_uri is not None

    @property
    def diagnostics_uri(self) -> str | None:
        return self._diagnostics_uri

    @property
    def keeps(self) -> bool:
        """Whether there is a database for what is ours."""
        return self.configured or self.apart

    @property
    def uri(self) -> str:
        if self._uri is None:
            raise DatabaseNotConfigured("MONGODB_URI is not set")
        return self._uri

    @property
    def application(self) -> MongoClient[Any]:
        return self._application.get()

    @property
    def in_use(self) -> MongoClient[Any] | None:
        """The application's, if it was asked for in this process."""
        return self._application.made

    def pools(self) -> Counts:
        """The numbers of its pools, as far as they can be read."""
        return pool_counts(self.in_use)

    @property
    def own(self) -> MongoClient[Any]:
        return self._own.get()

    @property
    def watch(self) -> MongoClient[Any]:
        return self._watch.get()

    @property
    def database_name(self) -> str:
        # Asking the client parses no URI again: flask-pymongo's way would ask the DNS for a mongodb+srv one.
        return self.own.get_default_database(DEFAULT_DATABASE).name

    @property
    def db(self) -> Database:
        """The application's database, with flask-pymongo's ``find_one_or_404`` on its collections."""
        return cast(Database, self.application[self.database_name])

    @property
    def own_db(self) -> DriverDatabase[Any]:
        """The same database through our own client."""
        return self.own[self.database_name]

    @property
    def diagnostics(self) -> MongoClient[Any]:
        """The client for what is ours: the second one, or :attr:`own`."""
        return self._elsewhere.get() if self.apart else self.own

    @property
    def diagnostics_db(self) -> DriverDatabase[Any]:
        """The database for what is ours."""
        if not self.apart:
            return self.own_db
        return self.diagnostics[self.diagnostics.get_default_database(DEFAULT_DATABASE).name]

    def close_watch(self) -> None:
        """Close the one that pings."""
        _close(self._watch)

    def close(self) -> None:
        """Close the clients of this process. Safe to call twice."""
        for client in (self._application, self._own, self._elsewhere, self._watch):
            _close(client)
