"""The one place that knows private names of PyMongo: what the library stands in where the driver has no public hook.

A version of the driver without one of them, or where it takes something else, loses what stands beside it in :data:`NAMES`
and nothing else: no import fails, and no request. The doctor and the diagnostics tell of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo import MongoClient
from pymongo.errors import PyMongoError, WaitQueueTimeoutError
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor
from pymongo.topology_description import TopologyDescription
from pymongo.write_concern import WriteConcern

from prodfix.slotted import frozen

Work = Callable[..., Any]
Deadline = tuple[float | None, float]
"""The seconds that ``pymongo.timeout`` was given, and when they are over (monotonic)."""


def _found(module: str, name: str) -> Any:
    """What ``module`` has by that name; ``None`` if one of them is not there."""
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _takes(owner: Any, method: str, *parameters: str) -> bool:
    """Whether the class has such a method, whose first parameters have these names; or one that a decorator passes everything
    on to, as ``Connection.command`` until 4.16."""
    function = getattr(owner, method, None)
    known = tuple(inspect.signature(function).parameters.values()) if inspect.isfunction(function) else ()
    passes_on = [one.kind for one in known] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
    return passes_on or tuple(one.name for one in known[: len(parameters) + 1]) == ("self", *parameters)


def _sets(owner: Any, *names: str) -> bool:
    """Whether the class's constructors set attributes, or take options, of these names: only their code tells."""
    makers: list[Any] = [vars(kind).get("__init__") for kind in inspect.getmro(owner)]
    codes = [getattr(inspect.unwrap(maker), "__code__", None) for maker in makers if maker is not None]
    known = {name for code in codes if code is not None for name in (*code.co_names, *code.co_consts)}
    return known.issuperset(names)


if TYPE_CHECKING:
    from pymongo import _csot
    from pymongo.client_session_shared import _TxnState
    from pymongo.monitoring import _EventListener
    from pymongo.synchronous import pool

    EventListener = _EventListener
    Connection = pool.Connection
    Pool = pool.Pool
else:
    EventListener = object  # for types only
    _csot = _found("pymongo", "_csot")
    _TxnState = _found("pymongo.client_session_shared", "_TxnState") or _found(
        "pymongo.synchronous.client_session",
        "_TxnState",  # until 4.17
    )
    Connection = _found("pymongo.synchronous.pool", "Connection") or type("Connection", (), {})
    Pool = _found("pymongo.synchronous.pool", "Pool") or type("Pool", (), {})

_CLIENT_BULK = _found("pymongo.synchronous.client_bulk", "_ClientBulk")
_POOL_CLOSED = _found("pymongo.pool_shared", "_PoolClosedError") or _found(
    "pymongo.synchronous.pool",
    "_PoolClosedError",  # until 4.17
)
_TIMES = all(hasattr(_csot, name) for name in ("remaining", "get_timeout", "get_deadline", "TIMEOUT", "DEADLINE"))
_STATES = all(hasattr(_TxnState, name) for name in ("IN_PROGRESS", "COMMITTED", "ABORTED"))
_RUNS = _takes(MongoClient, "_retry_internal", "func", "session", "bulk", "operation", "is_read")
_SELECTS = _takes(MongoClient, "_select_server", "server_selector", "session", "operation", "address")
_DESCRIBES = _sets(MongoClient, "_topology")
_TELLS_IMPLICIT = _sets(ClientSession, "_implicit")
_HAS_POLICY = _sets(MongoClient, "_retry_policy")
_TAKES_POOL = _sets(MongoClient, "_pool_class")
_LENDS = _takes(Pool, "_get_conn", "checkout_started_time", "handler")
_CONNECTS = _takes(Pool, "connect", "handler")
# Before 4.19 a pool counts whoever has waited in vain as one who waits still: its events are right.
_COUNTS = pymongo.version_tuple >= (4, 19) and _sets(
    Pool, "conns", "active_contexts", "_pending", "operation_count", "opts"
)
ASKS_FOR_CLIENT = _takes(Connection, "apply_timeout", "client", "cmd")
"""Whether ``Connection.apply_timeout`` is given the client before the command, as until 4.19."""
_APPLIES = ASKS_FOR_CLIENT or _takes(Connection, "apply_timeout", "cmd")
_SHORTENS = _APPLIES and _takes(Connection, "command", "dbname", "spec")
_HEARD = {
    "command_listeners": "commands",
    "cmap_listeners": "cmap",
}  # lists of listeners, and what says that there are some
_HEARS = _sets(
    _found("pymongo.monitoring", "_EventListeners") or object,
    *(f"_EventListeners__{name}" for name in _HEARD),
    *(f"_EventListeners__enabled_for_{name}" for name in _HEARD.values()),
)
_HAS_TRANSACTION = _sets(ClientSession, "_transaction")
_FINISHES = _takes(ClientSession, "_finish_transaction_with_retry")


