from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.processes import Child, Signals, Stopped
from tests.support.processes import alive, descendants
from tests.support.servers import REPOSITORY
from tests.support.waiting import until

STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
)


@pytest.fixture
def signals() -> Iterator[Signals]:
    # Under nohup it is ignored, and stays so.
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with Signals() as entered:
        yield entered
    signal.signal(signal.SIGHUP, hangup)


def shell(script: str) -> Child:
    return Child(["/bin/sh", "-c", script], os.environ)


def test_a_child_leads_its_own_process_group_and_ends_on_sigterm(signals: Signals) -> None:
    before = descendants(os.getpid())
    child = shell("exec sleep 60")
    (pid,) = descendants(os.getpid()) - before
    assert os.getpgid(pid) == pid
    assert child.exit_code is None
    child.end(signals, limit=10)
    assert child.exit_code == 128 + signal.SIGTERM


def test_an_exit_code_is_the_childs_own(signals: Signals) -> None:
    child = shell("exit 7")
    until(lambda: child.exit_code is not None, what="the end of the child")
    child.end(signals, limit=10)
    assert child.exit_code == 7


def test_a_child_that_ignores_sigterm_is_killed_after_the_limit(
    signals: Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    child = Child([sys.executable, "-c", STUBBORN], os.environ)
    until(lambda: "on" in capfd.readouterr().out, what="the child's handler")
    begun = time.monotonic()
    child.end(signals, limit=0.3)
    assert child.exit_code == 128 + signal.SIGKILL
    assert time.monotonic() - begun < 5


def test_a_second_request_to_stop_does_not_wait_for_the_limit(
    signals: Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    child = Child([sys.executable, "-c", STUBBORN], os.environ)
    until(lambda: "on" in capfd.readouterr().out, what="the child's handler")
    os.kill(os.getpid(), signal.SIGINT)
    child.end(signals, limit=60)
    assert child.exit_code == 128 + signal.SIGKILL


def test_what_a_child_left_behind_in_its_group_ends_too(signals: Signals, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = shell(f"sleep 60 & echo $! > {note}; exit 3")
    until(lambda: child.exit_code == 3, what="the end of the child")
    grandchild = int(note.read_text())
    assert alive(grandchild)
    child.end(signals, limit=10)
    until(lambda: not alive(grandchild), what="the end of the grandchild")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_pause_ends_when_asked_to_stop(signals: Signals, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    with pytest.raises(Stopped):
        signals.pause(60)


def test_a_pause_ends_early_when_a_child_ends(signals: Signals) -> None:
    begun = time.monotonic()
    child = shell("exit 0")
    signals.pause(60)
    assert time.monotonic() - begun < 10
    until(lambda: child.exit_code == 0, what="the end of the child")


def test_the_handlers_of_before_come_back_and_an_ignored_sighup_stays_ignored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            signals.pause(0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == before


PARENT = """
import os, subprocess, sys, time
from config import tether
subprocess.Popen(tether.command([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]))
time.sleep(60)
"""


def test_a_tethered_process_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        tied = int(parent.stdout.readline())
        assert descendants(parent.pid) == {tied}, "the command has the process ID of its tether"
        parent.kill()
    until(lambda: not alive(tied), what="the end of the tied process")


def test_a_tether_to_a_parent_that_is_gone_does_not_start_the_command() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    command = [sys.executable, "-m", "config.tether", str(dead.pid), "/bin/echo", "started"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
