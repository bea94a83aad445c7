"""The live workers of this instance: how each of them was at its last second, and what that makes of the whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from prodfix.connection.status import ConnectionStatus
from prodfix.journal.journal import Journal
from prodfix.logs.sinks import SinkStatus
from prodfix.recovery.breaker import BreakerState
from prodfix.workers.worker_state import JournalStatus, WorkerState

Answer = TypeVar("Answer")

STALE = 10.0  # seconds after which a worker's status no longer counts; it writes one each second

_WORST_FIRST = ("error", "disconnected", "reconnecting", "connected")


class Workers:
    """Reads what they have put into their journals. ``state`` is how this worker is now."""

    def __init__(
        self,
        journal: Journal,
        *,
        state: Callable[[], WorkerState] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._state, self._clock = journal, state, clock

    def read(self) -> list[WorkerState]:
        """The state of each live worker.

        A worker that reads is there in any case, as it is now if its own entry cannot be read: a broken disk must not look
        like a lost database. An entry whose time is yet to come counts too: the clock was turned back.
        """
        query = "SELECT worker, at, entry FROM status WHERE at > ?"
        rows = or_none(lambda: self._journal.read(query, (self._clock() - STALE,))) or []
        found = dict(state for row in sorted(rows, key=_moment) if (state := _read(row)) is not None)
        own = self._journal.boot  # none in the command line, which is no worker
        if self._state is not None and own and own not in found:
            found[own] = self._state()
        return [replace(state, worker=worker) for worker, state in sorted(found.items(), key=lambda one: one[0])]


def _moment(row: Sequence[Any]) -> float:
    return row[1] if isinstance(row[1], (int, float)) else 0.0


def _read(row: Sequence[Any]) -> tuple[str, WorkerState] | None:
    """A row of the table, which has no seal: it is written anew each second, and what cannot be read until then is left out."""
    worker, _, entry = row
    try:
        return str(worker), WorkerState.from_json(orjson.loads(entry))
    except (ValueError, TypeError):
        return None


def or_none(ask: Callable[[], Answer]) -> Answer | None:
    """What the journals tell; None if their disk does not answer."""
    try:
        return ask()
    except (TimeoutError, OSError, sqlite3.Error):
        return None


def connection_of(workers: Sequence[WorkerState]) -> ConnectionStatus:
    """The ConnectionStatus of the instance: the worst state, the shortest uptime, and the sums of the pools."""
    parts = [worker.connection for worker in workers]
    if not parts:
        return ConnectionStatus()
    worst = min(parts, key=lambda part: _WORST_FIRST.index(part.state))
    return ConnectionStatus(
        state=worst.state,
        uptime=min(part.uptime for part in parts),
        last_error=worst.last_error,
        reconnect_attempts=max(part.reconnect_attempts for part in parts),
        pool_size=sum(part.pool_size for part in parts),
        available_connections=sum(part.available_connections for part in parts),
        checked_out=sum(part.checked_out for part in parts),
        waiting=sum(part.waiting for part in parts),
        capacity=sum(part.capacity for part in parts),
        pool_exhausted=any(part.pool_exhausted for part in parts),
    )


def journal_of(workers: Sequence[WorkerState]) -> JournalStatus:
    """Why the journal of a worker fails, if one does; the damaged files that are kept, and files of other versions, which all
    of them find in the same folder."""
    parts = [worker.journal for worker in workers]
    return JournalStatus(
        failing=", ".join(sorted({part.failing for part in parts if part.failing})) or None,
        quarantined=max((part.quarantined for part in parts), default=0),
        lost_writes=max((part.lost_writes for part in parts), default=0),
        other_versions=max((part.other_versions for part in parts), default=0),
    )


def sinks_of(workers: Sequence[WorkerState]) -> list[SinkStatus]:
    """Each log sink over all workers: why it fails in one of them, if it does, and the lines that are missing or wait."""
    found: dict[str, SinkStatus] = {}
    for sink in (sink for worker in workers for sink in worker.logs.sinks):
        known = found.get(sink.name)
        found[sink.name] = sink if known is None else _together(known, sink)
    return list(found.values())


def _together(one: SinkStatus, other: SinkStatus) -> SinkStatus:
    return SinkStatus(
        one.name,
        one.failing or other.failing,
        lost=one.lost + other.lost,
        dropped=one.dropped + other.dropped,
        waiting=one.waiting + other.waiting,
    )


def breaker_of(workers: Sequence[WorkerState]) -> dict[str, int]:
    """How many workers have their circuit breaker in which state."""
    states = [worker.breaker.state.value for worker in workers if worker.breaker is not None]
    return {state.value: states.count(state.value) for state in sorted(BreakerState)}
