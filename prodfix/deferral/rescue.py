"""What a person does with a damaged journal that was put aside, or one from a backup: look into it, hand over what is whole.

Only its owner writes a worker's file. So what is handed over is a file of its own, in the folder of the journals and without
an owner, which a worker adopts within a second. Of what is known to have come home nothing is in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pymongo.errors import PyMongoError

from prodfix.deferral.operation_status import OperationStatuses
from prodfix.errors import NotFound
from prodfix.journal.file import MADE, dead_owner, sync_folder
from prodfix.journal.journal import Journal
from prodfix.journal.salvage import FATES, NAMED, Salvaged, salvage
from prodfix.journal.tables import prepare
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

_ALL = " UNION ALL ".join(f"SELECT id FROM {table}" for table in FATES)  # noqa: S608 - constants
_ORDER = "INSERT INTO orders (id, command, operation_id, ordered_by, at, result) VALUES (?, 'salvage', ?, ?, ?, ?)"


class Occupied(Exception):
    """The file is that of a worker that lives: it looks after it itself."""


@frozen
class RescueReport(Serializable):
    """What admins are told of a look into a damaged file: whole rows and lost ones by table, and what became of them."""

    found: dict[str, int]
    lost: dict[str, int]
    lost_operations: list[str]
    certain: bool
    waiting: int
    failed: int
    asked_database: bool
    handed_over: str | None


@frozen
class Rescued:
    """What is whole in the file, and how many writes of it nobody else has: those that wait, and those that were put aside.

    ``asked``: MongoDB, too, was asked what has become of them. ``handed`` is the name of the file with them, if they were.
    """

    salvaged: Salvaged
    waiting: int
    dead: int
    asked: bool
    handed: str | None = None

    def report(self) -> RescueReport:
        rows = self.salvaged
        return RescueReport(
            found=rows.found,
            lost=rows.lost,
            lost_operations=rows.operations[:NAMED],
            certain=rows.certain,
            waiting=self.waiting,
            failed=self.dead,
            asked_database=self.asked,
            handed_over=self.handed,
        )


class Rescue:
    """Looks into files, in the thread that calls: for the command line."""

    def __init__(self, journal: Journal, statuses: OperationStatuses) -> None:
        self._journal, self._statuses = journal, statuses

    def find(self, name: str) -> Path:
        """The file of that path, or of that name among the journals. Raises :class:`prodfix.errors.NotFound`."""
        for path in (Path(name), self._journal.folder / name):
            if path.is_file() or path.with_name(f"{path.name}-wal").is_file():
                return path.absolute()
        raise NotFound("no such file")

    def look(self, path: Path) -> Rescued:
        """What is in it; nothing is changed. Raises :class:`Occupied`, ``OSError`` and ``sqlite3.Error``."""
        with self._drafted(path, None) as (rescued, _):
            return rescued

    def hand_over(self, path: Path, by: str) -> Rescued:
        """Put what nobody else has where a worker adopts it. Raises as :meth:`look` does."""
        folder = self._journal.folder
        with self._drafted(path, by, folder) as (rescued, draft):
            if not rescued.waiting + rescued.dead:
                return rescued
            name = f"salvaged-{secrets.token_hex(6)}"
            with draft.open("rb") as content:
                os.fsync(content.fileno())
            # First the file: a lock without one would be taken for what a worker has left that was killed as it began.
            draft.rename(folder / f"{name}.db")
            lock = os.open(folder / f"{name}.lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(lock, MADE)
            finally:
                os.close(lock)
            sync_folder(folder)
            return Rescued(rescued.salvaged, rescued.waiting, rescued.dead, rescued.asked, name)

    def taken(self, name: str) -> bool:
        """Whether a worker has adopted what was handed over."""
        return not (self._journal.folder / f"{name}.db").exists()

    @contextlib.contextmanager
    def _drafted(self, path: Path, by: str | None, folder: Path | None = None) -> Iterator[tuple[Rescued, Path]]:
        if path.suffix == ".db" and path.with_suffix(".lock").exists():
            with dead_owner(path.with_suffix(".lock")) as dead:
                if not dead:
                    raise Occupied
        with tempfile.TemporaryDirectory(prefix=".salvage-", dir=folder) as place:
            draft = Path(place) / "draft"
            told = salvage(path, draft, careful=True)
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                prepare(connection)
                asked = self._take_out(connection)
                (waiting,) = connection.execute("SELECT count(*) FROM writes").fetchone()
                (dead,) = connection.execute("SELECT count(*) FROM dead").fetchone()
                if by is not None:
                    result = f"{waiting} waiting and {dead} failed handed over"
                    connection.execute(_ORDER, (secrets.token_hex(12), path.name, by, time.time(), result))
            yield Rescued(told, waiting, dead, asked), draft

    def _take_out(self, connection: sqlite3.Connection) -> bool:
        """Of which somebody knows what has become, here or in MongoDB; whether MongoDB was asked."""
        here = {identity for (identity,) in self._journal.read(_ALL, complete=True)}
        theirs = [identity for (identity,) in connection.execute(_ALL) if identity not in here]
        asked = True
        try:
            here |= self._statuses.published(theirs)
        except PyMongoError:
            asked = False
        known: Sequence[tuple[str]] = [(identity,) for identity in here]
        for table in FATES:
            connection.executemany(f"DELETE FROM {table} WHERE id = ?", known)  # noqa: S608 - constants
        return asked
