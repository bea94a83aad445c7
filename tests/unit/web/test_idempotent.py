"""``@idempotent``: the key's syntax, what is stored and what is not, whose it is, and what a host gets of it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, Response, abort, jsonify, request
from flask_jwt_extended import JWTManager, create_access_token, jwt_required
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pymongo.errors import NetworkTimeout

from prodfix import (
    Conflict,
    ProdFix,
    Settings,
    ValidationFailed,
    current_operation_id,
    declare_outcome,
    idempotent,
)
from prodfix.errors import MalformedRequest, Outcome
from prodfix.idempotency.claims import KEYS
from prodfix.idempotency.keys import LARGEST
from prodfix.web.idempotent import DRAFT, parse_key

KEY = {"Idempotency-Key": "key-12345"}
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=128)


@given(key=PRINTABLE)
def test_plain_and_quoted_are_the_same_key(key: str) -> None:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_key(f'"{escaped}"') == key
    if not set(key) & set('",;\\'):
        assert parse_key(key) == key


@given(text=st.text(max_size=140))
def test_whatever_else_is_sent_is_a_key_or_a_refusal(text: str) -> None:
    try:
        key = parse_key(text)
    except MalformedRequest:
        return
    assert 8 <= len(key) <= 128
    assert key.isascii()
    assert key.isprintable()


BAD = [
    "",
    "short-1",
    "x" * 129,
    '"' + "x" * 129 + '"',
    "key-1,key-2x",
    '"key-1234", "key-5678"',
    '"key-12345',
    'a"b"c"d"e"f',
]
BAD += ["key 12345", "key-12345é", '"key-12345";a=1', '"key-\\12345"', "key-123\x7f45", '"\\"\\"\\"\\""']


@pytest.mark.parametrize("text", BAD)
def test_malformed_keys_are_refused(text: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        parse_key(text)
    assert refused.value.problems[0].field == "Idempotency-Key"


LINK = f'<{DRAFT}>; rel="describedby"; type="text/html"'


class Host:
    """A plain Flask application with counted views, on a database of its own."""

    def __init__(self, app: Flask) -> None:
        self.app, self.runs = app, 0
        self.answer = self.usual
        for name, options in (("/n", {}), ("/required", {"required": True}), ("/user", {"user": self.user})):
            app.add_url_rule(name, name, idempotent(self.view, **options), methods=["GET", "POST", "PATCH"])
        app.add_url_rule("/n/<int:number>", "numbered", idempotent(self.view), methods=["POST"])
        app.add_url_rule("/form", "form", idempotent(self.view), methods=["POST"])
        app.before_request(lambda: request.form.get("a") and None if request.path == "/form" else None)
        app.add_url_rule("/described", "d", idempotent(self.view, described_by="/docs/keys"), methods=["POST"])
        app.add_url_rule("/control", "control", self.view, methods=["POST"])
        app.add_url_rule("/jwt", "jwt", jwt_required()(idempotent(self.view)), methods=["POST"])
        app.add_url_rule("/stale", "stale", idempotent(self.view, longest=-1), methods=["POST"])

    def usual(self) -> Any:
        return {"run": self.runs, "operation": current_operation_id()}, 201

    @staticmethod
    def user() -> str | None:
        return request.headers.get("X-User")

    def view(self, **arguments: Any) -> Any:
        self.runs += 1
        return self.answer()

    def post(self, path: str = "/n", json: Any = None, headers: dict[str, str] | None = None, **more: Any) -> Any:
        options: dict[str, Any] = {"headers": KEY | (headers or {}), "method": "POST"} | more
        if "data" not in options:
            options["json"] = json if json is not None else {"a": 1}
        return self.app.test_client(use_cookies=False).open(path, **options)

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.app.extensions["prodfix"].requests.idempotency.counts().to_json()
        return counts


@pytest.fixture(scope="module")
def shared(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("replays")
    uri = SecretStr(f"{database_server}replays_{secrets.token_hex(6)}")
    app = Flask("host")
    app.config.update(JWT_SECRET_KEY="a key for the tests only, long enough")
    JWTManager(app)
    prodfix = ProdFix(app, settings=Settings(mongodb_uri=uri, state_dir=folder, log_dir=folder / "log"))
    yield Host(app)
    prodfix.services.database.clients.own.drop_database(prodfix.services.database.clients.database_name)
    prodfix.services.close()


@pytest.fixture
def host(shared: Host) -> Host:
    services = shared.app.extensions["prodfix"]
    services.database.clients.own_db[KEYS].delete_many({})
    services.requests.idempotency._counts.clear()
    shared.runs, shared.answer = 0, shared.usual
    return shared


def test_a_copy_gets_the_first_answer_and_nothing_runs(host: Host) -> None:
    def made() -> Response:
        response = jsonify({"run": host.runs})
        response.headers.update({"Location": "/n/1", "ETag": '"1"', "X-Other": "no", "Set-Cookie": "a=b"})
        response.status_code = 201
        return response

    host.answer = made
    first, again = host.post(), host.post()
    assert (again.status_code, again.data, again.content_type) == (201, first.data, "application/json")
    assert (again.headers["Location"], again.headers["ETag"]) == ("/n/1", '"1"')
    assert (again.headers["Idempotency-Replayed"], "Idempotency-Replayed" in first.headers) == ("true", False)
    assert not {"X-Other", "Set-Cookie"} & set(again.headers.keys())
    assert first.headers["X-Request-ID"] != again.headers["X-Request-ID"]
    assert host.runs == 1
    assert [host.post("/control").get_json()["run"] for _ in range(2)] == [2, 3], "the control runs each time"


def test_without_a_key_or_with_a_safe_method_everything_runs(host: Host) -> None:
    client = host.app.test_client()
    answers = [
        client.post("/n", json={}),
        client.post("/n", json={}),
        client.get("/n", headers=KEY),
        client.get("/n", headers=KEY),
    ]
    assert [answer.get_json()["run"] for answer in answers] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/required", {}, "missing"),
        ("/required", {"Idempotency-Key": "short"}, "malformed"),
        ("/n", {"Idempotency-Key": ""}, "malformed"),
    ],
)
def test_missing_and_malformed_keys_are_400_and_named(
    host: Host, path: str, headers: dict[str, str], code: str
) -> None:
    answer = host.app.test_client().post(path, json={}, headers=headers)
    assert (answer.status_code, answer.get_json()["code"], host.runs) == (400, "MALFORMED_REQUEST", 0)
    assert [(one["field"], one["code"]) for one in answer.get_json()["details"]] == [("Idempotency-Key", code)]
    assert answer.headers["Link"] == LINK


@pytest.mark.parametrize(
    "other",
    [
        {"json": {"a": 2}},
        {"path": "/n?x=1"},
        {"path": "/n/1"},
        {"path": "/required"},
        {"method": "PATCH"},
        {"data": b"\x00"},
    ],
)
def test_another_request_with_the_same_key_is_422(host: Host, other: dict[str, Any]) -> None:
    host.post()
    answer = host.post(**other)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (answer.get_json()["retryable"], host.runs, host.counts["reused"]) == (False, 1, 1)
    assert answer.headers["Link"] == LINK


def test_each_refusal_links_what_says_how_keys_are_used_and_no_other_answer_does(host: Host) -> None:
    assert host.post("/described", json={}).headers.get("Link") is None
    answer = host.post("/described", json={"a": 2})
    assert (answer.status_code, answer.headers["Link"]) == (422, '</docs/keys>; rel="describedby"; type="text/html"')
    host.answer = lambda: Response("x" * (LARGEST + 1), 201)
    kept = {"Idempotency-Key": "another-key"}
    assert [host.post("/n", headers=kept).headers.get("Link") for _ in range(2)] == [None, LINK], "409: it was not kept"


@pytest.mark.parametrize(
    "address", ["", "docs", "ftp://x", "javascript:alert(1)", 'https://x/">', "https://x/ y", "https://x/\r\nA: b"]
)
def test_what_is_no_address_is_refused_where_it_is_said(address: str) -> None:
    with pytest.raises(ValueError, match="described_by"):
        idempotent(described_by=address)


def test_path_arguments_count(host: Host) -> None:
    assert (host.post("/n/1").status_code, host.post("/n/2").status_code, host.post("/n/1").status_code) == (
        201,
        422,
        201,
    )


def test_forms_count_also_where_they_were_parsed_before(host: Host) -> None:
    for number, path in enumerate(("/n", "/form")):
        key = {"Idempotency-Key": f"key-1234{number}"}
        answers = [host.post(path, data={"a": value}, headers=key) for value in ("1", "1", "2")]
        assert [answer.status_code for answer in answers] == [201, 201, 422]


def test_one_that_runs_is_409_with_a_time_to_come_back(host: Host) -> None:
    inside, go = threading.Event(), threading.Event()

    def slow() -> Any:
        inside.set()
        assert go.wait(10)
        return {"run": host.runs}, 201

    host.answer = slow
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.post)
        assert inside.wait(10)
        copy = host.post()
        go.set()
        assert first.result().status_code == 201
    assert (copy.status_code, copy.get_json()["code"], copy.get_json()["retryable"]) == (409, "CONFLICT", True)
    assert int(copy.headers["Retry-After"]) > 0
    assert (host.post().get_json(), host.runs) == ({"run": 1}, 1)


@pytest.mark.parametrize("outcome", [Outcome.APPLIED, Outcome.UNKNOWN])
def test_a_view_that_wrote_without_the_operations_id_and_failed_is_not_run_again(host: Host, outcome: Outcome) -> None:
    """It would write twice. The control beside it: with the ID, or without a write, a copy runs."""

    def view() -> Any:
        if host.runs in asking:
            current_operation_id()
        if host.runs not in idle:
            declare_outcome(outcome)
        raise KeyError("x")

    asking, idle = set[int](), set[int]()
    host.answer = view
    first, again = host.post(), host.post()
    assert (first.status_code, again.status_code, host.runs) == (500, 500, 1)
    assert (again.headers["Idempotency-Replayed"], again.get_json()["requestId"]) == (
        "true",
        first.get_json()["requestId"],
    )
    asking, idle = {2, 3}, {4, 5}
    for _ in range(2):
        assert host.post(headers={"Idempotency-Key": "with-the-id"}).status_code == 500
    for _ in range(2):
        assert host.post(headers={"Idempotency-Key": "without-a-write"}).status_code == 500
    assert host.runs == 5


def raising(error: Exception) -> Callable[[], Any]:
    def view() -> Any:
        raise error

    return view


@pytest.mark.parametrize(
    "answer",
    [
        lambda: ("", 204),
        lambda: ("", 303, {"Location": "/n/1"}),
        lambda: ({"a": 1}, 202, {"Retry-After": "3"}),
        raising(ValidationFailed("x")),
        raising(Conflict("x")),
        lambda: abort(400),
        lambda: abort(415),
    ],
)
def test_final_answers_are_stored_also_those_of_our_error_handlers(host: Host, answer: Callable[[], Any]) -> None:
    host.answer = answer
    first, again = host.post(), host.post()
    assert (again.status_code, again.data) == (first.status_code, first.data)
    assert (again.headers["Idempotency-Replayed"], host.runs) == ("true", 1)


def unknown() -> Any:
    declare_outcome(Outcome.UNKNOWN)
    raise Conflict("x")


@pytest.mark.parametrize(
    "answer",
    [
        *(lambda status=status: abort(status) for status in (401, 403, 404, 408, 423, 425, 429, 500, 503)),
        raising(KeyError("x")),
        raising(NetworkTimeout("x")),
        lambda: ("", 409, {"Retry-After": "1"}),
        unknown,
    ],
)
def test_other_answers_let_a_copy_run_with_the_same_operation_id_and_no_other_body(
    host: Host, answer: Callable[[], Any]
) -> None:
    seen = []

    def view() -> Any:
        seen.append(current_operation_id())
        return answer()

    host.answer = view
    assert host.post().status_code == host.post().status_code >= 400
    assert host.post(json={"b": 1}).status_code == 422
    assert (len(seen), len(set(seen))) == (2, 1)


@pytest.mark.parametrize("body", [lambda: "x" * (LARGEST + 1), lambda: iter(["a", "b"])], ids=["large", "streamed"])
def test_what_cannot_be_stored_is_never_run_again(host: Host, body: Callable[[], Any]) -> None:
    host.answer = lambda: Response(body(), 201)
    first, again = host.post(), host.post()
    assert (first.status_code, again.status_code, again.get_json()["code"]) == (201, 409, "CONFLICT")
    assert (again.get_json()["retryable"], host.runs, host.counts["notKept"]) == (False, 1, 1)


def test_the_largest_that_is_stored_is_replayed(host: Host) -> None:
    host.answer = lambda: Response("x" * LARGEST, 201)
    assert host.post().data == host.post().data
    assert host.runs == 1


def test_users_never_meet_however_they_are_known(host: Host) -> None:
    with host.app.app_context():
        tokens = [
            create_access_token(name, expires_delta=timedelta(minutes=n)) for n, name in ((1, "a"), (2, "a"), (1, "b"))
        ]
    bearer = [{"Authorization": f"Bearer {token}"} for token in tokens]
    runs = [host.post("/jwt", headers=headers).get_json()["run"] for headers in bearer]
    assert runs == [1, 1, 2], "a's second token is still a"
    assert host.post("/jwt").status_code == 401
    assert [host.post("/user", headers={"X-User": name}).get_json()["run"] for name in "xyx"] == [3, 4, 3]
    others = [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Basic Yzpk"},
        {"Cookie": "s=1"},
        {"Cookie": "s=2"},
    ]
    runs = [host.post(headers=headers).get_json()["run"] for _ in range(2) for headers in others]
    assert runs == [5, 6, 7, 8, 9] * 2


def test_an_overdue_claim_is_taken_over(host: Host) -> None:
    assert [host.post("/stale").get_json()["run"] for _ in range(2)] == [1, 1], "what was answered is not run again"
    host.app.extensions["prodfix"].database.clients.own_db[KEYS].update_many({}, {"$unset": {"answer": ""}})
    assert host.post("/stale").get_json()["run"] == 2


def test_without_a_database_everything_runs_and_copies_have_one_operation_id(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")
    JWTManager(app)
    host = Host(adopt(app))
    first, again = host.post(), host.post()
    assert (first.get_json()["run"], again.get_json()["run"]) == (1, 2)
    assert first.get_json()["operation"] == again.get_json()["operation"]
    assert first.get_json()["operation"] != host.post(headers={"Idempotency-Key": "key-67890"}).get_json()["operation"]
    assert host.counts["unprotected"] == 3


def test_nothing_of_key_or_answer_is_in_the_log(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.answer = lambda: ({"a": "canary-answer-5521"}, 201)
    secret = {"Idempotency-Key": "canary-key-5521"}
    for json in ({}, {}, {"a": 1}):
        host.post(json=json, headers=secret)
    assert host.counts["reused"] == 1
    assert "canary" not in caplog.text
