"""The applications of an engine, each for as long as it lives, and what is asked of all of them together."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from prodfix.engine.tenant import Tenant
from prodfix.observers import current_interceptor
from prodfix.queries.routing import CommandRouter
from prodfix.request.context import RequestContext


class Tenants:
    """Those that there are now. ``router`` hears the commands of all, and looks whose each was."""

    def __init__(self) -> None:
        self._known: tuple[weakref.ref[Tenant], ...] = ()
        self.router = CommandRouter(current_interceptor)

    def add(self, tenant: Tenant) -> None:
        """Work for this application too, as long as it lives."""
        self._known = (*(one for one in self._known if one() is not None), weakref.ref(tenant))
        self.router.add(tenant.interceptor)

    def __iter__(self) -> Iterator[Tenant]:
        return iter([tenant for one in self._known if (tenant := one()) is not None])

    def __bool__(self) -> bool:
        return any(one() is not None for one in self._known)

    def last_success(self) -> float | None:
        """When a command last succeeded (monotonic seconds); None if none has."""
        moments = [moment for one in self if (moment := one.interceptor.last_success) is not None]
        return max(moments, default=None)

    def last_asked(self) -> float | None:
        """When a command of a request last ended; None if none has."""
        moments = [moment for one in self if (moment := one.interceptor.last_asked) is not None]
        return max(moments, default=None)

    def log_error(self, error: BaseException, context: RequestContext | None) -> Any:
        """Record what nobody has caught, in the log of the first that has one or makes one."""
        log = next(log for tenant in self if (log := tenant.needed_log()) is not None)
        return log.log_error(error, context)

    def warming(self) -> Iterator[None]:
        """What their plug-ins do once in a process that begins, step by step: of those that there are when the first step is
        asked for. The engine itself is there before them."""
        for tenant in self:
            yield from tenant.links.warming

    def diagnostics(self) -> str | None:
        """The path of the diagnostics; None where no application has them."""
        paths = [tenant.links.diagnostics for tenant in self]
        return next((path for path in paths if path is not None), None)
