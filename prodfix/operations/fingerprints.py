"""Which commands are the same but for their values: a cheap key for counting all of them, a fingerprint for a few.

The key costs a microsecond and is taken of every command; the fingerprint is taken of a redacted shape, where it is wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from prodfix.operations.shapes import shown_text

MOST_FIELDS = 16  # names of a filter's fields in a key
LONGEST = 4096  # bytes of a shape whose fingerprint is remembered

UNFILTERED = frozenset({"insert", "getMore", "commitTransaction", "abortTransaction"})
_ORDERED = frozenset({"sort", "$sort", "hint", "key"})  # documents in which the order of keys has a meaning
_SETS = frozenset({"$and", "$or", "$nor", "$in", "$nin", "$all"})  # lists in which the order of elements has none


class CommandKey(NamedTuple):
    """A command's operation and collection, and the names of its filter's top-level fields, as they came."""

    operation: str
    collection: str | None
    fields: tuple[str, ...]


def collection_of(name: str, command: Mapping[str, Any]) -> str | None:
    """Most commands name their collection under their own name; a getMore and a client's bulkWrite do not."""
    value = command.get(name) if name != "getMore" else command.get("collection")
    if name == "bulkWrite":
        spaces = {str(space.get("ns", "")).partition(".")[2] for space in command.get("nsInfo", ())[:5]}
        return ",".join(sorted(spaces)) or None
    return value if isinstance(value, str) else None


def shown_collection(name: str | None) -> str | None:
    """The name of a collection, as it may be told: an application may have made it of a user's address."""
    return None if name is None else shown_text(name)


def filter_of(name: str, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The filter of a find, count, distinct, aggregate (its first ``$match``), update, delete or findAndModify."""
    found = command.get("filter")
    if found is None:
        found = command.get("query")
    if found is None and name in ("update", "delete"):
        parts = command.get(name + "s")
        found = parts[0].get("q") if parts else None
    elif found is None and name == "aggregate":
        stages = command.get("pipeline")
        found = stages[0].get("$match") if isinstance(stages, list) and stages else None
    # A raw document would have to be parsed to be looked at.
    return found if isinstance(found, dict) else None


def command_key(name: str, command: Mapping[str, Any]) -> CommandKey:
    """The key under which a command is counted."""
    # Most have both where a find has them: only the others are looked at in full.
    collection: Any = command.get(name)
    fields: tuple[str, ...] = ()
    if type(collection) is not str:
        collection = collection_of(name, command)
    if name not in UNFILTERED:
        found = command.get("filter")
        if type(found) is not dict:
            found = filter_of(name, command)
        fields = tuple(found)[:MOST_FIELDS] if found else ()
    return CommandKey(name, collection, fields)


def fingerprint(shape: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a redacted shape; the same for other values, other list lengths, and another order of keys
    or of alternatives where order has no meaning."""
    try:
        told = orjson.dumps(shape, default=str)
    except TypeError:  # a number beyond 64 bits, which says no more than its type
        return _made(shape)
    # Most shapes come again and again, as commands stand in somebody's code.
    return _remembered(told) if len(told) <= LONGEST else _made(shape)


@lru_cache(256)
def _remembered(told: bytes) -> str:
    return _made(orjson.loads(told))


def _made(shape: Mapping[str, Any]) -> str:
    canonical = orjson.dumps(_canonical(shape, ""), default=str)
    return hashlib.blake2b(canonical, digest_size=8).hexdigest()


def _canonical(value: Any, parent: str) -> Any:
    if isinstance(value, Mapping):
        below = {key: parent if parent in _ORDERED else str(key) for key in value if key != "…"}
        items = [(str(key), _canonical(value[key], inherited)) for key, inherited in below.items()]
        return items if parent in _ORDERED else sorted(items, key=lambda item: item[0])
    if isinstance(value, list):
        parts = [_canonical(item, parent) for item in value if not (isinstance(item, str) and item.startswith("… "))]
        if parent == "pipeline" or parent in _ORDERED:
            return parts
        distinct = {orjson.dumps(part, default=str): part for part in parts}
        return [distinct[key] for key in (sorted(distinct) if parent in _SETS else distinct)]
    # Options such as limit and skip are values too.
    return type(value).__name__ if isinstance(value, (int, float)) and parent not in _ORDERED else value
