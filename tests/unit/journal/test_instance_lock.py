"""One at a time: of a worker's greenlets, of all workers, and not for ever."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from prodfix.journal import instance_lock as module
from prodfix.journal.instance_lock import NAME, InstanceLock
from prodfix.journal.journal import Journal
from tests.support.processes import in_child


def test_while_one_has_it_nobody_else_does_in_this_process_or_another(
    journal: Journal, open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.05)
    first, second, other = InstanceLock(journal), InstanceLock(journal), InstanceLock(open_journal())
    with first.taken() as mine:
        for another in (second, other):
            with another.taken() as theirs:
                assert (mine, theirs) == (True, False)
    for again in (second, other, first):
        with again.taken() as mine:
            assert mine


def test_who_waits_has_it_as_soon_as_it_is_given_back(journal: Journal) -> None:
    with (journal.folder / NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        looks: list[float] = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                fcntl.flock(file, fcntl.LOCK_UN)

        with InstanceLock(journal, sleep=sleep).taken() as mine:
            assert (mine, len(looks)) == (True, 3)


def test_a_killed_workers_lock_is_free(journal: Journal, python: Callable[..., str]) -> None:
    code = """
        import fcntl, os, sys
        file = open(sys.argv[1], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        os._exit(0)
    """
    python(code, journal.folder / NAME)
    with InstanceLock(journal).taken() as mine:
        assert mine


def test_it_is_given_back_when_the_work_fails(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), InstanceLock(journal).taken():
        raise ZeroDivisionError
    with InstanceLock(journal).taken() as mine:
        assert mine


def test_a_process_that_is_forked_meanwhile_does_not_keep_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.05)
    with InstanceLock(journal).taken() as mine:
        child = os.fork()
        if child == 0:
            signal.pause()  # with the descriptor
        assert mine
    try:
        with InstanceLock(journal).taken() as mine:
            assert mine
            assert in_child(lambda: not module._locked(os.open(journal.folder / NAME, os.O_RDWR)))  # the control
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_is_copied_into_a_child_leaves_it_to_its_parent(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.05)
    held = InstanceLock(journal).taken()
    assert held.__enter__()
    in_child(lambda: held.__exit__(None, None, None))
    with InstanceLock(journal).taken() as mine:
        assert not mine
    held.__exit__(None, None, None)
    with InstanceLock(journal).taken() as mine:  # the control
        assert mine


@pytest.mark.parametrize("error", [OSError, TimeoutError])
def test_a_disk_that_fails_is_not_waited_for(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def aside(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(journal, "aside", aside)
    begun = time.monotonic()
    with InstanceLock(journal).taken() as mine:
        assert not mine
    assert time.monotonic() - begun < module.LIMIT


def test_a_disk_without_locks_is_not_waited_for_long(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", flock)
    monkeypatch.setattr(module, "LIMIT", 0.05)
    with InstanceLock(journal).taken() as mine:
        assert not mine
