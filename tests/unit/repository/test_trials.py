"""The judgement of the fault trials: a clean history has no fault, and each broken promise is reported."""

from __future__ import annotations

import copy
import itertools
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prodfix.journal.journal import Journal
from tests.faults.trials import machine, plan
from tests.faults.trials.history import Attempt, Begun, History, Poll, Request
from tests.faults.trials.oracle import PATCHED, judge
from tests.faults.trials.state import State

# ---- a history without a fault, and its state


def attempt(status: int | None, operation: str | None = None, **told: Any) -> Attempt:
    return Attempt(begun=1.0, ended=2.0, instance=0, status=status, operation=operation, **told)


def clean() -> tuple[History, State]:
    """A note and an entry that were applied at once, an entry that waited, a note that failed, a patch and a delete."""
    unsure: dict[str, Any] = {"code": "DATABASE_UNAVAILABLE", "outcome": "unknown", "retryable": False}
    history = History(1, 1, settled=1.0)
    history.requests = [
        Request(0, "note", "n-0", "book", None, attempts=[attempt(201)]),
        Request(1, "entry", "1", attempts=[attempt(201, "a" * 24)]),
        Request(2, "entry", "2", key="key", attempts=[attempt(503, **unsure), attempt(202, "b" * 24)]),
        Request(3, "note", "n-3", "book", attempts=[attempt(503, code="BUSY", outcome="not_applied", retryable=True)]),
        Request(4, "patch", "n-0", "book", attempts=[attempt(200)]),
        Request(5, "delete", "n-5", "book", attempts=[attempt(204)]),
        Request(6, "read", "n-0", "book", attempts=[attempt(200)]),
        Request(7, "entry", "7", attempts=[attempt(503, **unsure)]),
    ]
    history.polls = [
        Poll("b" * 24, 3.0, 0, 200, "waiting"),
        Poll("b" * 24, 4.0, 0, None),
        Poll("b" * 24, 5.0, 0, 200, "applied", there=True),
        Poll("b" * 24, 9.0, 0, 200, "applied", final=True),
    ]
    history.faults = [Begun(0, "reply lost", 0.5, "a lost reply")]
    state = State(
        notes={"n-0": {"version": 2, "title": PATCHED, "notebook": "book"}},
        counters={"book": 1},
        entries=Counter(["1", "2"]),
        counted=Counter(["1", "2"]),
    )
    return history, state


def broken(change: Callable[[History, State], object]) -> Counter[str]:
    history, state = clean()
    change(history, state)
    return Counter(violation.promise for violation in judge(history, state).violations)


def test_a_clean_history_breaks_no_promise() -> None:
    assert broken(lambda history, state: None) == {}


def _poll(history: History, **values: Any) -> None:
    history.polls.insert(2, Poll("b" * 24, **{"at": 4.5, "instance": 0, "http": 200, **values}))


def _told(history: History, number: int, **values: Any) -> Attempt:
    changed = history.requests[number].attempts[-1]
    for name, value in values.items():
        setattr(changed, name, value)
    return changed


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("lost", lambda history, state: (state.notes.pop("n-0"), state.counters.update(book=0))),
        ("lost", lambda history, state: (state.entries.pop("1"), state.counted.pop("1"))),
        ("lost", lambda history, state: state.notes["n-0"].update(title="A title", version=1)),
        (
            "lost",
            lambda history, state: (state.notes.update({"n-5": {"notebook": "book"}}), state.counters.update(book=2)),
        ),
        ("doubled", lambda history, state: state.entries.update(["1"])),
        ("doubled", lambda history, state: state.counted.update(["2"])),
        ("doubled", lambda history, state: state.entries.update(["7", "7"])),
        ("doubled", lambda history, state: state.notes["n-0"].update(version=3)),
        ("half", lambda history, state: state.counted.pop("1")),
        ("half", lambda history, state: state.counters.update(book=2)),
        ("half", lambda history, state: state.counters.update(book=0)),
        ("half", lambda history, state: state.counters.update(other=1)),
        ("outcome", lambda history, state: (_told(history, 7, outcome="not_applied"), state.entries.update(["7"]))),
        ("outcome", lambda history, state: (_told(history, 7, retryable=True), state.counted.update(["7"]))),
        ("outcome", lambda history, state: _told(history, 7, outcome="applied")),
        ("outcome", lambda history, state: _told(history, 5, status=503, outcome="not_applied")),
        ("outcome", lambda history, state: _told(history, 4, status=409, outcome="not_applied")),
        ("status", lambda history, state: _poll(history, state="failed", reason="UNCERTAIN", there=True)),
        ("status", lambda history, state: _poll(history, state="applied", there=False)),
        ("status", lambda history, state: _poll(history, http=404)),
        ("status", lambda history, state: _poll(history, at=6.0, state="waiting")),
        ("status", lambda history, state: setattr(history.polls[-1], "state", "waiting")),
        ("unread", lambda history, state: _told(history, 6, status=404)),
    ],
)
def test_each_broken_promise_is_reported(promise: str, change: Callable[[History, State], object]) -> None:
    assert set(broken(change)) == {promise}


