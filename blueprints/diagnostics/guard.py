"""Who may come in: an admin, with a token in the header; on the page also with the cookie that the sign-in has set.

The guard stands before every path below the prefix, whatever the method and whether there is such a path: a wrong method and
an unknown path must tell a stranger no more than a right one. Each use leaves a line in ``auth.log``.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from blueprints.diagnostics.limits import RateLimits
from prodfix import Claims, Severity, current_prodfix, require_role, uncounted

PREFIX = "/api/v1/diagnostics"
ROLE = "admin"
ADMITTED = "prodfix.admitted"
_EXTENSION = "prodfix-diagnostics"
_NOBODY = Claims("anybody", frozenset([ROLE]), None, 0.0)  # with DIAGNOSTICS_AUTH_REQUIRED=false


@dataclass(slots=True)
class Guarded:
    """Where the diagnostics of one application are, and how often they may be asked."""

    prefix: str
    limits: RateLimits | None = None


def attach(blueprint: Blueprint) -> None:
    """Guard whatever application the blueprint is registered in."""

    @blueprint.record
    def remember(state: BlueprintSetupState) -> None:
        state.app.extensions[_EXTENSION] = Guarded(f"{state.url_prefix or ''}{PREFIX}")

    blueprint.before_app_request(admit)
    blueprint.after_app_request(tell)


def guarded() -> Guarded:
    """The diagnostics of the current application."""
    found: Guarded = current_app.extensions[_EXTENSION]
    return found


def admit() -> None:
    """Let an admin go on. Raises what :func:`prodfix.require_role` raises, and ``TooManyRequests``."""
    prefix = guarded().prefix
    if request.path != prefix and not request.path.startswith(prefix + "/"):
        return
    uncounted()
    services = current_prodfix
    claims = require_role(ROLE) if services.settings.diagnostics_auth_required else _NOBODY
    request.environ[ADMITTED] = claims
    limits_of_app().spend(services, claims.subject)


def limits_of_app() -> RateLimits:
    found = guarded()
    if found.limits is None:
        found.limits = RateLimits(current_prodfix.settings)
    return found.limits


def spend_trial() -> None:
    """Count a request that tries something on the database. Raises ``TooManyRequests``."""
    claims: Claims = request.environ[ADMITTED]
    limits_of_app().spend(current_prodfix, claims.subject, trial=True)


def admin() -> str:
    """Who asks, for what is written down of it."""
    claims: Claims | None = request.environ.get(ADMITTED)
    return claims.subject if claims is not None else "unknown"


def tell(response: Response) -> Response:
    """What was asked, by whom, and how it was answered. Who was refused is told by the error log."""
    claims: Claims | None = request.environ.get(ADMITTED)
    if claims is not None:
        response.headers.setdefault("Cache-Control", "no-store")
        rule = request.url_rule.rule if request.url_rule is not None else "unmatched"
        facts = {
            "userId": claims.subject,
            "tokenId": claims.identity,
            "method": request.method[:20],
            "endpoint": rule,
            "status": response.status_code,
            "ip": request.remote_addr,
        }
        current_prodfix.logs.note(Severity.INFO, "audit", f"{request.method[:20]} {rule}", "auth", facts=facts)
    return response
