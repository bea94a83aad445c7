"""The connection's monitor: what pings say becomes a state, two of a kind an event, and a lost one closes the gate."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient, monitoring
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from prodfix.classification.classifier import classify
from prodfix.connection.monitor import LOSSES, ConnectionMonitor
from prodfix.connection.pool import PoolCounter
from prodfix.connection.status import ConnectionEvent
from prodfix.driver.csot import remaining
from prodfix.errors import DatabaseRefused, DatabaseUnavailable
from prodfix.records.records import summary
from prodfix.signals import connection_changed
from tests.support.processes import in_child

LOST = ServerSelectionTimeoutError("secret.host:27017: no servers")
REFUSED = OperationFailure("Authentication failed.", 18)


class Lab:
    """A monitor with a clock and a client of the test's own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.latency = 0.002
        self.error: Exception | None = None
        self.events: list[ConnectionEvent] = []
        self.admin = self
        self.commands_ended: float | None = None  # seconds before now
        self.monitor = ConnectionMonitor(
            lambda: self,  # type: ignore[arg-type,return-value]
            interval=0.5,
            max_age=1.5,
            on_event=self.events.append,
            last_command=self.last_command,
            clock=lambda: self.now,
        )

    def last_command(self) -> float | None:
        return None if self.commands_ended is None else self.now - self.commands_ended

    def command(self, name: str) -> None:
        assert name == "ping"
        self.now += self.latency
        if self.error is not None:
            raise self.error

    def ping(self, *errors: Exception | None) -> None:
        """One ping each half second."""
        for self.error in errors:
            self.monitor.ping()
            self.now += 0.5

    @property
    def states(self) -> list[str]:
        return [event.event for event in self.events]


@pytest.fixture
def lab() -> Lab:
    return Lab()


# -- states -----------------------------------------------------------------------------------------------------------------


def test_before_the_first_ping_it_is_not_healthy_and_not_known_to_be_down(lab: Lab) -> None:
    health = lab.monitor.health()
    assert (health.healthy, health.looked, health.ever_healthy, health.latency_ms) == (False, False, False, None)
    assert (health.details.state, lab.monitor.down) == ("disconnected", False)
    lab.monitor.gate()


def test_one_good_ping_is_healthy(lab: Lab) -> None:
    lab.ping(None)
    health = lab.monitor.health()
    assert (health.healthy, health.looked, health.ever_healthy, health.latency_ms) == (True, True, True, 2.0)
    assert (health.details.state, health.details.uptime) == ("connected", 0.5)
    assert health.details.reconnect_attempts == 0


def test_a_good_ping_counts_until_it_is_too_old(lab: Lab) -> None:
    lab.ping(None)
    lab.now += 0.9
    assert lab.monitor.healthy
    lab.now += 0.2
    assert not lab.monitor.healthy
    assert not lab.monitor.down  # nobody has seen a ping fail: a pinger that is late closes no gate


def test_an_outage_closes_the_gate_and_one_good_ping_opens_it(lab: Lab) -> None:
    lab.ping(None, LOST)
    lab.monitor.gate()  # the last good ping is young enough
    lab.ping(LOST, LOST)
    assert lab.monitor.down
    with pytest.raises(DatabaseUnavailable):
        lab.monitor.gate()
    assert lab.monitor.status().state == "reconnecting"
    lab.ping(None)
    lab.monitor.gate()
    assert lab.monitor.status().state == "connected"


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (LOST, DatabaseUnavailable, True),
        (NetworkTimeout("slow"), DatabaseUnavailable, True),
        (OperationFailure("not now", 11600), DatabaseUnavailable, True),
        (ConfigurationError("The DNS query name does not exist"), DatabaseUnavailable, True),
        (REFUSED, DatabaseRefused, False),
        (OperationFailure("not authorized", 13), DatabaseRefused, False),
        (OperationFailure("atlas", 8000), DatabaseRefused, False),
        (ConfigurationError("no such option"), DatabaseRefused, False),
    ],
    ids=repr,
)
def test_the_gate_says_why_the_database_is_away_and_whether_waiting_helps(
    lab: Lab, error: Exception, kind: type, retryable: bool
) -> None:
    lab.ping(None, *[error] * 4)
    with pytest.raises(DatabaseUnavailable) as caught:
        lab.monitor.gate()
    assert type(caught.value) is kind
    meaning = classify(caught.value)
    assert (meaning.code, meaning.severity, meaning.retryable) == ("DATABASE_UNAVAILABLE", "critical", retryable)
    assert summary(caught.value) == f"{kind.__name__} ({type(error).__name__})"
    # Put right, lost again for another reason: the old one is forgotten.
    lab.ping(None, *[LOST] * 4)
    with pytest.raises(DatabaseUnavailable) as caught:
        lab.monitor.gate()
    assert summary(caught.value) == "DatabaseUnavailable (ServerSelectionTimeoutError)"


