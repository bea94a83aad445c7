"""What the frames of an exception's traceback know: its stack, and the database operation that it ended.

While MongoDB cannot be reached the driver publishes no command event and its exceptions name neither operation nor
collection, but its frames hold both: ``self`` is a Collection, a Cursor or a Database, and the function's name is the
operation. Reading them costs microseconds, and only when something failed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType, TracebackType
from typing import Any

import pymongo
from bson import SON
from pymongo.synchronous.bulk import _Bulk
from pymongo.synchronous.client_bulk import _ClientBulk
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.collection import Collection
from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor
from pymongo.synchronous.database import Database
from pymongo.synchronous.mongo_client import MongoClient

from prodfix.errors import chain
from prodfix.operations import DatabaseOperation, command_of
from prodfix.redaction import redact_text
from prodfix.shapes import redact_command

_ARGUMENTS = ("filter", "pipeline", "document", "documents", "update", "replacement", "requests", "command", "key")
_LONGEST_STACK = 60  # frames
_ROOTS = tuple(sorted({os.getcwd(), *(path for path in sys.path if path)}, key=len, reverse=True))
_DRIVER = os.path.dirname(pymongo.__file__)
# Python's own files, and ours: a bug is seldom there, and what differs between two errors never.
_OTHERS = (os.path.dirname(os.__file__) + os.sep, os.path.dirname(__file__) + os.sep, "<frozen")


def database_operation(error: BaseException) -> DatabaseOperation | None:
    """The operation that ``error`` (or what caused it) ended inside the driver, or ``None`` if no driver was involved.

    The outermost frame that names a collection wins: that is the method which the application called.
    """
    found = [part for link in chain(error) for frame in _frames(link.__traceback__) for part in _describe(frame)]
    return next((part for part in found if part.collection), found[0] if found else None)


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _describe(frame: FrameType) -> Iterator[DatabaseOperation]:
    name = frame.f_code.co_name
    if name == "csot_wrapper" or not frame.f_code.co_filename.startswith(_DRIVER):
        return
    values = frame.f_locals
    target = values.get("self")
    if isinstance(target, Collection):
        operation = command_of(name)
        yield DatabaseOperation(operation, target.name, _shape(operation, target.name, values))
    elif isinstance(target, Cursor):
        query = redact_command({"find": target.collection.name, "filter": getattr(target, "_spec", None) or {}})
        yield DatabaseOperation("find", target.collection.name, query)
    elif isinstance(target, CommandCursor):
        collection = target._collection
        yield DatabaseOperation("getMore", collection.name, None)
    elif isinstance(target, Database):
        yield _database_method(name, target, values)
    elif isinstance(target, _Bulk):
        yield DatabaseOperation("bulkWrite", target.collection.name, None)
    elif isinstance(target, _ClientBulk):
        yield DatabaseOperation("bulkWrite", _namespaces(target), None)
    elif isinstance(target, (ClientSession, MongoClient)) and not name.startswith("_"):
        yield DatabaseOperation(command_of(name))


def _shape(operation: str, collection: str, values: dict[str, Any]) -> dict[str, Any]:
    command: dict[str, Any] = SON([(operation, collection)])
    for argument in _ARGUMENTS:
        value = values.get(argument)
        if isinstance(value, (dict, list, tuple)):
            command["u" if argument == operation else argument] = value  # as within the command's own `updates`
    return redact_command(command)


def _database_method(name: str, database: Database[Any], values: dict[str, Any]) -> DatabaseOperation:
    command = values.get("command")
    if name in ("command", "cursor_command") and isinstance(command, str):
        value = values.get("value")
        return DatabaseOperation(command, value if isinstance(value, str) else None)
    if isinstance(command, dict) and command:
        first = next(iter(command))
        target = command[first]
        return DatabaseOperation(first, target if isinstance(target, str) else None, redact_command(command))
    collection = values.get("name") or values.get("name_or_collection")
    return DatabaseOperation(command_of(name), collection if isinstance(collection, str) else None)


def _namespaces(bulk: _ClientBulk) -> str | None:
    names = {str(namespace).partition(".")[2] for namespace in getattr(bulk, "namespaces", ())}
    return ",".join(sorted(names))[:200] or None


def name_of(error: BaseException) -> str:
    """The name of the error's class, at most 100 characters: classes that are made at run time may hold anything."""
    return _clean(type(error).__name__)


@lru_cache(4096)
def _clean(name: str) -> str:
    return redact_text(name[:200])[:100]


def stack(error: BaseException) -> str:
    """The stack of ``error`` and of what caused it, innermost last: places and exception types only.

    No message, no local value and no source line: all three hold data of users. Paths begin where a package does.
    """
    parts = []
    for link in reversed(list(chain(error))):
        lines = [f"{type(link).__module__[:100]}.{_clean(type(link).__qualname__)}"]
        traceback = link.__traceback__
        while traceback is not None:
            code = traceback.tb_frame.f_code
            lines.append(f"  {_short(code.co_filename)}:{traceback.tb_lineno} in {code.co_name}")
            traceback = traceback.tb_next
        if len(lines) > _LONGEST_STACK:
            lines[_LONGEST_STACK // 2 : -_LONGEST_STACK // 2] = [f"  … {len(lines) - _LONGEST_STACK} more"]
        parts.append("\n".join(lines))
    return "\nwhich led to\n".join(parts)[:16_000]


def places(error: BaseException) -> list[str]:
    """Where in the application ``error`` went through, outermost first: ``file:function``, without lines, which another
    release moves. Where no code of the application is involved, the last places of anything else."""
    found: list[CodeType] = []
    for link in chain(error):  # a deadline is raised where it is enforced; what it has cut is its cause's traceback
        codes = [frame.f_code for frame in _frames(link.__traceback__)]
        found = found or codes[-3:]
        chosen = [code for code in codes if _in_application(code.co_filename)]
        if chosen:
            break
    else:
        chosen = found
    return [f"{_short(code.co_filename)}:{code.co_name}" for code in chosen[-_LONGEST_STACK:]]


@lru_cache(4096)
def _in_application(path: str) -> bool:
    return not path.startswith(_OTHERS) and "site-packages" not in path and "dist-packages" not in path


@lru_cache(4096)
def _short(path: str) -> str:
    for root in _ROOTS:
        if path.startswith(root + os.sep):
            return path[len(root) + 1 :]
    return os.path.basename(path)
