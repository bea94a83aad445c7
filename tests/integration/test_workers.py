"""Two workers are one service: the same answers from both, and each request's own ID on all that it caused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

NOTES = "/api/v1/notes"
ERRORS = "/api/v1/diagnostics/errors?timeRange=1h"


def totals(served: Served, token: dict[str, str]) -> dict[str, Any]:
    body = served.get(ERRORS, token).body
    return {
        name: body[name]
        for name in ("totalErrors", "errorsByCategory", "errorsByDevice", "errorsByEndpoint", "topErrors")
    }


def test_twenty_calls_in_a_row_give_the_same_totals(served: Served, note: dict[str, Any]) -> None:
    token = served.bearer()
    before = totals(served, token)
    served.post(NOTES, note)
    for _ in range(5):
        served.get("/nothing")
        served.post(NOTES, note)
        served.post(NOTES, {})
    # Another worker knows an error some milliseconds after its answer.
    wanted = before["totalErrors"] + 15
    until(lambda: {totals(served, token)["totalErrors"] for _ in range(6)} == {wanted}, what="all of them")
    answers = [totals(served, token) for _ in range(20)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["totalErrors"] == wanted


def test_every_worker_of_the_instance_is_in_the_report(served: Served) -> None:
    token = served.bearer()

    def both() -> bool:
        workers = served.get("/api/v1/diagnostics/database", token).body["workers"]
        return {worker["pid"] for worker in workers} == set(served.worker_pids())

    until(both, what="both workers in the report")


def test_concurrent_requests_keep_their_own_ids_over_kept_alive_connections(served: Served) -> None:
    def client(number: int) -> list[tuple[str, str]]:
        with closing(served.connection()) as connection:
            seen = []
            for step in range(10):
                sent = f"client-{number:03d}-{step:03d}"
                path = "/nothing" if step % 2 else f"{NOTES}?limit=1"
                answer = served.request("GET", path, headers={"X-Request-ID": sent}, connection=connection)
                seen.append((sent, answer.headers["X-Request-ID"]))
            return seen

    with ThreadPoolExecutor(20) as pool:
        pairs = [pair for seen in pool.map(client, range(20)) for pair in seen]
    assert len(pairs) == 200
    assert all(sent == received for sent, received in pairs)


def test_a_request_without_an_id_does_not_inherit_the_one_before_on_its_connection(served: Served) -> None:
    with closing(served.connection()) as connection:
        served.request("GET", "/nothing", headers={"X-Request-ID": "the-first-one"}, connection=connection)
        second = served.request("GET", "/nothing", connection=connection)
    assert second.headers["X-Request-ID"] != "the-first-one"


def test_a_conflict_is_logged_with_both_versions_and_no_value(served: Served, note: dict[str, Any]) -> None:
    path = served.post(NOTES, note).headers["Location"]
    served.request("PATCH", path, json={"title": "Second", "version": 1})
    answer = served.request("PATCH", path, json={"title": "Secret words", "version": 1})
    line = until(
        lambda: log_line(served, "database", answer.body["requestId"], "conflict"), what="the line of the conflict"
    )
    assert (line["expectedVersion"], line["foundVersion"]) == (1, 2)
    assert line["ours"] == line["theirs"] == {"title": "?str"}
    assert "Secret words" not in str(served.log_lines("database"))


def test_a_duplicate_key_is_told_once_with_its_shape_only(served: Served, note: dict[str, Any]) -> None:
    served.post(NOTES, note)
    request_id = served.post(NOTES, note).body["requestId"]
    line = until(lambda: log_line(served, "database", request_id, "error"), what="the line of the error")
    assert line["code"] == "DUPLICATE_KEY"
    assert log_line(served, "database", request_id, "query") is None, "the error's line has all of the command's"
    assert line["database"]["collection"] == "notes"
    assert line["database"]["query"]["documents"][0]["slug"] == "?str"
    assert note["slug"] not in str(served.log_lines("database"))


def test_an_error_is_on_stdout_and_in_its_file(served: Served) -> None:
    request_id = served.post(NOTES, {}).body["requestId"]
    line = until(lambda: log_line(served, "validation", request_id, "error"), what="the line in validation.log")
    for name in ("requestId", "category", "severity", "message", "database", "stack"):
        assert name in line
    assert line["category"] == "validation"
    assert isinstance(line["stack"], str)
    until(lambda: [entry for entry in served.stdout_lines() if entry == line], what="the same line on stdout")


def test_every_request_but_health_has_an_access_line_without_its_query_string(served: Served) -> None:
    health = {served.get(f"/health/{name}").headers["X-Request-ID"] for name in ("live", "ready", "startup", "db")}
    request_id = served.get("/nothing?password=hunter2").headers["X-Request-ID"]
    line = until(
        lambda: next(
            (
                line
                for line in served.stdout_lines()
                if line.get("event") == "request" and line["requestId"] == request_id
            ),
            None,
        ),
        what="the access line",
    )
    assert (line["path"], line["status"], line["method"]) == ("/nothing", 404, "GET")
    assert "hunter2" not in served.stdout()
    assert not [line for line in served.stdout_lines() if line.get("requestId") in health]


def test_log_files_are_private(served: Served) -> None:
    served.post(NOTES, {})
    folder = Path(served.variables["LOG_DIR"])
    files = until(lambda: list(folder.glob("*.log")), what="log files")
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_two_clients_that_patch_the_same_version_are_told_apart(served: Served, note: dict[str, Any]) -> None:
    path = served.post(NOTES, note).headers["Location"]
    ready = threading.Barrier(8)

    def change(number: int) -> int:
        ready.wait()
        return served.request("PATCH", path, json={"title": f"By {number}", "version": 1}).status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(8)))
    assert statuses == [200] + [409] * 7


def log_line(served: Served, file: str, request_id: str, event: str) -> dict[str, Any] | None:
    wanted: Callable[[dict[str, Any]], bool] = lambda line: (line["requestId"], line["event"]) == (request_id, event)  # noqa: E731
    return next(filter(wanted, served.log_lines(file)), None)
