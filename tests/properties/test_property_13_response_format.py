from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from tests.properties.site import Site
from tests.properties.strategies import errors, headers, methods, moment

CODES = {
    "MALFORMED_REQUEST": 400,
    "AUTHENTICATION_REQUIRED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "DUPLICATE_KEY": 409,
    "CONFLICT": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "VALIDATION_FAILED": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "DATABASE_ERROR": 500,
    "DATABASE_UNAVAILABLE": 503,
    "DATABASE_BUSY": 503,
    "SHUTTING_DOWN": 503,
    "DATABASE_TIMEOUT": 504,
    "DEADLINE_EXCEEDED": 504,
}
TEXTS = ("type", "title", "detail", "code", "message", "requestId", "timestamp")
PROBLEM = {"field", "pointer", "code", "message"}


def assert_standard(answer: TestResponse) -> dict[str, Any]:
    """The body of a standard error answer."""
    assert answer.mimetype in ("application/json", "application/problem+json")
    assert len(answer.data) < 2048
    body: dict[str, Any] = json.loads(answer.data.decode("utf-8"))
    assert set(body) - {"outcome"} == {*TEXTS, "status", "details", "retryable"}
    assert all(isinstance(body[name], str) and body[name] for name in TEXTS)
    assert body["status"] == answer.status_code == CODES.get(body["code"], answer.status_code)
    assert body["code"] in CODES or body["code"] == f"HTTP_{answer.status_code}"
    assert body["detail"] == body["message"]
    assert moment(body["timestamp"])
    assert len(body["details"]) <= 50
    for problem in body["details"]:
        assert set(problem) == PROBLEM
        assert all(isinstance(value, str) for value in problem.values())
    assert body.get("outcome", "unknown") in ("not_applied", "applied", "unknown")
    assert body["retryable"] == ("Retry-After" in answer.headers)
    assert answer.headers["Cache-Control"] == "no-store"
    return body


@given(error=errors(), method=methods, accept=st.sampled_from(["*/*", "text/html, application/problem+json;q=0.9", ""]))
def test_whatever_a_view_raises(error: Exception, method: str, accept: str, site: Site) -> None:
    """For any error response, it should follow the standard JSON format with error code, message, and details fields.

    Feature: production-deployment-fix, Property 13
    """
    answer = site.fail(error, method=method, headers={"Accept": accept})
    assert_standard(answer)
    assert (answer.mimetype == "application/problem+json") == ("problem+json" in accept)


BROKEN = (
    b"",
    b"{",
    b"[1,",
    b'{"a": NaN}',
    b'{"a": 1, "a": 2}',
    b'"\\ud800"',
    b"\xff\xfe{",
    b"[" * 2000,
    b"1" * 500,
    b"x" * 5000,
)
AWAY = (
    "/nothing",
    "/raise/a/b",
    "/api/v1/notes/not-an-id",
    "/api/v1/notes/" + "0" * 24,
    "/api/v1/diagnostics/nothing",
    "/%00%ff",
)


@st.composite
def faulty_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests that are answered with an error before or without any view of ours."""
    kind = draw(st.sampled_from(["away", "method", "body", "type"]))
    if kind == "away":
        path = draw(st.sampled_from(AWAY) | headers.map(lambda word: "/" + word.replace("?", "").strip("/ ") + "/none"))
        return {"path": path, "method": draw(methods.filter(lambda name: name != "PATCH"))}
    if kind == "method":
        return {"path": "/health/live", "method": draw(methods.filter(lambda name: name != "GET") | st.just("BREW"))}
    body = draw(st.sampled_from(BROKEN) | st.binary(max_size=50)) if kind == "body" else b"{}"
    media = (
        "application/json"
        if kind == "body"
        else draw(st.sampled_from(["text/plain", "", "application/xml; charset=utf-7"]))
    )
    return {
        "path": "/api/v1/notes",
        "method": "POST",
        "input_stream": io.BytesIO(body),
        "content_type": media,
        "length": len(body),
    }


@given(faulty_requests())
def test_whatever_a_client_sends(site: Site, request: dict[str, Any]) -> None:
    """Also for what never reaches a view: unknown paths, wrong methods, bodies that are none.

    Feature: production-deployment-fix, Property 13
    """
    length = request.pop("length", 0)
    environ = EnvironBuilder(**request).get_environ()
    environ["CONTENT_LENGTH"] = str(length)
    data, status, sent = run_wsgi_app(site.app, environ)
    answer = TestResponse(data, status, sent, EnvironBuilder().get_request())
    assert 400 <= answer.status_code < 500
    assert_standard(answer)


def test_the_check_knows_a_page_that_is_none(site: Site) -> None:
    """The control: Flask's own page for the same error fails the check, and so does a body without its details."""
    site.app.error_handler_spec[None].clear()
    refusals: list[Callable[[], Any]] = [lambda: site.ask("/nothing"), lambda: site.fail(ValueError("x"))]
    for ask in refusals:
        answer = ask()
        assert re.match(rb"<!doctype html>", answer.data)
        try:
            assert_standard(answer)
        except AssertionError:
            continue
        raise ValueError("the check takes HTML for the standard format")
