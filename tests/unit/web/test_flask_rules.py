"""Flask's own rules hold with us as they do without: the same exception propagates, the same signals fire, the same handler
of the host answers. Each case is run in two applications that differ in nothing but prodfix."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    got_request_exception,
    jsonify,
    redirect,
    request,
    stream_with_context,
)
from flask_cors import CORS
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure, PyMongoError
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, InternalServerError, NotFound

from prodfix import errors


class Own(Exception):
    """An application's own error."""


class Derived(Own):
    """One below it."""


RAISED: dict[str, Callable[[], Any]] = {
    "defect": lambda: ValueError("canary"),
    "lost": lambda: AutoReconnect("canary"),
    "query": lambda: OperationFailure("canary", 2),
    "own": lambda: Derived("canary"),
    "group": lambda: ExceptionGroup("canary", [ValueError()]),
    "not-found": NotFound,
    "forbidden": Forbidden,
    "bad": BadRequest,
    "internal": InternalServerError,
    "made": lambda: HTTPException(response=Response("made", 418)),
    "redirect": lambda: HTTPException(response=redirect("/there")),
}


class Seen(NamedTuple):
    """What can be observed of one request: the answer (or what propagated), and the signals."""

    status: int | None
    hosts: str | None
    propagated: str | None
    signals: tuple[str, ...]


def host(config: dict[str, Any], register: Callable[[Flask, Blueprint], None] = lambda app, plug_in: None) -> Flask:
    app = Flask("host")
    app.config.update(config)
    plug_in = Blueprint("plug_in", __name__, url_prefix="/plug-in")

    def fail(name: str) -> None:
        raise RAISED[name]()

    app.add_url_rule("/raise/<name>", view_func=fail)
    plug_in.add_url_rule("/raise/<name>", view_func=fail)
    app.add_url_rule("/key", view_func=lambda: request.form["missing"], methods=["POST"])
    app.add_url_rule("/slash/", view_func=lambda: "here", endpoint="slash")
    register(app, plug_in)
    app.register_blueprint(plug_in)
    return app


def see(app: Flask, path: str, method: str = "GET") -> Seen:
    told: list[str] = []

    def hear(sender: Flask, exception: BaseException) -> None:
        if sender is app:
            told.append(type(exception).__name__)

    # Of all senders, and not of this one: of the hundreds of them that the garbage collector takes here, one would go while
    # blinker walks through all of them to disconnect this receiver, which fails then.
    with got_request_exception.connected_to(hear):
        try:
            response = app.test_client().open(path, method=method)
        except Exception as error:  # noqa: BLE001 - what propagates is what is compared
            return Seen(None, None, type(error).__name__, tuple(told))
    hosts = response.text if response.text.startswith(("mine", "made")) else None
    return Seen(response.status_code, hosts, None, tuple(told))


CONFIGS: list[dict[str, Any]] = [
    {},
    {"TESTING": True},
    {"DEBUG": True},
    {"PROPAGATE_EXCEPTIONS": True},
    {"PROPAGATE_EXCEPTIONS": False, "TESTING": True},
    {"TRAP_HTTP_EXCEPTIONS": True},
    {"TRAP_HTTP_EXCEPTIONS": True, "TESTING": True},
    {"TRAP_BAD_REQUEST_ERRORS": True},
    {"TRAP_BAD_REQUEST_ERRORS": True, "PROPAGATE_EXCEPTIONS": True},
    {"TRAP_BAD_REQUEST_ERRORS": False, "DEBUG": True},
]
PATHS = [*(f"/raise/{name}" for name in RAISED), "/nowhere", "/slash", "//raise/defect", "/plug-in/raise/defect"]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_what_propagates_and_what_is_told_is_the_same(adopt: Callable[..., Flask], config: dict[str, Any]) -> None:
    for path, method in [*((path, "GET") for path in PATHS), ("/key", "POST"), ("/slash", "DELETE")]:
        without, with_us = see(host(config), path, method), see(adopt(host(config)), path, method)
        # Only the status of a defect may be ours: Flask knows nothing but 500.
        same = without._replace(status=0) if without.status == 500 else without
        seen = with_us._replace(status=0) if without.status == 500 and (with_us.status or 0) >= 500 else with_us
        assert seen == same, (path, method)


