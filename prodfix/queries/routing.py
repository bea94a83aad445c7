"""Whose command it was: one listener for clients that several applications of a process may use.

The driver tells a listener neither client nor application. A command belongs to the application whose request, or application
context, it was sent in; elsewhere to the only one that there is.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from prodfix.queries.interceptor import QueryInterceptor

Current = Callable[[], QueryInterceptor | None]


class CommandRouter(CommandListener):
    """Hands each event to the interceptor of its application, which it does not keep alive.

    ``current``: the interceptor of the application that this greenlet or thread works for. It is asked only while there is more
    than one. Never raises; ``unattributed`` commands belonged to nobody.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._known: tuple[weakref.ref[QueryInterceptor], ...] = ()
        self._only: weakref.ref[QueryInterceptor] | None = None  # as it mostly is, and each command asks
        self.unattributed = 0

    def add(self, interceptor: QueryInterceptor) -> None:
        """From now on commands may be this one's."""
        known = (*(one for one in self._known if one() is not None), weakref.ref(interceptor))
        self._known, self._only = known, known[0] if len(known) == 1 else None

    def _whose(self) -> QueryInterceptor | None:
        try:
            found = self._current()
        except Exception:  # noqa: BLE001 - a proxy of somebody's; the driver would print a traceback for each command
            found = None
        if found is not None:
            return found
        living = [one for each in self._known if (one := each()) is not None]
        return living[0] if len(living) == 1 else None

    def started(self, event: CommandStartedEvent) -> None:
        only = self._only
        whose = self._whose() if only is None else only()
        if whose is not None:
            whose.started(event)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        only = self._only
        whose = self._whose() if only is None else only()
        if whose is not None:
            whose.succeeded(event)
        else:
            self.unattributed += 1

    def failed(self, event: CommandFailedEvent) -> None:
        only = self._only
        whose = self._whose() if only is None else only()
        if whose is not None:
            whose.failed(event)
        else:
            self.unattributed += 1


def observes(client: MongoClient[Any]) -> bool:
    """Whether the commands of ``client`` are seen."""
    return any(isinstance(one, (QueryInterceptor, CommandRouter)) for one in client.options.event_listeners)