@pytest.mark.parametrize(
    "change",
    [
        # Nobody was told what became of it: both are right.
        lambda history, state: (state.entries.update(["7"]), state.counted.update(["7"])),
        # An earlier try of the same key may have applied it.
        lambda history, state: _told(history, 2, status=503, operation=None, outcome="not_applied", retryable=True),
        # Another instance need not know of what waits elsewhere.
        lambda history, state: _poll(history, instance=1, http=404),
        lambda history, state: _poll(history, http=503),
    ],
)
def test_what_is_no_broken_promise_is_not_reported(change: Callable[[History, State], object]) -> None:
    assert broken(change) == {}


def test_what_stood_on_a_damaged_page_may_be_gone_and_is_counted() -> None:
    history, state = clean()
    state.entries.pop("2")
    state.counted.pop("2")
    history.polls = [Poll("b" * 24, 9.0, 0, 404, final=True)]
    assert {violation.promise for violation in judge(history, state).violations} == {"lost", "status"}, "the control"
    history.faults[0].exposed = frozenset(["b" * 24])
    verdict = judge(history, state)
    assert (verdict.violations, verdict.exposed) == ([], 1)


def test_the_judgement_changes_nothing() -> None:
    history, state = clean()
    before = copy.deepcopy((history, state))
    judge(history, state)
    assert (history, state) == before


# ---- the plan, and a page that is damaged


def test_the_same_seed_gives_the_same_faults_and_each_kind_comes_first_once() -> None:
    first, second = (list(itertools.islice(plan.faults(5, instances=2), 200)) for _ in range(2))
    assert first == second
    assert sorted(fault.kind for fault in first[: len(plan.KINDS)]) == sorted(plan.KINDS)
    assert first != list(itertools.islice(plan.faults(6, instances=2), 200))
    assert {fault.instance for fault in first} == {0, 1}


def test_what_stands_on_a_damaged_page_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    identities = [f"{number:024x}" for number in range(200)]
    insert = "INSERT INTO writes (id, entry, created) VALUES (?, ?, 0)"
    journal.write([(insert, (identity, b"x" * 300)) for identity in identities], durable=True, to_disk=True)
    held = {path: path.read_bytes() for path in journal.folder.glob("*.db*")}
    ways: set[str] = set()
    exposed: set[str] = set()
    for seed in range(160):  # so many that each page has been hit
        for path, content in held.items():
            path.write_bytes(content)
        told, gone = machine.damage(journal.folder, random.Random(seed))
        assert gone <= set(identities)
        assert {path: path.read_bytes() for path in held} != held
        ways.add(told.split()[-5].rstrip(","))
        exposed |= gone
    for path, content in held.items():
        path.write_bytes(content)
    journal.close()
    assert (ways, len(exposed)) == ({"zeroed", "flipped", "cut"}, 200)


def test_the_time_of_day_jumps_and_no_other_clock(tmp_path: Path) -> None:
    clock = machine.clock(tmp_path)
    if clock is None:
        pytest.skip("no C compiler")
    code = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"

    def told() -> list[float]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=clock.variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
        )
        return [float(word) for word in done.stdout.split()]

    before = told()
    clock.shift(-86_400)
    after = told()
    assert [round((then - now) / 86_400, 2) for then, now in zip(before, after, strict=True)] == [1, 1, 0]
