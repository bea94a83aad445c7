"""A disk that is full: what was acknowledged is applied, what fails is found, and logs leave the journals their room."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prodfix.deferral.drainer import BATCH, Drainer
from prodfix.deferral.queue import DeferredQueue
from prodfix.errors import JournalUnavailable
from prodfix.journal import file as journal_file
from prodfix.journal import settled, store
from prodfix.journal.journal import Journal
from prodfix.logs.files import Room, RotatingFile
from tests.support.deferred_notes import note, texts, waiting

Make = Callable[..., Any]
RECORD = "INSERT INTO records (id, collection, request_id, at, entry) VALUES (?, 'error_log', ?, 1, x'00')"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mount is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Somebody else takes all that is left."""
    with contextlib.suppress(OSError), (disk / "ballast").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def journal(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setattr(store, "RETRY", 0.0)
    journal = Journal(disk / "journal")
    journal.open()
    yield journal
    journal.close()


@pytest.fixture
def deferred(make_deferred: Make, journal: Journal) -> DeferredQueue:
    found: DeferredQueue = make_deferred(journal=journal)
    return found


@pytest.fixture
def drainer(make_drainer: Make, deferred: DeferredQueue, journal: Journal) -> Drainer:
    found: Drainer = make_drainer(deferred, journal=journal)
    return found


def put(deferred: DeferredQueue, count: int) -> list[str]:
    writes = [note(str(number), more="x" * 300) for number in range(count)]
    for write in writes:
        deferred.put(write)
    return [write.id for write in writes]


def give_up_reserve(journal: Journal, disk: Path) -> None:
    """As if nothing had been kept for that day."""
    assert journal._file is not None
    journal._file._held.give()
    fill(disk)


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Nothing can be written, not even over what is there (a file system that copies on write); or again something."""
    execute = store._execute

    def refuse(*_: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    return lambda full: monkeypatch.setattr(store, "_execute", refuse if full else execute)


def test_a_worker_holds_room_and_a_full_disk_does_not_keep_its_backlog_from_being_done(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, disk: Path
) -> None:
    put(deferred, 60)
    assert len(list(journal.folder.glob("*.reserve"))) == 1
    fill(disk)
    with pytest.raises(JournalUnavailable):
        put(deferred, 500)
    left = len(waiting(journal))
    assert left >= 60
    assert drainer.drain() == left
    assert database.books.find_one()["notes"] == left
    assert waiting(journal) == [], "on disk, in the room that was held"


def test_without_any_room_what_is_applied_is_remembered_and_said_later(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, no_room: Callable[[bool], None]
) -> None:
    put(deferred, 40)
    no_room(True)
    applied = drainer.drain()
    assert (applied, database.books.find_one()["notes"]) == (40, 40)
    assert drainer.drain() == 0, "none of them is applied once more"
    assert waiting(journal), "the disk cannot say so yet"
    no_room(False)
    journal.write([(RECORD, ("a", "r"))], to_disk=True)
    assert waiting(journal) == []
    assert len(journal.read("SELECT id FROM ended WHERE state = 'applied'")) == 40
    assert journal._store.settled.statements == []


def test_who_dies_before_it_is_said_has_it_delivered_again_which_changes_nothing(
    deferred: DeferredQueue,
    drainer: Drainer,
    make_deferred: Make,
    make_drainer: Make,
    journal: Journal,
    database: Any,
    no_room: Callable[[bool], None],
) -> None:
    put(deferred, 30)
    no_room(True)
    assert drainer.drain() == 30
    assert waiting(journal)
    journal._store.settled.statements.clear()  # what a kill leaves of it
    no_room(False)
    journal.close()
    other = Journal(journal.folder)
    other.open()
    try:
        other.adopt()
        assert make_drainer(make_deferred(journal=other), journal=other).drain() > 0
        assert (database.books.find_one()["notes"], len(texts(database)), waiting(other)) == (30, 30, [])
    finally:
        other.close()


def test_what_waits_in_memory_is_bounded(
    deferred: DeferredQueue,
    drainer: Drainer,
    journal: Journal,
    no_room: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(deferred, 4 * BATCH)
    no_room(True)
    most = 4 * BATCH  # statements: enough for one batch, and not for all
    monkeypatch.setattr(settled, "MOST", most)
    with pytest.raises(JournalUnavailable):
        drainer.drain()
    assert 0 < len(journal._store.settled.statements) <= most


def test_on_a_full_disk_what_fails_is_found_from_memory(
    journal: Journal, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_reserve(journal, disk)
    monkeypatch.setattr(store, "RETRY", 60.0)
    for number in range(1500):  # more than the log's own room takes
        assert journal.offer([(RECORD, (str(number), f"request {number}"))], limit=5)
    assert journal.failure is not None
    found = "SELECT id FROM records WHERE request_id = ?"
    assert [journal.read(found, (f"request {number}",)) for number in (0, 700, 1499)] == [
        [("0",)],
        [("700",)],
        [("1499",)],
    ]
    assert journal.lost == 0
    (disk / "ballast").unlink()
    journal._store._retry_at = 0.0
    journal.write([(RECORD, ("last", "r"))])
    assert (journal.failure, len(journal.read_own("SELECT id FROM records"))) == (None, 1501)


def test_the_room_is_held_again_once_there_is_some(journal: Journal, disk: Path) -> None:
    give_up_reserve(journal, disk)
    journal.tidy()
    assert not [path for path in journal.folder.glob("*.reserve") if path.stat().st_size]
    (disk / "ballast").unlink()
    journal.tidy()
    (held,) = journal.folder.glob("*.reserve")
    assert 0 < held.stat().st_blocks * 512 <= 2 * 1024 * 1024 // journal_file.SHARE


# -- logs ---------------------------------------------------------------------------------------------------------------------


def lines(disk: Path, room: Room | None) -> int:
    """How many a log on that disk takes until it takes no more."""
    log = RotatingFile(disk / "log" / "error.log", max_bytes=10**9, keep=3, daily=False, room=room)

    def write() -> None:
        for _ in range(4096):
            log.write(b"x" * 1023 + b"\n")

    with pytest.raises(OSError, match=r"Errno 28\]"):
        write()
    return (disk / "log" / "error.log").stat().st_size // 1024


@pytest.mark.parametrize("kept", [True, False])
def test_logs_leave_the_journals_their_room(deferred: DeferredQueue, disk: Path, kept: bool) -> None:
    taken = lines(disk, Room(disk / "journal", 16 * 1024 * 1024) if kept else None)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    assert taken > 1000
    if kept:
        assert 150_000 < free < 250_000  # a tenth of so small a disk
        assert len(put(deferred, 50)) == 50
    else:  # the control
        assert free < 8192
        with pytest.raises(JournalUnavailable):
            put(deferred, 50)


def test_logs_on_another_disk_may_use_all_of_it(journal: Journal, tmp_path: Path) -> None:
    room = Room(journal.folder, 10**18)
    log = RotatingFile(tmp_path / "error.log", max_bytes=10**6, keep=1, daily=False, room=room)
    log.write(b"a line\n")
    assert (tmp_path / "error.log").read_bytes() == b"a line\n"


def test_before_there_is_a_journal_nothing_is_kept_for_it(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "a.log", max_bytes=10**6, keep=1, daily=False, room=Room(tmp_path / "none", 10**18))
    log.write(b"a line\n")
    assert (tmp_path / "a.log").exists()
