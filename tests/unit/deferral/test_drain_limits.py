"""A document that does not answer holds back what touches it, and nothing else, and not for long."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prodfix.deferral import drainer as module
from prodfix.deferral.drainer import BATCH, LONGEST, LONGEST_STUCK, ROUND_TRIPS, SHORTEST, Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.waiting import HELD
from prodfix.deferral.writes import Insert, Update, Write
from prodfix.journal.journal import Journal
from tests.support.deferred_notes import dead, note, texts, waiting
from tests.support.servers import DatabaseServer

Make = Callable[..., Any]
LIMIT = 0.4


@pytest.fixture
def deferred(make_deferred: Make, database: Any) -> DeferredQueue:
    for name in ("notes", "books"):  # not in a transaction
        database.create_collection(name)
    deferred: DeferredQueue = make_deferred()
    deferred.register(
        "titled",
        lambda given: [
            Insert("notes", {"text": given["text"]}),
            Update("books", {"_id": given["book"]}, {"$set": {"title": given["text"]}}, overwrite=True),
        ],
    )
    return deferred


class Clock:
    """Wall time, and what is added to it."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def database_server() -> Iterator[str]:
    """One that ends nobody's transaction while it is looked at."""
    if given := os.environ.get("TEST_MONGODB_URI"):
        yield given
        return
    with DatabaseServer(txn_lifetime=60) as server:
        yield server.uri


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drainer(deferred: DeferredQueue, make_drainer: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Drainer:
    monkeypatch.setattr(module, "SHORTEST", LIMIT)
    made: Drainer = make_drainer(deferred, clock=clock)
    return made


@pytest.fixture
def locked(connect: Make) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """As a transaction whose client has gone: it has written these documents, and nobody ends it."""

    @contextlib.contextmanager
    def hold(collection: str, *identities: Any) -> Iterator[None]:
        client = connect()
        with client.start_session() as session, session.start_transaction():
            documents = client.get_default_database()[collection]
            for identity in identities:
                documents.update_one({"_id": identity}, {"$set": {"locked": 1}}, upsert=True, session=session)
            yield
            session.abort_transaction()

    return hold


def statuses(deferred: DeferredQueue) -> OperationStatuses:
    database = deferred.database
    return OperationStatuses(deferred._journal, database, configured=True, uptime=lambda: 60.0, retention_days=1)


def test_a_document_that_is_locked_holds_back_what_touches_it_and_nothing_else(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, locked: Any, clock: Clock
) -> None:
    database.books.insert_many([{"_id": "free"}, {"_id": "locked"}])
    free = [note(f"free {number}", book="free") for number in range(2 * BATCH)]
    held = [note(f"held {number}", book="locked") for number in range(2 * BATCH)]
    for pair in zip(free, held, strict=True):
        for write in pair:
            deferred.put(write)
    with locked("books", "locked"):
        begun = time.monotonic()
        assert drainer.drain() == len(free)
        assert time.monotonic() - begun < 2 * LIMIT + 3, "one command together, and one alone"
        assert database.books.find_one({"_id": "free"})["notes"] == len(free)
        told = [statuses(deferred).find(write.id, None) for write in held]
        reasons = [one.reason for one in told if one is not None]
        assert set(reasons) == {"DATABASE_TIMEOUT", HELD}
        assert reasons.count(HELD) >= len(held) - 2, "one asks, and perhaps another one once its time is over"
        assert all(one is not None and begun_at(one) for one in told)
        # It is asked again, by one write and not by all of them.
        clock.ahead += LONGEST_STUCK
        begun = time.monotonic()
        assert drainer.drain() == 0
        assert LIMIT / 2 < time.monotonic() - begun < LIMIT + 2
    clock.ahead += 2 * LONGEST_STUCK
    assert (drainer.drain(), waiting(journal), dead(journal)) == (len(held), [], {})
    assert database.books.find_one({"_id": "locked"})["notes"] == len(held)
    assert len(texts(database)) == len(held) + len(free)


def begun_at(told: Any) -> bool:
    """Whether it says since when it waits."""
    return told.answer().to_json()["waitingSince"] is not None and told.created <= told.since + 0.01


def test_an_insert_that_is_locked_holds_back_nobody(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, locked: Any, clock: Clock
) -> None:
    writes = [note(str(number)) for number in range(BATCH)]
    for write in writes:
        deferred.put(write)
    own = module.guards.document_id(writes[0].id)
    with locked("notes", own):
        assert drainer.drain() == BATCH - 1
        assert waiting(journal) == [writes[0].id]
    clock.ahead += LONGEST_STUCK
    assert drainer.drain() == 1
    assert database.books.find_one()["notes"] == len(texts(database)) == BATCH


def test_no_younger_write_overtakes_one_that_replaces_a_value_of_its_document(
    deferred: DeferredQueue, drainer: Drainer, database: Any, fail: Any, clock: Clock
) -> None:
    database.books.insert_one({"_id": "a"})
    older, newer = (Write("titled", {"text": text, "book": "a"}) for text in ("older", "newer"))
    other = note("other", book="b")
    deferred.put(older)
    fail("insert", times=1, errorCode=112)
    assert drainer.drain() == 0
    fail.off()
    for write in (newer, other):
        deferred.put(write)
    assert drainer.drain() == 1
    assert "title" not in database.books.find_one({"_id": "a"})
    clock.ahead += 5
    assert drainer.drain() == 2
    assert database.books.find_one({"_id": "a"})["title"] == "newer"


def test_what_a_document_holds_for_longer_than_tries_are_allowed_is_not_put_aside(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, fail: Any, clock: Clock
) -> None:
    deferred.put(note())
    fail("insert", errorCode=50)
    for _ in range(8):
        assert drainer.drain() == 0
        clock.ahead += 2 * LONGEST_STUCK
    ((attempts, reason),) = journal.read("SELECT attempts, reason FROM writes")
    assert (attempts, reason, dead(journal)) == (8, "DATABASE_TIMEOUT", {})
    clock.ahead += module.PATIENCE
    assert drainer.drain() == 0
    assert set(dead(journal).values()) == {"DATABASE_TIMEOUT"}


def test_a_database_that_answers_nothing_at_all_is_lost_and_no_document_is_blamed(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, fail: Any
) -> None:
    for number in range(BATCH):
        deferred.put(note(str(number)))
    fail("insert", "update", "ping", blockConnection=True, blockTimeMS=1200)
    begun = time.monotonic()
    assert drainer.drain() == 0
    assert time.monotonic() - begun < 4
    fail.off()
    assert journal.read("SELECT sum(attempts), count(reason) FROM writes") == [(0, 1)]


@pytest.mark.parametrize(
    ("round_trip", "limit"), [(None, SHORTEST), (0.001, SHORTEST), (0.05, 0.05 * ROUND_TRIPS), (3.0, LONGEST)]
)
def test_each_command_has_a_limit_from_the_round_trip(
    deferred: DeferredQueue, make_drainer: Make, round_trip: float | None, limit: float
) -> None:
    assert make_drainer(deferred, round_trip=lambda: round_trip)._limit == limit


def test_every_command_of_a_drain_is_sent_with_a_limit(
    deferred: DeferredQueue, drainer: Drainer, connect: Make, commands: Any
) -> None:
    deferred.database = connect(event_listeners=[commands]).get_default_database
    for number in range(BATCH):
        deferred.put(note(str(number), book=f"book {number % 2}"))
    deferred.put(Write("note", {"text": "keyed"}, id="order-0001"))
    assert drainer.drain() == BATCH + 1
    deferred.put(note("alone"))
    assert drainer.drain() == 1
    assert {name for name in commands.names} >= {"insert", "update", "find"}
    assert all(0 < command["maxTimeMS"] <= LIMIT * 1000 for command in commands.sent)
