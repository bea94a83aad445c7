"""Before, after and at the end of each request. No hook ever raises, except for what is the client's fault."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

from flask import Flask, g, request
from flask.wrappers import Response

from prodfix import deadlines
from prodfix.context import RequestContext, current_context, new_context, reset_context, set_context
from prodfix.errors import BodyInterrupted, BodyTimeout
from prodfix.services import Services


def attach(app: Flask, services: Services, *, deadline: bool) -> None:
    """Request IDs for every answer; with ``deadline``, also one deadline for each request and a limit for its body."""

    def begin() -> None:
        services.start()
        context = _context()
        scope = ExitStack()
        token = set_context(context)
        scope.callback(reset_context, token)
        g.prodfix_scope = scope
        if deadline:
            seconds = request_seconds(services, context)
            started = deadlines.start(seconds)
            scope.callback(deadlines.stop, started)
            scope.enter_context(deadlines.database_limit(seconds))
            _read_body(services.settings.body_timeout_ms / 1000)

    def finish(response: Response) -> Response:
        context = current_context()
        if context is not None:
            response.headers["X-Request-ID"] = context.request_id
        return response

    def end(error: BaseException | None = None) -> None:
        # One greenlet serves all requests of a kept-alive connection: what is not reset here is seen by the next one.
        scope: ExitStack | None = g.pop("prodfix_scope", None)
        if scope is not None:
            with suppress(
                ValueError
            ):  # a host that ends a request in another context than it began: nothing to reset here
                scope.close()

    app.before_request_funcs.setdefault(None, []).insert(0, begin)
    app.after_request(finish)
    app.teardown_request(end)


def request_seconds(services: Services, context: RequestContext) -> float:
    """The deadline of this request: mobile devices get more (the seed's mobile strategy)."""
    seconds = services.settings.request_deadline_ms / 1000
    return seconds * services.settings.mobile_timeout_factor if context.device_type == "mobile" else seconds


def _context() -> RequestContext:
    rule = request.url_rule
    return new_context(
        endpoint=rule.rule if rule is not None else "unmatched",
        method=request.method[:20],
        ip=request.remote_addr or "",
        headers=request.headers,
    )


def _read_body(seconds: float) -> None:
    """Read the whole body within its own limit: a client that never sends it would hold this greenlet for ever.

    What is too large is Flask's to refuse (413), and bodies that a view reads as a stream are none of these methods.
    """
    if request.method in ("GET", "HEAD", "OPTIONS", "TRACE") or not _has_body(request.environ):
        return
    with deadlines.enforced(seconds, BodyTimeout):
        try:
            request.get_data(cache=True, parse_form_data=False)
        except OSError as error:  # gunicorn raises its own (InvalidChunkSize and others) from within the view's read
            raise BodyInterrupted from error


def _has_body(environ: dict[str, Any]) -> bool:
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or bool(environ.get("wsgi.input_terminated"))
