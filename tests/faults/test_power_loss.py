"""A simulated loss of power: what was acknowledged as durable is on the disk, and what was not need not be.

The journal lies on an ext4 of its own in a file. The writer is stopped in the middle of its work and the file is copied as
it is: what the kernel has not been made to write is not in the copy, which is what a disk has after a loss of power.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.waiting import until

pytestmark = pytest.mark.faults

LEAST = 300  # acknowledged writes of a trial
WRITER = """
import sys
from pathlib import Path
from prodfix.journal.journal import Journal

folder, told, durable = Path(sys.argv[1]), open(sys.argv[2], "w"), sys.argv[3] == "durable"
journal = Journal(folder)
journal.open()
number = 0
while True:
    statement = ("INSERT INTO writes (id, entry, created) VALUES (?, ?, 0)", (str(number), b"x" * 340))
    journal.write([statement], durable=durable, to_disk=True)
    told.write(f"{number}\\n")
    told.flush()
    number += 1
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small ext4. Skipped where this machine cannot have one, and says so."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4 (Debian: e2fsprogs)")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    run("mkfs.ext4", "-q", str(image))
    try:
        with mounted(image, tmp_path / "try"):
            pass
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine mounts no file: {error.stderr.decode()[:200]}")
    return image


def lost(image: Path, folder: Path, durability: str) -> tuple[int, int]:
    """How many writes were acknowledged until the power went, and how many of them are not on the disk afterwards."""
    told, copy = folder / "told", folder / "copy"
    with mounted(image, folder / "mount") as mount:
        arguments = [sys.executable, "-c", WRITER, str(mount / "journal"), str(told), durability]
        writer = subprocess.Popen(arguments, cwd=REPOSITORY, stdin=subprocess.DEVNULL)
        try:
            until(lambda: told.exists() and len(told.read_text().splitlines()) >= LEAST, limit=60, what="enough writes")
            writer.send_signal(signal.SIGSTOP)
            acknowledged = {line for line in told.read_text().split("\n")[:-1]}
            run("cp", "--sparse=always", str(image), str(copy))
        finally:
            writer.kill()
            writer.wait()
    found: set[str] = set()
    with mounted(copy, folder / "after") as after:
        for path in (after / "journal").glob("*.db"):
            with contextlib.closing(sqlite3.connect(path)) as file, contextlib.suppress(sqlite3.OperationalError):
                assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                found |= {identity for (identity,) in file.execute("SELECT id FROM writes")}
    return len(acknowledged), len(acknowledged - found)


@pytest.mark.parametrize("trial", range(3))
def test_nothing_that_was_acknowledged_as_durable_is_lost(image: Path, tmp_path: Path, trial: int) -> None:
    acknowledged, missing = lost(image, tmp_path, "durable")
    print(f"{missing} of {acknowledged} lost")
    assert (acknowledged >= LEAST, missing) == (True, 0)


def test_without_fsync_it_is(image: Path, tmp_path: Path) -> None:
    # The control: synchronous=NORMAL, which survives the process and not the power. A machine that is busy enough may write
    # all of it meanwhile by itself.
    for trial in range(15):
        (folder := tmp_path / f"trial{trial}").mkdir()
        acknowledged, missing = lost(image, folder, "normal")
        print(f"{missing} of {acknowledged} lost")
        if missing:
            return
    raise AssertionError("nothing was ever lost without fsync: these trials show nothing")
