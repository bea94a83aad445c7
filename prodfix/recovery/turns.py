"""Turns at a place: one after another, in the order of their coming, and nobody waits for long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from prodfix.process.per_process import in_each_process


class Turns:
    """Who has a turn hands it to who waits longest: a lock that is only let go of is taken again by who comes by next."""

    def __init__(self) -> None:
        in_each_process(self._begin)

    def _begin(self) -> None:
        """Who had a turn in the parent may never leave it in here; who does has nobody waiting behind."""
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, deque[threading.Event]] = {}

    def taken(self, place: Hashable) -> bool:
        """Whether somebody has the turn at ``place``."""
        return place in self._waiting

    @contextmanager
    def turn(self, place: Hashable, limit: float) -> Iterator[bool]:
        """A block in its turn at ``place``: whether it is, as after ``limit`` seconds it begins without."""
        mine = self._enter(place, limit)
        try:
            yield mine
        finally:
            if mine:
                self._leave(place)

    def _enter(self, place: Hashable, limit: float) -> bool:
        with self._lock:
            queue = self._waiting.get(place)
            if queue is None:
                self._waiting[place] = deque()
                return True
            called = threading.Event()
            queue.append(called)
        try:
            called.wait(limit)
        except BaseException:  # a deadline that cuts the wait
            if not self._gone(place, called):
                self._leave(place)
            raise
        return not self._gone(place, called)

    def _gone(self, place: Hashable, called: threading.Event) -> bool:
        """Whether who waited is gone from the queue without having been called, if need be at the last moment."""
        with self._lock:
            if called.is_set():
                return False
            queue = self._waiting.get(place, deque())
            if called in queue:
                queue.remove(called)
            return True

    def _leave(self, place: Hashable) -> None:
        with self._lock:
            queue = self._waiting.get(place)
            if queue:
                queue.popleft().set()
            else:
                self._waiting.pop(place, None)
