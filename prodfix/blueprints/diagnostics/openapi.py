"""The OpenAPI 3.1 document of the API, made of what the endpoints declare (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue

from prodfix import current_prodfix
from prodfix.blueprints.diagnostics import envelopes
from prodfix.blueprints.diagnostics.document_links import links_of_operation
from prodfix.blueprints.diagnostics.document_words import (
    DESCRIPTIONS,
    HEADER_NAMES,
    HEADERS,
    REFUSALS,
    SCHEME,
    example_of_refusal,
)
from prodfix.blueprints.diagnostics.endpoints import ENDPOINTS, NO_INPUT, Endpoint, blueprint_of
from prodfix.blueprints.diagnostics.examples import example
from prodfix.blueprints.diagnostics.guard import guarded
from prodfix.blueprints.diagnostics.operation_names import TAGS, camel
from prodfix.blueprints.diagnostics.outside_operations import outside
from prodfix.models import VERSION, OperationAnswer, inlined

_SCHEMA = "#/components/schemas/{model}"
_PATH = re.compile(r"<(?:\w+:)?(\w+)>")

blueprint = blueprint_of("openapi")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The document itself."""
    address = current_prodfix.settings.address or request.root_path or "/"
    servers = [{"url": address, "description": "Where this service is"}]
    return jsonify({**document(guarded().prefix), "servers": servers, **_with_outside(current_app)})


@cache
def document(prefix: str) -> dict[str, Any]:
    """The whole document, for an API below ``prefix``, without what the application has registered beside it."""
    schemas, definitions = _schemas(ENDPOINTS)
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        paths.setdefault(_address(prefix + one.rule), {})[one.method.lower()] = _operation(one, schemas, definitions)
    tags = dict.fromkeys(one.tag for one in ENDPOINTS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "prodfix diagnostics",
            "version": VERSION,
            "summary": "Errors of an application, its database and its deferred writes",
            "description": "What an admin or a viewer may ask, and what an admin may change. Each answer says what it covers.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"token": []}],
        "tags": [{"name": name, "description": TAGS.get(name, f"{name} of the application")} for name in tags],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"token": SCHEME},
            "headers": HEADERS,
            "responses": {f"Refused{status}": _refusal(status, text, schemas) for status, text in REFUSALS.items()},
        },
    }


def _with_outside(app: Flask) -> dict[str, Any]:
    """What is to be replaced of the document, for the health checks and the status of writes of this application."""
    known, tags = document(guarded().prefix), list[str]()
    paths: dict[str, dict[str, Any]] = {}
    for method, rule, operation in outside(app):
        paths.setdefault(_address(rule), {})[method.lower()] = operation
        tags += operation["tags"]
    more = [{"name": name, "description": TAGS[name]} for name in dict.fromkeys(tags)]
    return {"paths": known["paths"] | paths, "tags": known["tags"] + more}


def _address(rule: str) -> str:
    return _PATH.sub(lambda match: "{" + camel(match[1]) + "}", rule)


Key = tuple[Any, JsonSchemaMode]


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[dict[Key, JsonSchemaValue], dict[str, Any]]:
    """The schema of each model that is used, and the definitions that they refer to."""
    used: list[Key] = [(envelopes.Error, "serialization"), (OperationAnswer, "serialization")]
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


def _operation(one: Endpoint, schemas: dict[Key, JsonSchemaValue], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = schemas[one.answer, "serialization"]
    shown = one.example if one.example is not None else example(schema, definitions)
    good = {
        "description": one.title,
        "headers": _with(_headers(one)),
        "content": _json(schema, shown),
    }
    if links := links_of_operation(one, ENDPOINTS, schema, definitions):
        good["links"] = links
    refused = dict.fromkeys(status for status in REFUSALS if status not in ("400", "404"))
    refused |= dict.fromkeys(["404"] if one.missing else [])
    if one.body is not None:
        refused |= dict.fromkeys(["400", "415"])
    waits = {"202": {**good, "description": "It is kept on disk, and waits for MongoDB"}} if one.kept else {}
    operation: dict[str, Any] = {
        "operationId": one.operation,
        "tags": [one.tag],
        "summary": one.title,
        "description": _description(one),
        "responses": {str(one.status): good, **waits, **{status: _refused(status) for status in sorted(refused)}},
    }
    if parameters := [*_path_parameters(one), *_query_parameters(one)]:
        operation["parameters"] = parameters
    if one.body is not None:
        body = schemas[one.body, "validation"]
        operation["requestBody"] = {
            "description": "What is wanted, as JSON",
            "content": _json(body, example(body, definitions)),
            "required": _demanded(one.body),
        }
    return operation


def _description(one: Endpoint) -> str:
    """Title and text, and who may ask, where that is not everybody who sees the diagnostics."""
    admins = " For admins only." if one.admin or one.method != "GET" else ""
    return f"{one.title} {one.text}".strip() + admins


def _headers(one: Endpoint) -> Iterator[str]:
    yield "RequestId"
    yield "CacheControl"
    if "next" in getattr(one.answer, "__dataclass_fields__", ()):
        yield "Link"


def _with(headers: Iterable[str]) -> dict[str, Any]:
    return {HEADER_NAMES[name]: {"$ref": f"#/components/headers/{name}"} for name in headers}


def _refusal(status: str, text: str, schemas: dict[Key, JsonSchemaValue]) -> dict[str, Any]:
    names = ["RequestId", *(["RetryAfter"] if status in ("429", "503") else [])]
    names += ["WwwAuthenticate"] if status in ("401", "403") else []
    return {
        "description": text,
        "headers": _with(names),
        "content": _json(schemas[envelopes.Error, "serialization"], example_of_refusal(status, text)),
    }


def _refused(status: str) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/Refused{'400' if status == '415' else status}"}


def _path_parameters(one: Endpoint) -> Iterator[dict[str, Any]]:
    for name in _PATH.findall(one.rule):
        schema = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^/]+$"}
        yield _parameter(camel(name), "path", schema, required=True)


def _query_parameters(one: Endpoint) -> Iterator[dict[str, Any]]:
    if one.query is NO_INPUT:
        return
    schema = TypeAdapter(one.query).json_schema(by_alias=True, ref_template=_SCHEMA)
    definitions = schema.get("$defs", {})
    for name, field in schema["properties"].items():
        shape = _without_null(field, definitions)
        words = {key: shape.pop(key) for key in ("description", "examples", "title") if key in shape}
        shown = example({**shape, **{key: words[key] for key in ("examples",) if key in words}}, {}, name)
        yield _parameter(
            name,
            "query",
            shape,
            required=name in schema.get("required", ()),
            words=words.get("description"),
            shown=shown,
        )


def _parameter(
    name: str, place: str, schema: Mapping[str, Any], *, required: bool, words: str | None = None, shown: Any = None
) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": words or DESCRIPTIONS.get(name) or f"Only what has this {_spaced(name)}",
        "example": shown if shown is not None else example(schema, {}, name),
        "schema": schema,
    }


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r" \1", name).lower()


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


def _json(schema: JsonSchemaValue, shown: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": shown}}