def test_a_ping_that_hangs_closes_the_gate_before_it_has_failed(lab: Lab) -> None:
    lab.ping(None)
    seen: list[bool] = []
    told: set[str] = set()

    def hang(name: str) -> None:
        for _ in range(6):
            seen.append(lab.monitor.down)
            if seen[-1]:
                with pytest.raises(DatabaseUnavailable) as caught:
                    lab.monitor.gate()
                told.add(summary(caught.value))
            lab.now += 0.4
        raise LOST

    lab.command = hang  # type: ignore[method-assign]
    lab.monitor.ping()
    assert seen == [False, False, False, True, True, True]
    assert told == {"DatabaseUnavailable (no answer to a ping within 500 ms)"}, "one title, however long it hangs"
    assert lab.monitor.down
    with pytest.raises(DatabaseUnavailable) as caught:
        lab.monitor.gate()
    assert summary(caught.value) == "DatabaseUnavailable (ServerSelectionTimeoutError)", "the control: it has failed"


def down_while_a_ping_hangs(lab: Lab, late: float = 0.0) -> list[float]:
    """The seconds of a ping that takes 2.9 of them at which the gate is closed."""
    begun, closed = lab.now, list[float]()

    def hang(name: str) -> None:
        while lab.now < begun + 2.9:
            if lab.monitor.down:
                closed.append(round(lab.now - begun, 1))
            lab.now += 0.3

    lab.command = hang  # type: ignore[method-assign]
    lab.monitor.ping(late=late)
    return closed


def test_a_first_ping_that_makes_its_connection_closes_no_gate(lab: Lab) -> None:
    assert down_while_a_ping_hangs(lab) == [2.1, 2.4, 2.7], "beyond any limit: a look-up of names has none"
    assert not lab.monitor.down, "and it was answered"
    # The control: over a connection that is there the same seconds are a server that hangs.
    lab.now += 2.0
    assert down_while_a_ping_hangs(lab) == [0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 2.7]


def test_a_ping_of_a_process_that_waits_for_its_cpu_may_wait_as_long_for_its_answer(lab: Lab) -> None:
    lab.ping(None)
    lab.now += 2.0
    assert down_while_a_ping_hangs(lab, late=0.35)[:2] == [0.9, 1.2]
    lab.now += 2.0
    assert down_while_a_ping_hangs(lab, late=60.0)[0] == 1.2, "its limit is one second: then it has failed"
    lab.now += 2.0
    assert down_while_a_ping_hangs(lab)[0] == 0.6, "the control: one that was asked in time"


def test_a_sibling_that_makes_its_connection_closes_no_gate_of_one_that_has_not_looked(lab: Lab) -> None:
    lab.monitor.overhear(lab.now - 1.9)
    assert not lab.monitor.down
    lab.monitor.overhear(lab.now - 2.0)
    assert lab.monitor.down
    # The control.
    lab.ping(None)
    lab.now += 2.0
    lab.monitor.overhear(lab.now - 0.6)
    assert lab.monitor.down


def test_only_the_first_ping_has_the_seconds_of_a_connection(lab: Lab) -> None:
    given: list[float | None] = []

    def command(name: str) -> None:
        left = remaining()
        given.append(left and round(left, 1))

    lab.command = command  # type: ignore[method-assign]
    lab.monitor.ping()
    lab.monitor.ping()
    assert given == [2.0, 1.0]
    # Whoever says how long a ping may take, says it of the first one too.
    asked_once = Lab()
    asked_once.command = command  # type: ignore[method-assign]
    asked_once.monitor.allow(0.8)
    asked_once.monitor.ping()
    assert given[2:] == [0.8]


def test_slow_pings_alone_do_not_stop_an_application_whose_commands_succeed(lab: Lab) -> None:
    lab.commands_ended = 0.0
    lab.ping(None, *[NetworkTimeout("slow")] * 6)
    assert not lab.monitor.healthy
    lab.monitor.gate()
    lab.commands_ended = 1.0
    with pytest.raises(DatabaseUnavailable):
        lab.monitor.gate()


