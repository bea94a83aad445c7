"""What the database layer tells of an application's commands, as served and over both workers."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support.served import REPOSITORY, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

QUERIES = "/api/v1/diagnostics/queries"


@pytest.fixture(scope="module")
def database(database_server: str) -> str:
    return f"{database_server}probe_{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def probe(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Every command counts as slow here; the pool has two connections."""
    folder = tmp_path_factory.mktemp("probe")
    variables = {"SLOW_QUERY_THRESHOLD_MS": "0", "QUERY_LOG_VALUES": "orders.status", "DB_POOL_SIZE": "2"}
    with Served(folder, database, application="tests.hosts.probe:app", **variables) as served:
        yield served


def lines(served: Served, event: str, request_id: str | None = None) -> list[dict[str, Any]]:
    found = [line for line in served.log_lines("database") if line["event"] == event]
    return [line for line in found if request_id in (None, line["requestId"])]


def test_every_kind_of_command_is_counted_exactly_over_both_workers(probe: Served) -> None:
    token = probe.bearer()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: probe.get("/probe/find?status=counted"), range(30)))

    def kind() -> dict[str, Any] | None:
        found = probe.get(f"{QUERIES}?sort=count", token).body["queries"]
        return next((row for row in found if row["fields"] == ["status", "total"] and row["count"] == 30), None)

    row = until(kind, what="thirty finds in the statistics")
    assert row is not None
    assert (row["operation"], row["collection"], row["errors"]) == ("find", "orders", 0)
    assert 0 < row["p50Ms"] <= row["p95Ms"] <= row["p99Ms"]
    assert row["sampled"] == 30

    def same() -> bool:
        return len({str(probe.get(f"{QUERIES}?sort=count", token).body["queries"]) for _ in range(6)}) == 1

    until(same, what="the same answer six times: advice may come between two of them")


@pytest.mark.parametrize("query", ["sort=mean", "sort=", "sort=total&sort=p95"])
def test_an_unknown_order_is_refused(probe: Served, query: str) -> None:
    assert probe.get(f"{QUERIES}?{query}", probe.bearer()).body["code"] == "VALIDATION_FAILED"


def test_a_slow_query_gets_advice_once_without_its_values(probe: Served) -> None:
    for _ in range(6):
        probe.get("/probe/find?status=canary-status-4711")
    found = until(
        lambda: [line for line in lines(probe, "advice") if line["fields"] == ["status", "total"]], what="advice"
    )
    assert found[0]["plan"] == "COLLSCAN"
    assert found[0]["index"] == [["status", 1], ["created", -1], ["total", 1]]
    assert len(found) <= 2, "once for each worker and hour"
    assert "canary" not in str(found)


def test_a_value_is_shown_only_where_it_is_allowed(probe: Served) -> None:
    request_id = probe.get("/probe/find?status=shipped").headers["X-Request-ID"]
    (line,) = until(lambda: lines(probe, "query", request_id), what="the line of the query")
    assert line["database"]["query"]["filter"] == {"status": "shipped", "total": {"$gte": "?int"}}
    assert line["database"]["options"]["sort"] == {"created": -1}
    assert (line["driverAttempts"], line["outcome"], len(line["fingerprint"])) == (1, "slow", 16)


def test_two_hundred_requests_at_once_keep_their_commands_apart(probe: Served) -> None:
    def ask(number: int) -> str:
        name = f"request-{number:03d}-{secrets.token_hex(4)}"
        probe.get(f"/probe/find?status={name}", {"X-Request-ID": name})
        return name

    with ThreadPoolExecutor(20) as pool:
        names = set(pool.map(ask, range(200)))

    def logged() -> dict[str, str] | None:
        found = {
            line["requestId"]: line["database"]["query"]["filter"]["status"]
            for line in lines(probe, "query")
            if line["requestId"] in names
        }
        return found if len(found) == len(names) else None

    found = until(logged, what="a line for each request")
    assert found is not None
    assert all(request_id == status for request_id, status in found.items())


def test_a_query_for_each_item_of_a_list_is_hinted_at_once(probe: Served) -> None:
    request_id = probe.get("/probe/each?times=25").headers["X-Request-ID"]
    (line,) = until(lambda: lines(probe, "repeated-query", request_id), what="the hint")
    assert line["endpoint"] == "/probe/each"
    assert line["database"]["collection"] == "orders"
    few = probe.get("/probe/each?times=9").headers["X-Request-ID"]
    until(lambda: len(lines(probe, "query", few)) == 9, what="nine lines of queries")
    assert lines(probe, "repeated-query", few) == []


