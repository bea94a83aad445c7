"""Work that goes on in the background of each process: a greenlet under gevent, a thread elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Loop:
    """A background greenlet (under gevent) or thread that calls ``work`` every ``interval`` seconds until stopped.

    The first time is after ``delay`` seconds. ``on_error`` is told the name and what ``work`` raised; the loop goes on.
    """

    name: str
    work: Callable[[], None]
    interval: float
    on_error: Callable[[str, Exception], None]
    delay: float = 0.0
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
        self._stopped.wait(self.delay)
        while not self._stopped.is_set():
            begun = time.monotonic()
            try:
                self.work()
            except Exception as error:  # noqa: BLE001 - a loop that ended would end its part of the service in silence
                self.on_error(self.name, error)
            self._stopped.wait(max(0.01, self.interval - (time.monotonic() - begun)))