@frozen
class PrivateName:
    """A name of the driver's that is none of its public ones."""

    name: str
    lost: str
    """What there is not without it."""
    there: bool


_SHORT_WAY = "the short way to a server that is known: each command selects it anew, which costs a twentieth of it"
_POOL_LOST = "waitQueueTimeoutMS within a deadline, and limits of its own that a caller gives an operation there"
_ABORTS_LOST = "the abort of a transaction whose commit was not answered: it is left to the server's own limit"

NAMES = (
    PrivateName("_csot", "what is left of pymongo.timeout: a caller's shorter limits, waits that end with it", _TIMES),
    PrivateName("MongoClient._retry_internal", "the breaker's view of operations, two tries for each of them", _RUNS),
    PrivateName("MongoClient._select_server", "the refusal at once while the database is down", _SELECTS),
    PrivateName("MongoClient._topology", _SHORT_WAY, _DESCRIBES),
    PrivateName("ClientSession._implicit", _SHORT_WAY, _TELLS_IMPLICIT),
    PrivateName("MongoClient._retry_policy", "the third try at a server that is overloaded", _HAS_POLICY),
    PrivateName("MongoClient(_pool_class)", _POOL_LOST, _TAKES_POOL),
    PrivateName("Pool._get_conn", "waitQueueTimeoutMS within a deadline", _LENDS),
    PrivateName("Pool.connect", _POOL_LOST, _CONNECTS),
    PrivateName(
        "Pool.active_contexts", "the pool's numbers without a listener, whose events cost each command a tenth", _COUNTS
    ),
    PrivateName("Connection.apply_timeout", "limits of its own that a caller gives an operation", _SHORTENS),
    PrivateName(
        "_PoolClosedError", "the meaning of an operation that was cut when its client was closed", bool(_POOL_CLOSED)
    ),
    PrivateName(
        "_ClientBulk", "the collections of a client's bulk write that failed without an answer", bool(_CLIENT_BULK)
    ),
    PrivateName("_TxnState", _ABORTS_LOST, _STATES),
    PrivateName("ClientSession._transaction", _ABORTS_LOST, _HAS_TRANSACTION),
    PrivateName("ClientSession._finish_transaction_with_retry", _ABORTS_LOST, _FINISHES),
    PrivateName("Cursor._spec", "the shape of a query that failed without an answer", _sets(Cursor, "_spec")),
    PrivateName(
        "CommandCursor._collection", "the collection of a getMore that failed", _sets(CommandCursor, "_collection")
    ),
    PrivateName(
        "_EventListeners", "our own clients' silence towards listeners that are registered for all clients", _HEARS
    ),
    PrivateName("MongoClient._closed", "the doctor's look past clients that are closed", _sets(MongoClient, "_closed")),
)


BEHAVIOURS = (
    PrivateName(
        "CommandStartedEvent.operation_id, kept by a retry",
        "the count of what the driver has sent again by itself",
        pymongo.version_tuple >= (4, 18),
    ),
    PrivateName(
        "MongoClient._retry_internal, for Database.command",
        "the breaker's view of commands that are sent as such",
        pymongo.version_tuple >= (4, 17),
    ),
)
"""What older versions do otherwise, by names that they have as well."""


def missing() -> tuple[PrivateName, ...]:
    """The names that this version of the driver does not have, and what it does otherwise."""
    return tuple(name for name in (*NAMES, *BEHAVIOURS) if not name.there)


