"""Where an error was raised: in the driver while it wrote a command or read a reply, or in somebody else's code."""

from __future__ import annotations

from bson.errors import InvalidBSON
from pymongo.errors import ProtocolError, PyMongoError

from prodfix.causes import chain
from prodfix.errors import ProdFixError

_RESULTS = frozenset(
    f"pymongo.synchronous.{name}" for name in ("cursor", "cursor_base", "command_cursor", "aggregation")
)

Place = tuple[str, str]
"""Module and function of a frame."""


def places(error: BaseException) -> list[Place]:
    """Module and function of each frame of the traceback, innermost last."""
    found = []
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        found.append((str(frame.f_globals.get("__name__", "")), frame.f_code.co_name))
        traceback = traceback.tb_next
    return found


def unreadable(error: BaseException) -> bool:
    """Whether ``error``, or what it came from, is that a reply of the server could not be read: nobody knows what it said.

    BSON that is broken or holds what Python cannot (a date after the year 9999), and an application's own decoder that fails.
    """
    return any(isinstance(link, (InvalidBSON, ProtocolError)) or reading_a_reply(link) for link in chain(error))


def reading_a_reply(error: BaseException) -> bool:
    """Whether ``error`` was raised while the driver decoded a reply: a document of the server's, never the client's."""
    if isinstance(error, (PyMongoError, ProdFixError, MemoryError)):
        return False
    outer, traceback = "", error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        module = frame.f_globals.get("__name__")
        if module == "bson" and outer.startswith("pymongo.") and frame.f_code.co_name.startswith("_decode"):
            return True
        outer, traceback = str(module), traceback.tb_next
    return False


def fetching(error: BaseException) -> bool:
    """Whether ``error`` was raised while results of a query or a pipeline were fetched, and not by a write."""
    return any(module in _RESULTS for module, _ in places(error))


def encoding(error: BaseException) -> bool:
    """Whether ``error`` was raised while BSON was made: of a command, or by whoever asked for it."""
    frames = places(error)
    return bool(frames) and (frames[-1][0] == "pymongo.message" or frames[-1][0].partition(".")[0] == "bson")
