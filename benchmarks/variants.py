"""What is compared. Each variant is built in a process of its own, and then does one kind of work as often as it is told."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
from flask import Flask, jsonify
from pymongo.monitoring import CommandListener

from prodfix import QueryInterceptor, Settings, create_app, redact_command

Work = Callable[[int], None]


class EmptyListener(CommandListener):
    """The least that any listener costs: the driver builds its events for it."""

    def started(self, event: Any) -> None: ...

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


class EagerListener(EmptyListener):
    """The seed's description word for word: sanitise each query when it starts."""

    def started(self, event: Any) -> None:
        redact_command(event.command)


def _find(uri: str, *listeners: CommandListener) -> Work:
    notes: Any = pymongo.MongoClient(uri, event_listeners=list(listeners)).bench.notes
    wanted = {"notebook": "inbox", "archived": False, "author": 7, "stars": {"$gte": 3}}

    def work(times: int) -> None:
        for _ in range(times):
            notes.find_one(wanted)

    return work


def _request(app: Any, path: str) -> Work:
    """Requests straight into the WSGI application: a test client costs more than Flask itself."""

    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> None: ...

    def work(times: int) -> None:
        for _ in range(times):
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": path,
                "QUERY_STRING": "",
                "SERVER_NAME": "127.0.0.1",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "HTTP_USER_AGENT": "okhttp/4.12",
                "wsgi.input": io.BytesIO(),
                "wsgi.url_scheme": "http",
            }
            body = app(environ, start_response)
            for _part in body:
                pass
            if hasattr(body, "close"):
                body.close()

    return work


def _bare(uri: str) -> Any:
    app = Flask("bare")
    _routes(app)
    app.register_error_handler(500, lambda error: (jsonify(code="INTERNAL_ERROR"), 500))
    app.logger.disabled = True
    return app


def _prodfix(uri: str) -> Any:
    folder = Path(tempfile.mkdtemp())
    settings = Settings(app_env="production", state_dir=folder, log_dir=folder / "log", jwt_secret_key="k" * 40)  # type: ignore[arg-type]
    app = create_app(settings)
    sinks = app.extensions["prodfix"].logs.sinks
    sinks.replace(type("Nowhere", (), {"name": "console", "write": lambda self, data: None})())
    _routes(app)
    return app


def _routes(app: Flask) -> None:
    @app.get("/ping")
    def ping() -> Any:
        return jsonify(pong=True)

    @app.get("/boom")
    def boom() -> Any:
        raise ValueError("a bug")


GROUPS: dict[str, dict[str, Callable[[str], Work]]] = {
    "a command (find_one)": {
        "bare": _find,
        "bare again": _find,
        "empty listener": lambda uri: _find(uri, EmptyListener()),
        "prodfix": lambda uri: _find(uri, QueryInterceptor()),
        "eager redaction": lambda uri: _find(uri, EagerListener()),
    },
    "a request (GET, JSON)": {
        "bare": lambda uri: _request(_bare(uri), "/ping"),
        "bare again": lambda uri: _request(_bare(uri), "/ping"),
        "prodfix": lambda uri: _request(_prodfix(uri), "/ping"),
    },
    "an error (ValueError in a view)": {
        "bare": lambda uri: _request(_bare(uri), "/boom"),
        "bare again": lambda uri: _request(_bare(uri), "/boom"),
        "prodfix": lambda uri: _request(_prodfix(uri), "/boom"),
    },
}
