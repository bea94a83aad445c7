"""Many processes, one file: nothing lost, torn, doubled or out of order, whatever happens to the file meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prodfix.logs.files import RotatingFile
from prodfix.logs.sinks import Sinks
from tests.support.servers import REPOSITORY

LINES = 25_000
NAMES = "abcd"

STORM = """
import sys
from pathlib import Path
from prodfix.logs.files import RotatingFile
from prodfix.logs.sinks import Sinks
BROKEN
name = sys.argv[2]
sinks = Sinks([RotatingFile(Path(sys.argv[1]) / "error.log", max_bytes=100_000, keep=100_000, daily=True)])
print("ready", flush=True)
sys.stdin.readline()
for number in range(25_000):
    sinks.put("error.log", f"{name} {number:05} {'x' * 50}\\n".encode())
    if number % 2_500 == 2_499:
        sinks.flush(60)
print(sinks.status().to_json()["sinks"][0]["lost"] + sinks.dropped)
"""
NO_LOCK = """
import fcntl, os, time
fcntl.flock = lambda descriptor, operation: None
write = os.write
def slow(descriptor, data):
    time.sleep(0.001)  # between the look at the file and the write, as on a busy machine
    return write(descriptor, data)
os.write = slow
"""
WHOLE = re.compile(rb"([abcd]) (\d{5}) x{50}\n")


class Outcome:
    """What four processes have written into one file and those that it was rotated into."""

    def __init__(self, folder: Path, code: str) -> None:
        command, pipe = [sys.executable, "-c", code, str(folder)], subprocess.PIPE
        started = [subprocess.Popen([*command, name], cwd=REPOSITORY, stdin=pipe, stdout=pipe) for name in NAMES]
        assert [process.stdout.readline() for process in started if process.stdout] == [b"ready\n"] * 4
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60)[0] for process in started]
        self.refused = sum(map(int, told))
        self.files = [*sorted(folder.glob("error.[0-9]*.log")), folder / "error.log"]
        lines = [line for path in self.files for line in path.read_bytes().splitlines(keepends=True)]
        found = [match for line in lines if (match := WHOLE.fullmatch(line))]
        self.torn = len(lines) - len(found)
        self.orders = {name: [int(match[2]) for match in found if match[1] == name.encode()] for name in NAMES}

    @property
    def perfect(self) -> bool:
        wanted = {name: list(range(LINES)) for name in NAMES}
        bounded = all(path.stat().st_size <= 100_000 for path in self.files)
        return not self.refused and not self.torn and self.orders == wanted and bounded


def test_a_storm_of_four_processes_is_written_whole_and_in_order(tmp_path: Path) -> None:
    outcome = Outcome(tmp_path, STORM.replace("BROKEN", ""))
    assert (outcome.refused, outcome.torn) == (0, 0)
    assert outcome.perfect
    assert len(outcome.files) > 50


def test_without_the_lock_it_is_not(tmp_path: Path) -> None:
    """At the least files grow beyond their limit; lines get out of order or lost too, but not each time."""
    assert not Outcome(tmp_path, STORM.replace("BROKEN", NO_LOCK)).perfect


def file_in(folder: Path, **more: int) -> RotatingFile:
    return RotatingFile(folder / "error.log", **{"max_bytes": 10**6, "keep": 5} | more, daily=True)


def test_a_folder_and_its_files_are_for_nobody_else(tmp_path: Path) -> None:
    file = file_in(tmp_path / "log", max_bytes=10)
    for _ in range(3):
        file.write(b"123456789\n")
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").iterdir()} == {0o600}


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    file = file_in(tmp_path / "log")
    file.write(b"before\n")
    shutil.rmtree(tmp_path / "log")
    file.write(b"after\n")
    assert file.path.read_bytes() == b"after\n"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_a_batch_that_is_larger_than_a_file_goes_into_many(tmp_path: Path) -> None:
    file = file_in(tmp_path, max_bytes=100, keep=1000)
    lines = [b"%049d\n" % number for number in range(100)]
    file.write(b"".join(lines))
    files = [*sorted(tmp_path.glob("error.[0-9]*.log")), file.path]
    assert [path.stat().st_size for path in files] == [100] * 50
    assert b"".join(path.read_bytes() for path in files) == b"".join(lines)


FORKING = """
import os, sys
from pathlib import Path
from prodfix.logs.files import RotatingFile
file = RotatingFile(Path(sys.argv[1]) / "error.log", max_bytes=10**6, keep=5, daily=False)
reader, writer = os.pipe()
write, child = os.write, []
def forking(descriptor, data):
    if not child:
        child.append(os.fork())
        if not child[0]:
            os.close(writer)
            os.read(reader, 1)  # lives on until the parent has ended
            os._exit(0)
    return write(descriptor, data)
os.write = forking
file.write(b"while it forks\\n")
os.close(reader)
file.write(b"afterwards\\n")
print("written")
"""


CLOSING = """
import fcntl
flock = fcntl.flock
fcntl.flock = lambda descriptor, operation: None if operation == fcntl.LOCK_UN else flock(descriptor, operation)
"""


@pytest.mark.parametrize("works", [True, False])
def test_a_child_that_is_forked_during_a_write_does_not_keep_the_lock(tmp_path: Path, works: bool) -> None:
    """The control unlocks by closing alone."""
    code = FORKING if works else CLOSING + FORKING
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    try:
        assert process.communicate(timeout=10 if works else 2)[0] == b"written\n"
        ended = True
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        ended = False
    assert ended == works


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mount is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Kept:
    name = "console"

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def test_a_full_disk_has_whole_lines_and_what_is_lost_is_counted_exactly(small_disk: Path) -> None:
    sinks = Sinks([console := Kept(), RotatingFile(small_disk / "database.log", max_bytes=10**9, keep=5, daily=True)])
    lines = [b'{"number": %d, "text": "%s"}\n' % (number, b"x" * (number % 700)) for number in range(4000)]
    for number, line in enumerate(lines):
        sinks.put("database.log", line)
        sinks.put("console", line)
        if number % 500 == 499:
            assert sinks.flush(20)
    path = small_disk / "database.log"
    written = path.read_bytes().splitlines(keepends=True)
    shown = next(sink for sink in sinks.status().to_json()["sinks"] if sink["name"] == "database.log")
    assert (shown["failing"], shown["dropped"], shown["waiting"]) == ("No space left on device", 0, 0)
    told = [json.loads(line) for line in console.data.splitlines() if b'"event":"sink"' in line]
    assert [entry["message"] for entry in told] == ["database.log fails: No space left on device"]
    assert [line for line in console.data.splitlines(keepends=True) if b'"event"' not in line] == lines
    assert set(written) <= set(lines)
    assert shown["lost"] == len(lines) - len(written) > 1000

    os.truncate(path, 0)
    sinks.put("database.log", b'{"number": -1}\n')
    assert sinks.flush(20)
    assert sinks.flush(20)  # what the first one made the console hear
    line, news = path.read_bytes().splitlines(keepends=True)
    assert line == b'{"number": -1}\n'
    entry = json.loads(news)
    assert (entry["event"], entry["sink"], entry["lost"]) == ("sink", "database.log", shown["lost"])
    assert entry["message"] == f"database.log works again, {shown['lost']} lines lost"
    assert console.data.splitlines(keepends=True)[-1] == news
