"""Parts that are made when they are first needed, by whichever of several threads comes first, and once."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prodfix.process.per_process import in_each_process


class Lazy:
    """What has parts that are ``made_once``. They may need each other."""

    def __init__(self) -> None:
        in_each_process(self._renew)

    def _renew(self) -> None:
        """A lock that another thread held in the parent would never be free in its child."""
        self._making = threading.RLock()


if TYPE_CHECKING:
    made_once = memoized = cached_property
else:

    class memoized:
        """``functools.cached_property`` in half of its instructions, on the way of every error: it has no lock, as Python's had
        before 3.12, and asks for nothing twice. Two threads that come together make two of it."""

        def __init__(self, make: Any) -> None:
            self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            made = instance.__dict__[self._name] = self._make(instance)
            return made

    class made_once(cached_property):
        """``functools.cached_property`` of a :class:`Lazy`: since Python 3.12 two threads would make two of it."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            found = vars(instance)
            if self.attrname not in found:
                with instance._making:
                    if self.attrname not in found:
                        found[self.attrname] = self.func(instance)
            return found[self.attrname]
