"""What the pages have in common: their blueprint, what each of them shows, and the way back to one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from flask import Blueprint, Response, current_app, redirect, url_for

from prodfix import current_prodfix, iso
from prodfix.blueprints.diagnostics.guard import COOKIE, csrf_token, guarded, may_change
from prodfix.blueprints.diagnostics.html import rendered
from prodfix.blueprints.diagnostics.paging import with_query
from prodfix.blueprints.diagnostics.security import secured
from prodfix.models import ERROR_RATE_MINUTES, Incident

Function = TypeVar("Function", bound=Callable[..., Any])

REFRESH = 10  # seconds

blueprint = Blueprint("page", __name__)
blueprint.after_request(secured)

DONE = {
    "resolve": "The kind is resolved. If it comes back, it is a regression.",
    "reopen": "The kind is open again.",
    "ignore": "The kind is ignored: it is counted, and nobody hears of it.",
    "note": "It is noted.",
    "replay": "Ordered: the worker that has the write tries it within a second.",
    "discard": "Ordered: the write is given up.",
}


class NavigationEntry(NamedTuple):
    """One of the navigation: where it leads, what it is called, and what the pages call themselves (``here``) that are in it."""

    href: str
    words: str
    places: tuple[str, ...]


NAVIGATION = (
    ("index", "Overview", ("overview",)),
    ("groups", "Kinds", ("kinds", "groups", "errors")),
    ("endpoints", "Endpoints", ("endpoints",)),
    ("deferred", "Deferred", ("deferred",)),
    ("database", "Database", ("database",)),
    ("workers", "Workers", ("workers",)),
    ("alerts", "Alerts", ("alerts",)),
)
"""The one row of it: views of the pages, what they are called, and which pages belong to them."""


CALLED: dict[str, Callable[..., Any]] = {}
"""What each template may call, by its name there."""


def called(function: Function) -> Function:
    """A function that each template may call. It is for modules that know this one."""
    CALLED[function.__name__] = function
    return function


def show(template: str, **values: Any) -> str:
    """With what each page shows."""
    settings, csrf = current_prodfix.settings, csrf_token()
    everywhere = {
        **CALLED,
        "csrf": csrf,
        "may_change": may_change(),
        "errors_with": errors_with,
        "refresh": REFRESH,
        "instance_name": settings.instance,
        "release": settings.release,
        "kept_elsewhere": settings.diagnostics_uri is not None,
        "environment": str(settings.app_env),
        "signed_in": settings.diagnostics_auth_required,
        "home": at("index"),
        "search": at("search"),
        "way_out": at("sign_out"),
        "navigation": [NavigationEntry(at(view), words, here) for view, words, here in NAVIGATION if _is_there(view)],
    }
    return rendered(template, **{**everywhere, **values})


def at(view: str, **arguments: Any) -> str:
    """The address of a page, also from an answer that no page has made."""
    return url_for(f"{guarded().name}.{blueprint.name}.{view}", **arguments)


def page_at(view: str, **arguments: Any) -> str:
    """The same of a page that may be there; empty if it is not."""
    return at(view, **arguments) if _is_there(view) else ""


def _is_there(view: str) -> bool:
    return f"{guarded().name}.{blueprint.name}.{view}" in current_app.view_functions


def errors_with(**filters: str) -> str:
    """The address of the list of errors that have these."""
    return with_query(at("errors"), filters)


@called
def errors_of_incident(one: Incident) -> str:
    """The address of its errors. A jump of the error rate is noticed by the minutes before it: they have what caused it."""
    begin = one.from_ - timedelta(minutes=ERROR_RATE_MINUTES) if one.cause == "error_rate" else one.from_
    return errors_with(**{"from": iso(begin), "to": iso(one.to)})


@blueprint.post("/page/sign-out")
def sign_out() -> Response:
    response: Response = redirect(url_for(f"{guarded().name}.sign_in.form"), 303)  # type: ignore[assignment]
    response.delete_cookie(COOKIE, path=guarded().prefix)
    return response


def back(endpoint: str, **arguments: Any) -> Response:
    """See Other: a page that was posted must not be posted again by a reload."""
    return redirect(url_for(endpoint or ".index", **arguments), 303)  # type: ignore[return-value]
