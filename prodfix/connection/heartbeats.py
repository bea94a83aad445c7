"""What the driver's own monitor sees: heartbeats and topology, without any name of a server."""

from __future__ import annotations

import time
from collections.abc import Callable

from pymongo import monitoring


class Heartbeats(monitoring.ServerHeartbeatListener):
    """What the driver's own monitor sees: failed attempts since the loss, when the last one was (by ``clock``), the round trip,
    and the last error's type. ``on_failure`` is told of each; it never waits."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        self._clock, self._on_failure = clock, on_failure
        self.failed_in_a_row = 0
        self.failed_at: float | None = None
        self.round_trip_ms: float | None = None
        self.last_error: str | None = None

    def started(self, event: monitoring.ServerHeartbeatStartedEvent) -> None: ...

    def succeeded(self, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        self.failed_in_a_row = 0
        if not event.awaited:
            self.round_trip_ms = round(event.duration * 1000, 2)

    def failed(self, event: monitoring.ServerHeartbeatFailedEvent) -> None:
        self.failed_in_a_row += 1
        self.last_error = type(event.reply).__name__
        self.failed_at = self._clock()
        self._on_failure()


class Topology(monitoring.TopologyListener):
    """The kinds of servers that are known, without their names."""

    def __init__(self) -> None:
        self.summary = "Unknown"

    def opened(self, event: monitoring.TopologyOpenedEvent) -> None: ...

    def closed(self, event: monitoring.TopologyClosedEvent) -> None: ...

    def description_changed(self, event: monitoring.TopologyDescriptionChangedEvent) -> None:
        new = event.new_description
        kinds = sorted(server.server_type_name for server in new.server_descriptions().values())
        self.summary = f"{new.topology_type_name}({', '.join(kinds)})"
