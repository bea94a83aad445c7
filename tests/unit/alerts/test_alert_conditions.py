"""Rules: what is wrong, told by the states of the workers; and what nobody can tell is never told to be over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.alert_settings import ALERT_KINDS
from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import (
    EVENTS,
    LOSS_PERIOD,
    RATES_KNOWN,
    RULES,
    SETTLED,
    SEVERITIES,
    SHARED,
    JournalUse,
    Situation,
    conditions,
    key_of,
    kind_of,
)
from prodfix.alerts.messages import WORDS
from prodfix.errors import Severity
from prodfix.serialization import iso
from prodfix.workers.worker_state import WorkerState

HOUR = 3600.0
NOW = 1_800_000_000.0


def memory(resident: float | None, shared: float | None = 20.0) -> dict[str, float | None]:
    return {"residentMb": resident, "sharedMb": shared}


def worker(**facts: Any) -> dict[str, Any]:
    """A worker that is well."""
    well = {
        "connection": {"state": "connected", "uptime": HOUR},
        "uptimeSeconds": HOUR,
        "incidents": [],
        "losses": 0,
        "memory": memory(60.0),
        "logs": {"sinks": [{"name": "console", "failing": None}, {"name": "error.log", "failing": None}]},
        "journal": {"failing": None},
    }
    return well | facts


def situation(*workers: dict[str, Any], **facts: Any) -> Situation:
    states = [WorkerState.from_json(one) for one in workers or (worker(),)]
    return Situation("a", states, **({"now": NOW, "journals": JournalUse(0, 0.0)} | facts))


def found(*workers: dict[str, Any], **facts: Any) -> dict[str, dict[str, Any]]:
    return {key: dict(one.facts) for key, one in conditions(situation(*workers, **facts)).found.items()}


def unknown(*workers: dict[str, Any], **facts: Any) -> set[str]:
    return set(conditions(situation(*workers, **facts)).unknown)


def test_nothing_is_wrong_with_workers_that_are_well() -> None:
    findings = conditions(situation(worker(), worker(), memory_limit=512.0))
    assert (findings.found, findings.unknown) == ({}, frozenset())


def sinks(name: str, reason: str) -> dict[str, Any]:
    return {"sinks": [{"name": "console", "failing": None}, {"name": name, "failing": reason}]}


def not_stored(seconds: float, reason: str | None = "DISK_FULL", name: str = "since") -> dict[str, Any]:
    """For so long."""
    return {"storage": {"refused": reason, name: iso(datetime.fromtimestamp(NOW - seconds, UTC)), "waiting": 3}}


LOST = {"incidents": ["database_lost"], "connection": {"state": "reconnecting"}}

WRONG: list[tuple[str, tuple[dict[str, Any], ...], dict[str, Any], dict[str, Any]]] = [
    ("database_lost", (worker(**LOST), worker()), {}, {"workers": "1 of 2"}),
    ("connection_failures", (worker(losses=2), worker(losses=3)), {}, {"losses": 3, "minutes": 15}),
    ("error_rate", (worker(), worker(incidents=["error_rate"])), {"rates": {"failed": "9 of 10"}}, {"failed": "9 of 10"}),
    ("dead_letters@a", (), {"journals": JournalUse(2, 0.1)}, {"dead": 2}),
    ("storage_failing", (worker(**not_stored(60.0)), worker(**not_stored(1.0, "OVER_QUOTA"))), {},
     {"reason": "DISK_FULL", "waiting": 6}),
    ("storage_failing", (worker(**not_stored(60.0, None, "lostSince")),), {},
     {"reason": "DIAGNOSTICS_URI does not answer", "waiting": 3}),
    ("storage_failing", (worker(**not_stored(-HOUR)),), {}, {"reason": "DISK_FULL", "waiting": 3}),  # a clock that was set
    ("log_sink@a", (worker(logs=sinks("error.log", "No space left on device")), worker()), {},
     {"sinks": {"error.log": "No space left on device"}}),
    ("journal_failing@a", (worker(journal={"failing": "OSError 28"}), worker()), {}, {"reason": "OSError 28"}),
    ("journal_failing@a", (), {"disk": "TimeoutError"}, {"reason": "TimeoutError"}),
    ("journal_full@a", (), {"journals": JournalUse(0, 0.8)}, {"percent": 80}),
    ("journal_damaged@a", (worker(journal={"quarantined": 1, "lostWrites": 3}), worker(journal={"quarantined": 1})), {},
     {"files": 1, "lost": 3}),
    ("memory@a", (worker(memory=memory(70.0)), worker(memory=memory(60.0))), {"memory_limit": 122.0},
     {"usedMb": 110, "limitMb": 122, "workers": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "workers", "facts", "told"), WRONG, ids=[key for key, *_ in WRONG])
def test_what_is_wrong_is_found_with_its_facts(
    key: str, workers: tuple[dict[str, Any], ...], facts: dict[str, Any], told: dict[str, Any]
) -> None:
    assert found(*workers, **facts) == {key: told}


def test_what_is_told_late_says_since_when_it_is_so() -> None:
    workers = worker(**not_stored(70.0)), worker(**not_stored(90.0)), worker(**not_stored(30.0))
    assert conditions(situation(*workers)).found["storage_failing"].since == NOW - 90.0
    alert = Alert("storage_failing", "storage_failing")
    assert alert.see(conditions(situation(*workers)).found["storage_failing"], NOW) == "firing"
    assert (alert.since, alert.started) == (NOW - 90.0, NOW - 90.0)
    ahead = conditions(situation(worker(**not_stored(-HOUR)))).found["storage_failing"]
    again = Alert("storage_failing", "storage_failing")
    again.see(ahead, NOW)
    assert again.since == NOW, "a clock was turned back: it is not yet to come"


RIGHT: list[tuple[str, tuple[dict[str, Any], ...], dict[str, Any]]] = [
    (
        "a worker that reconnects and has announced nothing",
        (worker(connection={"state": "reconnecting"}), worker()),
        {},
    ),
    ("two losses in each of two workers", (worker(losses=2), worker(losses=2)), {}),
    ("nothing is put aside", (), {"journals": JournalUse(0, 0.79)}),
    ("memory at the limit's share", (worker(memory=memory(90.0)),), {"memory_limit": 100.0}),
    ("shared memory counts once", (worker(memory=memory(60.0)),) * 10, {"memory_limit": 470.0}),
    ("memory without a limit", (worker(memory=memory(1e6)),), {"memory_limit": None}),
]


@pytest.mark.parametrize(("workers", "facts"), [case[1:] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_what_is_near_it_is_not(workers: tuple[dict[str, Any], ...], facts: dict[str, Any]) -> None:
    assert found(*workers, **facts) == {}


def test_ten_workers_with_unshared_memory_are_too_many() -> None:
    # The control of "shared memory counts once".
    assert "memory@a" in found(*(worker(memory=memory(60.0, 0.0)),) * 10, memory_limit=470.0)


UNKNOWN: list[tuple[str, tuple[dict[str, Any], ...], dict[str, Any]]] = [
    ("database_lost", (worker(connection={"state": "disconnected"}, uptimeSeconds=1.0),), {}),
    ("connection_failures", (worker(uptimeSeconds=LOSS_PERIOD - 1),), {}),
    ("error_rate", (worker(uptimeSeconds=RATES_KNOWN - 1),), {}),
    ("error_rate", (worker(**LOST), worker()), {}),  # what fails now is that loss, and nobody compares rates
    ("storage_failing", (worker(), worker(**not_stored(59.0))), {}),
    ("storage_failing", (worker(**not_stored(59.0, None, "lostSince")),), {}),
    ("storage_failing", (worker(), worker(uptimeSeconds=SETTLED - 1)), {}),
    ("storage_failing", (worker(), worker(connection={"state": "connected", "uptime": SETTLED - 1})), {}),
    ("storage_failing", (worker(**LOST),), {}),
    ("storage_failing", (worker(journal={"failing": "OSError 28"}),), {}),
    ("dead_letters@a", (), {"journals": None}),
    ("journal_full@a", (), {"journals": None}),
    ("memory@a", (worker(memory=memory(None, None)),), {"memory_limit": 100.0}),
    # Of others nobody hears while a journal fails.
    ("log_sink@a", (worker(journal={"failing": "OSError 28"}),), {}),
    ("log_sink@a", (worker(),), {"disk": "TimeoutError"}),
    ("error_rate", (worker(journal={"failing": "OSError 28"}),), {}),
    ("memory@a", (worker(journal={"failing": "OSError 28"}, memory=memory(10.0)),), {"memory_limit": 100.0}),
]


@pytest.mark.parametrize(("key", "workers", "facts"), UNKNOWN, ids=[case[0] for case in UNKNOWN])
def test_what_nobody_can_tell_is_neither_wrong_nor_over(
    key: str, workers: tuple[dict[str, Any], ...], facts: dict[str, Any]
) -> None:
    assert key in unknown(*workers, **facts)
    assert key not in found(*workers, **facts)
    assert key not in unknown(worker(), memory_limit=100.0), "the control: it can be told of workers that know"


def test_without_any_worker_nothing_is_told_of_workers() -> None:
    findings = conditions(Situation("a", ()))
    assert not findings.found
    assert {"database_lost", "connection_failures", "error_rate", "log_sink@a"} <= findings.unknown


def test_every_kind_has_a_severity_and_words() -> None:
    assert set(SEVERITIES) == set(WORDS) == {*RULES, *EVENTS} == set(ALERT_KINDS)
    critical = {kind for kind, severity in SEVERITIES.items() if severity is Severity.CRITICAL}
    assert critical == {"database_lost", "journal_damaged", "journal_failing", "memory", "storage_failing"}


@pytest.mark.parametrize("kind", SEVERITIES)
def test_a_key_is_the_same_over_all_instances_or_names_its_own(kind: Any) -> None:
    assert (key_of(kind, "a") == key_of(kind, "b")) is (kind in SHARED)


WORKERS = st.builds(
    worker,
    connection=st.fixed_dictionaries(
        {"state": st.sampled_from(["connected", "disconnected", "reconnecting", "error"])}
    ),
    incidents=st.lists(st.sampled_from(["database_lost", "error_rate"]), unique=True),
    losses=st.integers(0, 10),
    uptimeSeconds=st.floats(0, 2 * HOUR),
    memory=st.builds(memory, st.floats(20, 1000), st.floats(0, 20)),
)


@given(st.lists(WORKERS, max_size=6), st.sampled_from([None, 512.0]), st.integers(0, 3))
def test_more_workers_never_hide_what_one_sees(workers: list[dict[str, Any]], limit: float | None, dead: int) -> None:
    journals = JournalUse(dead, 0.0)
    states = [WorkerState.from_json(one) for one in (*workers, worker())]
    before = conditions(Situation("a", states[:-1], journals=journals, memory_limit=limit))
    after = conditions(Situation("a", states, journals=journals, memory_limit=limit))
    assert set(before.found) <= set(after.found)
    for findings in (before, after):
        assert not findings.found.keys() & findings.unknown
        assert all(key == key_of(kind_of(key), "a") for key in findings.found)
