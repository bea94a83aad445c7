"""The kinds of work, which are the same for whatever is measured: commands over a client, requests to an application.

A work is called with how often it is to be done. Requests go straight into the WSGI application: a test client costs more
than Flask itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

Work = Callable[[int], None]
Works = Mapping[str, Work]

AGENT = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
WANTED = {"notebook": "inbox", "archived": False, "author": 7, "stars": {"$gte": 3}}
NOTE = {"title": "A note", "body": "x" * 100, "author": 7, "tags": ["a", "b"]}


class Broken(Exception):
    """An application's own."""


def repeated(once: Callable[[], object]) -> Work:
    """``once``, as often as one is told."""

    def work(times: int) -> None:
        for _ in range(times):
            once()

    return work


def commands(database: Any) -> Works:
    """``find`` and ``insert``."""
    notes = database.notes
    return {
        "find": repeated(lambda: notes.find_one(WANTED)),
        "insert": repeated(lambda: notes.insert_one(dict(NOTE))),
    }


def requests(app: Any) -> Works:
    """``ping`` reads nothing; ``boom`` fails by an own exception, ``twice`` by a DuplicateKeyError, ``refused`` by a 422."""
    return {name: repeated(request(app, f"/{name}")) for name in ("ping", "boom", "twice", "refused")}


def request(app: Any, path: str) -> Callable[[], None]:
    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> None: ...

    def once() -> None:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": AGENT,
            "HTTP_ACCEPT": "application/json",
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
        }
        body = app(environ, start_response)
        for _part in body:
            pass
        if hasattr(body, "close"):
            body.close()

    return once


def routes(app: Any, database: Callable[[], Any]) -> None:
    """The views of :func:`requests`."""
    from flask import jsonify
    from werkzeug.exceptions import UnprocessableEntity

    @app.get("/ping")
    def ping() -> Any:
        return jsonify(pong=True)

    @app.get("/boom")
    def boom() -> Any:
        raise Broken("it does not work")

    @app.get("/twice")
    def twice() -> Any:
        database().twice.insert_one(dict(NOTE))

    @app.get("/refused")
    def refused() -> Any:
        raise UnprocessableEntity("the title is missing")


def flask_app(database: Callable[[], Any], told: Callable[[Exception], object] = lambda error: None) -> Any:
    """A bare Flask application whose errors get the answers that prodfix gives them; ``told`` is called with each."""
    import os
    from datetime import UTC, datetime

    from flask import Flask, jsonify
    from pymongo.errors import DuplicateKeyError
    from werkzeug.exceptions import HTTPException

    app = Flask("bare")
    routes(app, database)

    def answer(status: int, code: str, message: str) -> Any:
        return jsonify(
            type=f"urn:bare:{code.lower()}",
            title=code.capitalize(),
            status=status,
            detail=message,
            code=code,
            message=message,
            details=[],
            requestId=os.urandom(16).hex(),
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
            retryable=False,
        ), status

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Any:
        told(error)
        if isinstance(error, DuplicateKeyError):
            return answer(409, "DUPLICATE_KEY", "This value already exists")
        if isinstance(error, HTTPException):
            return answer(error.code or 500, "VALIDATION_FAILED", error.description or "")
        return answer(500, "INTERNAL_ERROR", "An error occurred")

    return app
