"""Results that are none yet: nothing was asked, or not all was read, when the last try has ended."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from functools import lru_cache
from typing import Any, TypeVar

from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor

Result = TypeVar("Result")

KINDS = 256  # classes of results that are remembered
_LAZY = (Cursor, Generator, map, filter, zip)
# Known by name: a host need not have it.
_QUERIES = ("mongoengine.queryset.base", "BaseQuerySet")


def read(result: Result) -> Result:
    """``result``, unless it is lazy. Raises ``TypeError`` then: what fails while it is read later would be tried by nobody.

    A cursor of a command that has nothing more to give (``$merge``, ``$out``) is read.
    """
    made_of: Any = result.__class__
    kind = _kind(made_of)
    if kind is None or (isinstance(result, CommandCursor) and not result.alive):
        return result
    advice = "give it a function that is not async" if kind is Coroutine else "wrap it in list(...)"
    close = getattr(result, "close", None)
    if close is not None:
        close()  # the server's cursor, too
    name = type(result).__name__
    raise TypeError(f"recovery.run() got a {name} from the operation, which is read after the last try: {advice}")


@lru_cache(KINDS)
def _kind(result: type) -> type | None:
    """Which of the lazy kinds results of a class are, for each class found once; ``None``: they are no lazy ones."""
    if issubclass(result, _LAZY) or _foreign(result):
        return Cursor
    return next((kind for kind in (CommandCursor, Coroutine) if issubclass(result, kind)), None)


def _foreign(kind: type) -> bool:
    return kind.__module__ == "itertools" or any((one.__module__, one.__name__) == _QUERIES for one in kind.__mro__)
