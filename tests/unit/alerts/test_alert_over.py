"""Over means over: for every rule, each state of what it looks at, and what is told of it then.

``firing`` goes before: the alert was told. Then the instance is as the case says for long enough. What is not looked at any
more (a worker is gone, the database is away, a rule is off) is not over; each case has its control, after which it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from prodfix.alert_settings import AlertKind
from prodfix.alerts import agreement
from prodfix.alerts.conditions import LOSS_PERIOD, RULES, SHARED, JournalUse
from prodfix.alerts.messages import WORDS
from prodfix.serialization import iso
from tests.support.alert_instances import Instance
from tests.support.counting_worker import Clock

WELL: dict[str, Any] = {
    "connection": {"state": "connected", "uptime": 3600.0},
    "uptimeSeconds": 3600.0,
    "incidents": [],
    "losses": 0,
    "memory": {"residentMb": 60.0, "sharedMb": 20.0},
    "logs": {"sinks": [{"name": "error.log", "failing": None}]},
    "journal": {"failing": None, "quarantined": 0},
}
AWAY = {"incidents": ["database_lost"], "connection": {"state": "reconnecting"}}
YOUNG = {"uptimeSeconds": 1.0}
NO_DISK = {"journal": {"failing": "OSError 28", "quarantined": 0}}
LIMIT = 100.0  # MiB
START = 1_800_000_000.0
REFUSED = {"storage": {"refused": "DISK_FULL", "since": iso(datetime.fromtimestamp(START - 60, UTC))}}
REFUSED_AGAIN = {"storage": {"refused": "OVER_QUOTA", "since": iso(datetime.fromtimestamp(START + 20, UTC))}}
BACK = {"connection": {"state": "connected", "uptime": 1.0}}


class Case(NamedTuple):
    """``workers`` are the states after it was firing; ``over``: whether that is an end. ``journals`` is None while the disk does
    not tell."""

    kind: AlertKind
    what: str
    workers: list[dict[str, Any]]
    over: bool
    journals: JournalUse | None = JournalUse(0, 0.0)


FIRING: dict[AlertKind, tuple[dict[str, Any], JournalUse]] = {
    "database_lost": (AWAY, JournalUse(0, 0.0)),
    "connection_failures": ({"losses": 3}, JournalUse(0, 0.0)),
    "error_rate": ({"incidents": ["error_rate"]}, JournalUse(0, 0.0)),
    "dead_letters": ({}, JournalUse(1, 0.0)),
    "storage_failing": (REFUSED, JournalUse(0, 0.0)),
    "log_sink": ({"logs": {"sinks": [{"name": "error.log", "failing": "OSError 28"}]}}, JournalUse(0, 0.0)),
    "journal_failing": (NO_DISK, JournalUse(0, 0.0)),
    "journal_full": ({}, JournalUse(0, 0.9)),
    "journal_damaged": ({"journal": {"failing": None, "quarantined": 1}}, JournalUse(0, 0.0)),
    "memory": ({"memory": {"residentMb": 99.0, "sharedMb": 1.0}}, JournalUse(0, 0.0)),
}

CASES = [
    *(Case(kind, "all is well", [{}], True) for kind in FIRING),
    # Nobody is there who could tell: the workers are gone.
    *(Case(kind, "no workers", [], False) for kind in FIRING if kind not in ("dead_letters", "journal_full")),
    Case("dead_letters", "no workers: their files are there", [], True),
    Case("journal_full", "no workers: their files are there", [], True),
    # Those that are there have just begun.
    Case("database_lost", "young, and connected", [YOUNG], True),
    Case("database_lost", "young, and not connected yet", [YOUNG | {"connection": {"state": "disconnected"}}], False),
    Case("connection_failures", "young", [YOUNG], False),
    Case("connection_failures", "nearly", [{"uptimeSeconds": LOSS_PERIOD - 1}], False),
    Case("error_rate", "young", [YOUNG], False),
    Case("log_sink", "the worker that saw it is gone, and another one has written nothing yet", [{}, YOUNG], False),
    Case("storage_failing", "the worker that saw it is gone, and another one has not tried yet", [{}, YOUNG], False),
    Case("storage_failing", "one of two stores again", [{}, REFUSED], False),
    Case("storage_failing", "it is refused again, for another reason", [REFUSED_AGAIN], False),
    Case("storage_failing", "the database is lost", [AWAY], False),
    Case("storage_failing", "the database is back, and nobody has tried yet", [BACK], False),
    Case("memory", "the largest one was killed, and another one grows", [{}, YOUNG], False),
    Case("memory", "of one worker nobody knows", [{}, {"memory": {"residentMb": None, "sharedMb": None}}], False),
    Case("journal_failing", "young", [YOUNG], True),
    # The database is away.
    Case("connection_failures", "the database is lost, once and for long", [AWAY], False),
    Case("connection_failures", "nobody is connected", [{"connection": {"state": "disconnected"}}], False),
    Case("error_rate", "the database is lost", [AWAY], False),
    Case("error_rate", "one of two has lost it", [{}, AWAY], False),
    Case("database_lost", "one of two has it back", [{}, AWAY], False),
    *(Case(kind, "the database is lost", [AWAY], True) for kind in ("dead_letters", "log_sink", "journal_full", "memory")),
    # The disk does not tell.
    Case("dead_letters", "the disk does not tell", [{}], False, None),
    Case("journal_full", "the disk does not tell", [{}], False, None),
    *(
        Case(kind, "a journal fails: of others nobody hears", [NO_DISK], False)
        for kind in ("error_rate", "dead_letters", "storage_failing", "log_sink", "journal_full", "journal_damaged", "memory")
    ),
    Case("dead_letters", "in a journal that another version has written", [{"journal": {"otherVersions": 1}}], False),
]  # fmt: skip


@pytest.fixture
def make(tmp_path: Path, database: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = Clock(START)
    monkeypatch.setattr(agreement, "server_time", lambda database: clock.now)
    made: list[Instance] = []

    def instance() -> Instance:
        made.append(Instance("a", tmp_path, clock, database))
        made[-1].alerts.observer._memory_limit = lambda: LIMIT  # type: ignore[method-assign,assignment]
        return made[-1]

    yield instance
    for one in made:
        one.kill()


def turn(one: Instance, workers: list[dict[str, Any]], journals: JournalUse | None) -> list[str]:
    """What is told of it."""
    before = len(one.titles)
    one.seen, one.backlog = [WELL | more for more in workers], journals
    one.turns(8)
    return one.titles[before:]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}: {case.what}" for case in CASES])
def test_what_is_not_looked_at_is_not_over(make: Callable[[], Instance], case: Case) -> None:
    one, words = make(), WORDS[case.kind]
    worker, journals = FIRING[case.kind]
    assert [title.partition("] ")[2] for title in turn(one, [worker], journals)] == [words.begin]
    told = turn(one, case.workers, case.journals)
    ended = f"[over] {words.end}" in told
    assert ended is case.over
    assert (case.kind in {alarm.kind for alarm in one.alerts.read().alarms}) is not case.over
    if not case.over:
        assert f"[over] {words.end}" in turn(one, [{}], JournalUse(0, 0.0)), "the control"


def test_every_rule_has_its_cases() -> None:
    assert set(FIRING) == set(RULES)
    for kind in RULES:
        assert {case.over for case in CASES if case.kind == kind} == {True, False}


@pytest.mark.parametrize("kind", sorted(SHARED))
def test_what_comes_back_before_its_end_was_told_says_so(make: Callable[[], Instance], kind: AlertKind) -> None:
    """While the claims cannot be asked, its end waits; what comes back then is a new beginning of the same alert."""
    one = make()
    worker, journals = FIRING[kind]
    turn(one, [worker], journals)
    first = one.alerts.read().alarms[0].since
    database, one.database = one.database, None
    turn(one, [{}], JournalUse(0, 0.0))
    assert one.alerts.read().alarms == ()
    turn(one, [worker], journals)
    (alarm,) = [alarm for alarm in one.alerts.read().alarms if alarm.kind == kind]
    assert alarm.since > first
    assert alarm.first == first
    logged = [facts.get("first") for _, _, facts in one.told if facts.get("state") == "firing"]
    assert logged == [None, alarm.to_json()["first"]]
    one.database = database
    assert turn(one, [{}], JournalUse(0, 0.0)) == [f"[over] {WORDS[kind].end}"]
    body = one.programs.arrived[-1]["body"]
    assert f"again, since: {alarm.to_json()['since']}\nfirst: {alarm.to_json()['first']}\n" in body
