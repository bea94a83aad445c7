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

A file that is damaged is given up as soon as anybody sees it: each row that is whole by its own seal comes home, what is gone is
counted, and the file is kept for a person (:mod:`prodfix.journal.salvage`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prodfix.errors import JournalTimeout, JournalUnavailable
from prodfix.journal.batch import LARGEST, Batch, Part, Statement
from prodfix.journal.file import JournalFile, corrupt
from prodfix.journal.gathering import Gathering, Source
from prodfix.journal.quarantine import Damage, Quarantine
from prodfix.journal.reading import Others, Reading, others, read_each, waits_elsewhere
from prodfix.journal.store import Store
from prodfix.process.forks import apart_from_forks
from prodfix.process.native import Inline, Pool, Task, allocate_lock
from prodfix.process.per_process import in_each_process, this_process

__all__ = ["Journal", "Statement"]

Result = TypeVar("Result")

OPENING = 5.0  # seconds that a process waits at its start for a disk that does not answer


class Journal:
    """This process's file in ``folder``, and a view of the files of all workers of the instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boot = ""
        """This process, in every row that it writes; its file may be made anew, what it counted may not count twice."""
        self._store = Store(folder, "")
        self._parents: list[Store] = []
        self._refused = 0
        self._sources: list[Source] = []
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._opened = self._in_memory = False  # a parent's file is the parent's
        # A parent's connection must not even be closed in here (sqlite.org/howtocorrupt.html section 2.6): it is kept.
        self._parents.append(self._store)
        if self._store.file is not None:
            self._store.file.unlock()

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self, *, in_memory: bool = False) -> None:
        """Make this process's own file. Never raises: a broken disk is told by ``failure`` and each durable write.

        ``in_memory``: make none, read none, and begin no thread; what must be on disk is refused.
        """
        self.boot = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._joining, self._commit_lock = threading.Lock(), threading.Lock()
        self._waiting: Batch | None = None
        self._in_memory = in_memory
        self._writer: Pool | Inline = Inline() if in_memory else Pool(1)
        self._readers: Pool | Inline = Inline() if in_memory else Pool(2)
        self._begun: Task[Any] | None = None
        self._store, self._storing = Store(self.folder, self.boot, in_memory=in_memory), allocate_lock()
        self._gathering = Gathering(self._commit_gathered, self._sources, alone=not in_memory)
        self._opened = True
        # With the lock: what is gathered meanwhile has a thread of its own, which would make a second file.
        with contextlib.suppress(TimeoutError):  # it goes on; until it is done, who asks has no answer in time
            self._alone(self._store.mend, limit=OPENING)

    def close(self) -> None:
        """Commit what waits and let go of the file. Rows that are still in it will be adopted by another worker."""
        if not self._opened:
            return
        self._opened = False
        with self._joining:
            batch, self._waiting = self._waiting, None
        with contextlib.suppress(sqlite3.Error, OSError):  # a TimeoutError is one
            if batch is not None:
                self._alone(self._store.commit, batch, limit=5)
            self._alone(self._store.commit_all, self._gathering.taken, limit=5)
            self._alone(self._store.close, limit=5)
        self._gathering.close()
        self._writer.close()
        self._readers.close()

    # -- how it is ----------------------------------------------------------------------------------------------------

    @property
    def failure(self) -> str | None:
        """What the disk said last, without any path; None while it works."""
        return self._store.failure

    @property
    def file_name(self) -> str:
        """The name of this worker's file, another one after it had to be given up; empty while there is none."""
        file = self._file
        return file.name if file is not None else ""

    @property
    def lost(self) -> int:
        """What was offered, and is not kept: neither the disk nor memory took it."""
        gathering = self._gathering.failed if self._opened else 0
        return self._store.lost + self._refused + gathering

    @property
    def suspect(self) -> bool:
        """Whether somebody could not read this worker's file, and :meth:`tidy` is to look at it."""
        return self._store.suspect

    @property
    def quarantine(self) -> Quarantine:
        """The damaged files that are kept for a person, as of the last look at the folder."""
        return self._store.adoptions.quarantine

    @property
    def other_versions(self) -> int:
        """Files of dead workers that another version of this library must read."""
        return self._store.adoptions.other_versions

    def version(self, *tables: str) -> int:
        """Another number whenever this worker's rows of these tables (of any, if none is named) have changed: whoever found
        nothing there need not look again before. What was gathered counts from its commit on."""
        return self._store.changes.of(*tables)

    def damages(self) -> list[Damage]:
        """The files that this worker has put aside since it was last asked."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._store.damages.popleft())
        return found

    @property
    def _file(self) -> JournalFile | None:
        return self._store.file

    # -- writing ------------------------------------------------------------------------------------------------------

    def write(
        self,
        statements: Sequence[Statement],
        *,
        durable: bool = False,
        to_disk: bool = False,
        reserve: bool = False,
        settles: Sequence[str] | None = None,
        limit: float = 5.0,
    ) -> None:
        """Commit the statements, together with what other greenlets write now; return once they are committed.

        ``durable``: also after fsync. ``to_disk``: in the file, without that; else memory will do while the disk fails.
        ``reserve``: they make room, and may use what a full file, and a full disk, keep for that. ``settles``: they say that the
        writes with these IDs are done with, which need not wait for a disk that has no room: they wait in memory, are committed
        with the next ones that are, and until then :meth:`read_own` has a table ``settled`` with these IDs. Should the process
        die before that, the writes are found once more.
        Raises :class:`prodfix.errors.JournalUnavailable` if they were not committed and will not be, and ``TimeoutError``, which
        is no ``JournalUnavailable``, if that is not known after ``limit`` seconds: whoever writes next may commit them.
        """
        self._write(Part(statements, durable, to_disk or durable, reserve, settles=settles), limit)

    def offer(self, statements: Sequence[Statement], *, limit: float, counted: bool = True) -> bool:
        """Whether they are committed within ``limit`` seconds. Never raises.

        What is committed later is kept all the same; what turns out to be lost is ``counted`` in ``lost``.
        """
        try:
            self._write(Part(statements, counted=counted), limit)
        except TimeoutError:
            return False
        except JournalUnavailable:
            self._refused += counted and not self._opened
            return False
        return True

    def gather(self, statements: Sequence[Statement], *, counted: bool = True) -> None:
        """Commit them soon, with what others write in this hundredth of a second, and wait for none of it
        (:mod:`prodfix.journal.gathering`). Never raises; what is lost is ``counted`` in ``lost``.

        What this process reads has them. :meth:`settle` waits for them.
        """
        if self._opened and self._gathering.full:
            self.settle(limit=0.25)  # as slow as a disk that does not answer: memory is bounded
        if self._opened and not self._gathering.full:
            self._gathering.put(Part(statements, counted=counted))
        else:
            self._refused += counted

    def gather_from(self, source: Source) -> Callable[[], None]:
        """Returns what is to be called whenever ``source`` has new totals: then it is asked soon for the statements that make
        them known, once for all of a hundredth of a second, in a native thread. Of a total that is lost a later one tells."""
        self._sources.append(source)
        return self._ask

    def _ask(self) -> None:
        if self._opened:
            self._gathering.ask()

    def settle(self, *, limit: float) -> bool:
        """Whether what was gathered is committed within ``limit`` seconds. Never raises."""
        # What was taken is committed once the lock is free again.
        if self._opened and (self._gathering.waiting or self._storing.locked()):
            try:
                self._alone(self._store.commit_all, self._gathering.taken, limit=limit)
            except TimeoutError:
                return False
        return True

    def _write(self, part: Part, limit: float) -> None:
        if not self._opened:
            raise JournalUnavailable("the journal is not open in this process")
        batch = self._join(part)
        # While one batch is committed the next one gathers here; the first of it to get the lock commits it for all.
        try:
            with self._locked(limit):
                if not batch.done:
                    self._take(batch)
                    self._run(self._store.commit, batch, limit=limit)
        except TimeoutError:
            if part.to_disk and self._withdraw(batch, part):
                raise JournalTimeout("the disk did not answer in time") from None
            raise
        if (refused := batch.refused(part)) is not None:
            raise JournalUnavailable(str(refused)) from refused

    def _join(self, part: Part) -> Batch:
        with self._joining:
            batch = self._waiting
            if batch is None or batch.size >= LARGEST:
                batch = self._waiting = Batch()
            batch.add(part)
        return batch

    def _take(self, batch: Batch) -> None:
        """Nobody joins it any more, and nobody can leave it."""
        with self._joining:
            if self._waiting is batch:
                self._waiting = None

    def _withdraw(self, batch: Batch, part: Part) -> bool:
        """Whether nobody will commit it: its batch has not begun. So it is certain, and may be told."""
        with self._joining:
            if self._waiting is not batch:
                return False
            batch.parts.remove(part)
            return True

    # -- the thread that writes ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, limit: float) -> Iterator[None]:
        """One task at a time for the writing thread, and once it is done with what nobody has waited for to the end.

        gevent's pool would block a second submitter without a limit.
        """
        # A greenlet that waits here goes on in a child, which has another lock, and must not have its parent's file.
        lock, process = self._commit_lock, this_process()
        if not lock.acquire(timeout=limit):
            raise TimeoutError
        try:
            if self._begun is not None and not self._begun.ended(limit):
                raise TimeoutError
            if process is not this_process():
                raise TimeoutError
            yield
        finally:
            lock.release()

    def _run(self, work: Callable[..., Result], *arguments: Any, limit: float) -> Result:
        """Under the lock."""
        task: Task[Result] = self._writer.submit(self._exclusively, work, *arguments)
        self._begun = task
        return task.wait(limit)

    def _exclusively(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """In a native thread, of which there is a second one for what is gathered."""
        with self._storing, apart_from_forks:
            result: Result = work(*arguments)
            return result

    def _commit_gathered(self) -> None:
        self._exclusively(self._commit_while_open)

    def _commit_while_open(self) -> None:
        if self._opened:  # a file that is closed must not be made anew
            self._store.commit_all(self._gathering.taken)

    def _alone(self, work: Callable[..., Result], *arguments: Any, limit: float) -> Result:
        with self._locked(limit):
            return self._run(work, *arguments, limit=limit)

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(
        self, query: str, values: Sequence[Any] = (), *, limit: float = 2.0, complete: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows of ``query`` from the files of all workers of this instance, and from this one's memory.

        A row that moves meanwhile may be there twice. Raises :class:`prodfix.errors.JournalTimeout`. A file that cannot be
        read is left out, or with ``complete`` raises :class:`prodfix.errors.JournalUnavailable`; one that is damaged is not left
        so for long (:meth:`adopt`, :meth:`tidy`). A process that has opened no journal (the command line) reads the files all
        the same, in its own thread, and writes nothing.
        """
        (found,) = self.read_each([(query, values)], limit=limit)
        if complete and not found.complete:
            raise JournalUnavailable("a journal cannot be read")
        return found.rows

    def read_each(self, queries: Sequence[Statement], *, limit: float = 2.0) -> list[Reading]:
        """The same for several questions, of files that are opened once: each answer says what it does not know."""
        asked = [(query, tuple(values)) for query, values in queries]
        self.settle(limit=min(limit, 0.25))
        if not self._opened:
            return _apart(read_each)(self.folder, asked)
        memory: list[list[tuple[Any, ...]]] = [[] for _ in asked]
        with _in_time():
            if self._store.memory is not None:  # before the files, which its rows go to
                memory = [self._alone(self._store.read_memory, *one, limit=limit) for one in asked]
            if self._in_memory:
                return [Reading(rows) for rows in memory]
            found = self._readers.run(_apart(read_each), self.folder, asked, limit=limit)
        own = self._store.file
        if own is not None and own.path in found[0].unread and corrupt(found[0].unread[own.path]):
            self._store.suspect = True
        return [
            Reading(rows + reading.rows, reading.unread, reading.whole)
            for rows, reading in zip(memory, found, strict=True)
        ]

    def read_own(self, query: str, values: Sequence[Any] = (), *, limit: float = 5.0) -> list[tuple[Any, ...]]:
        """The rows of ``query`` from this worker's own file, and from its memory: two of a query that counts."""
        if not self._opened:
            return []
        self.settle(limit=min(limit, 0.25))
        with _in_time():
            return self._alone(self._store.read_own, query, tuple(values), limit=limit)

    def others(self) -> Others:
        """What files of other versions hold. Raises :class:`prodfix.errors.JournalTimeout`."""
        if self._in_memory:
            return Others()
        return self.aside(others, self.folder)

    def waits_elsewhere(self, identity: str) -> tuple[str, bytes, float] | None:
        """The operation, the entry and the time of a write that waits in a file of another version."""
        if self._in_memory:
            return None
        return self.aside(waits_elsewhere, self.folder, identity)

    def aside(self, work: Callable[..., Result], *arguments: Any, limit: float = 2.0) -> Result:
        """Run what touches the folder's disk, or takes long, in a native thread: the hub never waits for it.

        Raises :class:`prodfix.errors.JournalTimeout`.
        """
        if not self._opened:
            return _apart(work)(*arguments)
        with _in_time():
            return self._readers.run(_apart(work), *arguments, limit=limit)

    # -- adoption and upkeep ------------------------------------------------------------------------------------------

    def adopt(self) -> int:
        """Merge the files of dead workers into this one; how many were merged whole.

        Of one that is damaged what is whole is merged, and the rest told by :meth:`damages`.
        """
        if not self._opened:
            return 0
        return self._alone(self._store.adopt, limit=60)

    def tidy(self) -> None:
        """A little upkeep, if nobody waits for the disk: room that a backlog has had goes back, and rows are looked at."""
        if not self._opened or self._waiting is not None or self._commit_lock.locked():
            return
        with contextlib.suppress(TimeoutError):
            self._alone(self._store.tidy, limit=5)


def _apart(work: Callable[..., Result]) -> Callable[..., Result]:
    def apart(*arguments: Any) -> Result:
        with apart_from_forks:
            return work(*arguments)

    return apart


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """What is only read, and did not come in time, is not there; of a write nobody would know."""
    try:
        yield
    except TimeoutError as error:
        raise JournalTimeout("the disk did not answer in time") from error
