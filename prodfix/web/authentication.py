"""How a request is asked for a token, and what flask-jwt-extended is told of ours.

One place decides whether a token is valid (:mod:`prodfix.access_tokens`); flask-jwt-extended serves the application's own
views, with the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Flask, Response, request

from prodfix.access_tokens import Claims, claims_of, refusal, verified
from prodfix.errors import AuthenticationRequired, Forbidden
from prodfix.loaded import loaded
from prodfix.request.context import current_context
from prodfix.services import Services, current_prodfix
from prodfix.web.application import Application
from prodfix.web.handlers import request_user, respond

_LOADERS_OF_REASON = ("unauthorized", "invalid_token")
_LOADERS_OF_CLAIMS = (
    "expired_token",
    "revoked_token",
    "needs_fresh_token",
    "token_verification_failed",
    "user_lookup_error",
)


def attach(app: Flask, services: Services) -> None:
    """Configure flask-jwt-extended in the served application, once one of its parts has loaded it: who uses its decorators does
    so before a route of his is there. As it comes it answers 422 to a broken token.

    In a host nothing is configured: its own JWTManager may come later, and its settings are none of ours.
    """
    if not services.served or services.settings.jwt_verification_key is None:
        return
    if isinstance(app, Application) and not _configured(app, services):
        app.on_rule = lambda: _configured(app, services)


def _configured(app: Application, services: Services) -> bool:
    made = loaded("flask_jwt_extended", "JWTManager")
    if not made:
        return False
    app.on_rule = None
    settings = services.settings
    key = settings.jwt_verification_key
    app.config.update(
        **{"JWT_SECRET_KEY" if settings.jwt_algorithm == "HS256" else "JWT_PUBLIC_KEY": key},
        JWT_ALGORITHM=settings.jwt_algorithm,
        JWT_DECODE_ALGORITHMS=[settings.jwt_algorithm],
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ENCODE_ISSUER=settings.jwt_issuer,
        JWT_DECODE_ISSUER=settings.jwt_issuer,
        JWT_ENCODE_AUDIENCE=settings.jwt_audience,
        JWT_DECODE_AUDIENCE=settings.jwt_audience,
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=15),
    )
    manager = made(app)
    manager.token_verification_loader(lambda header, claims: refusal(settings, claims) is None)
    if not settings.enable_error_handler:
        return True  # its own answers, as every other's

    def refuse(*reasons: Any) -> Response:
        return respond(services, AuthenticationRequired(reasons[0] if isinstance(reasons[0], str) else "not valid"))

    for name in (*_LOADERS_OF_REASON, *_LOADERS_OF_CLAIMS):
        getattr(manager, f"{name}_loader")(refuse)
    return True


def require_role(*roles: str, token: str | None = None) -> Claims:
    """Let the request go on if its token is valid and has one of ``roles``; what the token says.

    The token is that of the header ``Authorization: Bearer``, or ``token``, if that is given. Raises
    :class:`prodfix.errors.AuthenticationRequired` or :class:`prodfix.errors.Forbidden`, and nothing else, also in a host with
    a flask-jwt-extended of its own.
    """
    claims = _claims(current_prodfix) if token is None else verified(current_prodfix.settings, token)
    _note_user(claims)
    if claims.roles.isdisjoint(roles):
        raise Forbidden(f"the role {' or '.join(roles)} is missing")
    return claims


def current_user() -> str | None:
    """The user whose valid token the request carries, or whom a view has verified already; None for a stranger.

    Raises :class:`prodfix.errors.AuthenticationRequired` for a token that is not valid.
    """
    if "Authorization" in request.headers and request_user() is None:
        _note_user(_claims(current_prodfix))
    return request_user()


def _note_user(claims: Claims) -> None:
    context = current_context()
    if context is not None:
        context.notes.user_id = claims.subject


def _claims(services: Services) -> Claims:
    """What the header's token says. Our key decides; a host's own JWTManager only where we have none."""
    settings = services.settings
    if settings.jwt_verification_key is None:
        return _hosts_claims(services)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer":
        raise AuthenticationRequired("no bearer token")
    return verified(settings, token.strip())


def _hosts_claims(services: Services) -> Claims:
    try:
        from flask_jwt_extended import get_jwt, verify_jwt_in_request

        verify_jwt_in_request()
        claims: Mapping[str, Any] = get_jwt()
        reason = refusal(services.settings, claims)
    except Exception as error:  # noqa: BLE001 - whatever a header makes a decoder do, the token is not valid
        raise AuthenticationRequired(type(error).__name__) from None
    if reason is not None:
        raise AuthenticationRequired(reason)
    return claims_of(services.settings, claims)
