"""What a connection is like at one moment, and what is told of its changes."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pymongo

from prodfix import memory

ConnectionState = Literal["connected", "disconnected", "reconnecting", "error"]


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """The seed's ConnectionStatus of one worker. ``uptime`` in seconds since the connection was made, 0 while it is lost."""

    state: ConnectionState
    uptime: float
    last_error: str | None
    reconnect_attempts: int
    pool_size: int
    available_connections: int
    checked_out: int
    waiting: int
    capacity: int
    servers: tuple[dict[str, Any], ...] = ()

    @property
    def exhausted(self) -> bool:
        """Every connection is in use and somebody waits: what fails now is the pool, not the server."""
        return self.waiting > 0 and self.available_connections == 0

    def to_json(self) -> dict[str, Any]:
        """Without ``servers``, whose names belong into an admin's answer only."""
        return {
            "state": self.state,
            "uptime": round(self.uptime, 1),
            "lastError": self.last_error,
            "reconnectAttempts": self.reconnect_attempts,
            "poolSize": self.pool_size,
            "availableConnections": self.available_connections,
            "checkedOut": self.checked_out,
            "waiting": self.waiting,
            "capacity": self.capacity,
            "poolExhausted": self.exhausted,
        }


@dataclass(frozen=True, slots=True)
class HealthCheckResult:
    """The seed's HealthCheckResult. ``latency_ms`` is the last good ping's; ``looked`` is whether there was any ping yet."""

    healthy: bool
    latency_ms: float | None
    looked: bool
    ever_healthy: bool
    details: ConnectionStatus


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """One change of state (the seed's Connection Event Log). ``network`` has no host names."""

    event: ConnectionState
    status: ConnectionStatus
    network: dict[str, Any]
    environment: dict[str, Any]
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_document(self) -> dict[str, Any]:
        """The document of the collection ``connection_events``."""
        return {
            "timestamp": self.timestamp,
            "event": self.event,
            "details": {
                "state": self.status.state,
                "poolSize": self.status.pool_size,
                "availableConnections": self.status.available_connections,
                "error": self.status.last_error,
                "reconnectAttempts": self.status.reconnect_attempts,
                "network": self.network,
            },
            "environment": self.environment,
        }


def environment() -> dict[str, Any]:
    """The seed's ``environment``; ``nodeVersion`` is ours ``pythonVersion``."""
    return {
        "pythonVersion": platform.python_version(),
        "platform": sys.platform,
        "driver": f"pymongo {pymongo.version}",
        "memory": memory.used(),
    }
