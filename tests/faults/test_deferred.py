"""Writes while the database is away: kept, told of alike by both workers, and applied exactly once, whoever is killed."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.processes import waited_for_cpu
from tests.support.served import INHERITED, REPOSITORY, Answer, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

NOTES = "/api/v1/notes"
OPERATIONS = "/api/v1/operations"
DEFERRED = "/api/v1/diagnostics/deferred"


@pytest.fixture
def served(server: DatabaseServer, tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "served", f"{server.uri}deferred", application="tests.hosts.probe:app") as application:
        yield application


def note(slug: str | None = None, notebook: str = "n") -> dict[str, Any]:
    return {"slug": slug or f"note-{secrets.token_hex(6)}", "title": "A", "body": "", "notebook": notebook}


def lose(server: DatabaseServer, served: Served) -> None:
    server.kill()
    until(lambda: served.all_say(503), what="/health/db -> 503 from both")


def kept(answers: list[Answer]) -> list[Answer]:
    assert {answer.status for answer in answers} == {202}
    return answers


def states(served: Served, answer: Answer) -> set[str]:
    """What both workers say of an accepted write."""
    found = [served.get(answer.body["statusUrl"]) for _ in range(8)]
    assert {one.status for one in found} == {200}
    return {one.body["status"] for one in found}


def test_notes_written_in_an_outage_are_there_once_after_it(server: DatabaseServer, served: Served) -> None:
    taken = note()
    until(lambda: served.all_say(200), what="/health/db -> 200 from both")
    assert served.post(NOTES, taken).status == 201
    lose(server, served)
    begun = time.monotonic()
    answers = kept([served.post(NOTES, note()) for _ in range(10)])
    assert time.monotonic() - begun < 5
    first = answers[0]
    assert first.headers["Location"] == first.body["statusUrl"] == f"{OPERATIONS}/{first.body['operationId']}"
    assert (first.body["deferred"], first.body["durability"]) == (True, "durable")
    clash = served.post(NOTES, taken)
    assert {state for answer in [*answers, clash] for state in states(served, answer)} == {"waiting"}
    token = served.bearer()
    report = [served.get(DEFERRED, token).body for _ in range(6)]
    assert {(body["waiting"], body["dead"]) for body in report} == {(11, 0)}
    assert all(entry["requestId"] for entry in report[0]["entries"])

    victims = served.worker_pids()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(served.worker_pids()) - set(victims)) == 2, what="two new workers")
    until(lambda: served.get("/health/live").status == 200, what="an answer")
    assert {state for answer in answers for state in states(served, answer)} == {"waiting"}

    server.start()
    until(lambda: states(served, answers[-1]) == {"applied"}, what="the last one applied")
    until(lambda: states(served, clash) == {"failed"}, what="the clash told")
    assert {state for answer in answers for state in states(served, answer)} == {"applied"}
    assert served.get(clash.body["statusUrl"]).body["reason"] == "DUPLICATE_KEY"
    with server.client() as client:
        ids = sorted(str(found["_id"]) for found in client.deferred.notes.find())
        assert len(ids) == 11
        assert set(ids) >= {answer.body["operationId"] for answer in answers}
        assert client.deferred.notebooks.find_one({"_id": "n"})["notes"] == 11
    until(lambda: "DUPLICATE_KEY" in served.get(DEFERRED, token).body["reasons"], what="the dead letter in the report")
    shown = served.get(f"{DEFERRED}/{clash.body['operationId']}", token)
    assert shown.body["arguments"]["slug"] == "?str"
    assert taken["slug"] not in str(shown.body)

    # The slug becomes free, an admin tries it again, and it is applied.
    with server.client() as client:
        client.deferred.notes.delete_one({"slug": taken["slug"]})
    assert served.post(f"{DEFERRED}/{clash.body['operationId']}/replay", {}, token).status == 202
    until(lambda: states(served, clash) == {"applied"}, what="the replayed one applied")


def test_a_thousand_wait_on_two_workers_and_are_applied_within_five_seconds(
    server: DatabaseServer, served: Served
) -> None:
    lose(server, served)
    with ThreadPoolExecutor(8) as pool:
        answers = kept(list(pool.map(lambda n: served.post("/probe/deferrable", {"number": n}), range(1000))))
    server.start()
    until(lambda: served.all_say(200), every=0.02, what="the return")

    def waited() -> float:
        return max(map(waited_for_cpu, (server.pid, *served.worker_pids())))

    begun, before = time.monotonic(), waited()
    token = served.bearer()
    until(lambda: served.get(DEFERRED, token).body["waiting"] == 0, what="all applied")
    took, not_ours = time.monotonic() - begun, waited() - before
    with server.client() as client:
        assert sorted(order["number"] for order in client.deferred.orders.find()) == list(range(1000))
        assert client.deferred.counters.find_one()["n"] == 1000
    assert {state for answer in answers[::100] for state in states(served, answer)} == {"applied"}
    assert took - not_ours < 5.0, f"{took:.1f} s, of which the machine gave them no CPU for {not_ours:.1f} s"


def test_workers_that_are_killed_while_they_drain_apply_nothing_twice(server: DatabaseServer, served: Served) -> None:
    lose(server, served)
    with ThreadPoolExecutor(8) as pool:
        kept(list(pool.map(lambda n: served.post("/probe/deferrable", {"number": n}), range(400))))
    server.start()
    with server.client() as client:
        for reached in (40, 160):
            until(
                lambda wanted=reached: client.deferred.orders.count_documents({}) >= wanted, every=0.01, what="a part"
            )
            for pid in served.worker_pids():
                os.kill(pid, signal.SIGKILL)
        until(lambda: (client.deferred.counters.find_one() or {"n": 0})["n"] >= 400, limit=20, what="all of them")
        assert sorted(order["number"] for order in client.deferred.orders.find()) == list(range(400))
        assert client.deferred.counters.find_one()["n"] == 400


def test_another_instance_does_not_deny_what_it_cannot_know(
    server: DatabaseServer, served: Served, tmp_path: Path
) -> None:
    with Served(tmp_path / "other", f"{server.uri}deferred") as other:
        lose(server, served)
        until(lambda: other.get("/health/db").status == 503, what="the other's loss")
        (answer,) = kept([served.post(NOTES, note())])
        told = other.get(answer.body["statusUrl"])
        assert (told.status, told.body["code"]) == (503, "DATABASE_UNAVAILABLE")
        assert told.headers["Retry-After"]
        server.start()

        def told_again() -> dict[str, Any] | None:
            found = other.get(answer.body["statusUrl"])
            return found.body if found.status == 200 else None

        assert until(told_again, what="the other instance's answer")["status"] == "applied"


def command(served: Served, *arguments: str) -> Any:
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | served.variables
    line = [sys.executable, "-m", "flask", "--app", "wsgi", "prodfix", "deferred", *arguments, "--json"]
    done = subprocess.run(
        line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return orjson.loads(done.stdout)


def test_an_admin_works_from_the_command_line_with_and_without_workers(server: DatabaseServer, tmp_path: Path) -> None:
    served = Served(tmp_path / "served", f"{server.uri}deferred")
    with served:
        lose(server, served)
        first, second, third = (
            answer.body["operationId"] for answer in kept([served.post(NOTES, note()) for _ in "abc"])
        )
        listed = command(served, "list")
        assert (listed["waiting"], {entry["operationId"] for entry in listed["entries"]}) == (3, {first, second, third})
        assert command(served, "show", first)["arguments"]["title"] == "?str"
        assert command(served, "discard", first, "--yes")["result"] == "discarded"
        assert served.get(f"{OPERATIONS}/{first}").body["reason"] == "DISCARDED"
    assert command(served, "list", "--state", "waiting")["waiting"] == 2, "nobody runs, and it is still told"
    server.start()
    assert command(served, "drain") == {"before": 2, "waiting": 0, "dead": 0}
    with server.client() as client:
        assert {str(found["_id"]) for found in client.deferred.notes.find()} == {second, third}
