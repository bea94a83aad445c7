"""Work that goes on in the background of each process: a greenlet under gevent, a thread elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import field

from prodfix.process.per_process import this_process
from prodfix.slotted import mutable


@mutable
class Loop:
    """A background greenlet (under gevent) or thread that calls ``work`` every ``interval`` seconds until stopped.

    The first time is after ``delay`` seconds. What ``work`` raises does not end the loop. ``on_error`` is told the name and
    the error, once for as long as it stays one of the same type; ``on_recovery`` that the work succeeds again.
    """

    name: str
    work: Callable[[], None]
    interval: float
    on_error: Callable[[str, Exception], None]
    on_recovery: Callable[[str], None] = lambda name: None
    delay: float = 0.0
    _failing: type[Exception] | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"prodfix-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, limit: float = 2.0) -> None:
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(limit)

    def _run(self) -> None:
        process = this_process()
        self._stopped.wait(self.delay)
        while not self._stopped.is_set():
            if process is not this_process():
                _wait_for_ever()
            begun = time.monotonic()
            self._work(process)
            self._stopped.wait(max(0.01, self.interval - (time.monotonic() - begun)))

    def _work(self, process: object) -> None:
        before = self._failing
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - a loop that ended would end its part of the service in silence
            self._failing = type(error)
            if self._failing is not before and process is this_process():
                self.on_error(self.name, error)
        else:
            self._failing = None
            if before is not None:
                self.on_recovery(self.name)


_waiting: list[threading.Event] = []


def _wait_for_ever() -> None:
    """gevent's fork copies greenlets: a parent's loop is not the child's, and its end there would be a KeyError on stderr, as
    ``threading`` has forgotten it."""
    _waiting.append(threading.Event())
    _waiting[-1].wait()


def stop_all(loops: Iterable[Loop], limit: float = 2.0) -> None:
    """Stop each of them. All together are waited for ``limit`` seconds at most: in an outage many hang at the same thing."""
    loops = list(loops)
    for loop in loops:
        loop.stop(0)
    end = time.monotonic() + limit
    for loop in loops:
        loop.stop(max(0.0, end - time.monotonic()))
