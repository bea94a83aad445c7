"""Tokens: how they are made, and which ones are valid. JWT (RFC 7519) as RFC 8725 asks for it, by PyJWT.

The algorithm is the settings' and never the token's. A token must end, must not live longer than ``JWT_MAX_LIFETIME_HOURS``,
and can be taken back: by its ``jti``, or with all others that were issued before a moment.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prodfix.errors import AuthenticationRequired
from prodfix.settings import Settings
from prodfix.slotted import frozen

ADMIN, VIEWER = "admin", "viewer"
ROLES = (ADMIN, VIEWER)
"""Those that the diagnostics know: a viewer sees what an admin sees, and changes nothing."""
SKEW = 10.0  # seconds that an issuer's clock may be ahead of ours
LONGEST = 16 * 1024  # characters of a token that is looked at


@frozen
class Claims:
    """What a valid token says. ``expires`` is in seconds since the epoch; ``identity`` is its ``jti``, if it has one."""

    subject: str
    roles: frozenset[str]
    identity: str | None
    expires: float


def make_token(settings: Settings, *, role: str, lifetime: timedelta, subject: str = "admin") -> str:
    """A signed token. Needs only the JWT settings. Raises ``ValueError`` where there is no key to sign with."""
    if settings.jwt_algorithm != "HS256":
        raise ValueError(f"with JWT_ALGORITHM={settings.jwt_algorithm} tokens come from who has the private key")
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
    import jwt

    return jwt.encode(claims, settings.jwt_secret_key.get_secret_value(), settings.jwt_algorithm)


def verified(settings: Settings, token: str) -> Claims:
    """The claims of a token that is valid now.

    Raises :class:`prodfix.errors.AuthenticationRequired`, and nothing else, whatever is in the token.
    """
    try:
        claims = decoded(settings, token)
        reason = refusal(settings, claims)
    except Exception as error:  # noqa: BLE001 - whatever a text makes a decoder do, it is no valid token
        raise AuthenticationRequired(type(error).__name__) from None
    if reason is not None:
        raise AuthenticationRequired(reason)
    return claims_of(settings, claims)


def decoded(settings: Settings, token: str) -> Mapping[str, Any]:
    """The claims, when signature, issuer, audience and end are right. Raises what PyJWT says."""
    key = settings.jwt_verification_key
    if key is None or len(token) > LONGEST:
        raise ValueError("there is no key" if key is None else "too long")
    import jwt

    claims: Mapping[str, Any] = jwt.decode(
        token,
        key,
        [settings.jwt_algorithm],
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        options={
            "require": ["exp", "iat", "sub", *(["jti"] if settings.jwt_require_jti else [])],
            "verify_iat": False,  # in refusal(), with some patience for a clock that is ahead; the end is exact
            "verify_nbf": False,
        },
    )
    return claims


def refusal(settings: Settings, claims: Mapping[str, Any]) -> str | None:
    """Why a token whose signature is right is not valid all the same; None if it is."""
    expires, issued, begins = (_time(claims.get(name, 0 if name == "nbf" else None)) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None or begins is None:
        return "a time is no number"
    not_before = settings.jwt_not_before.timestamp() if settings.jwt_not_before else -math.inf
    reasons = {
        "not valid yet": max(issued, begins) > time.time() + SKEW,
        "it lives too long": expires - issued > settings.jwt_max_lifetime_hours * 3600,
        "issued before JWT_NOT_BEFORE": issued < not_before,
        "revoked": claims.get("jti") in settings.jwt_revoked,
        "no subject": not isinstance(claims.get("sub"), str) or not claims["sub"].strip(),
        "no access token": claims.get("type", "access") != "access",
        "no identity": settings.jwt_require_jti and not claims.get("jti"),
    }
    return next((reason for reason, true in reasons.items() if true), None)


def _time(value: Any) -> float | None:
    """Seconds since the epoch (RFC 7519 section 2, NumericDate)."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def claims_of(settings: Settings, claims: Mapping[str, Any]) -> Claims:
    """Those of a valid token that anybody here asks for."""
    roles = _found(claims, settings.jwt_roles_claim)
    named = frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()
    identity = claims.get("jti")
    subject = str(claims["sub"])[:128].encode("utf-8", "replace").decode()  # half a character cannot be logged
    return Claims(subject, named, str(identity)[:128] if identity else None, float(claims["exp"]))


def _found(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that name; else, of a name with dots, the one within others (``realm_access.roles``)."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
