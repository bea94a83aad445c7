"""Before, after and at the end of each request, and its one deadline. No hook ever raises, except for what is the
client's fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import Token
from typing import Any, cast

from flask import Flask, request
from flask.typing import ResponseReturnValue
from flask.wrappers import Request, Response
from werkzeug.wsgi import FileWrapper

from prodfix.driver import csot
from prodfix.errors import BodyTimeout, DeadlineExceeded
from prodfix.process.limits import limit_until
from prodfix.process.tracing import active_span
from prodfix.records.records import Answered
from prodfix.records.span_outcome import finish, tell_error
from prodfix.request import deadlines
from prodfix.request.context import (
    RequestContext,
    current_context,
    made_context,
    quick_context,
    reset_context,
    set_context,
)
from prodfix.request.devices import hint_of
from prodfix.request.notes import Ends
from prodfix.services import Services
from prodfix.settings import Settings
from prodfix.web.host_answers import RAISED, UNRECORDED
from prodfix.web.inputs import has_body, read_whole, watch

SCOPE = "prodfix.scope"
CONTEXT = "prodfix.request.context"  # stays when the request's scope has ended
DEADLINE = "prodfix.deadline"  # when it ends, in the monotonic clock's seconds
STREAM = "prodfix.stream"
HEAD = (
    "prodfix.head"  # the outermost layer's, which keeps to the environ that Flask has: a middleware may have copied it
)
SHORTEST = 0.05  # seconds; a client cannot ask for a deadline in which nothing can be done
_MILLISECONDS = re.compile(r"[0-9]{1,9}")
_UNMARKED = object()


def attach(app: Flask, services: Services, *, deadline: bool) -> None:
    """A request ID for all that a request does; with ``deadline``, also one deadline for each and a limit for its body.

    Without it only views that :func:`prodfix.deadline` gives one have a deadline.
    """

    preprocess, traced = app.preprocess_request, "traces" in services.settings.opentelemetry

    def preprocess_request(*given: Any) -> ResponseReturnValue | None:
        """Before every hook of the application."""
        # Asked for here: an application that is under test may say so until its first request.
        if not services.runtime.background.running:
            services.start()
        current = _current()
        environ = current.environ
        head = environ.get(HEAD)
        if head is not None:
            head.environ = environ
        context = environ[CONTEXT] = _context(current, environ)
        # In the environ, which is this request's alone: a request within a request shares the application context and its g.
        scope = environ[SCOPE] = _Scope(set_context(context), context)
        seconds = _seconds(app, services, current, context, everywhere=deadline)
        if seconds is not None:
            environ[DEADLINE] = scope.begin(seconds)
        try:
            if (deadline or seconds is not None) and has_body(environ):
                _receive(current, services.settings, seconds)
            return preprocess(*given)
        except Exception as error:
            environ[RAISED] = error
            raise
        finally:
            if traced:
                _follow_trace(context)

    # Around Flask's own steps, and not among the functions that it calls in them: of each of those it finds out anew, for
    # every request, whether it is a coroutine, which takes longer than what ours do. What a step is given is handed on as it
    # is: a later Flask gives it the request's context besides.
    app.preprocess_request = preprocess_request  # type: ignore[method-assign]
    app.dispatch_request = _ended(app.dispatch_request)  # type: ignore[method-assign]
    app.process_response = _finished(app.process_response)  # type: ignore[method-assign]
    app.do_teardown_request = _left(app.do_teardown_request, services, traced=traced)  # type: ignore[method-assign]


def _follow_trace(context: RequestContext) -> None:
    """A tracer begins its span among the application's own hooks: the request is its trace's from here on."""
    span = active_span()
    if span is None:
        return
    try:
        if span.is_recording():
            span.set_attribute("prodfix.request_id", context.request_id)
    except Exception:  # noqa: BLE001 - a tracer of somebody's
        return
    context.notes.span = span


def _finished(process: Callable[..., Response]) -> Callable[..., Response]:
    """After every hook of the application has had the response."""

    def process_response(*given: Any) -> Response:
        made = process(*given)
        if made.is_streamed and not _file(made.response) and current_context() is not None:
            _current().environ[STREAM] = True
        return made

    return process_response


def _left(teardown: Callable[..., None], services: Services, *, traced: bool) -> Callable[..., None]:
    """After every teardown function of the application, also if one of them raises; and before them what its span is told."""

    def do_teardown_request(*given: Any) -> None:
        ended, environ = False, _current().environ
        context = quick_context() if traced else None
        if context is not None and context.notes.span is not None:
            if RAISED in environ or UNRECORDED in environ:
                _tell_span(environ, context, services)
            finish(context.notes)
        try:
            teardown(*given)
            ended = True
        finally:
            scope: _Scope | None = environ.pop(SCOPE, None)
            if scope is not None:
                # Only the outermost layer records what is left, and tells what waits for that.
                scope.end(HEAD in environ and (not ended or UNRECORDED in environ or RAISED in environ))

    return do_teardown_request


def _tell_span(environ: dict[str, Any], context: RequestContext, services: Services) -> None:
    """A tracer ends its span with the teardown. An error that the host has answered itself is recorded later than that."""
    error, head = environ.get(UNRECORDED, environ.get(RAISED)), environ.get(HEAD)
    if error is not None and head is not None and services.settings.enable_error_handler:
        try:
            tell_error(services.errors.log.record(error, context, None, Answered("host", head.status)), error)
        except Exception:  # noqa: BLE001 - a tracer of somebody's
            services.errors.log.failed()


_current: Callable[[], Request] = cast(Any, request)._get_current_object
"""The request itself: what is asked of its proxy takes longer than all the rest."""


def _receive(current: Request, settings: Settings, seconds: float | None) -> None:
    """Read the whole body within its own limit: a client that never sends it would hold this greenlet for ever. A view
    without a deadline reads it itself, as it arrives."""
    if seconds is None:
        watch(current)
        return
    with deadlines.Enforced(min(settings.body_timeout_ms / 1000, seconds), BodyTimeout):
        read_whole(current, settings.body_encodings)


def _file(body: Any) -> bool:
    """Whether the server sends it by itself, as a file of the operating system (PEP 3333, wsgi.file_wrapper)."""
    try:
        return isinstance(body, FileWrapper) and body.file.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False


def _ended(dispatch: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """gunicorn's --timeout watches the hub, not a request: without this a view that waits is never ended."""

    def dispatch_request(*given: Any) -> ResponseReturnValue:
        ends = deadlines.ends()
        limit = None if ends is None else limit_until(ends[0])
        try:  # as deadlines.Enforced does it
            return dispatch(*given)
        except BaseException as raised:
            cut = limit is not None and raised is limit.raised
            error = DeadlineExceeded() if cut else raised
            if isinstance(error, Exception):
                _current().environ[RAISED] = error
            if cut:
                raise error from raised
            raise
        finally:
            if limit is not None:
                limit.close()

    return dispatch_request


