"""Waiting for a connection of a full pool: no longer than ``waitQueueTimeoutMS``, within a deadline too.

Under ``pymongo.timeout`` the driver replaces ``waitQueueTimeoutMS`` by all that is left of the deadline, and tries again
after a wait that was in vain (client-side-operations-timeout specification): a full pool would hold a request to its end.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pymongo
from pymongo import _csot
from pymongo.errors import ServerSelectionTimeoutError, WaitQueueTimeoutError
from pymongo.synchronous.pool import Connection, Pool

from prodfix.connection.limits import LimitedConnection

_outer: ContextVar[tuple[float | None, float] | None] = ContextVar("prodfix_checkout", default=None)


class PoolExhausted(WaitQueueTimeoutError, ServerSelectionTimeoutError):
    """No connection became free in time. It is also an exception that the driver knows not to retry: another wait of the
    same length by the same request would help nobody."""


class BoundedPool(Pool):
    """The driver's pool, whose ``waitQueueTimeoutMS`` counts within a deadline as well.

    Making a connection is no waiting: it may take all that is left. ``_get_conn`` is private, as is the ``_pool_class`` by
    which the client takes this; a test fails when they move.
    """

    def _get_conn(self, checkout_started_time: float, handler: Any = None) -> Connection:
        limit, left = self.opts.wait_queue_timeout, _csot.remaining()
        try:
            if limit is None or left is None or left <= limit:
                return super()._get_conn(checkout_started_time, handler)
            token = _outer.set((_csot.get_timeout(), _csot.get_deadline()))
            try:
                with pymongo.timeout(limit):
                    return super()._get_conn(checkout_started_time, handler)
            finally:
                _outer.reset(token)
        except WaitQueueTimeoutError as error:
            raise PoolExhausted(str(error)) from None

    def connect(self, handler: Any = None) -> Connection:
        made = self._connected(handler)
        made.__class__ = LimitedConnection  # the driver's pool makes its own class by name
        return made

    def _connected(self, handler: Any) -> Connection:
        outer = _outer.get()
        if outer is None:
            return super().connect(handler)
        # pymongo.timeout only ever shortens; what is left of the deadline is put back for this call.
        timeout, end = _csot.TIMEOUT.set(outer[0]), _csot.DEADLINE.set(outer[1])
        try:
            return super().connect(handler)
        finally:
            _csot.TIMEOUT.reset(timeout)
            _csot.DEADLINE.reset(end)
