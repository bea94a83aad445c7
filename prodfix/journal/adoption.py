"""How rows come home into a worker's file: those of a dead worker, and those that were in memory while its disk failed.

All rows have keys of their own, so that merging them again changes nothing; of those with a revision the higher one wins.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path

from prodfix.journal.file import MADE, JournalFile, corrupt, dead_owner, error_name, read_only
from prodfix.journal.quarantine import Damage, Quarantine, kept, put_aside, total
from prodfix.journal.salvage import salvage, wal_of
from prodfix.journal.tables import COLUMNS, SCHEMA_VERSION, whole
from prodfix.journal.wal import Index, index, read_log

QUICK = 0.05  # seconds that a try may take each time
REST = 20.0  # times as long as it took, until a file that could not be taken is tried again
EMPTY_PAGES = 3  # of a file whose tables were removed, or never made


def _columns(table: str, *without: str) -> str:
    return ", ".join(name for name in COLUMNS[table] if name not in without)


def _added(table: str, condition: str = "", *without: str) -> str:
    columns = _columns(table, *without)
    return f"INSERT OR IGNORE INTO {table} ({columns}) SELECT {columns} FROM dying.{table} {condition}"  # noqa: S608 - constants


# A write that has ended here, or was put aside, does not wait again: the file was merged before, by somebody who died then.
_WRITES = (
    _added("ended"),
    _added("dead", "WHERE id NOT IN (SELECT id FROM main.ended) AND id NOT IN (SELECT id FROM main.writes)"),
    _added(
        "writes",
        "WHERE id NOT IN (SELECT id FROM main.ended) AND id NOT IN (SELECT id FROM main.dead) ORDER BY position",
        "position",
    ),
    _added("orders"),
)
_OTHERS = (
    _added("advice"),
    _added("records"),
)
_COUNTS = (
    "INSERT INTO incidents (id, revision, entry, stored) SELECT id, revision, entry, stored FROM dying.incidents WHERE true"
    " ON CONFLICT (id) DO UPDATE SET revision=excluded.revision, entry=excluded.entry, stored=excluded.stored"
    " WHERE excluded.revision > revision",
    "INSERT INTO minutes (worker, minute, revision, errors, traffic, stored)"
    " SELECT worker, minute, revision, errors, traffic, stored FROM dying.minutes WHERE true"
    " ON CONFLICT (worker, minute) DO UPDATE SET revision=excluded.revision, errors=excluded.errors,"
    " traffic=excluded.traffic, stored=excluded.stored WHERE excluded.revision > revision",
    "INSERT INTO totals (boot, part, revision, entry) SELECT boot, part, revision, entry FROM dying.totals WHERE true"
    " ON CONFLICT (boot, part) DO UPDATE SET revision=excluded.revision, entry=excluded.entry"
    " WHERE excluded.revision > revision",
)
_REGRESSIONS = (
    "INSERT INTO regressions (fingerprint, at, entry) SELECT fingerprint, at, entry FROM dying.regressions WHERE true"
    " ON CONFLICT (fingerprint) DO UPDATE SET at=excluded.at, entry=excluded.entry WHERE excluded.at > at",
)
# The first one's words stay.
_KINDS = (
    "INSERT INTO kinds (fingerprint, at, seen, entry) SELECT fingerprint, at, seen, entry FROM dying.kinds WHERE true"
    " ON CONFLICT (fingerprint) DO UPDATE SET entry = iif(excluded.at < at, excluded.entry, entry),"
    " at = min(at, excluded.at), seen = max(seen, excluded.seen)",
)
# What a worker's commands were goes with the worker; but this one lives.
_OWN_ROWS = (
    *_WRITES,
    *_OTHERS,
    *_COUNTS,
    *_REGRESSIONS,
    *_KINDS,
    "INSERT OR REPLACE INTO queries (worker, name, at, entry) SELECT worker, name, at, entry FROM dying.queries",
)
_MERGED = (*_WRITES, *_OTHERS, *_COUNTS, *_REGRESSIONS, *_KINDS)


class Adoption(Enum):
    """What became of a dead worker's file."""

    MERGED = auto()
    EMPTY = auto()
    DAMAGED = auto()
    """What is whole in it is merged; it is put aside, together with its ``-wal``, for somebody's hands."""
    OTHER_VERSION = auto()
    """It is left alone: a worker of its own version may come back."""


