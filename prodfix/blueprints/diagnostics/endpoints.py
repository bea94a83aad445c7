"""How an endpoint of the API is declared: once, for the route, for the checks of what is asked, and for the document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, request

from prodfix.blueprints.diagnostics.paging import link_to_next
from prodfix.blueprints.diagnostics.parameters import Parameters, body_of, query_of
from prodfix.models import to_json

View = TypeVar("View", bound=Callable[..., Any])

NO_INPUT = Parameters


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. ``answer`` is a type that describes the body of a good answer, which has ``status``."""

    method: str
    rule: str
    name: str
    title: str
    text: str
    query: type[Parameters]
    body: type[Parameters] | None
    answer: Any
    status: int
    missing: bool


ENDPOINTS: list[Endpoint] = []
"""All that were declared, in that order."""


def blueprint_of(name: str) -> Blueprint:
    return Blueprint(name, __name__)


def endpoint(
    blueprint: Blueprint,
    method: str,
    rule: str,
    answer: Any,
    *,
    query: type[Parameters] = NO_INPUT,
    body: type[Parameters] | None = None,
    status: int = 200,
) -> Callable[[View], View]:
    """Register a view that gets ``query`` and ``body``, checked, and returns an ``answer``. Its docstring is the
    document's text."""

    def register(view: View) -> View:
        @wraps(view)
        def run(**path: str) -> Response:
            given: dict[str, Any] = dict(path)
            asked = query_of(request, query)
            if query is not NO_INPUT:
                given["query"] = asked
            if body is not None:
                given["body"] = body_of(request, body)
            content = view(**given)
            response = jsonify(to_json(content))
            response.status_code = status
            response.headers.update(link_to_next(getattr(content, "next", None)))
            return response

        blueprint.add_url_rule(rule, view.__name__, run, methods=[method])
        title, _, text = (view.__doc__ or "").partition("\n")
        words = " ".join(line.strip() for line in text.splitlines()).strip()
        ENDPOINTS.append(
            Endpoint(method, rule, view.__name__, title.strip(), words, query, body, answer, status, "<" in rule)
        )
        return view

    return register
