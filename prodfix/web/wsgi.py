"""The outermost layer of an application: what fails where Flask has no handler any more, and what is counted of a request.

Beyond Flask are streamed bodies, whose parts are made after it has let go of the request, what a teardown function raises,
headers that no server can send, and every ``BaseException``. gunicorn would answer them in HTML, with nothing in our log.
"""

from __future__ import annotations

import errno
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from http import HTTPStatus
from typing import Any

import pymongo
from flask import Flask

from prodfix.errors import DeadlineExceeded
from prodfix.records.records import Answered, ErrorRecord
from prodfix.request import deadlines
from prodfix.request.context import RequestContext, reset_context, set_context
from prodfix.request.identities import new_request_id
from prodfix.services import Services
from prodfix.statistics.counters import Counters
from prodfix.web.answers import REQUEST_ID, Answer, answer_to
from prodfix.web.application import Application
from prodfix.web.hooks import CONTEXT, DEADLINE, HEAD, SCOPE, STREAM
from prodfix.web.host_answers import RAISED, UNRECORDED, record_answer
from prodfix.web.incoming import UNREAD, Rest, close_connection, discard

StartResponse = Callable[..., Any]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


# An application has few names and statuses, and sends them with every answer. Each is looked at once.
_MOST = 256
_names: dict[str, str] = {}
_codes: dict[str, int] = {}


def _lowered(name: str) -> str | None:
    """``name`` in lower case; None for what is no name of a header."""
    lowered = name.lower() if _NAME.fullmatch(name) is not None else None
    if lowered is not None and len(_names) < _MOST:
        _names[name] = lowered
    return lowered


def _code(status: str) -> int:
    """Raises ``ValueError`` for what is no status."""
    code = int(status[:3])
    if len(_codes) < _MOST:
        _codes[status] = code
    return code


def attach(app: Flask, services: Services, *, answers: bool) -> None:
    """Wrap ``app.wsgi_app``. ``answers``: give an answer instead of the exception, as only the served application may;
    in a host the exception goes on to whoever waits for it there."""
    attach_layer(WsgiLayer, app, services, answers=answers)


def attach_layer(layer: type[WsgiLayer], app: Flask, services: Services, *, answers: bool) -> None:
    """The same with a kind of layer."""
    if isinstance(app, Application):
        # What is around wsgi_app when it is asked, and not what is now.
        app.outermost = layer(app, services, lambda *asked: app.wsgi_app(*asked), answers=answers)  # noqa: PLW0108
    else:
        app.wsgi_app = layer(app, services, app.wsgi_app, answers=answers)  # type: ignore[method-assign]


