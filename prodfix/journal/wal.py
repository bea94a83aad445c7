"""The log beside a SQLite file (``-wal``), read without SQLite, which stops at the first frame that is damaged.

Each frame is checked by itself: its checksum begins with the one that stands in the frame before it, so that a damaged frame
costs what stood on it, and not all that was acknowledged after it. Source: sqlite.org/fileformat2.html, section 4; the index of
the log (``-shm``), which knows how many frames were committed: sqlite.org/walformat.html, section 2.1.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import BinaryIO

from prodfix.journal.tables import PAGE
from prodfix.slotted import frozen, mutable

BEGIN = 32  # bytes of the file's header
FRAME = 24  # bytes of a frame's header
MAGIC = 0x377F0682  # and 1 more where checksums are big-endian
LARGEST_NUMBER = 1 << 24  # of a page


@frozen
class Frame:
    """One page as a transaction has left it. ``commit`` is the file's size in pages if it is the transaction's last."""

    number: int
    commit: int
    at: int


@mutable
class Log:
    """The frames that were committed, in their order. ``sound``: each of them is what was written, and none is missing."""

    frames: list[Frame] = field(default_factory=list)
    sound: bool = True

    @property
    def pages(self) -> int | None:
        """How many pages the file has after the last commit."""
        return next((frame.commit for frame in reversed(self.frames) if frame.commit), None)


@frozen
class Index:
    """What the workers of the file had agreed upon: how many frames are committed, and which salts they have."""

    committed: int
    salts: bytes


def index(path: Path) -> Index | None:
    """What the ``-shm`` at ``path`` says; None if it is not there, or was cut off in the middle of a change.

    Whoever opens the file as the first makes it anew: so look at it before.
    """
    with contextlib.suppress(OSError), path.open("rb") as file:
        content = file.read(96)
        if len(content) == 96 and content[:48] == content[48:] and content[12]:
            return Index(struct.unpack_from("=I", content, 16)[0], content[32:40])
    return None


def read_log(path: Path, known: Index | None = None) -> Log:
    """The committed frames of the log at ``path``. Raises ``OSError``."""
    try:
        with path.open("rb") as file:
            return _Reader(file, known).log()
    except FileNotFoundError:
        return Log(sound=not (known and known.committed))


class _Reader:
    """The slots of a log. They are numbered from 1, as SQLite does."""

    def __init__(self, file: BinaryIO, known: Index | None) -> None:
        self._file = file
        self._header = file.read(BEGIN)
        size = file.seek(0, 2)
        self._slots = max(0, size - BEGIN) // (FRAME + PAGE)
        self._heads = [self._head(slot) for slot in range(1, self._slots + 1)]
        self._order = "<" if sys.byteorder == "little" else ">"
        self._begins_well = self._check_header() or (not self._slots and not (known and known.committed))
        self._salts = self._header[16:24] if self._begins_well else self._guess(known)
        self._known = known.committed if known is not None and known.salts == self._salts else 0

    def log(self) -> Log:
        ours = [slot for slot in range(1, self._slots + 1) if self._heads[slot - 1][8:16] == self._salts]
        valid = {slot for slot in ours if self._valid(slot)}
        commits = [slot for slot in valid if self._frame(slot).commit]
        end = max([*commits, self._known])
        frames = [self._frame(slot) for slot in ours if slot <= end]
        sound = self._begins_well and all(slot in valid for slot in range(1, end + 1))
        return Log([frame for frame in frames if 0 < frame.number < LARGEST_NUMBER], sound)

    def _check_header(self) -> bool:
        if len(self._header) < BEGIN:
            return False
        magic, _, size = struct.unpack_from(">III", self._header)
        if magic & ~1 != MAGIC or size != PAGE:
            return False
        self._order = ">" if magic & 1 else "<"
        return self._sum(self._header[:24], (0, 0)) == struct.unpack_from(">II", self._header, 24)

    def _guess(self, known: Index | None) -> bytes:
        """The salts of a log without its header: this generation's stand first."""
        if known is not None:
            return known.salts
        salts = [head[8:16] for head in self._heads]
        often = Counter(salts)
        return next((salt for salt in salts if often[salt] > 1 and any(salt)), salts[0] if salts else b"")

    def _head(self, slot: int) -> bytes:
        self._file.seek(BEGIN + (slot - 1) * (FRAME + PAGE))
        return self._file.read(FRAME)

    def _frame(self, slot: int) -> Frame:
        number, commit = struct.unpack_from(">II", self._heads[slot - 1])
        return Frame(number, commit, BEGIN + (slot - 1) * (FRAME + PAGE) + FRAME)

    def _valid(self, slot: int) -> bool:
        head, before = self._heads[slot - 1], self._header[24:32] if slot == 1 else self._heads[slot - 2][16:24]
        self._file.seek(BEGIN + (slot - 1) * (FRAME + PAGE) + FRAME)
        start = struct.unpack(">II", before) if len(before) == 8 else (0, 0)
        return self._sum(head[:8] + self._file.read(PAGE), start) == struct.unpack_from(">II", head, 16)

    def _sum(self, data: bytes, start: tuple[int, ...]) -> tuple[int, int]:
        first, second = start
        words = struct.unpack(f"{self._order}{len(data) // 4}I", data)
        for one, other in zip(words[::2], words[1::2], strict=True):
            first = first + one + second & 0xFFFFFFFF
            second = second + other + first & 0xFFFFFFFF
        return first, second
