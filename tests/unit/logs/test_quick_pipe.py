"""A console that is a pipe has its lines from the hub's own thread, as long as it takes them, and never makes it wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import fcntl, json, os, select, time
import gevent
from prodfix.logs import outlets
from prodfix.logs.outlets import Outlet
from prodfix.logs.sinks import Console

def threads(): return len(os.listdir("/proc/self/task"))

def read(source):
    os.set_blocking(source, False)
    parts = []
    try:
        while part := os.read(source, 65536): parts.append(part)
    except BlockingIOError: pass
    return b"".join(parts)

def everything(source): return split(read(source))

def split(data): return data.decode().split("\\n")[:-1]

def numbers(lines): return [int(line.split()[0]) for line in lines]

# Not gevent's: its waitpid now and then waits for ever for a child that ends at once.
import warnings; warnings.simplefilter("ignore", DeprecationWarning)  # fork() beside gevent's own thread
fork, waitpid = monkey.get_original("os", "fork"), monkey.get_original("os", "waitpid")

gevent.sleep(0)
source, target = os.pipe()
outlet = Outlet(Console(target))
before = threads()
"""

BURST = """
for number in range(500): outlet.put(b"%d line\\n" % number)
gevent.sleep(0.05)
told(all=numbers(everything(source)) == list(range(500)), threads=threads() - before, waiting=outlet.waiting)
"""

FIRST = """
outlets.GATHERING = 3600
outlet.put(b"0 first\\n")
first = everything(source)
outlet.put(b"1 waits\\n"); second = everything(source)
outlet.put(b"2 does not\\n", alone=True); third = everything(source)
outlet.put(b"3 waits\\n")
outlet.put(b"4 urgent\\n", urgent=True)
told(first=numbers(first), second=numbers(second), third=numbers(third), rest=numbers(everything(source)))
"""

MARK = """
outlets.GATHERING = 3600
for number in range(3): outlet.put(b"%d\\n" % number)
waiting = outlet.waiting
told(waiting=waiting, marked=outlet.mark().acquire(True, 5), lines=numbers(everything(source)), left=outlet.waiting)
"""

# More than a pipe holds, and nobody reads it before all of it was put: the thread takes over, and nothing is missing.
FULL = """
put = 0
for number in range(2000):
    put += outlet.put(b"%d %s\\n" % (number, b"x" * 120))
    if number % 20 == 0: gevent.sleep(0.001)
gevent.sleep(0.3)
stuck = outlet.waiting
full = select.select([], [target], [], 0) == ([], [], [])  # whoever wrote now would wait for ever
data = b""
while data.count(b"\\n") < put: data += read(source); gevent.sleep(0.01)
outlet.put(b"2000 after\\n")
while data.count(b"\\n") <= put: data += read(source); gevent.sleep(0.01)
lines = split(data)
told(put=put, inOrder=numbers(lines) == list(range(2001)), threads=threads() - before, waited=stuck > 0, full=full)
"""

LONG = """
sizes = [10, 9000, 20, 4096, 30]
for number, size in enumerate(sizes): outlet.put(b"%d %s\\n" % (number, b"x" * (size - 3)))
data = b""
while data.count(b"\\n") < len(sizes): gevent.sleep(0.01); data += read(source)
found = split(data)
told(lines=[len(line) + 1 for line in found], order=numbers(found))
"""

# Another worker holds the pipe's lock: it is in the middle of a line that is longer than a pipe takes at once.
LOCKED = """
ready, release = os.pipe(), os.pipe()
if (child := fork()) == 0:
    fcntl.lockf(target, fcntl.LOCK_EX)
    os.write(ready[1], b"x"); os.read(release[0], 1); os._exit(0)
os.read(ready[0], 1)
begun = time.monotonic()
outlet.put(b"0 line\\n"); gevent.sleep(0.05)
meanwhile, took = everything(source), time.monotonic() - begun
os.write(release[1], b"x"); waitpid(child, 0)
gevent.sleep(0.1)
told(meanwhile=meanwhile, waited=took > 1, lines=numbers(everything(source)))
"""

