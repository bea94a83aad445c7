"""One worker's SQLite file: its tables, how it is opened, who owns it, and how a dead worker's is merged."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

SCHEMA_VERSION = 1


LARGEST_FILE = 256 * 1024 * 1024  # bytes; SQLite says "full" beyond


PAGE = 4096


SCHEMA = (
    "CREATE TABLE IF NOT EXISTS writes (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
    " entry BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dead (id TEXT PRIMARY KEY, entry BLOB NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, collection TEXT NOT NULL, request_id TEXT, at REAL NOT NULL,"
    " entry BLOB NOT NULL, stored INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS records_by_request ON records (request_id)",
    "CREATE INDEX IF NOT EXISTS records_to_store ON records (stored, at)",
    "CREATE TABLE IF NOT EXISTS minutes (worker TEXT NOT NULL, minute INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " counts BLOB NOT NULL, stored INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (worker, minute))",
    "CREATE TABLE IF NOT EXISTS queries (worker TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, entry BLOB NOT NULL,"
    " PRIMARY KEY (worker, name))",
    "CREATE TABLE IF NOT EXISTS advice (fingerprint TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS status (worker TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL)",
    f"PRAGMA user_version={SCHEMA_VERSION}",
)


ADOPTED = (
    "INSERT OR IGNORE INTO writes (id, entry, attempts, created)"
    " SELECT id, entry, attempts, created FROM dying.writes ORDER BY position",
    "INSERT OR IGNORE INTO dead SELECT * FROM dying.dead",
    "INSERT OR IGNORE INTO advice SELECT * FROM dying.advice",
    "INSERT OR IGNORE INTO records SELECT * FROM dying.records",
    "INSERT INTO minutes SELECT * FROM dying.minutes WHERE true ON CONFLICT (worker, minute) DO UPDATE SET"
    " revision=excluded.revision, counts=excluded.counts, stored=excluded.stored WHERE excluded.revision > revision",
)


def corrupt(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA max_page_count={LARGEST_FILE // PAGE}")
    return connection


def opened(paths: Sequence[Path]) -> Iterator[sqlite3.Connection]:
    """Read-only connections to all files, opened before the first is read, so that a row that moves is seen once at least."""
    with contextlib.ExitStack() as stack:
        connections = []
        for path in paths:
            if not path.exists():
                raise FileNotFoundError
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=0.5
            )
            stack.callback(connection.close)
            with contextlib.suppress(sqlite3.DatabaseError):  # just made, without its tables yet; or corrupt
                if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
                    connections.append(connection)
        yield from connections


@contextlib.contextmanager
def dead_owner(lock_path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock; if so it is ours until the end of the block."""
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
