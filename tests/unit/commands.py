"""A listener that remembers which commands were sent."""

from __future__ import annotations

from pymongo import monitoring


class Commands(monitoring.CommandListener):
    """``names``, in the order in which they were sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...
