"""Deadlines, retries and the breaker as served: through a proxy that swallows, cuts and loses answers."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.served import Answer, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

PROBE = "tests.hosts.probe:app"
DATABASE = "deadlines"


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer() as server:
        yield server


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def serve(proxy: Proxy, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(**variables: str) -> Served:
        given = {"workers": 1, "application": PROBE, **variables}
        made.append(Served(tmp_path / "served", proxy.database_uri(DATABASE), **given).start())
        return made[-1]

    yield make
    for served in made:
        served.stop()


def timed(ask: Callable[[], Answer]) -> tuple[Answer, float]:
    begun = time.monotonic()
    return ask(), time.monotonic() - begun


def worker(served: Served) -> dict[str, Any]:
    """How the one worker is, as it says itself."""
    report = served.get("/api/v1/diagnostics/database", served.bearer()).body
    (found,) = report["workers"]
    return dict(found)


def pool(served: Served) -> dict[str, Any]:
    """Of the one worker, now: what all workers tell of each other is up to a second old."""
    return dict(served.get("/health/live?verbose", served.bearer()).body["worker"]["connection"])


def test_a_hundred_requests_that_are_cut_leave_the_pool_right(
    server: DatabaseServer, serve: Callable[..., Served]
) -> None:
    served = serve(REQUEST_DEADLINE_MS="600", BREAKER_FAILURES="0", HEALTH_MAX_AGE_MS="60000")
    with server.client() as client:
        data = {"failCommands": ["distinct"], "blockConnection": True, "blockTimeMS": 1500}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        with ThreadPoolExecutor(25) as many:
            answers = list(many.map(lambda _: timed(lambda: served.get("/probe/distinct")), range(100)))
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    odd = [answer.body for answer, _ in answers if answer.status not in (503, 504)]
    assert not odd, [served.looked_up(body["requestId"]) for body in odd]
    assert sum(answer.status == 504 for answer, _ in answers) >= 10
    assert all({"code", "requestId", "retryable"} <= set(answer.body) for answer, _ in answers)
    assert max(took for _, took in answers) < 10.0, "none hangs, however busy the machine is"
    until(lambda: pool(served)["checkedOut"] == 0, what="a pool of which nothing is in use")
    assert (pool(served)["checkedOut"], pool(served)["waiting"]) == (0, 0)
    assert {served.get("/probe/distinct").status for _ in range(20)} == {200}


def test_a_body_that_is_never_sent_is_given_up_with_the_requests_deadline(serve: Callable[..., Served]) -> None:
    served = serve(REQUEST_DEADLINE_MS="2000")
    half = (
        b"POST /probe/stray?id=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    begun = time.monotonic()
    links = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(20)]
    for link in links:
        link.sendall(half)
    assert timed(lambda: served.get("/probe/idle"))[1] < 1.5, "meanwhile others are answered"
    for link in links:
        answer = http.client.HTTPResponse(link)
        with link, answer:
            answer.begin()
            assert (answer.status, json.loads(answer.read())["code"]) == (408, "REQUEST_TIMEOUT")
    assert 1.9 < time.monotonic() - begun < 5


def test_a_client_and_a_view_may_have_deadlines_of_their_own(serve: Callable[..., Served]) -> None:
    served = serve(REQUEST_DEADLINE_MS="1500")
    answer, took = timed(lambda: served.get("/probe/sleep?seconds=9", {"X-Request-Timeout-Ms": "200"}))
    assert (answer.status, answer.body["code"]) == (504, "DEADLINE_EXCEEDED")
    assert took < 1.4
    assert served.get("/probe/export?seconds=2").status == 200
    assert served.get("/probe/sleep?seconds=2").status == 504, "the control"
    request_id = answer.body["requestId"]
    assert served.looked_up(request_id), "what runs after the deadline does not spend from it"


def test_a_greenlet_of_a_request_spends_from_its_deadline_and_one_on_its_own_from_none(
    server: DatabaseServer, serve: Callable[..., Served]
) -> None:
    served = serve(REQUEST_DEADLINE_MS="2000", BREAKER_FAILURES="0")
    with server.client() as client:
        data = {"failCommands": ["distinct"], "blockConnection": True, "blockTimeMS": 3000}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        answer = served.get("/probe/spawned?seconds=1.8")
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    ours, other = answer.body
    assert (ours["request"], ours["path"]) == (answer.headers["X-Request-ID"], "in")
    assert ours["ended"] in ("NetworkTimeout", "ExecutionTimeout"), "the database's share of it is 1.5 s"
    assert other is None, "the control: it still waits when the request is over"


def test_while_packets_are_dropped_what_needs_no_database_answers_and_the_rest_fails_fast(
    proxy: Proxy, serve: Callable[..., Served]
) -> None:
    served = serve(REQUEST_DEADLINE_MS="3000")
    assert served.get("/probe/find?status=new").status == 200
    before = proxy.work
    proxy.set("blackhole")
    with ThreadPoolExecutor(12) as many:
        discovering = [many.submit(timed, lambda: served.get("/probe/find?status=new")) for _ in range(8)]
        idle = [timed(lambda: served.get("/probe/idle")) for _ in range(40)]
        found = [one.result() for one in discovering]
    assert {answer.status for answer, _ in found} <= {503, 504}
    assert max(took for _, took in found) < 3.5
    until(lambda: served.get("/health/db").status == 503, limit=4, what="/health/db -> 503")
    later = [timed(lambda: served.get("/probe/find?status=new")) for _ in range(40)]
    assert {(answer.status, answer.body["code"]) for answer, _ in later} == {(503, "DATABASE_UNAVAILABLE")}
    assert all(answer.headers["Retry-After"] for answer, _ in later)
    # Generous: the machine is shared. The benchmark has the figures.
    assert sorted(took for _, took in idle)[len(idle) // 2] < 0.5
    assert sorted(took for _, took in later)[len(later) // 2] < 0.5
    assert proxy.work - before <= 1.1 * (len(found) + len(later))

    breaker = until(lambda: (seen := worker(served)["breaker"])["refused"] >= 40 and seen, what="what the breaker says")
    assert (breaker["state"], breaker["cause"]) == ("open", "pings")
    proxy.set("pass")
    until(lambda: served.get("/probe/find?status=new").status == 200, limit=5, what="a good answer")
    until(lambda: worker(served)["breaker"]["state"] == "closed", what="a closed breaker")
    told = [line["after"] for line in served.stdout_lines() if line.get("event") == "breaker"]
    assert told == ["open", "closed"]


def test_operations_that_fail_while_pings_are_good_open_the_breaker_and_one_probe_closes_it(
    server: DatabaseServer, serve: Callable[..., Served]
) -> None:
    served = serve(BREAKER_FAILURES="5")
    with server.client() as client:
        data = {"failCommands": ["distinct"], "errorCode": 262}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        statuses = [served.get("/probe/distinct").status for _ in range(8)]
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert statuses == [504] * 5 + [503] * 3
    assert served.get("/health/db").status == 200, "the server answers pings"
    refused = served.get("/probe/find?status=new")
    assert (refused.status, refused.body["code"]) == (503, "DATABASE_UNAVAILABLE"), "it is one breaker for all"
    assert refused.headers["Retry-After"]
    until(lambda: served.get("/probe/find?status=new").status == 200, limit=5, what="a probe that closes it")

    def told() -> list[str]:
        return [line["after"] for line in served.stdout_lines() if line.get("event") == "breaker"]

    until(lambda: told()[-1:] == ["closed"], limit=5, what="the line of the breaker that closes")
    assert told()[0] == "open"


def test_a_database_that_is_slow_to_answer_pings_is_not_refused(
    server: DatabaseServer, serve: Callable[..., Served]
) -> None:
    served = serve()
    with server.client() as client:
        data = {"failCommands": ["ping"], "blockConnection": True, "blockTimeMS": 1300, "appName": "prodfix-watch"}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        until(lambda: served.get("/health/db").status == 503, limit=5, what="/health/db -> 503")
        until(lambda: served.get("/probe/find?status=new").status == 200, limit=8, what="an answer all the same")
        assert {served.get("/probe/find?status=new").status for _ in range(40)} == {200}
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    until(lambda: served.get("/health/db").status == 200, limit=5, what="/health/db -> 200")


def count(server: DatabaseServer, counter: str) -> int:
    with server.client() as client:
        return int((client[DATABASE].counters.find_one({"_id": counter}) or {"n": 0})["n"])


def test_an_answer_that_is_lost_after_the_write_loses_and_doubles_nothing(
    server: DatabaseServer, proxy: Proxy, serve: Callable[..., Served]
) -> None:
    served = serve(RETRY_BASE_DELAY_MS="20", BREAKER_FAILURES="0", RETRY_BUDGET="1")
    with server.client() as client:
        client[DATABASE].counters.insert_one({"_id": "plain", "n": 0})
    assert served.post("/probe/increment?how=write&number=-1", {}).status == 200
    times = 3
    for number in range(times):
        for kind, (how, command) in enumerate((("write", "insert"), ("write", "update"), ("plain", "update"))):
            proxy.lose_reply_of(command, 1)
            answer = served.post(f"/probe/increment?how={how}&number={number * 10 + kind}", {})
            assert answer.status == 200, answer.body
    assert len(proxy.lost) == 3 * times
    until(lambda: count(server, "orders") >= 1 + 2 * times, what="all that was accepted")
    with server.client() as client:
        assert client[DATABASE].orders.count_documents({}) == 1 + 2 * times
    assert count(server, "orders") == 1 + 2 * times, "each once"
    assert count(server, "plain") > times, "the control: a plain retry counts twice"


def test_a_deadline_that_passes_after_a_write_tells_of_it(
    server: DatabaseServer, proxy: Proxy, serve: Callable[..., Served]
) -> None:
    served = serve(ENABLE_OPERATION_QUEUE="false")
    brief = {"X-Request-Timeout-Ms": "700"}
    assert served.post("/probe/each/control", {"name": "before"}).status == 201
    said = {}
    for when in ("before", "after"):
        answer = served.post("/probe/each/control", {"name": when, when: 3}, brief)
        said[when] = (answer.status, answer.body.get("outcome"), answer.body["retryable"])
    assert said == {"before": (504, None, True), "after": (504, "applied", False)}
    proxy.set("half_open")
    cut = served.post("/probe/each/control", {"name": "cut"}, brief)
    proxy.set("pass")
    assert (cut.status // 100, cut.body["outcome"], cut.body["retryable"]) == (5, "unknown", False)
    with server.client() as client:
        names = sorted(document["name"] for document in client[DATABASE].control.find())
    assert names in (["after", "before"], ["after", "before", "cut"]), "the second: what was cut was applied"


def test_a_retry_that_helps_is_seen_and_recovery_that_is_switched_off_makes_none(
    proxy: Proxy, serve: Callable[..., Served], server: DatabaseServer
) -> None:
    served = serve(RETRY_BASE_DELAY_MS="20", ENABLE_ERROR_RECOVERY="false", ENABLE_OPERATION_QUEUE="false")
    assert worker(served)["recovery"]["enabled"] is False
    with server.client() as client:
        data = {"failCommands": ["insert"], "closeConnection": True}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        before = proxy.sent("insert", "orders")
        refused = served.post("/probe/deferrable", {"number": 1})
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert (refused.status, refused.body["outcome"]) == (503, "unknown"), "and not 202"
    assert proxy.sent("insert", "orders") - before <= 2, "the driver's own retry alone"
    assert not [line for line in served.stdout_lines() if line.get("event") == "retry"]


def test_connections_that_are_refused_are_told_as_such(proxy: Proxy, serve: Callable[..., Served]) -> None:
    served = serve(REQUEST_DEADLINE_MS="3000")
    proxy.set("refuse")
    until(lambda: served.get("/health/db").status == 503, limit=4, what="/health/db -> 503")
    answer = served.get("/probe/find?status=new")
    assert (answer.status, answer.body["code"]) == (503, "DATABASE_UNAVAILABLE")
    proxy.set("pass")
    until(lambda: served.get("/probe/find?status=new").status == http.client.OK, limit=5, what="a good answer")
