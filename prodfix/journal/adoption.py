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

import bson
import orjson

from prodfix.journal.file import SCHEMA_VERSION, corrupt, error_name, read_only
from prodfix.tallies import rows_of_counts

# A write that has ended here, or was put aside, does not wait again: the file was merged before, by somebody who died then.
_WRITES = (
    "INSERT OR IGNORE INTO ended SELECT * FROM dying.ended",
    "INSERT OR IGNORE INTO dead SELECT * FROM dying.dead WHERE id NOT IN (SELECT id FROM main.ended)"
    " AND id NOT IN (SELECT id FROM main.writes)",
    "INSERT OR IGNORE INTO writes (id, operation, key, entry, attempts, created, tried, not_before, reason, told)"
    " SELECT id, operation, key, entry, attempts, created, tried, not_before, reason, told FROM dying.writes"
    " WHERE id NOT IN (SELECT id FROM main.ended) AND id NOT IN (SELECT id FROM main.dead) ORDER BY position",
    "INSERT OR IGNORE INTO orders SELECT * FROM dying.orders",
)
# Version 1 knew neither keys nor whether the database may have applied a write: one key for all keeps their order.
_WRITES_OF_1 = (
    "INSERT OR IGNORE INTO dead SELECT id, operation_of(entry), 'version 1', entry, 0, at, at,"
    " substr(reason, 1, instr(reason || ' ', ' ') - 1), '{}', at, 0 FROM dying.dead",
    "INSERT OR IGNORE INTO writes (id, operation, key, entry, attempts, created, tried)"
    " SELECT id, operation_of(entry), 'version 1', entry, attempts, created, created FROM dying.writes"
    " WHERE id NOT IN (SELECT id FROM main.ended) AND id NOT IN (SELECT id FROM main.dead) ORDER BY position",
)
_OTHERS = (
    "INSERT OR IGNORE INTO advice (fingerprint, at, entry) SELECT fingerprint, at, entry FROM dying.advice",
    "INSERT OR IGNORE INTO records (id, collection, request_id, at, entry, stored)"
    " SELECT id, collection, request_id, at, entry, stored FROM dying.records",
)
_COUNTS = (
    "INSERT INTO incidents (id, revision, entry, stored) SELECT id, revision, entry, stored FROM dying.incidents WHERE true"
    " ON CONFLICT (id) DO UPDATE SET revision=excluded.revision, entry=excluded.entry, stored=excluded.stored"
    " WHERE excluded.revision > revision",
    "INSERT INTO minutes (worker, minute, revision, errors, traffic, stored)"
    " SELECT worker, minute, revision, errors, traffic, stored FROM dying.minutes WHERE true"
    " ON CONFLICT (worker, minute) DO UPDATE SET revision=excluded.revision, errors=excluded.errors,"
    " traffic=excluded.traffic, stored=excluded.stored WHERE excluded.revision > revision",
)
_ALERTS = (
    "INSERT INTO alarms (key, revision, at, entry) SELECT key, revision, at, entry FROM dying.alarms WHERE true"
    " ON CONFLICT (key) DO UPDATE SET revision=excluded.revision, at=excluded.at, entry=excluded.entry"
    " WHERE excluded.revision > revision",
    "INSERT INTO alerts (id, revision, at, entry) SELECT id, revision, at, entry FROM dying.alerts WHERE true"
    " ON CONFLICT (id) DO UPDATE SET revision=excluded.revision, at=excluded.at, entry=excluded.entry"
    " WHERE excluded.revision > revision",
    "INSERT INTO regressions (fingerprint, at, entry) SELECT fingerprint, at, entry FROM dying.regressions WHERE true"
    " ON CONFLICT (fingerprint) DO UPDATE SET at=excluded.at, entry=excluded.entry WHERE excluded.at > at",
)
# Version 1 counted errors by their messages, and no requests.
_MINUTES_OF_1 = (
    "INSERT OR IGNORE INTO minutes (worker, minute, revision, errors, traffic, stored)"
    " SELECT worker, minute, revision, errors_of_1(counts, minute), x'7b7d', stored FROM dying.minutes"
)
# What a worker's commands were goes with the worker; but this one lives.
_OWN_ROWS = (
    *_WRITES,
    *_OTHERS,
    *_COUNTS,
    *_ALERTS,
    "INSERT OR REPLACE INTO queries (worker, name, at, entry) SELECT worker, name, at, entry FROM dying.queries",
)
_MERGED = {SCHEMA_VERSION: (*_WRITES, *_OTHERS, *_COUNTS, *_ALERTS), 1: (*_WRITES_OF_1, *_OTHERS, _MINUTES_OF_1)}


