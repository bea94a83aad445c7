"""What the application asks its database: every kind of command, over all workers of the instance, with advice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, get_args

import orjson

from prodfix.journal.journal import Journal, Statement
from prodfix.profile import Profile, quantile

QuerySort = Literal["total", "p95", "count"]
QUERY_SORTS: tuple[QuerySort, ...] = get_args(QuerySort)
MOST = 100

_FIELD = {"total": "totalMs", "p95": "p95Ms", "count": "count"}


class QueryStatistics:
    """The profile of this process, put into its journal every second; and the sum of all journals."""

    def __init__(self, journal: Journal, profile: Profile) -> None:
        self._journal, self._profile = journal, profile

    def store(self) -> None:
        """Make what was counted since the last time known to all workers. Raises ``JournalUnavailable``."""
        upsert = "INSERT OR REPLACE INTO queries (worker, name, at, entry) VALUES (?, ?, ?, ?)"
        statements: list[Statement] = []
        for key, kind in self._profile.drain():
            entry = orjson.dumps(
                {"operation": key.operation, "collection": key.collection, "fields": key.fields, **kind.to_json()}
            )
            statements.append((upsert, (self._journal.boot, orjson.dumps(list(key)).decode(), time.time(), entry)))
        if statements:
            self._journal.write(statements)

    def read(
        self,
        sort: QuerySort = "total",
        *,
        operation: str | None = None,
        collection: str | None = None,
        limit: int = MOST,
        offset: int = 0,
    ) -> dict[str, Any]:
        """The kinds of commands since the workers that live began, largest first; ``total`` of all that are asked for.

        Counts and sums are exact; ``p50Ms``, ``p95Ms`` and ``p99Ms`` are within 2 % of the durations that were sampled
        (``sampled`` of ``count``). Raises ``TimeoutError`` if the disk does not answer.
        """
        # A worker whose disk has failed has an earlier total of the same kind in the file that it had before.
        rows = self._journal.read("SELECT worker, name, at, entry FROM queries")
        newest = {(worker, name): entry for worker, name, _, entry in sorted(rows, key=lambda row: row[2])}
        workers = {worker for worker, _ in newest}
        found: dict[str, list[dict[str, Any]]] = {}
        for (_, name), entry in newest.items():
            found.setdefault(name, []).append(orjson.loads(entry))
        advice = self._advice()
        asked = {"operation": operation, "collection": collection}
        chosen = [
            parts for parts in found.values() if all(wanted in (None, parts[0][name]) for name, wanted in asked.items())
        ]
        kinds = [_row(parts) for parts in chosen]
        for kind in kinds:
            kind["advice"] = advice.get((kind["operation"], kind["collection"], tuple(kind["fields"])), [])
        kinds.sort(key=lambda kind: kind[_FIELD[sort]] or 0, reverse=True)
        return {
            "scope": "instance",
            "workers": len(workers),
            "sort": sort,
            "total": len(kinds),
            "queries": kinds[offset : offset + limit],
        }

    def _advice(self) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """The newest advice of each fingerprint, by the key of its command."""
        newest: dict[str, dict[str, Any]] = {}
        for (entry,) in self._journal.read("SELECT entry FROM advice ORDER BY at LIMIT 500"):
            one = orjson.loads(entry)
            newest[one["fingerprint"]] = one
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for one in newest.values():
            found.setdefault((one["operation"], one["collection"], tuple(one["fields"])), []).append(one)
        return found


def _row(parts: list[dict[str, Any]]) -> dict[str, Any]:
    count = sum(part["count"] for part in parts)
    micros = sum(part["micros"] for part in parts)
    return {
        "operation": parts[0]["operation"],
        "collection": parts[0]["collection"],
        "fields": parts[0]["fields"],
        "count": count,
        "errors": sum(part["errors"] for part in parts),
        "repeatedInRequests": sum(part["repeated"] for part in parts),
        "totalMs": round(micros / 1e3, 2),
        "meanMs": round(micros / 1e3 / count, 3) if count else None,
        "p50Ms": _millis(parts, 0.5),
        "p95Ms": _millis(parts, 0.95),
        "p99Ms": _millis(parts, 0.99),
        "sampled": sum(part["sampled"] for part in parts),
    }


def _millis(parts: list[Mapping[str, Any]] | list[dict[str, Any]], share: float) -> float | None:
    micros = quantile(parts, share)
    return None if micros is None else round(micros / 1e3, 3)
