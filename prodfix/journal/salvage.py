"""What a damaged file still holds, row by row: each that is whole by its own seal comes home, and what is gone is counted.

SQLite gives up a file for one page. Here each page is read by itself (:mod:`prodfix.journal.image`), so that a damaged one costs
what stood on it. What is known to have ended does not wait again; of what may have changed since, nobody says that it was never
tried, so that it is applied with a look at what its documents remember.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import field
from pathlib import Path
from typing import Any

from prodfix.journal import tables
from prodfix.journal.image import Image, Row
from prodfix.journal.tables import COLUMNS
from prodfix.journal.wal import Index, read_log
from prodfix.slotted import mutable

FATES = ("ended", "dead", "writes")
"""The tables of deferred writes: where a write is told what became of it."""
NAMED = 1000  # operations that are named of those that are lost
_TRIED, _CREATED = COLUMNS["writes"].index("tried"), COLUMNS["writes"].index("created")
_IDS = {table: COLUMNS[table].index("id") for table in FATES}
# Told as such: whoever asks for one of them is not told that it never was.
_LOST = "INSERT OR IGNORE INTO ended (id, operation, owner, state, attempts, created, at) VALUES (?, '', NULL, 'lost', 0, ?, ?)"


@mutable
class Salvaged:
    """What came out of a file: ``found`` and ``lost`` rows by table; ``operations`` are the IDs of writes that are gone.

    ``certain``: no more is lost than that; else it is at least so much, as what would tell is damaged too.
    """

    found: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    certain: bool = True

    @property
    def writes_lost(self) -> int:
        """Those that waited or were put aside. What became of others is lost with ``ended``, and only that."""
        return self.lost.get("writes", 0) + self.lost.get("dead", 0)


def wal_of(path: Path) -> Path:
    """The log of a worker's file, or of one that was put aside: under the file's whole name."""
    return path.with_name(f"{path.name}-wal")


def salvage(path: Path, draft: Path, known: Index | None = None, *, careful: bool = False) -> Salvaged:
    """Make ``draft``, a file with the same tables, of the rows of ``path`` that are whole.

    ``careful``: nothing of it is certainly the newest state, as when somebody looks later.
    Raises ``OSError`` and ``sqlite3.Error``.
    """
    for old in (draft, draft.with_name(f"{draft.name}-journal")):
        old.unlink(missing_ok=True)
    log = read_log(wal_of(path), known)
    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        tables.prepare(connection)
        connection.execute("PRAGMA synchronous=OFF")  # if it is cut off, it is made anew
        tables.make(connection)
        with Image(path, wal_of(path), log) as image, connection:
            connection.execute("BEGIN IMMEDIATE")
            broken = _take(connection, image, careful)
            told = _count(connection, image, broken)
            now = time.time()
            connection.executemany(_LOST, [(identity, now, now) for identity in told.operations])
    return told


def _take(connection: sqlite3.Connection, image: Image, careful: bool) -> int:
    """Put all rows that are whole into the draft; how many are not. First those that are current: the others only add to them."""
    settled: set[Any] = set()
    outdated = broken = 0
    for row in image.rows():
        if row is None:
            broken += 1
        elif row.current:
            settled.add(_fate(row))
            _insert(connection, _doubted(row) if careful else row)
        else:
            outdated += 1
    for row in image.rows() if outdated else ():
        if row is not None and not row.current and _fate(row) not in settled:
            _insert(connection, _doubted(row))
            settled.add(row)  # another version of the page may have the very same one
    # What is known to have ended is over, in whatever state another page still shows it.
    for table, over in (("dead", "ended"), ("writes", "ended"), ("writes", "dead")):
        connection.execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM {over})")  # noqa: S608 - constants
    return broken


def _fate(row: Row) -> Any:
    """The ID of the write whose state the row tells."""
    return row.values[_IDS[row.table]] if row.table in FATES else row


def _insert(connection: sqlite3.Connection, row: Row) -> None:
    # Of several versions of a row the newest comes first.
    names = COLUMNS[row.table]
    text = f"INSERT OR IGNORE INTO {row.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    connection.execute(text, row.values)


def _doubted(row: Row) -> Row:
    """The same of a write that may have been tried since."""
    if row.table != "writes" or row.values[_TRIED] is not None:
        return row
    values = list(row.values)
    values[_TRIED] = values[_CREATED]
    return Row(row.table, tuple(values), row.current)


def _count(connection: sqlite3.Connection, image: Image, broken: int) -> Salvaged:
    """What is there and what is gone. An index names each row of its table, and stands on other pages."""
    told = Salvaged()
    here = {identity for table in FATES for (identity,) in connection.execute(f"SELECT id FROM {table}")}  # noqa: S608
    for table in COLUMNS:
        (told.found[table],) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - constants
        entries, complete = image.entries(f"sqlite_autoindex_{table}_1")
        names = {cell.values[:-1] for cell in entries}
        if table in FATES:
            gone = [name for (name,) in names if name not in here]
            told.lost[table] = len(gone)
            told.operations += gone if table != "ended" else []
            told.certain &= complete
        else:
            told.lost[table] = max(0, len(names) - told.found[table])
    if not told.certain:
        told.lost["unknown"] = max(0, broken - sum(told.lost.values()))
    told.found = {table: count for table, count in told.found.items() if count}
    told.lost = {table: count for table, count in told.lost.items() if count}
    return told
