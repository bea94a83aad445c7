"""Child processes of a supervisor, and the signals that it waits for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The supervisor was asked to stop."""


class Signals:
    """What arrived since it was entered: requests to stop, and news that a child has ended."""

    def __init__(self) -> None:
        # A SimpleQueue, because its put() may run in a handler that interrupted its get(); an Event would deadlock there.
        self._arrived: SimpleQueue[int] = SimpleQueue()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # `nohup make run` has SIGHUP ignored, and it stays so.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def pause(self, seconds: float) -> None:
        """Wait for this long at most, less when a child ends; raises :class:`Stopped` when asked to stop."""
        if self.stopped_within(seconds):
            raise Stopped

    def stopped_within(self, seconds: float) -> bool:
        """Whether a request to stop arrives; False after ``seconds``, or as soon as a child has ended."""
        with contextlib.suppress(Empty):
            return self._arrived.get(timeout=max(0.0, seconds)) in STOP_SIGNALS
        return False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.put(number)


class Child:
    """A process of ours, leader of a process group of its own.

    The terminal's Ctrl-C goes to the foreground group: it reaches the supervisor alone, which then ends its children in
    order. The group also gathers what the child itself starts, such as the workers of gunicorn.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, quiet: bool = False, stdout: int | None = None
    ) -> None:
        """``stdout``: a file descriptor in the place of ours; ``quiet``: nowhere."""
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else stdout,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; as a shell has it (128 + number) when a signal ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def end(self, signals: Signals, *, limit: float) -> None:
        """Ask it to stop and wait; after ``limit`` seconds, or when asked to stop once more, kill its whole group."""
        if self.exit_code is None:
            self._process.terminate()
        deadline = time.monotonic() + limit
        while self.exit_code is None:
            left = deadline - time.monotonic()
            if left <= 0 or signals.stopped_within(left):
                break
        # Also after an orderly end: the workers of an arbiter that was killed take a second to notice it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
