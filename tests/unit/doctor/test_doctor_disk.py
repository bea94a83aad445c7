"""Folders, room and journals: what each check finds, and where it is silent."""

from __future__ import annotations

import os
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from prodfix import Write
from prodfix.doctor import disk
from prodfix.journal.journal import Journal
from prodfix.journal.tables import SCHEMA_VERSION
from tests.support.deferred_notes import steps
from tests.support.doctor_cases import Case, findings, ids, judge

PRODUCTION = {"app_env": "production"}
Usage = namedtuple("Usage", "total used free")
MIB = 1024 * 1024


def settings(app: Flask) -> Any:
    return app.extensions["prodfix"].settings


def journal_folder(app: Flask) -> Path:
    folder: Path = settings(app).state_dir / "journal"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def open_journal(app: Flask) -> None:
    journal_folder(app).chmod(0o755)


def open_log(app: Flask) -> None:
    folder = settings(app).log_dir
    folder.mkdir(mode=0o700)
    (folder / "error.log").write_text("")
    (folder / "error.log").chmod(0o640)


def open_state(app: Flask) -> None:
    journal_folder(app).parent.chmod(0o777)


def private(app: Flask) -> None:
    journal_folder(app)
    settings(app).log_dir.mkdir(mode=0o700)
    for path in (settings(app).log_dir / "error.log", settings(app).state_dir / "jwt.key"):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def put_aside(app: Flask) -> None:
    for suffix in ("", "-wal"):
        (journal_folder(app) / f"1-aa-01.corrupt-17{suffix}").write_bytes(b"x")


def of_version(number: int) -> Callable[[Flask], None]:
    def prepare(app: Flask) -> None:
        left(records=0, writes=0)(app)
        import sqlite3

        (path,) = journal_folder(app).glob("*.db")
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version={number}")
        connection.close()

    return prepare


def left(*, writes: int = 1, records: int = 0, living: bool = False) -> Callable[[Flask], None]:
    """A file of a dead worker with so many deferred writes and records; ``living``: and another worker that runs."""

    def prepare(app: Flask) -> None:
        services = app.extensions["prodfix"]
        services.deferral.queue.register("note", steps)
        dead = Journal(services.runtime.journal.folder)
        dead.open()
        services.deferral.queue._journal = dead
        for _ in range(writes):
            services.deferral.queue.put(Write("note", {"text": "canary"}))
        insert = "INSERT INTO records (id, collection, request_id, at, entry) VALUES (?, 'error_log', NULL, 0, x'')"
        for number in range(records):
            dead.write([(insert, (str(number),))])
        dead.close()
        if living:
            worker(app)

    return prepare


def worker(app: Flask, failing: str | None = None) -> None:
    """A worker that has told in the last seconds how it is."""
    told = f'{{"journal": {{"failing": {f"{chr(34)}{failing}{chr(34)}" if failing else "null"}}}}}'.encode()
    journal = Journal(app.extensions["prodfix"].runtime.journal.folder)
    journal.open()
    journal.write([("INSERT INTO status (worker, at, entry) VALUES ('7-aa', ?, ?)", (time.time(), told))], to_disk=True)
    journal.close()


def dead_letter(app: Flask) -> None:
    left(writes=1)(app)
    journal = Journal(app.extensions["prodfix"].runtime.journal.folder)
    journal.open()
    assert journal.adopt() == 1
    move = "INSERT INTO dead SELECT id, operation, key, entry, 0, created, NULL, 'EXPIRED', '{}', 0, 0 FROM writes"
    journal.write([(move, ()), ("DELETE FROM writes", ())], to_disk=True)
    journal.close()