def test_a_failed_transaction_is_rolled_back_and_logged_with_its_operations(probe: Served, database: str) -> None:
    identity = secrets.token_hex(6)
    answer = probe.request("POST", f"/probe/stray?id={identity}&fail=1")
    assert answer.status == 500
    (line,) = until(lambda: lines(probe, "transaction", answer.body["requestId"]), what="the line of the transaction")
    assert (line["outcome"], line["attempts"]) == ("not_applied", 1)
    names = [(operation["operation"], operation["collection"]) for operation in line["operations"][0]]
    assert names[:2] == [("insert", "orders"), ("insert", "audit")]
    client: MongoClient[dict[str, Any]]
    with MongoClient(database) as client:
        assert client.get_default_database().orders.find_one({"_id": identity}) is None
        # The control: what was written without the session is exactly what the rollback does not reach.
        assert client.get_default_database().audit.find_one({"_id": identity}) is not None


def test_a_write_without_the_session_is_warned_of_with_its_place(probe: Served) -> None:
    answer = probe.request("POST", f"/probe/stray?id={secrets.token_hex(6)}")
    (line,) = until(lambda: lines(probe, "transaction", answer.headers["X-Request-ID"]), what="the warning")
    assert "without its session" in line["message"]
    assert (line["database"]["collection"], line["place"].split(":")[0]) == ("audit", "tests.hosts.probe")


@pytest.fixture
def slow_distinct(database_server: str) -> Iterator[None]:
    """Each `distinct` of the application's own client holds its connection for a while."""
    blocked = {"failCommands": ["distinct"], "blockConnection": True, "blockTimeMS": 1200, "appName": "prodfix"}
    client: MongoClient[dict[str, Any]]
    with MongoClient(database_server) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=blocked)
        yield
        client.admin.command("configureFailPoint", "failCommand", mode="off")


@pytest.mark.usefixtures("slow_distinct")
def test_an_exhausted_pool_is_no_dead_database_and_says_so(probe: Served) -> None:
    token = probe.bearer()

    def exhausted() -> dict[str, Any] | None:
        answers = [probe.get("/health/db").body for _ in range(4)]
        return next((body for body in answers if "poolExhausted" in body["database"]), None)

    with ThreadPoolExecutor(16) as pool:
        held = [pool.submit(probe.get, "/probe/distinct") for _ in range(16)]
        seen = until(exhausted, limit=3, what="an exhausted pool in the health answer")
        assert seen is not None
        assert seen["healthy"] is True
        report = probe.get("/api/v1/diagnostics/database", token).body
        answers = [one.result() for one in held]
    assert report["connection"]["state"] == "connected"
    busy = [answer for answer in answers if answer.status != 200]
    assert 0 < len(busy) < len(answers), (
        "who had its turn within DB_WAIT_QUEUE_TIMEOUT_MS is served, and no other waits on"
    )
    assert {(answer.status, answer.body["code"]) for answer in busy} == {(503, "DATABASE_BUSY")}, busy
    assert all(answer.headers["Retry-After"] for answer in busy)


def test_indexes_and_validators_are_shown_and_put_in_place(database_uri: str) -> None:
    def run(command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "MONGODB_URI": database_uri,
            "APP_ENV": "production",
            "JWT_SECRET_KEY": "k" * 40,
            "PATH": "/usr/bin",
        }
        flask = [sys.executable, "-m", "flask", "--app", "tests.hosts.probe", "prodfix", "indexes", command]
        return subprocess.run(
            flask, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    before = run("diff")
    assert before.returncode == 1, before.stderr
    assert "orders: create the collection" in before.stdout
    assert "notes: create index slug_1" in before.stdout
    assert run("apply").returncode == 0
    after = run("diff")
    assert (after.returncode, after.stdout.strip()) == (0, "the database is as the models say")
    client: MongoClient[dict[str, Any]]
    with MongoClient(database_uri) as client:
        orders = client.get_default_database().orders
        assert "number_1" in orders.index_information()
        with pytest.raises(Exception, match="validation"):
            orders.insert_one({"number": "seven", "status": "new"})
        orders.insert_one({"number": 7, "status": "new", "version": 1})
