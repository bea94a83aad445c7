"""Many writers of one document, and transactions that are cut: a hot document is no outage, and nobody's locks stay."""

from __future__ import annotations

import statistics
import time
from collections import Counter
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

AT_ONCE, EACH, ROUNDS = 8, 80, 2
WITHIN = 4.0  # seconds: one, and what a busy machine adds; without an abort it is a minute
OF_TRANSACTIONS = ("insert", "update", "commitTransaction", "abortTransaction")
LABELS = {"driver": "/probe/hot?by=driver", "ours": "/probe/hot?by=us"}


@pytest.fixture(scope="module")
def lasting() -> Iterator[DatabaseServer]:
    """A server that ends an abandoned transaction after a minute, as MongoDB does."""
    with DatabaseServer(txn_lifetime=60) as server:
        yield server


def note(number: int, notebook: str) -> dict[str, Any]:
    return {"slug": f"{notebook}-{number}", "title": "T", "body": "x" * 200, "notebook": notebook}


def waiting(served: Served) -> int:
    return int(served.get("/api/v1/diagnostics/deferred", served.bearer()).body["waiting"])


class Crowd:
    """Requests of one kind, eight at once: their answers, their seconds, and the commands that reached the database."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.took: list[float] = []
        self.commands = 0

    def ask(self, request: Callable[[int], Answer], numbers: range) -> None:
        def one(number: int) -> None:
            begun = time.monotonic()
            self.answers.append(request(number))
            self.took.append(time.monotonic() - begun)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, numbers))

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.took, n=20, method="inclusive")[18]


def test_a_crowd_at_one_document_is_served_as_with_the_drivers_own_helper(
    lasting: DatabaseServer, tmp_path: Path
) -> None:
    crowds = {name: Crowd() for name in ("notes", *LABELS)}
    with (
        Proxy(lasting.port) as proxy,
        Served(tmp_path / "served", proxy.database_uri("crowd"), application="tests.hosts.probe:app") as served,
    ):

        def ask(name: str, request: Callable[[int], Answer], numbers: range) -> None:
            before = sum(proxy.commands[command] for command in OF_TRANSACTIONS)
            crowds[name].ask(request, numbers)
            crowds[name].commands += sum(proxy.commands[command] for command in OF_TRANSACTIONS) - before

        for done in range(ROUNDS):
            numbers = range(done * EACH, (done + 1) * EACH)
            # Each time another notebook, which does not exist yet: the first of them meet at making it.
            book = f"hot-{done}"
            ask("notes", lambda number, book=book: served.post("/api/v1/notes", note(number, book)), numbers)  # type: ignore[misc]
            for name, path in LABELS.items():
                ask(name, lambda number, path=path: served.post(path, {}), numbers)  # type: ignore[misc]
        deferred = served.get("/api/v1/diagnostics/deferred", served.bearer()).body
    for name, crowd in crowds.items():
        assert crowd.statuses[201] >= 0.99 * EACH * ROUNDS, (name, crowd.statuses, crowd.answers)
        assert crowd.statuses[202] == 0, name
        assert crowd.p95 < 5, name
    assert deferred["waiting"] == 0
    # Who waits for a turn asks less often than who meets others and tries again; the benchmark has the times.
    assert 3 * EACH * ROUNDS <= crowds["notes"].commands < 1.5 * crowds["driver"].commands
    assert 3 * EACH * ROUNDS <= crowds["ours"].commands < 1.5 * crowds["driver"].commands
    with lasting.client() as client:
        database = client["crowd"]
        counted = sum(book["notes"] for book in database.notebooks.find())
        assert counted == database.notes.count_documents({}) == crowds["notes"].statuses[201]


def test_a_conflict_that_is_not_tried_again_is_busy_and_never_deferred(lasting: DatabaseServer, tmp_path: Path) -> None:
    # The control of the test above: there are conflicts. And with the queue on, they are answered with 503.
    crowd = Crowd()
    uri = f"{lasting.uri}refused"
    with Served(tmp_path / "served", uri, MAX_CONFLICT_RETRIES="0") as served:
        crowd.ask(lambda number: served.post("/api/v1/notes", note(number, "hot")), range(EACH))
        state = served.get("/api/v1/diagnostics/database", served.bearer()).body
    refused = [answer for answer in crowd.answers if answer.status != 201]
    assert len(refused) > 5
    for answer in refused:
        facts = (answer.status, answer.body["code"], answer.body["outcome"], answer.body["retryable"])
        assert facts == (503, "DATABASE_BUSY", "not_applied", True)
        assert int(answer.headers["Retry-After"]) >= 1
    assert all(worker["breaker"]["state"] == "closed" for worker in state["workers"]), state
    with lasting.client() as client:
        assert client["refused"].notes.count_documents({}) == crowd.statuses[201]


def test_the_answers_to_transactions_are_lost_and_nobody_waits_for_their_locks(
    lasting: DatabaseServer, tmp_path: Path
) -> None:
    with (
        Proxy(lasting.port) as proxy,
        Served(tmp_path / "served", proxy.database_uri("cut"), workers=1, MAX_RETRY_ATTEMPTS="0") as served,
        lasting.client() as beside,
    ):
        assert served.post("/api/v1/notes", note(0, "book")).status == 201
        for number, command in enumerate(("insert", "update", "commitTransaction") * 3, 1):
            # Else it is the drainer that does not get the answer: what was lost before waits on disk.
            until(lambda: waiting(served) == 0, what="what waited applied")
            proxy.lose_reply_of(command)
            served.post("/api/v1/notes", note(number, "book"))
            begun = time.monotonic()
            beside["cut"].notebooks.update_one({"_id": "book"}, {"$set": {"touched": number}})
            assert time.monotonic() - begun < WITHIN, command
        assert len(proxy.lost) == 9
        until(lambda: beside["cut"].notes.count_documents({}) == 10, what="all of them", limit=30)
        until(lambda: beside["cut"].notebooks.find({"_id": "book"})[0]["notes"] == 10, what="all of them", limit=30)
        (worker,) = served.get("/api/v1/diagnostics/database", served.bearer()).body["workers"]
        assert worker["aborts"]["handed"] == 6  # the driver itself asks again what became of a commit
        assert (worker["aborts"]["waiting"], worker["aborts"]["dropped"]) == (0, 0)
