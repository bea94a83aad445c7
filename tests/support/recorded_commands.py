"""A listener that remembers which commands were sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import monitoring


class Commands(monitoring.CommandListener):
    """``names``, and the commands themselves (``sent``), in the order in which they were sent."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sent: list[Mapping[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)
        self.sent.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...
