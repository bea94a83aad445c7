"""The shape of a command: deny by default. Every leaf becomes its type; field names, operators and collections stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.redaction.names import mask_key

NODES = 200  # how many values of one command are looked at


LEVELS = 10  # how deep


ITEMS = 5  # how many elements of a list


RAW_BYTES = 64 * 1024  # a larger raw document is not even parsed


_DROPPED = frozenset({"lsid", "$clusterTime", "signature", "$readPreference", "apiVersion", "comment"})


_OPTIONS = frozenset(
    [
        "limit",
        "skip",
        "batchSize",
        "singleBatch",
        "ordered",
        "maxTimeMS",
        "upsert",
        "multi",
        "new",
        "remove",
        "txnNumber",
        "autocommit",
        "startTransaction",
        "tailable",
        "awaitData",
        "noCursorTimeout",
        "allowDiskUse",
        "bypassDocumentValidation",
        "nReturned",
        "$db",
    ]
)


_OF_USERS = frozenset(["createUser", "updateUser", "dropUser", "usersInfo", "grantRolesToUser", "revokeRolesFromUser"])


_DIRECTIONS = frozenset({"sort", "$sort", "hint", "key", "projection", "$project"})


_COLLECTION_OF = {
    "$lookup": "from",
    "$graphLookup": "from",
    "$unionWith": "coll",
    "$merge": "into",
    "$out": "coll",
}


_TYPES: dict[type, str] = {
    type(None): "?null",
    bool: "?bool",
    int: "?int",
    float: "?float",
    str: "?str",
    bytes: "?bytes",
}


def redact_command(command: Mapping[str, Any], shown: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The shape of a MongoDB command: a new dict, at most ``NODES`` values of it, with no value of the caller's.

    ``{"find": "notes", "filter": {"owner": "a@b.c"}, "limit": 5}`` becomes
    ``{"find": "notes", "filter": {"owner": "?str"}, "limit": 5}``. The command is never changed: pymongo hands out the
    caller's own dictionaries. ``shown`` names fields whose values may stand there after all: ``{"orders.status"}``.
    """
    walk = _Walk(_shown_paths(command, shown) if shown else frozenset())
    shape: dict[str, Any] = {}
    for place, (key, value) in enumerate(command.items()):
        if key in _DROPPED:
            continue
        if place == 0 and isinstance(value, str) and key not in _OF_USERS:
            shape[key] = value[:120]
        elif (key in _OPTIONS and isinstance(value, (bool, int))) or (
            key in ("$db", "collection") and isinstance(value, str)
        ):
            shape[key] = value if not isinstance(value, str) else value[:120]
        else:
            shape[mask_key(key)] = walk.shape(value, key, 1)
        if walk.left <= 0:
            shape["…"] = "?"
            break
    return shape


class _Walk:
    """One walk over one command, with what is left of its budget."""

    __slots__ = ("_shown", "left")

    def __init__(self, shown: frozenset[str]) -> None:
        self._shown = shown
        self.left = NODES

    def shape(self, value: Any, parent: str, level: int, path: str = "") -> Any:
        """``parent`` is the key above; ``path`` the field's dotted name, without the operators on the way to it."""
        self.left -= 1
        if isinstance(value, Mapping):
            return self._mapping(value, parent, level, path)
        if isinstance(value, (list, tuple)):
            if level >= LEVELS or self.left <= 0:
                return "?array"
            shown = [self.shape(item, parent, level + 1, path) for item in value[:ITEMS] if self.left > 0]
            return [*shown, f"… {len(value)} in all"] if len(value) > len(shown) else shown
        if parent in _DIRECTIONS and type(value) is int and value in (1, -1, 0):
            return value
        if path in self._shown and isinstance(value, (str, int, float)):
            return value[:120] if isinstance(value, str) else value
        return type_name(value)

    def _mapping(self, value: Mapping[str, Any], parent: str, level: int, path: str) -> Any:
        if level >= LEVELS or self.left <= 0:
            return "?document"
        try:
            raw = getattr(value, "raw", None)  # a RawBSONDocument's, known by that: bson is not loaded for shapes
            if isinstance(raw, bytes) and len(raw) > RAW_BYTES:
                return "?document"
            items = value.items()
        except Exception:  # noqa: BLE001 - a raw document is decoded here for the first time, perhaps by somebody's decoder
            return "?document"
        named = _COLLECTION_OF.get(parent)
        shape: dict[str, Any] = {}
        for key, item in items:
            if self.left <= 0:
                shape["…"] = "?"
                break
            if key == named and isinstance(item, str):
                shape[key] = item[:120]
            else:
                inherited = parent if parent in _DIRECTIONS else str(key)
                shape[mask_key(str(key))] = self.shape(item, inherited, level + 1, self._below(path, str(key), parent))
        return shape

    def _below(self, path: str, key: str, parent: str) -> str:
        if not self._shown or key.startswith("$") or (key in ("q", "u") and parent in ("updates", "deletes")):
            return path
        return f"{path}.{key}" if path else key


def _shown_paths(command: Mapping[str, Any], shown: frozenset[str]) -> frozenset[str]:
    name = next(iter(command), "")
    collection = command.get("collection") if name == "getMore" else command.get(name)
    prefix = f"{collection}."
    return frozenset(field.removeprefix(prefix) for field in shown if field.startswith(prefix))


def document_shape(document: Any) -> Any:
    """The shape of one document: field names and types, within the same bounds as a command's."""
    return redact_command({"insert": "", "document": document})["document"]


def type_name(value: Any) -> str:
    return _TYPES.get(type(value)) or "?" + type(value).__name__.lower()[:40]