def test_a_database_that_never_answered_is_down_after_the_first_ping(lab: Lab) -> None:
    lab.ping(LOST)
    assert (lab.monitor.down, lab.monitor.status().state) == (True, "disconnected")
    assert not lab.monitor.health().ever_healthy


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (REFUSED, "error"),
        (ConfigurationError("no such host"), "error"),
        (ValueError("our own defect"), "error"),
        (LOST, "disconnected"),
        (NetworkTimeout("slow"), "disconnected"),
        (AutoReconnect("reset"), "disconnected"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_server_that_refuses_us_is_an_error_and_a_lost_one_is_not(lab: Lab, error: Exception, state: str) -> None:
    lab.ping(error)
    assert lab.monitor.status().state == state


def test_the_last_error_is_a_type_and_a_code_and_no_text(lab: Lab) -> None:
    lab.ping(LOST)
    assert lab.monitor.status().last_error == "ServerSelectionTimeoutError"
    lab.ping(REFUSED)
    assert lab.monitor.status().last_error == "OperationFailure (code 18)"
    assert "secret" in str(LOST)  # the control: there was a host to leak


def test_uptime_begins_anew_after_an_outage(lab: Lab) -> None:
    lab.ping(*[None] * 10)
    assert lab.monitor.status().uptime > 4
    lab.ping(*[LOST] * 4)
    assert lab.monitor.status().uptime == 0
    lab.ping(None)
    assert lab.monitor.status().uptime == 0.5


def test_attempts_are_the_failed_pings_since_the_loss(lab: Lab) -> None:
    lab.ping(None, *[LOST] * 5)
    assert lab.monitor.status().reconnect_attempts == 5
    lab.ping(None)
    assert lab.monitor.status().reconnect_attempts == 0


# -- events -----------------------------------------------------------------------------------------------------------------


def test_an_outage_is_two_events_and_its_end_is_one(lab: Lab) -> None:
    lab.ping(*[None] * 3, *[LOST] * 6, *[None] * 3)
    assert lab.states == ["connected", "disconnected", "reconnecting", "connected"]


def test_a_database_that_is_down_from_the_start_is_an_event(lab: Lab) -> None:
    lab.ping(LOST)
    assert lab.states == []
    lab.ping(LOST, LOST)
    assert lab.states == ["disconnected"]


@pytest.mark.parametrize("pings", [[None, None, LOST, None, LOST, None, LOST, None], [None, None, LOST, LOST, None]])
def test_a_single_bad_answer_is_no_event(lab: Lab, pings: list[Exception | None]) -> None:
    lab.ping(*pings)
    assert lab.states == ["connected"]


def test_a_refusal_is_an_event_of_its_own(lab: Lab) -> None:
    lab.ping(None, None, *[REFUSED] * 5)
    assert lab.states == ["connected", "disconnected", "error"]


@given(pings=st.lists(st.sampled_from([None, LOST, REFUSED]), max_size=40))
def test_no_event_repeats_the_one_before_and_each_needs_two_answers(pings: list[Exception | None]) -> None:
    lab = Lab()
    lab.ping(*pings)
    assert all(first != second for first, second in zip(lab.states, lab.states[1:], strict=False))
    assert len(lab.states) <= len(pings) // 2 * 2
    assert lab.monitor.health().ever_healthy == (None in pings)


def test_losses_are_counted_for_a_while_and_a_first_ping_in_vain_is_none(lab: Lab) -> None:
    lab.ping(LOST, LOST, LOST, LOST)
    assert lab.monitor.losses(900.0) == 0
    for number in range(1, 4):
        lab.ping(None, None, LOST, LOST, LOST, LOST)
        assert lab.monitor.losses(900.0) == number
    lab.now += 895.0
    assert lab.monitor.losses(900.0) == 2
    for _ in range(LOSSES + 5):
        lab.ping(None, None, LOST, LOST, LOST, LOST)
    assert lab.monitor.losses(1e9) == LOSSES


def test_an_event_tells_the_conditions_without_a_host(lab: Lab) -> None:
    lab.ping(None, *[LOST] * 5)
    document = lab.events[-1].to_document()
    assert set(document["details"]["network"]) == {"topology", "roundTripMs", "lastHeartbeatError", "attempts"}
    assert document["environment"]["driver"].startswith("pymongo ")
    assert "secret" not in repr(document)


def test_a_change_is_a_signal_too(lab: Lab) -> None:
    heard: list[str] = []

    def receive(sender: object, event: ConnectionEvent) -> None:
        heard.append(event.event)

    with connection_changed.connected_to(receive, sender=lab.monitor):
        lab.ping(None, None)
    assert heard == ["connected"]


def test_pinging_a_real_server(connect: Callable[..., Any], until: Callable[..., Any]) -> None:
    monitor = ConnectionMonitor(lambda: client)
    client = connect(event_listeners=list(monitor.watchers))
    monitor.ping()
    assert monitor.healthy
    until(lambda: monitor.network().to_json()["topology"].startswith("ReplicaSetWithPrimary"))
    assert monitor.network().to_json()["roundTripMs"] > 0


def test_pinging_nobody_is_given_up_in_time() -> None:
    with MongoClient("mongodb://127.0.0.1:9", connect=False) as client:
        monitor = ConnectionMonitor(lambda: client, interval=0.05, max_age=0.1)
        begun = time.monotonic()
        monitor.ping()
    assert time.monotonic() - begun < 10  # the driver's own limit is 30 s
    assert (monitor.down, monitor.status().last_error) == (True, "ServerSelectionTimeoutError")


def test_heartbeats_that_fail_are_counted(until: Callable[..., Any]) -> None:
    monitor = ConnectionMonitor(lambda: None)  # type: ignore[arg-type,return-value]
    with MongoClient("mongodb://127.0.0.1:9", event_listeners=list(monitor.watchers), heartbeatFrequencyMS=500):
        until(lambda: monitor.network().to_json()["attempts"] >= 1)
    assert monitor.network().to_json()["lastHeartbeatError"] == "AutoReconnect"


# -- the pool ---------------------------------------------------------------------------------------------------------------


def pool_of(client: Any) -> Any:
    return client._get_topology().select_server(lambda selection: selection, "test").pool


@pytest.fixture
def counter() -> PoolCounter:
    return PoolCounter()


def test_its_numbers_are_the_pools_own_under_threads(
    connect: Callable[..., Any], counter: PoolCounter, until: Callable[..., Any]
) -> None:
    client = connect(event_listeners=[counter], maxPoolSize=5)
    stop = threading.Event()

    def work(seed: int) -> None:
        wanted = random.Random(seed)
        while not stop.is_set():
            client.test.command("ping")
            stop.wait(wanted.random() / 500)

    with ThreadPoolExecutor(12) as threads:
        running = [threads.submit(work, seed) for seed in range(12)]
        until(lambda: counter.totals()["total"] == 5)
        stop.set()
        for task in running:
            task.result(5)
    pool = pool_of(client)
    assert counter.totals() == {"total": len(pool.conns), "out": 0, "waiting": 0, "capacity": 5}
    assert pool.active_sockets == 0


def test_connections_in_use_and_those_who_wait_for_one_are_counted(
    connect: Callable[..., Any], counter: PoolCounter, fail: Any, until: Callable[..., Any]
) -> None:
    client = connect(event_listeners=[counter], maxPoolSize=2, waitQueueTimeoutMS=300)
    fail("find", blockConnection=True, blockTimeMS=1000)
    with ThreadPoolExecutor(3) as threads:
        tasks = [threads.submit(client.test.notes.find_one) for _ in range(3)]
        until(lambda: counter.totals() == {"total": 2, "out": 2, "waiting": 1, "capacity": 2})
        assert pool_of(client).active_sockets == 2
        failures = [task.exception(5) for task in tasks]
    assert sorted(type(failure) for failure in failures if failure) == [WaitQueueTimeoutError]
    left = len(pool_of(client).conns)  # until 4.18 the driver gives them up when somebody has waited in vain
    assert counter.totals() == {"total": left, "out": 0, "waiting": 0, "capacity": 2}


def test_connections_that_break_are_no_longer_counted(
    connect: Callable[..., Any], counter: PoolCounter, fail: Any
) -> None:
    client = connect(event_listeners=[counter], retryReads=False)
    client.test.notes.find_one()
    fail("find", times=1, closeConnection=True)
    with pytest.raises(AutoReconnect):
        client.test.notes.find_one()
    assert counter.totals()["total"] == 0
    client.test.notes.find_one()
    assert (counter.totals()["total"], len(pool_of(client).conns)) == (1, 1)


CUT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, pymongo
from prodfix.connection.pool import PoolCounter
from prodfix.request.deadlines import Enforced
class Late(Exception): pass

counter = PoolCounter()
client = pymongo.MongoClient(sys.argv[1], maxPoolSize=1, event_listeners=[counter])
client.admin.command("ping")

def cut():
    try:
        with Enforced(0.05, Late): client.admin.command("ping")
    except Late: return "late"

def kept_alive():
    cut()
    client.admin.command("ping")
    return counter.totals()["waiting"]

with client._topology.select_server(lambda found: found, "test").pool.checkout():
    begun = [gevent.spawn(cut) for _ in range(7)]
    again = gevent.spawn(kept_alive)
    gevent.sleep(0.02)
    print(counter.totals())
    print([one.get() for one in begun])
    del begun[:]
print(again.get())
del again
print(counter.totals())
client.close()
"""


def test_who_is_cut_while_waiting_for_a_connection_waits_no_more(python: Callable[..., str], database_uri: str) -> None:
    assert python(CUT, database_uri).splitlines() == [
        "{'total': 1, 'out': 1, 'waiting': 8, 'capacity': 1}",
        "['late', 'late', 'late', 'late', 'late', 'late', 'late']",
        "0",
        "{'total': 1, 'out': 0, 'waiting': 0, 'capacity': 1}",
    ], "the control: all eight were seen to wait"


def test_after_the_client_is_closed_nothing_is_left(connect: Callable[..., Any], counter: PoolCounter) -> None:
    client = connect(event_listeners=[counter])
    client.test.notes.find_one()
    client.close()
    assert counter.totals() == {"total": 0, "out": 0, "waiting": 0, "capacity": 0}


def test_clients_of_one_server_are_counted_together_and_the_end_of_one_is_not_that_of_the_others(
    connect: Callable[..., Any], counter: PoolCounter
) -> None:
    first, second = (connect(event_listeners=[counter], maxPoolSize=size) for size in (7, 5))
    for client in (first, second):
        client.test.notes.find_one()
    assert counter.totals() == {"total": 2, "out": 0, "waiting": 0, "capacity": 12}
    second.close()
    assert counter.totals() == {"total": 1, "out": 0, "waiting": 0, "capacity": 7}
    first.close()
    assert counter.totals() == {"total": 0, "out": 0, "waiting": 0, "capacity": 0}


def test_a_connection_that_comes_back_to_a_removed_server_does_not_count_against_the_others(
    counter: PoolCounter,
) -> None:
    here, gone = ("here", 1), ("gone", 1)
    for address in (here, gone):
        counter.pool_created(monitoring.PoolCreatedEvent(address, {"maxPoolSize": 3}))
        counter.connection_created(monitoring.ConnectionCreatedEvent(address, 1))
        counter.connection_check_out_started(monitoring.ConnectionCheckOutStartedEvent(address))
        counter.connection_checked_out(monitoring.ConnectionCheckedOutEvent(address, 1, 0.0))
    counter.pool_closed(monitoring.PoolClosedEvent(gone))
    counter.connection_checked_in(monitoring.ConnectionCheckedInEvent(gone, 1))
    counter.connection_closed(monitoring.ConnectionClosedEvent(gone, 1, "poolClosed"))
    assert counter.totals() == {"total": 1, "out": 1, "waiting": 0, "capacity": 3}


def test_the_status_shows_the_pool(lab: Lab) -> None:
    lab.monitor.pool.pool_created(monitoring.PoolCreatedEvent(("here", 1), {"maxPoolSize": 3}))
    lab.monitor.pool.connection_created(monitoring.ConnectionCreatedEvent(("here", 1), 1))
    lab.monitor.pool.connection_check_out_started(monitoring.ConnectionCheckOutStartedEvent(("here", 1)))
    lab.monitor.pool.connection_checked_out(monitoring.ConnectionCheckedOutEvent(("here", 1), 1, 0.0))
    status = lab.monitor.status().to_json()
    assert (status["poolSize"], status["availableConnections"], status["checkedOut"]) == (1, 2, 1)


def test_a_fork_inherits_no_counts_of_its_parents_connections() -> None:
    counter, address = PoolCounter(), ("localhost", 27017)
    counter.pool_created(monitoring.PoolCreatedEvent(address, {"maxPoolSize": 10}))
    counter.connection_created(monitoring.ConnectionCreatedEvent(address, 1))
    assert counter.totals()["total"] == 1

    def child() -> list[dict[str, int]]:
        before = counter.totals()
        counter.pool_created(monitoring.PoolCreatedEvent(address, {"maxPoolSize": 5}))
        counter.connection_created(monitoring.ConnectionCreatedEvent(address, 1))
        return [before, counter.totals()]

    before, after = in_child(child)
    assert before == {"total": 0, "out": 0, "waiting": 0, "capacity": 0}
    assert (after["total"], after["capacity"]) == (1, 5)
    assert (counter.totals()["total"], counter.totals()["capacity"]) == (1, 10)
