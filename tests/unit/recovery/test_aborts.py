"""Transactions that end without their answer: aborted at the server within a second, and never by who has waited for them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from prodfix.connection.clients import GatedClient
from prodfix.driver import session_transactions
from prodfix.process.loops import Loop
from prodfix.recovery import aborts
from prodfix.recovery.aborts import Aborts, answered
from prodfix.recovery.transactions import Transactions
from tests.support.proxy import Proxy
from tests.support.servers import DatabaseServer

WITHIN = 4.0  # seconds: one, and what a busy machine adds; without it the locks stay for a minute
NAME = "aborts"


@pytest.fixture(scope="module")
def long_lived() -> Iterator[DatabaseServer]:
    """A server that does not abort anything by itself before a minute is over, as MongoDB."""
    with DatabaseServer(txn_lifetime=60) as server:
        yield server


class Bench:
    """A client behind a proxy, whose transactions are cut, and one beside it, whose plain writes meet their locks."""

    def __init__(self, proxy: Proxy, client: MongoClient[Any], beside: MongoClient[Any]) -> None:
        self.proxy, self.client, self.beside = proxy, client, beside
        self.aborts = Aborts(lambda session: client.admin.command("killSessions", [session]))
        self.aborts.attend()
        self.transactions = Transactions(lambda: client, retries=0, base=0.01, aborts=self.aborts)
        self.reset()

    def reset(self) -> None:
        for name in ("hot", "cold"):
            self.beside[NAME].things.replace_one({"_id": name}, {"n": 0}, upsert=True)
        self.beside[NAME].others.insert_one({})  # two that make one collection at once would meet there

    def write(self, session: ClientSession) -> None:
        things = self.client[NAME].things
        things.insert_one({}, session=session)
        things.update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=session)
        things.update_one({"_id": "cold"}, {"$inc": {"n": 1}}, session=session)

    def plain(self, limit: float) -> float:
        """How long a plain write of the same document takes. It changes the document in any case: one that changed nothing would
        not wait, and the write of a client that has gone may come before it."""
        begun = time.monotonic()
        with pymongo.timeout(limit):
            self.beside[NAME].things.update_one({"_id": "hot"}, {"$inc": {"plain": 1}})
        return time.monotonic() - begun

    @contextlib.contextmanager
    def failing(self, command: str, **data: Any) -> Iterator[None]:
        point = {"configureFailPoint": "failCommand"}
        facts = {"failCommands": [command], "appName": NAME, **data}
        self.beside.admin.command({**point, "mode": "alwaysOn", "data": facts})
        try:
            yield
        finally:
            self.beside.admin.command({**point, "mode": "off"})

    def cut(self, how: str) -> BaseException:
        """End a transaction in that way; with what it ended."""
        with pytest.raises(BaseException) as raised:
            CUTS[how](self)
        return raised.value


def lost(command: str, count: int = 1) -> Callable[[Bench], None]:
    def cut(bench: Bench) -> None:
        bench.proxy.lose_reply_of(command, count)
        bench.transactions.run(bench.write)

    return cut


def refused_commit(bench: Bench) -> None:
    """The connection is closed before the commit is done: nobody has an answer, and the locks are held."""
    with bench.failing("commitTransaction", closeConnection=True):
        bench.transactions.run(bench.write)


def late(bench: Bench) -> None:
    def slow(session: ClientSession) -> None:
        bench.write(session)
        bench.client[NAME].things.find_one({}, session=session)

    with bench.failing("find", blockConnection=True, blockTimeMS=2500), pymongo.timeout(1.2):
        bench.transactions.run(slow)


def killed(bench: Bench) -> None:
    """As gevent's timers and kills do: what is raised in the middle is no Exception."""

    def stopped(session: ClientSession) -> None:
        bench.write(session)
        raise KeyboardInterrupt

    bench.transactions.run(stopped)


CUTS: dict[str, Callable[[Bench], None]] = {
    "the answer to an insert is lost": lost("insert"),
    "the answer to an update is lost": lost("update"),
    "the answers to its commit are lost": lost("commitTransaction", 2),
    "its commit is not done": refused_commit,
    "its deadline passes": late,
    "its greenlet is killed": killed,
}
HOLDING = [
    name for name in CUTS if name not in ("the answer to an insert is lost", "the answers to its commit are lost")
]


@pytest.fixture(scope="module")
def links(long_lived: DatabaseServer) -> Iterator[tuple[Proxy, MongoClient[Any], MongoClient[Any]]]:
    options = {"heartbeatFrequencyMS": 500, "serverSelectionTimeoutMS": 2000}
    with (
        Proxy(long_lived.port) as proxy,
        GatedClient(proxy.uri, gate=lambda: None, appname=NAME, **options) as client,
        long_lived.client() as beside,
    ):
        yield proxy, client, beside


