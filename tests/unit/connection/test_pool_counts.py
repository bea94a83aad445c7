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
from prodfix.driver import hooked_pool
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


class Cut(BaseException):
    """As a deadline's, where a greenlet waits."""


class CutLock:
    """A lock whose next taking is cut after so many others."""

    def __init__(self, pool: Any, after: int) -> None:
        self._pool, self._usual, self._after = pool, pool.lock, after

    def __enter__(self) -> None:
        if self._after == 0:
            self._pool.lock = self._usual
            raise Cut
        self._after -= 1
        self._usual.__enter__()

    def __exit__(self, *given: Any) -> None:
        self._usual.__exit__(*given)


@pytest.fixture(params=["before it is known", "as it is made", "once it is made"])
def cutting(request: pytest.FixtureRequest) -> Callable[[Case], None]:
    """Cuts the next one that makes a connection, once, at a lock that the driver takes then."""

    def arm(ours: Case) -> None:
        (pool,) = ours.client.prodfix_pools.values()
        if request.param == "before it is known":
            pool.lock = CutLock(pool, 3)  # the pool's numbers twice, and the number of the connection
            return
        if request.param == "as it is made":
            owner, name = ours.client._topology, "receive_cluster_time"
        else:
            owner, name = pool._max_connecting_cond, "notify"
        usual = getattr(owner, name)

        def once(*given: Any) -> None:
            setattr(owner, name, usual)
            raise Cut

        setattr(owner, name, once)

    return arm


def empty(ours: Case) -> None:
    """Without connections, with a pool that is there."""
    ours.notes.find_one()
    for pool in ours.client.prodfix_pools.values():
        pool.reset_without_pause()


NOTHING = {"total": 0, "out": 0, "waiting": 0, "capacity": 100}


def test_a_connection_that_nobody_gets_as_a_deadline_cuts_is_none(
    case: Callable[..., Case], cutting: Callable[[Case], None]
) -> None:
    ours = case()
    empty(ours)
    cutting(ours)
    with pytest.raises(Cut):
        ours.notes.find_one()
    assert ours.both() == (NOTHING, NOTHING)
    ours.notes.find_one()
    assert ours.both() == ({**NOTHING, "total": 1}, {**NOTHING, "total": 1})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of its socket, which nobody closes
def test_the_driver_itself_would_take_it_for_one_in_use_for_ever(
    case: Callable[..., Case], cutting: Callable[[Case], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooked_pool, "_let_go", lambda pool, trace: None)
    ours = case()
    empty(ours)
    cutting(ours)
    with pytest.raises(Cut):
        ours.notes.find_one()
    assert ours.read == {**NOTHING, "total": 1, "out": 1}


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
