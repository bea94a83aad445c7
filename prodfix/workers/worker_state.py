"""How one worker is, for all workers of the instance to read: it stands in its journal as JSON, anew when it has changed.

A sibling may be of another release: what it does not say, or says in another way, has its default here.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from prodfix.connection.status import ConnectionStatus, NetworkConditions, ProcessEnvironment, ServerPool
from prodfix.idempotency.keys import IdempotencyCounts
from prodfix.incidents.observed import IncidentCause
from prodfix.logs.sinks import SinksStatus
from prodfix.records.storage_refusal import StorageStatus
from prodfix.recovery.aborts import AbortCounts
from prodfix.recovery.breaker import BreakerStatus
from prodfix.recovery.recovery import RecoveryStatus
from prodfix.reporters.reporter import ReporterStatus
from prodfix.serialization import INLINE, Description, Serializable
from prodfix.slotted import frozen


@frozen
class JournalStatus(Serializable):
    """Why the journal fails, if it does; and what lies in the folder of all journals."""

    failing: str | None = None
    quarantined: Annotated[int, Description("Damaged files that are kept for a person")] = 0
    lost_writes: Annotated[int, Description("Acknowledged writes that are gone with them, at least")] = 0
    other_versions: int = 0


@frozen
class CommandCounts(Serializable):
    """Commands of the application that were seen, and those of which the listener could make nothing."""

    observed: int = 0
    listener_errors: int = 0


@frozen
class AlertsState(Serializable):
    """Whether this is the worker that tells of alerts."""

    sender: bool = False


@frozen
class WorkerState(Serializable):
    """One worker, under the name of its boot. ``losses`` are those of the connection within the alerts' period; counts are
    since the worker began."""

    worker: str = ""
    pid: int = 0
    uptime_seconds: float = 0.0
    connection: ConnectionStatus = field(default_factory=ConnectionStatus)
    servers: tuple[ServerPool, ...] = ()
    network: NetworkConditions = field(default_factory=NetworkConditions)
    losses: int = 0
    incidents: tuple[IncidentCause, ...] = ()
    alerts: AlertsState = field(default_factory=AlertsState)
    breaker: BreakerStatus | None = None
    recovery: RecoveryStatus = field(default_factory=RecoveryStatus)
    aborts: AbortCounts = field(default_factory=AbortCounts)
    driver_missing: Annotated[tuple[str, ...], Description("Private names that this version of PyMongo lacks")] = ()
    commands: CommandCounts = field(default_factory=CommandCounts)
    logs: SinksStatus = field(default_factory=SinksStatus)
    journal: JournalStatus = field(default_factory=JournalStatus)
    siblings_unseen: Annotated[
        str | None, Description("Why it does not see the other workers, and so pings for itself; null while it does")
    ] = None
    idempotency: IdempotencyCounts = field(default_factory=IdempotencyCounts)
    storage: StorageStatus = field(default_factory=StorageStatus)
    deferred_refused: int = 0
    idle_seconds: Annotated[float | None, Description("Since its requests last asked the database for something")] = (
        None
    )
    dropped: Annotated[int, Description("Errors, events and counted requests that are gone")] = 0
    failed_steps: int = 0
    suppressed: int = 0
    failed_rows: int = 0
    loop_lag_ms: float = 0.0
    reporters: Annotated[tuple[ReporterStatus, ...], Description("Error trackers that are told of errors")] = ()
    serves_metrics: Annotated[bool, Description("Whether it has `METRICS_PORT`")] = False
    environment: Annotated[ProcessEnvironment, INLINE] = field(default_factory=ProcessEnvironment)
