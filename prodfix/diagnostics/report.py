"""The seed's database report: connection, collections, newest errors, deferred writes and workers of the instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from prodfix.connection.status import ConnectionStatus
from prodfix.deferral.backlog import Backlog, BacklogCounts, QueueMode
from prodfix.diagnostics.collections import CollectionFigures, Collections
from prodfix.logs.sinks import SinkStatus
from prodfix.records.lookup import Lookup
from prodfix.records.records import ErrorSummary
from prodfix.records.storage_refusal import StorageStatus
from prodfix.reporters.reporter import ReporterStatus, over_workers
from prodfix.serialization import INLINE, Description, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope
from prodfix.workers.worker_state import JournalStatus, WorkerState
from prodfix.workers.workers import Workers, breaker_of, connection_of, journal_of, or_none, sinks_of, storage_of


@frozen
class DeferredCounts(Serializable):
    """How many writes wait and are dead, how old and how large they are, and what was refused, over all workers."""

    mode: Annotated[QueueMode, INLINE]
    counts: Annotated[BacklogCounts, INLINE]
    refused: int


@frozen
class InstanceReport(Serializable):
    """What the workers know. Only how much is kept MongoDB is asked for, while it can be: so all say the same of it."""

    scope: Annotated[Scope, Description("`instance` while MongoDB cannot be asked")]
    connection: ConnectionStatus
    deferred: DeferredCounts
    journal: JournalStatus
    storage: Annotated[StorageStatus, Description("What is ours in MongoDB: why it is not stored, how much is kept")]
    sinks: list[SinkStatus]
    reporters: list[ReporterStatus]
    breaker: Annotated[dict[str, int], Description("Workers by the state of their circuit breaker")]
    workers: list[WorkerState]


@frozen
class DatabaseReport(Serializable):
    """The whole. What cannot be had is None."""

    instance: Annotated[InstanceReport, INLINE]
    collections: Annotated[list[CollectionFigures] | None, Description("Of the application's database")]
    diagnostics_collections: Annotated[
        list[CollectionFigures] | None,
        Description("Ours in the database of `DIAGNOSTICS_URI`; null without one, and while they cannot be had"),
    ]
    recent_errors: list[ErrorSummary] | None


class Diagnostics:
    """Reads only; what it cannot learn it shows as unavailable. ``elsewhere``: what is ours, where it has another database than
    the application."""

    def __init__(
        self,
        workers: Workers,
        collections: Collections,
        lookup: Lookup,
        backlog: Backlog,
        *,
        elsewhere: Collections | None = None,
    ) -> None:
        self._workers, self._collections, self._elsewhere = workers, collections, elsewhere
        self._lookup, self._backlog = lookup, backlog

    def database(self) -> DatabaseReport:
        newest = or_none(lambda: self._lookup.errors(limit=20).summaries)
        elsewhere = self._elsewhere.read() if self._elsewhere is not None else None
        return DatabaseReport(self.instance(), self._collections.read(), elsewhere, newest)

    def instance(self) -> InstanceReport:
        workers = self._workers.read()
        return InstanceReport(
            scope="instance",
            connection=connection_of(workers),
            deferred=self._deferred(workers),
            journal=journal_of(workers),
            storage=self._storage(workers),
            sinks=sinks_of(workers),
            reporters=over_workers([status for worker in workers for status in worker.reporters]),
            breaker=breaker_of(workers),
            workers=workers,
        )

    def deferred(self) -> DeferredCounts:
        return self._deferred(self._workers.read())

    def _storage(self, workers: Sequence[WorkerState]) -> StorageStatus:
        known, kept = storage_of(workers), or_none(self._lookup.bounds)
        if kept is None:
            return known
        return replace(known, kept=kept.records, counted_at=kept.at, bytes=kept.bytes, max_bytes=kept.max_bytes)

    def _deferred(self, workers: Sequence[WorkerState]) -> DeferredCounts:
        counts = or_none(self._backlog.counts) or BacklogCounts()
        return DeferredCounts(self._backlog.mode, counts, sum(worker.deferred_refused for worker in workers))
