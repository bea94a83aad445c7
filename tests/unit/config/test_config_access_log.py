from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from config.access_log import LONGEST_PATH, AccessLog
from prodfix.request.context import new_context, reset_context, set_context, uncounted
from prodfix.web.hooks import CONTEXT

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/api/v1/notes",
    "QUERY_STRING": "email=max@example.com",
    "RAW_URI": "/api/v1/notes?email=max@example.com",
    "HTTP_AUTHORIZATION": "Bearer secret",
    "HTTP_X_REQUEST_ID": "from-the-client",
    "REMOTE_ADDR": "192.0.2.7",
}
RESPONSE = SimpleNamespace(status="404 NOT FOUND", headers=[("Content-Type", "x"), ("X-Request-ID", "from-the-answer")])


@pytest.fixture
def log() -> Iterator[AccessLog]:
    config = Config()
    config.set("accesslog", "-")
    yield AccessLog(config)
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def lines(log: AccessLog, response: Any = RESPONSE, **environ: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    log.hand_over(found.append)
    log.access(response, None, ENVIRON | environ, timedelta(milliseconds=12.34))
    return found


def test_a_line_has_these_fields_and_no_others(log: AccessLog) -> None:
    (line,) = lines(log)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "path": "/api/v1/notes",
        "status": 404,
        "durationMs": 12.3,
        "requestId": "from-the-answer",
        "ip": "192.0.2.7",
    }


def test_what_the_application_leaves_out_leaves_no_line_and_its_own_routes_do(log: AccessLog) -> None:
    context = new_context(endpoint="/x", method="GET", ip="", headers={})
    environ: dict[str, Any] = {CONTEXT: context}
    assert len(lines(log, **environ)) == 1
    token = set_context(context)
    try:
        uncounted()
        assert len(lines(log, **environ)) == 1, "no traffic, and a line all the same"
        uncounted(logged=False)
        assert lines(log, **environ) == []
    finally:
        reset_context(token)


@pytest.mark.parametrize("path", ["/health/steps", "/health/live", "/health/", "/health"])
@pytest.mark.parametrize(
    "context", [None, 7, SimpleNamespace(), SimpleNamespace(notes=SimpleNamespace(unlogged="yes"))]
)
def test_a_path_alone_leaves_nothing_out(log: AccessLog, path: str, context: Any) -> None:
    environ: dict[str, Any] = {"PATH_INFO": path, CONTEXT: context}
    assert [line["path"] for line in lines(log, **environ)] == [path]


def test_a_path_is_readable_and_bounded(log: AccessLog) -> None:
    (line,) = lines(log, PATH_INFO="/notes/caf\u00e9".encode().decode("latin-1"))
    assert line["path"] == "/notes/caf\u00e9"
    (line,) = lines(log, PATH_INFO="/word" * 4000)
    assert len(line["path"]) == LONGEST_PATH


SECRET_PATHS = {
    "/reset/<token>": "/reset/canary7f3aQ9xZ",
    "/api/v1/operations/<operation_id>": "/api/v1/operations/6b04b5b15a6ac5fe35860f00",
    "/users/<name>": "/users/max",
    "/files/<path:name>": "/files/a/canary7f3a/b",
    "/notes": "/notes",
}


@pytest.mark.parametrize("template", SECRET_PATHS)
def test_a_line_has_the_template_of_the_route_and_not_what_stands_for_its_variables(
    log: AccessLog, template: str
) -> None:
    environ = {"PATH_INFO": SECRET_PATHS[template], "prodfix.request.context": SimpleNamespace(endpoint=template)}
    (line,) = lines(log, **environ)
    assert line["path"] == template
    assert "rawPath" not in line


