"""The live workers of this instance: how each of them is, and what that makes of the whole."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from prodfix.connection.status import ConnectionStatus
from prodfix.instance.heartbeat import Heartbeat
from prodfix.journal.journal import Journal
from prodfix.logs.sinks import SinkStatus
from prodfix.records.storage_refusal import StorageStatus
from prodfix.recovery.breaker import BreakerState
from prodfix.workers.worker_state import JournalStatus, WorkerState

Answer = TypeVar("Answer")

STALE = 10.0  # seconds for which what a worker has written counts, if nothing else says that it lives
BEFORE = datetime.min.replace(tzinfo=UTC)  # any moment that is told
KNOWN = 30.0  # seconds after which the journals are asked again, whatever the heartbeats say

_WORST_FIRST = ("error", "disconnected", "reconnecting", "connected")


class Workers:
    """Reads what they have put into their journals. ``state`` is how this worker is now; ``beats`` are those of all that live
    (:meth:`prodfix.instance.presence.Presence.read`), and ``version`` is another one whenever a journal has changed, None while
    nobody can say."""

    def __init__(
        self,
        journal: Journal,
        *,
        state: Callable[[], WorkerState] | None = None,
        beats: Callable[[], Sequence[Heartbeat]] = list,
        version: Callable[[], object | None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._state, self._beats = journal, state, beats
        self._version, self._clock, self._monotonic = version, clock, monotonic
        self._known: tuple[object, float, list[tuple[str, float, WorkerState]]] | None = None

    def read(self, *, fresh: bool = True) -> list[WorkerState]:
        """The state of each live worker: of those whose heart beats, and of those that have written just now.

        Not ``fresh``: the journals are asked only if the heartbeats say that one of them has changed, which takes a second.

        A worker that reads is there in any case, as it is now if its own entry cannot be read: a broken disk must not look
        like a lost database. An entry whose time is yet to come counts too: the clock was turned back.
        """
        beats, now = {beat.owner: beat for beat in self._beats()}, self._clock()
        found: dict[str, WorkerState] = {}
        for worker, at, state in self._written(fresh):
            beat, age = beats.get(worker), now - at
            if beat is not None or age < STALE:
                found[worker] = state if beat is None else self._current(state, beat, max(0.0, age))
        own = self._journal.boot  # none in the command line, which is no worker
        if self._state is not None and own and own not in found:
            found[own] = self._state()
        return [replace(state, worker=worker) for worker, state in sorted(found.items(), key=lambda one: one[0])]

    def _written(self, fresh: bool) -> list[tuple[str, float, WorkerState]]:
        """What stands in the journals, each with its worker and when it was written; the oldest first."""
        version, now, known = self._version(), self._monotonic(), self._known
        if not fresh and known is not None and version is not None and known[0] == version and now - known[1] < KNOWN:
            return known[2]
        rows = or_none(lambda: self._journal.read("SELECT worker, at, entry FROM status"))
        states = [
            (str(row[0]), _moment(row), state)
            for row in sorted(rows or (), key=_moment)
            if (state := _read(row)) is not None
        ]
        self._known = None if rows is None else (version, now, states)
        return states

    def _current(self, state: WorkerState, beat: Heartbeat, age: float) -> WorkerState:
        """What was written ``age`` seconds ago, with what changes all the time and is not written for that."""
        now, connection = self._monotonic(), state.connection
        if connection.state == "connected":
            connection = replace(connection, uptime=round(connection.uptime + age, 1))
        return replace(
            state,
            uptime_seconds=round(max(0.0, now - beat.begun), 1),
            idle_seconds=round(max(0.0, now - beat.asked), 1) if beat.asked else None,
            loop_lag_ms=beat.lag_ms,
            connection=connection,
            network=replace(state.network, round_trip_ms=beat.round_trip_ms or state.network.round_trip_ms),
        )


def lasting(state: WorkerState) -> WorkerState:
    """What of a state is worth being written again when it is another one: all but what goes on by itself, or is never the
    same twice."""
    return replace(
        state,
        uptime_seconds=0.0,
        idle_seconds=None,
        loop_lag_ms=0.0,
        connection=replace(state.connection, uptime=0.0),
        network=replace(state.network, round_trip_ms=None),
        environment=replace(state.environment, memory=None),
    )


def _moment(row: Sequence[Any]) -> float:
    return row[1] if isinstance(row[1], (int, float)) else math.inf


def _read(row: Sequence[Any]) -> WorkerState | None:
    """A row of the table, which has no seal: what cannot be read is left out, until it is written anew."""
    try:
        return WorkerState.from_json(orjson.loads(row[2]))
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


def storage_of(workers: Sequence[WorkerState]) -> StorageStatus:
    """How what is ours is stored: why not, if one of them was refused, since when, and what the last one to look has found."""
    parts = [worker.storage for worker in workers]
    failing = [part for part in parts if part.refused]
    counted = [part for part in parts if part.bytes is not None]
    seen = max(counted, key=lambda part: (part.counted_at or BEFORE, part.kept or 0), default=None)
    return StorageStatus(
        refused=failing[0].refused if failing else None,
        since=min((part.since for part in failing if part.since is not None), default=None),
        lost_since=min((part.lost_since for part in parts if part.lost_since is not None), default=None),
        waiting=sum(part.waiting for part in parts),
        thinned=sum(part.thinned for part in parts),
        sampled_kinds=max((part.sampled_kinds for part in parts), default=0),
        kept=seen.kept if seen else None,
        counted_at=seen.counted_at if seen else None,
        bytes=seen.bytes if seen else None,
        max_bytes=seen.max_bytes if seen else None,
        unbounded=next((part.unbounded for part in parts if part.unbounded), None),
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
