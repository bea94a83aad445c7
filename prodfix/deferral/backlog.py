"""What admins see of deferred writes: those that wait and those that were put aside, of all workers of the instance.

Arguments are shown as field names and types only. It reads files and nothing else, so it works while MongoDB is down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import bson
import orjson

from prodfix.deferral.admin import AdminCommands, Command
from prodfix.deferral.backlog_groups import AWAY, BACKLOG_STATES, QUEUED, WAITS_FOR, BacklogGroups, BacklogState
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.waiting import HELD
from prodfix.deferral.writes import tries_before
from prodfix.errors import NotFound
from prodfix.journal.journal import Journal
from prodfix.journal.reading import Others
from prodfix.operations.shapes import redact_command
from prodfix.serialization import INLINE, OMITTED, Description, Serializable
from prodfix.slotted import frozen

MOST = 200  # entries of one page

_TABLES: dict[BacklogState, str] = {
    "waiting": "SELECT id, 'waiting', operation, reason, attempts, created, NULL, '{}', entry, since FROM writes",
    "failed": "SELECT id, 'failed', operation, reason, attempts, created, at, facts, entry, NULL FROM dead",
}


COUNTED = (
    "SELECT operation, count(*), total(length(entry)), min(created), sum(reason IS NOT NULL AND reason <> ?)"
    " FROM writes GROUP BY 1"
)


@frozen
class BacklogCounts(Serializable):
    """What waits and what was put aside; as it is by default while the disk does not tell. By ``operations`` those that wait,
    by ``reasons`` those that were put aside."""

    waiting: int | None = None
    other_versions: Annotated[int, Description("Of them in journals of another version, which no worker reads")] = 0
    note: str | None = None
    failing: Annotated[int | None, OMITTED] = None
    dead: int | None = None
    bytes: int | None = None
    oldest_seconds: float | None = None
    operations: Annotated[dict[str, int] | None, OMITTED] = None
    reasons: Annotated[dict[str, int] | None, OMITTED] = None


@frozen
class QueueMode(Serializable):
    """Whether writes are deferred, and what they survive."""

    enabled: bool
    durability: str | None


@frozen
class DeferredEntry(Serializable):
    """One write, without its arguments."""

    operation_id: str
    status: BacklogState
    operation: str
    reason: Annotated[str | None, Description(WAITS_FOR)]
    attempts: int
    created_at: datetime
    failed_at: datetime | None
    waiting_since: Annotated[datetime | None, Description("Since when it waits for its `reason`")]
    request_id: str | None
    facts: dict[str, Any]


@frozen
class CarriedOut(Serializable):
    """What an admin has ordered of a write, and what came of it."""

    command: Command
    operation_id: str
    by: str | None
    at: datetime
    result: str


@frozen
class DeferredWrite(Serializable):
    """One write with the shape of its arguments, and what was ordered of it."""

    entry: Annotated[DeferredEntry, INLINE]
    bytes: int
    arguments: Annotated[Any, Description("Names and types, no values")]
    orders: list[CarriedOut]


@frozen
class Ordered(Serializable):
    """An order that waits for the worker that has the write."""

    ordered: Command
    operation_id: str
    status: BacklogState


@frozen
class BacklogPage:
    """Entries, oldest first; ``more`` says whether others follow."""

    entries: list[DeferredEntry]
    more: bool


class Backlog:
    """Counts, pages and entries; and the orders of admins. ``away``: whether MongoDB is."""

    def __init__(
        self,
        journal: Journal,
        deferred: DeferredQueue,
        orders: AdminCommands,
        away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal, self._deferred, self._orders, self._away = journal, deferred, orders, away
        self.groups = BacklogGroups(journal, orders, self._untried)

    @property
    def away(self) -> bool:
        """Whether MongoDB is, as a worker of the instance knows."""
        return self._away()

    def _untried(self) -> str:
        """Why a write waits that has not been tried: nobody has written it down."""
        return AWAY if self._away() else QUEUED

    def counts(self) -> BacklogCounts:
        """Entries and bytes, how old the oldest that waits is (seconds), and by operation and reason. Raises ``TimeoutError``."""
        waiting = self._journal.read(COUNTED, (HELD,))
        dead = self._journal.read("SELECT operation, reason, count(*), total(length(entry)) FROM dead GROUP BY 1, 2")
        oldest = min((row[3] for row in waiting), default=None)
        others = self._journal.others()
        return BacklogCounts(
            waiting=sum(row[1] for row in waiting) + others.writes,
            other_versions=others.writes,
            note=_note(others),
            failing=sum(row[4] for row in waiting),
            dead=sum(row[2] for row in dead),
            bytes=int(sum(row[2] for row in waiting) + sum(row[3] for row in dead)),
            oldest_seconds=None if oldest is None else round(max(0.0, time.time() - oldest), 1),
            operations=_summed((row[0], row[1]) for row in waiting),
            reasons=_summed((row[1], row[2]) for row in dead),
        )

    @property
    def mode(self) -> QueueMode:
        return QueueMode(self._deferred.enabled, self._deferred.durability)

    def page(
        self, *, state: BacklogState | None = None, operation: str | None = None, limit: int = 50, offset: int = 0
    ) -> BacklogPage:
        """A page of those in ``state``, or of all."""
        last = offset + min(limit, MOST)
        condition = "" if operation is None else " WHERE operation = ?"
        values = (last + 1,) if operation is None else (operation, last + 1)
        rows: dict[str, Sequence[Any]] = {}
        for shown in (state,) if state is not None else BACKLOG_STATES:
            query = f"{_TABLES[shown]}{condition} ORDER BY created, id LIMIT ?"
            rows |= {row[0]: row for row in self._journal.read(query, values)}
        found = sorted(rows.values(), key=lambda row: (row[5], row[0]))
        untried = self._untried()
        return BacklogPage([_entry(row, untried) for row in found[offset:last]], more=len(found) > last)

    def show(self, identity: str) -> DeferredWrite:
        """One entry with the shape of its arguments, and what admins have ordered. Raises :class:`prodfix.errors.NotFound`."""
        rows = [row for query in _TABLES.values() for row in self._journal.read(f"{query} WHERE id = ?", (identity,))]
        if not rows:
            raise NotFound("no such deferred write on this instance")
        row = min(rows, key=lambda row: BACKLOG_STATES.index(row[1]))
        arguments = _shape(_content(row[8]).get("arguments", {}))
        return DeferredWrite(_entry(row, self._untried()), len(row[8]), arguments, self.orders(identity))

    def orders(self, identity: str | None = None, most: int = 50) -> list[CarriedOut]:
        """The last orders that were carried out, newest first."""
        condition = "" if identity is None else "WHERE operation_id = ?1"
        columns = "id, command, operation_id, ordered_by, at, result"
        query = f"SELECT {columns} FROM orders {condition} ORDER BY at DESC LIMIT {most:d}"  # noqa: S608 - no text
        found = {row[0]: row for row in self._journal.read(query, () if identity is None else (identity,))}
        newest = sorted(found.values(), key=lambda row: row[4], reverse=True)[:most]
        return [CarriedOut(row[1], row[2], row[3], _moment(row[4]), row[5]) for row in newest]

    def order(self, command: Command, identity: str, by: str | None) -> Ordered:
        """Give an order to whichever worker has the write, which looks once a second.

        Raises :class:`prodfix.errors.NotFound` if none has it, and :class:`prodfix.errors.JournalUnavailable`.
        """
        status = self.show(identity).entry.status
        self._orders.give(command, identity, by)
        return Ordered(command, identity, status)

    @property
    def ordered(self) -> int:
        """How many admin commands nobody has carried out yet."""
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


def _entry(row: Sequence[Any], untried: str) -> DeferredEntry:
    identity, state, operation, reason, attempts, created, at, facts, entry, since = row
    content = _content(entry)
    return DeferredEntry(
        operation_id=identity,
        status=state,
        operation=operation,
        reason=reason or (untried if at is None else None),
        attempts=attempts + (tries_before(content) or 0),
        created_at=_moment(created),
        failed_at=None if at is None else _moment(at),
        waiting_since=None if at is not None else _moment(created if since is None else since),
        request_id=content.get("requestId"),
        facts=_facts(facts),
    )


def _facts(told: Any) -> dict[str, Any]:
    """What was told when it was put aside; nothing if that is damaged: the write itself is shown all the same."""
    try:
        found = orjson.loads(told)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


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


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
