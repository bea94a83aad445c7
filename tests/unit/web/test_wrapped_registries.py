"""Extensions wrap what Flask has registered (Flask-Injector all of it): our handlers know themselves again, and no error goes
round."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, request
from pymongo.errors import DuplicateKeyError
from werkzeug.exceptions import HTTPException, NotFound

from prodfix import deadline, errors
from prodfix.request import deadlines
from prodfix.web.answer_policy import is_ours, marked

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
ERRORS: dict[str, Callable[[], Exception]] = {
    "defect": ValueError,
    "duplicate": lambda: DuplicateKeyError("canary", 11000, {"keyPattern": {"email": 1}}),
    "invalid": errors.ValidationFailed,
}
PATHS = ("/fine", "/nope", "/abort/410", "/abort/503", *(f"/raise/{name}" for name in ERRORS), "/plug-in/abort/404")


def as_functools_does(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return wrapper


def without_a_trace(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return wrapper


def wrap_all(app: Flask, wrap: Wrap) -> int:
    """What Flask-Injector does, with every registry that Flask has; how many functions that were."""
    wrapped = 0
    for by_code in app.error_handler_spec.values():
        for kinds in by_code.values():
            for kind, handler in kinds.items():
                kinds[kind], wrapped = wrap(handler), wrapped + 1
    for endpoint, view in app.view_functions.items():
        app.view_functions[endpoint], wrapped = wrap(view), wrapped + 1
    lists: list[list[Any]] = [app.teardown_appcontext_funcs]
    for registry in (
        app.before_request_funcs,
        app.after_request_funcs,
        app.teardown_request_funcs,
        app.template_context_processors,
        app.url_value_preprocessors,
        app.url_default_functions,
    ):
        lists += registry.values()
    for functions in lists:
        functions[:], wrapped = [wrap(function) for function in functions], wrapped + len(functions)
    return wrapped


def made() -> Flask:
    app = Flask("host")
    plug_in = Blueprint("plug_in", __name__, url_prefix="/plug-in")

    @app.get("/fine")
    @deadline(5)
    def fine() -> str:
        return str(deadlines.remaining() is not None)

    @app.get("/raise/<name>")
    def fail(name: str) -> None:
        raise ERRORS[name]()

    @plug_in.get("/abort/<int:status>")
    def give_up_there(status: int) -> None:
        abort(status)

    app.add_url_rule("/abort/<int:code>", "give_up", abort)
    app.before_request(lambda: None)
    app.teardown_request(lambda error: None)
    app.teardown_appcontext(lambda error: None)

    @app.after_request
    def stamp(response: Response) -> Response:
        response.headers["X-Stamp"] = request.path
        return response

    app.register_blueprint(plug_in)
    return app


def seen(app: Flask) -> list[Any]:
    client, found = app.test_client(), []
    for path in PATHS:
        answer = client.get(path)
        body = answer.get_json(silent=True) or {}
        found.append((path, answer.status_code, answer.headers["X-Stamp"], body.get("code"), answer.text[:4]))
    return found


@pytest.mark.parametrize("wrap", [as_functools_does, without_a_trace])
def test_wrapped_everything_is_as_before(adopt: Callable[..., Flask], wrap: Wrap) -> None:
    plain, wrapped = adopt(made()), adopt(made())
    assert wrap_all(wrapped, wrap) > 12
    expected = seen(plain)
    assert [row[1:4:2] for row in expected[1:4]] == [(404, "NOT_FOUND"), (410, "HTTP_410"), (503, "HTTP_503")]
    assert expected[0][4] == "True"
    found = seen(wrapped)
    # A view whose mark nobody can see has no deadline of its own.
    assert found[1:] == expected[1:]
    assert (found[0] == expected[0]) is (wrap is as_functools_does)


@pytest.mark.parametrize("wrap", [as_functools_does, without_a_trace])
@pytest.mark.parametrize(
    ("kind", "path"), [(NotFound, "/nope"), (Exception, "/raise/duplicate"), (ValueError, "/raise/defect")]
)
def test_the_hosts_handlers_win_when_they_are_wrapped_too(
    adopt: Callable[..., Flask], wrap: Wrap, kind: type[Exception], path: str
) -> None:
    app = adopt(made())
    app.register_error_handler(kind, lambda error: ("mine", 299))
    wrap_all(app, wrap)
    wrap_all(app, wrap)
    assert app.test_client().get(path).text == "mine"


def test_a_handler_that_took_itself_for_the_hosts_would_go_round_for_ever(adopt: Callable[..., Flask]) -> None:
    # The control: how it was, with a handler that is known by its identity alone.
    app = Flask("host")
    registered = app.error_handler_spec[None][None]

    def choose(error: HTTPException) -> Any:
        found = registered[HTTPException]
        return error if found is choose else found(error)

    app.register_error_handler(HTTPException, choose)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    assert app.test_client().get("/nope").status_code == 404
    wrap_all(app, as_functools_does)
    with pytest.raises(RecursionError):
        app.test_client().get("/nope")


def test_a_handler_that_is_wrapped_into_itself_is_nobodys() -> None:
    def circle() -> None: ...

    circle.__wrapped__ = circle  # type: ignore[attr-defined]
    assert is_ours(circle) is False
    assert is_ours(as_functools_does(as_functools_does(marked(lambda error: None))))
