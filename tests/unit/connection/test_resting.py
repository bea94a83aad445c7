"""The driver's threads sleep until they are due or woken: no sooner and no later than its own do, in one go."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from prodfix.connection.clients import TIDYING, Clients
from prodfix.driver import resting
from tests.support.drivers import needs
from tests.unit.conftest import wait_until

pytestmark = needs("PeriodicExecutor._skip_sleep")

THREADS = "pymongo_"
SOON = 0.4  # seconds: less than the driver's half of one


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often threads of the driver's have called ``time.sleep``, by name."""
    found, sleep = Counter[str](), time.sleep

    def slept(seconds: float) -> None:
        found[threading.current_thread().name] += 1
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", slept)
    return found


@pytest.fixture
def made() -> Iterator[Callable[..., Any]]:
    """Makes a periodic thread of the driver's, which notes when it works; rested if told so."""
    executors: list[Any] = []

    def make(*, interval: float, least: float, rested: bool = True) -> tuple[Any, list[float]]:
        times: list[float] = []
        executor = resting._PeriodicExecutor(
            interval, least, lambda: times.append(time.monotonic()) or True, name="pymongo_test"
        )
        executors.append(executor)
        if rested:
            resting._rest(executor)
        executor.open()
        wait_until(lambda: times)
        return executor, times

    yield make
    for executor in executors:
        executor.close()
        executor.join(5)


def of_driver(found: Counter[str]) -> set[str]:
    return {name for name in found if name.startswith(THREADS)}


def test_no_thread_of_our_clients_wakes_up_in_vain(database_uri: str, sleeps: Counter[str]) -> None:
    clients = Clients(database_uri, {})
    try:
        for client in (clients.application, clients.own, clients.watch):
            client.admin.command("ping")
        end = time.monotonic() + 2
        wait_until(lambda: time.monotonic() > end)
        assert of_driver(sleeps) == set()
        intervals = [
            client._kill_cursors_executor._interval for client in (clients.application, clients.own, clients.watch)
        ]
        assert intervals == [1, TIDYING, TIDYING], "the application's pool is filled and tidied as ever"
    finally:
        clients.close()


def test_the_control_those_of_the_drivers_own_do(database_uri: str, sleeps: Counter[str]) -> None:
    with MongoClient[Any](database_uri) as client:
        client.admin.command("ping")
        wait_until(lambda: sleeps["pymongo_kill_cursors_thread"] >= 3)


def test_it_works_as_often_as_it_did_and_not_more(made: Callable[..., Any]) -> None:
    begun = time.monotonic()
    _, times = made(interval=0.1, least=0.02)
    wait_until(lambda: len(times) >= 5)
    assert times[4] - begun >= 0.4
    assert all(later - sooner >= 0.09 for sooner, later in itertools.pairwise(times))


def test_who_is_woken_works_at_once(made: Callable[..., Any]) -> None:
    executor, times = made(interval=3600, least=0.01)
    for turn in range(2, 6):
        time.sleep(0.05)
        called = time.monotonic()
        executor.wake()
        wait_until(lambda turn=turn: len(times) == turn)
        assert times[-1] - called < SOON


def test_who_is_woken_again_and_again_rests_in_between(made: Callable[..., Any]) -> None:
    executor, times = made(interval=3600, least=0.2)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        executor.wake()
        time.sleep(0.005)
    assert 3 <= len(times) <= 6
    assert all(later - sooner >= 0.19 for sooner, later in itertools.pairwise(times))


@pytest.mark.parametrize("rested", [True, False])
def test_who_is_closed_ends_at_once_and_by_itself_only_after_its_sleep(made: Callable[..., Any], rested: bool) -> None:
    executor, _ = made(interval=3600, least=1.5, rested=rested)
    time.sleep(0.05)
    begun = time.monotonic()
    executor.close()
    executor.join(5)
    assert (time.monotonic() - begun < SOON) is rested


def test_who_is_closed_can_be_opened_again(made: Callable[..., Any]) -> None:
    executor, times = made(interval=3600, least=0.01)
    executor.close()
    executor.join(5)
    executor.open()
    wait_until(lambda: len(times) == 2)


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")
@pytest.mark.parametrize("kind", [resting.RestingClient, MongoClient])
def test_a_client_that_nobody_has_any_more_goes_with_its_threads(
    database_uri: str, kind: type[MongoClient[Any]]
) -> None:
    client = kind(database_uri)
    client.admin.command("ping")
    monitors = [weakref.ref(server._monitor) for server in client._topology._servers.values()]
    gone = weakref.ref(client)
    del client
    wait_until(lambda: gc.collect() is not None and gone() is None and all(one() is None for one in monitors))


def test_a_call_never_waits_also_while_the_lock_is_asked_for() -> None:
    """The garbage collector calls it in whatever thread it runs, perhaps within the wait."""
    called = threading.Lock()
    called.acquire()
    for _ in range(3):
        resting._call(lambda executor: None, lambda: None, called)
    assert not called.locked()
