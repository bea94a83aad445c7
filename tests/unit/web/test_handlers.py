"""Every error leaves by one door: one shape, Flask's own rules kept, and what the host handles itself stays the host's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, got_request_exception, redirect, request
from pydantic import BaseModel, SecretStr
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import (
    HTTPException,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)

from prodfix import errors
from prodfix.classification.classifications import Classification
from prodfix.errors import ErrorCategory
from prodfix.signals import error_recorded
from prodfix.web.host_answers import UNRECORDED

MEMBERS = {"type", "title", "status", "detail", "code", "message", "details", "requestId", "timestamp", "retryable"}
CANARY = "canary7f3a"


class Model(BaseModel):
    number: int


class Own(Exception):
    """An application's own error."""


ERRORS: dict[str, tuple[Callable[[], Any], int, str]] = {
    "malformed": (errors.MalformedRequest, 400, "MALFORMED_REQUEST"),
    "authentication": (errors.AuthenticationRequired, 401, "AUTHENTICATION_REQUIRED"),
    "forbidden": (errors.Forbidden, 403, "FORBIDDEN"),
    "not-found": (errors.NotFound, 404, "NOT_FOUND"),
    "body": (errors.BodyTimeout, 408, "REQUEST_TIMEOUT"),
    "conflict": (lambda: errors.ConcurrentModification(expected=1, found=2), 409, "CONFLICT"),
    "duplicate": (lambda: DuplicateKeyError(CANARY, 11000, {"keyPattern": {"email": 1}}), 409, "DUPLICATE_KEY"),
    "invalid": (errors.ValidationFailed, 422, "VALIDATION_FAILED"),
    "rule": (lambda: OperationFailure(CANARY, 121), 422, "VALIDATION_FAILED"),
    "defect": (lambda: ValueError(CANARY), 500, "INTERNAL_ERROR"),
    "query": (lambda: OperationFailure(CANARY, 2), 500, "DATABASE_ERROR"),
    "unreachable": (lambda: ServerSelectionTimeoutError(CANARY), 503, "DATABASE_UNAVAILABLE"),
    "lost": (lambda: AutoReconnect(CANARY), 503, "DATABASE_UNAVAILABLE"),
    "pool": (lambda: WaitQueueTimeoutError(CANARY), 503, "DATABASE_BUSY"),
    "ending": (errors.ShuttingDown, 503, "SHUTTING_DOWN"),
    "disk": (errors.JournalUnavailable, 503, "DATABASE_UNAVAILABLE"),
    "slow": (lambda: ExecutionTimeout(CANARY, 50), 504, "DATABASE_TIMEOUT"),
    "deadline": (errors.DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
    "own": (lambda: Own(CANARY), 507, "OWN"),
}
OWN = {Own: Classification(ErrorCategory.UNKNOWN, 507, "OWN", "Out of paper")}


@pytest.fixture
def host() -> Flask:
    """A little application: it raises whatever it is asked to."""
    app = Flask("host")

    @app.get("/raise/<name>")
    def fail(name: str) -> None:
        raise ERRORS[name][0]()

    @app.get("/abort/<int:status>")
    def give_up(status: int) -> None:
        abort(status)

    @app.post("/number")
    def number() -> dict[str, int]:
        return Model.model_validate(request.get_json()).model_dump()

    return app


@pytest.fixture
def client(host: Flask, adopt: Callable[..., Flask]) -> Any:
    return adopt(host, classifications=OWN, app_env="production").test_client()


def assert_is_ours(response: Any, status: int, code: str) -> None:
    body = response.get_json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert set(body) - {"outcome"} == MEMBERS
    assert body["detail"] == body["message"]
    assert isinstance(body["details"], list)
    assert body["timestamp"].endswith("Z")
    assert body["requestId"] == response.headers["X-Request-ID"]
    assert ("Retry-After" in response.headers) == body["retryable"]
    assert len(response.data) < 2048
    assert response.headers["Cache-Control"] == "no-store"


# -- one shape --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_the_one_shape_and_no_text_of_its_own(client: Any, name: str) -> None:
    _, status, code = ERRORS[name]
    response = client.get(f"/raise/{name}")
    assert_is_ours(response, status, code)
    assert CANARY not in response.text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "MALFORMED_REQUEST"),
        (401, "AUTHENTICATION_REQUIRED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (406, "HTTP_406"),
        (413, "PAYLOAD_TOO_LARGE"),
        (415, "UNSUPPORTED_MEDIA_TYPE"),
        (418, "HTTP_418"),
        (422, "VALIDATION_FAILED"),
        (429, "RATE_LIMITED"),
        (500, "INTERNAL_ERROR"),
        (502, "HTTP_502"),
        (503, "HTTP_503"),
    ],
)
def test_aborted_statuses_have_it_too(client: Any, status: int, code: str) -> None:
    assert_is_ours(client.get(f"/abort/{status}"), status, code)