def mine(error: Exception) -> tuple[str, int]:
    return f"mine {type(error).__name__}", 299


KINDS: list[Any] = [
    404,
    500,
    HTTPException,
    NotFound,
    InternalServerError,
    Exception,
    ValueError,
    Own,
    Derived,
    PyMongoError,
    OperationFailure,
]


@pytest.mark.parametrize("level", ["app", "blueprint"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_whatever_the_host_handles_it_handles_with_us_too(
    adopt: Callable[..., Flask], kind: Any, before: bool, level: str
) -> None:
    def register(app: Flask, plug_in: Blueprint) -> None:
        (app if level == "app" else plug_in).register_error_handler(kind, mine)

    plain, ours = host({}, register), host({}, register if before or level == "blueprint" else lambda *_: None)
    adopt(ours)
    if not before and level == "app":
        ours.register_error_handler(kind, mine)
    for name, prefix in itertools.product(RAISED, ("", "/plug-in")):
        path = f"{prefix}/raise/{name}"
        without, with_us = see(plain, path), see(ours, path)
        assert (with_us.hosts, with_us.signals) == (without.hosts, without.signals), path


@pytest.mark.parametrize(("code_too", "hosts"), [(False, "mine InternalServerError"), (True, None)])
def test_a_handler_for_a_code_would_have_taken_what_the_host_handles_by_class(
    code_too: bool, hosts: str | None
) -> None:
    # The control of the test above: how it was, with a handler of ours for InternalServerError too.
    def register(app: Flask, plug_in: Blueprint) -> None:
        app.register_error_handler(HTTPException, mine)
        if code_too:
            app.register_error_handler(InternalServerError, lambda error: ("theirs", 500))

    assert see(host({}, register), "/raise/internal").hosts == hosts


@pytest.mark.parametrize("kind", [PyMongoError, OperationFailure, Exception])
def test_a_hosts_handler_for_a_parent_of_what_we_answer_with_4xx_wins(adopt: Callable[..., Flask], kind: Any) -> None:
    app = Flask("host")
    app.register_error_handler(kind, mine)

    @app.get("/")
    def view() -> None:
        raise DuplicateKeyError("canary", 11000, {})

    assert see(adopt(app), "/").hosts == "mine DuplicateKeyError"


# -- a host's own headers --------------------------------------------------------------------------------------------------


def test_cors_headers_are_on_our_answers_and_on_a_preflight(adopt: Callable[..., Flask]) -> None:
    app = host({})
    CORS(app, origins=["https://app.example"], expose_headers=["X-Request-ID"])
    client = adopt(app, app_env="production").test_client()
    origin = {"Origin": "https://app.example"}
    for path in ("/raise/defect", "/raise/lost", "/raise/not-found", "/nowhere"):
        response = client.get(path, headers=origin)
        assert response.status_code >= 400
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert response.headers["Access-Control-Expose-Headers"] == "X-Request-ID"
        assert response.headers["X-Request-ID"] == response.get_json()["requestId"]
    preflight = client.options("/raise/x", headers=origin | {"Access-Control-Request-Method": "GET"})
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert preflight.status_code == 200
    assert (
        "Access-Control-Allow-Origin" not in client.get("/nowhere", headers={"Origin": "https://evil.example"}).headers
    )


# -- switched off ----------------------------------------------------------------------------------------------------------


def test_switched_off_a_host_has_everything_back(adopt: Callable[..., Flask]) -> None:
    def register(app: Flask, plug_in: Blueprint) -> None:
        app.register_error_handler(403, mine)
        plug_in.register_error_handler(ValueError, mine)

    def text(app: Flask, path: str) -> tuple[int, str, str]:
        response = app.test_client().get(path)
        return response.status_code, response.mimetype, response.text

    plain, off = host({}, register), adopt(host({}, register), enable_error_handler=False)
    for path in (*PATHS, *(f"/plug-in/raise/{name}" for name in RAISED)):
        assert text(off, path) == text(plain, path), path
        assert see(off, path) == see(plain, path), path
    assert text(adopt(host({}, register)), "/raise/defect") != text(plain, "/raise/defect")  # the control


def guarded() -> Blueprint:
    from prodfix import require_role

    plug_in = Blueprint("guarded", __name__)

    @plug_in.get("/admin")
    def admin() -> str:
        require_role("admin")
        return "in"

    @plug_in.get("/raise/<name>")
    def fail(name: str) -> None:
        raise {"defect": ValueError, "invalid": errors.ValidationFailed}[name]("canary")

    return plug_in


def test_switched_off_the_served_application_answers_as_flask_does(serve: Callable[..., Flask]) -> None:
    off = serve([guarded()], enable_error_handler=False, app_env="production")
    client = off.test_client()
    for path, status in (("/nowhere", 404), ("/raise/defect", 500), ("/raise/invalid", 422), ("/admin", 401)):
        response = client.get(path)
        assert (response.status_code, response.mimetype) == (status, "text/html"), path
        assert "canary" not in response.text
        assert response.headers["X-Request-ID"]
    on = serve([guarded()], app_env="production").test_client()
    assert on.get("/raise/defect").get_json()["code"] == "INTERNAL_ERROR"  # the control


def test_switched_off_a_refusal_is_what_the_host_has_for_its_status(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")
    app.register_blueprint(guarded())
    app.register_error_handler(401, lambda error: ("mine", 401))
    client = adopt(app, enable_error_handler=False).test_client()
    assert (client.get("/admin").status_code, client.get("/admin").text) == (401, "mine")


# -- our own failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["record", "answer", "note"])
def test_what_fails_in_our_own_handler_is_an_honest_500(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    app = adopt(host({}), app_env="production")
    services: Any = app.extensions["prodfix"]

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("canary")

    if part in ("record", "note"):
        monkeypatch.setattr(type(services.errors.log), "record", broken)
    if part == "note":
        monkeypatch.setattr(type(services.logs), "event", broken)
    if part == "answer":
        monkeypatch.setattr("prodfix.web.handlers.answer_to", broken)
    before = services.errors.log.failures
    for path in ("/raise/defect", "/raise/not-found", "/nowhere"):
        response = app.test_client().get(path)
        body = response.get_json()
        assert (response.status_code, body["status"], body["code"]) == (500, 500, "INTERNAL_ERROR")
        assert body["requestId"] == response.headers["X-Request-ID"]
        assert (body["retryable"], body["details"]) == (False, [])
        assert body["timestamp"].endswith("Z")
        assert "canary" not in response.text
    assert services.errors.log.failures >= before + 3


def test_an_odd_header_of_an_applications_error_ends_there_too(adopt: Callable[..., Flask]) -> None:
    class Forged(HTTPException):
        code = 409

        def get_headers(self, *_: Any) -> list[tuple[str, str]]:
            return [("X-Odd", "one\r\nSet-Cookie: two")]

    app = Flask("host")

    @app.get("/")
    def view() -> None:
        raise Forged

    response = adopt(app).test_client().get("/")
    assert (response.status_code, response.get_json()["code"]) == (500, "INTERNAL_ERROR")
    assert "Set-Cookie" not in response.headers


def test_a_stream_that_breaks_is_cut_and_not_answered_twice(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")

    @app.get("/")
    def view() -> Response:
        def parts() -> Any:
            yield "one"
            raise ValueError("canary")

        return Response(stream_with_context(parts()))

    with pytest.raises(ValueError, match="canary"):  # the server's to end: its status has been sent
        adopt(app).test_client().get("/").get_data()


def test_a_hosts_after_request_sees_our_answers(adopt: Callable[..., Flask]) -> None:
    app = adopt(host({}), app_env="production")

    @app.after_request
    def stamp(response: Response) -> Response:
        response.headers["X-Stamp"] = str(response.status_code)
        return response

    assert app.test_client().get("/raise/lost").headers["X-Stamp"] == "503"


def test_abort_with_an_answer_of_the_host_passes(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")
    app.add_url_rule("/", view_func=lambda: abort(jsonify_with(418)))
    assert adopt(app).test_client().get("/").get_json() == {"mine": True}


def jsonify_with(status: int) -> Response:
    response = jsonify(mine=True)
    response.status_code = status
    return response
