"""Deferred writes by operation and reason, and one order for all that are alike: after an outage there are thousands of them.

One call orders :data:`MOST_AT_ONCE` at most, the oldest first, and says how many are left; who wants all asks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from prodfix.deferral.admin import MOST, AdminCommands, Command
from prodfix.journal.journal import Journal
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

BacklogState = Literal["waiting", "failed"]
BACKLOG_STATES: tuple[BacklogState, ...] = get_args(BacklogState)
MOST_AT_ONCE = 200  # writes of one call
MOST_GROUPS = 100

# Of what waits and has not been tried: the database is known to be down, or others go first.
AWAY, QUEUED = "DATABASE_UNAVAILABLE", "QUEUED"
UNTRIED = (AWAY, QUEUED)
WAITS_FOR = f"Why it failed or waits: `{AWAY}` while MongoDB is away, `{QUEUED}` while others go first, or what its last try met"

_TABLES: dict[BacklogState, str] = {"waiting": "writes", "failed": "dead"}
_GROUPS = "SELECT operation, reason, count(*), min(created) FROM {table} GROUP BY 1, 2"
_ALIKE = "FROM {table} WHERE operation = ?1 AND (?2 IS NULL OR coalesce(reason, ?3) = ?2)"
_RESTS = " AND not_before > ?4"  # those that are not tried anyway


@frozen
class BacklogGroup(Serializable):
    """Writes of one operation that wait, or were put aside, for one reason."""

    status: BacklogState
    operation: str
    reason: Annotated[str | None, Description(WAITS_FOR)]
    count: int
    oldest_at: datetime


@frozen
class OrderedAlike(Serializable):
    """Orders that wait for the workers that have the writes."""

    ordered: Command
    operation: str
    reason: str | None
    status: BacklogState
    count: Annotated[int, Description(f"Ordered by this call: {MOST_AT_ONCE} at most, the oldest first")]
    left: Annotated[int, Description("So many more are alike: ask again for them")]


class BacklogGroups:
    """What :class:`prodfix.deferral.backlog.Backlog` knows of writes that are alike. ``untried`` is why those wait that have not
    been tried."""

    def __init__(self, journal: Journal, orders: AdminCommands, untried: Callable[[], str]) -> None:
        self._journal, self._orders, self._untried = journal, orders, untried

    def read(self, state: BacklogState | None = None, operation: str | None = None) -> list[BacklogGroup]:
        """The largest groups, :data:`MOST_GROUPS` at most, of all workers of the instance. Raises ``TimeoutError``."""
        found: dict[tuple[BacklogState, str, str | None], tuple[int, float]] = {}
        untried = self._untried()
        for shown in (state,) if state is not None else BACKLOG_STATES:
            for name, written, count, oldest in self._journal.read(_GROUPS.format(table=_TABLES[shown])):
                if oldest is None or operation not in (None, name):
                    continue
                reason = written or (untried if shown == "waiting" else None)
                before, first = found.get((shown, name, reason), (0, oldest))
                found[shown, name, reason] = before + count, min(first, oldest)
        groups = [BacklogGroup(*key, count, _moment(oldest)) for key, (count, oldest) in found.items()]
        groups.sort(key=lambda group: (group.status != "failed", -group.count, group.operation, group.reason or ""))
        return groups[:MOST_GROUPS]

    def order(
        self, command: Command, by: str | None, *, operation: str, reason: str | None, state: BacklogState
    ) -> OrderedAlike:
        """Give an order for those of ``operation`` in ``state``; for one ``reason`` only, if it is not None (one of
        :data:`UNTRIED`, or an empty one, is also that of those that were not tried).

        Of those that wait only such are tried at once as rest between two tries.
        Raises :class:`prodfix.errors.JournalUnavailable` and ``TimeoutError``.
        """
        alike = _ALIKE.format(table=_TABLES[state])
        values: tuple[Any, ...] = (operation, reason, reason if reason in UNTRIED else "")
        if command == "replay" and state == "waiting":
            alike, values = alike + _RESTS, (*values, time.time())
        newest_last = f"SELECT id, created {alike} ORDER BY created, id LIMIT {MOST + MOST_AT_ONCE + 1:d}"
        known = self._orders.identities()
        rows = dict(self._journal.read(newest_last, values))
        total = max(len(rows), sum(count for (count,) in self._journal.read(f"SELECT count(*) {alike}", values)))
        new = [identity for identity in _oldest_first(rows.items()) if identity not in known]
        given = self._orders.give_all(command, new[:MOST_AT_ONCE], by)
        return OrderedAlike(command, operation, reason, state, given, max(0, total - (len(rows) - len(new)) - given))


def _oldest_first(rows: Iterable[tuple[str, float]]) -> list[str]:
    return [identity for identity, _ in sorted(rows, key=lambda row: (row[1], row[0]))]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
