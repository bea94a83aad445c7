"""The seed's database report: connection, collections, newest errors, deferred writes and workers of the instance."""

from __future__ import annotations

from typing import Any

from prodfix.deferral.backlog import Backlog
from prodfix.diagnostics.collections import Collections
from prodfix.records.lookup import Lookup
from prodfix.records.records import error_summary
from prodfix.workers import Workers, breaker_of, connection_of, journal_of, sinks_of, told

_UNKNOWN: dict[str, Any] = {
    "waiting": None,
    "dead": None,
    "oldestSeconds": None,
    "bytes": None,
    "otherVersions": 0,
    "note": None,
}


class Diagnostics:
    """Reads only; what it cannot learn it shows as unavailable."""

    def __init__(self, workers: Workers, collections: Collections, lookup: Lookup, backlog: Backlog) -> None:
        self._workers, self._collections = workers, collections
        self._lookup, self._backlog = lookup, backlog

    def database(self) -> dict[str, Any]:
        """The whole report."""
        newest = told(lambda: [error_summary(document) for document in self._lookup.recent()])
        return {**self.instance(), "collections": self._collections.read(), "recentErrors": newest}

    def instance(self) -> dict[str, Any]:
        """How the instance is: what its workers know, and nothing that MongoDB must be asked for."""
        workers = self._workers.read()
        return {
            "scope": "instance",
            "connection": connection_of(workers),
            "deferred": self._deferred(workers),
            "journal": journal_of(workers),
            "sinks": sinks_of(workers),
            "breaker": breaker_of(workers),
            "workers": workers,
        }

    def deferred(self) -> dict[str, Any]:
        """How many writes wait and are dead, how old and how large they are, and what was refused, over all workers."""
        return self._deferred(self._workers.read())

    def _deferred(self, workers: list[dict[str, Any]]) -> dict[str, Any]:
        counts = told(self._backlog.counts) or _UNKNOWN
        return {**self._backlog.mode, **counts, "refused": sum(worker.get("deferredRefused", 0) for worker in workers)}
