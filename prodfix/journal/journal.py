"""What a worker must not lose, on disk: one SQLite file for each worker process, in ``STATE_DIR/journal``.

A file holds deferred writes, error records and counts that MongoDB does not have yet, and how the worker is. It is

* opened after the fork, by the process that uses it, and written by its one connection in a native thread, which
  commits everything that waits at once (group commit): the hub never waits for a disk;
* owned by an flock on a sibling ``.lock`` file (closing any descriptor of the database file itself would drop SQLite's
  own POSIX locks, sqlite.org/howtocorrupt.html section 2.2);
* read by the other workers through read-only connections: the same question gets the same answer from all;
* adopted by another worker once its owner is dead: its rows are merged, by their own keys, and the file is removed.

WAL with ``synchronous=FULL`` for what must survive a loss of power (sqlite.org/pragma.html#pragma_synchronous), NORMAL
for what need only survive the process. While the disk fails, what need not survive even that goes into memory, into the
same tables, and comes home once the disk works again: the errors of a bad day must not disappear with a bad disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prodfix.errors import JournalTimeout, JournalUnavailable
from prodfix.journal.adoption import Outcome, adopt, carry
from prodfix.journal.file import JournalFile, dead_owner, error_name, in_memory, opened, unreadable
from prodfix.native import Pool

BATCH = 256  # statements' groups in one commit
RETRY = 5.0  # seconds until a disk that has failed is tried again

# A file that refuses for these reasons is whole, and stays open: no room now, or a statement that is wrong.
_NO_ROOM = ("SQLITE_FULL", "SQLITE_BUSY")
_WHOLE = (*_NO_ROOM, "SQLITE_CONSTRAINT", "SQLITE_ERROR")

Statement = tuple[str, Sequence[Any]]
Result = TypeVar("Result")


class _Batch:
    """Statements that are committed together. What is set by the thread that commits: ``done``; why the disk refused
    (``error``), which concerns what must be there; and whether memory refused the others too (``lost``)."""

    __slots__ = ("done", "durable", "error", "lost", "others", "reserve", "to_disk")

    def __init__(self) -> None:
        self.to_disk: list[Statement] = []
        self.others: list[Statement] = []
        self.durable = self.reserve = self.done = self.lost = False
        self.error: JournalUnavailable | None = None

    def __len__(self) -> int:
        return len(self.to_disk) + len(self.others)


class Journal:
    """This process's file in ``folder``, and a view of the files of all workers of the instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boot = ""
        """This process, in every row that it writes; its file may be made anew, what it counted may not count twice."""
        self.failure: str | None = "not opened"
        """What the disk said last, without any path; None while it works."""
        self.dropped = 0
        """Files that were put aside, because they are corrupt."""
        self.other_versions = 0
        """Files of dead workers that another version of this library must read."""
        self._pid: int | None = None
        self._file: JournalFile | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make this process's own file. Never raises: a broken disk is told by ``failure`` and each durable write."""
        if self._file is not None:  # a parent's
            self._file.unlock()
        self._pid = os.getpid()
        self.boot = f"{self._pid}-{secrets.token_hex(6)}"
        self._joining, self._turn = threading.Lock(), threading.Lock()
        self._waiting: _Batch | None = None
        self._writer, self._readers = Pool(1), Pool(2)
        self._file = None
        self._memory: sqlite3.Connection | None = None
        self._retry_at = 0.0
        self._writer.run(self._mend)

    def close(self) -> None:
        """Commit what waits and let go of the file. Rows that are still in it will be adopted by another worker."""
        if self._pid != os.getpid():
            return
        self._pid = None
        with contextlib.suppress(sqlite3.Error, OSError, TimeoutError):
            self._writer.run(self._close, limit=5)
        self._writer.close()
        self._readers.close()

    def _close(self) -> None:
        if self._memory is not None:
            self._retry_at = 0.0
            self._mend()
        for part in (self._file, self._memory):
            if part is not None:
                part.close()
        self._file = self._memory = None

    def _mend(self) -> None:
        """Open the file, and bring home what is in memory. What has failed is tried again after ``RETRY`` seconds."""
        if self._file is not None and not self._file.still_there():
            self._save()
        if (self._file is not None and self._memory is None) or time.monotonic() < self._retry_at:
            return
        try:
            if self._file is None:
                self._file = JournalFile.make(self.folder, self.boot)
            if self._memory is not None:
                carry(self._memory, self._file.connection)
                self._memory.close()
                self._memory = None
            self.failure = None
        except (OSError, sqlite3.Error) as error:
            self._fail(error, whole=_NO_ROOM)

    def _save(self) -> None:
        """Somebody has removed the file. As long as it is open all of it can be read: it goes on in a new one."""
        lost = self._file
        if lost is None or time.monotonic() < self._retry_at:
            return
        try:
            made = JournalFile.make(self.folder, self.boot)
            try:
                carry(lost.connection, made.connection)
            except BaseException:
                made.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._retry_at = time.monotonic() + RETRY
            self.failure = _told(error)
        else:
            lost.close()
            self._file, self.failure = made, None

    def _fail(self, error: Exception, *, whole: tuple[str, ...] = _WHOLE) -> None:
        self.failure = _told(error)
        # A file that somebody has removed says nothing about the disk.
        self._retry_at = 0.0 if isinstance(error, FileNotFoundError) else time.monotonic() + RETRY
        if self._file is not None and not error_name(error).startswith(whole):
            self._file.close()
            self._file = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def write(
        self,
        statements: Sequence[Statement],
        *,
        durable: bool = False,
        to_disk: bool = False,
        reserve: bool = False,
        limit: float = 5.0,
    ) -> None:
        """Commit the statements, together with what other greenlets write now; return once they are committed.

        ``durable``: also after fsync. ``to_disk``: in the file, without that; else memory will do while the disk fails.
        ``reserve``: they make room, and may use what a full file keeps for that.
        Raises :class:`prodfix.errors.JournalUnavailable` if they were not committed, and ``TimeoutError`` if that is not
        known after ``limit`` seconds.
        """
        if self._pid != os.getpid():
            raise JournalUnavailable("the journal is not open in this process")
        to_disk = to_disk or durable
        with self._joining:
            batch = self._waiting
            if batch is None or len(batch) >= BATCH:
                batch = self._waiting = _Batch()
            (batch.to_disk if to_disk else batch.others).extend(statements)
            batch.durable |= durable
            batch.reserve |= reserve
        # While one batch is committed the next one gathers here; the first of it to get the turn commits it for all.
        with self._its_turn(limit):
            if not batch.done:
                with self._joining:
                    if self._waiting is batch:
                        self._waiting = None
                self._writer.run(self._commit, batch, limit=limit)
        if batch.error is not None and (to_disk or batch.lost):
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
            self._mend()
            if self._memory is None:
                self._commit_to_file(batch, batch.to_disk + batch.others)
            elif batch.to_disk:
                self._commit_to_file(batch, batch.to_disk)
            if batch.others and (batch.error is not None or self._memory is not None):
                self._commit_to_memory(batch)
        except Exception as error:  # noqa: BLE001 - a value that SQLite cannot hold: nothing of the batch is committed
            batch.error, batch.lost = JournalUnavailable(error_name(error) or type(error).__name__), True
        finally:
            batch.done = True

    def _commit_to_file(self, batch: _Batch, statements: Sequence[Statement]) -> None:
        file = self._file
        if file is not None and not file.still_there():
            file = None  # and it could not be saved: what is refused now must not be found in it later
        try:
            if file is not None:
                file.connection.execute("PRAGMA synchronous=" + ("FULL" if batch.durable else "NORMAL"))
                file.limit(reserve=batch.reserve)
                _execute(file.connection, statements)
                if not file.still_there():
                    self._save()  # with what was just committed
                    file = self._file if self._file is not file else None
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            file = None
        if file is None:
            batch.error = JournalUnavailable(self.failure or "")
        elif self._memory is None:
            self.failure = None

    def _commit_to_memory(self, batch: _Batch) -> None:
        memory = self._memory or in_memory()
        try:
            _execute(memory, batch.others)
        except Exception:
            if self._memory is None:
                memory.close()  # it was not the disk
            raise
        self._memory = memory

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, query: str, values: Sequence[Any] = (), *, limit: float = 2.0) -> list[tuple[Any, ...]]:
        """The rows of ``query`` from the files of all workers of this instance, and from this one's memory.

        A row that moves meanwhile may be there twice. Raises :class:`prodfix.errors.JournalTimeout`. A file that cannot be
        read is left out; :meth:`adopt` puts a corrupt one aside, and counts it. A process that has opened no journal (the
        command line) reads the files all the same, in its own thread, and writes nothing.
        """
        if self._pid != os.getpid():
            return self._read_all(query, tuple(values))
        rows: list[tuple[Any, ...]] = []
        with _in_time():
            if self._memory is not None:  # before the files, which its rows go to
                with self._its_turn(limit):
                    rows = self._writer.run(self._read_memory, query, tuple(values), limit=limit)
            return rows + self._readers.run(self._read_all, query, tuple(values), limit=limit)

    def read_own(self, query: str, values: Sequence[Any] = (), *, limit: float = 5.0) -> list[tuple[Any, ...]]:
        """The rows of ``query`` from this worker's own file, and from its memory: two of a query that counts."""
        if self._pid != os.getpid():
            return []
        with _in_time(), self._its_turn(limit):
            return self._writer.run(self._read_own, query, tuple(values), limit=limit)

    def _read_own(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        if self._file is not None:
            try:
                rows = self._file.connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                if not unreadable(error):
                    raise
                self._fail(error)
        return rows + self._read_memory(query, values)

    def _read_memory(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [] if self._memory is None else self._memory.execute(query, values).fetchall()

    def _read_all(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for _ in range(3):
            rows = []
            try:
                for connection in opened(sorted(self.folder.glob("*.db"))):
                    try:
                        rows += connection.execute(query, values).fetchall()
                    except sqlite3.DatabaseError as error:
                        if not unreadable(error):
                            raise
                return rows
            except FileNotFoundError:
                continue  # adopted between the listing and the opening: its rows are in another file now
            except OSError:
                return rows  # a folder that this process may not list, a disk that fails
        return rows

    def aside(self, work: Callable[..., Result], *arguments: Any, limit: float = 2.0) -> Result:
        """Run what touches the folder's disk, or takes long, in a native thread: the hub never waits for it.

        Raises :class:`prodfix.errors.JournalTimeout`.
        """
        if self._pid != os.getpid():
            return work(*arguments)
        with _in_time():
            return self._readers.run(work, *arguments, limit=limit)

    # -- adoption -----------------------------------------------------------------------------------------------------

    def adopt(self) -> int:
        """Merge the files of dead workers into this one; the number of files. What cannot be read is put aside."""
        if self._pid != os.getpid():
            return 0
        with self._its_turn(60):
            return self._writer.run(self._adopt_all, limit=60)

    def _adopt_all(self) -> int:
        if self._file is None:
            return 0
        outcomes = []
        for lock_path in sorted(self.folder.glob("*.lock")):
            if lock_path == self._file.lock_path:
                continue
            with dead_owner(lock_path) as dead:
                if dead:
                    try:
                        outcomes.append(adopt(self._file.connection, lock_path.with_suffix(".db")))
                    except (OSError, sqlite3.Error):
                        continue  # no room for it now, or a disk that fails: it is whole, and stays for a later time
                    if outcomes[-1] is not Outcome.OTHER_VERSION:
                        lock_path.unlink(missing_ok=True)
        self.dropped += outcomes.count(Outcome.CORRUPT)
        self.other_versions = outcomes.count(Outcome.OTHER_VERSION)
        return outcomes.count(Outcome.MERGED)


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """What is only read, and did not come in time, is not there; of a write nobody would know."""
    try:
        yield
    except TimeoutError as error:
        raise JournalTimeout("the disk did not answer in time") from error


def _execute(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement, values in statements:
            connection.execute(statement, values)


def _told(error: Exception) -> str:
    """The type and the operating system's number only: the text may hold a path."""
    code = error_name(error) or getattr(error, "errno", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
