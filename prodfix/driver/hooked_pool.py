"""A pool with hooks, and the connections that it makes: what is lent within a deadline, and what did not come in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError, WaitQueueTimeoutError
from pymongo.monitoring import ConnectionClosedReason

from prodfix.driver.csot import deadline
from prodfix.driver.private_names import PrivateName, found, sets, takes

if TYPE_CHECKING:
    from pymongo.synchronous import pool

    Connection = pool.Connection
    Pool = pool.Pool
else:
    Connection = found("pymongo.synchronous.pool", "Connection") or type("Connection", (), {})
    Pool = found("pymongo.synchronous.pool", "Pool") or type("Pool", (), {})

_TAKES_CLASS = sets(MongoClient, "_pool_class")
_LENDS = takes(Pool, "_get_conn", "checkout_started_time", "handler")
_CONNECTS = takes(Pool, "connect", "handler")
TAKES_POOL = _TAKES_CLASS and _CONNECTS
"""Whether a client takes the class of its pools from us."""
ASKS_FOR_CLIENT = takes(Connection, "apply_timeout", "client", "cmd")
"""Whether ``Connection.apply_timeout`` is given the client before the command, as until 4.19."""
_APPLIES = ASKS_FOR_CLIENT or takes(Connection, "apply_timeout", "cmd")
_SHORTENS = _APPLIES and takes(Connection, "command", "dbname", "spec")

_KNOWS_CONTEXT = sets(Connection, "cancel_context")
_LETS_GO = _KNOWS_CONTEXT and sets(Pool, "lock", "active_contexts")

_POOL_LOST = "waitQueueTimeoutMS within a deadline, and limits of its own that a caller gives an operation there"

POOL_NAMES = (
    PrivateName("MongoClient(_pool_class)", _POOL_LOST, _TAKES_CLASS),
    PrivateName("Pool._get_conn", "waitQueueTimeoutMS within a deadline", _LENDS),
    PrivateName("Pool.connect", _POOL_LOST, _CONNECTS),
    PrivateName(
        "Connection.cancel_context",
        "the end of a connection that a deadline cuts while it is made: it counts as one in use for ever",
        _KNOWS_CONTEXT,
    ),
    PrivateName("Connection.apply_timeout", "limits of its own that a caller gives an operation", _SHORTENS),
)


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
            except BaseException as error:
                if _LETS_GO:
                    _let_go(self, error.__traceback__)
                raise


_MAKES = [getattr(getattr(Pool, name, None), "__code__", None) for name in ("_get_conn", "connect")]


def _let_go(pool: Any, trace: TracebackType | None) -> None:
    """Of a connection that is there when a deadline cuts who has asked for one, the driver never forgets that it is in use; cut
    at the end of ``connect`` it does not even close it. Only the frames know which one it is."""
    while trace is not None:
        if trace.tb_frame.f_code in _MAKES:
            known = trace.tb_frame.f_locals
            made, contexts = (
                known.get("conn"),
                {known.get("tmp_context")},
            )  # which stands for one that is being connected
            if isinstance(made, Connection):
                made.close_conn(ConnectionClosedReason.ERROR)  # if it is not closed yet
                contexts.add(made.cancel_context)
            with pool.lock:
                pool.active_contexts.difference_update(contexts)
        trace = trace.tb_next


def of_monitor(pool: Any) -> bool:
    """Whether it is one of those that the driver's monitors have of their own. Until 4.12 they are known by the handshake that
    they leave out."""
    return bool(getattr(pool, "is_sdam", not getattr(pool, "handshake", True)))
