"""What an application says of a refusal is told; what werkzeug, Flask and other libraries' errors say is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort, request
from markupsafe import Markup
from pydantic import BaseModel, ValidationError
from pymongo.errors import AutoReconnect, DuplicateKeyError
from werkzeug.exceptions import (
    BadRequest,
    Conflict,
    HTTPException,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    UnsupportedMediaType,
)

from prodfix.classification.classifications import NOT_FOUND, Classification
from prodfix.classification.web_errors import STATUSES
from prodfix.errors import ErrorCategory
from prodfix.web.own_words import LONGEST, own_words

WORDS = "the field lies in the past"
CANARY = "canary7f3a"


class Teapot(HTTPException):
    """An application's own, with words for all of them."""

    code = 418
    description = "short and stout"


class LazyString:
    """As Flask-Babel's: a text that is made when it is asked for."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def __str__(self) -> str:
        if self.text is None:
            raise RuntimeError("no request")
        return self.text


class Form(BaseModel):
    number: int


def wrong(work: Callable[[], Any], *kinds: type[Exception]) -> Exception:
    try:
        work()
    except kinds as error:
        return error
    raise AssertionError("it did not fail")


INVALID = wrong(lambda: Form.model_validate({"number": CANARY}), ValidationError)


def throw(error: Exception) -> None:
    raise error


def quoting(error: Exception, text: str) -> None:
    """``except ...: abort(400, ...)``."""
    try:
        throw(error)
    except Exception:  # noqa: BLE001 - as views do
        abort(400, text)


TOLD: dict[str, tuple[Callable[[], Any], int, str]] = {
    "abort": (lambda: abort(400, WORDS), 400, WORDS),
    "abort by name": (lambda: abort(422, description=WORDS), 422, WORDS),
    "raised": (lambda: throw(NotFound("No such order")), 404, "No such order"),
    "another status": (lambda: abort(410, "It was here"), 410, "It was here"),
    "with a header": (lambda: throw(TooManyRequests("Three a day", retry_after=5)), 429, "Three a day"),
    "a class of its own": (lambda: throw(Teapot()), 418, "short and stout"),
    "a class of its own, with words": (lambda: throw(Teapot("and hot")), 418, "and hot"),
    "lines": (lambda: abort(400, "one\n  two\tthree"), 400, "one two three"),
    "markup": (lambda: abort(400, Markup("<p>the <b>field</b> lies</p>")), 400, "the field lies"),
    "a lazy text": (lambda: abort(400, LazyString(WORDS)), 400, WORDS),
    "signs": (lambda: abort(400, "übermorgen ✓ \u202e"), 400, "übermorgen ✓ \u202e"),
    "half a pair": (lambda: abort(400, "a\ud800b"), 400, "a?b"),
    "braces": (lambda: abort(400, "{field} %s {0}"), 400, "{field} %s {0}"),
    "an address": (lambda: abort(409, "ada@example.org is taken"), 409, "*** is taken"),
    "a password": (lambda: abort(400, "password=hunter2 is too short"), 400, "password=*** is too short"),
    "a connection string": (lambda: abort(400, "mongodb://u:p@db.example/x is away"), 400, "mongodb://*** is away"),
    "an ID": (
        lambda: abort(404, "No order 665f1c2ab8d4e0a1b2c3d4e5 (since 2026-11-28)"),
        404,
        "No order *** (since 2026-11-28)",
    ),
    "a long word": (lambda: abort(400, "Donaudampfschiffahrtsgesellschaft"), 400, "Donaudampfschiffahrtsgesellschaft"),
    "its own error's": (lambda: quoting(ValueError(WORDS), WORDS), 400, WORDS),
    "about another library's error": (lambda: quoting(INVALID, "the number is none"), 400, "the number is none"),
}
TABLE: dict[str, tuple[Callable[[], Any], int]] = {
    "no words": (lambda: abort(400), 400),
    "werkzeug's own": (lambda: abort(404, NotFound.description), 404),
    "blank": (lambda: abort(400, " \n "), 400),
    "a dict": (lambda: abort(422, {"name": CANARY}), 422),
    "an error": (lambda: abort(400, INVALID), 400),
    "a lazy text that cannot be made": (lambda: abort(400, LazyString(None)), 400),
    "pydantic's text": (lambda: quoting(INVALID, str(INVALID)), 400),
    "a text with pydantic's": (lambda: quoting(INVALID, f"wrong: {INVALID}"), 400),
    "the driver's text": (lambda: quoting(AutoReconnect(f"{CANARY}: reset"), f"{CANARY}: reset"), 400),
    "a key's": (lambda: quoting(DuplicateKeyError(CANARY, 11000), f"taken: {CANARY}"), 400),
    "a file's": (lambda: quoting(FileNotFoundError(2, "x", CANARY), f"[Errno 2] x: '{CANARY}'"), 400),
    "a key of a form": (lambda: request.form[CANARY], 400),
    "JSON that is none": (lambda: request.get_json(force=True), 400),
    "a media type": (lambda: request.get_json(), 415),  # noqa: PLW0108 - there is no request yet
}
SILENT: dict[str, tuple[Callable[[], Any], int]] = {
    "500": (lambda: abort(500, CANARY), 500),
    "503": (lambda: throw(ServiceUnavailable(CANARY)), 503),
    "internal": (lambda: throw(InternalServerError(CANARY)), 500),
}


@pytest.fixture
def ask(adopt: Callable[..., Flask]) -> Callable[..., Any]:
    def answer(view: Callable[[], Any], **settings: Any) -> Any:
        app = Flask("host")
        app.add_url_rule("/", view_func=view, methods=["GET", "POST"])
        return adopt(app, **settings).test_client().post("/", data=f"{{{CANARY}", content_type="text/plain")

    return answer


@pytest.mark.parametrize("name", TOLD)
def test_an_applications_words_are_told(ask: Callable[..., Any], name: str) -> None:
    view, status, words = TOLD[name]
    response = ask(view)
    body = response.get_json()
    assert (response.status_code, body["detail"], body["message"]) == (status, words, words)
    assert len(response.data) < 2048


@pytest.mark.parametrize("name", TABLE)
def test_what_others_say_is_not(ask: Callable[..., Any], name: str) -> None:
    view, status = TABLE[name]
    response = ask(view)
    body = response.get_json()
    assert (response.status_code, body["detail"]) == (status, STATUSES[status].message)
    assert CANARY not in response.text


@pytest.mark.parametrize("name", SILENT)
def test_words_of_a_5xx_are_never_told(ask: Callable[..., Any], name: str) -> None:
    view, status = SILENT[name]
    response = ask(view, app_env="production")
    assert response.status_code == status
    assert CANARY not in response.text


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (lambda: request.get_json(force=True), "Failed to decode JSON object: Expecting property name enclosed"),
        (lambda: request.form["missing"], "KeyError: 'missing'"),
        (lambda: abort(404), None),
    ],
    ids=["json", "form", "plain"],
)
def test_what_flask_says_in_debug_stays(
    adopt: Callable[..., Flask], view: Callable[[], Any], words: str | None
) -> None:
    answers = []
    for debug in (True, False):
        app = Flask("host")
        app.config.update(DEBUG=debug, TRAP_BAD_REQUEST_ERRORS=False)
        app.add_url_rule("/", view_func=view, methods=["POST"])
        answers.append(
            adopt(app, app_env="development").test_client().post("/", data="{wrong", content_type="text/plain")
        )
    told, control = (answer.get_json()["detail"] for answer in answers)
    assert control == STATUSES[answers[1].status_code].message
    assert (words in told) if words is not None else (told == control)
    assert CANARY not in answers[0].text


def test_long_words_are_cut_and_the_answer_stays_small(ask: Callable[..., Any]) -> None:
    for text in ("word " * 1_000, "✓" * 5_000, "\U0001f600" * 5_000, "a@b.example " * 1_000):
        response = ask(lambda text=text: abort(400, text))
        assert len(response.get_json()["detail"]) <= LONGEST
        assert len(response.data) < 2048
    assert len(ask(lambda: abort(400, "w" * LONGEST)).get_json()["detail"]) == LONGEST


def test_a_row_of_the_application_has_its_own_words(adopt: Callable[..., Flask]) -> None:
    row = Classification(ErrorCategory.CONFLICT, 409, "SOLD_OUT", "Sold out")
    app = Flask("host")
    app.add_url_rule("/", view_func=lambda: throw(Conflict(CANARY)))
    client = adopt(app, classifications={Conflict: row}).test_client()
    assert client.get("/").get_json()["detail"] == "Sold out"


def test_words_that_were_never_raised_are_the_applications() -> None:
    assert own_words(BadRequest(WORDS)) == WORDS
    assert own_words(BadRequest()) is None
    assert own_words(UnsupportedMediaType()) is None
    assert NOT_FOUND.message == "Not found"
