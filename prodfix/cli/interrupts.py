"""Ctrl-C for a command that goes on until somebody ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the block in silence. In the main thread only (:func:`signal.signal`).

    The block gets a function that says whether it was pressed, to ask at each turn: a ``KeyboardInterrupt`` that is raised
    within a destructor or the callback of a weak reference is printed by Python, and then forgotten.
    """
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: asked
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, before)