class WsgiLayer:
    """A WSGI application around another one, ``inner``."""

    def __init__(self, app: Flask, services: Services, inner: Wsgi, *, answers: bool) -> None:
        self._app, self._services, self._answers = app, services, answers
        self._inner = inner

    @cached_property
    def _counters(self) -> Counters:
        return self._services.requests.counters

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        head = environ[HEAD] = _Head(environ, start_response, holds=self._answers)
        try:
            body = self._inner(environ, head.start)
            if not head.told:
                body = Begun(body)
        except BaseException as error:  # noqa: BLE001 - a gevent.Timeout of the application, sys.exit() in a view
            return [self.failed(error, head.environ.get(CONTEXT), head)]
        finally:
            environ.pop(HEAD, None)
            if head.environ is not environ:
                environ = head.environ
                environ.pop(HEAD, None)
            # A teardown function that raises takes those before it along, and what stayed would be the next request's:
            # one greenlet serves all requests of a kept-alive connection.
            scope = environ.pop(SCOPE, None)
            if scope is not None:
                scope.end()
        context = environ.get(CONTEXT)
        if head.status >= 500 or UNRECORDED in environ or RAISED in environ:
            record_answer(self._services, environ, context, head.status)
            if context is not None:
                context.notes.tell()
        if STREAM in environ:
            return Stream(self, body, context, head, environ.get(DEADLINE))
        self.count(context, head)
        rest = environ.get(UNREAD)
        return body if rest is None else Refusal(body, rest)

    def failed(self, error: BaseException, context: RequestContext | None, head: _Head) -> bytes:
        """Record what has escaped, and answer it; or raise it again, to whoever waits for it outside."""
        environ = head.environ
        earlier = environ.get(UNRECORDED, environ.get(RAISED))
        if earlier is not None and earlier is not error:  # a teardown function has failed after a view
            record_answer(self._services, environ, context, head.status)
        head.forget_errors()
        ours = self.answers and self._services.runtime.background.serving()
        # Without us the server answers it, and knows nothing but 500.
        record = self.record(error, context, Answered("prodfix") if ours else Answered("host", 500))
        if context is not None:
            context.notes.tell()  # what waited for this record, and is not in it
        head.status = 500 if record is None else record.status
        self.count(context, head)
        if record is None or not ours:
            raise error
        return head.replace(answer_to(record), record.request_id)

    @property
    def answers(self) -> bool:
        """Not where Flask itself would let the exception through: in tests and in the debugger."""
        config = self._app.config
        propagates = config["PROPAGATE_EXCEPTIONS"]
        return self._answers and not (self._app.testing or self._app.debug if propagates is None else propagates)

    def record(
        self, error: BaseException, context: RequestContext | None, answered: Answered | None = None
    ) -> ErrorRecord | None:
        """None where errors are none of ours."""
        if not self._services.settings.enable_error_handler:
            return None
        return self._services.errors.log.log_error(error, context, answered)

    def count(self, context: RequestContext | None, head: _Head) -> None:
        """Count an answered request, with the time that it took until now."""
        failed = head.status >= 500
        if context is None:
            # What never came as far as our hook was not the application's, unless that failed on the way.
            if failed:
                micros = int((time.monotonic() - head.begun) * 1e6)
                self._counters.request("unmatched", "unknown", micros, failed=True)
        elif not (notes := context.notes).uncounted:
            micros = int((time.monotonic() - context.begun) * 1e6)
            # By place: names would take it longer than the counting.
            self._counters.request(
                context.endpoint, context.quick_device, micros, failed, notes.commands, notes.command_micros
            )


