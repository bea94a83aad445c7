"""What a machine does to an application: its clock jumps, its disk is full, a page of a file rots."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
TABLE_LEAF = 0x0D  # the first byte of a page that holds rows (sqlite.org/fileformat.html section 1.6)
WAL_HEAD, FRAME_HEAD = 32, 24  # bytes (section 4.1)
_IDENTITY = re.compile(rb"[0-9a-f]{24}")


class Clock:
    """The time of day of the processes that have ``variables`` in their environment."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "shift"
        self._file.write_bytes(struct.pack("l", 0))
        self.variables = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}

    def shift(self, seconds: int) -> None:
        """In place: the processes have the file mapped."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", seconds))


def clock(folder: Path) -> Clock | None:
    """None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
    return Clock(folder, library)


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * PAGE)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def disk(folder: Path, megabytes: int = 64) -> Iterator[Disk | None]:
    """None where nothing may be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


# ---- a page that rots


def damage(journal: Path, chance: random.Random) -> tuple[str, frozenset[str]]:
    """Damage one page of a file in ``journal``, whose owners are dead: zeroed, flipped, or cut off with all that follows.

    What was done, and the IDs of the writes whose rows stood there.
    """
    files = [
        path for path in sorted(journal.glob("*.db*")) if path.suffix in (".db", ".db-wal") and path.stat().st_size
    ]
    if not files:
        return "no file to damage", frozenset()
    # What was written last stands in a -wal.
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    places = _pages(len(content), wal=path.suffix == ".db-wal")
    held = [place for place in places if _rows(content[place : place + PAGE])]
    place = chance.choice(held if held and chance.random() < 0.7 else places)
    way = chance.choice(("zeroed", "flipped", "cut"))
    end = len(content) if way == "cut" else place + PAGE
    gone = frozenset().union(*(_rows(content[one : one + PAGE]) for one in places if place <= one < end))
    if way == "cut":
        os.truncate(path, place)
    else:
        page = bytes(PAGE) if way == "zeroed" else bytes(byte ^ 0xA5 for byte in content[place:end])
        with path.open("r+b") as file:
            file.seek(place)
            file.write(page)
    return f"page {places.index(place)} of {len(places)} of a {path.suffix} {way}, {len(gone)} IDs on it", gone


def _pages(size: int, *, wal: bool) -> list[int]:
    """Where the pages of a file begin."""
    if wal:
        return list(range(WAL_HEAD + FRAME_HEAD, size, FRAME_HEAD + PAGE)) or [0]
    return list(range(0, size, PAGE))


def _rows(page: bytes | bytearray) -> frozenset[str]:
    """The IDs in a page of rows. Pages of an index can be made again, and hold nothing of their own."""
    if not page or page[0] != TABLE_LEAF:
        return frozenset()
    return frozenset(found.decode() for found in _IDENTITY.findall(bytes(page)))
