"""A fork beside threads that are inside SQLite: it waits for them, not for ever, and neither process hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prodfix.process import forks
from prodfix.process.forks import apart_from_forks
from tests.support.processes import in_child

SOON = 10.0  # seconds in which whatever comes has come, on a machine that is busy


@contextmanager
def within() -> Iterator[threading.Event]:
    """Another thread is within, until the event that this gives is set."""
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with apart_from_forks:
            entered.set()
            assert leave.wait(SOON)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(SOON)
    try:
        yield leave
    finally:
        leave.set()
        thread.join(SOON)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def nobody_is_left_within(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(forks, "LIMIT", SOON)
    yield
    assert (forks._within, forks._forking) == ({}, {})


def fork() -> float:
    """The seconds that a fork takes this process."""
    begun = time.monotonic()
    in_child(lambda: None)
    return time.monotonic() - begun


def test_a_fork_waits_for_who_is_within() -> None:
    with within() as leave:
        timer = threading.Timer(0.2, leave.set)
        timer.start()
        assert 0.1 < fork() < SOON
        assert leave.is_set()
    assert fork() < SOON / 2  # the control: nobody is within


def test_a_fork_goes_on_after_its_limit_and_its_child_knows_nobody_else_within(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forks, "LIMIT", 0.1)
    with within() as leave:
        found = in_child(lambda: [len(forks._within), len(forks._forking), fork() < SOON / 2])
        assert not leave.is_set()
    assert found == [0, 0, True]


def test_nobody_comes_within_during_a_fork() -> None:
    entered = threading.Event()

    def work() -> None:
        with apart_from_forks:
            entered.set()

    thread = threading.Thread(target=work)
    forks._before()
    try:
        thread.start()
        assert not entered.wait(0.1)
    finally:
        forks._in_parent()
    assert entered.wait(SOON)  # the control
    thread.join(SOON)


def test_who_waits_for_a_fork_that_never_ends_goes_on_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "LIMIT", 0.05)
    forks._before()
    with within():
        pass
    forks._in_parent()


def test_who_is_within_forks_and_is_within_in_the_child_too() -> None:
    def child() -> list[int]:
        before = list(forks._within.values())
        forks.apart_from_forks.__exit__()
        return [*before, len(forks._within)]

    with apart_from_forks:
        begun = time.monotonic()
        assert in_child(child) == [1, 0]
        assert time.monotonic() - begun < SOON / 2


def test_who_is_within_comes_within_again_though_another_thread_forks() -> None:
    # Else the two would wait for each other.
    with within() as leave:
        inner = threading.Event()

        def other() -> None:
            fork()
            inner.set()

        with apart_from_forks:
            thread = threading.Thread(target=other)
            thread.start()
            end = time.monotonic() + SOON
            while not forks._forking and time.monotonic() < end:
                time.sleep(0.001)
            with apart_from_forks:
                assert not inner.is_set()
            leave.set()
            assert not inner.wait(0.1)  # as this one is still within
        assert inner.wait(SOON)
        thread.join(SOON)


def test_a_fork_within_a_fork_opens_nothing_before_the_outer_one_is_over() -> None:
    forks._before()
    fork()
    assert list(forks._forking.values()) == [1]
    forks._in_parent()


def test_two_threads_fork_at_once() -> None:
    def begin_and_end() -> None:
        forks._before()  # not os.fork(), whose callers wait for each other: logging has a lock for that
        forks._in_parent()

    with within() as leave:
        threads = [threading.Thread(target=begin_and_end) for _ in range(2)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + SOON
        while len(forks._forking) < 2 and time.monotonic() < end:
            time.sleep(0.001)
        assert len(forks._forking) == 2
        leave.set()
        for thread in threads:
            thread.join(SOON)
            assert not thread.is_alive()


def test_a_fork_that_fails_leaves_the_way_free(python: Callable[..., str]) -> None:
    code = """
        import os, resource
        from prodfix.process import forks
        os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            os.fork()
        except BlockingIOError:
            print(len(forks._forking))
    """
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else, for whom there is a limit")
    assert python(code) == "0\n"


HAMMERED = """
    import sys
    if sys.argv[1] == "gevent":
        from gevent import monkey
        monkey.patch_all()
    import contextlib, os, signal, threading, time, warnings
    from pathlib import Path
    from prodfix.errors import JournalUnavailable
    from prodfix.journal.journal import Journal
    from prodfix.process import forks

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tried here (Python 3.12)
    folder, forks.LIMIT, most, limit = Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    parent = os.getpid()
    journals = [Journal(folder / name) for name in ("a", "b")]
    for journal in journals:
        journal.open()

    def work(journal):
        beat = [("INSERT OR REPLACE INTO status (worker, at, entry) VALUES ('w', 1.0, x'00')", ())]
        while os.getpid() == parent:  # gevent's fork copies greenlets
            with contextlib.suppress(JournalUnavailable, TimeoutError):  # a machine that is busy
                journal.read("SELECT count(*) FROM status")
                journal.write(beat)

    def child():
        for journal in journals:
            journal.open()
        good = all(journal.read_own("SELECT 1") == [(1,)] for journal in journals)
        for journal in journals:  # whose files each look would open
            for path in journal.folder.glob(f"{journal.file_name}.*"):
                path.unlink()
        return good

    def ended(pid):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return status == 0
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return False

    for journal in journals * 2:
        threading.Thread(target=work, args=(journal,), daemon=True).start()
    good = bad = 0
    while not bad and good < most:
        time.sleep(0.02)
        if (pid := os.fork()) == 0:
            sys.stderr = open(os.devnull, "w")  # gevent's greenlets go on in here, and fail
            try:
                os._exit(0 if child() else 1)
            finally:
                os._exit(2)
        if ended(pid):
            good += 1
        else:
            bad += 1
    print(good, bad, flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["gevent", "threads"])
def test_a_child_that_is_forked_beside_threads_inside_sqlite_has_journals_of_its_own(
    python: Callable[..., str], tmp_path: Path, how: str
) -> None:
    assert python(HAMMERED, how, tmp_path, 5.0, 12, 20) == "12 0\n"


def test_without_the_wait_such_a_child_hangs(python: Callable[..., str], tmp_path: Path) -> None:
    # The control. Each of these has its chance of some twenty percent.
    good, bad = map(int, python(HAMMERED, "threads", tmp_path, 0.0, 150, 3.0).split())
    assert bad == 1, good
