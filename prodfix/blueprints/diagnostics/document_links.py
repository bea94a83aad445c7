"""Where one answer leads to another: OpenAPI's links, made of what the endpoints declare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prodfix.blueprints.diagnostics.endpoints import Endpoint
from prodfix.blueprints.diagnostics.operation_names import camel

_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


def links_of_operation(
    one: Endpoint, endpoints: Iterable[Endpoint], schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    """From an entry of a list, or from what was changed, to what is known of that one thing."""
    shown = [other for other in endpoints if other.method == "GET" and len(_VARIABLE.findall(other.rule)) == 1]
    return {
        other.operation: {
            "operationId": other.operation,
            "parameters": {name: place},
            "description": other.title,
        }
        for other in shown
        if other is not one
        for name in (camel(_VARIABLE.findall(other.rule)[0]),)
        for place in _places(one, other, name, schema, definitions)
    }


def _places(
    one: Endpoint, other: Endpoint, name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[str]:
    """Where the ID of what ``other`` shows stands, in the path or in the first entry of a list; once at most."""
    if one.rule.startswith(other.rule + "/"):
        yield f"$request.path.{name}"
        return
    for field, part in _resolved(schema, definitions).get("properties", {}).items():
        item = _resolved(part.get("items", {}), definitions) if part.get("type") == "array" else {}
        if name in item.get("properties", {}):
            yield f"$response.body#/{field}/0/{name}"
            return


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema
