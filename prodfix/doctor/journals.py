"""The workers' journals in STATE_DIR: what fails, what was put aside, and what waits without anybody to store it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prodfix.doctor.findings import Finding, NotApplicable, NotChecked, counted, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.journal.file import dead_owner, read_only
from prodfix.journal.quarantine import kept
from prodfix.journal.reading import opened
from prodfix.journal.tables import SCHEMA_VERSION

SALVAGE = "`flask --app wsgi prodfix deferred salvage FILE`"
DRAIN = "`flask --app wsgi prodfix deferred drain`"


@check("journal-failing", "disk")
def failing(subject: Subject) -> Iterator[Finding]:
    """The journals of all live workers work."""
    workers = subject.services.runtime.workers.read()
    if not workers:
        raise NotApplicable
    reasons = sorted({worker.journal.failing for worker in workers if worker.journal.failing})
    if reasons:
        yield error(
            f"the journal of a worker fails: {', '.join(reasons)}",
            "Look at the disk below STATE_DIR: room, rights, errors in the kernel's log",
            reasons=reasons,
        )


@check("journal-corrupt", "disk")
def corrupt(subject: Subject) -> Iterator[Finding]:
    """No journal file was put aside."""
    found = kept(_folder(subject))
    lost = sum(damage.writes for damage in found)
    if found:
        yield warning(
            f"{counted(len(found), 'damaged journal file')} put aside: {_gone(lost)}",
            f"Look at the disk, and into the files with {SALVAGE}; remove them from STATE_DIR/journal once nobody needs them",
            files=sorted(damage.file for damage in found)[:20],
            lost=lost,
        )


def _gone(lost: int) -> str:
    return f"{counted(lost, 'acknowledged write')} gone with them" if lost else "no write is known to be gone with them"


@check("journal-versions", "disk")
def versions(subject: Subject) -> Iterator[Finding]:
    """No journal file is of another version."""
    others = [path.name for path in _abandoned(subject) if _version(path) not in (0, SCHEMA_VERSION)]
    if others:
        yield warning(
            f"{counted(len(others), 'journal file')} of another version, which nobody reads",
            "Start the release that wrote them, until they are gone",
            files=others[:20],
        )


@check("journal-abandoned", "disk")
def abandoned(subject: Subject) -> Iterator[Finding]:
    """Nothing waits in the files of workers that are dead."""
    if subject.services.runtime.workers.read():
        raise NotApplicable  # a live worker takes them within a second
    writes, records = 0, 0
    for path in _abandoned(subject):
        if _version(path) == SCHEMA_VERSION:
            writes += _count(path, "SELECT count(*) FROM writes")
            records += _count(path, "SELECT count(*) FROM records WHERE stored = 0")
    if writes:
        yield warning(
            f"{counted(writes, 'deferred write')} left in files of dead workers, and no worker runs that would apply them",
            f"Start the service with this STATE_DIR, or run {DRAIN}",
            writes=writes,
            records=records,
        )
    elif records:
        yield note(
            f"{counted(records, 'record')} of errors left in files of dead workers, and no worker runs",
            "Start the service with this STATE_DIR",
            records=records,
        )


@check("dead-letters", "disk")
def dead_letters(subject: Subject) -> Iterator[Finding]:
    """No deferred write was put aside."""
    counts = subject.services.deferral.backlog.counts()
    if counts.dead:
        yield warning(
            f"{counted(counts.dead, 'deferred write')} put aside: clients were told that they failed",
            "See `flask --app wsgi prodfix deferred list --state failed`, and replay or discard them",
            dead=counts.dead,
            reasons=counts.reasons,
        )


def _folder(subject: Subject) -> Path:
    folder: Path = subject.services.runtime.journal.folder
    if not folder.is_dir():
        raise NotApplicable  # nothing has run here yet
    return folder


def _abandoned(subject: Subject) -> list[Path]:
    """The files that no process owns."""
    found = []
    for lock in sorted(_folder(subject).glob("*.lock")):
        with dead_owner(lock) as dead:
            path = lock.with_suffix(".db")
            if dead and path.exists() and path.stat().st_size:
                found.append(path)
    return found


def _version(path: Path) -> int:
    return _asked(path, "PRAGMA user_version")


def _count(path: Path, query: str) -> int:
    return sum(int(connection.execute(query).fetchone()[0]) for _, connection in opened([path]))


def _asked(path: Path, query: str) -> int:
    try:
        connection = sqlite3.connect(read_only(path), uri=True, timeout=0.5)
    except sqlite3.Error as failure:
        raise NotChecked(f"a journal file cannot be opened: {type(failure).__name__}") from None
    try:
        answer: Any = connection.execute(query).fetchone()[0]
        return int(answer)
    except sqlite3.DatabaseError:
        return 0  # corrupt: whoever adopts it puts it aside
    finally:
        connection.close()
