"""What a worker must not lose, on disk: one SQLite file for each worker process, in ``STATE_DIR/journal``.

A file holds deferred writes, error records and counts that MongoDB does not have yet, and how the worker is. It is

* opened after the fork, by the process that uses it, and written by its one connection in a native thread, which
  commits everything that waits at once (group commit): the hub never waits for a disk;
* owned by an flock on a sibling ``.lock`` file (closing any descriptor of the database file itself would drop SQLite's
  own POSIX locks, sqlite.org/howtocorrupt.html section 2.2);
* read by the other workers through read-only connections: the same question gets the same answer from all;
* adopted by another worker once its owner is dead: its rows are merged, by their own keys, and the file is removed.

WAL with ``synchronous=FULL`` for what must survive a loss of power (sqlite.org/pragma.html#pragma_synchronous), NORMAL
for what need only survive the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prodfix.errors import JournalUnavailable
from prodfix.journal_file import ADOPTED, SCHEMA, connect, corrupt, dead_owner, opened, sync_folder
from prodfix.native import Pool

BATCH = 256  # statements' groups in one commit


Statement = tuple[str, Sequence[Any]]


class _Batch:
    """Statements that are committed together. ``done`` and ``error`` are set by the thread that commits."""

    __slots__ = ("done", "durable", "error", "statements")

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.durable = False
        self.done = False
        self.error: JournalUnavailable | None = None


class Journal:
    """This process's file in ``folder``, and a view of the files of all workers of the instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boot = ""
        """This process, in every row that it writes; its file may be made anew, what it counted may not count twice."""
        self._name = ""
        self.failure: str | None = "not opened"
        self.dropped = 0
        self._pid: int | None = None
        self._lock_file: int | None = None
        self._inode = 0

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make this process's own file. Never raises: a broken disk is told by ``failure`` and each durable write."""
        if self._lock_file is not None:  # a parent's: as long as anybody holds it, nobody can adopt the parent's file
            os.close(self._lock_file)
            self._lock_file = None
        self._pid = os.getpid()
        self.boot = f"{self._pid}-{secrets.token_hex(6)}"
        self._joining, self._turn = threading.Lock(), threading.Lock()
        self._waiting: _Batch | None = None
        self._writer, self._readers = Pool(1), Pool(2)
        self._connection: sqlite3.Connection | None = None
        self._writer.run(self._open_file)

    def close(self) -> None:
        """Commit what waits and let go of the file. Rows that are still in it will be adopted by another worker."""
        if self._pid != os.getpid():
            return
        self._pid = None
        with contextlib.suppress(sqlite3.Error, OSError, TimeoutError):
            self._writer.run(self._close_file, limit=5)
        self._writer.close()
        self._readers.close()

    def _open_file(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._name = f"{self.boot}-{secrets.token_hex(2)}"
            # Locked before it has its name: another worker would take it for a dead one's, and remove it.
            self._lock_file = os.open(self._path(".new"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(self._path(".new"), self._path(".lock"))
            os.close(os.open(self._path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = connect(self._path())
            for statement in SCHEMA:
                self._connection.execute(statement)
            sync_folder(self.folder)
            self._inode = os.stat(self._path()).st_ino
            self.failure = None
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    def _close_file(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _fail(self, error: Exception) -> None:
        # The type and the operating system's number only: the text may hold a path.
        code = getattr(error, "sqlite_errorname", None) or getattr(error, "errno", None)
        self.failure = f"{type(error).__name__} {code}" if code else type(error).__name__
        with contextlib.suppress(OSError, sqlite3.Error):
            self._close_file()

    def _path(self, suffix: str = ".db") -> Path:
        return self.folder / (self._name + suffix)

    # -- writing ------------------------------------------------------------------------------------------------------

    def write(self, statements: Sequence[Statement], *, durable: bool = False, limit: float = 5.0) -> None:
        """Commit the statements, together with what other greenlets write now; return once they are committed.

        ``durable``: also after fsync. Raises :class:`prodfix.errors.JournalUnavailable` if they were not committed, and
        ``TimeoutError`` if that is not known after ``limit`` seconds.
        """
        if self._pid != os.getpid():
            raise JournalUnavailable("the journal is not open in this process")
        with self._joining:
            batch = self._waiting
            if batch is None or len(batch.statements) >= BATCH:
                batch = self._waiting = _Batch()
            batch.statements.extend(statements)
            batch.durable |= durable
        # While one batch is committed the next one gathers here; the first of it to get the turn commits it for all.
        with self._its_turn(limit):
            if not batch.done:
                with self._joining:
                    if self._waiting is batch:
                        self._waiting = None
                self._writer.run(self._commit, batch, limit=limit)
        if batch.error is not None:
            raise JournalUnavailable(str(batch.error)) from batch.error

    @contextlib.contextmanager
    def _its_turn(self, limit: float) -> Iterator[None]:
        """One task at a time for the writing thread: gevent's pool would block a second submitter without a limit."""
        if not self._turn.acquire(timeout=limit):
            raise TimeoutError
        try:
            yield
        finally:
            self._turn.release()

    def _commit(self, batch: _Batch) -> None:
        if batch.done:  # by a greenlet whose own time was over while this thread went on
            return
        try:
            self._execute(batch)
        except JournalUnavailable as error:
            batch.error = error
        except Exception as error:  # noqa: BLE001 - a value that SQLite cannot hold: nothing of the batch is committed
            batch.error = JournalUnavailable(type(error).__name__)
        finally:
            batch.done = True

    def _execute(self, batch: _Batch) -> None:
        if self._connection is None or not self._still_there():
            self._open_file()
        connection = self._connection
        if connection is None:
            raise JournalUnavailable(self.failure or "")
        try:
            connection.execute("PRAGMA synchronous=" + ("FULL" if batch.durable else "NORMAL"))
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for statement, values in batch.statements:
                    connection.execute(statement, values)
            self.failure = None
            if not self._still_there():
                raise JournalUnavailable(self.failure or "")
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            self.failure = f"{type(error).__name__} {name}".strip()
            if name != "SQLITE_FULL":
                self._fail(error)
            raise JournalUnavailable(self.failure) from error

    def _still_there(self) -> bool:
        # SQLite would go on to write into a file that somebody has removed, and everything in it would be lost.
        try:
            there = os.stat(self._path()).st_ino == self._inode
        except OSError:
            there = False
        if not there:
            self._fail(FileNotFoundError())
        return there

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, query: str, values: Sequence[Any] = (), *, limit: float = 2.0) -> list[tuple[Any, ...]]:
        """The rows of ``query`` from the files of all workers of this instance, this one's among them.

        Raises ``TimeoutError``. A file that is corrupt is left out; :meth:`adopt` puts it aside, and counts it.
        """
        if self._pid != os.getpid():
            return []
        return self._readers.run(self._read_all, query, tuple(values), limit=limit)

    def read_own(self, query: str, values: Sequence[Any] = (), *, limit: float = 5.0) -> list[tuple[Any, ...]]:
        """The rows of ``query`` from this worker's own file."""
        if self._pid != os.getpid():
            return []
        with self._its_turn(limit):
            return self._writer.run(self._read_own, query, tuple(values), limit=limit)

    def _read_own(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        return self._connection.execute(query, values).fetchall()

    def _read_all(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for _ in range(3):
            rows = []
            try:
                for connection in opened(sorted(self.folder.glob("*.db"))):
                    try:
                        rows += connection.execute(query, values).fetchall()
                    except sqlite3.DatabaseError as error:
                        if not corrupt(error):
                            raise
                return rows
            except FileNotFoundError:
                continue  # adopted between the listing and the opening: its rows are in another file now
        return rows

    # -- adoption -----------------------------------------------------------------------------------------------------

    def adopt(self) -> int:
        """Merge the files of dead workers into this one; the number of files. What cannot be read is put aside."""
        if self._pid != os.getpid():
            return 0
        with self._its_turn(60):
            return self._writer.run(self._adopt_all, limit=60)

    def _adopt_all(self) -> int:
        if self._connection is None:
            return 0
        adopted = 0
        for lock_path in sorted(self.folder.glob("*.lock")):
            if lock_path == self._path(".lock"):
                continue
            with dead_owner(lock_path) as dead:
                if dead:
                    try:
                        adopted += self._adopt(lock_path.with_suffix(".db"))
                    except sqlite3.Error:
                        continue  # no room for it now, or a disk that fails: it is whole, and stays for a later time
                    lock_path.unlink(missing_ok=True)
        return adopted

    def _adopt(self, path: Path) -> int:
        if not path.exists():
            return 0
        connection = self._connection
        assert connection is not None
        connection.execute("PRAGMA synchronous=FULL")
        broken = False
        try:
            connection.execute("ATTACH DATABASE ? AS dying", (str(path),))
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for statement in ADOPTED:
                    connection.execute(statement)
        except sqlite3.DatabaseError as error:
            # No tables (SQLITE_ERROR): its owner died while it made them, or it is none of ours.
            broken = corrupt(error) or error.sqlite_errorname == "SQLITE_ERROR"
            if not broken:
                raise
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("DETACH DATABASE dying")
        if broken:
            path.rename(path.with_suffix(f".corrupt-{int(time.time())}"))
            self.dropped += 1
        for suffix in (".db", ".db-wal", ".db-shm"):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return 0 if broken else 1
