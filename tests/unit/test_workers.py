"""The live workers of an instance, as every one of them tells of all."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from prodfix.journal.journal import Journal
from prodfix.workers import Workers, breaker_of, connection_of, journal_of, sinks_of


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
    assert (connection["state"], connection["uptime"]) == (worst, 1.0)
    assert connection["reconnectAttempts"] == len(states) - 1
    assert (connection["poolSize"], connection["capacity"]) == (2 * len(states), 10 * len(states))


def live(**connection: Any) -> dict[str, Any]:
    known = {"state": "connected", "uptime": 9.0, "lastError": None, "reconnectAttempts": 0, "poolExhausted": False}
    pool = {"poolSize": 2, "availableConnections": 9, "checkedOut": 1, "waiting": 0, "capacity": 10}
    return {"pid": 2, "connection": known | pool | connection, "journal": {"failing": "OSError 30", "quarantined": 1}}


@pytest.mark.parametrize("trouble", [TimeoutError, OSError])
def test_a_worker_that_cannot_read_any_journal_still_knows_itself(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(journal, "read", refuse)
    workers = Workers(journal, state=live)
    found = workers.read()
    assert [entry["worker"] for entry in found] == [journal.boot]
    assert connection_of(found)["state"] == "connected"
    assert journal_of(found) == {"failing": "OSError 30", "quarantined": 1, "lostWrites": 0, "otherVersions": 0}


def test_what_the_journal_says_of_this_worker_is_what_all_workers_answer(journal: Journal) -> None:
    workers = Workers(journal, state=lambda: live(state="error"))
    worker(journal, journal.boot)
    worker(journal, "other")
    found = workers.read()
    assert sorted(entry["worker"] for entry in found) == sorted([journal.boot, "other"])
    assert (connection_of(found)["state"], journal_of(found)["failing"]) == ("connected", None)


def test_an_old_row_of_this_worker_does_not_count_either(journal: Journal) -> None:
    workers = Workers(journal, state=live)
    worker(journal, journal.boot, age=60, state="error")
    assert [entry["connection"]["state"] for entry in workers.read()] == ["connected"]


def test_a_worker_that_is_silent_for_long_no_longer_counts(workers: Workers, journal: Journal) -> None:
    worker(journal, "alive", age=1)
    worker(journal, "gone", age=60, state="error")
    assert [entry["worker"] for entry in workers.read()] == ["alive"]


def test_the_command_line_reads_and_is_no_worker(journal: Journal) -> None:
    reader = Workers(Journal(journal.folder), state=live)
    worker(journal, "alive")
    assert [entry["worker"] for entry in reader.read()] == ["alive"]


def test_without_any_worker_the_instance_is_not_connected() -> None:
    assert (connection_of([])["state"], connection_of([])["poolExhausted"]) == ("disconnected", False)


def test_a_sink_that_fails_in_one_worker_is_told_with_the_lines_of_all() -> None:
    def sink(failing: str | None, lost: int) -> dict[str, Any]:
        return {
            "logs": {"sinks": [{"name": "error.log", "failing": failing, "lost": lost, "dropped": 1, "waiting": 0}]}
        }

    whole = {"name": "error.log", "failing": "OSError 28", "lost": 7, "dropped": 2, "waiting": 0}
    assert sinks_of([sink(None, 3), sink("OSError 28", 4)]) == [whole]
    assert sinks_of([{}]) == []


def test_breakers_are_counted_by_their_state() -> None:
    assert breaker_of([{"breaker": {"state": "open"}}, {"breaker": {"state": "closed"}}, {}]) == {
        "closed": 1,
        "half_open": 0,
        "open": 1,
    }
