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
        try:
            body = self._inner(environ, start_response)
        except Exception as error:
            context = current_context()
            record = self.services.error_log.log_error(error, context)
            if context is not None:
                count(self.services, context, record.meaning.status)
            if not self.answers:
                raise
            return [_answer(record, start_response)]
        finally:
            # A teardown function that raises takes those before it along, and what stayed would be the next request's:
            # one greenlet serves all requests of a kept-alive connection.
            scope = environ.pop(SCOPE, None)
            if scope is not None:
                scope.end()
        context = environ.pop(STREAM, None)
        return body if context is None else Stream(self, body, context, start_response)


class Stream:
    """A streamed body. Its parts are made within the request's context, and what they raise is recorded.

    Before the first part the answer can still become an error; after it the connection is cut, which is the only way to
    say that a body is not complete.
    """

    def __init__(
        self, boundary: Boundary, body: Iterable[bytes], context: RequestContext, start_response: StartResponse
    ) -> None:
        self._boundary, self._body, self._context = boundary, body, context
        self._start_response = start_response
        self._parts: Iterator[bytes] = iter(body)
        self._begun = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        token = set_context(self._context)
        try:
            part = next(self._parts)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - recorded, and answered or raised again
            return self._failed(error)
        finally:
            reset_context(token)
        self._begun = True
        return part

    def _failed(self, error: Exception) -> bytes:
        record = self._boundary.services.error_log.log_error(error, self._context)
        if not self._boundary.answers:
            raise error
        if self._begun:
            # gunicorn closes the connection for it, and says nothing: it is told already.
            raise ConnectionResetError(errno.ECONNRESET, "the body is not complete") from error
        self._parts = iter(())
        return _answer(record, self._start_response)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            token = set_context(self._context)
            try:
                close()
            finally:
                reset_context(token)


def _answer(record: ErrorRecord, start_response: StartResponse) -> bytes:
    body, status, headers = record.to_response()
    content = render(body)
    sent = {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "X-Request-ID": record.request_id,
        "Cache-Control": "no-store",
        **headers,
    }
    start_response(f"{status} {HTTPStatus(status).phrase}", list(sent.items()), sys.exc_info())
    return content
