"""What the frames of an exception's traceback know: its stack, and the database operation that it ended.

While MongoDB cannot be reached the driver publishes no command event and its exceptions name neither operation nor
collection, but its frames hold both: ``self`` is a Collection, a Cursor or a Database, and the function's name is the
operation. Reading them costs microseconds, and only when something failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from types import FrameType
from typing import Any, NamedTuple

from bson import SON
from pymongo.errors import BulkWriteError, ClientBulkWriteException, WriteError
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.collection import Collection
from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor
from pymongo.synchronous.database import Database
from pymongo.synchronous.mongo_client import MongoClient

from prodfix.driver.operation_internals import CLIENT_BULKS, collection_of, filter_of
from prodfix.errors import chain
from prodfix.operations.fingerprints import shown_collection
from prodfix.operations.operation import DatabaseOperation, command_of, merges
from prodfix.operations.shapes import redact_command
from prodfix.operations.tracebacks import DRIVER, FILES, LONGEST, OURS, Way, shown_at, walked
from prodfix.redaction.redactor import redact_text
from prodfix.slotted import frozen

_ARGUMENTS = ("filter", "pipeline", "document", "documents", "update", "replacement", "requests", "command", "key")
_LAYERS = (DRIVER, FILES, OURS)  # a call of the driver is in between
_MANY = frozenset({"update_many", "delete_many"})
_COUNTS = ("nInserted", "nMatched", "nModified", "nUpserted", "nRemoved", "nDeleted", "anySuccessful")

Walked = tuple[BaseException, Way, list[FrameType]]


@frozen
class DriverCall:
    """The call of the driver that an exception ended. ``halfway``: it is several commands, or one statement for many
    documents, and may have applied a part before it failed."""

    operation: DatabaseOperation
    client: MongoClient[Any] | None
    halfway: bool


def driver_call(
    error: BaseException, within: FrameType | None = None, known: DatabaseOperation | None = None
) -> DriverCall | None:
    """The call that ``error`` (or what caused it) ended inside the driver, or ``None`` if no driver was involved.

    ``within``: the frame that asks, if it is the driver's call that is still on its way out. ``known``: what the event of the
    command that failed has told; if it is the same operation, that knows more: its whole shape, and how long it took.
    """
    around: list[FrameType] = []
    while within is not None:
        around.insert(0, within)
        within = within.f_back if within.f_code.co_filename.startswith(_LAYERS) else None
    return _call(walk(error), known, around)


def walk(error: BaseException) -> list[Walked]:
    """Each error of its chain, nearest first, with the way of its traceback and its frames."""
    return [(link, *walked(link.__traceback__)) for link in chain(error)]


def _call(
    links: Sequence[Walked], known: DatabaseOperation | None, around: Sequence[FrameType] = ()
) -> DriverCall | None:
    frames = [*around, *_drivers(links)]
    operation = _operation(frames, known) if frames else None
    if operation is None:
        return None
    halfway = operation.writes and (merges(operation.query or {}) or _halfway(links, around))
    client = next((client for frame in frames if (client := _client(frame)) is not None), None)
    return DriverCall(operation, client, halfway)


def _drivers(links: Sequence[Walked]) -> list[FrameType]:
    return [frames[number] for _, way, frames in links for number in way.driver]


@frozen
class ErrorFrames:
    """What the frames of one error know of it: see :func:`name_of`, :func:`driver_call`, :func:`stack` and :func:`places`."""

    error_type: str
    call: DriverCall | None
    stack: str = ""
    places: tuple[str, ...] = ()


def frames_of(
    error: BaseException,
    *,
    whole: bool,
    known: DatabaseOperation | None = None,
    links: Sequence[Walked] | None = None,
) -> ErrorFrames:
    """All of that; without ``whole`` neither stack nor places, which say nothing where the client is at fault. ``links``: what
    :func:`walk` gave, for who has it."""
    links = links or walk(error)
    kind, call = name_of(error), _call(links, known)
    return ErrorFrames(kind, call, _stack(links), _places(links)) if whole else ErrorFrames(kind, call)


def database_operation(error: BaseException) -> DatabaseOperation | None:
    """The operation of :func:`driver_call`."""
    return _operation(_drivers(walk(error)))


class _Described(NamedTuple):
    """What one frame tells. ``shape`` makes that of its query, which takes longer than all the rest."""

    operation: str
    collection: str | None = None
    shape: Callable[[], dict[str, Any] | None] = lambda: None


def _operation(frames: Iterable[FrameType], known: DatabaseOperation | None = None) -> DatabaseOperation | None:
    chosen: _Described | None = None
    for frame in frames:
        described = _describe(frame)
        # The outermost frame that names a collection wins: that is the method which the application called.
        if described is not None and described.collection:
            chosen = described
            break
        chosen = chosen or described
    if chosen is None:
        return None
    if known is not None and known.operation == chosen.operation:
        return known
    return DatabaseOperation(chosen.operation, shown_collection(chosen.collection), chosen.shape())


def _client(frame: FrameType) -> MongoClient[Any] | None:
    target = frame.f_locals.get("self") if frame.f_code.co_filename.startswith(DRIVER) else None
    if isinstance(target, MongoClient):
        return target
    if isinstance(target, Cursor):
        target = target.collection
    elif isinstance(target, CommandCursor):
        target = collection_of(target)
    database = target.database if isinstance(target, Collection) else target
    return database.client if isinstance(database, Database) else None


def _halfway(links: Sequence[Walked], around: Sequence[FrameType]) -> bool:
    if any(_of_many(link) for link, _, _ in links):
        return True
    refused = any(isinstance(link, WriteError) for link, _, _ in links)
    for frame in around:
        code = frame.f_code
        if code.co_filename.startswith(FILES):
            return True  # a file of GridFS is chunks and an entry
        if code.co_filename.startswith(DRIVER) and ((refused and code.co_name in _MANY) or _partly_counted(frame)):
            return True
    for _, way, frames in links:
        if way.files or any(_partly_counted(frames[number]) for number in way.counting):
            return True
        if refused and not _MANY.isdisjoint(way.called):
            return True
    return False


def _partly_counted(frame: FrameType) -> bool:
    """Whether it is a bulk write's that counts what was applied, which its later commands' errors do not tell."""
    if "full_result" not in frame.f_code.co_varnames:
        return False
    counts = frame.f_locals.get("full_result")
    return isinstance(counts, Mapping) and any(counts.get(count) for count in _COUNTS)


def _of_many(error: BaseException) -> bool:
    """Whether a statement of a bulk write that was refused is for many documents."""
    details = error.details if isinstance(error, (BulkWriteError, ClientBulkWriteException)) else None
    failures = (details or {}).get("writeErrors") or ()
    statements = [failure.get("op") for failure in failures if isinstance(failure, Mapping)]
    return any(isinstance(one, Mapping) and (one.get("multi") or one.get("limit") == 0) for one in statements)


def _describe(frame: FrameType) -> _Described | None:
    name = frame.f_code.co_name
    if name == "csot_wrapper" or not frame.f_code.co_filename.startswith(DRIVER):
        return None
    values = frame.f_locals
    target = values.get("self")
    if isinstance(target, Collection):
        operation = command_of(name)
        return _Described(operation, target.name, partial(_shape, operation, target.name, values))
    if isinstance(target, Cursor):
        return _Described("find", target.collection.name, partial(_find_shape, target))
    if isinstance(target, CommandCursor):
        return _Described("getMore", getattr(collection_of(target), "name", None))
    if isinstance(target, Database):
        return _database_method(name, target, values)
    if isinstance(target, CLIENT_BULKS):
        return _Described("bulkWrite", _namespaces(target))
    if isinstance(target, (ClientSession, MongoClient)) and not name.startswith("_"):
        return _Described(command_of(name))
    return None


def _find_shape(cursor: Cursor[Any]) -> dict[str, Any]:
    return redact_command({"find": cursor.collection.name, "filter": filter_of(cursor)})


def _shape(operation: str, collection: str, values: Mapping[str, Any]) -> dict[str, Any]:
    command: dict[str, Any] = SON([(operation, collection)])
    for argument in _ARGUMENTS:
        value = values.get(argument)
        if isinstance(value, (dict, list, tuple)):
            command["u" if argument == operation else argument] = value  # as within the command's own `updates`
    return redact_command(command)


def _database_method(name: str, database: Database[Any], values: Mapping[str, Any]) -> _Described:
    command = values.get("command")
    if name in ("command", "cursor_command") and isinstance(command, str):
        value = values.get("value")
        return _Described(command, value if isinstance(value, str) else None)
    if isinstance(command, dict) and command:
        first = next(iter(command))
        target = command[first]
        return _Described(first, target if isinstance(target, str) else None, partial(redact_command, command))
    collection = values.get("name") or values.get("name_or_collection")
    return _Described(command_of(name), collection if isinstance(collection, str) else None)


def _namespaces(bulk: Any) -> str | None:
    names = {str(namespace).partition(".")[2] for namespace in getattr(bulk, "namespaces", ())}
    return ",".join(sorted(names))[:200] or None


def standing(frame: FrameType | None) -> tuple[str, ...]:
    """Where what runs in ``frame`` stands now: its innermost :data:`LONGEST` places as ``file:line in function``, outermost
    first."""
    found: list[str] = []
    while frame is not None and len(found) < LONGEST:
        found.append(shown_at(frame, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(found))


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
    return _stack(walk(error))


def _stack(links: Sequence[Walked]) -> str:
    parts = [
        f"{type(link).__module__[:100]}.{_clean(type(link).__qualname__)}" + ("\n" + way.shown if way.shown else "")
        for link, way, _ in reversed(links)
    ]
    return "\nwhich led to\n".join(parts)[:16_000]


def places(error: BaseException) -> list[str]:
    """Where in the application ``error`` went through, outermost first: ``file:function``, without lines, which another
    release moves. Where no code of the application is involved, the last places of anything else."""
    return list(_places(walk(error)))


def _places(links: Sequence[Walked]) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for _, way, _ in links:  # a deadline is raised where it is enforced; what it has cut is its cause's traceback
        if way.application:
            return way.application[-LONGEST:]
        found = found or way.inner
    return found