# -- what is left of ``pymongo.timeout`` ------------------------------------------------------------------------------------


if _TIMES:

    def remaining() -> float | None:
        """Seconds left of ``pymongo.timeout``, below 0 once they are over; ``None`` without one."""
        return _csot.remaining()

    def deadline() -> Deadline | None:
        """The deadline of ``pymongo.timeout``; ``None`` without one."""
        timeout = _csot.get_timeout()
        return None if timeout is None else (timeout, _csot.get_deadline())

else:

    def remaining() -> float | None:
        """Nobody knows."""
        return None

    def deadline() -> Deadline | None:
        """Nobody knows."""
        return None


if _TIMES and hasattr(_csot, "RTT"):

    def begin_deadline(end: Deadline) -> Any:
        """What ``pymongo.timeout`` begins, in a third of its time. Give what is returned to :func:`end_deadline`."""
        until, outer = end[1], _csot.DEADLINE.get()
        round_trip = _csot.RTT.get()
        if round_trip:  # a command has set it; each set is dear, and most requests find none
            _csot.RTT.set(0.0)
        return _csot.TIMEOUT.set(end[0]), _csot.DEADLINE.set(until if until < outer else outer), round_trip

    def end_deadline(begun: Any) -> None:
        """Raises ``ValueError`` in another context than it was begun in."""
        _csot.TIMEOUT.reset(begun[0])
        _csot.DEADLINE.reset(begun[1])
        if _csot.RTT.get() != begun[2]:
            _csot.RTT.set(begun[2])

else:

    def begin_deadline(end: Deadline) -> Any:
        """``pymongo.timeout``."""
        begun = pymongo.timeout(end[0])
        begun.__enter__()
        return begun

    def end_deadline(begun: Any) -> None:
        """Raises ``ValueError`` in another context than it was begun in."""
        begun.__exit__(None, None, None)


@contextmanager
def restored(end: Deadline) -> Iterator[None]:
    """A block that has the deadline ``end``, also where a shorter one counts: ``pymongo.timeout`` only ever shortens."""
    timeout, until = _csot.TIMEOUT.set(end[0]), _csot.DEADLINE.set(end[1])
    try:
        yield
    finally:
        _csot.TIMEOUT.reset(timeout)
        _csot.DEADLINE.reset(until)


# -- a client, its pool and its connections ---------------------------------------------------------------------------------


_run: Any = getattr(MongoClient, "_retry_internal", None)
_SHORTENS_WAY = _DESCRIBES and _TELLS_IMPLICIT and hasattr(_csot, "set_rtt")


