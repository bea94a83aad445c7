"""Admin tokens: how they are made, and how a request is asked for one. JWT (RFC 7519) by flask-jwt-extended."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from flask import Flask, Response, current_app
from flask_jwt_extended import JWTManager, get_jwt, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException

from prodfix.context import current_context
from prodfix.errors import AuthenticationRequired, Forbidden
from prodfix.handlers import respond
from prodfix.services import Services, current_prodfix
from prodfix.settings import Settings

ALGORITHM = "HS256"
MANAGER = "flask-jwt-extended"
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
    """Configure flask-jwt-extended, unless the host has done so. As it comes it answers 422 to a broken token."""
    key = services.settings.jwt_secret_key
    if MANAGER in app.extensions or key is None:
        return
    settings = services.settings
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

    def refuse(*reasons: Any) -> Response:
        return respond(services, AuthenticationRequired(reasons[0] if isinstance(reasons[0], str) else "not valid"))

    for name in (*_LOADERS_OF_REASON, *_LOADERS_OF_CLAIMS):
        getattr(manager, f"{name}_loader")(refuse)
    manager.token_verification_loader(lambda header, claims: bool(_complete(claims)))


def _complete(claims: Mapping[str, Any]) -> bool:
    """PyJWT checks ``exp`` only where there is one: a token without it would be valid for ever."""
    return all(claims.get(name) for name in ("exp", "jti", "sub")) and claims.get("type", "access") == "access"


def require_role(role: str) -> None:
    """Let the request go on if its token is valid and has ``role``.

    Raises :class:`prodfix.errors.AuthenticationRequired` or :class:`prodfix.errors.Forbidden`, and nothing else, also in a
    host with a flask-jwt-extended of its own.
    """
    if MANAGER not in current_app.extensions:
        raise AuthenticationRequired("no key is configured, so no token can be valid")
    try:
        verify_jwt_in_request()
        claims = get_jwt()
    except (JWTExtendedException, jwt.PyJWTError, RuntimeError, ValueError) as error:
        # RuntimeError: the host's JWTManager has no key. Then no token can be valid.
        raise AuthenticationRequired(type(error).__name__) from None
    if not _complete(claims):
        raise AuthenticationRequired("a claim is missing")
    context = current_context()
    if context is not None:
        context.notes.user_id = str(claims["sub"])[:128]
    roles = claims.get(current_prodfix.settings.jwt_roles_claim)
    if not isinstance(roles, list) or role not in roles:
        raise Forbidden(f"the role {role} is missing")
