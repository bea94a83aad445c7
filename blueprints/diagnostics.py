"""What an admin may see. Every path below the prefix asks for an admin's token first, whatever the method."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, jsonify, request

from prodfix import (
    BACKLOG_STATES,
    COMMANDS,
    QUERY_SORTS,
    TEST_OPERATIONS,
    TIME_RANGES,
    FieldError,
    NotFound,
    TimeRange,
    ValidationFailed,
    current_context,
    current_prodfix,
    require_role,
)

PREFIX = "/api/v1/diagnostics"
_NEXT = "inNextRelease"

blueprint = Blueprint("diagnostics", __name__, url_prefix=PREFIX)


@blueprint.before_app_request
def admins_only() -> None:
    # For the whole application, by the path: a wrong method or an unknown path below the prefix has no blueprint, and
    # must tell a stranger no more than a right one.
    inside = request.path == PREFIX or request.path.startswith(PREFIX + "/")
    if inside and current_prodfix.settings.diagnostics_auth_required:
        require_role("admin")


@blueprint.before_request
def admins_only_wherever_it_is() -> None:
    """Also where a host has registered it under another prefix."""
    if current_prodfix.settings.diagnostics_auth_required:
        require_role("admin")


@blueprint.after_request
def private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("")
def index() -> Response:
    """What there is to ask."""
    return jsonify(
        {
            "endpoints": [
                f"GET {PREFIX}/database",
                f"GET {PREFIX}/errors?timeRange={'|'.join(TIME_RANGES)}",
                f"GET {PREFIX}/errors/groups?timeRange={'|'.join(TIME_RANGES)}",
                f"POST {PREFIX}/errors/groups/<fingerprint>/resolve",
                f"POST {PREFIX}/errors/groups/<fingerprint>/reopen",
                f"GET {PREFIX}/incidents",
                f"GET {PREFIX}/requests/<requestId>",
                f"GET {PREFIX}/queries?sort={'|'.join(QUERY_SORTS)}",
                f"GET {PREFIX}/deferred?state={'|'.join(BACKLOG_STATES)}&operation=<name>&limit=50&offset=0",
                f"GET {PREFIX}/deferred/<operationId>",
                f"POST {PREFIX}/deferred/<operationId>/{'|'.join(COMMANDS)}",
                f"POST {PREFIX}/test",
            ]
        }
    )


@blueprint.get("/database")
def database() -> Response:
    """The connection, the collections, the newest errors and the workers."""
    return jsonify(current_prodfix.diagnostics.database())


@blueprint.get("/errors")
def errors() -> Response:
    """ErrorStatistics for ``timeRange`` = ``1h`` (default), ``24h`` or ``7d``."""
    return jsonify(current_prodfix.statistics.read(_time_range()).to_json())


@blueprint.get("/errors/groups")
def groups() -> Response:
    """The kinds of errors in ``timeRange``, the most frequent first, with their releases and whether they are resolved."""
    statistics = current_prodfix.statistics.read(_time_range())
    found = [group.to_json() for group in current_prodfix.groups.of(statistics.window)]
    return jsonify({"groups": found, **statistics.coverage()})


@blueprint.post("/errors/groups/<fingerprint>/resolve")
def resolve(fingerprint: str) -> Response:
    """Mark a kind of error as done: ``{"inNextRelease": true}`` if the releases that have it go on to run for a while."""
    body: Any = request.get_json() if request.data else {}
    if not isinstance(body, dict) or not isinstance(body.get("inNextRelease", False), bool) or set(body) - {_NEXT}:
        raise ValidationFailed("body", problems=(FieldError(_NEXT, "boolean", "must be true or false"),))
    context = current_context()
    admin = (context.notes.user_id if context else None) or "unknown"
    window = current_prodfix.statistics.read("7d").window
    resolve = current_prodfix.groups.resolve
    return _changed(resolve(fingerprint, window, by=admin, in_next_release=body.get(_NEXT, False)))


@blueprint.post("/errors/groups/<fingerprint>/reopen")
def reopen(fingerprint: str) -> Response:
    """Take that back."""
    return _changed(current_prodfix.groups.reopen(fingerprint))


@blueprint.get("/incidents")
def incidents() -> Response:
    """From the loss of the database, or a jump of the error rate, to its end: the newest first."""
    return jsonify(current_prodfix.incident_log.read())


@blueprint.get("/requests/<request_id>")
def requests(request_id: str) -> Response:
    """All that is known of one request, from whichever worker served it."""
    found = current_prodfix.diagnostics.request(request_id[:64])
    if not found:
        raise NotFound(f"no record of request {request_id[:64]}")
    return jsonify({"requestId": request_id, "errors": found})


@blueprint.get("/queries")
def queries() -> Response:
    """Every kind of command, over all workers: ``sort`` = ``total`` (default), ``p95`` or ``count``."""
    sort = request.args.get("sort", "total")
    if sort not in QUERY_SORTS or len(request.args.getlist("sort")) > 1:
        raise _one_of("sort", QUERY_SORTS)
    return jsonify(current_prodfix.queries.read(sort))


@blueprint.get("/deferred")
def deferred() -> Response:
    """Writes that wait or were put aside: counts, the oldest's age, and a page of them; arguments are not shown."""
    state = request.args.get("state")
    if state is not None and state not in BACKLOG_STATES:
        raise _one_of("state", BACKLOG_STATES)
    page = current_prodfix.backlog.page(
        state=cast(Any, state),
        operation=request.args.get("operation"),
        limit=_number("limit", 50, 1, 200),
        offset=_number("offset", 0, 0, 1_000_000),
    )
    counts = current_prodfix.diagnostics.deferred()
    orders = {"waiting": current_prodfix.backlog.ordered, "last": current_prodfix.backlog.orders()}
    return jsonify({**counts, **page, "orders": orders})