class HookedClient(MongoClient[Any]):
    """A client that tells of each operation, each selection of a server and each overload, and has a pool of ours.

    The driver has no public hook at these places (``server_selector`` is not called while no server is known).
    """

    def __init__(self, *arguments: Any, pool: type[Pool], **options: Any) -> None:
        self.prodfix_pools: dict[Any, Pool] = {}
        if _TAKES_POOL and _CONNECTS:
            options["_pool_class"] = _kept(self.prodfix_pools, pool)
        super().__init__(*arguments, **options)
        if _HAS_POLICY:
            self._watch_overloads()

    @staticmethod
    def prodfix_work(work: Work, session: Any, bulk: Any, operation: str) -> Work:
        """What is done in the place of ``work``, the part of an operation that is tried again."""
        return work

    def prodfix_operation(
        self, run: Callable[[], Any], name: str, session: Any, is_read: bool, writes_out: bool
    ) -> Any:
        """The result of an operation of the driver's: of ``run``."""
        return run()

    def prodfix_try(self) -> None:
        """Called before a server is selected for a try of an operation."""

    def prodfix_known(self, description: TopologyDescription, selector: Any) -> Any:
        """The one server that ``selector`` finds as the deployment is described now; ``None`` if nobody knows."""

    def prodfix_selection(self, select: Callable[[], Any], selector: Any) -> Any:
        """The server that ``select`` finds, which may have to wait. ``selector``: ``None`` if it is taken by its address."""
        return select()

    @staticmethod
    def prodfix_overloaded(retries: int) -> None:
        """The driver is about to try again what an overloaded server has refused; it does so ``retries`` times at most."""

    if _RUNS:

        def _retry_internal(
            self, func: Work, session: Any, bulk: Any, operation: str, is_read: bool = False, *more: Any, **options: Any
        ) -> Any:
            name = _name_of(operation, func)
            work = func if is_read else self.prodfix_work(func, session, bulk, name)
            run = partial(_run, self, work, session, bulk, operation, is_read, *more, **options)
            return self.prodfix_operation(run, name, session, is_read, options.get("is_aggregate_write", False))

    if _SELECTS:

        def _select_server(
            self,
            server_selector: Any,
            session: Any,
            operation: str,
            address: Any = None,
            deprioritized_servers: Any = None,
            *more: Any,
            **options: Any,
        ) -> Any:
            self.prodfix_try()
            # An implicit session has no transaction, whose end the driver would note here, or which would be bound to a server.
            if _SHORTENS_WAY and address is None and not deprioritized_servers and (not session or session._implicit):
                topology = self._topology
                server = None if topology is None else self.prodfix_known(topology.description, server_selector)
                if server is not None:
                    if _csot.get_timeout():
                        _csot.set_rtt(server.description.min_round_trip_time)
                    return server
            if more or deprioritized_servers is not None:
                more = (deprioritized_servers, *more)
            select = partial(super()._select_server, server_selector, session, operation, address, *more, **options)
            return self.prodfix_selection(select, None if address else server_selector)

    def _watch_overloads(self) -> None:
        """The driver asks its policy before each of its waits for a server that is overloaded: its tries are more than
        others', and have pauses (client-backpressure specification, ``maxAdaptiveRetries``)."""
        policy: Any = self._retry_policy
        overloaded = self.prodfix_overloaded  # and not the client, which would hold itself
        asked = getattr(policy, "should_retry", None)
        if asked is None:
            return

        def should_retry(attempt: int, delay: float) -> bool:
            again: bool = asked(attempt, delay)
            if again:
                overloaded(policy.attempts)
            return again

        policy.should_retry = should_retry


def _name_of(operation: str, work: Work) -> str:
    """Its command's. Until 4.14 the driver calls the end of a transaction an abort, whichever it is."""
    if operation != "abortTransaction":
        return operation
    code, cells = getattr(work, "__code__", None), getattr(work, "__closure__", None) or ()
    held = dict(zip(code.co_freevars, cells, strict=True)) if code is not None else {}
    return str(held["command_name"].cell_contents) if "command_name" in held else operation


def _kept(pools: dict[Any, Pool], made: type[Pool]) -> Callable[..., Pool]:
    """What makes pools of that class, and keeps the newest one of each server. It knows no client, which would never end."""

    def make(address: Any, *arguments: Any, **options: Any) -> Pool:
        pool = made(address, *arguments, **options)
        if not of_monitor(pool):
            pools[address] = pool
        return pool

    return make


def of_monitor(pool: Any) -> bool:
    """Whether it is one of those that the driver's monitors have of their own. Until 4.12 they are known by the handshake that
    they leave out."""
    return bool(getattr(pool, "is_sdam", not getattr(pool, "handshake", True)))


COUNTS_POOLS = _COUNTS and _TAKES_POOL and _CONNECTS
"""Whether :func:`pool_counts` knows the pools of a :class:`HookedClient`; where it does not, a listener must count events."""


def pool_counts(client: Any) -> list[tuple[Any, dict[str, int]]]:
    """What a client's pools have now, by address: ``total`` connections, those that are ``out``, operations that are ``waiting``
    for one, and the ``capacity``. The sums of the driver's own events would be the same (CMAP specification)."""
    pools = tuple(client.prodfix_pools.items()) if COUNTS_POOLS and isinstance(client, HookedClient) else ()
    return [(address, _counted(pool)) for address, pool in pools if not pool.closed]


def _counted(pool: Any) -> dict[str, int]:
    # Without the pool's lock: who reads may not wait, and a thread that changes it meanwhile makes a difference of one.
    busy, asked = len(pool.active_contexts), pool.operation_count
    out = max(0, busy - pool._pending)  # the others are being connected
    return {
        "total": len(pool.conns) + busy,
        "out": out,
        "waiting": max(0, asked - out),
        "capacity": pool.opts.max_pool_size or 100,
    }


