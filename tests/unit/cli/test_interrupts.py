"""Ctrl-C ends a command also where Python forgets the exception."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from prodfix.cli.interrupts import until_interrupted
from tests.support import REPOSITORY

# The signal comes within a destructor: the exception is printed, and the loop goes on.
LOOP = """
import os, signal
from contextlib import nullcontext, suppress
from prodfix.cli.interrupts import until_interrupted

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
turns = 0
with {how} as interrupted:
    for turns in range(1, 4):
        Interrupted()
        if interrupted():
            break
print(turns)
"""


def turns(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", LOOP.format(how=how)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "KeyboardInterrupt" in done.stderr, "it was lost"
    return int(done.stdout)


def test_an_interrupt_that_python_forgets_still_ends_it() -> None:
    assert turns("until_interrupted()") == 1


def test_without_it_the_loop_goes_on() -> None:
    # The control.
    assert turns("nullcontext(lambda: False)") == 3


def test_an_interrupt_ends_the_block_in_silence_and_the_old_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with until_interrupted() as interrupted:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")
    assert interrupted()
    assert signal.getsignal(signal.SIGINT) is before