@blueprint.get("/deferred/<identity>")
def deferred_write(identity: str) -> Response:
    """One of them, with the names and types of its arguments and without a value."""
    return jsonify(current_prodfix.backlog.show(identity[:100]))


@blueprint.post("/deferred/<identity>/<command>")
def order(identity: str, command: str) -> tuple[Response, int]:
    """Try it again, or give it up. 202: the worker that has it does so within a second."""
    if command not in COMMANDS:
        raise NotFound(f"no command {command[:20]!r}")
    context = current_context()
    by = context.notes.user_id if context is not None else None
    return jsonify(current_prodfix.backlog.order(cast(Any, command), identity[:100], by)), 202


@blueprint.post("/test")
def test() -> Response:
    """Try an operation on the database: ``{"operation": "read" | "write" | "transaction"}``."""
    body: Any = request.get_json()
    operation = body.get("operation") if isinstance(body, dict) else None
    if operation not in TEST_OPERATIONS or set(cast("dict[str, Any]", body)) != {"operation"}:
        raise _one_of("operation", TEST_OPERATIONS)
    return jsonify(current_prodfix.diagnostics.test(operation))


def _time_range() -> TimeRange:
    value = request.args.get("timeRange", "1h")
    for time_range in TIME_RANGES:
        if value == time_range and len(request.args.getlist("timeRange")) < 2:
            return time_range
    raise _one_of("timeRange", TIME_RANGES)


def _changed(found: bool) -> Response:
    if not found:
        raise NotFound("no such group")
    return jsonify({"changed": True})


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) <= 7 and least <= int(text) <= most:
        return int(text)
    message = f"must be a number from {least} to {most}"
    raise ValidationFailed(f"{name} {message}", problems=(FieldError(name, "range", message),))


def _one_of(field: str, values: tuple[str, ...]) -> ValidationFailed:
    message = f"must be one of {', '.join(values)}"
    return ValidationFailed(f"{field} {message}", problems=(FieldError(field, "enum", message),))
