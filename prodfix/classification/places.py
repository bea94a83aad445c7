"""Where an error was raised: in the driver while it wrote a command or read a reply, or in somebody else's code."""

from __future__ import annotations

from bson.errors import InvalidBSON
from pymongo.errors import ProtocolError, PyMongoError

from prodfix.causes import chain
from prodfix.errors import ProdFixError
from prodfix.operations.tracebacks import Place, walked

_RESULTS = frozenset(
    f"pymongo.synchronous.{name}" for name in ("cursor", "cursor_base", "command_cursor", "aggregation")
)


def places(error: BaseException) -> tuple[Place, ...]:
    """Module and function of each frame of the traceback, innermost last."""
    return walked(error.__traceback__)[0].modules


def unreadable(error: BaseException) -> bool:
    """Whether ``error``, or what it came from, is that a reply of the server could not be read: nobody knows what it said.

    BSON that is broken or holds what Python cannot (a date after the year 9999), and an application's own decoder that fails.
    """
    return any(isinstance(link, (InvalidBSON, ProtocolError)) or reading_a_reply(link) for link in chain(error))


def reading_a_reply(error: BaseException) -> bool:
    """Whether ``error`` was raised while the driver decoded a reply: a document of the server's, never the client's."""
    if isinstance(error, (PyMongoError, ProdFixError, MemoryError)):
        return False
    outer = ""
    for module, name in places(error):
        if module == "bson" and outer.startswith("pymongo.") and name.startswith("_decode"):
            return True
        outer = module
    return False


def fetching(error: BaseException) -> bool:
    """Whether ``error`` was raised while results of a query or a pipeline were fetched, and not by a write."""
    return any(module in _RESULTS for module, _ in places(error))


def encoding(error: BaseException) -> bool:
    """Whether ``error`` was raised while BSON was made: of a command, or by whoever asked for it."""
    frames = places(error)
    return bool(frames) and (frames[-1][0] == "pymongo.message" or frames[-1][0].partition(".")[0] == "bson")
