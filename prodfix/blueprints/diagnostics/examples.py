"""An example of whatever has a JSON schema: made of it, so that it is true, with words that look like the real ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MOMENT = "2026-11-30T00:00:00.000Z"
_DEEPEST = 12
_WORDS = {
    "category": "unknown",
    "code": "INTERNAL_ERROR",
    "collection": "orders",
    "cursor": "50",
    "detail": "Something went wrong here. It was recorded.",
    "endpoint": "/api/v1/orders/<number>",
    "fingerprint": "9f86d081884c7d65",
    "headline": "KeyError: 'price'",
    "instance": "web-1",
    "logger": "shop.orders",
    "message": "KeyError: 'price'",
    "operation": "find",
    "operationId": "3f0c9a51b7de4c8fa2a5d0c1e6b7f890",
    "owner": "ann",
    "place": "views.py:show",
    "release": "2026.11.3",
    "requestId": "01JDXW6P9ZK4Q8M2T7V5R3N1BC",
    "text": "The price list of the new supplier has no prices",
    "title": "KeyError: 'price'",
    "type": "/problems/internal-error",
    "user": "4711",
    "userId": "4711",
    "worker": "26296-f86853988547",
}
_BY_PATTERN = ("9f86d081884c7d65", "50", "1764460800000-0123456789abcdef01234567", "10m")
_NUMBERS = {"status": 500, "count": 3, "total": 3, "minutes": 15, "pid": 26296, "limit": 50}


def example(schema: Mapping[str, Any], definitions: Mapping[str, Any], name: str = "", level: int = 0) -> Any:
    """One value that the schema allows; ``name`` is that of the field. Raises ``KeyError`` for a reference to nothing."""
    if level > _DEEPEST:
        return None
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], definitions, name, level + 1)
    for given in ("examples", "enum"):
        if schema.get(given):
            return schema[given][0]
    for given in ("const", "default"):
        if schema.get(given) is not None:
            return schema[given]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            kinds = [kind for kind in schema[several] if kind.get("type") != "null"]
            return example(kinds[0], definitions, name, level + 1) if kinds else None
    return _by_type(schema, definitions, name, level)


def _by_type(schema: Mapping[str, Any], definitions: Mapping[str, Any], name: str, level: int) -> Any:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        made = {key: example(part, definitions, key, level + 1) for key, part in schema.get("properties", {}).items()}
        more = schema.get("additionalProperties")
        if not made and isinstance(more, Mapping):
            made["name"] = example(more, definitions, name, level + 1)
        return made
    if kind == "array":
        items = [
            *schema.get("prefixItems", ()),
            *([schema["items"]] if isinstance(schema.get("items"), Mapping) else []),
        ]
        return [example(item, definitions, _one_of(name), level + 1) for item in items]
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 0), schema.get("maximum", _NUMBERS.get(name, 1))
        return max(low, min(high, _NUMBERS.get(name, 1)))
    return {"string": _text(schema, name), "boolean": True}.get(str(kind))


def _text(schema: Mapping[str, Any], name: str) -> str:
    if schema.get("format") == "date-time":
        return MOMENT
    pattern, longest = schema.get("pattern"), schema.get("maxLength", 1000)
    for known in (_WORDS.get(name, name or "text"), *_BY_PATTERN):
        if len(known) <= longest and (pattern is None or re.search(pattern, known)):
            return known
    return "x" * int(schema.get("minLength", 1))


def _one_of(name: str) -> str:
    return name[:-1] if name.endswith("s") else name