UNKNOWN_PATHS = {
    "/reset/canary7f3aQ9xZ": "/reset/***",
    "/user:canary7f3a@h": "/***",
    "/a/123e4567-e89b-12d3-a456-426614174000/b": "/a/***/b",
    "/notes/65a1b2c3d4e5f6a7b8c9d0e1": "/notes/***",
    "/users/42/orders/": "/users/***/orders/",
    "/max@example.org": "/***",
    "/bot123:AAcanary/sendMessage": "/***/sendMessage",
    "/token=canary": "/***",
    "/qzxkvwpfjtmrblcdhgns": "/***",
    "/10.1.2.3/x": "/***/x",
    "/a b": "/***",
    "/wp-login.php": "/wp-login.php",
    "/.env": "/.env",
    "/.well-known/security.txt": "/.well-known/security.txt",
    "/api/v2/no-such-route": "/api/v2/no-such-route",
    "/": "/",
}


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_a_path_without_a_route_keeps_its_words_alone(log: AccessLog, path: str) -> None:
    for context in ({}, {"prodfix.request.context": SimpleNamespace(endpoint="unmatched")}):
        (line,) = lines(log, PATH_INFO=path, **context)
        assert line["path"] == UNKNOWN_PATHS[path]


def test_at_debug_the_path_itself_is_there_redacted(log: AccessLog) -> None:
    log.loglevel = logging.DEBUG
    (line,) = lines(
        log,
        PATH_INFO="/reset/65a1b2c3/max@example.org",
        **{"prodfix.request.context": SimpleNamespace(endpoint="/reset/<x>")},
    )
    assert (line["path"], line["rawPath"]) == ("/reset/<x>", "/reset/65a1b2c3/***")


def test_what_gunicorn_says_of_a_request_that_failed_has_no_value_of_its_path(
    log: AccessLog, capfd: pytest.CaptureFixture[str]
) -> None:
    log.exception("Error handling request %s", "/reset/canary7f3aQ9xZ?token=canary")
    assert json.loads(capfd.readouterr().out)["message"] == "Error handling request /reset/***"


def test_an_answer_of_gunicorn_itself_has_no_request_id(log: AccessLog) -> None:
    (line,) = lines(log, SimpleNamespace(status=400, headers=[]))
    assert line["status"] == 400
    assert line["requestId"] is None


def test_until_it_is_handed_over_a_line_is_one_line_on_stdout(
    log: AccessLog, capfd: pytest.CaptureFixture[str]
) -> None:
    log.access(RESPONSE, None, ENVIRON | {"PATH_INFO": '/a/\n"b\x7f/max@example.org'}, timedelta(0))
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line)["path"] == "/a/***/***"
    assert line.isprintable()


def test_what_gunicorn_says_itself_is_json_on_stdout(log: AccessLog, capfd: pytest.CaptureFixture[str]) -> None:
    log.info("Booting worker with pid: %s", 7)
    error = ValueError("mongodb://app:canary7f3a@h/x")
    log.error("Exception in worker process\n\x1b[31m", exc_info=error)
    out, err = capfd.readouterr()
    booting, failed = map(json.loads, out.splitlines())
    assert (booting["level"], booting["message"], booting["logger"]) == (
        "info",
        "Booting worker with pid: 7",
        "gunicorn.error",
    )
    assert (failed["level"], failed["message"]) == ("error", "Exception in worker process\n\x1b[31m")
    assert failed["error"].startswith("ValueError: mongodb://***")
    assert failed["stack"] == "ValueError"
    assert "canary7f3a" not in out + err
    assert "\x1b" not in out


def test_a_file_for_gunicorns_errors_has_the_same_lines(tmp_path: Path) -> None:
    config = Config()
    config.set("errorlog", str(tmp_path / "gunicorn.log"))
    log = AccessLog(config)
    try:
        log.error("a\nb")
        (line,) = (tmp_path / "gunicorn.log").read_text().splitlines()
        assert json.loads(line)["message"] == "a\nb"
    finally:
        for handler in logging.getLogger("gunicorn.error").handlers[:]:
            handler.close()
            logging.getLogger("gunicorn.error").removeHandler(handler)


@pytest.mark.parametrize(
    "response", [None, SimpleNamespace(status="", headers=[]), SimpleNamespace(status=200, headers=3)]
)
def test_it_never_raises(log: AccessLog, response: Any) -> None:
    assert lines(log, response) == []


def test_it_stays_silent_when_access_logging_is_off(log: AccessLog) -> None:
    config = Config()
    config.set("accesslog", None)
    log.setup(config)
    assert lines(log) == []


def test_preloading_is_turned_off_before_the_arbiter_would_do_it(capfd: pytest.CaptureFixture[str]) -> None:
    config = Config()
    config.set("preload_app", True)
    AccessLog(config)
    assert config.preload_app is False
    assert "--preload is ignored" in capfd.readouterr().out
