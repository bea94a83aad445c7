"""One worker's SQLite file: its tables, how it is made and opened, and who owns it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from prodfix.journal import tables
from prodfix.journal.tables import PAGE

LARGEST_FILE = 256 * 1024 * 1024  # bytes; SQLite says "full" beyond
RESERVE = 8 * 1024 * 1024  # beyond, for what takes rows out: a file that is full could not be emptied otherwise
LARGEST_MEMORY = 64 * 1024 * 1024
HELD = (
    4 * 1024 * 1024
)  # bytes of the disk that a worker holds for the day on which it is full: what a log may have to bring home
SHARE = 16  # but no more than this part of what is free
SHORTEST_LOG = 16  # pages, after which it is brought home
LARGEST_LOG = 4 * 1024 * 1024  # bytes that the log keeps when it begins anew

MADE = b"made\n"  # in the .lock, once the file has its tables


class JournalFile:
    """This process's own file in ``folder``, with the lock that says so and the one connection that writes it."""

    def __init__(self, folder: Path, name: str, lock: int, connection: sqlite3.Connection) -> None:
        self.name, self.connection = name, connection
        self.path, self.lock_path = folder / f"{name}.db", folder / f"{name}.lock"
        self._lock: int | None = lock
        self._inode = os.stat(self.path).st_ino
        self._reserve = False
        self._held = Held(folder / f"{name}.reserve")
        self._held.take()
        # What the log brings home must fit into what is held: only then can it begin anew on a disk that is full.
        connection.execute(f"PRAGMA wal_autocheckpoint={max(SHORTEST_LOG, self._held.size // PAGE)}")

    @classmethod
    def make(cls, folder: Path, boot: str) -> Self:
        """A new file. Raises ``OSError`` and ``sqlite3.Error``, and leaves nothing behind then."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{boot}-{secrets.token_hex(2)}"
        with contextlib.ExitStack() as undo:
            undo.callback(
                _remove, [folder / (name + suffix) for suffix in (".db", *SIDES, ".lock", ".new", ".reserve")]
            )
            # Locked before it has its name: another worker would take it for a dead one's, and remove it.
            lock = os.open(folder / f"{name}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(folder / f"{name}.new", folder / f"{name}.lock")
            path = folder / f"{name}.db"
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = connect(path)
            undo.callback(connection.close)
            tables.make(connection)
            sync_folder(folder)
            os.write(lock, MADE)
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

    def make_room(self, *, reserve: bool) -> bool:
        """Of a disk that is full: whether there may be some now. The log begins anew, in the room that it has already; and
        ``reserve`` gives what is held."""
        given = reserve and self._held.give()
        busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        return given or not busy

    def keep_reserve(self) -> None:
        """Take what was given, once there is room again."""
        self._held.take()

    def close(self) -> None:
        """Let go of it. Whoever finds it without an owner adopts the rows that are in it."""
        with contextlib.suppress(OSError, sqlite3.Error):
            self.connection.close()
        self._held.give()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)  # a child that has just been forked has the descriptor, too
        self.unlock()

    def abandon(self) -> None:
        """Let go of a file that fails, as it is: SQLite would bring its log home, damaged pages over whole ones."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(sqlite3.Error):
                other = stack.enter_context(contextlib.closing(sqlite3.connect(read_only(self.path), uri=True)))
                other.execute("PRAGMA user_version").fetchone()  # so that ours is not the last one, which does that
            self.close()

    def unlock(self) -> None:
        """As a child that has inherited the descriptor: as long as anybody holds it, nobody can adopt the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Held:
    """Room on the disk that a worker holds, for the day on which there is none: what waits could not be done with then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = 0
        """Bytes that are held."""

    def take(self) -> None:
        """If the disk has many times as much."""
        if self.size:
            return
        with contextlib.suppress(OSError, AttributeError):  # not every system can
            size = min(HELD, shutil.disk_usage(self._path.parent).free // SHARE // PAGE * PAGE)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if size:
                    os.posix_fallocate(descriptor, 0, size)
                self.size = size
            finally:
                os.close(descriptor)

    def give(self) -> bool:
        """Whether there was something to give."""
        taken, self.size = self.size > 0, 0
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return taken


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
        tables.prepare(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA journal_size_limit={LARGEST_LOG}")
        connection.execute(f"PRAGMA max_page_count={LARGEST_FILE // PAGE}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def in_memory() -> sqlite3.Connection:
    """The same tables, for as long as the process lives."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA max_page_count={LARGEST_MEMORY // PAGE}")
    tables.prepare(connection)
    tables.make(connection)
    return connection


def read_only(path: Path) -> str:
    """The URI of ``path`` for a connection that neither checkpoints nor removes its ``-wal`` when it is closed."""
    return f"{path.absolute().as_uri()}?mode=ro"


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
