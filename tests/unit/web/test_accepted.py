"""202 and what a client may ask afterwards, in an application without a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint, Response
from pydantic import SecretStr

from prodfix import Insert, Write, WriteResult, accepted, current_prodfix, current_user, deferrable, make_token
from prodfix.blueprints import diagnostics, operations
from prodfix.errors import NotKnownNow
from prodfix.signals import error_recorded

blueprint = Blueprint("acceptance", __name__, url_prefix="/things")
UNREACHABLE = "mongodb://127.0.0.1:9/acceptance"
CANARY = "ada.canary@example.org"


@deferrable("acceptance.thing")
def thing(arguments: Mapping[str, Any]) -> Sequence[Insert]:
    return [Insert("things", arguments)]


@blueprint.post("")
def create() -> Response:
    current_user()
    return accepted(current_prodfix.recovery.write(Write("acceptance.thing", {"email": CANARY})))


@pytest.fixture
def app(serve: Callable[..., Any]) -> Any:
    return serve(
        [blueprint, operations, diagnostics],
        mongodb_uri=SecretStr(UNREACHABLE),
        max_retry_attempts=0,
        db_server_selection_timeout_ms=20,
    )


def bearer(app: Any, subject: str, role: str = "user") -> dict[str, str]:
    settings = app.extensions["prodfix"].settings
    return {
        "Authorization": f"Bearer {make_token(settings, role=role, lifetime=timedelta(minutes=5), subject=subject)}"
    }


def test_an_accepted_write_says_where_to_ask(app: Any) -> None:
    client = app.test_client()
    answer = client.post("/things")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (202, "no-store")
    identity = answer.json["operationId"]
    url = f"/api/v1/operations/{identity}"
    assert answer.json == {"deferred": True, "operationId": identity, "statusUrl": url, "durability": "durable"}
    assert answer.headers["Location"] == url
    status = client.get(url)
    assert (status.status_code, status.headers["Retry-After"], status.headers["Cache-Control"]) == (
        200,
        "5",
        "no-store",
    )
    body = status.json
    assert body.pop("createdAt").endswith("Z")
    assert body.pop("waitingSince").endswith("Z")
    assert body == {
        "operationId": identity,
        "operation": "acceptance.thing",
        "status": "waiting",
        "reason": "DATABASE_UNAVAILABLE",
        "attempts": 0,
        "endedAt": None,
    }


def test_a_users_write_is_the_users_alone(app: Any) -> None:
    client = app.test_client()
    url = client.post("/things", headers=bearer(app, "ada")).json["statusUrl"]
    assert client.get(url, headers=bearer(app, "ada")).status_code == 200
    for headers in ({}, bearer(app, "bob"), bearer(app, "admin", "admin")):
        assert client.get(url, headers=headers).status_code == 404
    assert client.get(url, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_what_is_not_known_here_may_be_known_elsewhere(app: Any) -> None:
    answer = app.test_client().get("/api/v1/operations/" + "0" * 24)
    assert (answer.status_code, answer.json["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert 1 <= int(answer.headers["Retry-After"]) <= 30


@pytest.mark.parametrize("identity", ["x", "%00" * 9, "a" * 101, "a" * 3000, "..%2F..%2Fetc%2Fpasswd"])
def test_what_cannot_be_one_is_not_found_though_nobody_can_be_asked(app: Any, identity: str) -> None:
    answer = app.test_client().get(f"/api/v1/operations/{identity}")
    assert (answer.status_code, answer.json["code"]) == (404, "NOT_FOUND")


def test_a_stranger_who_asks_too_soon_after_a_return_makes_no_database_error(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, seen = app.extensions["prodfix"], []

    def not_told(*_: Any) -> None:
        raise NotKnownNow

    monkeypatch.setattr(type(services.deferral.status), "_stored", not_told)
    with error_recorded.connected_to(lambda sender, record: seen.append(record), sender=services.errors.log):
        answer = app.test_client().get("/api/v1/operations/" + "0" * 24)
    assert (answer.status_code, answer.json["code"], answer.json["retryable"]) == (503, "DATABASE_UNAVAILABLE", True)
    assert "outcome" not in answer.json
    assert "Retry-After" in answer.headers
    (record,) = seen
    assert (record.disposition, record.meaning.severity, record.meaning.category) == ("counted", "info", "client")


def test_without_the_plug_in_there_is_nowhere_to_ask(serve: Callable[..., Any]) -> None:
    app = serve([])
    with app.test_request_context():
        answer = accepted(WriteResult("deferred", "0" * 24, "ephemeral"))
        assert answer.json == {"deferred": True, "operationId": "0" * 24, "statusUrl": None, "durability": "ephemeral"}
        assert "Location" not in answer.headers
        with pytest.raises(ValueError, match="applied"):
            accepted(WriteResult("applied", "0" * 24, None))


def test_an_admin_sees_it_without_its_values_and_orders(app: Any) -> None:
    client, admin = app.test_client(), bearer(app, "root", "admin")
    made = client.post("/things", headers=bearer(app, "ada"))
    identity, request_id = made.json["operationId"], made.headers["X-Request-ID"]
    page = client.get("/api/v1/diagnostics/deferred?state=waiting", headers=admin)
    assert (page.json["waiting"], page.json["enabled"], page.json["durability"]) == (1, True, "durable")
    assert [(entry["operationId"], entry["requestId"]) for entry in page.json["entries"]] == [(identity, request_id)]
    shown = client.get(f"/api/v1/diagnostics/deferred/{identity}", headers=admin)
    assert shown.json["arguments"] == {"email": "?str"}
    assert CANARY not in page.text + shown.text
    ordered = client.post(f"/api/v1/diagnostics/deferred/{identity}/discard", headers=admin)
    assert (ordered.status_code, ordered.json["ordered"]) == (202, "discard")
    app.extensions["prodfix"].deferral.admin.obey()
    status = client.get(f"/api/v1/operations/{identity}", headers=bearer(app, "ada")).json
    assert (status["status"], status["reason"]) == ("failed", "DISCARDED")
    last = client.get("/api/v1/diagnostics/deferred", headers=admin).json["orders"]["last"]
    assert [(order["command"], order["by"]) for order in last] == [("discard", "root")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "?state=applied", 422),
        ("GET", "?limit=0", 422),
        ("GET", "?limit=201", 422),
        ("GET", "?offset=-1", 422),
        ("GET", "/" + "0" * 24, 404),
        ("POST", "/" + "0" * 24 + "/replay", 404),
        ("POST", "/" + "0" * 24 + "/drop", 404),
    ],
)
def test_a_wrong_question_gets_a_clear_answer(serve: Callable[..., Any], method: str, path: str, status: int) -> None:
    app = serve([diagnostics])
    client = app.test_client()
    url = f"/api/v1/diagnostics/deferred{path}"
    assert client.open(url, method=method, headers=bearer(app, "root", "admin")).status_code == status
    assert client.open(url, method=method, headers=bearer(app, "ada")).status_code == 403
    assert client.open(url, method=method).status_code == 401
