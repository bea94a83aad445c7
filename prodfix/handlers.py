"""The one way out for every error: Flask's error handlers, the standard answer.

Registered for ``HTTPException`` and ``InternalServerError``, and for types that are always answered with 4xx. Never for
``Exception``: that would silence ``got_request_exception``, on which Sentry and OpenTelemetry live.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, request
from pymongo.errors import DuplicateKeyError
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.http import parse_options_header

from prodfix.classifications import (
    FORBIDDEN,
    INTERNAL_ERROR,
    MALFORMED,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHENTICATED,
    Classification,
)
from prodfix.context import current_context
from prodfix.errors import BodyInterrupted, ClientError, ErrorCategory, Severity
from prodfix.services import Services
from prodfix.sinks import render


def _client(status: int, code: str, message: str, *, retryable: bool = False) -> Classification:
    return Classification(ErrorCategory.CLIENT, status, code, message, severity=Severity.INFO, retryable=retryable)


_STATUS: dict[int, Classification] = {
    400: MALFORMED,
    401: UNAUTHENTICATED,
    403: FORBIDDEN,
    404: NOT_FOUND,
    413: TOO_LARGE,
    405: _client(405, "METHOD_NOT_ALLOWED", "This method is not allowed here"),
    415: _client(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be JSON"),
    422: Classification(
        ErrorCategory.VALIDATION, 422, "VALIDATION_FAILED", "Some fields are not valid", severity=Severity.INFO
    ),
    429: _client(429, "RATE_LIMITED", "Too many requests", retryable=True),
}


def attach(app: Flask, services: Services) -> None:
    """Register the handlers. What the host has registered for the same class, before or after, wins."""

    def answer(error: BaseException) -> Response:
        return respond(services, error)

    def http(error: HTTPException) -> Response | HTTPException:
        # An answer that the application made itself (`abort(response)`), and a redirect, are no errors of ours.
        if error.response is not None or error.code is None or error.code < 400:
            return error
        if isinstance(error, InternalServerError) and error.original_exception is not None:
            return respond(services, error.original_exception)
        return respond(services, error, _for_status(error))

    def unless_the_host(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        # A host with a handler for Exception has one for these too, and ours must not be the more specific one.
        def choose(error: Any) -> Any:
            hosts = app.error_handler_spec[None][None].get(Exception)
            return app.ensure_sync(hosts)(error) if hosts is not None else handler(error)

        return choose

    registered = app.error_handler_spec[None]
    for kind, code, handler in (
        (HTTPException, None, unless_the_host(http)),
        (InternalServerError, 500, http),
        (ClientError, None, answer),
        (DuplicateKeyError, None, unless_the_host(answer)),
    ):
        if kind not in registered[code]:
            app.register_error_handler(kind, handler)


def respond(services: Services, error: BaseException, meaning: Classification | None = None) -> Response:
    """Record ``error`` and make its answer."""
    context = current_context()
    if context is not None and context.notes.user_id is None:
        context.notes.user_id = verified_user()
    request_id = context.request_id if context is not None else secrets.token_hex(16)
    record = services.error_log.record(error, context, request_id, meaning)
    services.error_log.append(record)
    body, status, headers = record.to_response(detailed=not services.settings.production)
    response = Response(render(body), status, mimetype=_media_type())  # not the host's JSON provider's
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
    response.headers.update(headers)
    response.headers["X-Request-ID"] = request_id
    response.headers["Cache-Control"] = "no-store"
    if status == 401:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    if isinstance(error, BodyInterrupted) or status == 408:
        response.headers["Connection"] = "close"  # the rest of the body is still on its way
    return response


def _for_status(error: HTTPException) -> Classification:
    status = error.code or 500
    if status >= 500:
        return Classification(
            ErrorCategory.UNKNOWN,
            status,
            "INTERNAL_ERROR" if status == 500 else f"HTTP_{status}",
            INTERNAL_ERROR.message,
        )
    return _STATUS.get(status) or _client(status, f"HTTP_{status}", error.name[:100] or "The request was refused")


def verified_user() -> str | None:
    """The user whose token a view has verified already (flask-jwt-extended keeps it in ``g``). Decodes nothing."""
    token = g.get("_jwt_extended_jwt") if g else None
    subject = token.get("sub") if isinstance(token, dict) else None
    return str(subject)[:128] if subject is not None else None


def request_user() -> str | None:
    """The user of the request that is served now, as far as a view or :func:`prodfix.require_role` has verified one."""
    context = current_context()
    return (context.notes.user_id if context is not None else None) or verified_user()


def _media_type() -> str:
    wanted = request.headers.get("Accept", "")
    accepted = (parse_options_header(part)[0] for part in wanted.split(",")[:20])
    return "application/problem+json" if "application/problem+json" in accepted else "application/json"
