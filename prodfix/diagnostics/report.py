"""The seed's database report: connection, collections, newest errors, deferred writes and workers of the instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from prodfix.connection.status import ConnectionStatus
from prodfix.deferral.backlog import Backlog, BacklogCounts, QueueMode
from prodfix.diagnostics.collections import CollectionFigures, Collections
from prodfix.logs.sinks import SinkStatus
from prodfix.records.lookup import Lookup
from prodfix.records.records import ErrorSummary
from prodfix.serialization import INLINE, Description, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope
from prodfix.workers.worker_state import JournalStatus, WorkerState
from prodfix.workers.workers import Workers, breaker_of, connection_of, journal_of, or_none, sinks_of


@frozen
class DeferredCounts(Serializable):
    """How many writes wait and are dead, how old and how large they are, and what was refused, over all workers."""

    mode: Annotated[QueueMode, INLINE]
    counts: Annotated[BacklogCounts, INLINE]
    refused: int


@frozen
class InstanceReport(Serializable):
    """What the workers know, and nothing that MongoDB must be asked for."""

    scope: Annotated[Scope, Description("`instance` while MongoDB cannot be asked")]
    connection: ConnectionStatus
    deferred: DeferredCounts
    journal: JournalStatus
    sinks: list[SinkStatus]
    breaker: Annotated[dict[str, int], Description("Workers by the state of their circuit breaker")]
    workers: list[WorkerState]


@frozen
class DatabaseReport(Serializable):
    """The whole. What cannot be had is None."""

    instance: Annotated[InstanceReport, INLINE]
    collections: list[CollectionFigures] | None
    recent_errors: list[ErrorSummary] | None


class Diagnostics:
    """Reads only; what it cannot learn it shows as unavailable."""

    def __init__(self, workers: Workers, collections: Collections, lookup: Lookup, backlog: Backlog) -> None:
        self._workers, self._collections = workers, collections
        self._lookup, self._backlog = lookup, backlog

    def database(self) -> DatabaseReport:
        newest = or_none(lambda: self._lookup.errors(limit=20).summaries)
        return DatabaseReport(self.instance(), self._collections.read(), newest)

    def instance(self) -> InstanceReport:
        workers = self._workers.read()
        return InstanceReport(
            scope="instance",
            connection=connection_of(workers),
            deferred=self._deferred(workers),
            journal=journal_of(workers),
            sinks=sinks_of(workers),
            breaker=breaker_of(workers),
            workers=workers,
        )

    def deferred(self) -> DeferredCounts:
        return self._deferred(self._workers.read())

    def _deferred(self, workers: Sequence[WorkerState]) -> DeferredCounts:
        counts = or_none(self._backlog.counts) or BacklogCounts()
        return DeferredCounts(self._backlog.mode, counts, sum(worker.deferred_refused for worker in workers))
