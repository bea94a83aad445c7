"""The circuit breaker: what opens it, what passes while it is open, and what closes it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pymongo
import pytest
from bson.errors import BSONError
from hypothesis import given
from hypothesis import strategies as st
from pymongo import _csot
from pymongo import errors as mongo
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidDocument,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from prodfix.errors import DatabaseUnavailable
from prodfix.recovery.breaker import LONGEST, PROBE_LIMIT, TRUST, Breaker
from tests.support.processes import in_child

FAILURES = [
    NetworkTimeout("no answer"),
    AutoReconnect("reset"),
    ExecutionTimeout("slow", 50),
    OperationFailure("x", 262),
]
ANSWERS = [DuplicateKeyError("taken", 11000), OperationFailure("refused", 121), OperationFailure("who", 18)]
SILENT = [WaitQueueTimeoutError("our pool"), InvalidDocument("no document"), ValueError()]


class World:
    """A breaker with a clock and a pinger that do as they are told, and what it told."""

    def __init__(self, **options: Any) -> None:
        self.now, self.down = 1000.0, False
        self.changes: list[tuple[str, str]] = []
        self.breaker = Breaker(
            lambda: self.down,
            clock=lambda: self.now,
            on_change=lambda before, after, facts: self.changes.append((str(before), str(after))),
            **options,
        )

    def call(self, error: Exception | None = None) -> str:
        def operation() -> str:
            if error is not None:
                raise error
            return "done"

        try:
            return self.breaker.call(operation)
        except DatabaseUnavailable:
            return "refused"
        except (PyMongoError, BSONError, ValueError):
            return "failed"

    def open(self) -> World:
        while self.breaker.state == "closed":
            self.call(FAILURES[0])
        return self


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_operations_that_fail_in_a_row_open_it(error: Exception) -> None:
    world = World(failures=4)
    assert [world.call(error) for _ in range(6)] == ["failed"] * 4 + ["refused"] * 2
    facts = world.breaker.status().to_json()
    assert (facts["state"], facts["cause"], facts["opened"], facts["refused"]) == ("open", "operations", 1, 2)
    assert world.changes == [("closed", "open")]


@pytest.mark.parametrize("error", ANSWERS + SILENT, ids=lambda error: type(error).__name__)
def test_refusals_and_what_never_reached_the_database_do_not(error: Exception) -> None:
    world = World(failures=2)
    assert [world.call(error) for _ in range(50)] == ["failed"] * 50
    assert world.breaker.status().to_json()["state"] == "closed"


def test_one_good_operation_begins_the_row_anew() -> None:
    world = World(failures=3)
    for _ in range(4):
        assert [world.call(FAILURES[0]), world.call(FAILURES[0]), world.call()] == ["failed", "failed", "done"]
    assert world.breaker.state == "closed"


def test_half_of_many_operations_open_it_too_and_old_ones_do_not_count() -> None:
    world = World(failures=1000)
    for _ in range(9):
        world.call()
        world.call(FAILURES[0])
    assert world.breaker.state == "closed", "18 of them say too little"
    world.now += 11
    world.call()
    world.call(FAILURES[0])
    assert world.breaker.state == "closed"
    for _ in range(9):
        world.call()
        world.call(FAILURES[0])
    assert world.breaker.state == "open"


def test_what_the_gate_refuses_is_not_counted_as_a_failure() -> None:
    world = World(failures=2)
    for _ in range(5):
        assert world.call(DatabaseUnavailable()) == "refused"
    facts = world.breaker.status().to_json()
    assert (facts["windowFailures"], facts["failuresInARow"], facts["state"]) == (0, 0, "closed")


def test_zero_leaves_it_to_the_pinger() -> None:
    world = World(failures=0)
    assert {world.call(FAILURES[0]) for _ in range(100)} == {"failed"}


def test_while_it_is_open_an_operation_fails_in_less_than_5_ms() -> None:
    world = World().open()
    begun = time.thread_time()
    for _ in range(100):
        assert world.call() == "refused"
    assert (time.thread_time() - begun) / 100 < 0.005


def test_after_a_second_one_operation_probes_and_closes_it() -> None:
    world = World(failures=2).open()
    world.now += 1.01
    assert world.breaker.state == "half_open"
    assert [world.call(), world.call()] == ["done", "done"]
    assert world.changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert world.call(FAILURES[0]) == "failed"
    assert world.breaker.state == "closed", "what failed before says nothing about now"


def test_probes_that_fail_become_rarer() -> None:
    world = World(failures=2).open()
    waits = []
    for _ in range(6):
        begun = world.now
        while world.call(FAILURES[0]) == "refused":
            world.now += 0.25
        waits.append(world.now - begun)
    assert waits == [1.0, 2.0, 4.0, LONGEST, LONGEST, LONGEST]
    assert world.breaker.status().to_json()["probes"] == 6


def test_a_probe_that_says_nothing_leaves_the_next_one_to_probe() -> None:
    world = World(failures=2).open()
    world.now += 1.01
    assert [world.call(SILENT[0]), world.call()] == ["failed", "done"]
    assert world.breaker.state == "closed"


def test_a_probe_that_a_deadline_cuts_has_failed() -> None:
    class Cut(BaseException):
        pass

    def cut() -> None:
        raise Cut

    world = World(failures=2).open()
    world.now += 1.01
    with pytest.raises(Cut):
        world.breaker.call(cut)
    assert (world.call(), world.breaker.state) == ("refused", "open")


def test_a_probe_has_two_seconds_or_what_its_request_has_left() -> None:
    world = World(failures=2)
    assert world.breaker.call(_csot.remaining) is None
    world.open().now += 1.01
    left = world.breaker.call(_csot.remaining)
    assert left is not None
    assert PROBE_LIMIT - 0.5 < left <= PROBE_LIMIT
    world.open().now += 1.01
    with pymongo.timeout(1.5):
        left = world.breaker.call(_csot.remaining)
    assert left is not None
    assert left <= 1.5


def test_what_a_client_gave_no_time_says_nothing_of_the_database_and_probes_nothing() -> None:
    world = World(failures=2)

    def late() -> None:
        raise mongo.NetworkTimeout("cut")

    for _ in range(10):
        with pytest.raises(mongo.NetworkTimeout), pymongo.timeout(0.05):
            world.breaker.call(late)
    assert world.breaker.state == "closed"
    world.open().now += 1.01
    with pytest.raises(DatabaseUnavailable), pymongo.timeout(0.05):
        world.breaker.call(lambda: None)
    assert world.breaker.call(lambda: "probe") == "probe", "the next one with enough time"
    for _ in range(2):
        with pytest.raises(mongo.NetworkTimeout):
            world.breaker.call(late)
    assert world.breaker.state != "closed", "the control"


def test_one_operation_probes_at_a_time_whatever_the_crowd() -> None:
    world = World(failures=2).open()
    world.now += 1.01
    barrier, answer = threading.Barrier(9), threading.Event()
    ends: list[str] = []

    def operation() -> None:
        entered.append(1)
        answer.wait(5)

    def ask() -> None:
        barrier.wait(5)
        try:
            world.breaker.call(operation)
            ends.append("done")
        except DatabaseUnavailable:
            ends.append("refused")
            if len(ends) == 7:
                answer.set()

    entered: list[int] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait(5)
    for thread in threads:
        thread.join(5)
    assert (sorted(ends), len(entered)) == (["done"] + ["refused"] * 7, 1)


# -- the pinger -------------------------------------------------------------------------------------------------------------


def test_what_the_pinger_knows_to_be_down_is_refused_and_a_good_ping_closes_it() -> None:
    world = World()
    world.breaker.gate()
    world.down = True
    for _ in range(2):
        world.breaker.look()
        with pytest.raises(DatabaseUnavailable):
            world.breaker.gate()
    facts = world.breaker.status().to_json()
    assert (facts["state"], facts["cause"], facts["opened"], facts["refused"]) == ("open", "pings", 1, 2)
    world.down = False
    world.breaker.look()
    world.breaker.gate()
    assert world.breaker.status().to_json()["cause"] is None
    assert world.changes == [("closed", "open"), ("open", "closed")]


def test_a_database_that_answers_a_patient_ping_is_slow_and_not_down() -> None:
    world = World(failures=3)

    def lost() -> None:
        raise AutoReconnect("lost")

    def passes() -> bool:
        try:
            world.breaker.gate()
        except DatabaseUnavailable:
            return False
        return True

    world.breaker.ask(lambda: pytest.fail("nobody asks while pings are good"))
    world.down = True
    world.breaker.look()
    world.breaker.ask(lost)
    assert not passes()
    world.breaker.ask(lambda: None)
    assert (passes(), world.breaker.state) == (True, "closed")
    world.now += TRUST
    assert not passes(), "one answer does not count for ever"
    world.breaker.ask(lambda: None)
    world.breaker.ask(lost)
    assert not passes()
    world.breaker.ask(lambda: None)
    assert [world.call(FAILURES[0]) for _ in range(4)] == ["failed"] * 3 + ["refused"]
    assert world.breaker.status().to_json()["cause"] == "operations"


def test_operations_that_failed_with_the_database_do_not_keep_it_open_when_that_is_back() -> None:
    world = World(failures=2).open()
    world.down = True
    world.breaker.look()
    world.down = False
    world.breaker.look()
    assert world.call() == "done"


def test_operations_that_fail_while_it_is_known_to_be_down_open_nothing_of_their_own() -> None:
    world = World(failures=2)
    world.down = True
    for _ in range(10):
        world.call(FAILURES[0])
    assert world.changes == [], "and what the pinger finds is told after a ping, not by a request"
    world.down = False
    assert world.call() == "done"


def test_since_when_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(failures=2)
    before = world.breaker.status().to_json()["since"]
    time.sleep(0.002)  # times have milliseconds
    world.open()
    assert world.breaker.status().to_json()["since"] > before


def test_a_forked_process_begins_anew() -> None:
    world = World(failures=2).open()
    assert in_child(lambda: (world.call(), world.breaker.status().to_json()["opened"])) == ["done", 0]
    assert world.breaker.status().to_json()["opened"] == 1


@given(
    events=st.lists(st.sampled_from(["good", "bad", "refusal", "second", "down", "up"]), max_size=120),
    failures=st.integers(1, 5),
)
def test_it_never_refuses_a_healthy_database_for_longer_than_its_longest_wait(events: list[str], failures: int) -> None:
    world = World(failures=failures)
    for event in events:
        if event == "second":
            world.now += 1
        elif event in ("down", "up"):
            world.down = event == "down"
            world.breaker.look()
        else:
            world.call({"good": None, "bad": FAILURES[0], "refusal": ANSWERS[0]}[event])
    world.down = False
    world.breaker.look()
    world.now += LONGEST + 0.01
    assert world.call() == "done"
    assert world.breaker.state == "closed"


# ---- client-side encryption


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_what_was_wrapped_when_a_command_could_not_be_encrypted_counts_as_what_it_is(error: Exception) -> None:
    world = World(failures=4)
    assert [world.call(mongo.EncryptionError(error)) for _ in range(5)] == ["failed"] * 4 + ["refused"]
    brief = World(failures=1)
    with pymongo.timeout(0.5):
        brief.call(mongo.EncryptionError(NetworkTimeout("a client asked for less")))
    assert brief.breaker.state == "closed"


@pytest.mark.parametrize("error", [*ANSWERS, *SILENT, KeyError()], ids=lambda error: type(error).__name__)
def test_a_wrapped_refusal_does_not(error: Exception) -> None:
    world = World(failures=2)
    assert [world.call(mongo.EncryptionError(error)) for _ in range(10)] == ["failed"] * 10
    assert world.breaker.state == "closed"


def test_a_key_service_that_does_not_answer_opens_nothing() -> None:
    space: dict[str, Any] = {"__name__": "pymongo.synchronous.encryption", "error": AutoReconnect("kms.example:443")}
    exec("def kms_request():\n    raise error", space)
    with pytest.raises(AutoReconnect) as caught:
        space["kms_request"]()
    world = World(failures=2)
    assert [world.call(mongo.EncryptionError(caught.value)) for _ in range(10)] == ["failed"] * 10
    assert world.breaker.state == "closed"