THREAD = """
from gevent.monkey import get_original
start, lock = get_original("_thread", "start_new_thread"), get_original("_thread", "allocate_lock")()
lock.acquire()
def other():
    outlet.put(b"0 from elsewhere\\n"); lock.release()
outlet.put(b"1 here\\n")
start(other, ()); lock.acquire()
gevent.sleep(0.1)
told(lines=sorted(numbers(everything(source))))
"""

FORKED = """
outlets.GATHERING = 3600
outlet.put(b"0 parent\\n"); outlet.put(b"1 parent\\n")
if (child := fork()) == 0:
    outlet.put(b"2 child\\n"); outlet.mark().acquire(True, 5); os._exit(0)
waitpid(child, 0)
outlet.mark().acquire(True, 5)
told(lines=sorted(numbers(everything(source))))
"""

NO_READER = """
os.close(source); gevent.sleep(0.05)  # gevent closes it in its own time
for number in range(3): outlet.put(b"%d\\n" % number)
outlet.mark().acquire(True, 5)
told(failing=outlet.failing, lost=outlet.lost)
"""

FILE = """
import tempfile
file = tempfile.TemporaryFile()
outlet = Outlet(Console(file.fileno()))
for number in range(50): outlet.put(b"%d\\n" % number)
outlet.mark().acquire(True, 5); file.seek(0)
lines = numbers(split(file.read()))
told(lines=lines == list(range(50)), threads=threads() - before, quick=outlet.sink.quick)
"""


@pytest.fixture
def answer(python: Callable[..., str]) -> Callable[[str], Any]:
    told = "def told(**facts): os.write(1, json.dumps(facts).encode())\n"
    return lambda code: json.loads(python(SCRIPT + told + code))


def test_lines_reach_a_pipe_in_order_and_no_thread_is_started_for_them(answer: Callable[[str], Any]) -> None:
    assert answer(BURST) == {"all": True, "threads": 0, "waiting": 0}


def test_a_file_has_a_thread(answer: Callable[[str], Any]) -> None:
    assert answer(FILE) == {"lines": True, "threads": 1, "quick": False}


def test_the_first_line_and_one_that_may_be_the_last_do_not_wait(answer: Callable[[str], Any]) -> None:
    assert answer(FIRST) == {"first": [0], "second": [], "third": [1, 2], "rest": [3, 4]}


def test_what_was_gathered_is_written_before_a_process_ends(answer: Callable[[str], Any]) -> None:
    assert answer(MARK) == {"waiting": 2, "marked": True, "lines": [0, 1, 2], "left": 0}


def test_a_pipe_that_is_full_is_waited_for_by_the_thread_alone(answer: Callable[[str], Any]) -> None:
    assert answer(FULL) == {"put": 2000, "inOrder": True, "threads": 1, "waited": True, "full": True}


def test_a_line_that_is_longer_than_a_pipe_takes_at_once_keeps_its_place(answer: Callable[[str], Any]) -> None:
    assert answer(LONG) == {"lines": [10, 9000, 20, 4096, 30], "order": [0, 1, 2, 3, 4]}


def test_nothing_is_written_into_the_line_of_another_worker(answer: Callable[[str], Any]) -> None:
    assert answer(LOCKED) == {"meanwhile": [], "waited": False, "lines": [0]}


def test_a_native_thread_puts_lines_too(answer: Callable[[str], Any]) -> None:
    assert answer(THREAD) == {"lines": [0, 1]}


def test_a_child_writes_nothing_of_its_parents(answer: Callable[[str], Any]) -> None:
    assert answer(FORKED) == {"lines": [0, 1, 2]}


def test_a_pipe_without_a_reader_is_seen_to_fail(answer: Callable[[str], Any]) -> None:
    assert answer(NO_READER) == {"failing": "Broken pipe", "lost": 3}
