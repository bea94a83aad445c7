"""Native threads, alike in plain Python and under gevent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from prodfix.process import native
from prodfix.process.native import (
    Inline,
    Pool,
    allocate_lock,
    original_queue,
    run_program,
    start_thread,
    under_gevent,
)


@pytest.fixture
def output() -> Iterator[int]:
    descriptor = os.memfd_create("output", os.MFD_CLOEXEC)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(2)
    yield pool
    pool.close()


def fail() -> None:
    raise KeyError("from the work")


def test_plain_python_is_not_gevent() -> None:
    assert not under_gevent()


def test_work_runs_in_another_thread_and_its_result_comes_back(pool: Pool) -> None:
    assert pool.run(threading.get_ident) != threading.get_ident()
    assert pool.run(divmod, 7, 2) == (3, 1)


def test_threads_end_with_their_pool_once_its_work_is_done() -> None:
    before, done = set(threading.enumerate()), []
    pool, release = Pool(2), threading.Event()
    for number in range(4):
        pool.submit(lambda number=number: release.wait(10) and done.append(number))
    begun = [one for one in threading.enumerate() if one not in before]
    assert len(begun) == 2
    release.set()
    pool.close()
    assert sorted(done) == [0, 1, 2, 3]
    for one in begun:
        one.join(10)
        assert not one.is_alive()


def test_a_pool_works_until_the_process_has_ended(python: Callable[..., str]) -> None:
    code = """
        import atexit, threading
        from prodfix.process.native import Pool
        pool = Pool(1)
        pool.run(int)
        atexit.register(lambda: print(threading.main_thread().is_alive(), pool.run(divmod, 7, 2)))
    """
    assert python(code) == "False (3, 1)\n"


def test_work_that_is_done_at_once_is_told_as_that_of_a_thread_is() -> None:
    inline = Inline()
    assert inline.run(threading.get_ident) == threading.get_ident()
    assert inline.submit(divmod, 7, 2).wait() == (3, 1)
    with pytest.raises(KeyError, match="from the work"):
        inline.submit(fail).wait()


def test_what_work_raises_is_raised_where_it_is_waited_for(pool: Pool) -> None:
    task = pool.submit(fail)
    for _ in range(2):
        with pytest.raises(KeyError, match="from the work"):
            task.wait()


def test_a_limit_ends_the_wait_and_not_the_work(pool: Pool) -> None:
    release = threading.Event()
    task = pool.submit(release.wait, 10)
    with pytest.raises(TimeoutError):
        task.wait(0.01)
    release.set()
    assert task.wait(10) is True


def test_a_pool_that_is_closed_has_done_its_work() -> None:
    pool = Pool(1)
    tasks = [pool.submit(str, number) for number in range(50)]
    pool.close()
    assert [task.wait(0) for task in tasks] == [str(number) for number in range(50)]


def test_a_started_thread_hands_over_by_queue_and_lock() -> None:
    queue, held = original_queue(), allocate_lock()
    held.acquire()

    def work() -> None:
        queue.put(threading.get_ident())
        held.release()

    start_thread(work)
    assert held.acquire(True, 10)
    assert queue.get(timeout=10) != threading.get_ident()


PATCHED = """
from gevent import monkey; monkey.patch_all()
import gevent, time
from gevent.monkey import get_original
from prodfix.process.native import Pool, Task, allocate_lock, original_queue, start_thread, under_gevent
sleep, ident = get_original("time", "sleep"), get_original("_thread", "get_ident")
pool = Pool(2)
"""


@pytest.fixture
def patched(python: Callable[..., str]) -> Callable[[str], str]:
    """Runs a line of code under gevent; what it printed."""
    return lambda code: python(PATCHED + code).strip()


TICKS = """
ticks = []
def tick():
    while True:
        ticks.append(1); gevent.sleep(0.005)
ticker = gevent.spawn(tick); gevent.sleep(0)
"""


def test_under_gevent_other_greenlets_run_while_one_waits_for_work(patched: Callable[[str], str]) -> None:
    assert patched("print(under_gevent(), pool.run(ident) != ident())") == "True True"
    assert int(patched(TICKS + "before = len(ticks); pool.run(sleep, 0.3); print(len(ticks) - before)")) > 10
    assert int(patched(TICKS + "before = len(ticks); sleep(0.3); print(len(ticks) - before)")) == 0


DEADLINE = """
def wait(result):
    try:
        with gevent.Timeout(0.02) as own:
            WAIT
    except BaseException as error: return error is own, type(error).__name__
print(*wait(pool.submit(sleep, 0.4)))
"""


@pytest.mark.parametrize("limit", ["", "5"])
def test_under_gevent_a_requests_own_timeout_passes_through_a_wait(patched: Callable[[str], str], limit: str) -> None:
    assert patched(DEADLINE.replace("WAIT", f"result.wait({limit})")) == "True Timeout"


def test_under_gevent_the_executor_of_gevent_would_take_it_for_its_own(patched: Callable[[str], str]) -> None:
    naive = """
from gevent.threadpool import ThreadPoolExecutor
def wait():
    try:
        with gevent.Timeout(0.02) as own: ThreadPoolExecutor(1).submit(sleep, 0.3).result(5)
    except BaseException as error: return error is own
