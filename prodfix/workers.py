"""The live workers of this instance: how each of them was at its last second, and what that makes of the whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from prodfix.journal.journal import Journal

Answer = TypeVar("Answer")

STALE = 10.0  # seconds after which a worker's status no longer counts; it writes one each second

_WORST_FIRST = ("error", "disconnected", "reconnecting", "connected")
_SUMMED = ("poolSize", "availableConnections", "checkedOut", "waiting", "capacity")
_OF_FOLDER = ("quarantined", "lostWrites", "otherVersions")  # they look at the same one
_LOST = ("lost", "dropped", "waiting")  # lines


class Workers:
    """Reads what they have put into their journals. ``state`` is how this worker is now."""

    def __init__(
        self,
        journal: Journal,
        *,
        state: Callable[[], Mapping[str, Any]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._state, self._clock = journal, state, clock

    def read(self) -> list[dict[str, Any]]:
        """One entry for each live worker.

        A worker that reads is there in any case, as it is now if its own entry cannot be read: a broken disk must not look
        like a lost database. An entry whose time is yet to come counts too: the clock was turned back.
        """
        query = "SELECT worker, at, entry FROM status WHERE at > ?"
        rows = told(lambda: self._journal.read(query, (self._clock() - STALE,))) or []
        found = {worker: orjson.loads(entry) for worker, _, entry in sorted(rows, key=lambda row: row[1])}
        own = self._journal.boot  # none in the command line, which is no worker
        if self._state is not None and own and own not in found:
            found[own] = orjson.loads(orjson.dumps(self._state()))
        return [{"worker": worker, **entry} for worker, entry in sorted(found.items())]


def told(ask: Callable[[], Answer]) -> Answer | None:
    """What the journals tell; None if their disk does not answer."""
    try:
        return ask()
    except (TimeoutError, OSError, sqlite3.Error):
        return None


def connection_of(workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ConnectionStatus of the instance: the worst state, the shortest uptime, and the sums of the pools."""
    if not workers:
        nothing = {"state": "disconnected", "uptime": 0.0, "lastError": None, "reconnectAttempts": 0}
        return nothing | dict.fromkeys(_SUMMED, 0) | {"poolExhausted": False}
    parts = [worker["connection"] for worker in workers]
    worst = min(parts, key=lambda part: _WORST_FIRST.index(part["state"]))
    return {
        "state": worst["state"],
        "uptime": min(part["uptime"] for part in parts),
        "lastError": worst["lastError"],
        "reconnectAttempts": max(part["reconnectAttempts"] for part in parts),
        **{name: sum(part[name] for part in parts) for name in _SUMMED},
        "poolExhausted": any(part["poolExhausted"] for part in parts),
    }


def journal_of(workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Why the journal of a worker fails, if one does; the damaged files that are kept, and files of other versions."""
    parts: list[Mapping[str, Any]] = [worker.get("journal", {}) for worker in workers]
    failing = sorted({part["failing"] for part in parts if part.get("failing")})
    return {
        "failing": ", ".join(failing) or None,
        **{name: max((part.get(name, 0) for part in parts), default=0) for name in _OF_FOLDER},
    }


def sinks_of(workers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each log sink over all workers: why it fails in one of them, if it does, and the lines that are missing or wait."""
    found: dict[str, dict[str, Any]] = {}
    for sink in (sink for worker in workers for sink in worker.get("logs", {}).get("sinks", ())):
        whole = found.setdefault(sink["name"], {"name": sink["name"], "failing": None} | dict.fromkeys(_LOST, 0))
        whole["failing"] = whole["failing"] or sink["failing"]
        for name in _LOST:
            whole[name] += sink[name]
    return list(found.values())


def breaker_of(workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many workers have their circuit breaker in which state."""
    states = [str(worker["breaker"]["state"]) for worker in workers if "breaker" in worker]
    return {state: states.count(state) for state in sorted({"open", "half_open", "closed", *states})}
