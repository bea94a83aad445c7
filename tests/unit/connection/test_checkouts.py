"""Waiting for a connection of a full pool, with and without a deadline."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymongo
import pytest
from pymongo import MongoClient, _csot
from pymongo.errors import WaitQueueTimeoutError
from pymongo.synchronous.pool import Pool

from prodfix.classification.classifier import classify
from prodfix.connection.checkouts import BoundedPool, PoolExhausted
from prodfix.connection.clients import Clients
from prodfix.driver.hooked_pool import of_monitor
from tests.support.recorded_commands import Commands
from tests.support.waiting import until


@pytest.fixture
def busy(database_uri: str, fail: Any, commands: Commands) -> Iterator[Callable[..., Any]]:
    """Makes a client whose one connection is in use for ``seconds``."""
    made: list[Any] = []
    with ThreadPoolExecutor(1) as pool:

        def make(seconds: float, *, kind: Any = None, **options: Any) -> Any:
            options = {"maxPoolSize": 1, "waitQueueTimeoutMS": 200, "appname": fail.app_name} | options
            if kind is not None:
                client: Any = kind(database_uri, event_listeners=[commands], **options)
                made.append(client)
            else:
                clients = Clients(database_uri, options, listeners=[commands])
                made.append(clients)
                client = clients.application
            client.admin.command("ping")
            fail("insert", times=1, blockConnection=True, blockTimeMS=int(seconds * 1000))
            pool.submit(client.get_default_database().notes.insert_one, {})
            until(lambda: "insert" in commands.names, every=0.005, what="an insert that has the connection")
            return client

        yield make
    for one in made:
        one.close()


@pytest.fixture
def in_vain(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each wait for a connection that ended without one."""
    waits: list[str] = []
    get = BoundedPool._get_conn

    def watched(self: BoundedPool, *arguments: Any, **options: Any) -> Any:
        try:
            return get(self, *arguments, **options)
        except PoolExhausted as error:
            waits.append(type(error).__name__)
            raise

    monkeypatch.setattr(BoundedPool, "_get_conn", watched)
    return waits


def waited(client: Any, seconds: float | None) -> tuple[type[BaseException], float]:
    begun = time.monotonic()
    with pytest.raises(WaitQueueTimeoutError) as raised, pymongo.timeout(seconds):
        client.get_default_database().notes.find_one()
    return raised.type, time.monotonic() - begun


def test_within_a_deadline_the_pools_own_limit_holds(busy: Callable[..., Any], in_vain: list[str]) -> None:
    kind, took = waited(busy(1.5), 5.0)
    assert kind is PoolExhausted
    assert 0.15 < took < 1.4
    assert len(in_vain) == 1, "one wait, and no second one by the driver"


def test_without_it_the_drivers_pool_waits_for_all_of_the_deadline(busy: Callable[..., Any]) -> None:
    # The control.
    _, took = waited(busy(1.5, kind=MongoClient), 0.8)
    assert took > 0.7


def test_a_deadline_that_is_shorter_wins(busy: Callable[..., Any]) -> None:
    _, took = waited(busy(1.5, waitQueueTimeoutMS=5000), 0.3)
    assert 0.2 < took < 1.4


def test_without_a_deadline_the_limit_is_the_drivers_own(busy: Callable[..., Any]) -> None:
    kind, took = waited(busy(1.5), None)
    assert kind is PoolExhausted
    assert 0.15 < took < 1.4


def test_a_connection_that_becomes_free_in_time_is_taken(busy: Callable[..., Any]) -> None:
    client = busy(0.3, waitQueueTimeoutMS=3000)
    with pymongo.timeout(10):
        assert client.get_default_database().notes.find_one() is not None


def test_making_a_connection_is_no_waiting(
    database_uri: str, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    left: list[tuple[float | None, bool]] = []
    connect = Pool.connect

    def watched(self: Pool, handler: Any = None) -> Any:
        left.append((_csot.remaining(), of_monitor(self)))
        return connect(self, handler)

    monkeypatch.setattr(Pool, "connect", watched)
    clients = Clients(database_uri, {"waitQueueTimeoutMS": 200})
    try:
        with pymongo.timeout(5):
            clients.application.admin.command("ping")
            after = _csot.remaining()
        own = [seconds for seconds, monitor in left if not monitor]
        assert len(own) == 1
        assert own[0] is not None
        assert 4 < own[0] <= 5
        assert after is not None
        assert after > 4, "and nothing of the limit stays behind"
    finally:
        clients.close()


def test_a_full_pool_is_a_busy_database_and_not_a_lost_one() -> None:
    meaning = classify(PoolExhausted("full"))
    assert (meaning.code, meaning.status, str(meaning.outcome)) == ("DATABASE_BUSY", 503, "not_applied")


def test_the_drivers_methods_are_where_they_were() -> None:
    assert list(inspect.signature(Pool._get_conn).parameters) == ["self", "checkout_started_time", "handler"]
    assert list(inspect.signature(Pool.connect).parameters) == ["self", "handler"]
    with MongoClient("127.0.0.1", 9, connect=False, _pool_class=BoundedPool) as client:
        assert client._topology_settings.pool_class is BoundedPool
