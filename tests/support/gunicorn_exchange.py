"""gunicorn's own parser and response around an application, without a socket: what a client sends, and what it gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesParser
from typing import Any, NamedTuple

from flask import Flask
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.http.parser import RequestParser

NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """The client's side of a connection: what the server sends."""

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    send = sendall


def post(
    path: str, body: bytes, *headers: str, chunks: int | None = None, method: str = "POST", declared: int | None = None
) -> bytes:
    """One request; in chunks of that many bytes, or with a length, the body's own unless told otherwise."""
    if chunks is not None:
        headers, body = (*headers, "Transfer-Encoding: chunked"), chunked(body, chunks)
    else:
        headers = (*headers, f"Content-Length: {len(body) if declared is None else declared}")
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers])
    return head.encode() + b"\r\n\r\n" + body


def chunked(body: bytes, size: int, *, last: bool = True) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if last else b"")


def converse(
    app: Callable[..., Any],
    sent: bytes | Iterator[bytes],
    *,
    piece: int = 1000,
    wrap: Callable[[Any], Any] = lambda one: one,
) -> list[Answer]:
    """The answers to all requests of one connection, of which ``sent`` is all that the client sends, before it goes.

    As gunicorn's gevent worker does it (``AsyncWorker.handle``). ``wrap`` is a middleware's way with ``start_response``.
    """
    arriving = (sent[at : at + piece] for at in range(0, len(sent), piece)) if isinstance(sent, bytes) else sent
    configuration = Config()
    parser, answers = RequestParser(configuration, arriving, ("127.0.0.1", 1)), []
    try:
        for request in parser:
            wire = Wire()
            response, environ = wsgi.create(request, wire, ("127.0.0.1", 1), ("127.0.0.1", "80"), configuration)
            body = app(environ, wrap(response.start_response))
            try:
                for part in body:
                    response.write(part)
                response.close()
            finally:
                getattr(body, "close", lambda: None)()
            answers.append(_answer(wire.sent))
            if response.should_close():
                break
    except NoMoreData:  # the client has gone
        pass
    return answers


def _answer(sent: bytes) -> Answer:
    head, _, body = sent.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    status, _, headers = head.partition(b"\r\n")
    return Answer(int(status.split()[1]), BytesParser().parsebytes(headers), body)


def host(*views: tuple[str, Callable[[], Any]], **options: Any) -> Flask:
    """An application with these views, and ``/next`` for what comes after them on the same connection."""
    app = Flask("host", **options)
    for rule, view in (*views, ("/next", lambda: "next")):
        app.add_url_rule(rule, rule, view, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    return app
