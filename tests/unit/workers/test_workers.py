"""The live workers of an instance, as every one of them tells of all."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import orjson
import pytest

from prodfix.instance.heartbeat import Heartbeat
from prodfix.journal.journal import Journal
from prodfix.logs.sinks import SinksStatus, SinkStatus
from prodfix.process.memory import MemoryUse
from prodfix.recovery.breaker import BreakerState, BreakerStatus
from prodfix.workers.worker_state import JournalStatus, WorkerState
from prodfix.workers.workers import Workers, breaker_of, connection_of, journal_of, lasting, sinks_of


def worker(journal: Journal, name: str, age: float = 0, **connection: Any) -> None:
    known = {"state": "connected", "uptime": 9.0, "lastError": None, "reconnectAttempts": 0, "poolExhausted": False}
    pool = {"poolSize": 2, "availableConnections": 9, "checkedOut": 1, "waiting": 0, "capacity": 10}
    entry = orjson.dumps({"pid": 1, "connection": known | pool | connection})
    journal.write([("INSERT INTO status VALUES (?, ?, ?)", (name, time.time() - age, entry))])


@pytest.fixture
def workers(journal: Journal) -> Workers:
    return Workers(journal)


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["connected", "connected"], "connected"),
        (["connected", "reconnecting"], "reconnecting"),
        (["disconnected", "reconnecting"], "disconnected"),
        (["connected", "error", "disconnected"], "error"),
    ],
)
def test_the_instance_is_as_bad_as_its_worst_worker(
    workers: Workers, journal: Journal, states: list[str], worst: str
) -> None:
    for number, state in enumerate(states):
        worker(journal, str(number), state=state, uptime=float(number + 1), reconnectAttempts=number)
    connection = connection_of(workers.read())
    assert (connection.state, connection.uptime) == (worst, 1.0)
    assert connection.reconnect_attempts == len(states) - 1
    assert (connection.pool_size, connection.capacity) == (2 * len(states), 10 * len(states))


def live(**connection: Any) -> WorkerState:
    known = {"state": "connected", "uptime": 9.0, "lastError": None, "reconnectAttempts": 0, "poolExhausted": False}
    pool = {"poolSize": 2, "availableConnections": 9, "checkedOut": 1, "waiting": 0, "capacity": 10}
    journal = {"failing": "OSError 30", "quarantined": 1}
    return WorkerState.from_json({"pid": 2, "connection": known | pool | connection, "journal": journal})


@pytest.mark.parametrize("trouble", [TimeoutError, OSError])
def test_a_worker_that_cannot_read_any_journal_still_knows_itself(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(journal, "read", refuse)
    workers = Workers(journal, state=live)
    found = workers.read()
    assert [entry.worker for entry in found] == [journal.boot]
    assert connection_of(found).state == "connected"
    assert journal_of(found) == JournalStatus("OSError 30", quarantined=1, lost_writes=0, other_versions=0)


def test_what_the_journal_says_of_this_worker_is_what_all_workers_answer(journal: Journal) -> None:
    workers = Workers(journal, state=lambda: live(state="error"))
    worker(journal, journal.boot)
    worker(journal, "other")
    found = workers.read()
    assert sorted(entry.worker for entry in found) == sorted([journal.boot, "other"])
    assert (connection_of(found).state, journal_of(found).failing) == ("connected", None)


def test_an_old_row_of_this_worker_does_not_count_either(journal: Journal) -> None:
    workers = Workers(journal, state=live)
    worker(journal, journal.boot, age=60, state="error")
    assert [entry.connection.state for entry in workers.read()] == ["connected"]


def test_a_worker_that_is_silent_for_long_no_longer_counts(workers: Workers, journal: Journal) -> None:
    worker(journal, "alive", age=1)
    worker(journal, "gone", age=60, state="error")
    assert [entry.worker for entry in workers.read()] == ["alive"]


def test_the_command_line_reads_and_is_no_worker(journal: Journal) -> None:
    reader = Workers(Journal(journal.folder), state=live)
    worker(journal, "alive")
    assert [entry.worker for entry in reader.read()] == ["alive"]


def test_without_any_worker_the_instance_is_not_connected() -> None:
    assert (connection_of([]).state, connection_of([]).pool_exhausted) == ("disconnected", False)


def test_a_sink_that_fails_in_one_worker_is_told_with_the_lines_of_all() -> None:
    def sink(failing: str | None, lost: int) -> WorkerState:
        return WorkerState(logs=SinksStatus(0, (SinkStatus("error.log", failing, lost, 1, 0),)))

    assert sinks_of([sink(None, 3), sink("OSError 28", 4)]) == [SinkStatus("error.log", "OSError 28", 7, 2, 0)]
    assert sinks_of([WorkerState()]) == []


def test_breakers_are_counted_by_their_state() -> None:
    states = [BreakerStatus(BreakerState.OPEN), BreakerStatus(), None]
    found = breaker_of([WorkerState(breaker=state) for state in states])
    assert found == {"closed": 1, "half_open": 0, "open": 1}


def test_a_worker_of_another_release_is_read_as_far_as_it_is_understood(workers: Workers, journal: Journal) -> None:
    mine = live().to_json()
    odd = mine | {"pid": 7, "connection": {**mine["connection"], "state": "asleep", "mood": "good"}, "news": {"a": 1}}
    del odd["journal"], odd["breaker"], odd["memory"]
    for name, entry in (("mine", mine), ("odd", odd), ("none", [])):
        journal.write([("INSERT INTO status VALUES (?, ?, ?)", (name, time.time(), orjson.dumps(entry)))])
    found = {state.worker: state for state in workers.read()}
    assert found["mine"] == replace(live(), worker="mine"), "the control: nothing is lost of what is understood"
    assert (found["odd"].pid, found["odd"].connection.state, found["odd"].connection.pool_size) == (
        7,
        "disconnected",
        2,
    )
    assert (found["odd"].journal, found["odd"].breaker, found["odd"].environment.memory) == (
        JournalStatus(),
        None,
        None,
    )
    assert found["none"] == WorkerState(worker="none")
    assert connection_of(list(found.values())).state == "disconnected"


@pytest.mark.parametrize(
    "row", [("b", "soon", b"{}"), ("b", 1, b"{broken"), (7, 1, b""), ("b", 1, b"\xff\xfe"), ("b", 1, "text")]
)
def test_a_row_that_cannot_be_read_hides_no_other(workers: Workers, journal: Journal, row: tuple[Any, ...]) -> None:
    worker(journal, "a")
    name, at, entry = row
    moment = time.time() if at == 1 else at
    journal.write([("INSERT OR REPLACE INTO status VALUES (?, ?, ?)", (name, moment, entry))])
    assert "a" in {one.worker for one in workers.read()}
    assert len(workers.read()) == 2 - (entry != b"{}")


def beating(name: str, **facts: Any) -> Heartbeat:
    return Heartbeat(name, time.monotonic(), **facts)


def test_whose_heart_beats_lives_however_long_ago_it_has_written(journal: Journal) -> None:
    worker(journal, "alive", age=3600)
    worker(journal, "gone", age=3600)
    beats = [beating("alive")]
    workers = Workers(journal, beats=lambda: beats)
    assert [one.worker for one in workers.read()] == ["alive"]
    beats.clear()
    assert workers.read() == []


def test_what_goes_on_by_itself_is_told_as_of_now_though_nobody_writes_it(journal: Journal) -> None:
    worker(journal, "a", age=100)
    now = time.monotonic()
    beat = beating("a", begun=now - 500, asked=now - 7, lag_ms=3.5, round_trip_ms=1.25)
    (found,) = Workers(journal, beats=lambda: [beat]).read()
    assert (found.loop_lag_ms, found.network.round_trip_ms) == (3.5, 1.25)
    assert found.uptime_seconds == pytest.approx(500, abs=5)
    assert found.idle_seconds == pytest.approx(7, abs=5)
    assert found.connection.uptime == pytest.approx(109, abs=5)


def test_lasting_is_all_but_what_goes_on_by_itself() -> None:
    state = live()
    later = replace(
        state,
        uptime_seconds=9.0,
        idle_seconds=2.0,
        loop_lag_ms=4.0,
        connection=replace(state.connection, uptime=99.0),
        network=replace(state.network, round_trip_ms=7.0),
        environment=replace(state.environment, memory=MemoryUse(1.0, 1.0, 1.0)),
    )
    assert lasting(state) == lasting(later)
    assert lasting(state) != lasting(replace(state, losses=1))
    assert lasting(state) != lasting(replace(state, connection=replace(state.connection, checked_out=2)))


def test_who_need_not_know_at_once_asks_the_journals_only_after_a_change(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    version: list[object | None] = [1]
    workers, asked = Workers(journal, version=lambda: version[0]), []
    read = journal.read
    monkeypatch.setattr(journal, "read", lambda *query: asked.append(1) or read(*query))
    for changed in (False, False, True, False):
        version[0] = 2 if changed else version[0]
        workers.read(fresh=False)
    assert len(asked) == 2
    workers.read()
    assert len(asked) == 3
    version[0] = None
    workers.read(fresh=False)
    workers.read(fresh=False)
    assert len(asked) == 5, "while nobody can say"
