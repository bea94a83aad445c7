"""Results that are none yet: nothing was asked, or not all was read, when the last try has ended."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor

Result = TypeVar("Result")

# Known by name: a host need not have it.
_QUERIES = ("mongoengine.queryset.base", "BaseQuerySet")


def read(result: Result) -> Result:
    """``result``, unless it is lazy. Raises ``TypeError`` then: what fails while it is read later would be tried by nobody.

    A cursor of a command that has nothing more to give (``$merge``, ``$out``) is read.
    """
    advice = _advice(result)
    if advice is None:
        return result
    close = getattr(result, "close", None)
    if close is not None:
        close()  # the server's cursor, too
    kind = type(result).__name__
    raise TypeError(f"recovery.run() got a {kind} from the operation, which is read after the last try: {advice}")


def _advice(result: Any) -> str | None:
    if isinstance(result, (Cursor, Generator, map, filter, zip)) or _foreign(type(result)):
        return "wrap it in list(...)"
    if isinstance(result, CommandCursor):
        return "wrap it in list(...)" if result.alive else None
    return "give it a function that is not async" if isinstance(result, Coroutine) else None


def _foreign(kind: type) -> bool:
    return kind.__module__ == "itertools" or any((one.__module__, one.__name__) == _QUERIES for one in kind.__mro__)
