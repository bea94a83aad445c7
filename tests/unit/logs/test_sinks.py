"""No line is lost, torn or forged, and no broken sink harms another or the request."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.logs.files import FILES, RotatingFile, category_files
from prodfix.logs.outlets import LARGEST_QUEUE, LONGEST_QUEUE
from prodfix.logs.sinks import Console, Sinks, render, timestamp
from tests.support import REPOSITORY

ROOT = REPOSITORY


class Kept:
    """A sink that keeps its lines; or raises what it is given."""

    def __init__(self, name: str = "kept", error: Exception | None = None) -> None:
        self.name, self.error = name, error
        self.lines: list[bytes] = []

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.lines += data.splitlines(keepends=True)


class Held(Kept):
    """A sink that waits, as a disk that hangs does."""

    def __init__(self, name: str = "held") -> None:
        super().__init__(name)
        self.writing, self.release = threading.Event(), threading.Event()

    def write(self, data: bytes) -> None:
        self.writing.set()
        self.release.wait(10)
        super().write(data)


def state(name: str, **more: Any) -> dict[str, Any]:
    """What is shown of a sink: that all is well, or ``more``."""
    return {"name": name, "failing": None, "lost": 0, "dropped": 0, "waiting": 0} | more


def written(folder: Path, stem: str = "error") -> list[bytes]:
    """All lines of a file and of those that it was rotated into."""
    return [
        line for path in sorted(folder.glob(f"{stem}*.log")) for line in path.read_bytes().splitlines(keepends=True)
    ]


# ---- lines

ODD: dict[str, Any] = {
    "breaks": "a\r\nb\nc\rd\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
    "ansi": "\x1b[31mred\x1b[0m\x07\x08",
    "nul": "a\0b",
    "surrogate": "half \ud83d of it",
    "surrogate key": {"\udc00": 1},
    "giant number": 2**200,
    "nan": float("nan"),
    "bytes": b"\xff\n",
    "deep": json.loads("[" * 400 + "]" * 400),
    "deep dict": json.loads('{"a":' * 900 + "1" + "}" * 900),
    "object": object(),
    "exception": ValueError("a\nb"),
    "set": {1},
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "odd keys": {1: "a", None: "b", (1, 2): "c", b"x": "d"},
    "forged": '{"level":"error"}\n{"level":"info"}',
}


class Rude:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize(
    "value", [*ODD.values(), Rude(), [Rude()], {Rude(): 1}], ids=[*ODD, "rude", "rude in a list", "rude key"]
)
def test_whatever_stands_in_an_entry_it_is_one_line_of_json(value: Any) -> None:
    line = render({"message": value, "level": "error"})
    assert len(line.decode().splitlines()) == 1
    assert line.endswith(b"\n")
    assert b"\x1b" not in line
    read = orjson.loads(line)
    assert (set(read), read["level"]) == ({"message", "level"}, "error")


@given(text=st.text(st.characters(), max_size=50), key=st.text(st.characters(), max_size=10))
def test_any_text_is_one_line_and_comes_back_if_json_can_hold_it(text: str, key: str) -> None:
    line = render({key: [text]})
    assert len(line.decode().splitlines()) == 1
    if (key + text).isprintable():
        assert orjson.loads(line) == {key: [text]}


def test_plain_json_would_be_two_lines_or_none() -> None:
    assert len(orjson.dumps({"a": "b\u2028c"}).decode().splitlines()) == 2
    for value in (ODD["surrogate"], ODD["deep"], ODD["giant number"]):
        with pytest.raises(TypeError):
            orjson.dumps({"a": value})


def test_a_time_is_utc_with_z() -> None:
    assert datetime.fromisoformat(timestamp()).tzinfo == UTC
    assert timestamp().endswith("Z")


# ---- files

WRITER = """
import sys
from pathlib import Path
ROTATING
name = sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(500):
    file.write(f"{name} {number} {'x' * 90}\\n".encode())