class Adoptions:
    """What dead workers have left in ``folder``, and what of it cannot be taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._again: dict[Path, float] = {}
        self.other_versions = 0
        """Files of dead workers that another version of this library must read."""
        self.quarantine = Quarantine()

    def look(self, own: JournalFile) -> tuple[int, list[Damage]]:
        """Merge the files of dead workers into ``own``: how many were merged whole, and what was found in those that were not."""
        outcomes: list[Adoption] = []
        damages: list[Damage] = []
        for lock_path in sorted(self._folder.glob("*.lock")):
            if lock_path == own.lock_path or time.monotonic() < self._again.get(lock_path, 0.0):
                continue
            with dead_owner(lock_path) as dead:
                if dead:
                    self._adopt(own, lock_path, outcomes, damages)
        self.other_versions = outcomes.count(Adoption.OTHER_VERSION)
        with contextlib.suppress(OSError):
            self.quarantine = total(kept(self._folder))
        return outcomes.count(Adoption.MERGED), damages

    def _adopt(self, own: JournalFile, lock_path: Path, outcomes: list[Adoption], damages: list[Damage]) -> None:
        begun = time.monotonic()
        try:
            outcome, damage = adopt(own.connection, lock_path.with_suffix(".db"))
        except (OSError, sqlite3.Error):
            # No room for it now, or a disk that fails: it is whole, or may be, and stays for a later time.
            took = time.monotonic() - begun
            self._again[lock_path] = time.monotonic() + (REST * took if took > QUICK else 0.0)
            return
        self._again.pop(lock_path, None)
        outcomes.append(outcome)
        damages += [damage] if damage is not None else []
        if outcome is not Adoption.OTHER_VERSION:
            lock_path.unlink(missing_ok=True)


def adopt(connection: sqlite3.Connection, path: Path) -> tuple[Adoption, Damage | None]:
    """Merge the dead worker's file into ``connection``, and remove it or put it aside.

    Raises ``OSError`` and ``sqlite3.Error`` for what says nothing about the file: no room now, a disk that fails. It stays then.
    """
    path.with_suffix(".reserve").unlink(missing_ok=True)  # room for what follows
    known = index(path.with_suffix(".db-shm"))  # SQLite makes it anew
    outcome = _look(path) or _merge_file(connection, path, known)
    if outcome is Adoption.DAMAGED:
        draft = path.with_suffix(".salvage")
        told = salvage(path, draft, known)
        merge(connection, draft)
        draft.unlink()
        return outcome, put_aside(path, told)
    if outcome is not Adoption.OTHER_VERSION:
        for suffix in (".db", ".db-wal", ".db-shm"):
            path.with_suffix(suffix).unlink(missing_ok=True)
    return outcome, None


def carry(memory: sqlite3.Connection, connection: sqlite3.Connection) -> None:
    """Merge what this process has in memory, or in a file that is removed, into ``connection``.

    Raises ``sqlite3.Error``; nothing is merged then.
    """
    connection.execute("ATTACH DATABASE ':memory:' AS dying")
    content = bytearray(memory.serialize())
    content[18:20] = b"\x01\x01"  # no WAL, which only a file can have (sqlite.org/fileformat.html section 1.3.3)
    try:
        connection.deserialize(bytes(content), name="dying")
        _merge(connection, _OWN_ROWS)
    finally:
        _detach(connection)


def merge(connection: sqlite3.Connection, draft: Path) -> None:
    """Merge a file that was made from a damaged one. Raises ``sqlite3.Error``; nothing is merged then."""
    connection.execute("ATTACH DATABASE ? AS dying", (read_only(draft),))
    try:
        _merge(connection, _MERGED)
    finally:
        _detach(connection)


def _look(path: Path) -> Adoption | None:
    """What can be said without SQLite, which removes the ``-wal`` of an empty file as soon as it opens it."""
    if path.exists() and path.stat().st_size:
        return None
    made = path.exists() and path.with_suffix(".lock").read_bytes() == MADE  # so it has been cut off
    wal = path.with_suffix(".db-wal")
    return Adoption.DAMAGED if made or (wal.exists() and wal.stat().st_size) else Adoption.EMPTY


def _merge_file(connection: sqlite3.Connection, path: Path, known: Index | None) -> Adoption:
    if not read_log(wal_of(path), known).sound:  # SQLite takes what stands before the damage for all that there is
        return Adoption.DAMAGED
    try:
        connection.execute("ATTACH DATABASE ? AS dying", (read_only(path),))
        outcome = _version(connection)
        if outcome is Adoption.MERGED and not _is_whole(connection):
            return Adoption.DAMAGED
        if outcome is Adoption.MERGED:
            _merge(connection, _MERGED)
        return outcome
    except sqlite3.DatabaseError as error:
        # SQLITE_ERROR: it has our version, and not our tables.
        if corrupt(error) or error_name(error) == "SQLITE_ERROR":
            return Adoption.DAMAGED
        raise
    finally:
        _detach(connection)


def _version(connection: sqlite3.Connection) -> Adoption:
    """What the file says that it is, unless its tables contradict it."""
    version = connection.execute("PRAGMA dying.user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return Adoption.MERGED
    theirs = set(connection.execute("SELECT name, sql FROM dying.sqlite_schema WHERE type = 'table'"))
    if theirs and theirs == set(connection.execute("SELECT name, sql FROM main.sqlite_schema WHERE type = 'table'")):
        return Adoption.DAMAGED
    pages = connection.execute("PRAGMA dying.page_count").fetchone()[0]
    if not theirs and not version:
        return Adoption.EMPTY if pages <= EMPTY_PAGES else Adoption.DAMAGED
    return Adoption.OTHER_VERSION


def _is_whole(connection: sqlite3.Connection) -> bool:
    """Whether SQLite finds nothing wrong with the file, and each row is what was written. Takes time: some 0.1 s for 10 MB."""
    found = connection.execute("PRAGMA dying.integrity_check(1)").fetchone()
    if found != ("ok",):
        return False
    broken = (f"EXISTS (SELECT 1 FROM dying.{table} WHERE NOT {whole(table)})" for table in COLUMNS)  # noqa: S608 - constants
    return not any(connection.execute(f"SELECT {condition}").fetchone()[0] for condition in broken)


def _merge(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    connection.execute("PRAGMA synchronous=FULL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)


def _detach(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.execute("DETACH DATABASE dying")
