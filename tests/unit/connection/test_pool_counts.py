"""The numbers of our own clients' pools, which are read where they are: held against those that the driver's events come to."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, WaitQueueTimeoutError

from prodfix.connection.clients import GatedClient
from prodfix.connection.pool import PoolCounter, summed
from prodfix.driver.pool_numbers import COUNTS_POOLS, pool_counts

pytestmark = pytest.mark.skipif(not COUNTS_POOLS, reason="of this driver's pools the events are counted")


class Case:
    """A client of ours, and what a listener of its events has counted."""

    def __init__(self, uri: str, **options: Any) -> None:
        self.counter = PoolCounter()
        self.client = GatedClient(uri, gate=lambda: None, event_listeners=[self.counter], **options)
        self.notes = self.client.get_default_database().notes

    @property
    def read(self) -> dict[str, int]:
        return summed(pool_counts(self.client))

    def both(self) -> tuple[dict[str, int], dict[str, int]]:
        return self.read, self.counter.totals()


@pytest.fixture
def case(database_uri: str, fail: Any) -> Iterator[Callable[..., Case]]:
    made: list[Case] = []

    def make(**options: Any) -> Case:
        made.append(Case(database_uri, appname=fail.app_name, **options))
        return made[-1]

    yield make
    for one in made:
        one.client.close()


def test_they_are_those_of_the_events_after_much_use(case: Callable[..., Case], until: Callable[..., Any]) -> None:
    ours, stop = case(maxPoolSize=5), threading.Event()

    def work(seed: int) -> None:
        wanted = random.Random(seed)
        while not stop.is_set():
            ours.client.admin.command("ping")
            stop.wait(wanted.random() / 500)

    with ThreadPoolExecutor(12) as threads:
        running = [threads.submit(work, seed) for seed in range(12)]
        until(lambda: ours.read["total"] == 5)
        stop.set()
        for task in running:
            task.result(5)
    quiet = {"total": 5, "out": 0, "waiting": 0, "capacity": 5}
    assert ours.both() == (quiet, quiet)


def test_connections_in_use_and_those_who_wait_for_one(
    case: Callable[..., Case], fail: Any, until: Callable[..., Any]
) -> None:
    ours = case(maxPoolSize=2, waitQueueTimeoutMS=300)
    fail("find", blockConnection=True, blockTimeMS=1000)
    full = {"total": 2, "out": 2, "waiting": 1, "capacity": 2}
    with ThreadPoolExecutor(3) as threads:
        tasks = [threads.submit(ours.notes.find_one) for _ in range(3)]
        until(lambda: ours.both() == (full, full))
        failures = [task.exception(5) for task in tasks]
    assert [isinstance(failure, WaitQueueTimeoutError) for failure in failures if failure] == [True]
    free = full | {"out": 0, "waiting": 0}
    assert ours.both() == (free, free)


def test_cursors_and_transactions_that_hold_a_connection(case: Callable[..., Case]) -> None:
    ours = case()
    with ours.client.start_session() as session, session.start_transaction():
        ours.notes.insert_one({}, session=session)
        assert ours.read == ours.counter.totals()
    assert ours.read == ours.counter.totals()


def test_a_connection_that_breaks_is_gone(case: Callable[..., Case], fail: Any) -> None:
    ours = case(retryReads=False)
    ours.notes.find_one()
    fail("find", times=1, closeConnection=True)
    with pytest.raises(AutoReconnect):
        ours.notes.find_one()
    assert (ours.read, ours.read["total"]) == (ours.counter.totals(), 0)
    ours.notes.find_one()
    assert (ours.read, ours.read["total"]) == (ours.counter.totals(), 1)


def test_of_a_closed_client_there_is_nothing(case: Callable[..., Case]) -> None:
    ours = case()
    ours.notes.find_one()
    assert len(pool_counts(ours.client)) == 1
    ours.client.close()
    assert pool_counts(ours.client) == []


def test_other_clients_have_none_that_can_be_read(connect: Callable[..., MongoClient[Any]]) -> None:
    client = connect()
    client.admin.command("ping")
    assert (pool_counts(client), pool_counts(None)) == ([], [])
