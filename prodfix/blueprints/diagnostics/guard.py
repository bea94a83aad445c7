"""Who may come in: an admin, or a viewer, who changes nothing, with a token in the header; on the page also with the cookie
that the sign-in has set.

The API takes no cookie, which a browser sends without being asked; and what is changed on the page needs a token of the form
besides, that only who can read the page knows. The guard stands before every path below the prefix, whatever the method and
whether there is such a path: a wrong method and an unknown path must tell a stranger no more than a right one. Each use
leaves a line in ``auth.log``.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, request, url_for
from flask.blueprints import BlueprintSetupState

from prodfix import Claims, Forbidden, Severity, current_prodfix, links_of, require_role, uncounted
from prodfix.blueprints.diagnostics.paging import with_query

if TYPE_CHECKING:
    from prodfix.blueprints.diagnostics.rate_limits import RateLimits

PREFIX = "/api/v1/diagnostics"  # unless an application says otherwise
ROLE, VIEWER = "admin", "viewer"
COOKIE = "prodfix_admin"
PAGE = "page"  # the blueprint of it
SIGN_IN = "sign_in"  # the one that everybody may see
ADMITTED = "prodfix.admitted"
_SAFE = ("GET", "HEAD", "OPTIONS")
_LEAVING = f".{PAGE}.sign_out"  # a POST that changes nothing but the browser's cookie
_EXTENSION = "prodfix-diagnostics"
_NOBODY = Claims("anybody", frozenset([ROLE]), None, 0.0)  # with DIAGNOSTICS_AUTH_REQUIRED=false


class AsPage(Protocol):
    """An error's answer for eyes."""

    def __call__(self, response: Response, *, admitted: bool, way_in: str | None = None) -> Response:
        """``admitted``: who asks may see the service; who may not is shown the ``way_in``."""


@dataclass(slots=True)
class Guarded:
    """Where the diagnostics of one application are, and how often they may be asked."""

    name: str
    prefix: str
    as_page: AsPage
    limits: RateLimits | None = None


def attach(blueprint: Blueprint, as_page: AsPage) -> None:
    """Guard whatever application the blueprint is registered in. ``as_page`` makes a page of an error's answer."""

    @blueprint.record
    def remember(state: BlueprintSetupState) -> None:
        if _EXTENSION in state.app.extensions:
            raise ValueError("the diagnostics are registered already: they are guarded in one place of an application")
        name = f"{state.name_prefix}.{state.name}".lstrip(".")
        here = state.app.extensions[_EXTENSION] = Guarded(name, below(state.url_prefix or ""), as_page)
        links_of(state.app.extensions).diagnostics_are_below(here.prefix)

    blueprint.before_app_request(admit)
    blueprint.after_app_request(tell)


def below(url_prefix: str) -> str:
    """Where Flask and its router find them, however the prefix was written. Raises ``ValueError`` for one that is no place of
    their own, below which all is guarded."""
    if "<" in url_prefix:
        raise ValueError(f"the diagnostics have one place, and {url_prefix} is many")
    prefix = re.sub("//+", "/", f"/{url_prefix}").rstrip("/")
    if not prefix:
        raise ValueError("the diagnostics need a prefix of their own: url_prefix='/diagnostics'")
    return prefix


def guarded() -> Guarded:
    """The diagnostics of the current application."""
    found: Guarded = current_app.extensions[_EXTENSION]
    return found


def admit() -> None:
    """Let an admin go on, and a viewer who only looks. Raises what :func:`prodfix.require_role` raises, and
    ``TooManyRequests``."""
    if not _is_here(guarded()):
        return
    uncounted()
    services, cookie = current_prodfix, _cookie()
    claims = require_role(*roles(), token=cookie) if services.settings.diagnostics_auth_required else _NOBODY
    if _on_page() and "Authorization" not in request.headers and request.method not in _SAFE:
        _check_form(cookie)
    request.environ[ADMITTED] = claims
    limits_of_app().spend(services, claims.subject)
    if request.method not in _SAFE and not (request.endpoint or "").endswith(_LEAVING):
        require_admin()


def roles() -> tuple[str, ...]:
    """Those that may see the diagnostics. Where a host's own JWTManager decides which tokens are valid, only admins:
    ``viewer`` is a word that it may have given to its customers."""
    return (ROLE, VIEWER) if current_prodfix.settings.jwt_verification_key is not None else (ROLE,)