def test_a_status_without_a_code_of_its_own_has_the_name_that_http_gives_it(client: Any) -> None:
    titles = [client.get(f"/abort/{status}").get_json()["title"] for status in (406, 418, 502, 404)]
    assert titles == ["Not Acceptable", "I'm a teapot", "Bad Gateway", "Not found"]


def test_so_have_flasks_own_refusals(client: Any) -> None:
    assert_is_ours(client.get("/nowhere"), 404, "NOT_FOUND")
    assert_is_ours(client.delete("/number"), 405, "METHOD_NOT_ALLOWED")
    assert_is_ours(client.post("/number", data="{", content_type="application/json"), 400, "MALFORMED_REQUEST")
    assert_is_ours(client.post("/number", data="{}", content_type="text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert_is_ours(client.post("/number", json={"number": CANARY}), 422, "VALIDATION_FAILED")
    assert client.post("/number", json={"number": 1}).get_json() == {"number": 1}  # the control


def test_a_validation_error_names_its_fields_and_not_their_values(client: Any) -> None:
    body = client.post("/number", json={"number": CANARY}).get_json()
    assert [(detail["field"], detail["pointer"]) for detail in body["details"]] == [("number", "/number")]
    assert CANARY not in str(body)


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("application/problem+json", "application/problem+json"),
        ("application/problem+json, application/json;q=0.9", "application/problem+json"),
        ("text/html, application/problem+json;q=0.5", "application/problem+json"),
        ("application/problem+json;q=0", "application/json"),
        ("application/problem+json;q=0, */*", "application/json"),
        ("application/problem+json;q=0.2, application/json;q=0.8", "application/json"),
        ("APPLICATION/Problem+JSON;charset=utf-8", "application/problem+json"),
        ("application/problem+json;q=nonsense", "application/json"),
        (",;,q=;=", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_problem_json_is_for_those_who_ask_for_it(client: Any, accept: str, mimetype: str) -> None:
    assert client.get("/nowhere", headers={"Accept": accept}).mimetype == mimetype


def test_head_has_the_status_and_no_body(client: Any) -> None:
    response = client.head("/raise/unreachable")
    assert (response.status_code, response.data) == (503, b"")
    assert "Retry-After" in response.headers


def test_retry_after_is_spread(client: Any) -> None:
    assert len({client.get("/raise/unreachable").headers["Retry-After"] for _ in range(40)}) > 1


def test_in_development_a_defect_says_what_it_is_and_in_production_not(
    host: Flask, adopt: Callable[..., Flask]
) -> None:
    assert CANARY in adopt(host, app_env="development").test_client().get("/raise/defect").get_json()["debug"]


def test_switched_off_everything_is_flasks_own(host: Flask, adopt: Callable[..., Flask]) -> None:
    client = adopt(host, enable_error_handler=False).test_client()
    assert client.get("/nowhere").mimetype == client.get("/raise/defect").mimetype == "text/html"


@pytest.mark.parametrize(
    ("code", "retryable", "cause"), [(18, False, "DatabaseRefused"), (11600, True, "DatabaseUnavailable")]
)
def test_while_the_pinger_is_refused_nobody_is_told_to_try_again(
    serve: Callable[..., Any],
    fail: Any,
    database_uri: str,
    until: Callable[..., Any],
    code: int,
    retryable: bool,
    cause: str,
) -> None:
    app = serve(mongodb_uri=SecretStr(database_uri), app_env="production")
    services = app.extensions["prodfix"]
    app.add_url_rule("/", view_func=lambda: str(services.db.things.find_one({"name": CANARY})))
    services.start()
    until(lambda: services.database.monitor.healthy)
    client = app.test_client()
    assert client.get("/").status_code == 200  # the control
    records = []
    with error_recorded.connected_to(lambda sender, record: records.append(record), sender=services.errors.log):
        fail("ping", app_name="prodfix-watch", errorCode=code)
        until(lambda: services.database.monitor.down)
        response = client.get("/")
    assert_is_ours(response, 503, "DATABASE_UNAVAILABLE")
    assert response.get_json()["retryable"] is retryable
    (record,) = records
    reason = "OperationFailure" if code == 18 else "NotPrimaryError"
    assert (record.summary, record.meaning.severity) == (f"{cause} ({reason})", "critical")
    assert record.operation.collection == "things"
    fail.off()
    until(lambda: services.database.monitor.healthy)
    assert client.get("/").status_code == 200


# -- headers ----------------------------------------------------------------------------------------------------------------


def test_allow_survives(client: Any) -> None:
    assert set(client.delete("/number").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_a_challenge_survives_and_where_there_is_none_one_is_added(host: Flask, adopt: Callable[..., Flask]) -> None:
    @host.get("/basic")
    def basic() -> None:
        raise Unauthorized(www_authenticate=WWWAuthenticate("basic", {"realm": "here"}))

    client = adopt(host).test_client()
    assert client.get("/basic").headers["WWW-Authenticate"].lower().startswith("basic realm")
    for path in ("/abort/401", "/raise/authentication"):
        assert client.get(path).headers["WWW-Authenticate"] == 'Bearer realm="api"'
    bearer = {"Authorization": "Bearer x"}
    assert client.get("/abort/401", headers=bearer).headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert client.get("/raise/authentication", headers=bearer).headers["WWW-Authenticate"].endswith('"invalid_token"')


def test_the_applications_own_retry_after_is_kept_and_spread(host: Flask, adopt: Callable[..., Flask]) -> None:
    @host.get("/limited")
    def limited() -> None:
        raise TooManyRequests(retry_after=50)

    @host.get("/closed")
    def closed() -> None:
        raise ServiceUnavailable(retry_after=datetime(2040, 1, 1, tzinfo=UTC))

    client = adopt(host, app_env="production").test_client()
    seconds = set()
    for _ in range(40):
        response = client.get("/limited")
        assert_is_ours(response, 429, "RATE_LIMITED")
        (value,) = response.headers.getlist("Retry-After")
        seconds.add(int(value))
    assert len(seconds) > 1
    assert min(seconds) >= 50 <= max(seconds) <= 62  # never sooner than the application said
    response = client.get("/closed")
    assert_is_ours(response, 503, "HTTP_503")
    assert response.headers.getlist("Retry-After") == ["Sun, 01 Jan 2040 00:00:00 GMT"]


def test_a_body_that_is_still_on_its_way_ends_the_connection(client: Any) -> None:
    assert client.get("/raise/body").headers["Connection"] == "close"
    assert "Connection" not in client.get("/raise/defect").headers


def test_what_the_application_answers_itself_passes(host: Flask, adopt: Callable[..., Flask]) -> None:
    host.add_url_rule("/made", view_func=lambda: abort(Response("mine", 418)), endpoint="made")
    host.add_url_rule("/moved", view_func=lambda: abort(redirect("/elsewhere")), endpoint="moved")
    host.add_url_rule("/slash/", view_func=lambda: "here", endpoint="slash")
    client = adopt(host).test_client()
    assert (client.get("/made").text, client.get("/made").status_code) == ("mine", 418)
    assert client.get("/moved").headers["Location"] == "/elsewhere"
    assert client.get("/slash").status_code == 308


# -- the host ---------------------------------------------------------------------------------------------------------------


def mine(error: Exception) -> tuple[str, int]:
    return "mine", 299


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (404, "/nowhere"),
        (NotFound, "/nowhere"),
        (HTTPException, "/nowhere"),
        (500, "/raise/defect"),
        (InternalServerError, "/raise/defect"),
        (ValueError, "/raise/defect"),
        (Exception, "/raise/defect"),
        (Exception, "/raise/duplicate"),
        (Exception, "/nowhere"),
        (DuplicateKeyError, "/raise/duplicate"),
        (errors.ClientError, "/raise/invalid"),
        (errors.ValidationFailed, "/raise/invalid"),
        (Own, "/raise/own"),
    ],
    ids=str,
)
def test_what_the_host_handles_itself_before_or_after_stays_its_own(
    host: Flask, adopt: Callable[..., Flask], kind: Any, path: str, before: bool
) -> None:
    if before:
        host.register_error_handler(kind, mine)
    adopt(host, app_env="production")
    if not before:
        host.register_error_handler(kind, mine)
    client = host.test_client()
    response = client.get(path)
    assert (response.status_code, response.text) == (299, "mine")
    assert response.headers["X-Request-ID"]


def test_what_the_host_does_not_handle_is_still_ours(host: Flask, adopt: Callable[..., Flask]) -> None:
    host.register_error_handler(404, mine)
    client = adopt(host, app_env="production").test_client()
    assert client.get("/nowhere").text == "mine"
    assert_is_ours(client.get("/raise/query"), 500, "DATABASE_ERROR")


def test_a_blueprints_own_handler_wins_in_its_blueprint(host: Flask, adopt: Callable[..., Flask]) -> None:
    plug_in = Blueprint("plug_in", __name__, url_prefix="/plug-in")
    plug_in.register_error_handler(errors.NotFound, mine)

    @plug_in.get("")
    def view() -> None:
        raise errors.NotFound

    host.register_blueprint(plug_in)
    client = adopt(host).test_client()
    assert client.get("/plug-in").text == "mine"
    assert_is_ours(client.get("/raise/not-found"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("name", "heard"),
    [("defect", 1), ("unreachable", 1), ("slow", 1), ("invalid", 0), ("duplicate", 0), ("forbidden", 0)],
)
def test_sentry_and_its_like_hear_of_every_server_error_and_of_no_other(
    host: Flask, client: Any, name: str, heard: int
) -> None:
    told: list[Exception] = []
    with got_request_exception.connected_to(lambda sender, exception: told.append(exception), sender=host):
        client.get(f"/raise/{name}")
    assert len(told) == heard


def test_of_an_application_that_is_gone_nothing_stays_behind_at_flasks_signal(adopt: Callable[..., Flask]) -> None:
    """Neither a receiver, nor a sender: when the garbage collector takes one, blinker fails whoever disconnects just then."""
    ours, control = [Flask("ours") for _ in range(3)], [Flask("control") for _ in range(3)]

    def known() -> tuple[int, int]:
        return len(got_request_exception.receivers), len(got_request_exception._by_sender)

    before = known()
    for app in ours:
        adopt(app)
    assert known() == before
    receivers = [(lambda sender, exception: None) for _ in control]
    for app, receiver in zip(control, receivers, strict=True):
        got_request_exception.connect(receiver, app)
    assert known() == (before[0] + 3, before[1] + 3)
    for receiver in receivers:
        got_request_exception.disconnect(receiver)


def test_what_flask_tells_of_another_application_is_not_ours_to_remember(host: Flask, client: Any) -> None:
    other = Flask("other")
    told: dict[str, bool] = {}
    for app in (host, other):
        with app.test_request_context("/"):
            got_request_exception.send(app, exception=ValueError("x"))
            told[app.name] = UNRECORDED in request.environ
    assert told == {"host": True, "other": False}


def test_a_handler_for_every_exception_would_have_silenced_it(host: Flask) -> None:
    # The control of the test above: what prodfix does not do.
    told: list[Exception] = []
    host.register_error_handler(Exception, mine)
    with got_request_exception.connected_to(lambda sender, exception: told.append(exception), sender=host):
        host.test_client().get("/raise/defect")
    assert told == []


@pytest.mark.parametrize(
    ("settings", "raises"),
    [
        ({"TESTING": True}, True),
        ({"DEBUG": True}, True),
        ({"PROPAGATE_EXCEPTIONS": True}, True),
        ({"TESTING": True, "PROPAGATE_EXCEPTIONS": False}, False),
        ({}, False),
    ],
    ids=str,
)
def test_propagation_means_what_flask_says(
    host: Flask, adopt: Callable[..., Flask], settings: dict[str, bool], raises: bool
) -> None:
    host.config.update(settings)
    client = adopt(host).test_client()
    if raises:
        with pytest.raises(ValueError, match=CANARY):
            client.get("/raise/defect")
    else:
        assert_is_ours_in_development(client.get("/raise/defect"))
    assert client.get("/raise/invalid").status_code == 422


def assert_is_ours_in_development(response: Any) -> None:
    assert set(response.get_json()) == MEMBERS | {"debug"}


def test_a_host_that_fails_before_and_after_its_views_is_answered_too(host: Flask, adopt: Callable[..., Flask]) -> None:
    adopt(host)

    @host.before_request
    def before() -> None:
        if request.path == "/before":
            raise ValueError(CANARY)

    @host.after_request
    def after(response: Response) -> Response:
        if request.path == "/after":
            raise ValueError(CANARY)
        return response

    client = host.test_client()
    for path in ("/before", "/after"):
        response = client.get(path)
        assert (response.status_code, response.get_json()["code"]) == (500, "INTERNAL_ERROR")
        assert response.get_json()["requestId"] == response.headers["X-Request-ID"]


def test_a_hosts_json_provider_is_not_asked_for_an_error(host: Flask, adopt: Callable[..., Flask]) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError

    adopt(host)
    host.json.dumps = broken  # type: ignore[method-assign]
    assert host.test_client().get("/nowhere").status_code == 404


def test_two_applications_have_their_own_tables(adopt: Callable[..., Flask]) -> None:
    def view() -> None:
        raise Own

    answers = []
    for rows in (OWN, {}):
        app = Flask("host")
        app.add_url_rule("/", view_func=view)
        answers.append(adopt(app, classifications=rows).test_client().get("/").status_code)
    assert answers == [507, 500]


class SoldOut(Exception):
    """The client's fault, says the application."""


@pytest.mark.parametrize(("status", "signals"), [(409, 0), (503, 1)])
def test_what_a_row_calls_the_clients_fault_is_no_defect_for_flask(
    adopt: Callable[..., Flask], status: int, signals: int, caplog: pytest.LogCaptureFixture
) -> None:
    row = Classification(ErrorCategory.CONFLICT, status, "SOLD_OUT", "Sold out")
    host = adopt(classifications={SoldOut: row}, enable_diagnostics=False)
    host.config["PROPAGATE_EXCEPTIONS"] = False

    @host.get("/buy")
    def buy() -> str:
        raise SoldOut

    told: list[BaseException] = []
    with got_request_exception.connected_to(lambda sender, exception: told.append(exception), sender=host):
        answer = host.test_client().get("/buy")
    assert (answer.status_code, answer.get_json()["code"], len(told)) == (status, "SOLD_OUT", signals)
    assert (row.severity, "Exception on" in caplog.text) == ("error" if signals else "info", bool(signals))