"""
OURS = """from prodfix.logs.files import RotatingFile
file = RotatingFile(Path(sys.argv[1]) / "error.log", max_bytes=4_096, keep=1000, daily=False)"""
NAIVE = """from logging import LogRecord
from logging.handlers import RotatingFileHandler
handler = RotatingFileHandler(Path(sys.argv[1]) / "error.log", maxBytes=4_096, backupCount=1000)
class file:
    @staticmethod
    def write(data): handler.emit(LogRecord("x", 20, "x", 1, data.decode().rstrip(), None, None))"""


def written_by_four(folder: Path, rotating: str) -> tuple[set[bytes], set[bytes]]:
    """What four processes should have written across rotations, and what is there."""
    code = WRITER.replace("ROTATING", rotating)
    command, pipe = [sys.executable, "-c", code, str(folder)], subprocess.PIPE
    started = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        for name in "abcd"
    ]
    assert [process.stdout.readline() for process in started if process.stdout] == [b"ready\n"] * 4
    for process in started:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
    assert rotating == NAIVE or [process.returncode for process in started] == [0] * 4
    wanted = {f"{name} {number} {'x' * 90}\n".encode() for name in "abcd" for number in range(500)}
    found = [line for path in folder.glob("error*") for line in path.read_bytes().splitlines(keepends=True)]
    assert rotating == NAIVE or len(found) == len(wanted)
    return wanted, set(found)


def test_four_processes_that_rotate_one_file_lose_and_tear_nothing(tmp_path: Path) -> None:
    wanted, found = written_by_four(tmp_path, OURS)
    assert found == wanted
    files = list(tmp_path.glob("error*.log"))
    assert len(files) > 10
    assert {path.stat().st_size <= 4_096 for path in files} == {True}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_without_a_lock_four_processes_lose_lines(tmp_path: Path) -> None:
    wanted, found = written_by_four(tmp_path, NAIVE)
    assert found != wanted


def rotating(folder: Path, **more: Any) -> RotatingFile:
    facts: dict[str, Any] = {"max_bytes": 100, "keep": 3, "daily": False} | more
    return RotatingFile(folder / "error.log", **facts)


def lines(count: int) -> list[bytes]:
    return [f"{number:049}\n".encode() for number in range(count)]


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_so_many_files_are_kept_and_they_are_the_newest(tmp_path: Path, keep: int) -> None:
    file = rotating(tmp_path, keep=keep)
    other = tmp_path / "error.by-hand.log"
    other.write_bytes(b"")
    for line in lines(20):
        file.write(line)
    assert len(list(tmp_path.glob("error*.log"))) == keep + 1
    assert sorted(written(tmp_path)) == lines(20)[-2 * keep :]
    assert other.exists()


def test_a_line_that_is_larger_than_a_file_is_whole(tmp_path: Path) -> None:
    file = rotating(tmp_path)
    for line in (b"a\n", b"x" * 5000 + b"\n", b"b\n"):
        file.write(line)
    assert sorted(map(len, written(tmp_path))) == [2, 2, 5001]


def at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]


def test_a_day_of_utc_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    now = at(2026, 1, 1, 23, 59)
    file = rotating(tmp_path, max_bytes=10_000, daily=True, clock=lambda: now)
    file.write(b"first\n")
    file.write(b"second\n")
    assert len(list(tmp_path.glob("error*.log"))) == 1
    now = at(2026, 1, 2, 0, 1)
    file.write(b"next day\n")
    assert file.path.read_bytes() == b"next day\n"
    assert written(tmp_path) == [b"first\n", b"second\n", b"next day\n"]


def test_two_writers_at_midnight_make_one_new_file(tmp_path: Path) -> None:
    """Also where the disk's own clock is of another day than ours, as that of a network disk may be."""
    now = at(2020, 1, 1, 23, 59)
    files = [rotating(tmp_path, max_bytes=10**6, daily=True, clock=lambda: now) for _ in range(2)]
    barrier = threading.Barrier(2)

    def write(number: int) -> None:
        nonlocal now
        for line in range(200):
            if line == 100:
                barrier.wait(10)
                now = at(2020, 1, 2)
                barrier.wait(10)
            files[number].write(f"{number} {line:03}\n".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (old,) = tmp_path.glob("error.[0-9]*.log")
    days = [old.read_bytes().splitlines(), files[0].path.read_bytes().splitlines()]
    for day, begin in zip(days, (0, 100), strict=True):
        wanted = [[f"{number} {line:03}".encode() for line in range(begin, begin + 100)] for number in range(2)]
        assert [[line for line in day if line[:1] == name] for name in (b"0", b"1")] == wanted


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.rename(path.with_suffix(".old"))])
def test_a_file_that_somebody_took_away_is_made_again(tmp_path: Path, harm: Callable[[Path], Any]) -> None:
    file = rotating(tmp_path)
    file.write(b"before\n")
    harm(file.path)
    file.write(b"after\n")
    assert file.path.read_bytes() == b"after\n"


