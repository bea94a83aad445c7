"""The engines of this process: one for all applications that use the same database in the same way."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Hashable

from prodfix.background import Background
from prodfix.engine.engine import Engine
from prodfix.process.per_process import in_each_process
from prodfix.slotted import frozen


@frozen
class Running:
    """An engine, and what runs beside requests for it. ``key``: whose it is; ``None`` of one that nobody shares."""

    key: Hashable | None
    engine: Engine
    background: Background


class Engines:
    """Whoever leaves is noticed when somebody else comes, by the background work of the engine, or when the process ends: what
    the garbage collector calls could neither wait nor take a lock."""

    def __init__(self) -> None:
        self._all: list[Running] = []
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._changing = threading.Lock()

    def shared(self, key: Hashable) -> Running | None:
        """The engine that others have with this ``key``, if there is one that is not under test."""
        self._sweep()
        with self._changing:
            return next((one for one in self._all if one.key == key and not one.engine.quiet), None)

    def add(self, made: Running) -> Running:
        """Keep it for as long as it has applications; or what somebody else has added meanwhile under the same key."""
        with self._changing:
            if made.key is not None:
                known = next((one for one in self._all if one.key == made.key and not one.engine.quiet), None)
                if known is not None:
                    return known
            self._all.append(made)
        return made

    def _sweep(self) -> None:
        """Forget those without an application. One that runs ends by itself, and is there for who comes soon."""
        with self._changing:
            left = [
                one for one in self._all if not one.engine.tenants and (one.engine.quiet or not one.background.running)
            ]
            for one in left:
                self._all.remove(one)
        for one in left:
            one.background.stop()
            one.engine.release()

    def end(self) -> None:
        """End them all: the interpreter comes to its end."""
        for one in self._all:
            with contextlib.suppress(RuntimeError):  # what would begin something new
                one.background.stop(brief=True)
                one.engine.release()


ENGINES = Engines()
atexit.register(ENGINES.end)
