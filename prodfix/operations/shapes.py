"""The shape of a command: deny by default. Every leaf becomes its type; field names, operators and collections stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from prodfix.redaction.names import LONGEST_NAME, mask_key, secret_key
from prodfix.redaction.redacted import Redacted
from prodfix.redaction.redactor import redact_text

NODES = 200  # how many values of one command are looked at


LEVELS = 10  # how deep


ITEMS = 5  # how many elements of a list


RAW_BYTES = 64 * 1024  # a larger raw document is not even parsed


REMEMBERED = (
    4096  # names of fields: of most applications they are all there are, and of the rest none is looked up in vain
)


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


LONGEST_TEXT = 120  # characters of a text that stays: a collection's name, a value that is to be shown


def redact_command(command: Mapping[str, Any], shown: frozenset[str] = frozenset()) -> Redacted:
    """The shape of a MongoDB command: a new document, at most ``NODES`` values of it, with no value of the caller's.

    ``{"find": "notes", "filter": {"owner": "a@b.c"}, "limit": 5}`` becomes
    ``{"find": "notes", "filter": {"owner": "?str"}, "limit": 5}``. The command is never changed: pymongo hands out the
    caller's own dictionaries. ``shown`` names fields whose values may stand there after all: ``{"orders.status"}``.
    """
    walk = _Walk(_shown_paths(command, shown) if shown else frozenset())
    shape: dict[str, Any] = {}
    for place, (key, value) in enumerate(command.items()):
        if key in _DROPPED:
            continue
        if isinstance(value, str) and ((place == 0 and key not in _OF_USERS) or key in ("$db", "collection")):
            shape[_name(key)] = shown_text(value)
        elif key in _OPTIONS and isinstance(value, (bool, int)):
            shape[key] = value
        else:
            shape[_name(key)] = walk.shape(value, key, 1)
        if walk.left <= 0:
            shape["…"] = "?"
            break
    return Redacted(shape)


class _Walk:
    """One walk over one command, with what is left of its budget."""

    __slots__ = ("_shown", "left")

    def __init__(self, shown: frozenset[str]) -> None:
        self._shown = shown
        self.left = NODES

    def shape(self, value: Any, parent: str, level: int, path: str = "") -> Any:
        """``parent`` is the key above; ``path`` the field's dotted name, without the operators on the way to it."""
        self.left -= 1
        kind = type(value)
        if kind is dict:
            return self._items(value.items(), parent, level, path) if level < LEVELS and self.left > 0 else "?document"
        if kind is not list and isinstance(value, Mapping):
            return self._mapping(value, parent, level, path)
        if kind is list or isinstance(value, (list, tuple)):
            if level >= LEVELS or self.left <= 0:
                return "?array"
            shown = [self.shape(item, parent, level + 1, path) for item in value[:ITEMS] if self.left > 0]
            return [*shown, f"… {len(value)} in all"] if len(value) > len(shown) else shown
        if parent in _DIRECTIONS and type(value) is int and value in (1, -1, 0):
            return value
        if path in self._shown and isinstance(value, (str, int, float)) and not secret_key(parent):
            return shown_text(value) if isinstance(value, str) else value
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
        return self._items(items, parent, level, path)

    def _items(self, items: Iterable[tuple[Any, Any]], parent: str, level: int, path: str) -> Redacted:
        named = _COLLECTION_OF.get(parent)
        # Most documents are fields with values of plain types, each of which its type alone decides.
        plain = not (named or self._shown or parent in _DIRECTIONS)
        shape: dict[str, Any] = {}
        left = self.left
        for key, item in items:
            if left <= 0:
                shape["…"] = "?"
                break
            if plain:
                kind, name = _TYPES.get(type(item)), _field_names.get(key) or _field_name(key)
                if kind is not None and name is not None:
                    left -= 1
                    shape[name] = kind
                    continue
            self.left = left
            if plain and name is not None:
                shape[name] = self.shape(item, key, level + 1)
            elif key == named and isinstance(item, str):
                shape[key] = shown_text(item)
            else:
                inherited = parent if parent in _DIRECTIONS else str(key)
                shape[_name(key)] = self.shape(item, inherited, level + 1, self._below(path, str(key), parent))
            left = self.left
        self.left = left
        return Redacted(shape)

    def _below(self, path: str, key: str, parent: str) -> str:
        if not self._shown or key.startswith("$") or (key in ("q", "u") and parent in ("updates", "deletes")):
            return path
        return f"{path}.{key}" if path else key


def shown_text(text: str) -> str:
    """What of a text stays; redacted first, as what is cut is no longer known."""
    return _short_text(text if len(text) <= LONGEST_TEXT else text[: 2 * LONGEST_TEXT])


@lru_cache(1024)
def _short_text(text: str) -> str:
    # The names of a few collections and databases, again and again.
    return redact_text(text)[:LONGEST_TEXT]


def _name(key: Any) -> str:
    """The name of a field, as it may be told."""
    key = str(key)
    return _short_name(key) if len(key) <= LONGEST_NAME else mask_key(key)


@lru_cache(4096)
def _short_name(key: str) -> str:
    return redact_text(mask_key(key))


_field_names: dict[str, str] = {}


def _field_name(key: Any) -> str | None:
    """The name of a field, as it may be told; ``None`` for what is none, or tells how its value is to be read."""
    if type(key) is not str or len(key) > LONGEST_NAME or key in _DIRECTIONS:
        return None
    name = _short_name(key)
    if len(_field_names) < REMEMBERED:
        _field_names[key] = name
    return name


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
