"""What the one thread that writes has: this worker's file, memory while the disk fails, and what came of each batch."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prodfix.errors import JournalUnavailable
from prodfix.journal.adoption import Adoptions, carry
from prodfix.journal.batch import Batch, Statement
from prodfix.journal.file import JournalFile, corrupt, error_name, in_memory, unreadable
from prodfix.journal.news import Changes
from prodfix.journal.quarantine import Damage
from prodfix.journal.settled import Settled
from prodfix.journal.upkeep import Upkeep

RETRY = 5.0  # seconds until a disk that has failed is tried again
NEWS = 20  # damaged files that nobody has been told of yet

# A file that refuses for these reasons is whole, and stays open: no room now, a statement that is wrong, or this process
# has no descriptor or no memory left for what SQLite wants to open beside it.
_NO_ROOM = ("SQLITE_FULL", "SQLITE_BUSY")
_NO_ROOM_TOLD = ("SQLITE_FULL", " 28")  # ENOSPC
_WHOLE = (*_NO_ROOM, "SQLITE_CONSTRAINT", "SQLITE_ERROR", "SQLITE_CANTOPEN", "SQLITE_NOMEM", "SQLITE_LOCKED")


class Store:
    """Its methods run in the thread that writes. Its attributes may be read by anybody.

    ``in_memory``: there is no file, and no disk to wait for.
    """

    def __init__(self, folder: Path, boot: str, *, in_memory: bool = False) -> None:
        self.folder, self.boot, self._in_memory = folder, boot, in_memory
        self.file: JournalFile | None = None
        self.memory: sqlite3.Connection | None = None
        self.failure: str | None = "not opened"
        self.lost = 0
        self.damages: deque[Damage] = deque(maxlen=NEWS)
        self.suspect = False
        """Set by whoever could not read the file: it is to be looked at."""
        self.adoptions = Adoptions(folder)
        self.changes = Changes()
        self.settled = Settled()
        self._upkeep = Upkeep()
        self._retry_at = 0.0

    def close(self) -> None:
        """Bring home what is in memory, and let go of the file."""
        if self.memory is not None and not self._in_memory:
            self._retry_at = 0.0
            self.mend()
        for part in (self.file, self.memory):
            if part is not None:
                part.close()
        self.file = self.memory = None

    # -- the file -------------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """Open the file, and bring home what is in memory. What has failed is tried again after ``RETRY`` seconds."""
        if self._in_memory:
            self.memory, self.failure = self.memory or in_memory(), None
            return
        if self.file is not None and not self.file.still_there():
            self._save()
        if (self.file is not None and self.memory is None) or time.monotonic() < self._retry_at:
            return
        try:
            if self.file is None:
                self.file, self._upkeep = JournalFile.make(self.folder, self.boot), Upkeep()
                self.changes.note_all()
                self.settled.hide(self.file.connection)
            if self.memory is not None:
                carry(self.memory, self.file.connection)
                self.memory.close()
                self.memory = None
                self.changes.note_all()
            self.failure = None
        except (OSError, sqlite3.Error) as error:
            self._fail(error, whole=_NO_ROOM)

    def _save(self) -> None:
        """Somebody has removed the file. As long as it is open all of it can be read: it goes on in a new one."""
        lost = self.file
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
            self.file, self.failure = made, None
            self.settled.hide(made.connection)
            self.changes.note_all()

    def _fail(self, error: Exception, *, whole: tuple[str, ...] = _WHOLE) -> None:
        self.failure = _told(error)
        # A file that somebody has removed, or that is damaged, says nothing about the disk.
        says_nothing = isinstance(error, FileNotFoundError) or (isinstance(error, sqlite3.Error) and corrupt(error))
        self._retry_at = 0.0 if says_nothing else time.monotonic() + RETRY
        if self.file is not None and not error_name(error).startswith(whole):
            self.file.abandon()
            self.file = None

    # -- writing ---------------------------------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Commit what a batch holds, as far as disk and memory allow. Never raises; the batch says what came of it."""
        if batch.done:  # by a greenlet whose own time was over while this thread went on
            return
        try:
            self.mend()
            others = batch.statements(to_disk=False)
            if self.memory is None:
                self._commit_to_file(batch, batch.statements())
            elif len(others) < batch.size:
                self._commit_to_file(batch, batch.statements(to_disk=True))
            if others and (batch.error is not None or self.memory is not None):
                self._commit_to_memory(others)
        except Exception as error:  # noqa: BLE001 - a value that SQLite cannot hold: nothing of the batch is committed
            batch.error, batch.lost = JournalUnavailable(error_name(error) or type(error).__name__), True
        finally:
            self.lost += sum(part.counted and batch.refused(part) is not None for part in batch.parts)
            batch.done = True

    def commit_all(self, taken: Callable[[], Sequence[Batch]]) -> None:
        """The same of what was gathered, as it is when this thread has come to it."""
        for batch in taken():
            self.commit(batch)

    def _commit_to_file(self, batch: Batch, statements: Sequence[Statement]) -> None:
        committed = self._try(batch, statements)
        if not committed and self.file is None and self._retry_at == 0.0:
            self.mend()  # the file was damaged: a new one takes what this one could not
            committed = self._try(batch, statements)
        if not committed:
            batch.error = JournalUnavailable(self.failure or "there is no disk, as the application is under test")
            self._settle(batch)
        elif self.memory is None:
            self.failure = None

    def _try(self, batch: Batch, statements: Sequence[Statement]) -> bool:
        """Whether the statements are in the file."""
        file = self.file
        if file is None or not file.still_there():
            return False  # it could not be saved: what is refused now must not be found in it later
        try:
            self._execute(file, batch, statements)
            if not file.still_there():
                self._save()  # with what was just committed
                return self.file is not file and self.file is not None
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            return False
        return True

    def _execute(self, file: JournalFile, batch: Batch, statements: Sequence[Statement]) -> None:
        file.connection.execute("PRAGMA synchronous=" + ("FULL" if batch.durable else "NORMAL"))
        file.limit(reserve=batch.reserve)
        waiting = self.settled.statements
        try:
            _execute(file.connection, [*waiting, *statements])
        except sqlite3.OperationalError as error:
            if error_name(error) != "SQLITE_FULL" or not file.make_room(reserve=batch.reserve):
                raise
            _execute(file.connection, [*waiting, *statements])
        self.changes.note(statements)
        if waiting:
            self.settled.forget(file.connection)
            self.changes.note(waiting)

    def _settle(self, batch: Batch) -> None:
        """While the disk has no room, what is done with waits in memory. That is no error."""
        if self.file is None or not (self.failure or "").endswith(_NO_ROOM_TOLD):
            return
        for part in batch.parts:
            if part.settles is not None:
                part.kept = self.settled.keep(self.file.connection, part.statements, part.settles)

    def _commit_to_memory(self, statements: Sequence[Statement]) -> None:
        memory = self.memory or in_memory()
        try:
            _execute(memory, statements)
        except Exception:
            if self.memory is None:
                memory.close()  # it was not the disk
            raise
        self.memory = memory
        self.changes.note(statements)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def read_own(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """From the file and from memory. A file that cannot be read is given up only if it is damaged."""
        rows: list[tuple[Any, ...]] = []
        if self.file is not None:
            try:
                rows = self.file.connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                if not unreadable(error):
                    raise
                self._fail(error)
        return rows + self.read_memory(query, values)

    def read_memory(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [] if self.memory is None else self.memory.execute(query, values).fetchall()

    # -- what is done beside ---------------------------------------------------------------------------------------------

    def adopt(self) -> int:
        """Merge the files of dead workers, and one that was given up; the number of those that were whole."""
        if self.file is None:
            self.mend()
        if self.file is None:
            return 0
        merged, damages = self.adoptions.look(self.file)
        self.damages.extend(damages)
        if merged or damages:
            self.changes.note_all()
        return merged

    def tidy(self) -> None:
        """A little upkeep of the file. Never raises; a file that is damaged is given up, and so adopted."""
        file = self.file
        if file is None or self.memory is not None or self.failure is not None:
            return
        try:
            if self.suspect and file.connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise _damaged()
            self.suspect = False
            if not self._upkeep.look(file.connection):
                raise _damaged()
            self._upkeep.shrink(file.connection)
            file.keep_reserve()
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            if self.file is None:
                self.suspect = False
                self.mend()


def _damaged() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("a row is not what was written")
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def _execute(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement, values in statements:
            connection.execute(statement, values)


def _told(error: Exception) -> str:
    """The type and the operating system's number only: the text may hold a path."""
    code = error_name(error) or getattr(error, "errno", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__
