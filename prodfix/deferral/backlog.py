"""What admins see of deferred writes: those that wait and those that were put aside, of all workers of the instance.

Arguments are shown as field names and types only. It reads files and nothing else, so it works while MongoDB is down.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import bson
import orjson

from prodfix.deferral.deferred import Deferred
from prodfix.deferral.orders import Command, Orders
from prodfix.deferral.waiting import HELD
from prodfix.errors import NotFound
from prodfix.journal.journal import Journal
from prodfix.journal.reading import Others
from prodfix.serialization import iso
from prodfix.shapes import redact_command

BacklogState = Literal["waiting", "failed"]
BACKLOG_STATES: tuple[BacklogState, ...] = get_args(BacklogState)
MOST = 200  # entries of one page

_TABLES: dict[BacklogState, str] = {
    "waiting": "SELECT id, 'waiting', operation, reason, attempts, created, NULL, '{}', entry, since FROM writes",
    "failed": "SELECT id, 'failed', operation, reason, attempts, created, at, facts, entry, NULL FROM dead",
}


class Backlog:
    """Counts, pages and entries; and the orders of admins."""

    def __init__(self, journal: Journal, deferred: Deferred, orders: Orders) -> None:
        self._journal, self._deferred, self._orders = journal, deferred, orders

    def counts(self) -> dict[str, Any]:
        """Entries and bytes, how old the oldest that waits is (seconds), and by operation and reason. Raises ``TimeoutError``."""
        waiting = self._journal.read(
            "SELECT operation, count(*), total(length(entry)), min(created), sum(reason IS NOT NULL AND reason <> ?)"
            " FROM writes GROUP BY 1",
            (HELD,),
        )
        dead = self._journal.read("SELECT operation, reason, count(*), total(length(entry)) FROM dead GROUP BY 1, 2")
        oldest = min((row[3] for row in waiting), default=None)
        others = self._journal.others()
        return {
            "waiting": sum(row[1] for row in waiting) + others.writes,
            "otherVersions": others.writes,
            "note": _note(others),
            "failing": sum(row[4] for row in waiting),
            "dead": sum(row[2] for row in dead),
            "bytes": int(sum(row[2] for row in waiting) + sum(row[3] for row in dead)),
            "oldestSeconds": None if oldest is None else round(max(0.0, time.time() - oldest), 1),
            "operations": _summed((row[0], row[1]) for row in waiting),
            "reasons": _summed((row[1], row[2]) for row in dead),
        }

    @property
    def mode(self) -> dict[str, Any]:
        """Whether writes are deferred, and what they survive."""
        return {"enabled": self._deferred.enabled, "durability": self._deferred.durability}

    def page(
        self, *, state: BacklogState | None = None, operation: str | None = None, limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        """Entries, oldest first, without their arguments; ``more`` says whether others follow."""
        last = offset + min(limit, MOST)
        condition = "" if operation is None else " WHERE operation = ?"
        values = (last + 1,) if operation is None else (operation, last + 1)
        rows: dict[str, Sequence[Any]] = {}
        for shown in (state,) if state is not None else BACKLOG_STATES:
            query = f"{_TABLES[shown]}{condition} ORDER BY created, id LIMIT ?"
            rows |= {row[0]: row for row in self._journal.read(query, values)}
        found = sorted(rows.values(), key=lambda row: (row[5], row[0]))
        return {"entries": [_entry(row) for row in found[offset:last]], "more": len(found) > last}

    def show(self, identity: str) -> dict[str, Any]:
        """One entry with the shape of its arguments, and what admins have ordered. Raises :class:`prodfix.errors.NotFound`."""
        rows = [row for query in _TABLES.values() for row in self._journal.read(f"{query} WHERE id = ?", (identity,))]
        if not rows:
            raise NotFound("no such deferred write on this instance")
        row = min(rows, key=lambda row: BACKLOG_STATES.index(row[1]))
        return {
            **_entry(row),
            "bytes": len(row[8]),
            "arguments": _shape(_content(row[8]).get("arguments", {})),
            "orders": self.orders(identity),
        }

    def orders(self, identity: str | None = None, most: int = 50) -> list[dict[str, Any]]:
        """The last orders that were carried out, newest first."""
        condition = "" if identity is None else "WHERE operation_id = ?1"
        columns = "id, command, operation_id, ordered_by, at, result"
        query = f"SELECT {columns} FROM orders {condition} ORDER BY at DESC LIMIT {most:d}"  # noqa: S608 - no text
        found = {row[0]: row for row in self._journal.read(query, () if identity is None else (identity,))}
        newest = sorted(found.values(), key=lambda row: row[4], reverse=True)[:most]
        names = ("command", "operationId", "by", "at", "result")
        return [dict(zip(names, (*row[1:4], _iso(row[4]), row[5]), strict=True)) for row in newest]

    def order(self, command: Command, identity: str, by: str | None) -> dict[str, Any]:
        """Give an order to whichever worker has the write, which looks once a second.

        Raises :class:`prodfix.errors.NotFound` if none has it, and :class:`prodfix.errors.JournalUnavailable`.
        """
        entry = self.show(identity)
        self._orders.give(command, identity, by)
        return {"ordered": command, "operationId": identity, "status": entry["status"]}

    @property
    def ordered(self) -> int:
        """Orders that nobody has carried out yet."""
        return self._orders.waiting()


def _note(others: Others) -> str | None:
    """What is to be said of journals that no worker of this version reads."""
    if not others.files:
        return None
    files = "1 journal" if others.files == 1 else f"{others.files} journals"
    return (
        f"{others.writes} of those that wait are in {files} of another version of prodfix, which no worker of this one reads:"
        " start the release that wrote them until they are gone"
    )


def _entry(row: Sequence[Any]) -> dict[str, Any]:
    identity, state, operation, reason, attempts, created, at, facts, entry, since = row
    return {
        "operationId": identity,
        "status": state,
        "operation": operation,
        "reason": reason,
        "attempts": attempts,
        "createdAt": _iso(created),
        "failedAt": None if at is None else _iso(at),
        "waitingSince": None if at is not None else _iso(created if since is None else since),
        "requestId": _content(entry).get("requestId"),
        "facts": orjson.loads(facts),
    }


def _content(entry: bytes) -> Mapping[str, Any]:
    try:
        return bson.decode(entry)
    except bson.errors.BSONError:
        return {}


def _shape(arguments: Any) -> Any:
    """Field names and types, as the log shows an insert."""
    return redact_command({"insert": "arguments", "documents": [arguments]})["documents"][0]


def _summed(pairs: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for name, count in pairs:
        total[name] = total.get(name, 0) + count
    return total


def _iso(moment: float) -> str:
    return iso(datetime.fromtimestamp(moment, UTC))
