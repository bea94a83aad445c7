"""A worker's file and its log together, page by page, and the rows that are whole in them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from prodfix.journal import btree
from prodfix.journal.tables import COLUMNS, PAGE, ROWID, make, prepare, seal
from prodfix.journal.wal import Frame, Log
from prodfix.slotted import frozen


@frozen
class Row:
    """A row that is what was written. ``current``: and it has not been changed or removed since, as far as can be told."""

    table: str
    values: tuple[Any, ...]
    current: bool


class Image:
    """The pages of the file at ``path`` as its log leaves them. Use it as a context; raises ``OSError``."""

    def __init__(self, path: Path, wal: Path, log: Log) -> None:
        self._path, self._wal, self._log = path, wal, log
        self._stack = contextlib.ExitStack()
        self._file: BinaryIO | None = None
        self._frames: dict[int, list[Frame]] = {}

    def __enter__(self) -> Image:
        self._file = self._opened(self._path)
        self._log_file = self._opened(self._wal)
        for frame in self._log.frames:
            self._frames.setdefault(frame.number, []).append(frame)
        in_file = self._file.seek(0, 2) + PAGE - 1 if self._file is not None else 0
        known = self._log.pages if self._log.sound else None
        self.pages = known or max([in_file // PAGE, *self._frames])
        self._free = btree.free_pages(self.read, self.pages)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _opened(self, path: Path) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return self._stack.enter_context(path.open("rb"))
        return None

    def read(self, number: int) -> bytes:
        """The page as it is now; less than a page, or nothing, where the file ends."""
        return next(self._versions(number), b"")

    def _versions(self, number: int) -> Iterator[bytes]:
        """The page as it is, and as it was before: what the log holds, then the file."""
        for frame in reversed(self._frames.get(number, ())):
            if self._log_file is not None:
                yield _at(self._log_file, frame.at)
        if self._file is not None and number > 0:
            yield _at(self._file, (number - 1) * PAGE)

    def rows(self) -> Iterator[Row | None]:
        """All rows that are whole, and None for each place in which one stood that is not.

        The log tells what has become of a page, so if the log is damaged a row may have changed since: then all versions of
        all pages are looked at, the newest first, and none of them is certainly the current one.
        """
        for number in range(1, self.pages + 1):
            free = self._is_free(number)
            if free and self._log.sound:
                continue
            for page in self._versions(number):
                if btree.kind(number, page) == btree.TABLE_LEAF:
                    current = self._log.sound and free is False
                    for cell in btree.cells(self.read, number, page):
                        row = _row(cell, current) if cell is not None else None
                        if row is not None or _may_be_ours(cell):
                            yield row
                if self._log.sound:
                    break

    def _is_free(self, number: int) -> bool | None:
        """Whether nothing that is on the page counts any more; None if the file contradicts itself.

        Removed rows stand on free pages as they stood before. Two parts of the file know which those are: one page that is
        damaged takes one of them only.
        """
        listed = None if self._free is None else number in self._free
        mapped = btree.mapped_free(self.read, number)
        if listed is None or mapped is None or listed is mapped:
            return mapped if listed is None else listed
        return None

    def entries(self, name: str) -> tuple[list[btree.Cell], bool]:
        """What the index holds; and whether that is certainly all."""
        found: list[btree.Cell] = []
        waiting, seen, complete = [roots()[name]], set(), self._log.sound
        while waiting:
            number = waiting.pop()
            page = self.read(number)
            if number in seen or btree.kind(number, page) not in (btree.INDEX_LEAF, btree.INDEX_INNER):
                complete = False
                continue
            seen.add(number)
            for cell in btree.cells(self.read, number, page):
                complete &= cell is not None
                found += [cell] if cell is not None else []
            waiting += btree.children(number, page)
        return found, complete


def _at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(PAGE)


def _may_be_ours(cell: btree.Cell | None) -> bool:
    """Whether it may have been a row of a sealed table: those of the schema are none, nor those without a seal."""
    return cell is None or (len(cell.values) - 1 in _tables() and cell.values[0] not in ("table", "index"))


def _row(cell: btree.Cell, current: bool) -> Row | None:
    for table in _tables().get(len(cell.values) - 1, ()):
        values = list(cell.values[:-1])
        if table in ROWID:
            values[COLUMNS[table].index(ROWID[table])] = cell.number
        try:
            if seal(table, *values) == cell.values[-1]:
                return Row(table, tuple(values), current)
        except (TypeError, OverflowError):
            continue
    return None


@cache
def _tables() -> dict[int, list[str]]:
    """The tables of so many columns."""
    found: dict[int, list[str]] = {}
    for table, columns in COLUMNS.items():
        found.setdefault(len(columns), []).append(table)
    return found


@cache
def roots() -> dict[str, int]:
    """Where each table and index of a worker's file begins: in all of them on the same pages, as all are made alike."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        prepare(connection)
        make(connection)
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_schema"))