class _Head:
    """``start_response``, which refuses what cannot be sent, and ``holds`` it until there is the first part of a streamed body.

    Only where an answer could take its place: whoever looks on from outside of us, a tracer say, looks while Flask is at it.
    PEP 3333 lets a second call replace the first one's headers; gunicorn adds to them instead, also to those of a call that
    it has refused.
    """

    __slots__ = ("_holds", "_start_response", "begun", "environ", "held", "named", "sent", "status", "told")

    def __init__(self, environ: dict[str, Any], start_response: StartResponse, *, holds: bool) -> None:
        self.environ, self._start_response, self._holds = environ, start_response, holds
        self.held: tuple[Any, ...] | None = None
        self.sent = self.told = self.named = False  # named: the application has a X-Request-ID of its own
        self.status, self.begun = 500, time.monotonic()

    def start(self, status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        """What the application calls. A method: a call of the object itself takes longer."""
        for name, value in headers:
            lowered = _names.get(name) or _lowered(name)
            if lowered is None or not ((value.isascii() and value.isprintable()) or _UNSENDABLE.search(value) is None):
                raise ValueError(f"the header {name[:40]!a} cannot be sent")
            if lowered == "x-request-id":
                self.named = True
        self.told, self.status = True, _codes.get(status) or _code(status)
        environ = self.environ
        if UNREAD in environ and "SERVER_SOFTWARE" in environ:
            # It is the server's to say (PEP 3333): some raise for it.
            headers = [(name, value) for name, value in headers if name.lower() != "connection"]
        if not self._holds or STREAM not in environ:
            return self.send(status, headers, *more)
        self.held = (status, headers, *more)
        return None

    def forget_errors(self) -> None:
        """Of the request's steps: what holds an environ must not be held by it."""
        self.environ.pop(RAISED, None)
        self.environ.pop(UNRECORDED, None)

    def replace(self, answer: Answer, request_id: str) -> bytes:
        """Send ``answer`` in place of what the application wanted to say; its body."""
        self.held, body = None, answer.body
        self.environ[REQUEST_ID] = request_id
        headers = [*answer.headers.items(), ("Content-Length", str(len(body)))]
        replaced = sys.exc_info() if self.sent else None
        self.send(f"{answer.status} {_PHRASES.get(answer.status, 'Unknown')}", headers, replaced)
        return body

    def send(self, status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        """The one place that sets ``X-Request-ID``: every answer goes through here, whoever has made it."""
        self.sent = True
        environ = self.environ
        rest = environ.get(UNREAD)
        if rest is not None:
            close_connection(rest, self._start_response)
        context: RequestContext | None = environ.get(CONTEXT)
        identity: str | None = environ.get(REQUEST_ID)  # what the body says
        if identity is None and context is not None:
            identity = context.request_id
        elif identity is None and self.status >= 500:  # of a middleware: nobody has come as far as our hook
            identity = environ[REQUEST_ID] = new_request_id()
        if identity is not None:
            if self.named:
                headers = [(name, value) for name, value in headers if name.lower() != "x-request-id"]
            headers = [*headers, ("X-Request-ID", identity)]
        return self._start_response(status, headers, *more)


class Stream:
    """A streamed body. Its parts are made within the request's context, and what they raise is recorded.

    Before the first part the answer can still become an error; after it the connection is cut, which is the only way to
    say that a body is not complete.
    """

    def __init__(
        self,
        boundary: WsgiLayer,
        body: Iterable[bytes],
        context: RequestContext | None,
        head: _Head,
        deadline: float | None,
    ) -> None:
        self._boundary, self._body, self._context, self._head = boundary, body, context, head
        self._deadline = deadline
        self._begun = False
        self._parts: Iterator[bytes] = iter(body)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        token = set_context(self._context)
        try:
            part = next(self._parts, None) if self._begun or self._deadline is None else self._first()
            _check(part)
            self._begin()
        except BaseException as error:  # noqa: BLE001 - recorded, and answered or raised again
            return self._failed(error)
        finally:
            reset_context(token)
        if part is None:
            raise StopIteration
        return part

    def _first(self) -> bytes | None:
        """Until something is sent the request's deadline holds, and an answer can say that it is over."""
        left = max(0.0, (self._deadline or 0.0) - time.monotonic())
        token = deadlines.start(left)
        try:
            with (
                deadlines.Enforced(left, DeadlineExceeded),
                pymongo.timeout(max(0.001, deadlines.database_share(left))),
            ):
                return next(self._parts, None)
        finally:
            deadlines.stop(token)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._release()
        self._boundary.count(self._context, self._head)

    def _release(self) -> None:
        held, self._head.held = self._head.held, None
        if held is not None:
            self._head.send(*held)

    def _failed(self, error: BaseException) -> bytes:
        if not self._begun:
            self._begun = True
            if not self._boundary.answers:
                self._release()  # as without us
            self._parts = iter(())
            return self._boundary.failed(error, self._context, self._head)
        self._boundary.record(error, self._context)
        if not self._boundary.answers:
            raise error
        # gunicorn closes the connection for it, and says nothing: it is told already.
        raise ConnectionResetError(errno.ECONNRESET, "the body is not complete") from error

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            token = set_context(self._context)
            try:
                close()
            finally:
                reset_context(token)


class Begun:
    """A body of an application that does nothing before it is asked for its first part: a middleware that is a generator."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body, self._parts = body, iter(body)
        self._first = next(self._parts, None)

    def __iter__(self) -> Iterator[bytes]:
        if self._first is not None:
            yield self._first
            yield from self._parts

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


class Refusal:
    """An answer that did not wait for the whole body of its request."""

    __slots__ = ("_body", "_rest")

    def __init__(self, body: Iterable[bytes], rest: Rest) -> None:
        self._body, self._rest = body, rest

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            discard(self._rest)


def _check(part: Any) -> None:
    if part is not None and not isinstance(part, bytes):
        raise TypeError(f"a part of a body is {type(part).__name__[:100]}, and not bytes")


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
