"""A model's ``$jsonSchema``: the same rules at the server, for writers that do not come through the model.

pydantic speaks JSON Schema 2020-12, MongoDB a dialect of draft 4 with ``bsonType``
(mongodb.com/docs/manual/reference/operator/query/jsonSchema). What the server cannot say is left out: the server's rules
are never stricter than the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
    from pydantic_core import CoreSchema

_TYPES: dict[str, list[str]] = {
    "string": ["string"],
    "integer": ["int", "long"],
    "number": ["double", "int", "long", "decimal"],
    "boolean": ["bool"],
    "array": ["array"],
    "object": ["object"],
    "null": ["null"],
}
_KEPT = frozenset(
    "enum pattern minLength maxLength minItems maxItems uniqueItems minimum maximum minProperties maxProperties".split()
)
_DEEPEST = 20  # levels; a model may contain itself

GUARD = "_operations"  # the field of an updated document that remembers the last deferred writes
# What every document has besides its model's fields.
OURS: dict[str, Any] = {"_id": {}, "version": {"bsonType": ["int", "long"]}, GUARD: {"bsonType": "array"}}


@cache
def _lenient() -> type[GenerateJsonSchema]:
    """A type that JSON does not know (an ObjectId) is anything, instead of an error."""
    from pydantic.json_schema import GenerateJsonSchema

    class Lenient(GenerateJsonSchema):
        def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
            return {}

    return Lenient


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The ``$jsonSchema`` of a model's documents."""
    whole = model.model_json_schema(schema_generator=_lenient(), mode="validation")
    schema = _convert(whole, whole.get("$defs", {}), 0)
    schema["properties"] = {**schema.get("properties", {}), **OURS}
    return schema


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], level: int) -> dict[str, Any]:
    if level > _DEEPEST:
        return {}
    if "$ref" in node:
        return _convert(definitions.get(str(node["$ref"]).rpartition("/")[2], {}), definitions, level + 1)
    schema = {key: value for key, value in node.items() if key in _KEPT}
    _set_type(schema, node)
    if "const" in node:
        schema["enum"] = [node["const"]]
    # Draft 4 has the bound in one key and whether it is itself allowed in another.
    for bound in ("minimum", "maximum"):
        exclusive = "exclusive" + bound.capitalize()
        if exclusive in node:
            schema |= {bound: node[exclusive], exclusive: True}
    return schema | _parts(node, lambda part: _convert(part, definitions, level + 1))


def _parts(node: Mapping[str, Any], convert: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """What of a schema is made of schemas."""
    parts: dict[str, Any] = {
        key: [convert(part) for part in node[key]] for key in ("anyOf", "oneOf", "allOf") if key in node
    }
    if isinstance(node.get("items"), Mapping):
        parts["items"] = convert(node["items"])
    if "properties" in node:
        parts["properties"] = {name: convert(part) for name, part in node["properties"].items()}
    if node.get("required"):
        parts["required"] = list(node["required"])
    extra = node.get("additionalProperties")
    if isinstance(extra, (bool, Mapping)):
        parts["additionalProperties"] = convert(extra) if isinstance(extra, Mapping) else extra
    return parts


def _set_type(schema: dict[str, Any], node: Mapping[str, Any]) -> None:
    kind = node.get("type")
    if kind == "string" and "format" in node:
        # A datetime is stored as a date; other formats (uuid, decimal, binary) depend on how the driver encodes them.
        if node["format"] == "date-time":
            schema["bsonType"] = "date"
        schema.pop("minLength", None)
        schema.pop("maxLength", None)
    elif kind in _TYPES:
        types = _TYPES[kind]
        schema["bsonType"] = types[0] if len(types) == 1 else types