class HookedPool(Pool):
    """A pool that tells of each connection that is lent within a deadline, and of each that did not come in time."""

    def prodfix_lent(self, lend: Callable[[], Connection]) -> Connection:
        """The connection that ``lend`` waits for, within a deadline."""
        return lend()

    @staticmethod
    def prodfix_exhausted(error: WaitQueueTimeoutError) -> PyMongoError:
        """What is raised when none became free in time."""
        return error

    if _LENDS:

        def _get_conn(self, checkout_started_time: float, handler: Any = None) -> Connection:
            try:
                if deadline() is None:
                    return super()._get_conn(checkout_started_time, handler)
                return self.prodfix_lent(partial(super()._get_conn, checkout_started_time, handler))
            except WaitQueueTimeoutError as error:
                raise self.prodfix_exhausted(error) from None


def keep_listeners(client: Any, wanted: Callable[[Any], bool]) -> None:
    """Let only those command and pool listeners hear a client, just made, that are ``wanted``: the driver adds all that somebody
    has registered for every client of the process (``pymongo.monitoring.register``)."""
    heard: Any = getattr(client.options.pool_options, "_event_listeners", None)
    if not _HEARS or heard is None:
        return
    for name, switch in _HEARD.items():
        kept = [one for one in getattr(heard, f"_EventListeners__{name}") if wanted(one)]
        setattr(heard, f"_EventListeners__{name}", kept)
        setattr(heard, f"_EventListeners__enabled_for_{switch}", bool(kept))


def is_closed(client: Any) -> bool:
    """Whether ``close`` was called, as far as one knows."""
    return bool(getattr(client, "_closed", False))


# -- errors, and what an error's frames hold --------------------------------------------------------------------------------


CLOSED: tuple[type[PyMongoError], ...] = (_POOL_CLOSED,) if _POOL_CLOSED else ()
"""The class of what an operation fails with that is cut as its client is closed."""
CLIENT_BULKS: tuple[type[Any], ...] = (_CLIENT_BULK,) if _CLIENT_BULK else ()
"""The class of a bulk write of a client that runs; it has ``namespaces``."""


def collection_of(cursor: CommandCursor[Any]) -> Any:
    """The collection that a cursor reads; ``None`` if nobody knows."""
    return getattr(cursor, "_collection", None)


def filter_of(cursor: Cursor[Any]) -> Any:
    """The filter of a query."""
    return getattr(cursor, "_spec", None) or {}


# -- transactions -----------------------------------------------------------------------------------------------------------


_KNOWN = _STATES and _HAS_TRANSACTION and _FINISHES


def commit_limit(session: ClientSession) -> int | None:
    """``max_commit_time_ms`` of the session's transaction."""
    options = getattr(getattr(session, "_transaction", None), "opts", None)
    return options.max_commit_time_ms if options is not None else None


def concern_of(bulk: Any) -> WriteConcern | None:
    """The write concern of a bulk write that runs, of a collection or of a client; ``None`` if nobody knows."""
    own: WriteConcern | None = getattr(bulk, "write_concern", None)
    return own or getattr(getattr(bulk, "collection", None), "write_concern", None)


def in_doubt(session: ClientSession) -> bool:
    """Whether a command of the session's transaction was sent, and no abort since. A commit that was answered ended it, but
    that is for the caller to know."""
    if not _KNOWN:
        return session.in_transaction
    return session._transaction.state in (_TxnState.IN_PROGRESS, _TxnState.COMMITTED)


def abort(session: ClientSession) -> None:
    """Abort the session's transaction, also after a commit without an answer. Raises what the server or the driver says.

    The driver's own ``abort_transaction`` tells nobody whether it worked, and does not abort after a commit.
    """
    if not _KNOWN:
        session.abort_transaction()
        return
    session._transaction.state = _TxnState.IN_PROGRESS  # as the driver does before another commit
    session._finish_transaction_with_retry("abortTransaction")


def aborted(session: ClientSession) -> None:
    """Have the session know that its transaction is open no more."""
    if _KNOWN:
        session._transaction.state = _TxnState.ABORTED