@pytest.fixture
def bench(links: tuple[Proxy, MongoClient[Any], MongoClient[Any]]) -> Iterator[Bench]:
    bench = Bench(*links)
    yield bench
    bench.proxy.set("pass")
    bench.proxy.lose_reply_of("", 0)
    bench.client[NAME].things.find_one({})  # over a new connection: "pass" has closed the old ones
    bench.aborts.finish(5.0)  # what a test has left holds locks that the next one would meet


@pytest.fixture
def loop(bench: Bench) -> Iterator[None]:
    """The background that a worker has."""
    failed: list[Any] = []
    loop = Loop("aborts", bench.aborts.work, 0.2, lambda *facts: failed.append(facts))
    loop.start()
    yield
    loop.stop()
    assert failed == []


@pytest.mark.parametrize("how", CUTS)
def test_however_it_ends_without_its_answer_its_locks_are_gone_within_a_second(
    bench: Bench, loop: None, how: str, until: Callable[..., Any]
) -> None:
    bench.cut(how)
    assert bench.plain(10) < WITHIN
    over = how == "the answers to its commit are lost"
    until(lambda: bench.aborts.counts().to_json()["over" if over else "aborted"] == 1)
    facts = bench.aborts.counts().to_json()
    assert (facts["handed"], facts["waiting"], facts["dropped"]) == (1, 0, 0)
    done = bench.beside[NAME].things.find_one({"_id": "hot"})
    assert done is not None
    assert done["n"] == (1 if over else 0)


@pytest.mark.parametrize("how", HOLDING)
def test_without_an_abort_a_plain_write_waits(bench: Bench, how: str) -> None:
    # The control of the test above: nobody works on what was handed over, until somebody does.
    bench.cut(how)
    with pytest.raises(PyMongoError) as raised:
        bench.plain(1.0)
    assert getattr(raised.value, "timeout", False)
    bench.aborts.work()
    assert bench.plain(10) < WITHIN


@pytest.mark.parametrize("how", ["its greenlet is killed", "its deadline passes"])
def test_who_is_cut_waits_for_no_abort(bench: Bench, how: str) -> None:
    before = bench.proxy.commands["abortTransaction"]
    begun = time.monotonic()
    bench.cut(how)
    assert bench.proxy.commands["abortTransaction"] == before
    assert time.monotonic() - begun < 3
    assert bench.aborts.counts().to_json()["waiting"] == 1


def test_what_the_server_or_the_application_says_is_aborted_at_once(bench: Bench) -> None:
    def refused(session: ClientSession) -> None:
        bench.write(session)
        raise ValueError("no")

    before = bench.proxy.commands["abortTransaction"]
    assert isinstance(_raised(lambda: bench.transactions.run(refused)), ValueError)
    assert bench.proxy.commands["abortTransaction"] == before + 1
    assert bench.aborts.counts().to_json()["handed"] == 0
    assert bench.plain(10) < WITHIN


def test_an_abort_without_an_answer_is_tried_again_in_the_background(bench: Bench) -> None:
    def refused(session: ClientSession) -> None:
        bench.write(session)
        bench.proxy.lose_reply_of("abortTransaction", 2)  # both of the driver's own tries
        raise ValueError("no")

    assert isinstance(_raised(lambda: bench.transactions.run(refused)), ValueError)
    assert bench.aborts.counts().to_json()["waiting"] == 1
    bench.aborts.work()
    assert bench.aborts.counts().to_json()["over"] == 1


def test_a_callback_that_ends_its_transaction_itself_leaves_nothing_to_abort(bench: Bench) -> None:
    def rolled_back(session: ClientSession) -> None:
        bench.write(session)
        session.abort_transaction()
        raise KeyboardInterrupt

    assert isinstance(_raised(lambda: bench.transactions.run(rolled_back)), KeyboardInterrupt)
    assert bench.aborts.counts().to_json()["handed"] == 0


def test_the_session_is_killed_where_its_own_way_does_not_lead(bench: Bench) -> None:
    bench.cut("its greenlet is killed")
    sent: list[Any] = []
    other = Aborts(lambda session: sent.append(session) or bench.beside.admin.command("killSessions", [session]))
    other.attend()
    other._waiting.extend(bench.aborts._waiting)
    bench.aborts._waiting.clear()
    bench.proxy.set("refuse")
    other.work()
    facts = other.counts().to_json()
    assert (facts["killed"], facts["waiting"], len(sent)) == (1, 0, 1)
    assert bench.plain(10) < WITHIN