class Outcome(Enum):
    """What became of a dead worker's file."""

    MERGED = auto()
    EMPTY = auto()
    CORRUPT = auto()
    """It is put aside, together with its ``-wal``, for somebody's hands."""
    OTHER_VERSION = auto()
    """It is left alone: a worker of its own version may come back."""


def adopt(connection: sqlite3.Connection, path: Path) -> Outcome:
    """Merge the dead worker's file into ``connection``, and remove it or put it aside.

    Raises ``sqlite3.Error`` for what says nothing about the file: no room now, a disk that fails. It stays then.
    """
    outcome = _look(path) or _merge_file(connection, path)
    if outcome is Outcome.CORRUPT:
        _put_aside(path)
    elif outcome is not Outcome.OTHER_VERSION:
        for suffix in (".db", ".db-wal", ".db-shm"):
            path.with_suffix(suffix).unlink(missing_ok=True)
    return outcome


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


def _look(path: Path) -> Outcome | None:
    """What can be said without SQLite, which removes the ``-wal`` of an empty file as soon as it opens it."""
    if path.exists() and path.stat().st_size:
        return None
    wal = path.with_suffix(".db-wal")
    return Outcome.CORRUPT if wal.exists() and wal.stat().st_size else Outcome.EMPTY


def _merge_file(connection: sqlite3.Connection, path: Path) -> Outcome:
    try:
        connection.execute("ATTACH DATABASE ? AS dying", (read_only(path),))
        version = connection.execute("PRAGMA dying.user_version").fetchone()[0]
        if version in _MERGED:
            _merge(connection, _MERGED[version])
            return Outcome.MERGED
        tables = connection.execute("SELECT count(*) FROM dying.sqlite_master").fetchone()[0]
        return Outcome.OTHER_VERSION if version or tables else Outcome.EMPTY
    except sqlite3.DatabaseError as error:
        # SQLITE_ERROR: it has our version, and not our tables.
        if corrupt(error) or error_name(error) == "SQLITE_ERROR":
            return Outcome.CORRUPT
        raise
    finally:
        _detach(connection)


def _merge(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    connection.create_function("operation_of", 1, _operation_of, deterministic=True)
    connection.create_function("errors_of_1", 2, _errors_of_1, deterministic=True)
    connection.execute("PRAGMA synchronous=FULL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)


def _operation_of(entry: bytes) -> str:
    try:
        return str(bson.decode(entry)["operation"])
    except (bson.errors.BSONError, KeyError):
        return ""  # nobody knows it: the drainer puts it aside


def _errors_of_1(counts: bytes, minute: int) -> bytes:
    try:
        return orjson.dumps(rows_of_counts(orjson.loads(counts), minute))
    except (ValueError, TypeError):
        return b"[]"  # one minute that cannot be read must not keep the file's writes from being adopted


def _detach(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.execute("DETACH DATABASE dying")


def _put_aside(path: Path) -> None:
    # Its -wal holds what was acknowledged last. Under the same stem SQLite's own tools can recover both. The file goes
    # first: it must never be merged without its -wal, should we be killed in between.
    aside = path.with_suffix(f".corrupt-{int(time.time())}")
    if path.exists():
        path.rename(aside)
    wal = path.with_suffix(".db-wal")
    if wal.exists() and wal.stat().st_size:
        wal.rename(f"{aside}-wal")
    for side in (wal, path.with_suffix(".db-shm")):
        side.unlink(missing_ok=True)
