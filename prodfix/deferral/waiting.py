"""What waits in this worker's file: which writes may go next, and what becomes of each, on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

import bson
import orjson

from prodfix.deferral.guards import Document
from prodfix.deferral.writes import Step, Write, tries_before
from prodfix.journal.journal import Journal, Statement
from prodfix.slotted import mutable

LONGEST_WAIT = 60.0  # seconds between two tries
HELD = "DOCUMENT_BUSY"  # the reason of what waits for another write of a document that it changes

# What rests until later than anything can, since the clock was put back, does not rest.
_NEXT = """
SELECT position, id, operation, key, entry, attempts, created, tried FROM writes AS mine
WHERE position > ?3 AND NOT (not_before > ?1 AND not_before < ?2) AND id NOT IN settled
AND NOT EXISTS (SELECT 1 FROM writes AS other WHERE other.key = mine.key
AND other.position < mine.position AND other.not_before > ?1 AND other.not_before < ?2)
{tried} ORDER BY position LIMIT ?4
"""
Kind = Literal["tried", "all"]
_QUERIES: dict[Kind, str] = {
    # Never before an older one with its key.
    "tried": _NEXT.format(
        tried="AND tried IS NOT NULL AND NOT EXISTS (SELECT 1 FROM writes AS older WHERE older.key = mine.key"
        " AND older.position < mine.position AND older.tried IS NULL)"
    ),
    "all": _NEXT.format(tried=""),
}
_COLUMNS = "id, operation, key, entry, attempts, created, tried"


@mutable
class Entry:
    """One row of the file, and what this drain has made of it. ``at`` is the number of the step that was tried last; ``kept``
    when the write was deferred (seconds since the epoch); ``ordered`` says that an admin had it tried again after it was put
    aside, and ``before`` how often it had been tried until then."""

    position: int
    write: Write
    raw: bytes
    key: str
    attempts: int
    tried: float | None
    steps: Sequence[Step] = field(default=())
    documents: Sequence[Document] = field(default=())
    doubtful: bool = False
    at: int = 0
    kept: float = 0.0
    ordered: bool = False
    before: int = 0


class Waiting:
    """The rows of this worker's own file. Everything raises :class:`prodfix.errors.JournalUnavailable` and ``TimeoutError``.

    ``clock`` tells the seconds since the epoch.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal, self._clock = journal, clock

    def next(self, kind: Kind, after: int, most: int) -> list[Entry]:
        """Those that may be tried now, in their order, from beyond position ``after``."""
        now = self._clock()
        values = (now, now + 2 * LONGEST_WAIT, after, most)
        return [_entry(row) for row in self._journal.read_own(_QUERIES[kind], values)]

    def any(self) -> bool:
        """Whether anything waits, now or later."""
        return bool(self._journal.read_own("SELECT 1 FROM writes LIMIT 1"))

    def older_than(self, seconds: float, most: int) -> list[Entry]:
        query = f"SELECT position, {_COLUMNS} FROM writes WHERE created < ? AND id NOT IN settled LIMIT ?"  # noqa: S608 - constants
        return [_entry(row) for row in self._journal.read_own(query, (self._clock() - seconds, most))]

    def adopt(self) -> int:
        return self._journal.adopt()

    def mark(self, entries: Iterable[Entry]) -> None:
        """On disk before they are tried: who finds them after a crash must know that they may be applied."""
        now = self._clock()
        marks: list[Statement] = [
            ("UPDATE writes SET tried = coalesce(tried, ?) WHERE id = ?", (now, entry.write.id)) for entry in entries
        ]
        self._journal.write(marks, durable=True, reserve=True, settles=())

    def kept(self) -> bool:
        """Whether all that was written so far is on the disk, and nothing waits until that has room."""
        return self._journal.failure is None and not self._journal.read_own("SELECT 1 FROM settled LIMIT 1")

    def rest(self, entry: Entry, delay: float, reason: str) -> None:
        """It is tried again in ``delay`` seconds, and no younger one with its key before."""
        now = self._clock()
        update = (
            "UPDATE writes SET attempts = ?1, not_before = ?2, published = 0, reason = ?3,"
            " since = CASE WHEN reason = ?3 THEN coalesce(since, ?4) ELSE ?4 END WHERE id = ?5"
        )
        row = (entry.attempts, now + delay, reason, now, entry.write.id)
        self._journal.write([(update, row)], to_disk=True, reserve=True)

    def hold(self, entries: Sequence[Entry]) -> None:
        """They wait for others, which the instance's own workers may know."""
        update = "UPDATE writes SET reason = ?, since = ?, published = 1 WHERE id = ? AND reason IS NULL"
        rows: list[Statement] = [(update, (HELD, self._clock(), entry.write.id)) for entry in entries]
        self._journal.write(rows, to_disk=True, reserve=True)

    def bury(self, entry: Entry, reason: str, facts: Mapping[str, Any]) -> None:
        bury = f"INSERT OR REPLACE INTO dead SELECT {_COLUMNS}, ?, ?, ?, 0 FROM writes WHERE id = ?"  # noqa: S608 - constants
        identity = entry.write.id
        self._journal.write(
            [
                (bury, (reason, orjson.dumps(facts).decode(), self._clock(), identity)),
                ("UPDATE dead SET attempts = ? WHERE id = ?", (entry.attempts, identity)),
                ("DELETE FROM writes WHERE id = ?", (identity,)),
            ],
            durable=True,
            reserve=True,
        )

    def forget(self, entries: Sequence[Entry]) -> None:
        """They are applied. In one transaction with its status; while the disk has no room, as soon as it has."""
        keep = (
            "INSERT OR REPLACE INTO ended (id, operation, owner, state, attempts, created, at)"
            " VALUES (?, ?, ?, 'applied', ?, ?, ?)"
        )
        now = self._clock()
        statements: list[Statement] = []
        for entry in entries:
            write = entry.write
            row = (write.id, write.operation, write.owner, entry.before + entry.attempts + 1, write.created, now)
            statements += [
                ("DELETE FROM writes WHERE id = ?", (write.id,)),
                (keep, row),
            ]  # it takes the room that is left
        done = [entry.write.id for entry in entries]
        self._journal.write(statements, to_disk=True, reserve=True, settles=done)


def _entry(row: Sequence[Any]) -> Entry:
    position, identity, operation, key, raw, attempts, created, tried = row
    try:
        content: Mapping[str, Any] = bson.decode(raw, codec_options=bson.CodecOptions(tz_aware=True))
    except bson.errors.BSONError:
        content, operation = {}, ""  # it will be put aside, as nobody knows the operation
    arguments, request_id, owner = content.get("arguments", {}), content.get("requestId"), content.get("owner")
    write, before = Write(operation, arguments, identity, request_id, owner, created), tries_before(content)
    kept = content.get("kept")
    return Entry(
        position,
        write,
        raw,
        key,
        attempts,
        tried,
        kept=kept if isinstance(kept, float) else created,
        ordered=before is not None,
        before=before or 0,
    )