print(wait())
"""
    assert patched(naive) == "False"


def test_under_gevent_limits_errors_and_closing_are_the_same(patched: Callable[[str], str]) -> None:
    code = """
task = pool.submit(sleep, 0.2)
try: task.wait(0.01)
except TimeoutError: print("limit")
print(task.wait())
try: pool.run(int, "x")
except ValueError: print("error")
pool.close()
"""
    assert patched(code).split() == ["limit", "None", "error"]


def test_under_gevent_the_hub_would_print_what_work_raises(patched: Callable[[str], str]) -> None:
    naive = """
import io, sys
from gevent.threadpool import ThreadPool
sys.stderr = io.StringIO()
try: ThreadPool(1).spawn(int, "canary").get()
except ValueError: print("canary" in sys.stderr.getvalue())
"""
    assert patched(naive) == "True"


def test_under_gevent_a_started_thread_is_a_real_one(patched: Callable[[str], str]) -> None:
    code = """
queue, held = original_queue(), allocate_lock()
held.acquire()
def work():
    queue.put(ident()); sleep(0.05); held.release()
start_thread(work)
print(held.acquire(True, 10), queue.get() != ident())
"""
    assert patched(code) == "True True"


def test_a_name_of_gevent_is_used_nowhere_else_at_import(python: Callable[..., str]) -> None:
    assert python("import sys, prodfix; print('gevent.monkey' in sys.modules or 'gevent' in sys.modules)") == "False\n"
    assert native.under_gevent.__module__ == "prodfix.process.native"


# -- programs ---------------------------------------------------------------------------------------------------------------

ECHO = """
import os, signal, sys
print(sys.argv[1:], os.environ["NAME"], sys.stdin.read(), os.getpgrp() == os.getpid(), signal.getsignal(signal.SIGTERM).name)
print("HOME" in os.environ)
print("on stderr", file=sys.stderr)
sys.exit(3)
"""


def run(code: str, output: int, *arguments: str, given: bytes = b"", limit: float = 20.0) -> int | None:
    stdin = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        os.write(stdin, given)
        os.lseek(stdin, 0, os.SEEK_SET)
        command = [sys.executable, "-I", "-c", code, *arguments]
        return run_program(command, environment={"NAME": "value"}, stdin=stdin, stdout=output, limit=limit)
    finally:
        os.close(stdin)


def test_a_program_has_what_it_is_given_and_nothing_else(output: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a program would inherit
    try:
        assert run(ECHO, output, "a", given=b"hello") == 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "HOME" in os.environ
    assert os.pread(output, 1000, 0) == b"['a'] value hello True SIG_DFL\nFalse\n"
    assert capfd.readouterr() == ("", "")


def test_no_descriptor_of_ours_is_open_in_it(output: int) -> None:
    private, public = os.memfd_create("private", os.MFD_CLOEXEC), os.memfd_create("public", 0)
    assert run("import os; print(os.listdir('/proc/self/fd'))", output) == 0
    os.close(private)
    os.close(public)
    found = os.pread(output, 1000, 0).decode()
    assert f"'{private}'" not in found
    assert f"'{public}'" in found, "the control: one that Python did not make"


def test_one_that_does_not_end_is_killed(output: int) -> None:
    begun = time.monotonic()
    assert run("import os, time; print(os.getpid(), flush=True); time.sleep(60)", output, limit=1.0) is None
    assert 1.0 <= time.monotonic() - begun < 5
    pid = int(os.pread(output, 10, 0))
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_one_that_cannot_be_started_says_so(output: int) -> None:
    with pytest.raises(FileNotFoundError):
        run_program(["/no/such/program"], environment={}, stdin=output, stdout=output, limit=1.0)


def test_one_that_somebody_else_has_waited_for_has_ended(output: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def reaped(pid: int, options: int) -> None:
        raise ChildProcessError

    spawned: list[int] = []
    spawn, wait = os.posix_spawn, os.waitpid
    monkeypatch.setattr(
        os, "posix_spawn", lambda *given, **options: spawned.append(spawn(*given, **options)) or spawned[0]
    )
    monkeypatch.setattr(os, "waitpid", reaped)
    assert run("", output) is None
    monkeypatch.undo()
    assert wait(spawned[0], 0)[0] == spawned[0]


def test_under_gevent_greenlets_run_while_a_program_does(python: Callable[..., str]) -> None:
    code = """
        from gevent import monkey

        monkey.patch_all()
        import os, sys, time
        import gevent
        from prodfix.process.native import Pool, run_program

        output = os.memfd_create("output")
        stdin = os.memfd_create("input")
        ticks = 0

        def tick():
            global ticks
            while True:
                ticks += 1
                gevent.sleep(0.01)

        gevent.spawn(tick)
        work = lambda: run_program(
            [sys.executable, "-c", "import time; time.sleep(1); print('sent')"],
            environment={}, stdin=stdin, stdout=output, limit=20.0,
        )
        print(Pool(1).run(work), ticks > 30, os.pread(output, 100, 0))
        """
    assert python(code) == "0 True b'sent\\n'\n"
