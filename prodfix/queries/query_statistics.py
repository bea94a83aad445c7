"""What the application asks its database: every kind of command, over all workers of the instance, with advice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

import orjson

from prodfix.journal.batch import Unwritten, write_together
from prodfix.journal.journal import Journal, Statement
from prodfix.operations.command_stats import CommandStats, KindTotals, quantile
from prodfix.queries.advice import QueryAdvice
from prodfix.serialization import INLINE, Description, Millis, Serializable
from prodfix.slotted import frozen

QuerySort = Literal["total", "p95", "count"]
QUERY_SORTS: tuple[QuerySort, ...] = get_args(QuerySort)
MOST = 100


@frozen
class KindEntry(Serializable):
    """One kind of command of one worker, in its journal."""

    operation: str = ""
    collection: str | None = None
    fields: tuple[str, ...] = ()
    totals: Annotated[KindTotals, INLINE] = field(default_factory=KindTotals)


@frozen
class QueryFigures(Serializable):
    """One kind of command over all workers."""

    operation: str
    collection: str | None
    fields: list[str]
    count: int
    errors: int
    repeated_in_requests: int
    total_ms: float
    mean_ms: Millis
    p50_ms: Millis
    p95_ms: Millis
    p99_ms: Millis
    sampled: int
    advice: list[QueryAdvice]


@frozen
class QueryPage(Serializable):
    """Kinds of commands, largest first; ``total`` of all that are asked for."""

    scope: Annotated[Literal["all", "instance"], Description("`instance` while MongoDB cannot be asked")]
    workers: int
    sort: QuerySort
    total: int
    queries: list[QueryFigures]


_SORTED_BY: dict[QuerySort, Callable[[QueryFigures], float]] = {
    "total": lambda kind: kind.total_ms,
    "p95": lambda kind: kind.p95_ms or 0,
    "count": lambda kind: kind.count,
}


class QueryStatistics:
    """The command stats of one application, put into the journal of its process every second; and the sum of all journals.

    ``part``: its number among the applications of the process.
    """

    def __init__(self, journal: Journal, command_stats: CommandStats, *, part: int = 0) -> None:
        self._journal, self._command_stats, self._part = journal, command_stats, part

    @property
    def worker(self) -> str:
        """Whose rows these are: of one application in one process. They go when it goes."""
        return f"{self._journal.boot}/{self._part}"

    def store(self) -> None:
        """Make what was counted since the last time known to all workers. Raises ``JournalUnavailable``."""
        write_together(self._journal.write, self.unwritten())

    def unwritten(self) -> Unwritten | None:
        """The same, to be written by the caller."""
        upsert = "INSERT OR REPLACE INTO queries (worker, name, at, entry) VALUES (?, ?, ?, ?)"
        statements: list[Statement] = []
        for key, kind in self._command_stats.drain():
            entry = orjson.dumps(KindEntry(key.operation, key.collection, key.fields, kind.totals()).to_json())
            statements.append((upsert, (self.worker, orjson.dumps(list(key)).decode(), time.time(), entry)))
        return Unwritten(statements) if statements else None

    def read(
        self,
        sort: QuerySort = "total",
        *,
        operation: str | None = None,
        collection: str | None = None,
        limit: int = MOST,
        offset: int = 0,
    ) -> QueryPage:
        """The kinds of commands since the workers that live began.

        Counts and sums are exact; ``p50_ms``, ``p95_ms`` and ``p99_ms`` are within 2 % of the durations that were sampled
        (``sampled`` of ``count``). Raises ``TimeoutError`` if the disk does not answer.
        """
        # A worker whose disk has failed has an earlier total of the same kind in the file that it had before.
        rows = self._journal.read("SELECT worker, name, at, entry FROM queries")
        newest = {(worker, name): entry for worker, name, _, entry in sorted(rows, key=lambda row: row[2])}
        workers = {worker.partition("/")[0] for worker, _ in newest}
        found: dict[str, list[KindEntry]] = {}
        for (_, name), entry in newest.items():
            found.setdefault(name, []).append(KindEntry.from_json(orjson.loads(entry)))
        advice = self._advice()
        kinds = [
            _figures(parts, advice.get((parts[0].operation, parts[0].collection, parts[0].fields), []))
            for parts in found.values()
            if operation in (None, parts[0].operation) and collection in (None, parts[0].collection)
        ]
        kinds.sort(key=_SORTED_BY[sort], reverse=True)
        return QueryPage("instance", len(workers), sort, len(kinds), kinds[offset : offset + limit])

    def _advice(self) -> dict[tuple[Any, ...], list[QueryAdvice]]:
        """The newest advice of each fingerprint, by the key of its command."""
        newest: dict[str, QueryAdvice] = {}
        for (entry,) in self._journal.read("SELECT entry FROM advice ORDER BY at LIMIT 500"):
            one = QueryAdvice.from_json(orjson.loads(entry))
            newest[one.fingerprint] = one
        found: dict[tuple[Any, ...], list[QueryAdvice]] = {}
        for one in newest.values():
            found.setdefault((one.operation, one.collection, one.fields), []).append(one)
        return found


def _figures(parts: list[KindEntry], advice: list[QueryAdvice]) -> QueryFigures:
    totals = [part.totals for part in parts]
    count = sum(one.count for one in totals)
    micros = sum(one.micros for one in totals)
    return QueryFigures(
        operation=parts[0].operation,
        collection=parts[0].collection,
        fields=list(parts[0].fields),
        count=count,
        errors=sum(one.errors for one in totals),
        repeated_in_requests=sum(one.repeated for one in totals),
        total_ms=round(micros / 1e3, 2),
        mean_ms=round(micros / 1e3 / count, 3) if count else None,
        p50_ms=_millis(totals, 0.5),
        p95_ms=_millis(totals, 0.95),
        p99_ms=_millis(totals, 0.99),
        sampled=sum(one.sampled for one in totals),
        advice=advice,
    )


def _millis(totals: list[KindTotals], share: float) -> float | None:
    micros = quantile((one.bins for one in totals), share)
    return None if micros is None else round(micros / 1e3, 3)
