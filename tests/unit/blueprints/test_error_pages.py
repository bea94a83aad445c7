"""An error of the pages is a page with a way back for who reads HTML, and JSON for who does not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import COOKIE, PREFIX
from prodfix.web.application import Application
from tests.unit.blueprints.test_diagnostics_guard import HTML, Serve, bearer, token, with_cookie

CASES = [
    ("GET", "/page/errors?from=yesterday", 422, "VALIDATION_FAILED", "The same page without a filter"),
    ("GET", "/page/errors?shoe=42", 422, "VALIDATION_FAILED", "The same page without a filter"),
    ("GET", "/page/groups/0123456789abcdef", 404, "NOT_FOUND", "kept for a limited time"),
    ("GET", "/page/nothing/of/that/name", 404, "NOT_FOUND", "kept for a limited time"),
    ("GET", "/page/deferred/replay", 405, "METHOD_NOT_ALLOWED", "takes a form of the page"),
    ("POST", "/page/deferred/replay", 403, "FORBIDDEN", "Nothing was changed"),
]


@pytest.fixture
def app(serve: Serve) -> Application:
    return serve([diagnostics])


@pytest.mark.parametrize(("method", "path", "status", "code", "words"), CASES)
def test_it_is_what_one_can_read(app: Application, method: str, path: str, status: int, code: str, words: str) -> None:
    client = with_cookie(app)
    page, told = (client.open(PREFIX + path, method=method, headers=headers) for headers in (HTML, {}))
    assert (page.status_code, told.status_code) == (status, status)
    assert (page.mimetype, told.mimetype) == ("text/html", "application/json")
    assert told.get_json()["code"] == code
    assert f">{code}<" in page.text
    assert words in page.text
    assert page.text.count("<h1") == 1
    assert f'href="{PREFIX}"' in page.text, "a way back"
    assert page.headers["X-Request-ID"] in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "Accept" in page.headers["Vary"]
    assert page.headers["Cache-Control"] == "no-store"


def test_a_way_back_leads_where_one_came_from_without_what_was_wrong(app: Application) -> None:
    page = with_cookie(app).get(f"{PREFIX}/page/errors?from=%22%3E%3Cscript%3E", headers=HTML)
    assert f'href="{PREFIX}/page/errors">The same page' in page.text
    assert "<script>" not in page.text


def test_one_that_was_asked_too_often_says_when_to_come_back(serve: Serve) -> None:
    client = with_cookie(serve([diagnostics], diagnostics_rate_limit="1/minute"))
    assert client.get(f"{PREFIX}/page/deferred", headers=HTML).status_code == 200
    page = client.get(f"{PREFIX}/page/deferred", headers=HTML)
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert re.search(r"Again in \d+ s", page.text)
    assert "<nav" in page.text


def test_what_fails_leads_to_its_request(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    backlog = app.extensions["prodfix"].deferral.backlog
    for error, status in ((TimeoutError("canary"), 500), (KeyError("canary"), 500)):

        def fail(*_: Any, error: BaseException = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(type(backlog), "page", fail)
        page = with_cookie(app).get(f"{PREFIX}/page/deferred", headers=HTML)
        assert page.status_code >= status
        assert page.mimetype == "text/html"
        assert f'{PREFIX}/page/requests/{page.headers["X-Request-ID"]}"' in page.text
        assert "canary" not in page.text


def test_a_stranger_sees_the_way_in_and_nothing_else(app: Application) -> None:
    name = app.extensions["prodfix"].settings.instance
    inside = with_cookie(app).get(f"{PREFIX}/page/nothing", headers=HTML)
    assert name in inside.text, "the control"
    assert "<nav" in inside.text
    stranger = app.test_client()
    other = app.test_client()
    other.set_cookie(COOKIE, token(app, role="user"), path=PREFIX)
    for path in ("/page/nothing", "/page/errors?shoe=42", "/page/deferred/replay"):
        for client, status in ((stranger, 401), (other, 403)):
            page = client.get(PREFIX + path, headers=HTML)
            assert (page.status_code, page.mimetype) == (status, "text/html"), path
            assert "/diagnostics/sign-in" in page.text
            assert name not in page.text
            assert "<nav" not in page.text


def test_the_api_and_the_rest_of_the_application_answer_with_json(app: Application) -> None:
    client: FlaskClient = app.test_client()
    for path, headers in ((f"{PREFIX}/errors?shoe=42", bearer(app)), ("/nothing", {}), (f"{PREFIX}/page/nothing", {})):
        assert client.get(path, headers=headers).mimetype == "application/json", path
    assert client.get(f"{PREFIX}/errors?shoe=42", headers=HTML | bearer(app)).mimetype == "application/json"
    assert client.get("/nothing", headers=HTML).mimetype == "application/json"


def test_a_head_has_no_body(app: Application) -> None:
    answer = with_cookie(app).head(f"{PREFIX}/page/nothing", headers=HTML)
    assert (answer.status_code, answer.data) == (404, b"")