def _seconds(
    app: Flask, services: Services, current: Request, context: RequestContext, *, everywhere: bool
) -> float | None:
    """The deadline of this request, ``None`` for none: its view's own or everybody's, more of it for mobile devices (the
    seed's mobile strategy), or less if the client says so."""
    rule = current.url_rule
    own: Any = _UNMARKED if rule is None else getattr(app.view_functions.get(rule.endpoint), deadlines.VIEW, _UNMARKED)
    if own is _UNMARKED:
        if not everywhere:
            return None
        own = services.settings.request_deadline_ms / 1000
    if own is None:
        return None
    seconds: float = own * services.settings.mobile_timeout_factor if context.quick_device == "mobile" else own
    asked = current.environ.get("HTTP_X_REQUEST_TIMEOUT_MS")
    if asked is None or _MILLISECONDS.fullmatch(asked) is None:
        return seconds
    return min(seconds, max(int(asked) / 1000, SHORTEST))


class _Scope:
    """What a request has set in its greenlet. One greenlet serves all requests of a kept-alive connection, so all of it
    is reset: what stayed would be the next one's."""

    __slots__ = ("_context", "_database", "_outer", "_token")

    def __init__(self, token: Token[RequestContext | None], context: RequestContext) -> None:
        self._token = token
        self._context = context
        self._outer: Token[Ends | None] | None = None
        context.notes.holding = True
        self._database: Any = None

    def begin(self, seconds: float) -> float:
        """When the request's time is over, in the monotonic clock's seconds."""
        begun, share = self._context.begun, deadlines.database_share(seconds)
        ends = self._context.notes.ends = begun + seconds, begun + share
        if deadlines.own():  # of whoever asks for this request within this very process
            self._outer = deadlines.begin(ends)
        self._database = csot.begin_deadline((share, ends[1]))
        return ends[0]

    def end(self, unrecorded: bool = False) -> None:
        """``unrecorded``: it ended in an error that will be recorded, which tells what the notes hold."""
        notes = self._context.notes
        del notes.holding
        if not unrecorded:
            notes.tell()
        try:
            if self._database is not None:
                notes.ends = None
                if self._outer is not None:
                    deadlines.stop(self._outer)
                csot.end_deadline(self._database)
            reset_context(self._token)
        except ValueError:  # a host that ends a request in another context than it began: nothing to reset here
            pass


def _context(current: Request, environ: dict[str, Any]) -> RequestContext:
    rule, header = current.url_rule, environ.get
    parent = header("HTTP_TRACEPARENT", "")
    platform, mobile = header("HTTP_SEC_CH_UA_PLATFORM"), header("HTTP_SEC_CH_UA_MOBILE")
    return made_context(
        rule.rule if rule is not None else "unmatched",
        current.method[:20],
        current.remote_addr or "",
        # By place, as of every request: names take a function longer than what it does with three of them.
        header("HTTP_X_REQUEST_ID", ""),
        parent,
        header("HTTP_USER_AGENT", ""),
        header("HTTP_X_APP_VERSION", ""),
        hint_of(platform or "", mobile or "") if platform or mobile else "",
        header("HTTP_TRACESTATE", "") if parent else "",
        header("HTTP_BAGGAGE", ""),
    )
