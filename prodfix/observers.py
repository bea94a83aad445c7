"""What hears the clients of an application, and whom it tells: the application that is composed later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.status import ConnectionEvent
from prodfix.operations.fingerprints import CommandKey
from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
from prodfix.request.context import RequestContext
from prodfix.settings import Settings
from prodfix.slotted import frozen


class Audience(Protocol):
    """Who is told: :class:`prodfix.composition.Composition`."""

    @property
    def clients(self) -> Clients: ...

    def command(self, record: CommandRecord) -> None: ...

    def repeated(self, key: CommandKey, context: RequestContext) -> None: ...

    def connection_changed(self, event: ConnectionEvent) -> None: ...

    def ping_failed(self, attempt: int, error: str) -> None: ...


@frozen
class Observers:
    """What hears the clients of an application. It is there before the application: a host needs it for its own client."""

    interceptor: QueryInterceptor
    monitor: ConnectionMonitor

    @classmethod
    def made(cls, settings: Settings, composed: Callable[[], Audience | None]) -> Observers:
        """``composed`` is whom they tell, once it is there. With ``ENABLE_QUERY_LOGGING=false`` commands are counted only."""

        def record(command: CommandRecord) -> None:
            if (parts := composed()) is not None:
                parts.command(command)

        def repeat(key: CommandKey, context: RequestContext) -> None:
            if (parts := composed()) is not None:
                parts.repeated(key, context)

        logs = settings.enable_query_logging
        interceptor = QueryInterceptor(
            slow_ms=settings.slow_query_threshold_ms,
            sample=settings.query_log_sample if logs else 0.0,
            repeats=settings.query_repeat_threshold,
            shown_values=settings.query_log_values,
            verbose=logs and settings.log_level == "debug",
            on_record=record if logs else None,
            on_repeat=repeat if logs else None,
        )
        return cls(interceptor, cls._monitor(settings, interceptor, composed))

    @staticmethod
    def _monitor(
        settings: Settings, interceptor: QueryInterceptor, composed: Callable[[], Audience | None]
    ) -> ConnectionMonitor:
        def parts() -> Audience:
            found = composed()
            assert found is not None, "it is an application that pings"
            return found

        return ConnectionMonitor(
            lambda: parts().clients.watch,
            interval=settings.health_ping_interval_ms / 1000,
            max_age=settings.health_max_age_ms / 1000,
            on_event=lambda event: parts().connection_changed(event),
            on_attempt=lambda attempt, error: parts().ping_failed(attempt, error),
            last_command=lambda: interceptor.last_success,
            pools=lambda: [] if (found := composed()) is None else found.clients.pools(),
        )
