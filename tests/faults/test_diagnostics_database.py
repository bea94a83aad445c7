"""What is ours in a database of its own, as served: one of the two is killed, then the other one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from prodfix.statistics.windows import READ_LIMIT
from tests.support.served import Served
from tests.support.servers import CLIENT_LIMITS, DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

NOTES = "/api/v1/notes"
DIAGNOSTICS = "/api/v1/diagnostics"


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path / "kept") as server:
        yield server


@pytest.fixture
def served(server: DatabaseServer, other_server: DatabaseServer, tmp_path: Path) -> Iterator[Served]:
    kept = f"{other_server.uri}kept"
    variables = {"ENABLE_OPERATION_QUEUE": "false", "DIAGNOSTICS_URI": kept}
    with Served(tmp_path / "served", f"{server.uri}notes", **variables) as application:
        yield application


def everywhere(served: Served, path: str, token: dict[str, str], *, limit: float = 2.0) -> list[Any]:
    """What both workers answer, each within ``limit`` seconds, as soon as all of six do: what waits for a database does so
    each time, and what a busy machine adds is over some time."""

    def asked() -> list[Any] | None:
        answers = []
        for _ in range(6):
            begun = time.monotonic()
            answers.append(served.get(path, headers=token))
            if time.monotonic() - begun >= limit:
                return None
        assert {answer.status for answer in answers} == {200}
        return [answer.body for answer in answers]

    found = until(asked, what=f"six answers to {path}, each within {limit:.0f} s")
    assert found is not None
    return found


def scopes(served: Served, token: dict[str, str], *, limit: float = 2.0) -> set[str]:
    return {body["scope"] for body in everywhere(served, f"{DIAGNOSTICS}/errors?timeRange=1h", token, limit=limit)}


def note() -> dict[str, str]:
    return {"slug": secrets.token_hex(6), "title": "A title", "body": "Some text", "notebook": secrets.token_hex(6)}


def test_each_of_the_two_databases_is_killed_and_the_other_one_goes_on(
    server: DatabaseServer, other_server: DatabaseServer, served: Served
) -> None:
    token = served.bearer()
    assert served.post(NOTES, note()).status == 201
    assert scopes(served, token) == {"all"}
    client: MongoClient[Any]
    with MongoClient(f"{other_server.uri}kept", **CLIENT_LIMITS) as client:
        records = client.get_default_database().error_log

        # The application's database.
        server.kill()
        until(lambda: served.all_say(503), what="503 from both workers")
        failed = served.get(NOTES)
        assert failed.status == 503
        request = failed.body["requestId"]
        assert scopes(served, token) == {"all"}
        until(lambda: records.find_one({"requestId": request}), limit=20, what="its record is stored")
        for body in everywhere(served, f"{DIAGNOSTICS}/requests/{request}", token):
            assert body["errors"][0]["code"] == "DATABASE_UNAVAILABLE"
            assert "errors" not in body["missing"]
        server.start()
        until(lambda: served.all_say(200), what="200 from both workers")

    # That of the diagnostics.
    other_server.kill()
    # Whoever asks in the moment of the loss waits for READ_LIMIT; afterwards it is known.
    until(
        lambda: scopes(served, token, limit=READ_LIMIT + 1) == {"instance"},
        what="they say that they are of this instance",
    )
    assert scopes(served, token) == {"instance"}
    assert served.all_say(200)
    assert served.post(NOTES, note()).status == 201
    assert served.get(NOTES).status == 200
    assert len(everywhere(served, f"{DIAGNOSTICS}/requests/{request}", token)) == 6, "a journal has it"
    until(
        lambda: all(
            body["storage"]["lostSince"] and body["connection"]["state"] == "connected"
            for body in everywhere(served, f"{DIAGNOSTICS}/database", token)
        ),
        what="it is said which of the two is away",
    )
    other_server.start()
    until(lambda: scopes(served, token) == {"all"}, limit=40, what="the answers are of all instances again")
    until(
        lambda: not any(body["storage"]["lostSince"] for body in everywhere(served, f"{DIAGNOSTICS}/database", token)),
        limit=60,
        what="what waits is stored again",
    )
