"""What a connection is like at one moment, and what is told of its changes."""

from __future__ import annotations

import platform
import sys
from dataclasses import field
from datetime import datetime
from typing import Annotated, Literal

import pymongo

from prodfix.process import memory
from prodfix.process.memory import MemoryUse
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

ConnectionState = Literal["connected", "disconnected", "reconnecting", "error"]


@frozen
class ConnectionStatus(Serializable):
    """The seed's ConnectionStatus of one worker; without any name of a server. ``uptime`` is 0 while the connection is lost;
    ``pool_exhausted``: every connection is in use and somebody waits, so what fails now is the pool, not the server."""

    state: ConnectionState = "disconnected"
    uptime: Annotated[float, Description("Seconds")] = 0.0
    last_error: str | None = None
    reconnect_attempts: int = 0
    pool_size: int = 0
    available_connections: int = 0
    checked_out: int = 0
    waiting: int = 0
    capacity: int = 0
    pool_exhausted: bool = False


@frozen
class ServerPool(Serializable):
    """The connections to one server, whose name belongs into an admin's answer only."""

    address: str = ""
    pool_size: int = 0
    available_connections: int = 0
    checked_out: int = 0
    waiting: int = 0


@frozen
class NetworkConditions(Serializable):
    """The kinds of servers, the round trip, the heartbeat's last error, and failed heartbeats in a row; no host names."""

    topology: str = ""
    round_trip_ms: float | None = None
    last_heartbeat_error: str | None = None
    attempts: int = 0


@frozen
class ProcessEnvironment(Serializable):
    """The seed's ``environment``; ``nodeVersion`` is ours ``pythonVersion``."""

    python_version: str = ""
    platform: str = ""
    driver: str = ""
    memory: MemoryUse | None = None


@frozen
class HealthCheckResult:
    """The seed's HealthCheckResult. ``latency_ms`` is the last good ping's; ``looked`` is whether there was any ping yet."""

    healthy: bool
    latency_ms: float | None
    looked: bool
    ever_healthy: bool
    details: ConnectionStatus


@frozen
class ConnectionDetails(Serializable):
    """What the connection was like when it changed."""

    state: ConnectionState = "disconnected"
    pool_size: int = 0
    available_connections: int = 0
    error: str | None = None
    reconnect_attempts: int = 0
    network: NetworkConditions = field(default_factory=NetworkConditions)


@frozen
class ConnectionEvent(Serializable):
    """One change of state (the seed's Connection Event Log): a document of the collection ``connection_events``."""

    timestamp: datetime
    event: ConnectionState = "disconnected"
    details: ConnectionDetails = field(default_factory=ConnectionDetails)
    environment: ProcessEnvironment = field(default_factory=ProcessEnvironment)


def details(status: ConnectionStatus, network: NetworkConditions) -> ConnectionDetails:
    """What an event tells of a status."""
    return ConnectionDetails(
        state=status.state,
        pool_size=status.pool_size,
        available_connections=status.available_connections,
        error=status.last_error,
        reconnect_attempts=status.reconnect_attempts,
        network=network,
    )


def environment() -> ProcessEnvironment:
    """This process's."""
    return ProcessEnvironment(platform.python_version(), sys.platform, f"pymongo {pymongo.version}", memory.used())
