"""What a forked process must not have from its parent: connections, locks that another thread held, queues, counts.

The interpreter calls us in the child before anything else runs there (``os.register_at_fork``), whoever forks: gunicorn with
``--preload``, gevent, multiprocessing, uWSGI. So what is used all the time asks no ``getpid()`` each time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import MethodType
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Made = TypeVar("Made")

_this = object()
_begins: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def in_each_process(begin: Callable[[], None]) -> None:
    """Call the method ``begin`` now, and in each process that is forked from here on, as long as its object lives. Of one
    object there is one such method.

    In a child it runs before anything else does: it sets attributes and makes locks, and neither waits nor opens anything.
    Raises ``TypeError`` for what is no method.
    """
    if not isinstance(begin, MethodType):
        raise TypeError("in_each_process() takes a method of the object that begins anew")
    begin()
    _begins[begin.__self__] = begin.__func__


def this_process() -> object:
    """Something that is another one in each process. A greenlet goes on in the child, too: by this it knows where it is."""
    return _this


def _forked() -> None:
    global _this  # noqa: PLW0603 - it is what a fork changes
    _this = object()
    for one, begin in tuple(_begins.items()):
        begin(one)


os.register_at_fork(after_in_child=_forked)


class PerProcess(Generic[Made]):
    """What ``make`` makes, on first use, once in each process."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: Made | None = None
        self._parents: list[Made | None] = []
        in_each_process(self._begin)

    def _begin(self) -> None:
        # A parent's is kept: its end, here, would say goodbye over what is still the parent's.
        self._parents.append(self._made)
        self._made = None
        self._making = threading.Lock()

    def get(self) -> Made:
        """This process's. Raises what ``make`` raises; then the next one to ask makes it."""
        made = self._made
        if made is not None:
            return made
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    @property
    def made(self) -> Made | None:
        """This process's, if there is one yet."""
        return self._made

    def take(self) -> Made | None:
        """This process's, if there is one, to be ended by the caller: whoever asks next makes another."""
        made, self._made = self._made, None
        return made
