"""The database is killed, or hangs, and comes back: what clients and admins see, from both workers."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Answer, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

NOTES = "/api/v1/notes"
DIAGNOSTICS = "/api/v1/diagnostics"
DEADLINE = 10.0

Break = Callable[[DatabaseServer], None]
BREAKS: dict[str, tuple[Break, Break]] = {
    "killed": (DatabaseServer.kill, lambda server: server.start() and None),
    "hung": (DatabaseServer.stop_signal, DatabaseServer.resume),
}


@pytest.fixture
def served(server: DatabaseServer, tmp_path: Path) -> Iterator[Served]:
    # What clients see when nothing is deferred; tests/faults/test_deferred.py has the rest.
    with Served(tmp_path / "served", f"{server.uri}outage", ENABLE_OPERATION_QUEUE="false") as application:
        yield application


def note() -> dict[str, Any]:
    return {
        "slug": f"note-{secrets.token_hex(6)}",
        "title": "A title",
        "body": "Some text",
        "notebook": secrets.token_hex(6),
    }


def timed(ask: Callable[[], Answer]) -> tuple[Answer, float]:
    begun = time.monotonic()
    return ask(), time.monotonic() - begun


def health_becomes(served: Served, status: int, *, limit: float) -> None:
    """Both workers answer so, each answer within a second."""

    def many() -> bool:
        answers = [timed(lambda: served.get("/health/db")) for _ in range(6)]
        assert max(took for _, took in answers) < 1.0
        assert all(answer.body["healthy"] == (answer.status == 200) for answer, _ in answers)
        return {answer.status for answer, _ in answers} == {status}

    until(many, limit=limit, what=f"/health/db -> {status}")


@pytest.mark.parametrize("how", BREAKS)
def test_an_outage_from_its_first_to_its_last_second(server: DatabaseServer, served: Served, how: str) -> None:
    break_it, mend_it = BREAKS[how]
    token = served.bearer()
    until(lambda: announced(served).count("connected") >= 2, what="both workers' own line of the connection")
    assert served.post(NOTES, note()).status == 201
    before = served.get(f"{DIAGNOSTICS}/errors?timeRange=1h", token).body["totalErrors"]

    break_it(server)
    health_becomes(served, 503, limit=2.5)

    refused = [timed(lambda: served.post(NOTES, note())) for _ in range(6)]
    refused += [timed(lambda: served.get(NOTES)) for _ in range(2)]
    for answer, took in refused:
        assert took < 1.0
        assert (answer.status, answer.body["code"], answer.body["retryable"]) == (503, "DATABASE_UNAVAILABLE", True)
        assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert refused[0][0].body["outcome"] == "not_applied"
    assert served.get("/health/live").status == 200
    assert served.get("/health/startup").status == 200

    request_id = refused[0][0].body["requestId"]
    found: list[Answer] = []

    def agreed() -> bool:
        found[:] = [served.get(f"{DIAGNOSTICS}/requests/{request_id}", token) for _ in range(10)]
        assert {answer.status for answer in found} == {200}
        return all(answer.body == found[0].body for answer in found)

    until(agreed, what="the same answer from both workers")
    database = found[0].body["errors"][0]["database"]
    assert (database["operation"], database["collection"]) == ("insert", "notes")
    assert database["query"]["document"]["slug"] == "?str"

    during = [served.get(f"{DIAGNOSTICS}/errors?timeRange=1h", token).body for _ in range(10)]
    assert {body["totalErrors"] for body in during} == {before + len(refused)}
    assert {body["scope"] for body in during} == {"instance"}
    until(lambda: state(served, token) == "reconnecting", limit=3, what="the state of all workers: reconnecting")
    report, took = timed(lambda: served.get(f"{DIAGNOSTICS}/database", token))
    assert report.status == 200
    assert took < 1.0
    assert request_id in {error["requestId"] for error in report.body["recentErrors"]}
    until(lambda: line_of(served, "error", request_id), what="the line in error.log")
    lines = [line for line in served.log_lines("database") if line["requestId"] == request_id]
    assert {(line["database"]["operation"], line["database"]["collection"]) for line in lines} == {("insert", "notes")}

    until(lambda: announced(served).count("reconnecting") >= 2, what="both workers' own line of the loss")
    mend_it(server)
    health_becomes(served, 200, limit=5.0)
    assert served.post(NOTES, note()).status == 201
    until(lambda: stored(server, request_id), what="the record in MongoDB")
    after = [served.get(f"{DIAGNOSTICS}/errors?timeRange=1h", token).body for _ in range(10)]
    assert {(body["totalErrors"], body["scope"]) for body in after} == {(before + len(refused), "all")}
    assert len(served.get(f"{DIAGNOSTICS}/requests/{request_id}", token).body["errors"]) == 1
    until(
        lambda: {"connected", "disconnected", "reconnecting"} <= events(server), what="the connection events in MongoDB"
    )


@pytest.mark.parametrize("how", BREAKS)
def test_requests_that_discover_the_loss_answer_within_their_deadline(
    server: DatabaseServer, served: Served, how: str
) -> None:
    served.post(NOTES, note())
    BREAKS[how][0](server)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: timed(lambda: served.post(NOTES, note())), range(8)))
    assert {answer.status for answer, _ in answers} == {503}
    assert max(took for _, took in answers) < DEADLINE + 0.5


def test_a_start_without_a_database_is_no_crash(server: DatabaseServer, tmp_path: Path) -> None:
    server.kill()
    with Served(tmp_path / "early", f"{server.uri}early", wait_for_database=False) as served:
        assert served.get("/health/live").status == 200
        assert served.get("/health/startup").status == 503
        assert served.get("/health/ready").status == 503
        assert served.get("/health/db").status == 503
        answer = until(lambda: (found := served.get(NOTES)).status == 503 and found, limit=15, what="a refusal")
        assert answer.body["code"] == "DATABASE_UNAVAILABLE"
        server.start()
        until(lambda: served.get("/health/startup").status == 200, limit=5, what="/health/startup -> 200")
        health_becomes(served, 200, limit=5.0)


def test_a_killed_workers_errors_are_counted_and_found_all_the_same(server: DatabaseServer, served: Served) -> None:
    token = served.bearer()
    server.kill()
    health_becomes(served, 503, limit=2.5)
    answers = [served.post(NOTES, note()) for _ in range(20)]
    victims = served.worker_pids()

    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(served.worker_pids()) - set(victims)) == 2, what="two new workers")
    until(lambda: served.get("/health/live").status == 200, what="an answer")
    totals = until(
        lambda: {served.get(f"{DIAGNOSTICS}/errors?timeRange=1h", token).body["totalErrors"] for _ in range(6)},
        what="the totals",
    )
    assert totals == {20}
    for answer in answers:
        assert served.get(f"{DIAGNOSTICS}/requests/{answer.body['requestId']}", token).status == 200

    server.start()
    health_becomes(served, 200, limit=5.0)
    for answer in answers:
        until(lambda wanted=answer.body["requestId"]: stored(server, wanted), what="the record in MongoDB")
    assert served.get(f"{DIAGNOSTICS}/errors?timeRange=1h", token).body["totalErrors"] == 20


def test_requests_in_flight_are_finished_when_the_service_ends(server: DatabaseServer, served: Served) -> None:
    served.post(NOTES, note())
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(served.post, NOTES, note()) for _ in range(40)]
        until(lambda: any(one.done() for one in running), what="the first answer")
        begun = time.monotonic()
        code = served.stop()
        took = time.monotonic() - begun
        outcomes = [one.exception() or one.result().status for one in running]
    assert code == 0
    assert took < 15
    # Those that came too late were refused the connection; none was cut or answered with an error.
    statuses = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert set(statuses) == {201}, statuses
    assert all(isinstance(outcome, (int, ConnectionRefusedError, ConnectionResetError)) for outcome in outcomes)


def state(served: Served, token: dict[str, str]) -> str:
    return str(served.get(f"{DIAGNOSTICS}/database", token).body["connection"]["state"])


def line_of(served: Served, file: str, request_id: str) -> dict[str, Any]:
    return next((line for line in served.log_lines(file) if line["requestId"] == request_id), {})


def stored(server: DatabaseServer, request_id: str) -> bool:
    with server.client() as client:
        return client.outage.error_log.count_documents({"requestId": request_id}) == 1


def announced(served: Served) -> list[str]:
    return [line["state"] for line in served.stdout_lines() if line.get("event") == "connection"]


def events(server: DatabaseServer) -> set[str]:
    with server.client() as client:
        return {event["event"] for event in client.outage.connection_events.find()}
