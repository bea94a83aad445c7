"""Deferred writes, and what an admin orders of them."""

from __future__ import annotations

from datetime import datetime

from flask import Response, request

from prodfix import NotFound, current_prodfix
from prodfix.blueprints.diagnostics import change_bodies, parameters
from prodfix.blueprints.diagnostics.guard import admin
from prodfix.blueprints.diagnostics.pages.shell import DONE, back, blueprint, show
from prodfix.blueprints.diagnostics.paging import after_number, next_address, number_of
from prodfix.models import DeferredCommand


@blueprint.get("/page/deferred")
def deferred() -> str:
    """Writes that wait or were put aside, by operation and reason, and one by one."""
    query = parameters.query_of(request, parameters.DeferredShown)
    offset, backlog = number_of(query.cursor), current_prodfix.deferral.backlog
    page = backlog.page(state=query.state, operation=query.operation, limit=query.limit, offset=offset)
    following = after_number(offset + query.limit) if page.more else None
    away, since = _away()
    return show(
        "deferred.html",
        deferred=current_prodfix.diagnostics.report.deferred(),
        groups=backlog.groups.read(query.state, query.operation),
        entries=page.entries,
        orders=backlog.orders(most=10),
        state=query.state,
        operation=query.operation,
        following=next_address(following),
        away=away,
        since=since,
        done=_told(query, away=away),
        in_vain=query.count == 0,
    )


@blueprint.post("/page/deferred/<any(replay, discard):command>")
def order_alike(command: DeferredCommand) -> Response:
    """One order for all writes of an operation and a reason."""
    alike = parameters.form_of(request, change_bodies.Alike)
    groups = current_prodfix.deferral.backlog.groups
    ordered = groups.order(command, admin(), operation=alike.operation, reason=alike.reason, state=alike.state)
    return back(".deferred", state=alike.state, done=command, count=str(ordered.count), left=str(ordered.left))


def _away() -> tuple[bool, datetime | None]:
    """Whether MongoDB is away for a worker of the instance, and since when."""
    if not current_prodfix.deferral.backlog.away:
        return False, None
    lost = current_prodfix.errors.incident_log.read(cause="database_lost", status="open", limit=1).incidents
    return True, next((incident.from_ for incident in lost), None)


def _told(query: parameters.DeferredShown, *, away: bool) -> str | None:
    """What was ordered a moment ago."""
    words = DONE.get(query.done or "")
    if query.done == "replay" and query.count is None and away:
        return "Ordered: the worker that has the write tries it as soon as MongoDB answers."
    if query.count is None or query.done not in ("replay", "discard"):
        return words
    if query.count == 0:
        return _why_none(query, away=away)
    number, verb = query.count, "tried again" if query.done == "replay" else "given up"
    told = f"Ordered: {number} {'writes are' if number != 1 else 'write is'} {verb} by the workers that have them."
    return f"{told} {query.left} more are alike: order again for the rest." if query.left else told


def _why_none(query: parameters.DeferredShown, *, away: bool) -> str:
    if query.left:
        return "Nothing was ordered: too many orders wait for their workers. Order again in a moment."
    if query.done == "replay" and query.state == "waiting":
        if away:
            return "Nothing was ordered: MongoDB does not answer. What waits is tried by itself as soon as it does."
        return "Nothing was ordered: none of them rests between two tries. What waits is tried in its turn by itself."
    return "Nothing was ordered: there are none any more, or they are ordered already."


@blueprint.post("/page/deferred/<operation_id>/<command>")
def order(operation_id: str, command: str) -> Response:
    known: dict[str, DeferredCommand] = {"replay": "replay", "discard": "discard"}
    if command not in known:
        raise NotFound("no such command")
    current_prodfix.deferral.backlog.order(known[command], operation_id, admin())
    return back(".deferred", done=command)
