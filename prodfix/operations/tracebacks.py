"""What the code of a traceback tells, found out once for each way through it: most errors go a way that others went before.

Code objects are the same for all errors; frames and their values are each error's own, and nothing of them is kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType, TracebackType

import pymongo

LONGEST = 60  # frames of a stack that is shown, and of a way that is remembered
WAYS = 256  # that are remembered, of some kilobytes each
_INSTALLED = os.path.dirname(os.path.dirname(pymongo.__file__))
# GridFS comes with the driver, beside it. It is not loaded to find out where it is.
DRIVER, FILES = (os.path.join(_INSTALLED, package, "") for package in ("pymongo", "gridfs"))
OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep  # all of prodfix, and not this room alone
_ROOTS = tuple(sorted({os.getcwd(), *(path for path in sys.path if path)}, key=len, reverse=True))
# Python's own files, and ours: a bug is seldom there, and what differs between two errors never.
_OTHERS = (os.path.dirname(os.__file__) + os.sep, OURS, "<frozen")

Place = tuple[str, str]
"""Module and function of a frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The way of one traceback, outermost first. ``driver`` are the numbers of its frames that are the driver's, ``counting`` of
    those that count what a bulk write has applied. ``called``: the names of the driver's functions; ``files``: some are GridFS's.

    ``shown``: the lines of its stack; ``inner``: its last three places as :func:`place_of`; ``application``: all of those that
    are the application's own, without loops. Two are equal if they are one.
    """

    codes: tuple[CodeType, ...]  # while they are held no other code has their ids
    modules: tuple[Place, ...]
    shown: str
    inner: tuple[str, ...]
    application: tuple[str, ...]
    driver: tuple[int, ...]
    counting: tuple[int, ...]
    called: frozenset[str]
    files: bool


_ways: dict[tuple[int, ...], Way] = {}


def walked(traceback: TracebackType | None) -> tuple[Way, list[FrameType]]:
    """The way of a traceback, and its frames."""
    frames: list[FrameType] = []
    key: list[int] = []
    link = traceback
    while link is not None:
        frame = link.tb_frame
        frames.append(frame)
        key += (id(frame.f_code), link.tb_lasti)  # by which the line follows, and much sooner than that is found
        link = link.tb_next
    if len(frames) > LONGEST:
        return _way(frames, traceback), frames
    found = _ways.get(known := tuple(key))
    if found is None:
        found = _way(frames, traceback)
        if len(_ways) >= WAYS:
            _ways.clear()  # one step, as other threads look here too
        _ways[known] = found
    return found, frames


def _way(frames: list[FrameType], traceback: TracebackType | None) -> Way:
    codes = tuple(frame.f_code for frame in frames)
    lines = []
    while traceback is not None:
        lines.append(f"  {shown_at(traceback.tb_frame, traceback.tb_lineno)}")
        traceback = traceback.tb_next
    if len(lines) >= LONGEST:  # with the line above them, which says what was raised
        half = LONGEST // 2
        lines[half - 1 : -half] = [f"  … {len(lines) + 1 - LONGEST} more"]
    return Way(
        codes,
        tuple((str(frame.f_globals.get("__name__", "")), frame.f_code.co_name) for frame in frames),
        "\n".join(lines),
        tuple(map(place_of, frames[-3:])),
        tuple(map(place_of, _without_loops(frame for frame in frames if _is_own(frame)))),
        driver := tuple(number for number, code in enumerate(codes) if code.co_filename.startswith(DRIVER)),
        tuple(number for number in driver if "full_result" in codes[number].co_varnames),
        frozenset(codes[number].co_name for number in driver),
        any(code.co_filename.startswith(FILES) for code in codes),
    )


def _without_loops(frames: Iterable[FrameType]) -> Iterable[FrameType]:
    """The way that is left once each loop is taken out of it. How deep, and by which turns, code that calls itself goes is up to
    what it is given: a client that nests its data anew each time would make a kind of error each time."""
    way: dict[CodeType, FrameType] = {}
    for frame in frames:
        if frame.f_code in way:
            while next(reversed(way)) is not frame.f_code:
                way.popitem()
        way[frame.f_code] = frame
    return way.values()


def place_of(frame: FrameType) -> str:
    """``file:function``, without a line, which another release moves."""
    return f"{_short(_file(frame))}:{frame.f_code.co_name}"


def shown_at(frame: FrameType, line: int | None) -> str:
    """``file:line in function``."""
    return f"{_short(_file(frame))}:{line or frame.f_code.co_firstlineno} in {frame.f_code.co_name}"


def _file(frame: FrameType) -> str:
    """The file of a frame's code. What is compiled names its source by where it was built, as ``src/gevent/_waiter.py``: that is
    told as if it were beside the module that was loaded."""
    name = frame.f_code.co_filename
    module = None if os.path.isabs(name) or name.startswith("<") else _module_file(frame)
    return name if module is None else os.path.join(os.path.dirname(module), os.path.basename(name))


def _module_file(frame: FrameType) -> str | None:
    found = frame.f_globals.get("__file__")
    return found if isinstance(found, str) and os.path.isabs(found) else None


def _is_own(frame: FrameType) -> bool:
    """Whether both the code and the module that runs it are the application's: where a compiled file was built says little."""
    module = _module_file(frame)
    return _in_application(_file(frame)) and (module is None or _in_application(module))


@lru_cache(4096)
def _in_application(path: str) -> bool:
    return not path.startswith(_OTHERS) and "site-packages" not in path and "dist-packages" not in path


@lru_cache(4096)
def _short(path: str) -> str:
    root = next((root for root in _ROOTS if path.startswith(root + os.sep)), None)
    short = os.path.basename(path) if root is None else path[len(root) + 1 :]
    return short.encode("utf-8", "replace").decode()  # a name that is no UTF-8 has half characters, which JSON refuses
