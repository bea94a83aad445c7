"""What an application keeps of its promises when the database, a worker or the time runs out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.served import Served
from tests.servers import DatabaseServer
from tests.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path / "data") as server:
        yield server


def stored(server: DatabaseServer) -> tuple[list[int], int]:
    """The numbers of the orders, and what their counter says."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(server.uri, serverSelectionTimeoutMS=5000) as client:
        numbers = sorted(order["number"] for order in client.recovery.orders.find())
        return numbers, (client.recovery.counters.find_one() or {"n": 0})["n"]


def test_deferred_writes_survive_the_outage_and_their_workers_and_are_applied_once(
    server: DatabaseServer, tmp_path: Path
) -> None:
    with Served(tmp_path / "served", f"{server.uri}recovery", application="tests.hosts.probe:app") as served:
        assert served.post("/probe/deferrable", {"number": 0}).status == 201
        server.kill()
        until(lambda: served.get("/health/db").status == 503, what="/health/db -> 503")
        answers = [served.post("/probe/deferrable", {"number": number}) for number in range(1, 21)]
        assert {answer.status for answer in answers} <= {202, 503}
        kept = [number for number, answer in enumerate(answers, 1) if answer.status == 202]
        assert len(kept) >= 15
        assert {answer.body["durability"] for answer in answers if answer.status == 202} == {"durable"}

        for pid in served.worker_pids():
            os.kill(pid, signal.SIGKILL)
        server.start()
        until(lambda: len(stored(server)[0]) >= 1 + len(kept), limit=15, what="all that was kept, in MongoDB")
        assert stored(server) == ([0, *kept], 1 + len(kept))


def test_a_view_that_waits_is_ended_by_the_requests_deadline(server: DatabaseServer, tmp_path: Path) -> None:
    variables = {"REQUEST_DEADLINE_MS": "700"}
    with Served(
        tmp_path / "served", f"{server.uri}recovery", application="tests.hosts.probe:app", **variables
    ) as served:
        begun = time.monotonic()
        late = served.get("/probe/sleep?seconds=20")
        took = time.monotonic() - begun
        assert (late.status, late.body["code"]) == (504, "DEADLINE_EXCEEDED")
        assert 0.6 < took < 3
        mobile = {"User-Agent": "okhttp/4.12.0"}
        assert served.get("/probe/sleep?seconds=1", mobile).status == 200, "a mobile device has twice the time"
        assert served.get("/probe/sleep?seconds=1").status == 504, "the control"
