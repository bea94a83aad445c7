"""What objects of the driver know of an operation that runs or has failed: its collection, its filter, its write concern."""

from __future__ import annotations

from typing import Any

from pymongo.errors import PyMongoError
from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.cursor import Cursor
from pymongo.write_concern import WriteConcern

from prodfix.driver.private_names import PrivateName, found, sets

_CLIENT_BULK = found("pymongo.synchronous.client_bulk", "_ClientBulk")
_POOL_CLOSED = found("pymongo.pool_shared", "_PoolClosedError") or found(
    "pymongo.synchronous.pool",
    "_PoolClosedError",  # until 4.17
)

OPERATION_NAMES = (
    PrivateName(
        "_PoolClosedError", "the meaning of an operation that was cut when its client was closed", bool(_POOL_CLOSED)
    ),
    PrivateName(
        "_ClientBulk", "the collections of a client's bulk write that failed without an answer", bool(_CLIENT_BULK)
    ),
    PrivateName("Cursor._spec", "the shape of a query that failed without an answer", sets(Cursor, "_spec")),
    PrivateName(
        "CommandCursor._collection", "the collection of a getMore that failed", sets(CommandCursor, "_collection")
    ),
)

CLOSED: tuple[type[PyMongoError], ...] = (_POOL_CLOSED,) if _POOL_CLOSED else ()
"""The class of what an operation fails with that is cut as its client is closed."""
CLIENT_BULKS: tuple[type[Any], ...] = (_CLIENT_BULK,) if _CLIENT_BULK else ()
"""The class of a bulk write of a client that runs; it has ``namespaces``."""


def collection_of(cursor: CommandCursor[Any]) -> Any:
    """The collection that a cursor reads; ``None`` if nobody knows."""
    return getattr(cursor, "_collection", None)


def filter_of(cursor: Cursor[Any]) -> Any:
    """The filter of a query."""
    return getattr(cursor, "_spec", None) or {}


def concern_of(bulk: Any) -> WriteConcern | None:
    """The write concern of a bulk write that runs, of a collection or of a client; ``None`` if nobody knows."""
    own: WriteConcern | None = getattr(bulk, "write_concern", None)
    return own or getattr(getattr(bulk, "collection", None), "write_concern", None)
