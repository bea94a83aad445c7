"""The OpenAPI 3.1 document of the API, made of what the endpoints declare (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from flask import Response, jsonify
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue

from prodfix.blueprints.diagnostics import envelopes
from prodfix.blueprints.diagnostics.endpoints import ENDPOINTS, NO_INPUT, Endpoint, blueprint_of
from prodfix.blueprints.diagnostics.guard import guarded
from prodfix.models import inlined

VERSION = "1.0.0"  # of the API
_SCHEMA = "#/components/schemas/{model}"
_PATH = re.compile(r"<(?:\w+:)?(\w+)>")
_REFUSALS = {
    "401": "No token, or none that is valid",
    "403": "A valid token without the role",
    "422": "What is asked has another form; `details` says where",
    "429": "Asked too often; `Retry-After` says when to come back",
    "503": "MongoDB or the disk cannot be asked, and this cannot do without",
}

blueprint = blueprint_of("openapi")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The document itself."""
    return jsonify(document(guarded().prefix))


@cache
def document(prefix: str) -> dict[str, Any]:
    """The whole document, for an API below ``prefix``."""
    schemas, definitions = _schemas(ENDPOINTS)
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        rule = _PATH.sub(lambda match: "{" + _camel(match[1]) + "}", prefix + one.rule)
        paths.setdefault(rule, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "prodfix diagnostics",
            "version": VERSION,
            "description": "What an admin may ask of an application's errors, its database and its deferred writes.",
        },
        "security": [{"admin": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "responses": {
                f"Refused{status}": {"description": text, "content": _json(schemas[envelopes.Error, "serialization"])}
                for status, text in {**_REFUSALS, "404": "There is no such thing", "400": "No JSON"}.items()
            },
        },
    }


Key = tuple[Any, JsonSchemaMode]


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[dict[Key, JsonSchemaValue], dict[str, Any]]:
    """The schema of each model that is used, and the definitions that they refer to."""
    used: list[Key] = [(envelopes.Error, "serialization")]
    for one in endpoints:
        used.append((one.answer, "serialization"))
        used += [(body, "validation") for body in (one.body,) if body is not None]
    models = [(model, mode, TypeAdapter(model)) for model, mode in dict.fromkeys(used)]
    schemas, whole = TypeAdapter.json_schemas(models, ref_template=_SCHEMA, by_alias=True)
    definitions = whole["$defs"]
    inlined(definitions)
    used_names = set(_names([*schemas.values()], definitions))
    return schemas, {name: schema for name, schema in definitions.items() if name in used_names}


def _names(value: Any, definitions: dict[str, Any]) -> Iterator[str]:
    """What ``value`` refers to, directly and through others. None of ours refers to itself."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            name = reference.rpartition("/")[2]
            yield name
            yield from _names(definitions[name], definitions)
        for part in value.values():
            yield from _names(part, definitions)
    elif isinstance(value, list):
        for part in value:
            yield from _names(part, definitions)


def _operation(one: Endpoint, schemas: dict[Key, JsonSchemaValue]) -> dict[str, Any]:
    good = {"description": one.title, "content": _json(schemas[one.answer, "serialization"])}
    refused = dict.fromkeys(_REFUSALS) | dict.fromkeys(["404"] if one.missing else [])
    if one.body is not None:
        refused |= dict.fromkeys(["400", "415"])
    operation: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.title,
        "responses": {str(one.status): good, **{status: _refused(status) for status in sorted(refused)}},
    }
    if one.text:
        operation["description"] = one.text
    if parameters := [*_path_parameters(one), *_query_parameters(one)]:
        operation["parameters"] = parameters
    if one.body is not None:
        operation["requestBody"] = {"content": _json(schemas[one.body, "validation"]), "required": _demanded(one.body)}
    return operation


def _refused(status: str) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/Refused{'400' if status == '415' else status}"}


def _path_parameters(one: Endpoint) -> Iterator[dict[str, Any]]:
    for name in _PATH.findall(one.rule):
        schema = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^/]+$"}
        yield {"name": _camel(name), "in": "path", "required": True, "schema": schema}


def _query_parameters(one: Endpoint) -> Iterator[dict[str, Any]]:
    if one.query is NO_INPUT:
        return
    schema = TypeAdapter(one.query).json_schema(by_alias=True, ref_template=_SCHEMA)
    definitions = schema.get("$defs", {})
    for name, field in schema["properties"].items():
        shape = _without_null(field, definitions)
        words = {key: shape.pop(key) for key in ("description", "examples", "title") if key in shape}
        described = {"description": words["description"]} if "description" in words else {}
        yield {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": shape,
            **described,
        }


def _without_null(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is not null: a query string has no null."""
    shape = dict(field)
    if shape.get("default", ...) is None:
        del shape["default"]
    kinds = [kind for kind in shape.pop("anyOf", []) if kind != {"type": "null"}]
    for kind in [*kinds, *([shape] if "$ref" in shape else [])]:
        found = dict(kind)
        if reference := found.pop("$ref", None):
            shape.pop("$ref", None)
            found |= definitions[reference.rpartition("/")[2]]
        shape |= {key: value for key, value in found.items() if key not in ("description", "title")}
    return shape


def _demanded(body: Any) -> bool:
    return any(field.is_required() for field in body.model_fields.values())


def _json(schema: JsonSchemaValue) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
