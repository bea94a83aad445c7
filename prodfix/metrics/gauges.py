"""The families of how the instance is now, made of the states of its live workers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from prodfix.incidents.observed import IncidentCause
from prodfix.journal.journal import Statement
from prodfix.metrics import families
from prodfix.metrics.families import MetricFamily, MetricSample
from prodfix.slotted import frozen
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import breaker_of, connection_of, sinks_of

MIB = 1024 * 1024

WAITING: tuple[Statement, ...] = (
    ("SELECT count(*), total(length(entry)), min(created) FROM writes", ()),
    ("SELECT count(*), total(length(entry)) FROM dead", ()),
)
"""What each journal is asked of deferred writes."""


@frozen
class Present:
    """``deferred``: :func:`deferred_of`; ``firing``: alerts by kind. None of what is not known now.
    ``memory_limit`` in MiB. ``configured``: there is a database."""

    workers: Sequence[WorkerState]
    deferred: Mapping[str, float] | None
    firing: Mapping[str, int] | None
    memory_limit: float | None
    configured: bool = True


def deferred_of(waiting: Sequence[Sequence[Any]], dead: Sequence[Sequence[Any]]) -> Mapping[str, float]:
    """What the answers to :data:`WAITING` say: one of each journal."""
    oldest = min((row[2] for row in waiting if row[2] is not None), default=None)
    return {
        "waiting": sum(row[0] for row in waiting),
        "dead": sum(row[0] for row in dead),
        "bytes": sum(row[1] for row in (*waiting, *dead)),
        "oldest_seconds": 0.0 if oldest is None else max(0.0, time.time() - oldest),
    }


def gauge_families(present: Present) -> list[MetricFamily]:
    """All of them; one without samples says that nobody knows it."""
    workers = present.workers
    return [
        _one(families.WORKERS, len(workers)),
        *(_database(workers) if present.configured else ()),
        _by(families.INCIDENTS, "cause", _incidents(workers)),
        _by(families.ALERTS, "kind", present.firing or {}),
        *_deferred(present.deferred),
        _one(families.BUDGET, sum(map(_retries_left, workers))),
        _one(families.LINES_WAITING, sum(sink.waiting for sink in sinks_of(workers))),
        _one(families.SINKS_FAILING, sum(sink.failing is not None for sink in sinks_of(workers))),
        _one(families.JOURNALS_FAILING, sum(worker.journal.failing is not None for worker in workers)),
        _one(families.MEMORY, _memory(workers)),
        _one(families.MEMORY_LIMIT, None if present.memory_limit is None else present.memory_limit * MIB),
        _one(families.LAG, max((worker.loop_lag_ms for worker in workers), default=0.0) / 1e3),
    ]


def _one(family: MetricFamily, value: float | None) -> MetricFamily:
    return family if value is None else family.of([MetricSample((), float(value))])


def _by(family: MetricFamily, label: str, values: Mapping[str, float]) -> MetricFamily:
    return family.of([MetricSample(((label, name),), float(value)) for name, value in values.items()])


def _database(workers: Sequence[WorkerState]) -> Iterable[MetricFamily]:
    pool = connection_of(workers)
    trips = [one.network.round_trip_ms for one in workers if one.network.round_trip_ms is not None]
    yield _one(families.DATABASE_UP, workers != [] and pool.state == "connected")
    yield _one(families.PING, max(trips) / 1e3 if trips else None)
    yield _by(families.POOL, "state", {"idle": pool.available_connections, "used": pool.checked_out})
    yield _one(families.POOL_LIMIT, pool.capacity)
    yield _one(families.POOL_WAITING, pool.waiting)
    yield _by(families.BREAKERS, "state", breaker_of(workers))


def _incidents(workers: Sequence[WorkerState]) -> Mapping[str, int]:
    return {cause: int(any(cause in one.incidents for one in workers)) for cause in get_args(IncidentCause)}


def _deferred(found: Mapping[str, float] | None) -> Iterable[MetricFamily]:
    known = found or {}
    yield _by(families.DEFERRED, "state", {name: known[name] for name in ("waiting", "dead")} if known else {})
    yield _one(families.DEFERRED_BYTES, known.get("bytes"))
    yield _one(families.DEFERRED_AGE, known.get("oldest_seconds"))


def _retries_left(worker: WorkerState) -> int:
    budget = worker.recovery.budget
    return max(0, budget.window_allows - budget.window_retries) if budget is not None else 0


def _memory(workers: Sequence[WorkerState]) -> float | None:
    """What each has for itself, and what they share, once: pages of the parent that no worker has changed."""
    found = [one.environment.memory for one in workers if one.environment.memory is not None]
    counted = [(one.resident_mb, one.shared_mb) for one in found if one.resident_mb is not None]
    if not counted:
        return None
    return (sum(mine - (shared or 0.0) for mine, shared in counted) + max(shared or 0.0 for _, shared in counted)) * MIB
