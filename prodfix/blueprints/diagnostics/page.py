"""The page: what an admin opens at three at night, on a phone. HTML made here, which works without any script."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue

from prodfix import NotFound, NotKnownNow, current_prodfix
from prodfix.blueprints.diagnostics import parameters
from prodfix.blueprints.diagnostics.endpoints import ENDPOINTS
from prodfix.blueprints.diagnostics.guard import COOKIE, admin, csrf_token, guarded, spend_trial
from prodfix.blueprints.diagnostics.html import rendered
from prodfix.blueprints.diagnostics.overview import overview
from prodfix.blueprints.diagnostics.paging import after_number, next_address, number_of, with_query
from prodfix.blueprints.diagnostics.security import secured
from prodfix.models import DeferredCommand, Tested

REFRESH = 10  # seconds
REQUEST_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

blueprint = Blueprint("page", __name__)
blueprint.after_request(secured)

DONE = {
    "resolve": "The group is resolved. If it comes back, it is marked as a regression.",
    "reopen": "The group is open again.",
    "replay": "Ordered: the worker that has the write tries it within a second.",
    "discard": "Ordered: the write is given up.",
}


def _page(template: str, **values: Any) -> str:
    """With what each page shows."""
    settings = current_prodfix.settings
    everywhere = {
        "csrf": csrf_token(),
        "errors_with": _errors_with,
        "refresh": REFRESH,
        "instance_name": settings.instance,
        "release": settings.release,
        "environment": str(settings.app_env),
        "signed_in": settings.diagnostics_auth_required,
    }
    return rendered(template, **{**everywhere, **values})


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The page; for those who like JSON better, what there is to ask."""
    wanted = request.accept_mimetypes
    if wanted["application/json"] > wanted["text/html"]:
        prefix = guarded().prefix
        listed = [f"{one.method} {prefix}{one.rule}" for one in ENDPOINTS]
        return jsonify({"endpoints": listed, "document": f"{prefix}/openapi.json"})
    query = parameters.query_of(request, parameters.Overview)
    return _page("overview.html", **_overview(query))


@blueprint.get("/page/overview")
def overview_body() -> str:
    """What is refreshed of it."""
    query = parameters.query_of(request, parameters.Overview)
    return _page("_overview.html", **_overview(query))


def _overview(query: parameters.Overview) -> dict[str, Any]:
    return overview(query.time_range, _errors_with, everything=query.errors == "all")


def _errors_with(**filters: str) -> str:
    return with_query(url_for(".errors"), filters)


@blueprint.get("/page/errors")
def errors() -> str:
    """Single errors, newest first."""
    query = parameters.query_of(request, parameters.RecordsFilter)
    page = current_prodfix.errors.lookup.errors(**query.asked())
    asked = {name: value for name, value in request.args.items() if name not in ("cursor", "limit")}
    return _page(
        "errors.html",
        records=page.summaries,
        scope=page.scope,
        asked=asked,
        following=next_address(page.next),
    )


@blueprint.get("/page/groups/<fingerprint>")
def group(fingerprint: str) -> str:
    """One kind of error."""
    query = parameters.query_of(request, parameters.Shown)
    window = current_prodfix.requests.statistics.read(query.time_range).window
    found = current_prodfix.errors.groups.find(fingerprint[:64], window)
    if found is None:
        raise NotFound("no such group")
    newest = current_prodfix.errors.lookup.errors(fingerprint=found.fingerprint, limit=20)
    return _page(
        "group.html",
        group=found,
        records=newest.summaries,
        time_range=query.time_range,
        done=DONE.get(query.done or ""),
    )


@blueprint.post("/page/groups/<fingerprint>/<change>")
def change_group(fingerprint: str, change: str) -> Response:
    groups = current_prodfix.errors.groups
    if change == "resolve":
        window = current_prodfix.requests.statistics.read("7d").window
        later = request.form.get("inNextRelease") == "true"
        found = groups.resolve(fingerprint[:64], window, by=admin(), in_next_release=later)
    else:
        found = change == "reopen" and groups.reopen(fingerprint[:64])
    if not found:
        raise NotFound("no such group, or no such change")
    return _back(".group", fingerprint=fingerprint, timeRange="7d", done=change)


@blueprint.get("/page/requests")
def search() -> ResponseReturnValue:
    """The search box."""
    identity = request.args.get("id", "").strip()
    if REQUEST_ID.fullmatch(identity):
        return _back(".one_request", request_id=identity)
    return _page("request.html", request_id=identity[:64], found=None, told=True)


@blueprint.get("/page/requests/<request_id>")
def one_request(request_id: str) -> str:
    """All that is known of one request, or that nothing is, or that nobody can tell now."""
    try:
        found, told = current_prodfix.diagnostics.requests.find(request_id), True
    except NotKnownNow:
        found, told = None, False
    return _page("request.html", request_id=request_id[:64], found=found, told=told)


@blueprint.get("/page/deferred")
def deferred() -> str:
    """Writes that wait or were put aside."""
    query = parameters.query_of(request, parameters.DeferredShown)
    offset = number_of(query.cursor)
    page = current_prodfix.deferral.backlog.page(
        state=query.state, operation=query.operation, limit=query.limit, offset=offset
    )
    following = after_number(offset + query.limit) if page.more else None
    return _page(
        "deferred.html",
        deferred=current_prodfix.diagnostics.report.deferred(),
        entries=page.entries,
        orders=current_prodfix.deferral.backlog.orders(most=10),
        state=query.state,
        following=next_address(following),
        done=DONE.get(query.done or ""),
    )


@blueprint.post("/page/deferred/<operation_id>/<command>")
def order(operation_id: str, command: str) -> Response:
    known: dict[str, DeferredCommand] = {"replay": "replay", "discard": "discard"}
    if command not in known:
        raise NotFound("no such command")
    current_prodfix.deferral.backlog.order(known[command], operation_id, admin())
    return _back(".deferred", done=command)


@blueprint.get("/page/database")
def database() -> str:
    """Workers, collections, changes of the connection; and the test operations."""
    return _database(None)


@blueprint.post("/page/database")
def test() -> str:
    wanted = parameters.form_of(request, parameters.Test)
    spend_trial()
    return _database(current_prodfix.diagnostics.selftest.run(wanted.operation))


def _database(tested: Tested | None) -> str:
    events = current_prodfix.errors.lookup.connection_events(limit=20)
    return _page(
        "database.html",
        report=current_prodfix.diagnostics.report.database(),
        events=events.events,
        tested=tested,
    )


@blueprint.post("/page/sign-out")
def sign_out() -> Response:
    response: Response = redirect(url_for(f"{guarded().name}.sign_in.form"), 303)  # type: ignore[assignment]
    response.delete_cookie(COOKIE, path=guarded().prefix)
    return response


def _back(endpoint: str, **arguments: Any) -> Response:
    """See Other: a page that was posted must not be posted again by a reload."""
    return redirect(url_for(endpoint or ".index", **arguments), 303)  # type: ignore[return-value]