def test_while_the_database_is_away_it_is_tried_again_until_the_server_has_forgotten_it(bench: Bench) -> None:
    now = [0.0]
    away = Aborts(lambda session: _away(), clock=lambda: now[0])
    away.attend()
    bench.cut("its greenlet is killed")
    for _, session in bench.aborts._waiting:
        away.put(session)
    bench.proxy.set("refuse")
    away.work()
    assert (away.counts().to_json()["waiting"], away.counts().to_json()["dropped"]) == (1, 0)
    now[0] = aborts.LIFETIME
    away.work()
    assert (away.counts().to_json()["waiting"], away.counts().to_json()["dropped"]) == (0, 1)
    bench.proxy.set("pass")
    bench.aborts.work()


def test_no_more_wait_than_there_is_room_for_and_the_rest_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aborts, "MOST", 2)
    for _ in range(3):
        session = bench.client.start_session()
        session.start_transaction()
        bench.client[NAME].others.insert_one({}, session=session)
        bench.aborts.put(session)
    assert (bench.aborts.counts().to_json()["waiting"], bench.aborts.counts().to_json()["dropped"]) == (2, 1)
    bench.aborts.work()
    assert bench.aborts.counts().to_json()["aborted"] == 2


def test_a_worker_that_ends_tries_what_waits_and_takes_no_more(bench: Bench) -> None:
    bench.cut("its greenlet is killed")
    bench.aborts.finish()
    assert bench.aborts.counts().to_json()["aborted"] == 1
    bench.cut("its greenlet is killed")  # nobody will come by any more: it is tried at once
    assert (bench.aborts.counts().to_json()["aborted"], bench.aborts.counts().to_json()["waiting"]) == (2, 0)
    assert bench.plain(10) < WITHIN


def test_ending_takes_no_longer_than_it_may(bench: Bench) -> None:
    bench.cut("its greenlet is killed")
    bench.proxy.set("blackhole")
    begun = time.monotonic()
    bench.aborts.finish(0.3)
    assert time.monotonic() - begun < 2
    assert (bench.aborts.counts().to_json()["dropped"], bench.aborts.counts().to_json()["waiting"]) == (1, 0)
    bench.proxy.set("pass")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationFailure("conflict", 112), True),
        (ValueError(), True),
        (AutoReconnect("lost"), False),
        (pymongo.errors.NetworkTimeout("late"), False),
        (pymongo.errors.ExecutionTimeout("late", 50), False),
        (KeyboardInterrupt(), False),
        (GeneratorExit(), False),
    ],
)
def test_only_where_the_way_to_the_server_is_open_an_abort_is_waited_for(error: BaseException, expected: bool) -> None:
    assert answered(error) is expected


def test_what_of_the_driver_is_private_is_where_it_was() -> None:
    assert callable(ClientSession._finish_transaction_with_retry)
    states = vars(session_transactions._TxnState)
    assert {"IN_PROGRESS", "COMMITTED", "ABORTED"} <= set(states)


def test_under_gevent_timers_and_kills_leave_no_lock_either(
    python: Callable[..., str], long_lived: DatabaseServer
) -> None:
    code = """
    from gevent import monkey
    monkey.patch_all()
    import sys, time
    import gevent
    from prodfix.connection.clients import GatedClient
    from prodfix.recovery.transactions import Transactions

    with GatedClient(sys.argv[1], gate=lambda: None) as client:
        things = client.kills.things
        for name in ("timer", "kill", "commit"):
            things.replace_one({"_id": name}, {}, upsert=True)
        transactions = Transactions(lambda: client, retries=0, base=0.1)
        transactions.aborts.attend()

        def write(session, name):
            things.update_one({"_id": name}, {"$set": {"a": 1}}, session=session)
            gevent.sleep(5)

        def timed():
            with gevent.Timeout(0.2, False):
                transactions.run(lambda session: write(session, "timer"))

        timed()
        greenlet = gevent.spawn(transactions.run, lambda session: write(session, "kill"))
        gevent.sleep(0.2)
        begun = time.monotonic()
        greenlet.kill()
        assert time.monotonic() - begun < 4  # what it does takes 5 s
        print(transactions.aborts.counts().to_json()["waiting"])
        transactions.aborts.work()
        begun = time.monotonic()
        for name in ("timer", "kill"):
            things.update_one({"_id": name}, {"$set": {"b": 1}})
        print(time.monotonic() - begun < 4, transactions.aborts.counts().to_json()["aborted"])
    """
    assert python(code, long_lived.uri).splitlines() == ["2", "True 2"]


def test_threads_that_hand_over_at_once_lose_none(bench: Bench) -> None:
    sessions = []
    for number in range(8):
        session = bench.client.start_session()
        session.start_transaction()
        bench.client[NAME].others.insert_one({"_id": f"{time.time()}-{number}"}, session=session)
        sessions.append(session)
    threads = [threading.Thread(target=bench.aborts.put, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.aborts.work()
    assert bench.aborts.counts().to_json()["aborted"] == 8


def _raised(work: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as raised:
        work()
    return raised.value


def _away() -> None:
    raise AutoReconnect("away")
