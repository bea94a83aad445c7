"""Waiting for a connection of a full pool: no longer than ``waitQueueTimeoutMS``, within a deadline too.

Under ``pymongo.timeout`` the driver replaces ``waitQueueTimeoutMS`` by all that is left of the deadline, and tries again
after a wait that was in vain (client-side-operations-timeout specification): a full pool would hold a request to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pymongo
from pymongo.errors import ServerSelectionTimeoutError, WaitQueueTimeoutError

from prodfix.connection.time_limits import LimitedConnection
from prodfix.driver import csot
from prodfix.driver.hooked_pool import Connection, HookedPool

_outer: ContextVar[csot.Deadline | None] = ContextVar("prodfix_checkout", default=None)


class PoolExhausted(WaitQueueTimeoutError, ServerSelectionTimeoutError):
    """No connection became free in time. It is also an exception that the driver knows not to retry: another wait of the
    same length by the same request would help nobody."""


class BoundedPool(HookedPool):
    """The driver's pool, whose ``waitQueueTimeoutMS`` counts within a deadline as well.

    Making a connection is no waiting: it may take all that is left.
    """

    def prodfix_lent(self, lend: Callable[[], Connection]) -> Connection:
        limit, left = self.opts.wait_queue_timeout, csot.remaining()
        if limit is None or left is None or left <= limit:
            return lend()
        token = _outer.set(csot.deadline())
        try:
            with pymongo.timeout(limit):
                return lend()
        finally:
            _outer.reset(token)

    @staticmethod
    def prodfix_exhausted(error: WaitQueueTimeoutError) -> PoolExhausted:
        return PoolExhausted(str(error))

    def connect(self, handler: Any = None) -> Connection:
        made = self._connected(handler)
        if type(made) is Connection:
            made.__class__ = LimitedConnection  # the driver's pool makes its own class by name
        return made

    def _connected(self, handler: Any) -> Connection:
        outer = _outer.get()
        if outer is None:
            return super().connect(handler)
        with csot.restored(outer):
            return super().connect(handler)
