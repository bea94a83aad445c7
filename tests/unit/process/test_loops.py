"""Work in the background goes on whatever it raises, and ends when it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from prodfix.process.loops import Loop, stop_all

LIMIT = 10.0


def make(work: Callable[[], None], **more: Any) -> Loop:
    facts: dict[str, Any] = {"interval": 0.001, "on_error": lambda name, error: None} | more
    return Loop("test", work, **facts)


def test_work_is_done_again_and_again_in_a_thread_that_ends_with_the_process() -> None:
    done, times, threads = threading.Event(), [0], set()

    def work() -> None:
        times[0] += 1
        threads.add(threading.current_thread())
        if times[0] == 3:
            done.set()

    loop = make(work)
    loop.start()
    assert done.wait(LIMIT)
    loop.stop()
    (thread,) = threads
    assert (thread.daemon, thread.name, thread.is_alive()) == (True, "prodfix-test", False)


def test_what_work_raises_is_told_once_until_it_changes_and_so_is_its_end() -> None:
    outcomes: list[Exception | None] = [ValueError("1"), ValueError("2"), KeyError("3"), None, None, KeyError("4")]
    told: list[tuple[str, str]] = []
    enough = threading.Event()

    def work() -> None:
        if not outcomes:
            enough.set()
        elif (error := outcomes.pop(0)) is not None:
            raise error

    loop = make(
        work,
        on_error=lambda name, error: told.append((name, error.args[0])),
        on_recovery=lambda name: told.append((name, "works")),
    )
    loop.start()
    assert enough.wait(LIMIT)
    loop.stop()
    assert told == [("test", what) for what in ("1", "3", "works", "4", "works")]


@pytest.mark.parametrize("waiting", [{"delay": 3600.0}, {"interval": 3600.0}])
def test_a_loop_that_waits_stops_at_once(waiting: dict[str, float]) -> None:
    begun = threading.Event()
    loop = make(begun.set, **waiting)
    loop.start()
    assert "delay" in waiting or begun.wait(LIMIT)
    loop.stop(LIMIT)
    assert not loop.running
    assert begun.is_set() == ("interval" in waiting)


def test_a_loop_can_stop_itself_and_one_that_never_began_can_be_stopped() -> None:
    stopped = threading.Event()

    def work() -> None:
        loop.stop()
        stopped.set()

    loop = make(work)
    loop.start()
    assert stopped.wait(LIMIT)
    make(lambda: None).stop()


def test_work_that_hangs_does_not_hold_up_who_stops_it() -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(LIMIT)

    loop = make(work)
    loop.start()
    assert begun.wait(LIMIT)
    loop.stop(0.01)
    assert loop.running
    release.set()
    loop.stop(LIMIT)
    assert not loop.running


def test_many_that_hang_hold_it_up_as_long_as_one() -> None:
    release = threading.Event()
    begun = threading.Barrier(9, timeout=LIMIT)

    def work() -> None:
        begun.wait()
        release.wait(LIMIT)

    loops = [make(work) for _ in range(8)]
    for loop in loops:
        loop.start()
    begun.wait()
    at = time.monotonic()
    stop_all([*loops, make(lambda: None)], 0.5)
    assert 0.5 <= time.monotonic() - at < 3.5  # one after the other: 4 s
    release.set()
    stop_all(loops, LIMIT)
    assert not any(loop.running for loop in loops)
    assert time.monotonic() - at < LIMIT
