"""What a client sees: each line of the issue's list, over real HTTP, from gunicorn with gevent and two workers."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from tests.support.served import Answer, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

NOTES = "/api/v1/notes"
DIAGNOSTICS = "/api/v1/diagnostics"
JSON = {"Content-Type": "application/json"}
SHAPE = {"type", "title", "status", "detail", "code", "message", "details", "requestId", "timestamp", "retryable"}


def assert_shape(answer: Answer, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.body
    assert (answer.status, body["code"]) == (status, code), body
    assert set(body) - {"outcome", "debug"} == SHAPE
    assert body["status"] == status
    assert body["requestId"] == answer.headers["X-Request-ID"]
    assert body["detail"] == body["message"]
    assert isinstance(body["details"], list)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["timestamp"])
    assert bool(answer.headers["Retry-After"]) == body["retryable"]
    return body


def test_health_has_the_seeds_body(served: Served) -> None:
    answer = served.get("/health/db")
    assert answer.status == 200
    assert set(answer.body) == {"healthy", "database", "timestamp"}
    assert set(answer.body["database"]) == {"connected", "latencyMs", "poolSize", "availableConnections"}
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/db", "/health/startup"])
def test_health_answers_head_and_carries_a_request_id(served: Served, path: str) -> None:
    # Only one of the workers was waited for until its database had answered.
    answer = until(lambda: (found := served.request("HEAD", path)).status == 200 and found, what=f"HEAD {path} -> 200")
    assert answer.headers["X-Request-ID"]


def test_a_note_lives_and_counts_in_its_notebook(served: Served, note: dict[str, Any]) -> None:
    created = served.post(NOTES, note)
    assert created.status == 201
    path = created.headers["Location"]
    assert served.get(path).body == created.body

    changed = served.request("PATCH", path, json={"title": "Another", "version": 1})
    assert (changed.status, changed.body["title"], changed.body["version"]) == (200, "Another", 2)

    stale = assert_shape(served.request("PATCH", path, json={"title": "Late", "version": 1}), 409, "CONFLICT")
    assert stale["details"][0]["field"] == "version"

    assert served.request("DELETE", path).status == 204
    assert_shape(served.get(path), 404, "NOT_FOUND")


def test_the_same_slug_again_is_a_conflict_that_names_fields_only(served: Served, note: dict[str, Any]) -> None:
    assert served.post(NOTES, note).status == 201
    body = assert_shape(served.post(NOTES, note), 409, "DUPLICATE_KEY")
    assert [problem["field"] for problem in body["details"]] == ["slug"]
    assert body["outcome"] == "not_applied"
    assert note["slug"] not in str(body)


def test_a_bad_body_names_every_wrong_field(served: Served) -> None:
    body = assert_shape(served.post(NOTES, {"slug": "Not A Slug", "title": ""}), 422, "VALIDATION_FAILED")
    assert {problem["pointer"] for problem in body["details"]} == {"/slug", "/title", "/body", "/notebook"}
    assert all(problem["code"] and problem["message"] for problem in body["details"])


BAD_BODIES = [
    (b"[" * 100_000, 400, "MALFORMED_REQUEST"),
    (b'{"a":' * 100 + b"1" + b"}" * 100, 400, "MALFORMED_REQUEST"),
    (b"{", 400, "MALFORMED_REQUEST"),
    (b"", 400, "MALFORMED_REQUEST"),
    (b'{"slug": NaN}', 400, "MALFORMED_REQUEST"),
    (b'{"slug": "a", "slug": "b"}', 400, "MALFORMED_REQUEST"),
    (b'{"slug": "\\ud800"}', 400, "MALFORMED_REQUEST"),
    (b'{"slug": "\xff"}', 400, "MALFORMED_REQUEST"),
    ('{"slug": "a"}'.encode("utf-16"), 400, "MALFORMED_REQUEST"),
    (b'{"version": ' + b"9" * 5000 + b"}", 400, "MALFORMED_REQUEST"),
    (b'"text"', 422, "VALIDATION_FAILED"),
    (b'{"slug": {"$gt": ""}}', 422, "VALIDATION_FAILED"),
    (b"x" * 1_100_000, 413, "PAYLOAD_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_body_that_is_no_good_gets_the_one_shape(served: Served, body: bytes, status: int, code: str) -> None:
    assert_shape(served.request("POST", NOTES, body=body, headers=JSON), status, code)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"canary-name"}\r\n\r\n',
        b"zz\r\ncanary-name\r\n",
        b"5;canary\0-name\r\nabcde\r\n0\r\n\r\n",
        b"5\r\ncanary-name",
    ],
)
def test_a_broken_chunk_is_400_and_its_bytes_are_nowhere(served: Served, body: bytes) -> None:
    head = f"POST {NOTES} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"MALFORMED_REQUEST"' in answer
    assert "canary" not in answer.decode() + served.stdout()


def test_text_is_not_json(served: Served) -> None:
    answer = served.request("POST", NOTES, body="slug=a", headers={"Content-Type": "text/plain"})
    assert_shape(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", ["/nothing", f"{NOTES}/not-an-id", f"{NOTES}/{'0' * 24}", "/health/nothing"])
def test_what_is_not_there_is_404(served: Served, path: str) -> None:
    assert_shape(served.get(path), 404, "NOT_FOUND")


def test_a_wrong_method_keeps_allow(served: Served) -> None:
    answer = served.request("PUT", NOTES)
    assert_shape(answer, 405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_problem_json_is_for_those_who_ask(served: Served) -> None:
    asked = served.get("/nothing", {"Accept": "application/problem+json"})
    assert asked.headers.get_content_type() == "application/problem+json"
    assert served.get("/nothing").headers.get_content_type() == "application/json"


@pytest.mark.parametrize("offered", ["abcdefgh", "A-b_c.1234567890", "x" * 64])
def test_a_good_request_id_is_kept(served: Served, offered: str) -> None:
    assert served.get("/nothing", {"X-Request-ID": offered}).body["requestId"] == offered


@pytest.mark.parametrize("offered", ["short", "x" * 65, "with blank 1", "semi;colon", "ünïcode-id"])
def test_a_bad_request_id_is_replaced(served: Served, offered: str) -> None:
    headers = {"X-Request-ID": offered.encode("utf-8").decode("latin-1")}
    assert re.fullmatch(r"[0-9a-f]{32}", served.get("/nothing", headers).body["requestId"])


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "AUTHENTICATION_REQUIRED"),
        ({"Authorization": "Bearer garbage"}, 401, "AUTHENTICATION_REQUIRED"),
        ({"Authorization": "Basic YTpi"}, 401, "AUTHENTICATION_REQUIRED"),
        ({"Authorization": "Bearer"}, 401, "AUTHENTICATION_REQUIRED"),
        ("reader", 403, "FORBIDDEN"),
        ("nonadmin", 403, "FORBIDDEN"),
    ],
)
@pytest.mark.parametrize("path", ["", "/errors?timeRange=1h", "/database", "/requests/abc", "/test", "/unknown"])
def test_diagnostics_are_for_admins(served: Served, path: str, headers: Any, status: int, code: str) -> None:
    sent = served.bearer(headers) if isinstance(headers, str) else headers
    assert_shape(served.get(DIAGNOSTICS + path, sent), status, code)


def test_an_unknown_time_range_is_refused_and_never_a_default(served: Served) -> None:
    body = assert_shape(served.get(f"{DIAGNOSTICS}/errors?timeRange=2h", served.bearer()), 422, "VALIDATION_FAILED")
    assert body["details"][0]["field"] == "timeRange"


def test_the_database_report_has_the_seeds_parts(served: Served, note: dict[str, Any]) -> None:
    served.post(NOTES, note)
    report = served.get(f"{DIAGNOSTICS}/database", served.bearer()).body
    assert report["connection"]["state"] == "connected"
    assert {"uptime", "lastError", "reconnectAttempts", "poolSize", "availableConnections"} <= set(report["connection"])
    notes = next(collection for collection in report["collections"] if collection["name"] == "notes")
    assert notes["documentCount"] >= 1
    assert {"_id_", "slug_1"} <= set(notes["indexes"])
    assert notes["avgDocSize"] > 0
    assert isinstance(report["recentErrors"], list)


@pytest.mark.parametrize("operation", ["read", "write", "transaction"])
def test_the_test_operations_work(served: Served, operation: str) -> None:
    answer = served.post(f"{DIAGNOSTICS}/test", {"operation": operation}, served.bearer())
    assert (answer.status, answer.body["success"], answer.body["error"]) == (200, True, None)
    assert answer.body["durationMs"] > 0


@pytest.mark.parametrize(
    "body", [{"operation": "drop"}, {}, [], {"operation": "read", "more": 1}, {"operation": ["read"]}]
)
def test_other_operations_are_refused(served: Served, body: Any) -> None:
    assert_shape(served.post(f"{DIAGNOSTICS}/test", body, served.bearer()), 422, "VALIDATION_FAILED")
