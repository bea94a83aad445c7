"""One worker's SQLite file: its tables, how it is made and opened, and who owns it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

SCHEMA_VERSION = 2


LARGEST_FILE = 256 * 1024 * 1024  # bytes; SQLite says "full" beyond
RESERVE = 8 * 1024 * 1024  # beyond, for what takes rows out: a file that is full could not be emptied otherwise
LARGEST_MEMORY = 64 * 1024 * 1024


PAGE = 4096


# In one transaction: a file without a version has no tables, and nothing in it.
SCHEMA = (
    "BEGIN IMMEDIATE",
    # Deferred writes: those that wait, those that are put aside, and what became of the others (`told`: MongoDB knows).
    # `tried` is when the database may first have applied it; NULL if that is impossible. `since` is when it began to wait for
    # its `reason`; files of earlier processes have no such column.
    "CREATE TABLE IF NOT EXISTS writes (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
    " operation TEXT NOT NULL DEFAULT '', key TEXT NOT NULL DEFAULT '', entry BLOB NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " created REAL NOT NULL, tried REAL, not_before REAL NOT NULL DEFAULT 0, reason TEXT, told INTEGER NOT NULL DEFAULT 0,"
    " since REAL)",
    "CREATE INDEX IF NOT EXISTS writes_by_key ON writes (key, position)",
    "CREATE INDEX IF NOT EXISTS writes_tried ON writes (position) WHERE tried IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS dead (id TEXT PRIMARY KEY, operation TEXT NOT NULL, key TEXT NOT NULL, entry BLOB NOT NULL,"
    " attempts INTEGER NOT NULL, created REAL NOT NULL, tried REAL, reason TEXT NOT NULL, facts TEXT NOT NULL,"
    " at REAL NOT NULL, told INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS ended (id TEXT PRIMARY KEY, operation TEXT NOT NULL, owner TEXT, state TEXT NOT NULL,"
    " attempts INTEGER NOT NULL, created REAL NOT NULL, at REAL NOT NULL, told INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS ended_by_time ON ended (at)",
    # What admins ordered, and what became of it.
    "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, command TEXT NOT NULL, operation_id TEXT NOT NULL,"
    " ordered_by TEXT, at REAL NOT NULL, result TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, collection TEXT NOT NULL, request_id TEXT, at REAL NOT NULL,"
    " entry BLOB NOT NULL, stored INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS records_by_request ON records (request_id)",
    "CREATE INDEX IF NOT EXISTS records_to_store ON records (stored, at)",
    "CREATE TABLE IF NOT EXISTS minutes (worker TEXT NOT NULL, minute INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " errors BLOB NOT NULL, traffic BLOB NOT NULL, stored INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (worker, minute))",
    "CREATE TABLE IF NOT EXISTS queries (worker TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, entry BLOB NOT NULL,"
    " PRIMARY KEY (worker, name))",
    "CREATE TABLE IF NOT EXISTS advice (fingerprint TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS status (worker TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS incidents (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, entry BLOB NOT NULL,"
    " stored INTEGER NOT NULL DEFAULT 0)",
    # What is wrong now (revisions, as several files may hold a row), the alerts that tell so, and resolved errors that are back.
    "CREATE TABLE IF NOT EXISTS alarms (key TEXT PRIMARY KEY, revision INTEGER NOT NULL, at REAL NOT NULL, entry BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS alerts (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, at REAL NOT NULL, entry BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS regressions (fingerprint TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL)",
    f"PRAGMA user_version={SCHEMA_VERSION}",
    "COMMIT",
)


class JournalFile:
    """This process's own file in ``folder``, with the lock that says so and the one connection that writes it."""

    def __init__(self, folder: Path, name: str, lock: int, connection: sqlite3.Connection) -> None:
        self.name, self.connection = name, connection
        self.path, self.lock_path = folder / f"{name}.db", folder / f"{name}.lock"
        self._lock: int | None = lock
        self._inode = os.stat(self.path).st_ino
        self._reserve = False

    @classmethod
    def make(cls, folder: Path, boot: str) -> Self:
        """A new file. Raises ``OSError`` and ``sqlite3.Error``, and leaves nothing behind then."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{boot}-{secrets.token_hex(2)}"
        with contextlib.ExitStack() as undo:
            undo.callback(_remove, [folder / (name + suffix) for suffix in (".db", *SIDES, ".lock", ".new")])
            # Locked before it has its name: another worker would take it for a dead one's, and remove it.
            lock = os.open(folder / f"{name}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(folder / f"{name}.new", folder / f"{name}.lock")
            path = folder / f"{name}.db"
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = connect(path)
            undo.callback(connection.close)
            for statement in SCHEMA:
                connection.execute(statement)
            sync_folder(folder)
            made = cls(folder, name, lock, connection)
            undo.pop_all()
        return made

    def limit(self, *, reserve: bool) -> None:
        """How large the file may become from here on."""
        if reserve is not self._reserve:
            self.connection.execute(f"PRAGMA max_page_count={(LARGEST_FILE + (RESERVE if reserve else 0)) // PAGE}")
            self._reserve = reserve

    def still_there(self) -> bool:
        """SQLite would go on to write into a file that somebody has removed, and everything in it would be lost."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it. Whoever finds it without an owner adopts the rows that are in it."""
        with contextlib.suppress(OSError, sqlite3.Error):
            self.connection.close()
        self.unlock()

    def unlock(self) -> None:
        """As a child that has inherited the descriptor: as long as anybody holds it, nobody can adopt the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


SIDES = (".db-wal", ".db-shm")


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def corrupt(error: sqlite3.Error) -> bool:
    """Whether the bytes of the file are wrong, whenever they are read."""
    return error_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def unreadable(error: sqlite3.Error) -> bool:
    """Whether the file, or the disk below it, cannot be read now."""
    return corrupt(error) or error_name(error).startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))


def error_name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", None) or "")


def connect(path: Path) -> sqlite3.Connection:
    """The connection that writes ``path``. ATTACH takes URIs through it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0, uri=True)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA max_page_count={LARGEST_FILE // PAGE}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def in_memory() -> sqlite3.Connection:
    """The same tables, for as long as the process lives."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA max_page_count={LARGEST_MEMORY // PAGE}")
    for statement in SCHEMA:
        connection.execute(statement)
    return connection


def read_only(path: Path) -> str:
    """The URI of ``path`` for a connection that neither checkpoints nor removes its ``-wal`` when it is closed."""
    return f"{path.absolute().as_uri()}?mode=ro"


def opened(paths: Sequence[Path]) -> Iterator[sqlite3.Connection]:
    """Read-only connections to all files, opened before the first is read, so that a row that moves is seen once at least.

    Raises ``FileNotFoundError`` if one is gone meanwhile. One that cannot be read, or has no tables yet, is left out.
    """
    with contextlib.ExitStack() as stack:
        connections = []
        for path in paths:
            if not path.exists():
                raise FileNotFoundError
            if not path.stat().st_size:
                continue  # just made; or cut off, and SQLite would remove its -wal
            with contextlib.suppress(sqlite3.DatabaseError):
                connection = sqlite3.connect(read_only(path), uri=True, isolation_level=None, timeout=0.5)
                stack.callback(connection.close)
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
