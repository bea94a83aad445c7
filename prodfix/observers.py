"""What hears clients that are not ours: listeners of the process, which are there before any application.

They hold no application. Whichever one has sent a command is told of it; the numbers of pools are the process's.
"""

from __future__ import annotations

from flask import current_app
from pymongo import monitoring

from prodfix.connection.pool import PoolCounter
from prodfix.driver.listening import EventListener
from prodfix.queries.interceptor import QueryInterceptor
from prodfix.queries.routing import CommandRouter
from prodfix.services import EXTENSION, Services


def current_interceptor() -> QueryInterceptor | None:
    """That of the application whose request, or application context, this greenlet or thread is in."""
    services: Services | None = current_app.extensions.get(EXTENSION) if current_app else None
    return services.queries.interceptor if services is not None else None


COMMANDS = CommandRouter(current_interceptor)
POOLS = PoolCounter()
LISTENERS: tuple[EventListener, ...] = (COMMANDS, POOLS)
"""For clients that are not ours. What is registered for all clients of a process is taken from ours again."""

_registered: list[EventListener] = []


def observe() -> None:
    """Register :data:`LISTENERS` for each client that is made in this process from here on. Again it changes nothing."""
    if not _registered:
        _registered.extend(LISTENERS)
        for listener in LISTENERS:
            monitoring.register(listener)


def observing() -> bool:
    """Whether :func:`observe` was called."""
    return bool(_registered)