def test_a_disk_that_is_full_in_the_middle_of_a_line_leaves_no_half_of_it(
    tmp_path: Path, python: Callable[..., str]
) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from prodfix.logs.files import RotatingFile
        file = RotatingFile(Path(sys.argv[1]) / "error.log", max_bytes=100_000, keep=1, daily=False)
        file.write(b"before\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
        try: file.write(b"x" * 50 + b"\\n")
        except OSError as error: print(error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        file.write(b"after\\n")
    """
    assert python(code, tmp_path) == "File too large\n"
    assert written(tmp_path) == [b"before\n", b"after\n"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_there_is_a_file_for_each_category(tmp_path: Path) -> None:
    files = category_files(tmp_path / "deep" / "log", max_bytes=1000, keep=1, daily=True)
    assert [file.name for file in files] == [f"{name}.log" for name in FILES]
    for file in files:
        file.write(b"x\n")
    assert stat.S_IMODE((tmp_path / "deep" / "log").stat().st_mode) == 0o700


# ---- behind the queue


def test_each_line_reaches_its_sink_in_order() -> None:
    sinks = Sinks([first := Kept("first"), second := Kept("second")])
    for number in range(100):
        sinks.put("first" if number % 2 else "second", b"%d\n" % number)
    assert sinks.flush(10)
    assert first.lines == [b"%d\n" % number for number in range(1, 100, 2)]
    assert second.lines == [b"%d\n" % number for number in range(0, 100, 2)]
    assert sinks.status().to_json()["dropped"] == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("x"), KeyError("y")])
def test_a_broken_sink_is_counted_and_shown_and_the_others_go_on(error: Exception) -> None:
    sinks = Sinks([broken := Kept("broken", error), good := Kept("good")])
    for _ in range(3):
        sinks.put("broken", b"x\n")
        sinks.put("good", b"x\n")
    assert sinks.flush(10)
    assert len(good.lines) == 3
    shown, other = sinks.status().to_json()["sinks"]
    assert (shown["name"], shown["lost"]) == ("broken", 3)
    assert shown["failing"] == ("No space left on device" if isinstance(error, OSError) else type(error).__name__)
    assert other == state("good")
    assert sinks.failures == {"broken": shown["failing"]}
    assert sinks.failed_lines == {"broken": 3}
    broken.error = None
    sinks.put("broken", b"again\n")
    assert sinks.flush(10)
    assert sinks.status().to_json()["sinks"][0] == state("broken", lost=3)


def test_a_full_disk_is_shown() -> None:
    with open("/dev/full", "wb") as full:
        sinks = Sinks([Console(full.fileno()), good := Kept("good")])
        sinks.put("console", b"x\n")
        sinks.put("good", b"x\n")
        assert sinks.flush(10)
    assert sinks.status().to_json()["sinks"][0] == state("console", failing="No space left on device", lost=1)
    assert good.lines == [b"x\n"]


def test_a_directory_that_cannot_be_made_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sinks = Sinks(category_files(tmp_path / "file" / "log", max_bytes=1000, keep=1, daily=True))
    sinks.put("error.log", b"x\n")
    assert sinks.flush(10)
    assert sinks.status().to_json()["sinks"][0]["lost"] == 1


def test_a_sink_that_nobody_knows_ends_nothing() -> None:
    sinks = Sinks([good := Kept("good")])
    sinks.put("unknown", b"x\n")
    sinks.put("good", b"x\n")
    assert sinks.flush(10)
    assert good.lines == [b"x\n"]
    assert sinks.status().to_json() == {"dropped": 1, "sinks": [state("good")]}


def test_a_sink_that_hangs_holds_up_nobody_and_the_queue_is_bounded() -> None:
    sinks = Sinks([held := Held()])
    sinks.put("held", b"0\n")
    assert held.writing.wait(10)
    for number in range(LONGEST_QUEUE + 50):
        sinks.put("held", b"%d\n" % number)
    assert sinks.status().to_json() == {"dropped": 50, "sinks": [state("held", dropped=50, waiting=LONGEST_QUEUE + 1)]}
    assert not sinks.flush(0.01)
    assert sinks.status().to_json()["sinks"] == [state("held", dropped=50, waiting=LONGEST_QUEUE + 1)]
    held.release.set()
    assert sinks.flush(10)
    told, lines = held.lines.pop(1), held.lines
    assert json.loads(told)["message"] == "held works again, 50 lines lost"
    assert lines == [b"0\n", *[b"%d\n" % number for number in range(LONGEST_QUEUE)]]
    assert sinks.status().to_json()["sinks"] == [state("held", dropped=50)]


def test_a_console_that_nobody_reads_keeps_nothing_from_the_files(tmp_path: Path) -> None:
    """Feature: production-deployment-fix, Property 9."""
    reader, writer = os.pipe()
    try:
        sinks = Sinks([Console(writer), rotating(tmp_path, max_bytes=10_000)])
        for number in range(3):
            sinks.put("console", b"x" * 100_000 + b"\n")  # a pipe holds 64 KiB
            sinks.put("error.log", b"%d\n" % number)
        begun = time.monotonic()
        assert not sinks.flush(0.5)
        assert 0.4 < time.monotonic() - begun < 5
        assert written(tmp_path) == [b"0\n", b"1\n", b"2\n"]
        assert sinks.status().to_json()["sinks"] == [state("console", waiting=3), state("error.log")]
    finally:
        os.close(reader)  # the write ends with EPIPE
        sinks.flush(10)
        os.close(writer)


def test_all_sinks_share_the_time_of_a_flush() -> None:
    helds = [Held(name) for name in "abcd"]
    sinks = Sinks(helds)
    for held in helds:
        sinks.put(held.name, b"x\n")
    begun = time.monotonic()
    assert not sinks.flush(1.0)
    assert time.monotonic() - begun < 3.5  # one after the other: 4 s
    for held in helds:
        held.release.set()
    assert sinks.flush(10)


def test_a_fork_has_a_queue_and_a_thread_of_its_own(tmp_path: Path) -> None:
    file = rotating(tmp_path, max_bytes=10_000)
    sinks = Sinks([file])
    sinks.put("error.log", b"parent\n")
    assert sinks.flush(10)
    if (child := os.fork()) == 0:
        sinks.put("error.log", b"child\n")
        os._exit(0 if sinks.flush(10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sinks.put("error.log", b"parent again\n")
    assert sinks.flush(10)
    assert written(tmp_path) == [b"parent\n", b"child\n", b"parent again\n"]


def test_what_was_never_used_is_flushed_at_once_and_a_console_can_be_replaced() -> None:
    sinks = Sinks([Kept("console")])
    assert sinks.flush(0)
    sinks.replace(new := Kept("console"))
    sinks.put("console", b"x\n")
    assert sinks.flush(10)
    assert new.lines == [b"x\n"]


def test_a_pipe_that_takes_a_line_in_parts_gets_all_of_it() -> None:
    reader, writer = os.pipe()
    line = b"x" * 300_000 + b"\n"
    got: list[bytes] = []

    def read() -> None:
        while sum(map(len, got)) < len(line):
            got.append(os.read(reader, 1000))

    thread = threading.Thread(target=read)
    thread.start()
    Console(writer).write(line)
    thread.join(10)
    os.close(reader)
    os.close(writer)
    assert b"".join(got) == line


TWO_ON_ONE_PIPE = """
import os, sys, time
from prodfix.logs.sinks import Console
write = os.write
def in_parts(descriptor, data):
    time.sleep(0.0002)
    return write(descriptor, data[:4096])
os.write = in_parts
console = Console()
print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
for number in range(60):
    console.write(b"".join(sys.argv[1].encode() * size + b"\\n" for size in (10, 20_000, 3_000)))
"""


@pytest.mark.parametrize("locked", [True, False])
def test_two_workers_on_one_pipe_do_not_mix_their_lines(locked: bool) -> None:
    """A pipe takes 4 KiB whole, and a line with a stack is longer. The control has no lock, and tears."""
    code = TWO_ON_ONE_PIPE if locked else "import fcntl; fcntl.lockf = lambda *a: None\n" + TWO_ON_ONE_PIPE
    reader, writer = os.pipe()
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    started = [subprocess.Popen([*command, name], cwd=ROOT, stdin=pipe, stdout=writer, stderr=pipe) for name in "ab"]
    os.close(writer)
    assert [process.stderr.readline() for process in started if process.stderr] == [b"ready\n"] * 2
    for process in started:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    lines = b"".join(iter(lambda: os.read(reader, 65_536), b"")).splitlines()
    os.close(reader)
    assert [process.communicate(timeout=20)[1] for process in started] == [b"", b""]
    whole = [line for line in lines if line and line == line[:1] * len(line) and len(line) in (10, 20_000, 3_000)]
    assert (len(lines) == len(whole) == 360) == locked


def test_a_console_that_took_half_a_line_begins_a_new_one(tmp_path: Path, python: Callable[..., str]) -> None:
    code = """
        import os, resource, sys
        from prodfix.logs.outlets import PartlyWritten
        from prodfix.logs.sinks import Console
        console = Console(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, resource.RLIM_INFINITY))
        for _ in range(2):
            try: console.write(b"first line\\nsecond line\\nthird line\\n")
            except PartlyWritten as error: print(error.written, error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        console.write(b"after\\n")
    """
    assert python(code, tmp_path / "out") == "23 File too large\n0 File too large\n"
    assert (tmp_path / "out").read_text() == "first line\nsecond line\nth\nafter\n"


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sinks = Sinks([Console(writer)])
    for number in range(20):
        sinks.put("console", b"%d" % number * 10_000 + b"\n")
    sinks.put("console", b"end\n")
    os.set_blocking(reader, True)
    got = b""
    while not got.endswith(b"end\n"):
        got += os.read(reader, 65536)
    assert got == b"".join(b"%d" % number * 10_000 + b"\n" for number in range(20)) + b"end\n"
    assert sinks.flush(10)
    assert sinks.status().to_json()["sinks"] == [state("console")]
    os.close(reader)
    os.close(writer)


def test_a_failing_sink_is_told_about_once_and_again_when_it_works() -> None:
    """On the console and in the error log, and in the sink itself once it takes lines again."""
    sinks = Sinks(
        [console := Kept("console"), errors := Kept("error.log"), broken := Kept("auth.log", OSError(28, "x"))]
    )
    for _ in range(50):
        sinks.put("auth.log", b"x\n")
        assert sinks.flush(10)
    broken.error = None
    sinks.put("auth.log", b"y\n")
    assert sinks.flush(10)
    assert sinks.flush(10)  # what the first one made the other sinks hear
    messages = ["auth.log fails: No space left on device", "auth.log works again, 50 lines lost"]
    for other in (console, errors):
        assert [json.loads(line)["message"] for line in other.lines] == messages
    assert [broken.lines[0], json.loads(broken.lines[1])["message"]] == [b"y\n", messages[1]]
    assert sinks.dropped == 0


def test_a_sink_that_comes_and_goes_does_not_fill_the_others() -> None:
    sinks = Sinks([console := Kept("console"), broken := Kept("auth.log")])
    for number in range(100):
        broken.error = OSError(28, "x") if number % 2 else None
        sinks.put("auth.log", b"x\n")
        assert sinks.flush(10)
    assert len(console.lines) == 2


@pytest.mark.parametrize("broken", ["console", "error.log"])
def test_a_sink_does_not_tell_of_itself(broken: str) -> None:
    names = ("console", "error.log")
    kept = {name: Kept(name, OSError(28, "x") if name == broken else None) for name in names}
    sinks = Sinks(kept.values())
    sinks.put(broken, b"x\n")
    assert sinks.flush(10)
    assert sinks.flush(10)
    assert sinks.failed_lines == {broken: 1}
    (other,) = set(names) - {broken}
    assert len(kept[other].lines) == 1


def test_the_last_flush_tells_what_is_missing() -> None:
    sinks = Sinks([held := Held("console"), errors := Kept("error.log")])
    for _ in range(3):
        sinks.put("console", b"x\n")
    assert not sinks.close(1.0)
    (line,) = errors.lines
    assert json.loads(line)["message"] == "console: 3 lines lost at the end of the process"
    held.release.set()
    assert sinks.flush(10)
    assert sinks.close()
    assert len(errors.lines) == 1


def test_the_last_flush_waits_for_the_sinks_that_are_told_what_another_one_misses() -> None:
    """As long as for all others, on a machine that is busy; and not for the one that misses something once more."""
    limit = 3.0

    class Slow(Kept):
        def write(self, data: bytes) -> None:
            if b"end of the process" in data and len(self.lines) == 1:
                time.sleep(limit / 3)
            super().write(data)

    sinks = Sinks([Kept("auth.log", OSError(28, "x")), held := Held("app.log"), errors := Slow("error.log")])
    for name in ("auth.log", "app.log"):
        sinks.put(name, b"x\n")
    assert not sinks.close(limit)
    told = [json.loads(line)["message"] for line in errors.lines]
    assert told[0] == "auth.log fails: No space left on device"
    assert sorted(told[1:]) == [f"{name}: 1 lines lost at the end of the process" for name in ("app.log", "auth.log")]
    held.release.set()
    assert sinks.flush(10)


def test_a_line_behind_a_flush_that_was_in_vain_is_counted_as_waiting() -> None:
    class InTurns(Kept):
        """Takes what it is given only when it may, one write after the other."""

        def __init__(self) -> None:
            super().__init__("kept")
            self.begun, self.may = threading.Semaphore(0), threading.Semaphore(0)

        def write(self, data: bytes) -> None:
            self.begun.release()
            assert self.may.acquire(timeout=10)
            super().write(data)

    sinks = Sinks([sink := InTurns()])
    waiting = []
    sinks.put("kept", b"1\n")
    assert sink.begun.acquire(timeout=10)
    sinks.put("kept", b"2\n")
    assert not sinks.flush(0.01)
    sinks.put("kept", b"3\n")
    waiting.append(sinks.status().sinks[0].waiting)
    sink.may.release()
    assert sink.begun.acquire(timeout=10)  # of the second line, which the flush waits for
    waiting.append(sinks.status().sinks[0].waiting)
    for _ in range(2):
        sink.may.release()
    assert sinks.flush(10)
    waiting.append(sinks.status().sinks[0].waiting)
    assert waiting == [3, 2, 0]
    assert sink.lines == [b"1\n", b"2\n", b"3\n"]


def test_a_queue_is_bounded_in_bytes_too() -> None:
    sinks = Sinks([held := Held()])
    sinks.put("held", b"0\n")
    assert held.writing.wait(10)
    for _ in range(200):
        sinks.put("held", b"x" * 65_535 + b"\n")
    (shown,) = sinks.status().to_json()["sinks"]
    assert shown["waiting"] * 65_536 <= LARGEST_QUEUE + 65_536
    assert shown["dropped"] + shown["waiting"] == 201
    held.release.set()
    assert sinks.flush(10)


def test_a_telling_that_fails_is_not_counted_and_is_told_later() -> None:
    class Narrow(Kept):
        """Takes the lines that are put, and not what is told of it."""

        def write(self, data: bytes) -> None:
            if b"event" in data:
                raise OSError(28, "x")
            super().write(data)

    sinks = Sinks([narrow := Narrow("auth.log", OSError(28, "x")), Kept("console")])
    for error in (narrow.error, None, None):
        narrow.error = error
        sinks.put("auth.log", b"x\n")
        assert sinks.flush(10)
    assert sinks.failed_lines == {"auth.log": 1}
    assert sinks._outlets["auth.log"].untold == 1
