"""One leader: the kernel decides, a program holds the lock for a dead worker, and a broken disk silences nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prodfix.alerts import leader as module
from prodfix.alerts.leader import LeaderLock
from prodfix.alerts.leader_state import LOCK
from prodfix.journal.journal import Journal


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[list[LeaderLock]]:
    made = [LeaderLock(tmp_path / "journal") for _ in range(3)]
    yield made
    for lock in made:
        lock.release()


def test_one_of_many_has_it_until_it_lets_go(locks: list[LeaderLock]) -> None:
    for _ in range(2):
        assert [lock.take() for lock in locks] == [True, False, False]
    locks[0].release()
    assert [lock.take() for lock in reversed(locks)] == [True, False, False]
    assert [lock.held for lock in locks] == [False, False, True]


def test_instances_do_not_know_each_other(locks: list[LeaderLock], tmp_path: Path) -> None:
    other = LeaderLock(tmp_path / "other")
    assert (locks[0].take(), other.take()) == (True, True)
    other.release()


def test_the_file_is_private_and_no_journal_of_a_dead_worker(locks: list[LeaderLock], tmp_path: Path) -> None:
    locks[0].take()
    path = tmp_path / "journal" / LOCK
    assert path.stat().st_mode & 0o777 == 0o600
    journal = Journal(tmp_path / "journal")
    journal.open()
    journal.adopt()
    journal.close()
    assert path.exists()
    assert locks[0].take()


def test_a_program_holds_it_for_a_worker_that_was_killed(locks: list[LeaderLock]) -> None:
    first, second, _ = locks
    first.take()
    assert first.file is not None
    program = "import sys; sys.stdin.read(); print('done', flush=True)"
    program = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=first.file)
    first.release()
    assert not second.take()
    program.communicate()
    assert second.take()
    assert second.results() == b"done\n"


def test_a_lock_whose_file_was_removed_is_none(locks: list[LeaderLock], tmp_path: Path) -> None:
    first, second, _ = locks
    first.take()
    (tmp_path / "journal" / LOCK).unlink()
    assert second.take(), "it made the file anew"
    assert not first.take()
    assert not first.held


def test_without_the_file_one_has_the_name(locks: list[LeaderLock], tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.write_text("no folder")
    for _ in range(2):
        assert [lock.take() for lock in locks] == [True, False, False]
    assert (locks[0].file, locks[0].results()) == (None, b"")
    folder.unlink()
    assert locks[1].take(), "the disk works again: whoever has the file leads"
    assert not locks[0].take()
    assert [lock.held for lock in locks] == [False, True, False]


def test_who_has_the_file_keeps_the_name_from_those_who_cannot_open_it(
    locks: list[LeaderLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise PermissionError

    first, second, _ = locks
    assert first.take()
    monkeypatch.setattr(second, "_locked", refuse)
    assert not second.take()
    first.release()
    assert second.take(), "the control: nobody has the name"


def test_on_a_disk_that_can_only_be_read_who_has_the_file_keeps_it_and_then_one_has_the_name(
    locks: list[LeaderLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = locks
    assert first.take()
    real = os.open

    def read_only(path: object, flags: int, *mode: int, **options: object) -> int:
        if flags & os.O_RDWR and str(path).endswith(LOCK):
            raise OSError(30, os.strerror(30))
        return real(path, flags, *mode, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module.os, "open", read_only)
    assert [lock.take() for lock in locks] == [True, False, False]
    first.release()
    assert [second.take(), third.take(), second.take()] == [True, False, True]
    assert (second.file, second.results()) == (None, b""), "a program cannot write into it"


def test_what_the_disk_does_not_tell_changes_nothing(locks: list[LeaderLock], monkeypatch: pytest.MonkeyPatch) -> None:
    locks[0].take()

    def fail(path: object) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(module.os, "stat", fail)
    assert locks[0].take()


def test_a_system_that_knows_no_locks_of_files_has_the_name(
    locks: list[LeaderLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(37, os.strerror(37))  # ENOLCK

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    assert [lock.take() for lock in locks] == [True, False, False]
