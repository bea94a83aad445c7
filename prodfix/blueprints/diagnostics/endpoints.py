"""How an endpoint of the API is declared: once, for the route, for the checks of what is asked, and for the document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import cleandoc
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, request

from prodfix.blueprints.diagnostics.guard import require_admin
from prodfix.blueprints.diagnostics.operation_names import operation_of, tag_of
from prodfix.blueprints.diagnostics.paging import link_to_next
from prodfix.blueprints.diagnostics.parameters import Parameters, body_of, query_of
from prodfix.models import to_json

View = TypeVar("View", bound=Callable[..., Any])

NO_INPUT = Parameters


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. ``answer`` is a type that describes the body of a good answer, which has ``status``. ``kept``: or
    202, of one that says that it is ``pending``.

    ``operation`` is its operationId, ``tag`` what it belongs to; ``example`` a good answer, None for one that is made of its
    schema. ``admin``: it is not for viewers, though it changes nothing."""

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
    operation: str
    tag: str
    example: Any = None
    admin: bool = False
    kept: bool = False


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
    kept: bool = False,
    operation: str | None = None,
    tag: str | None = None,
    example: Any = None,
    admin: bool = False,
) -> Callable[[View], View]:
    """Register a view that gets ``query`` and ``body``, checked, and returns an ``answer``. Its docstring is the
    document's text. ``operation``, ``tag`` and ``example`` are made of method, path and types where nobody gives them."""

    def register(view: View) -> View:
        @wraps(view)
        def run(**path: str) -> Response:
            if admin:
                require_admin()
            given: dict[str, Any] = dict(path)
            asked = query_of(request, query)
            if query is not NO_INPUT:
                given["query"] = asked
            if body is not None:
                given["body"] = body_of(request, body)
            content = view(**given)
            response = jsonify(to_json(content))
            response.status_code = 202 if kept and content.pending else status
            response.headers.update(link_to_next(getattr(content, "next", None)))
            return response

        blueprint.add_url_rule(rule, view.__name__, run, methods=[method])
        title, _, text = cleandoc(view.__doc__ or "").partition("\n\n")
        title, words = " ".join(title.split()), " ".join(text.split())
        paged = "next" in getattr(answer, "__dataclass_fields__", ())
        ENDPOINTS.append(
            Endpoint(
                method,
                rule,
                view.__name__,
                title,
                words,
                query,
                body,
                answer,
                status,
                missing="<" in rule,
                operation=operation or operation_of(method, rule, paged=paged),
                tag=tag or tag_of(rule),
                example=example,
                admin=admin,
                kept=kept,
            )
        )
        return view

    return register
