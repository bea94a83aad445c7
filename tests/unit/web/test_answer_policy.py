"""PRODFIX_ANSWERS: whose answer an error gets that the host leaves open; recorded it is whoever answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort
from pymongo.errors import DuplicateKeyError

from prodfix import Settings, errors
from prodfix.checked_record import ValidationError
from prodfix.signals import error_recorded

BROWSER = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"  # Firefox's and Chromium's
)


class Late(errors.ClientError):
    """A client's fault that an application has made of ours."""


RAISED: dict[str, Callable[[], Exception]] = {
    "defect": lambda: ValueError("canary"),
    "duplicate": lambda: DuplicateKeyError("canary", 11000, {"keyPattern": {"email": 1}}),
    "refused": errors.Forbidden,
}


def made() -> Flask:
    app = Flask("host")

    @app.get("/raise/<name>", endpoint="raise")
    @app.get("/api/raise/<name>", endpoint="api-raise")
    @app.get("/apiary/raise/<name>", endpoint="apiary-raise")
    def fail(name: str) -> None:
        raise RAISED[name]()

    app.add_url_rule("/abort/<int:status>", view_func=lambda status: abort(status, "in my own words"), endpoint="abort")
    return app


@pytest.fixture
def ask(adopt: Callable[..., Flask]) -> Callable[..., Any]:
    def answer(path: str, accept: str | None = None, host: Flask | None = None, **settings: Any) -> Any:
        app = adopt(host or made(), app_env="production", **settings)
        return app.test_client().get(path, headers={"Accept": accept} if accept is not None else {})

    return answer


OURS, PAGE = "application/json", "text/html"


@pytest.mark.parametrize(
    ("answers", "accept", "defect", "missing", "refusal"),
    [
        ("all", None, OURS, OURS, OURS),
        ("all", BROWSER, OURS, OURS, OURS),
        ("api", None, OURS, OURS, OURS),
        ("api", BROWSER, PAGE, PAGE, PAGE),
        (None, None, OURS, OURS, OURS),
        (None, BROWSER, PAGE, PAGE, PAGE),
        ("unhandled", None, OURS, PAGE, OURS),
        ("unhandled", BROWSER, PAGE, PAGE, PAGE),
        ("none", None, PAGE, PAGE, PAGE),
        ("none", OURS, PAGE, PAGE, PAGE),
    ],
)
def test_who_answers_what(
    ask: Callable[..., Any], answers: str | None, accept: str | None, defect: str, missing: str, refusal: str
) -> None:
    found = [
        ask(path, accept, answers=answers)
        for path in ("/raise/defect", "/abort/404", "/nope", "/abort/503", "/raise/refused")
    ]
    assert [answer.mimetype for answer in found] == [defect, missing, missing, missing, refusal]
    assert [answer.status_code for answer in found] == [500, 404, 404, 503, 403]
    assert "canary" not in found[0].text
    assert all(answer.headers["X-Request-ID"] for answer in found)
    assert ("in my own words" in found[1].text, "in my own words" in found[3].text) == (True, missing == PAGE)


@pytest.mark.parametrize("path", ["/raise/defect", "/raise/duplicate", "/abort/404", "/abort/503", "/nope"])
def test_what_is_not_ours_is_to_the_byte_what_it_is_without_us(ask: Callable[..., Any], path: str) -> None:
    plain = made().test_client().get(path)
    for settings in ({"answers": "none"}, {"answers": "api", "accept": BROWSER}, {"accept": BROWSER}):
        answer = ask(path, **settings)
        assert (answer.status_code, answer.data) == (plain.status_code, plain.data)
        ours = set(answer.headers) - set(plain.headers)
        assert ours == {("X-Request-ID", answer.headers["X-Request-ID"])}


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        (BROWSER, PAGE),
        ("text/html", PAGE),
        ("TEXT/HTML;q=0.3, */*", PAGE),
        ("application/xhtml+xml", PAGE),
        ("text/html;q=0", OURS),
        ("text/html, application/json;q=0.1", OURS),
        ("text/html, application/problem+json;q=0.5", "application/problem+json"),
        ("text/html, application/vnd.api+json", OURS),
        ("text/html, application/json;q=0", PAGE),
        ("application/json, text/plain, */*", OURS),
        ("*/*", OURS),
        ("text/*", OURS),
        ("", OURS),
        (",;,q=;html", OURS),
    ],
)
def test_a_browser_names_a_page_and_no_json(ask: Callable[..., Any], accept: str, mimetype: str) -> None:
    assert ask("/nope", accept, answers="api").mimetype == mimetype


@pytest.mark.parametrize(
    ("path", "paths", "mimetype"),
    [
        ("/api/raise/defect", None, OURS),
        ("/apiary/raise/defect", None, PAGE),
        ("/api/nowhere", None, OURS),
        ("/raise/defect", "/raise, /v1/", OURS),
        ("/api/raise/defect", "/raise", PAGE),
        ("/raise/defect", "/", OURS),
    ],
)
def test_below_an_apis_paths_nobody_is_a_browser(
    ask: Callable[..., Any], path: str, paths: str | None, mimetype: str
) -> None:
    settings = {} if paths is None else {"api_paths": paths}
    assert ask(path, BROWSER, answers="api", **settings).mimetype == mimetype


def test_the_served_application_answers_everybody(serve: Callable[..., Flask]) -> None:
    assert serve().test_client().get("/nope", headers={"Accept": BROWSER}).mimetype == OURS
    assert serve(answers="api").test_client().get("/nope", headers={"Accept": BROWSER}).mimetype == PAGE


def test_what_the_host_handles_is_the_hosts_in_each_of_them(ask: Callable[..., Any]) -> None:
    for answers in ("all", "api", "unhandled", "none"):
        app = made()
        app.register_error_handler(404, lambda error: ("mine", 404))
        app.register_error_handler(DuplicateKeyError, lambda error: ("mine too", 409))
        assert ask("/nope", host=app, answers=answers).text == "mine"
        app = made()
        app.register_error_handler(403, lambda error: ("mine", 403))
        # A refusal of ours is what abort(403) is here, where we do not answer.
        assert (ask("/raise/refused", host=app, answers=answers).text == "mine") is (answers == "none")


@pytest.mark.parametrize("answers", ["all", "none"])
@pytest.mark.parametrize(
    ("path", "status", "category"),
    [
        ("/raise/defect", {500}, "unknown"),
        ("/raise/duplicate", {409, 500}, "duplicate_key"),
        ("/raise/refused", {403}, "authorization"),
        ("/abort/404", {404}, "client"),
        ("/abort/503", {503}, "unknown"),
        ("/nope", {404}, "client"),
    ],
)
def test_whoever_answers_it_is_recorded_once_with_what_the_client_has_got(
    adopt: Callable[..., Flask], answers: str, path: str, status: set[int], category: str
) -> None:
    app, records = adopt(made(), answers=answers, app_env="production"), []
    log = app.extensions["prodfix"].errors.log
    with error_recorded.connected_to(lambda sender, record: records.append(record), sender=log):
        answer = app.test_client().get(path)
    (record,) = records
    assert answer.status_code in status
    assert (record.status, str(record.meaning.category)) == (answer.status_code, category)
    assert (record.request_id, record.answered.by) == (
        answer.headers["X-Request-ID"],
        "prodfix" if answers == "all" else "host",
    )


def test_a_word_that_is_none_of_them_is_refused(make_settings: Callable[..., Settings]) -> None:
    assert make_settings(answers=" Unhandled ").answers == "unhandled"
    with pytest.raises(ValidationError):
        make_settings(answers="some")
