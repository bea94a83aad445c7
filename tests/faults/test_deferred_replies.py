"""Answers that are lost, and locks that stay, while what waited is applied: no status lies, and nobody waits for long."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_deferred import DEFERRED, NOTES, kept, note
from tests.support.proxy import Proxy
from tests.support.served import Answer, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

SOON = 10.0  # seconds after the last fault in which all is applied


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path / "data", txn_lifetime=60.0) as server:
        yield server


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def served(proxy: Proxy, tmp_path: Path) -> Iterator[Served]:
    uri = proxy.database_uri("deferred")
    with Served(tmp_path / "served", uri, application="tests.hosts.probe:app") as application:
        yield application


def written_in_an_outage(served: Served, proxy: Proxy, path: str, bodies: list[Any]) -> list[Answer]:
    """What both workers have taken while the database was away; it is back afterwards."""
    proxy.set("refuse")
    until(lambda: served.all_say(503), what="the loss")
    with ThreadPoolExecutor(8) as pool:
        answers = kept(list(pool.map(lambda body: served.post(path, body), bodies)))
    proxy.set("pass")
    return answers


def told(served: Served, answers: list[Answer]) -> Counter[tuple[str, str | None]]:
    """What is said of each, and why."""
    with closing(served.connection()) as connection:
        found = [served.request("GET", answer.body["statusUrl"], connection=connection) for answer in answers]
    return Counter((one.body["status"], one.body["reason"]) for one in found)


def empty(served: Served) -> bool:
    return bool(served.get(DEFERRED, served.bearer()).body["waiting"] == 0)


def test_four_hundred_notes_in_one_notebook_are_told_applied_though_answers_are_lost(
    server: DatabaseServer, served: Served, proxy: Proxy
) -> None:
    answers = written_in_an_outage(served, proxy, NOTES, [note() for _ in range(400)])
    proxy.lose_reply_of("update", 3)
    until(lambda: empty(served), limit=60, what="all applied")
    assert proxy.lost == ["update"] * 3
    assert told(served, answers) == {("applied", None): 400}
    with server.client() as client:
        assert client.deferred.notes.count_documents({}) == 400
        assert client.deferred.notebooks.find_one({"_id": "n"})["notes"] == 400


def test_resets_while_a_counter_drains_leave_nothing_failed_and_nothing_half_applied(
    server: DatabaseServer, served: Served, proxy: Proxy
) -> None:
    answers = written_in_an_outage(served, proxy, "/probe/deferrable", [{"number": n} for n in range(400)])
    chance = random.Random(5)
    for _ in range(15):
        time.sleep(chance.uniform(0.05, 0.3))
        if chance.random() < 0.5:
            proxy.set("pass")  # all connections are reset
        else:
            proxy.lose_reply_of(chance.choice(["insert", "update"]), chance.randint(1, 2))
    last = time.monotonic()
    until(lambda: empty(served), limit=60, what="all applied")
    assert time.monotonic() - last < SOON
    assert told(served, answers) == {("applied", None): 400}
    with server.client() as client:
        assert sorted(order["number"] for order in client.deferred.orders.find()) == list(range(400))
        assert client.deferred.counters.find_one({"_id": "orders"})["n"] == 400


def test_a_lock_that_stays_at_the_server_holds_back_its_own_document_only_and_is_told(
    server: DatabaseServer, served: Served, proxy: Proxy
) -> None:
    for notebook in ("free", "locked"):
        assert served.post(NOTES, note(notebook=notebook)).status == 201
    bodies = [note(notebook="locked" if number % 2 else "free") for number in range(60)]
    with server.client() as client, client.start_session() as session, session.start_transaction():
        # As a transaction whose answer was lost leaves it, for a minute.
        client.deferred.notebooks.update_one({"_id": "locked"}, {"$set": {"held": 1}}, session=session)
        answers = written_in_an_outage(served, proxy, NOTES, bodies)
        free, held = answers[::2], answers[1::2]
        begun = time.monotonic()
        until(lambda: told(served, free) == {("applied", None): 30}, limit=30, what="what is free")
        assert time.monotonic() - begun < SOON
        waiting = [served.get(answer.body["statusUrl"]).body for answer in held]
        assert {one["status"] for one in waiting} == {"waiting"}
        assert {one["reason"] for one in waiting} <= {"DATABASE_TIMEOUT", "DOCUMENT_BUSY", "QUEUED"}
        assert "DATABASE_TIMEOUT" in {one["reason"] for one in waiting}
        assert all(one["createdAt"] <= one["waitingSince"] for one in waiting)
        session.abort_transaction()
    freed = time.monotonic()
    until(lambda: empty(served), limit=60, what="all applied")
    assert time.monotonic() - freed < SOON
    assert told(served, answers) == {("applied", None): 60}
    with server.client() as client:
        assert client.deferred.notebooks.find_one({"_id": "locked"})["notes"] == 31
