"""Damaged files that are kept for a person, and what was found in each: ``<worker>.corrupt-<time>``, its log and a ``.json``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Self

import orjson

from prodfix.journal.salvage import NAMED, Salvaged, wal_of
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

MOST = 5  # files that are kept; what is whole in them has come home
LARGEST = 512 * 1024 * 1024  # bytes of them; the newest is kept in any case
_REPORT = ".json"


@frozen
class DamageReport(Serializable):
    """What the log and admins are told of a damaged file. ``certain``: no more is lost than that."""

    file: str
    found: dict[str, int]
    lost: dict[str, int]
    certain: bool
    lost_writes: int
    lost_operations: list[str]


@frozen
class Damage:
    """One file that was put aside, at a time in seconds since 1970: rows ``found`` in it, and ``lost`` with it, by table."""

    file: str
    at: float
    found: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    """IDs of writes that are gone, ``NAMED`` of them at most."""
    certain: bool = False

    @property
    def writes(self) -> int:
        """Acknowledged writes that are gone."""
        return self.lost.get("writes", 0) + self.lost.get("dead", 0)

    def report(self) -> DamageReport:
        return DamageReport(self.file, self.found, self.lost, self.certain, self.writes, self.operations[:20])

    @classmethod
    def read(cls, path: Path) -> Self:
        """What is known of the file at ``path``: no more than its name, if nobody has looked into it."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return cls(**orjson.loads(_report(path).read_bytes()))
        return cls(path.name, 0.0)


@frozen
class Quarantine:
    """All that are kept: how many, and the acknowledged writes that are gone with them, at least."""

    files: int = 0
    lost: int = 0


def put_aside(path: Path, told: Salvaged) -> Damage:
    """Rename the damaged file, and write down what was found in it. Raises ``OSError``.

    Its log holds what was acknowledged last. Under the same stem SQLite's own tools find both. The file goes first: it must
    never be merged without its log, should we be killed in between.
    """
    now = time.time()
    aside = _free_name(path, int(now))
    damage = Damage(aside.name, now, told.found, told.lost, told.operations[:NAMED], told.certain)
    with contextlib.suppress(OSError):  # no room: what came home has come home
        _write(_report(aside), orjson.dumps(asdict(damage)))
    if path.exists():
        path.rename(aside)
    wal = wal_of(path)
    if wal.exists() and wal.stat().st_size:
        wal.rename(wal_of(aside))
    for side in (wal, path.with_suffix(".db-shm")):
        side.unlink(missing_ok=True)
    _forget_old(path.parent)
    return damage


def kept(folder: Path) -> list[Damage]:
    """Of each file that is kept, newest first. Raises ``OSError``."""
    return [Damage.read(path) for path in _kept(folder)]


def _kept(folder: Path) -> list[Path]:
    """Each by the name of the file, which may be gone itself where only a log was left; the newest first."""
    sides = (_REPORT, "-wal", "-shm")
    names = {path.name for path in folder.glob("*.corrupt-*")}
    files = {next((name.removesuffix(side) for side in sides if name.endswith(side)), name) for name in names}
    there = [name for name in files if name in names or f"{name}-wal" in names]
    return [folder / name for name in sorted(there, key=lambda name: name.rpartition("-")[2], reverse=True)]


def _forget_old(folder: Path) -> None:
    size = 0
    for place, path in enumerate(_kept(folder)):
        parts = [path, wal_of(path)]
        size += sum(part.stat().st_size for part in parts if part.exists())
        if place >= MOST or (place and size > LARGEST):
            for part in (*parts, _report(path)):
                part.unlink(missing_ok=True)


def _free_name(path: Path, second: int) -> Path:
    while (aside := path.with_suffix(f".corrupt-{second}")).exists() or _report(aside).exists():
        second += 1
    return aside


def _report(path: Path) -> Path:
    return path.with_name(f"{path.name}{_REPORT}")


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def total(damages: Sequence[Damage]) -> Quarantine:
    return Quarantine(len(damages), sum(damage.writes for damage in damages))
