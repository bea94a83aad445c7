"""One maker of an error's answer, and one place that says which request it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, jsonify

import prodfix
from prodfix.request.identities import is_request_id
from prodfix.web.answers import answer_to, last_resort

OWN = "from-the-client-1"


def sources() -> dict[str, str]:
    folder = Path(prodfix.__file__).parent
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}


def test_one_place_sets_the_request_id_and_one_makes_the_body() -> None:
    told = {name for name, text in sources().items() if '("X-Request-ID", ' in text or '["X-Request-ID"]' in text}
    assert told == {"web/wsgi.py", "request/context.py"}, "the second reads it"
    assert [name for name, text in sources().items() if "urn:prodfix:" in text] == ["web/answers.py"]


def test_the_last_resort_has_the_shape_of_all_others(serve: Callable[..., Any]) -> None:
    record = serve().extensions["prodfix"].errors.log.record(KeyError("x"), None)
    usual, last = answer_to(record), last_resort("f" * 32)
    assert (list(last.problem), last.headers, last.status) == (list(usual.problem), usual.headers, usual.status)
    differing = {name for name in usual.problem if usual.problem[name] != last.problem[name]}
    assert differing <= {"requestId", "timestamp"}


def streamed() -> Response:
    def parts() -> Iterator[bytes]:
        yield b"a"

    return Response(parts())


def fails_late() -> Response:
    def parts() -> Iterator[bytes]:
        raise KeyError("x")
        yield b""

    return Response(parts())


VIEWS: dict[str, Callable[[], Any]] = {
    "good": lambda: "",
    "json": lambda: jsonify(a=1),
    "streamed": streamed,
    "late": fails_late,
    "refused": lambda: abort(409),
    "broken": lambda: {}["x"],
    "own": lambda: Response("", headers=[("x-request-id", "the views own"), ("X-Request-Id", "twice")]),
}


# What fails late in a host is answered by its own server.
@pytest.mark.parametrize(
    ("name", "served"),
    [(name, served) for name in (*VIEWS, "nowhere") for served in (True, False) if served or name != "late"],
)
def test_every_answer_says_once_which_request_it_answers(
    serve: Callable[..., Any], adopt: Callable[..., Flask], name: str, served: bool
) -> None:
    app = serve() if served else adopt()
    for view, function in VIEWS.items():
        app.add_url_rule(f"/{view}", view, function)
    answer = app.test_client().get(f"/{name}", headers={"X-Request-ID": OWN})
    assert answer.headers.get_all("X-Request-ID") == [OWN]
    if answer.is_json and answer.status_code >= 400:
        assert answer.json["requestId"] == OWN


def test_so_it_is_where_no_context_could_be_made(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    app = serve()
    monkeypatch.setattr("prodfix.web.hooks._context", lambda request: {}["x"])
    answer = app.test_client().get("/nowhere")
    assert (answer.status_code, len(answer.headers.get_all("X-Request-ID"))) == (500, 1)
    assert answer.json["requestId"] == answer.headers["X-Request-ID"]
    assert is_request_id(answer.json["requestId"])
