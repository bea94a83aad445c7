"""Answers that are lost while a backlog of one hot document drains: nothing is told failed that is applied, nothing is half."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from prodfix.deferral import guards
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.queue import DeferredQueue
from prodfix.journal.journal import Journal
from tests.support.deferred_notes import dead, note, texts, waiting
from tests.support.proxy import Proxy
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

Make = Callable[..., Any]
WRITES = 160  # of each worker


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with DatabaseServer() as server, Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def workers(
    proxy: Proxy, make_deferred: Make, make_drainer: Make, tmp_path: Path
) -> Iterator[list[tuple[DeferredQueue, Drainer]]]:
    """Two instances of two workers, each of which has a backlog for one document."""
    journals, clients, made = [], [], []
    for instance, _ in itertools.product("ab", range(2)):
        journal = Journal(tmp_path / instance)
        journal.open()
        client: MongoClient[Any] = MongoClient(proxy.database_uri("replies"), tz_aware=True)
        deferred = make_deferred(journal=journal, database=client.get_default_database)
        for _ in range(WRITES):
            deferred.put(note(f"{len(made)}"))
        made.append((deferred, make_drainer(deferred, journal=journal, max_attempts=10)))
        journals.append(journal)
        clients.append(client)
    yield made
    for part in (*journals, *clients):
        part.close()


def drained(workers: list[tuple[DeferredQueue, Drainer]], meanwhile: Callable[[], object]) -> None:
    """All of them drain at once, as often as the loops of the workers would, until nothing waits."""
    over = threading.Event()

    def run(drainer: Drainer) -> None:
        while not over.wait(0.05):
            drainer.tick(True)

    threads = [threading.Thread(target=run, args=(drainer,)) for _, drainer in workers]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
        for deferred, _ in workers:
            until(lambda journal=deferred._journal: not waiting(journal), limit=60, what="an empty journal")
    finally:
        over.set()
        for thread in threads:
            thread.join()


def faults(proxy: Proxy, times: int) -> None:
    chance = random.Random(11)
    for _ in range(times):
        if chance.random() < 0.3:
            proxy.set("pass")  # a reset of all connections
        else:
            proxy.lose_reply_of(chance.choice(["insert", "update"]), chance.randint(1, 3))
        threading.Event().wait(chance.uniform(0.05, 0.2))


@pytest.mark.parametrize("remembering", [True, False])
def test_lost_answers_leave_no_write_failed_or_half_applied(
    workers: list[tuple[DeferredQueue, Drainer]],
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    remembering: bool,
) -> None:
    if not remembering:  # the control: documents forget their oldest marks, whatever is known of them
        monkeypatch.setattr(guards, "REMEMBERED", 20)
        monkeypatch.setattr(guards, "SLACK", 10)
        for deferred, _ in workers:
            monkeypatch.setattr(deferred.releases, "work", lambda: None)
    drained(workers, lambda: faults(proxy, 12))
    buried = [reason for deferred, _ in workers for reason in dead(deferred._journal).values()]
    database = workers[0][0].database()
    book, everything = database.books.find_one(), WRITES * len(workers)
    assert len(proxy.lost) > 3
    if remembering:
        assert buried == []
        assert (len(texts(database)), book["notes"], len(book["texts"])) == (everything,) * 3
        assert len(book[guards.GUARD]) < guards.REMEMBERED
    else:
        assert set(buried) == {"UNCERTAIN"}
