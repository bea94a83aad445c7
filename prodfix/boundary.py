"""The outermost layer of an application: what fails where Flask has no handler any more.

That is a streamed body, whose parts are made after Flask has let go of the request, and whatever a teardown function
raises. Both would be answered by gunicorn in HTML, with nothing in our log.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from flask import Flask

from prodfix.context import RequestContext, current_context, reset_context, set_context
from prodfix.hooks import SCOPE, STREAM, count
from prodfix.records import ErrorRecord
from prodfix.services import Services
from prodfix.sinks import render

StartResponse = Callable[..., Any]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def attach(app: Flask, services: Services, *, answers: bool) -> None:
    """Wrap ``app.wsgi_app``. ``answers``: give an answer instead of the exception, as only the served application may;
    in a host the exception goes on to whoever waits for it there."""
    app.wsgi_app = Boundary(app, services, answers=answers)  # type: ignore[method-assign]


class Boundary:
    """A WSGI application around another one."""

    def __init__(self, app: Flask, services: Services, *, answers: bool) -> None:
        self._app, self.services, self._answers = app, services, answers
        self._inner: Wsgi = app.wsgi_app

    @property
    def answers(self) -> bool:
        """Not where Flask itself would let the exception through: in tests and in the debugger."""
        config = self._app.config
        propagates = config["PROPAGATE_EXCEPTIONS"]
        return self._answers and not (self._app.testing or self._app.debug if propagates is None else propagates)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        head = _Head(environ, start_response)
        try:
            body = self._inner(environ, head)
        except Exception as error:
            context = current_context()
            record = self.services.error_log.log_error(error, context)
            if context is not None:
                count(self.services, context, record.meaning.status)
            if not self.answers:
                raise
            return [_answer(record, start_response, sys.exc_info())]
        finally:
            # A teardown function that raises takes those before it along, and what stayed would be the next request's:
            # one greenlet serves all requests of a kept-alive connection.
            scope = environ.pop(SCOPE, None)
            if scope is not None:
                scope.end()
        return body if head.held is None else Stream(self, body, environ.pop(STREAM), head)


class _Head:
    """``start_response``, which waits for the first part of a streamed body.

    PEP 3333 lets a second call replace the first one's headers; gunicorn adds to them instead.
    """

    __slots__ = ("_environ", "held", "start_response")

    def __init__(self, environ: dict[str, Any], start_response: StartResponse) -> None:
        self._environ, self.start_response = environ, start_response
        self.held: tuple[Any, ...] | None = None

    def __call__(self, *head: Any) -> Any:
        if STREAM not in self._environ:
            return self.start_response(*head)
        self.held = head
        return None


class Stream:
    """A streamed body. Its parts are made within the request's context, and what they raise is recorded.

    Before the first part the answer can still become an error; after it the connection is cut, which is the only way to
    say that a body is not complete.
    """

    def __init__(self, boundary: Boundary, body: Iterable[bytes], context: RequestContext, head: _Head) -> None:
        self._boundary, self._body, self._context, self._head = boundary, body, context, head
        self._parts: Iterator[bytes] = iter(body)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        token = set_context(self._context)
        try:
            part = next(self._parts)
        except StopIteration:
            self._begin()
            raise
        except Exception as error:  # noqa: BLE001 - recorded, and answered or raised again
            return self._failed(error)
        finally:
            reset_context(token)
        self._begin()
        return part

    def _begin(self) -> None:
        held, self._head.held = self._head.held, None
        if held is not None:
            self._head.start_response(*held)

    def _failed(self, error: Exception) -> bytes:
        record = self._boundary.services.error_log.log_error(error, self._context)
        begun = self._head.held is None
        if not self._boundary.answers:
            self._begin()
            raise error
        if begun:
            # gunicorn closes the connection for it, and says nothing: it is told already.
            raise ConnectionResetError(errno.ECONNRESET, "the body is not complete") from error
        self._head.held, self._parts = None, iter(())
        return _answer(record, self._head.start_response)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            token = set_context(self._context)
            try:
                close()
            finally:
                reset_context(token)


def _answer(record: ErrorRecord, start_response: StartResponse, replaced: Any = None) -> bytes:
    body, status, headers = record.to_response()
    content = render(body)
    sent = {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "X-Request-ID": record.request_id,
        "Cache-Control": "no-store",
        **headers,
    }
    start_response(f"{status} {HTTPStatus(status).phrase}", list(sent.items()), replaced)
    return content
