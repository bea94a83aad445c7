"""Work that goes on in the background of each process: a greenlet under gevent, a thread elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from prodfix.process.breather import give_way
from prodfix.process.native import under_gevent
from prodfix.process.per_process import this_process
from prodfix.slotted import mutable

SHORTEST = 0.01  # seconds between two turns of one loop
GRID = 1.0  # seconds: loops that are aligned wake up together, once, where each alone would cost a turn of the hub


@mutable
class Loop:
    """Work that is done every ``interval`` seconds, the first time after ``delay``, and at once when somebody says :meth:`wake`.
    ``work`` may return the seconds until its next time, where that is not always the same. One that is ``aligned`` may come half
    a :data:`GRID` sooner or later, whenever it rests for that long. ``late``: by how many seconds its turn began too late, which
    is what a blocked hub looks like from inside.

    What ``work`` raises does not end the loop. ``on_error`` is told the name and the error, once for as long as it stays one of
    the same type; ``on_recovery`` that the work succeeds again.
    """

    name: str
    work: Callable[[], float | None]
    interval: float
    on_error: Callable[[str, Exception], None]
    on_recovery: Callable[[str], None] = lambda name: None
    delay: float = 0.0
    aligned: bool = False
    late: float = 0.0
    woken: bool = False
    _failing: type[Exception] | None = None
    _lane: Lane | None = None

    def wake(self) -> None:
        """Do it now: from a greenlet or thread of this process, and not from a native one under gevent. Never waits."""
        lane = self._lane
        if lane is not None and not self.woken:
            self.woken = True
            lane.wake()

    def start(self) -> None:
        """In a greenlet (under gevent) or thread of its own."""
        self._lane = Lane([self])
        self._lane.start()

    def stop(self, limit: float = 2.0) -> None:
        if self._lane is not None:
            self._lane.stop(limit)

    @property
    def running(self) -> bool:
        """Whether that greenlet or thread is there."""
        return self._lane is not None and self._lane.running

    def turn(self, process: object) -> float:
        """Once; the seconds until the next time, from its beginning on."""
        self.woken, before, begun = False, self._failing, time.monotonic()
        try:
            pause = self.work()
        except Exception as error:  # noqa: BLE001 - a loop that ended would end its part of the service in silence
            if interpreter_ends():
                return self.interval  # nothing new can begin in here any more, which is no failure
            self._failing = type(error)
            if self._failing is not before and process is this_process():
                self.on_error(self.name, error)
        else:
            self._failing = None
            if before is not None:
                self.on_recovery(self.name)
            if pause is not None:
                return time.monotonic() - begun + pause
        return self.interval


_BASE = time.monotonic()  # another one in each server, so that not all of a machine do it at once


class Lane:
    """One greenlet (under gevent) or thread that turns some loops, each when it is due, one after the other."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops
        for loop in loops:
            loop._lane = self
        self._stopped = False
        # Released by whoever calls. An event has a lock of its own and makes one for each wait: with ten lanes a tenth of what an
        # idle worker uses.
        self._called = threading.Lock()
        self._called.acquire()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"prodfix-{self._loops[0].name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look which of them are woken."""
        with contextlib.suppress(RuntimeError):  # it was called already
            self._called.release()

    def stop(self, limit: float = 2.0) -> None:
        self._stopped = True
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(limit)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        process, now = this_process(), time.monotonic()
        due = [now + loop.delay for loop in self._loops]
        while not self._stopped:
            self._called.acquire(timeout=max(0.0, min(due) - time.monotonic()))
            give_way()  # loops that are aligned wake up together, and would hold the hub one after the other
            if process is not this_process():
                _wait_for_ever()
            for number, loop in enumerate(self._loops):
                begun = time.monotonic()
                if (loop.woken or due[number] <= begun) and not self._stopped:
                    loop.late = max(0.0, begun - due[number])
                    pause = loop.turn(process)
                    due[number] = max(_due(begun + pause, pause, loop), time.monotonic() + SHORTEST)


def _due(moment: float, pause: float, loop: Loop) -> float:
    return _BASE + round((moment - _BASE) / GRID) * GRID if loop.aligned and pause >= GRID else moment


def lanes(groups: Iterable[Sequence[Loop]]) -> list[Lane]:
    """A lane for each group; under gevent, where they cost next to nothing, one for each loop, which then waits for no other."""
    if under_gevent():
        return [Lane([loop]) for group in groups for loop in group]
    return [Lane(group) for group in groups]


def interpreter_ends() -> bool:
    """Whether the main thread has come to its end: Python then begins no thread any more, and ends what threads wait for."""
    return not under_gevent() and not threading.main_thread().is_alive()


_waiting: list[threading.Event] = []


def _wait_for_ever() -> None:
    """gevent's fork copies greenlets: a parent's loop is not the child's, and its end there would be a KeyError on stderr, as
    ``threading`` has forgotten it."""
    _waiting.append(threading.Event())
    _waiting[-1].wait()


def stop_all(loops: Iterable[Loop | Lane], limit: float = 2.0) -> None:
    """Stop each of them. All together are waited for ``limit`` seconds at most: in an outage many hang at the same thing."""
    loops = list(loops)
    for loop in loops:
        loop.stop(0)
    end = time.monotonic() + limit
    for loop in loops:
        loop.stop(max(0.0, end - time.monotonic()))
