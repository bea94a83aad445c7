"""A sink has a queue and a thread of its own, and what it does not do is seen."""

from __future__ import annotations

import os
import threading

import pytest

from prodfix.logs import outlets as module
from prodfix.logs.outlets import LONGEST_BATCH, LONGEST_WRITE, Outlet


class Slow:
    name = "slow"

    def __init__(self) -> None:
        self.writing, self.release = threading.Event(), threading.Event()

    def write(self, data: bytes) -> None:
        self.writing.set()
        self.release.wait(10)


def test_a_write_that_takes_too_long_is_shown_as_failing_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    outlet = Outlet(slow := Slow())
    assert outlet.put(b"x\n")
    assert slow.writing.wait(10)
    assert outlet.failing is None
    assert LONGEST_WRITE == 5
    monkeypatch.setattr(module, "LONGEST_WRITE", -1)
    assert outlet.failing == "stalled"
    assert outlet.waiting == 1
    slow.release.set()
    assert outlet.mark().acquire(True, 10)
    assert (outlet.failing, outlet.waiting) == (None, 0)


def test_no_thread_is_started_for_a_sink_that_nothing_was_put_for() -> None:
    outlet = Outlet(Slow())
    assert (outlet.running, outlet.failing, outlet.waiting) == (False, None, 0)


def test_what_hangs_in_a_parent_process_does_not_hang_in_its_child() -> None:
    outlet = Outlet(slow := Slow())
    outlet.put(b"x\n")
    outlet.put(b"y\n")
    assert slow.writing.wait(10)
    if (child := os.fork()) == 0:
        fresh = not outlet.running and outlet.waiting == 0 and outlet.failing is None
        slow.release = threading.Event()
        slow.release.set()
        os._exit(0 if fresh and outlet.put(b"z\n") and outlet.mark().acquire(True, 10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert outlet.waiting == 2
    slow.release.set()
    assert outlet.mark().acquire(True, 10)


def test_a_fork_while_another_thread_starts_an_outlet_does_not_lock_the_child() -> None:
    outlet = Outlet(slow := Slow())
    slow.release.set()
    outlet._starting.acquire()  # as another thread has it in this moment
    if (child := os.fork()) == 0:
        os._exit(0 if outlet.put(b"x\n") and outlet.mark().acquire(True, 10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_counts_its_own_losses_only() -> None:
    class Broken(Slow):
        def write(self, data: bytes) -> None:
            raise OSError(28, "x")

    outlet = Outlet(Broken())
    outlet.put(b"x\n")
    assert outlet.mark().acquire(True, 10)
    assert (outlet.lost, outlet.failing) == (1, "No space left on device")
    if (child := os.fork()) == 0:
        os._exit(0 if (outlet.lost, outlet.failing, outlet.untold) == (0, None, 0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_waits_is_written_in_one_go_up_to_a_batch() -> None:
    sizes: list[int] = []

    class Counting(Slow):
        def write(self, data: bytes) -> None:
            sizes.append(data.count(b"\n"))
            super().write(data)

    outlet = Outlet(slow := Counting())
    outlet.put(b"x\n")
    assert slow.writing.wait(10)
    for _ in range(2 * LONGEST_BATCH):
        outlet.put(b"x\n")
    slow.release.set()
    assert outlet.mark().acquire(True, 10)
    assert sizes == [1, LONGEST_BATCH, LONGEST_BATCH]
    assert outlet.waiting == 0


class Timed(Slow):
    """Keeps what came in each write."""

    def __init__(self) -> None:
        super().__init__()
        self.release.set()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines may wait for others as long as they like."""
    monkeypatch.setattr(module, "GATHERING", 3600)


def started(sink: Timed) -> Outlet:
    """One that has written a line a moment ago: those that follow wait for one another."""
    outlet = Outlet(sink)
    outlet.put(b"first\n")
    assert sink.writing.wait(10)
    sink.writing.clear()
    sink.writes.clear()
    return outlet


@pytest.mark.usefixtures("patient")
def test_lines_wait_for_one_another_and_are_written_in_one_go() -> None:
    outlet = started(sink := Timed())
    for number in range(20):
        outlet.put(b"%d\n" % number)
    assert (sink.writing.wait(0.1), outlet.waiting) == (False, 20)
    assert outlet.mark().acquire(True, 10)
    assert sink.writes == [b"".join(b"%d\n" % number for number in range(20))]


@pytest.mark.usefixtures("patient")
def test_an_urgent_line_is_written_at_once_with_all_before_it() -> None:
    outlet = started(sink := Timed())
    outlet.put(b"1\n")
    assert not sink.writing.wait(0.1), "the control"
    outlet.put(b"2\n", urgent=True)
    assert sink.writing.wait(10)
    assert outlet.mark().acquire(True, 10)
    assert b"".join(sink.writes) == b"1\n2\n"


@pytest.mark.usefixtures("patient")
def test_a_batch_that_is_full_does_not_wait_for_more() -> None:
    outlet = started(sink := Timed())
    for _ in range(2 * LONGEST_BATCH):
        outlet.put(b"x\n")
    assert sink.writing.wait(10)
    outlet = started(sink := Timed())
    outlet.put(b"x" * module.LARGEST_BATCH)
    assert sink.writing.wait(10)


@pytest.mark.usefixtures("patient")
def test_the_first_line_after_a_pause_is_written_at_once() -> None:
    outlet = Outlet(sink := Timed())
    outlet.put(b"x\n")
    assert sink.writing.wait(10)


def test_a_line_waits_no_longer_than_a_moment() -> None:
    outlet = started(sink := Timed())
    outlet.put(b"x\n")
    assert sink.writing.wait(10)
    assert module.GATHERING <= 0.01


class Open:
    """A sink that keeps something open."""

    name = "open"

    def __init__(self) -> None:
        self.written, self.closed = b"", threading.Event()

    def write(self, data: bytes) -> None:
        self.closed.clear()
        self.written += data

    def close(self) -> None:
        self.closed.set()


def test_an_outlet_that_ends_has_written_everything_and_another_line_begins_anew() -> None:
    outlet = Outlet(sink := Open())
    for line in (b"x\n", b"y\n"):
        outlet.put(line)
        assert outlet.mark().acquire(True, 10)
        outlet.end()
        assert sink.closed.wait(10)
        assert not outlet.running
    assert (sink.written, outlet.lost, outlet.dropped) == (b"x\ny\n", 0, 0)


def test_an_outlet_that_hangs_is_left_alone() -> None:
    outlet = Outlet(slow := Slow())
    outlet.put(b"x\n")
    assert slow.writing.wait(10)
    outlet.end()
    assert (outlet.running, outlet.waiting) == (True, 1)
    slow.release.set()
    assert outlet.mark().acquire(True, 10)
