"""The way in for a browser: a pasted token becomes a cookie that no script can read. It lies outside of what is guarded."""

from __future__ import annotations

import time

from flask import Blueprint, Response, redirect, request, send_from_directory, url_for

from prodfix import AuthenticationRequired, Forbidden, current_prodfix, require_role, uncounted
from prodfix.blueprints.diagnostics.guard import COOKIE, SIGN_IN, VIEWER, from_here, guarded, limits_of_app, roles
from prodfix.blueprints.diagnostics.html import ASSETS, rendered
from prodfix.blueprints.diagnostics.security import secured

LARGEST_COOKIE = 3800  # bytes: browsers keep 4,096 with its name and attributes (RFC 6265 section 6.1)
YEAR = 365 * 24 * 3600

FAILED = {
    "invalid": "This token is not valid: it has ended, was taken back, or is of another service.",
    "role": "This token is valid, and has not the role admin, nor viewer, which changes nothing.",
    "large": "This token is too large for a cookie. Ask for one with fewer claims, or use the API.",
    "origin": "This form was sent from another page. Send it from here.",
    "empty": "Paste a token.",
}

blueprint = Blueprint(SIGN_IN, __name__)
blueprint.before_request(uncounted)
blueprint.after_request(secured)


@blueprint.get("/assets/<name>")
def assets(name: str) -> Response:
    return send_from_directory(ASSETS, name, max_age=YEAR)


@blueprint.get("/sign-in")
def form() -> Response:
    page = rendered(
        "sign_in.html",
        failed=FAILED.get(request.args.get("failed", "")),
        following=_following(request.args.get("next")),
        viewers=VIEWER in roles(),
        insecure=_secure() and not request.is_secure,
        served=current_prodfix.served,
    )
    response = Response(page)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.post("/sign-in")
def sign_in() -> Response:
    following, token = _following(request.form.get("next")), request.form.get("token", "").strip()
    # Not counted: other pages would use up, through the admin's browser, what the admin may try.
    if not from_here():
        return redirect(url_for(".form", failed="origin", next=following), 303)  # type: ignore[return-value]
    limits_of_app().spend(current_prodfix, f"sign-in {request.remote_addr}", trial=True)
    failed, ends = _look(token)
    if failed is not None:
        return redirect(url_for(".form", failed=failed, next=following), 303)  # type: ignore[return-value]
    response: Response = redirect(following, 303)  # type: ignore[assignment]
    response.set_cookie(
        COOKIE,
        token,
        max_age=max(1, int(ends - time.time())),
        path=guarded().prefix,
        secure=_secure(),
        httponly=True,
        samesite="Strict",
    )
    return response


def _look(token: str) -> tuple[str | None, float]:
    """Why it opens nothing, or when it ends."""
    if not token:
        return "empty", 0
    try:
        claims = require_role(*roles(), token=token)
    except (AuthenticationRequired, Forbidden) as error:
        current_prodfix.errors.log.log_error(error)  # as one with the same token in the header is
        return "role" if isinstance(error, Forbidden) else "invalid", 0
    return ("large" if len(token.encode()) > LARGEST_COOKIE else None), claims.expires


def _secure() -> bool:
    """Over HTTPS only, except while somebody develops on a machine of their own."""
    return request.is_secure or current_prodfix.settings.production


def _following(wanted: str | None) -> str:
    """Where to go on: a page of ours, and nowhere else."""
    prefix = guarded().prefix
    inside = wanted is not None and (wanted == prefix or wanted.startswith((prefix + "/", prefix + "?")))
    return wanted if wanted is not None and inside and wanted.isprintable() and "\\" not in wanted else prefix
