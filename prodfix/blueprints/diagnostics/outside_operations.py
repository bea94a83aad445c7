"""What the document says of the routes that are none of the diagnostics' own: health checks, and the status of deferred
writes. They are found where the application has registered them; what is not registered is not in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask

from prodfix.blueprints.diagnostics.examples import MOMENT

HEALTH, OPERATIONS = "prodfix.blueprints.health", "prodfix.blueprints.operations"
Found = tuple[str, str, dict[str, Any]]

_VERBOSE = {
    "name": "verbose",
    "in": "query",
    "required": False,
    "allowEmptyValue": True,
    "schema": {"type": "string"},
    "description": "With it, and a token for the diagnostics, the answer has `worker`: what this worker knows",
}
_TIME = {"type": "string", "format": "date-time", "description": "When it was answered"}
_DATABASE = {
    "type": "object",
    "description": "The database as this worker sees it",
    "properties": {
        "connected": {"type": "boolean"},
        "latencyMs": {"type": ["number", "null"], "description": "Of the last ping"},
        "poolSize": {"type": "integer"},
        "availableConnections": {"type": "integer"},
        "poolExhausted": {"type": "boolean", "description": "There if it is: this worker's pool, and no dead database"},
    },
    "required": ["connected", "latencyMs", "poolSize", "availableConnections"],
}
_HEALTHY = {
    "healthy": True,
    "database": {"connected": True, "latencyMs": 0.8, "poolSize": 2, "availableConnections": 10},
    "timestamp": MOMENT,
}
_NAMES = {"live": "checkLiveness", "ready": "checkReadiness", "startup": "checkStartup", "db": "checkDatabase"}
_BOTH = {"ready": ("ready", "starting"), "startup": ("started", "starting"), "live": ("live",)}


def outside(app: Flask) -> Iterator[Found]:
    """Method, path as the router has it, and operation of each."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        name, text = view.__name__, " ".join((view.__doc__ or "").replace("``", "`").split())
        title, _, _ = text.partition(". ")
        said = {"summary": title.rstrip(".") + ".", "description": text}
        if view.__module__ == HEALTH and name in _NAMES:
            yield "GET", rule.rule, said | _health(name)
        elif view.__module__ == OPERATIONS and name == "show":
            yield "GET", rule.rule, said | _OPERATION


def _health(name: str) -> dict[str, Any]:
    if name == "db":
        schema, good = _object({"healthy": {"type": "boolean"}, "database": _DATABASE}), _HEALTHY
    else:
        schema = _object({"status": {"enum": [*_BOTH[name], *(["draining"] if name == "ready" else [])]}})
        good = {"status": _BOTH[name][0], "timestamp": MOMENT}
    answers = {"200": {"description": "It is", "content": _json(schema, good)}}
    if name != "live":
        answers["503"] = {
            "description": "It is not, or not yet",
            "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
            "content": _json(schema, _bad(name)),
        }
    refused = {status: {"$ref": f"#/components/responses/Refused{status}"} for status in ("401", "403")}
    return {
        "operationId": _NAMES[name],
        "tags": ["Health"],
        "security": [{}, {"token": []}],
        "parameters": [_VERBOSE],
        "responses": answers | refused,
    }


def _bad(name: str) -> dict[str, Any]:
    if name == "db":
        away = {"connected": False, "latencyMs": None, "poolSize": 0, "availableConnections": 0}
        return {"healthy": False, "database": away, "timestamp": MOMENT}
    return {"status": _BOTH[name][-1], "timestamp": MOMENT}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    worker = {"type": "object", "description": "Only with `verbose`"}
    return {
        "type": "object",
        "properties": {**properties, "timestamp": _TIME, "worker": worker},
        "required": [*properties, "timestamp"],
    }


def _json(schema: dict[str, Any], good: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": good}}


_OPERATION: dict[str, Any] = {
    "operationId": "getOperation",
    "tags": ["Operations"],
    "security": [{}, {"token": []}],
    "parameters": [
        {
            "name": "identity",
            "in": "path",
            "required": True,
            "description": "The `operationId` of a 202",
            "example": "3f0c9a51b7de4c8fa2a5d0c1e6b7f890",
            "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^/]+$"},
        }
    ],
    "responses": {
        "200": {
            "description": "What has become of it",
            "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OperationAnswer"}}},
        },
        **{status: {"$ref": f"#/components/responses/Refused{status}"} for status in ("401", "404", "503")},
    },
}
