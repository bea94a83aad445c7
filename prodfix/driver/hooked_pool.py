"""A pool with hooks, and the connections that it makes: what is lent within a deadline, and what did not come in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError, WaitQueueTimeoutError

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

_POOL_LOST = "waitQueueTimeoutMS within a deadline, and limits of its own that a caller gives an operation there"

POOL_NAMES = (
    PrivateName("MongoClient(_pool_class)", _POOL_LOST, _TAKES_CLASS),
    PrivateName("Pool._get_conn", "waitQueueTimeoutMS within a deadline", _LENDS),
    PrivateName("Pool.connect", _POOL_LOST, _CONNECTS),
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


def of_monitor(pool: Any) -> bool:
    """Whether it is one of those that the driver's monitors have of their own. Until 4.12 they are known by the handshake that
    they leave out."""
    return bool(getattr(pool, "is_sdam", not getattr(pool, "handshake", True)))
