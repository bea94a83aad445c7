"""Admin tokens: how they are made, and how a request is asked for one. JWT (RFC 7519) by flask-jwt-extended."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from flask import Flask, Response, request
from flask_jwt_extended import JWTManager, get_jwt, verify_jwt_in_request

from prodfix.context import current_context
from prodfix.errors import AuthenticationRequired, Forbidden
from prodfix.services import Services, current_prodfix
from prodfix.settings import Settings
from prodfix.web.handlers import request_user, respond

ALGORITHM = "HS256"
LONGEST = timedelta(days=31)  # that a token may be valid
_LOADERS_OF_REASON = ("unauthorized", "invalid_token")
_LOADERS_OF_CLAIMS = (
    "expired_token",
    "revoked_token",
    "needs_fresh_token",
    "token_verification_failed",
    "user_lookup_error",
)


def make_token(settings: Settings, *, role: str, lifetime: timedelta, subject: str = "admin") -> str:
    """A signed token. Needs only the JWT settings. Raises ``ValueError`` without a key."""
    if settings.jwt_secret_key is None:
        raise ValueError("JWT_SECRET_KEY is not set")
    now = datetime.now(UTC)
    claims = {
        "sub": subject,
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "jti": secrets.token_hex(16),
        "type": "access",
        "fresh": False,
        settings.jwt_roles_claim: [role],
    }
    return jwt.encode(claims, settings.jwt_secret_key.get_secret_value(), ALGORITHM)


def attach(app: Flask, services: Services) -> None:
    """Configure flask-jwt-extended in the served application. As it comes it answers 422 to a broken token.

    In a host nothing is configured: its own JWTManager may come later, and its settings are none of ours.
    """
    settings = services.settings
    key = settings.jwt_secret_key
    if not services.logs.served or key is None:
        return
    app.config.update(
        JWT_SECRET_KEY=key.get_secret_value(),
        JWT_ALGORITHM=ALGORITHM,
        JWT_DECODE_ALGORITHMS=[ALGORITHM],
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ENCODE_ISSUER=settings.jwt_issuer,
        JWT_DECODE_ISSUER=settings.jwt_issuer,
        JWT_ENCODE_AUDIENCE=settings.jwt_audience,
        JWT_DECODE_AUDIENCE=settings.jwt_audience,
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=15),
    )
    manager = JWTManager(app)
    manager.token_verification_loader(lambda header, claims: bool(_complete(claims)))
    if not settings.enable_error_handler:
        return  # its own answers, as every other's

    def refuse(*reasons: Any) -> Response:
        return respond(services, AuthenticationRequired(reasons[0] if isinstance(reasons[0], str) else "not valid"))

    for name in (*_LOADERS_OF_REASON, *_LOADERS_OF_CLAIMS):
        getattr(manager, f"{name}_loader")(refuse)


def _complete(claims: Mapping[str, Any]) -> bool:
    """PyJWT checks ``exp`` only where there is one: a token without it would be valid for ever."""
    expires, issued = claims.get("exp"), claims.get("iat")
    if not isinstance(expires, (int, float)) or not isinstance(issued, (int, float)):
        return False
    named = bool(claims.get("jti")) and bool(claims.get("sub"))
    return named and expires - issued <= LONGEST.total_seconds() and claims.get("type", "access") == "access"


def require_role(role: str) -> None:
    """Let the request go on if its token is valid and has ``role``.

    Raises :class:`prodfix.errors.AuthenticationRequired` or :class:`prodfix.errors.Forbidden`, and nothing else, also in a
    host with a flask-jwt-extended of its own.
    """
    try:
        claims = _claims(current_prodfix)
    except Exception as error:  # noqa: BLE001 - whatever a header makes a decoder do, the token is not valid
        raise AuthenticationRequired(type(error).__name__) from None
    if not _complete(claims):
        raise AuthenticationRequired("a claim is missing")
    context = current_context()
    if context is not None:
        context.notes.user_id = str(claims["sub"])[:128].encode("utf-8", "replace").decode()
    roles = claims.get(current_prodfix.settings.jwt_roles_claim)
    if not isinstance(roles, list) or role not in roles:
        raise Forbidden(f"the role {role} is missing")


def current_user() -> str | None:
    """The user whose valid token the request carries, or whom a view has verified already; None for a stranger.

    Raises :class:`prodfix.errors.AuthenticationRequired` for a token that is not valid.
    """
    if "Authorization" in request.headers and request_user() is None:
        try:
            claims = _claims(current_prodfix)
        except Exception as error:  # noqa: BLE001 - whatever a header makes a decoder do, the token is not valid
            raise AuthenticationRequired(type(error).__name__) from None
        context = current_context()
        if context is not None:
            context.notes.user_id = str(claims["sub"])[:128].encode("utf-8", "replace").decode()
    return request_user()


def _claims(services: Services) -> Mapping[str, Any]:
    """The claims of the request's token. In a host our key decides; a host's own JWTManager only where there is none."""
    settings = services.settings
    if services.logs.served or settings.jwt_secret_key is None:
        verify_jwt_in_request()
        claims: Mapping[str, Any] = get_jwt()
        return claims
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer":
        raise ValueError("no bearer token")
    return jwt.decode(
        token.strip(),
        settings.jwt_secret_key.get_secret_value(),
        [ALGORITHM],
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        options={"require": ["exp", "iat", "jti", "sub"]},
    )
