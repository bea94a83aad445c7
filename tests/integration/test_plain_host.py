"""What ``ProdFix().init_app(app)`` gives a host with plain PyMongo, and what it leaves alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Served, whole
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = pytest.mark.served


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer() as server:
        yield server


@pytest.fixture(autouse=True)
def well(server: DatabaseServer) -> None:
    whole(server)


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def host(
    request: pytest.FixtureRequest, server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The host, under both kinds of workers: nothing of ours may need gevent."""
    folder = tmp_path_factory.mktemp(request.param)
    uri = f"{server.uri}host_{secrets.token_hex(4)}"
    options = ("-k", request.param, "--threads", "8") if request.param == "gthread" else ()
    with Served(
        folder,
        uri,
        application="tests.hosts.plain:app",
        adopted=True,
        options=options,
        APP_ENV="production",
        SLOW_QUERY_THRESHOLD_MS="0",
    ) as application:
        yield application


def test_every_answer_has_a_request_id(host: Served) -> None:
    sent = {"X-Request-ID": "from-the-client"}
    assert host.get("/items", sent).headers["X-Request-ID"] == "from-the-client"
    assert host.get("/raise/teapot", sent).headers["X-Request-ID"] == "from-the-client"


def test_the_hosts_own_handlers_win_whether_registered_before_or_after(host: Served) -> None:
    assert (host.get("/raise/teapot").status, host.get("/raise/teapot").body) == (418, "the host's own answer")
    assert (host.get("/raise/gone").status, host.get("/raise/gone").body) == (410, "registered after prodfix")


def test_the_hosts_json_provider_stays(host: Served) -> None:
    with closing(host.connection()) as connection:
        connection.request("GET", "/items")
        assert connection.getresponse().read().endswith(b"  \n")


def test_what_the_host_does_not_handle_gets_the_one_shape(host: Served) -> None:
    bug = host.get("/raise/bug")
    assert (bug.status, bug.body["code"], bug.body["message"]) == (500, "INTERNAL_ERROR", "An error occurred")
    assert "canary" not in str(bug.body)
    assert host.get("/nothing").body["code"] == "NOT_FOUND"


def test_the_hosts_errors_have_rows_of_their_own(host: Served) -> None:
    answer = host.get("/raise/stock")
    assert (answer.status, answer.body["code"], answer.body["message"]) == (409, "OUT_OF_STOCK", "Sold out")


def test_slow_and_failed_commands_are_logged_with_their_request_and_no_value(host: Served) -> None:
    sent = {"X-Request-ID": f"slow-{secrets.token_hex(4)}"}
    host.get("/items?owner=canary-filter-9912", sent)
    line = until(lambda: line_of(host, "database", sent["X-Request-ID"]), what="the line of the command")
    assert line["database"]["operation"] == "find"
    assert line["database"]["query"]["filter"] == {"owner": "?str"}

    identity = f"canary-{secrets.token_hex(4)}"
    assert host.post("/items", {"id": identity}).status == 201
    again = host.post("/items", {"id": identity})
    assert (again.status, again.body["code"], again.body["details"][0]["field"]) == (409, "DUPLICATE_KEY", "_id")
    until(lambda: line_of(host, "database", again.body["requestId"]), what="the line of the duplicate")
    written = str(host.log_lines("database")) + host.stdout() + (host.folder / "stderr.txt").read_text()
    assert "canary" not in written.replace("canary-value", "")


def test_the_hosts_logging_stays_its_own_and_carries_our_lines(host: Served) -> None:
    request_id = host.get("/raise/bug").body["requestId"]
    stderr = host.folder / "stderr.txt"
    until(lambda: request_id in stderr.read_text(), what="our line in the host's log")
    line = next(line for line in stderr.read_text().splitlines() if request_id in line)
    assert line.startswith("HOST prodfix {")


def test_statistics_and_look_up_are_the_same_from_every_worker(host: Served) -> None:
    token = host.bearer()
    request_id = host.get("/raise/bug").body["requestId"]
    assert all(body["errors"][0]["errorType"] == "KeyError" for body in host.looked_up(request_id))
    totals = {host.get("/api/v1/diagnostics/errors", token).body["totalErrors"] for _ in range(10)}
    assert len(totals) == 1


def test_a_failure_that_the_host_answers_itself_is_found_by_its_id_from_every_worker(host: Served) -> None:
    closed = host.get("/closed")
    assert (closed.status, closed.body) == (503, "closed")
    for found in host.looked_up(str(closed.headers["X-Request-ID"])):
        assert (found["status"], found["code"], found["errors"][0]["answeredBy"]) == (503, "HTTP_503", "host")
        assert [command["operation"] for command in found["commands"]] == ["find"]
    for found in host.looked_up(host.get("/raise/bug").body["requestId"]):
        assert found["errors"][0]["answeredBy"] == "prodfix"


def test_health_and_its_watch_work(host: Served) -> None:
    assert host.get("/health/db").body["healthy"] is True
    assert host.get("/health/live").status == 200


def test_copies_of_a_request_get_the_first_answer_with_the_hosts_own_client(host: Served) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    answers = [host.post("/once", {"name": "a"}, key) for _ in range(6)]
    assert {(answer.status, answer.body["id"]) for answer in answers} == {(201, answers[0].body["id"])}
    assert [answer.headers["Idempotency-Replayed"] for answer in answers] == [None, *["true"] * 5]
    assert host.post("/once", {"name": "b"}, key).body["code"] == "IDEMPOTENCY_KEY_REUSED"
    control = [host.post("/once", {"name": "a"}).body["id"] for _ in range(2)]
    assert len(set(control)) == 2


def test_there_is_no_deadline_until_the_host_asks_for_one(host: Served) -> None:
    assert host.get("/deadline").body == {"limit": None}


def test_an_outage_is_classified_and_named_without_any_command_event(server: DatabaseServer, tmp_path: Path) -> None:
    with Served(tmp_path, f"{server.uri}host_down", application="tests.hosts.plain:app", adopted=True) as host:
        server.kill()
        answer = host.get("/items?owner=canary-filter")
        assert (answer.status, answer.body["code"], answer.body["retryable"]) == (503, "DATABASE_UNAVAILABLE", True)
        request_id = answer.body["requestId"]
        line = until(lambda: line_of(host, "error", request_id), what="the line of the error")
        assert (line["database"]["operation"], line["database"]["collection"]) == ("find", "items")
        server.start()


def line_of(host: Served, file: str, request_id: str) -> dict[str, Any]:
    return next((line for line in host.log_lines(file) if line["requestId"] == request_id), {})