FOUND = [
    Case("state-folder", "error", "STATE_DIR cannot be written", {"state_dir": Path("/proc/self/var")}),
    Case("state-folder", "error", "is no folder", {"state_dir": Path("/dev/null/var")}),
    Case("log-folder", "error", "LOG_DIR cannot be written", {"log_dir": Path("/proc/self/log")}),
    Case("file-modes", "warning", "1 folder and 0 files", prepare=open_journal),
    Case("file-modes", "warning", "0 folders and 1 file", prepare=open_log),
    Case("file-modes", "error", "every user", prepare=open_state),
    Case("state-durability", "warning", "ephemeral", {"enable_operation_queue": "ephemeral", "render": True}),
    Case("state-durability", "note", "refused (503)", {"render": True}),
    Case("state-mount", "error", "no disk is attached", {"render": True, "state_dir_durable": True}),
    Case("log-durability", "note", "ephemeral", {"render": True}),
    Case(
        "journal-failing", "error", "OperationalError", prepare=lambda app: worker(app, "OperationalError SQLITE_FULL")
    ),
    Case(
        "journal-corrupt",
        "warning",
        "1 damaged journal file put aside: no write is known to be gone",
        prepare=put_aside,
    ),
    Case("journal-versions", "warning", "1 journal file of another version", prepare=of_version(9)),
    Case("journal-abandoned", "warning", "2 deferred writes left", prepare=left(writes=2, records=1)),
    Case("journal-abandoned", "note", "3 records of errors", prepare=left(writes=0, records=3)),
    Case("dead-letters", "warning", "1 deferred write put aside", prepare=dead_letter),
]
SILENT = [
    Case("state-folder", "ok"),
    Case("log-folder", "ok"),
    Case("file-modes", "ok"),
    Case("file-modes", "ok", prepare=private),
    Case("state-durability", "ok"),
    Case("state-durability", "ok", settings={"render": True, "enable_operation_queue": "false"}),
    Case("state-mount", ""),
    Case("state-mount", "", settings={"render": True}),
    Case("log-durability", "ok"),
    Case("journal-failing", ""),
    Case("journal-failing", "ok", prepare=worker),
    Case("journal-corrupt", ""),
    Case("journal-corrupt", "ok", prepare=journal_folder),
    Case("journal-versions", "ok", prepare=of_version(SCHEMA_VERSION)),
    Case("journal-abandoned", "ok", prepare=left(writes=0)),
    Case("journal-abandoned", "", prepare=left(writes=1, living=True)),
    Case("dead-letters", "ok", prepare=left(writes=1)),
]


@pytest.fixture(autouse=True)
def _on_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mount(monkeypatch, tmp_path, "ext4")


def mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, point: str = "/") -> None:
    mounts = tmp_path / f"mounts-{kind}"
    mounts.write_text(f"none /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\nsome {point} {kind} rw,relatime 0 0\n")
    monkeypatch.setattr(disk, "MOUNTS", mounts)


@pytest.mark.parametrize("case", FOUND, ids=ids)
def test_what_is_wrong_is_found_with_what_to_do(adopt: Callable[..., Flask], case: Case) -> None:
    judge(case, findings(case, adopt(**case.settings)))


@pytest.mark.parametrize("case", SILENT, ids=ids)
def test_what_is_right_is_left_alone(adopt: Callable[..., Flask], case: Case) -> None:
    judge(case, findings(case, adopt(**case.settings)))


@pytest.mark.parametrize(
    ("kind", "environment", "level", "words"),
    [
        ("tmpfs", "production", "error", "in memory (tmpfs)"),
        ("tmpfs", "development", "note", "in memory (tmpfs)"),
        ("overlay", "production", "warning", "container's own layer"),
        ("overlay", "development", "ok", ""),
    ],
)
def test_a_file_system_that_keeps_nothing_is_no_durable_one(
    adopt: Callable[..., Flask],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    environment: str,
    level: str,
    words: str,
) -> None:
    mount(monkeypatch, tmp_path, kind, str(tmp_path))
    case = Case("state-durability", level, words, {"app_env": environment})
    judge(case, findings(case, adopt(**case.settings)))
    queue_off = Case("state-durability", "ok", settings={"app_env": environment, "enable_operation_queue": "false"})
    judge(queue_off, findings(queue_off, adopt(**queue_off.settings)))


def test_the_file_system_is_that_of_the_nearest_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mount(monkeypatch, tmp_path, "xfs", str(tmp_path))
    assert disk.file_system(tmp_path / "not" / "there" / "yet") == "xfs"
    assert disk.file_system(tmp_path.parent) == "ext4"


@pytest.mark.parametrize(
    ("free", "level"), [(63 * MIB, "error"), (512 * MIB, "note"), (600 * MIB, "ok")]
)  # two workers may keep 256 MiB, and four logs of seven files 280
def test_room_is_compared_with_what_may_have_to_wait(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(0, 0, free))
    case = Case("free-space", level)
    judge(case, findings(case, adopt()))


def test_looking_leaves_no_file_behind(adopt: Callable[..., Flask]) -> None:
    app = adopt()
    for code in ("state-folder", "log-folder", "file-modes", "journal-abandoned"):
        findings(Case(code, ""), app)
    assert not settings(app).state_dir.exists()
    assert not settings(app).log_dir.exists()


def test_a_corrupt_file_of_a_dead_worker_is_no_traceback(adopt: Callable[..., Flask]) -> None:
    app = adopt()
    folder = journal_folder(app)
    (folder / "1-aa-01.lock").touch()
    (folder / "1-aa-01.db").write_bytes(b"no database at all" * 99)
    for code in ("journal-versions", "journal-abandoned"):
        judge(Case(code, "ok"), findings(Case(code, "ok"), app))
