"""A flood of errors, of one kind and of many: what is sent is small, what is on disk is bounded, and a request is still found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from prodfix.journal.journal import Journal
from prodfix.records import storage as storages
from prodfix.records.lookup import Lookup
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.records.storage import Storage
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.windows import Windows
from tests.support.counting_worker import Clock
from tests.support.recorded_commands import Commands

KEEP = 20


@pytest.fixture
def make_storage(
    journal: Journal, connect: Callable[..., Any], commands: Commands, clock: Clock
) -> Callable[..., Storage]:
    def made(**options: Any) -> Storage:
        database = connect(event_listeners=[commands]).get_default_database()
        windows = Windows(journal, lambda: database)
        parts = Minutes(journal, windows), Groups(lambda: database)
        known = {"retention_days": 8, "keep_per_kind": KEEP, "clock": clock, "collections": (ERROR_LOG,)}
        storage = Storage(journal, lambda: database, *parts, **known | options)
        storage.sampling._clock = storage.keeper._clock = clock
        return storage

    return made


def fail_with(journal: Journal, storage: Storage, count: int, kind: str = "k", stack: int = 1_000) -> list[str]:
    """The IDs of the requests, each of which has failed once."""
    requests, statements = [], []
    for _ in range(count):
        identity = bson.ObjectId()
        requests.append(f"request-{identity}")
        document = {
            "_id": identity,
            "timestamp": datetime.now(UTC),
            "requestId": requests[-1],
            "fingerprint": kind,
            "stack": "x" * stack,
        }
        statements += storage.insertion_of(ERROR_LOG, identity, bson.encode(document), requests[-1], kind)
    journal.write(statements)
    return requests


def rows(journal: Journal, how: int) -> int:
    return int(journal.read_own("SELECT count(*) FROM records WHERE stored = ?", (how,))[0][0])


def test_of_a_flood_of_one_kind_little_is_sent_and_each_request_is_found(
    make_storage: Callable[..., Storage], journal: Journal, database: Any, clock: Clock
) -> None:
    storage, requests = make_storage(), []
    for _ in range(10):
        requests += fail_with(journal, storage, 1_000, stack=100)
        clock.now += 1
        storage.tick()
    clock.now += 61
    storage.tick()
    stored = database[ERROR_LOG].count_documents({})
    assert 2 <= stored <= KEEP * 11
    assert (rows(journal, storages.WAITS), storage.dropped) == (0, 0)
    ids = {one["requestId"] for one in database[ERROR_LOG].find({}, {"requestId": 1})}
    assert requests[0] in ids, "the first"
    assert ids & set(requests[-5:]), "the last, or one of those at the same moment"
    lookup = Lookup(journal, lambda: database)
    for request in requests[-storages.THINNED :: 500]:
        found = lookup.of_request(request)
        assert len(found.records) == 1
        assert found.thinned is (request not in ids)


def test_what_is_not_sent_takes_no_more_than_its_room(
    make_storage: Callable[..., Storage], journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "THINNED", 300)
    monkeypatch.setattr(storages, "TIDY_AFTER", 200)
    storage, requests = make_storage(), []
    for _ in range(10):
        requests += fail_with(journal, storage, 250)
        clock.now += 1
        storage.adopt()  # also while MongoDB is away
    assert rows(journal, storages.FOR_A_WHILE) <= 300
    lookup = Lookup(journal, lambda: None)
    assert lookup.of_request(requests[-1]).thinned, "the newest are found"
    monkeypatch.setattr(storages, "LARGEST_THINNED", 100_000)
    fail_with(journal, storage, 250)
    clock.now += 1
    storage.tick()
    size = journal.read_own("SELECT sum(length(entry)) FROM records WHERE stored = 2")[0][0]
    assert size <= 100_000
    monkeypatch.setattr(storages, "THINNED_FOR", -1.0)
    fail_with(journal, storage, 250)
    storage.tick()
    assert rows(journal, storages.FOR_A_WHILE) == 0


def test_without_any_that_is_not_sent_nothing_is_looked_at(
    make_storage: Callable[..., Storage], journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, asked = make_storage(), []
    fail_with(journal, storage, 500)
    storage.tick()
    assert rows(journal, storages.FOR_A_WHILE) > 0
    read = journal.read_own
    monkeypatch.setattr(journal, "read_own", lambda query, *rest: asked.append(query) or read(query, *rest))
    clock.now += 4_000
    monkeypatch.setattr(storages, "THINNED_FOR", -1.0)
    storage.tick()
    assert any("stored = 2" in query for query in asked)  # the control
    storage.tick()
    clock.now += 60
    storage.tick()
    asked.clear()
    for _ in range(300):
        clock.now += 1
        storage.tick()
    assert not any("records" in query for query in asked)


def test_those_of_a_dead_worker_are_let_go_of_too(
    make_storage: Callable[..., Storage],
    open_journal: Callable[[], Journal],
    journal: Journal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage, dead = make_storage(), open_journal()
    fail_with(dead, storage, 300)
    storage._untidy = 0
    dead.close()
    monkeypatch.setattr(storages, "THINNED", 10)
    storage.tick()
    assert rows(journal, storages.FOR_A_WHILE) <= 10


def test_a_flood_of_kinds_drops_nothing_and_sends_each_once(
    make_storage: Callable[..., Storage], journal: Journal, clock: Clock
) -> None:
    storage = make_storage()
    for turn in range(2):
        for number in range(0, 3_000):
            fail_kind = f"{number:016x}"
            if turn == 0 or number % 3 == 0:
                fail_with(journal, storage, 1, fail_kind, stack=10)
    assert storage.dropped == 0
    assert rows(journal, storages.WAITS) + rows(journal, storages.FOR_A_WHILE) == 4_000
    assert rows(journal, storages.WAITS) <= 3_000 + 1


def test_records_are_stored_together_and_in_few_commands(
    make_storage: Callable[..., Storage], journal: Journal, commands: Commands, clock: Clock, database: Any
) -> None:
    storage = make_storage(live=lambda: True)
    fail_with(journal, storage, 1)
    storage.tick()
    assert database[ERROR_LOG].count_documents({}) == 1, "what comes after a rest does not wait for others"
    before, seconds = len(commands.sent), 300
    for second in range(seconds):
        for number in range(4):
            fail_with(journal, storage, 1, f"{second % 7}{number}")
        clock.now += 1
        storage.tick()
    sent = [command for command in commands.sent[before:] if "hello" not in command]
    names = [next(iter(command)) for command in sent]
    # Three in ten seconds; on a busy machine batches are smaller, and more.
    assert len(names) / seconds <= 0.5, str([(next(iter(c)), len(c.get("documents", ()))) for c in sent])
    inserts = sum(len(command["documents"]) for command in sent if command.get("insert") == ERROR_LOG)
    assert inserts >= 150, "the control: they were stored"


def test_what_waits_is_stored_within_ten_seconds(
    make_storage: Callable[..., Storage], journal: Journal, clock: Clock, database: Any
) -> None:
    storage = make_storage()
    fail_with(journal, storage, 1)
    storage.tick()
    (request,) = fail_with(journal, storage, 1)
    waited = 0
    while database[ERROR_LOG].find_one({"requestId": request}) is None:
        clock.now += 1
        waited += 1
        storage.tick()
    assert 8 <= waited <= 10


def test_at_the_end_of_a_worker_nothing_waits(
    make_storage: Callable[..., Storage], journal: Journal, database: Any
) -> None:
    storage = make_storage()
    fail_with(journal, storage, 1)
    storage.tick()
    fail_with(journal, storage, 3)
    storage.tick()
    assert rows(journal, storages.WAITS) == 3  # the control
    storage.hurry()
    storage.tick()
    assert (rows(journal, storages.WAITS), database[ERROR_LOG].count_documents({})) == (0, 4)