def may_change() -> bool:
    """Whether who asks may do more than look."""
    claims: Claims | None = request.environ.get(ADMITTED)
    return claims is not None and ROLE in claims.roles


def require_admin() -> None:
    """For what a viewer may not. Raises :class:`prodfix.Forbidden`."""
    if not may_change():
        raise Forbidden(f"the role {VIEWER} changes nothing")


def _is_here(place: Guarded) -> bool:
    """Whether this request is for something below ``place``: for a view of the blueprint, wherever its address is, or for
    any address below the prefix."""
    path = re.sub("//+", "/", request.path)  # as the router reads it, which answers with a redirect later
    if request.blueprint == f"{place.name}.{SIGN_IN}":
        return False
    return place.name in request.blueprints or path == place.prefix or path.startswith(place.prefix + "/")


def _on_page() -> bool:
    """Whether it is for the page: for one of its views, or for none at all where they are, which does nothing."""
    if request.url_rule is None:
        return re.sub("//+", "/", request.path).startswith(f"{guarded().prefix}/{PAGE}/")
    return (request.blueprint or "").rpartition(".")[2] == PAGE


def _cookie() -> str | None:
    """The token of the page's cookie, where it counts; None leaves it to the header."""
    return request.cookies.get(COOKIE) if _on_page() and "Authorization" not in request.headers else None


def csrf_token() -> str:
    """What a form of the page brings along: made of the cookie, which nobody but this browser has and no script can read."""
    return blake2b((_cookie() or "").encode("utf-8", "replace"), digest_size=16, person=b"prodfix-csrf").hexdigest()


def _check_form(cookie: str | None) -> None:
    given = request.form.get("csrf", "")
    if not from_here() or not hmac.compare_digest(given.encode("utf-8", "replace"), csrf_token().encode()):
        raise Forbidden("the form is not of this page" if cookie else "no cookie, and no header")


def from_here() -> bool:
    """Whether a browser sends this from a page of ours, as far as it says so (Fetch Metadata, and Origin before it)."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site in ("same-origin", "none")
    try:
        return origin is None or urlsplit(origin).netloc == request.host
    except ValueError:
        return False


def limits_of_app() -> RateLimits:
    """Loaded with the library below it for the first admin who asks: most workers never need them."""
    found = guarded()
    if found.limits is None:
        from prodfix.blueprints.diagnostics.rate_limits import RateLimits

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


def _way_in() -> str:
    """Where a browser without the cookie goes: to the sign-in; or here again, if it was sent from elsewhere.

    A cookie with SameSite=Strict does not come along with a click in a mail, and it does from an answer of ours.
    """
    here = with_query(request.root_path + request.path, request.args) if request.method == "GET" else None
    if here is not None and request.headers.get("Sec-Fetch-Site") == "cross-site":
        return here
    return url_for(f"{guarded().name}.sign_in.form", next=here)


def tell(response: Response) -> Response:
    """What was asked, by whom, and how it was answered. Who was refused is told by the error log, and a browser on the page
    is led to the sign-in."""
    claims: Claims | None = request.environ.get(ADMITTED)
    if claims is not None:
        response.headers.setdefault("Cache-Control", "no-store")
        rule = request.url_rule.rule if request.url_rule is not None else "unmatched"
        facts = {
            "userId": claims.subject,
            "jti": claims.identity,
            "method": request.method[:20],
            "endpoint": rule,
            "status": response.status_code,
            "ip": request.remote_addr,
        }
        current_prodfix.logs.event(Severity.INFO, "audit", f"{request.method[:20]} {rule}", "auth", facts=facts)
    if response.status_code >= 400 and _is_for_eyes() and _on_page():
        return _shown(response, admitted=claims is not None)
    return response


def _is_for_eyes() -> bool:
    wanted = request.accept_mimetypes
    return wanted["text/html"] > wanted["application/json"]


def _shown(response: Response, *, admitted: bool) -> Response:
    """An error as a page, with the way in for who is not."""
    way_in = None
    if response.status_code == 401:
        way_in = _way_in()
        response.headers["Refresh"] = f"0; url={way_in}"
    elif not admitted:
        way_in = url_for(f"{guarded().name}.{SIGN_IN}.form")
    return guarded().as_page(response, admitted=admitted, way_in=way_in)
