"""Copies of one request at two instances: one runs, whatever arrives together and whatever is killed."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Answer, Served, whole
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

ROUNDS = 20
REPLAYED = "Idempotency-Replayed"


class Instances:
    """Two instances of the served application, with one worker each, on one database."""

    def __init__(self, server: DatabaseServer, served: list[Served]) -> None:
        self.server, self.served = server, served

    def post(self, path: str, body: Any, key: str | None, *, at: int = 0) -> Answer:
        return self.served[at].post(path, body, {"Idempotency-Key": key} if key else {})

    def together(self, path: str, body: Any, key: str | None) -> list[Answer]:
        """The same request to both over connections that stand, at the same moment."""
        start = threading.Barrier(len(self.served))
        headers = {"Idempotency-Key": key} if key else {}

        def send(served: Served) -> Answer:
            with closing(served.connection()) as connection:
                connection.connect()
                start.wait()
                return served.request("POST", path, json=body, headers=headers, connection=connection)

        with ThreadPoolExecutor(len(self.served)) as pool:
            return list(pool.map(send, self.served))

    def stored(self, collection: str, name: str) -> int:
        with self.server.client() as client:
            return client.idempotency[collection].count_documents({"name": name})


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    folder = tmp_path_factory.mktemp("idempotency")
    probe = {"application": "tests.hosts.probe:app", "REQUEST_DEADLINE_MS": "3000"}
    with DatabaseServer(folder / "data") as server:
        uri = f"{server.uri}idempotency"
        first, second = (Served(folder / name, uri, workers=1, **probe) for name in ("first", "second"))  # type: ignore[arg-type]
        with first, second:
            yield Instances(server, [first, second])


@pytest.fixture(autouse=True)
def well(instances: Instances) -> None:
    whole(instances.server, *instances.served)


def a_key() -> str:
    return secrets.token_hex(8)


def test_two_copies_at_the_same_moment_run_once(instances: Instances) -> None:
    name, refused = secrets.token_hex(4), 0
    for _ in range(ROUNDS):
        answers = instances.together("/probe/once/bare", {"name": name}, a_key())
        ran = [answer for answer in answers if answer.status == 201 and REPLAYED not in answer.headers]
        copies = [answer for answer in answers if answer not in ran]
        assert len(ran) == len(copies) == 1
        if copies[0].status == 201:
            assert copies[0].body == ran[0].body
        else:
            refused += 1
            assert (copies[0].status, copies[0].body["code"], copies[0].body["retryable"]) == (409, "CONFLICT", True)
            assert int(copies[0].headers["Retry-After"]) > 0
    assert instances.stored("bare", name) == ROUNDS
    assert refused > 0, "the copies have never met"

    for path, key in (("/probe/each/control", a_key()), ("/probe/once/bare", None)):
        control = secrets.token_hex(4)
        assert [answer.status for answer in instances.together(path, {"name": control}, key)] == [201, 201]
        assert instances.stored(path.rpartition("/")[2], control) == 2, "the control runs twice"


def test_the_example_plug_in_answers_a_copy_with_the_note_and_not_with_its_duplicate(instances: Instances) -> None:
    note = {"slug": f"note-{secrets.token_hex(6)}", "title": "A title", "body": "Some text", "notebook": "inbox"}
    key, path = a_key(), "/api/v1/notes"
    first, copy = instances.post(path, note, key), instances.post(path, note, key, at=1)
    assert (first.status, copy.status, copy.body, copy.headers[REPLAYED]) == (201, 201, first.body, "true")
    assert copy.headers["Location"] == first.headers["Location"] == f"{path}/{first.body['id']}"
    other = instances.post(path, note | {"title": "Another"}, key, at=1)
    assert (other.status, other.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert instances.post(path, note, None).body["code"] == "DUPLICATE_KEY", "the control"


def test_a_killed_workers_requests_run_again_once_its_claims_are_over(instances: Instances) -> None:
    names = {kind: secrets.token_hex(4) for kind in ("early", "guarded", "bare")}
    keys = {kind: a_key() for kind in names}
    # "early" is killed before its write; the others after it, and before they answer.
    waits = {"early": {"before": 2}, "guarded": {"after": 2}, "bare": {"after": 2}}
    paths = {"early": "/probe/once/bare", "guarded": "/probe/once/guarded", "bare": "/probe/once/bare"}

    def send(kind: str, at: int) -> int | None:
        try:
            body = {"name": names[kind], **waits[kind]}
            return instances.post(paths[kind], body, keys[kind], at=at).status
        except OSError:
            return None

    def all_run() -> bool:
        with instances.server.client() as client:
            claims = client.idempotency.idempotency_keys.count_documents({"answer": {"$exists": False}})
        return claims == 3 and all(instances.stored(kind, names[kind]) for kind in ("guarded", "bare"))

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(send, kind, 0) for kind in names]
        until(all_run, limit=2, every=0.02, what="three claims and two writes")
        os.kill(instances.served[0].worker_pids()[0], signal.SIGKILL)
        assert [one.result() for one in running] == [None] * 3
    assert instances.stored("bare", names["early"]) == 0
    assert [send(kind, 1) for kind in names] == [409] * 3

    def runs(kind: str) -> bool:
        return until(lambda: send(kind, 1) == 201, limit=20, every=0.2, what=f"the copy of {kind}")

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(runs, names))
    assert instances.stored("bare", names["early"]) == 1
    assert instances.stored("guarded", names["guarded"]) == 1
    assert instances.stored("bare", names["bare"]) == 2, "the control: without the operation ID it runs twice"


def test_without_the_database_the_view_runs_and_copies_meet_where_they_write(instances: Instances) -> None:
    name, key = secrets.token_hex(4), a_key()
    body = {"name": name}
    instances.server.kill()
    for served in instances.served:
        until(lambda served=served: served.get("/health/db").status == 503, what="/health/db -> 503")  # type: ignore[misc]
    answers = [instances.post("/probe/once/guarded", body, key, at=at) for at in (0, 1, 0)]
    assert [answer.status for answer in answers] == [202] * 3
    assert len({answer.body["operation"] for answer in answers}) == 1
    control = [instances.post("/probe/once/guarded", {"name": f"{name}-control"}, None, at=at) for at in (0, 1)]
    assert len({answer.body["operation"] for answer in control}) == 2
    bare, keyless = instances.post("/probe/once/bare", body, a_key()), instances.post("/probe/once/bare", body, None)
    assert (bare.status, bare.body["code"], bare.body["outcome"]) == (503, "DATABASE_UNAVAILABLE", "not_applied")
    assert {**bare.body, **keyless.body} == keyless.body | {"debug": keyless.body["debug"]}

    instances.server.start()
    until(lambda: instances.stored("guarded", f"{name}-control") == 2, what="both writes of the control")
    until(lambda: instances.stored("guarded", name) == 1, what="the write")
    for at in (0, 1):
        until(lambda at=at: instances.served[at].get("/health/db").status == 200, what="/health/db -> 200")  # type: ignore[misc]
    late = instances.post("/probe/once/guarded", body, key, at=1)
    assert (late.status, late.body["operation"]) == (201, answers[0].body["operation"])
    assert instances.stored("guarded", name) == 1
    assert instances.post("/probe/once/guarded", body, key).headers[REPLAYED] == "true"


def test_a_copy_that_comes_long_after_the_outage_of_its_first_changes_nothing(
    server: DatabaseServer, tmp_path: Path
) -> None:
    """Nobody could remember the first one's key, and its document has forgotten it; the operation has not."""
    notes = "/api/v1/notes"

    def note(number: int) -> dict[str, Any]:
        return {"slug": f"note-{number}", "title": "A title", "body": "", "notebook": "busy"}

    with Served(tmp_path / "served", f"{server.uri}copies", APP_ENV="production") as served:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        assert served.post(notes, note(0)).status == 201
        server.kill()
        until(lambda: served.get("/health/db").status == 503, what="/health/db -> 503")
        first = until(lambda: (answer := served.post(notes, note(1), key)).status == 202 and answer, what="202")
        server.start()
        status = first.body["statusUrl"]
        until(lambda: served.get(status).body.get("status") == "applied", limit=20, what="the write applied")
        for number in range(2, 112):
            until(lambda number=number: served.post(notes, note(number)).status in (201, 409), what="201")
        copy = served.post(notes, note(1), key)
        assert (copy.status, copy.body["id"]) == (201, first.body["operationId"])
        with server.client() as client:
            found = client.copies.notes.count_documents({}), client.copies.notebooks.find_one({"_id": "busy"})
        assert found[0] == 112
        assert found[1] is not None
        assert found[1]["notes"] == 112
