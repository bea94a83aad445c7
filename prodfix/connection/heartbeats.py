"""What the driver's own monitor sees: heartbeats and topology, without any name of a server."""

from __future__ import annotations

from pymongo import monitoring


class Heartbeats(monitoring.ServerHeartbeatListener):
    """What the driver's own monitor sees: failed attempts since the loss, the round trip, and the last error's type."""

    def __init__(self) -> None:
        self.failed_in_a_row = 0
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
