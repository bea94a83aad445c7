"""How the instance is: the live workers' states, and what waits on disk, from all files."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from prodfix.alerts import situation as module
from prodfix.alerts.conditions import JournalUse
from prodfix.alerts.situation import Observer
from prodfix.deferral.queue import DeferredQueue
from prodfix.journal.journal import Journal
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers
from tests.support.counting_worker import Clock
from tests.support.deferred_notes import note

Open = Callable[[], Journal]


def observer(journal: Journal, clock: Clock, *, state: Any = None, **options: Any) -> Observer:
    known = {"instance": "a", "max_entries": 10, "max_bytes": 1_000_000, "memory_limit": lambda: 512.0}
    return Observer(journal, Workers(journal, state=state, clock=clock), **(known | options))


def put_state(journal: Journal, at: float, **state: Any) -> None:
    row = (journal.boot, at, orjson.dumps(state))
    journal.write([("INSERT OR REPLACE INTO status VALUES (?, ?, ?)", row)])


def test_while_the_disk_tells_nothing_this_worker_is_seen_and_the_backlog_unknown(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = observer(journal, clock, state=lambda: WorkerState(pid=7))

    def hang(*arguments: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(journal, "read", hang)
    found = watch.situation(clock.now, "TimeoutError")
    assert ([worker.pid for worker in found.workers], found.journals, found.disk) == ([7], None, "TimeoutError")


def test_what_waits_and_is_dead_is_counted_over_all_files_and_the_fullest_is_told(
    open_journal: Open, clock: Clock, make_deferred: Callable[..., DeferredQueue]
) -> None:
    first, second = open_journal(), open_journal()
    for journal, number in ((first, 3), (second, 1)):
        deferred = make_deferred(journal=journal)
        for _ in range(number):
            deferred.put(note("a"))
    columns = "id, operation, key, entry, attempts, created, reason, facts, at"
    dead = f"INSERT INTO dead ({columns}) VALUES (?, '', '', x'00', 1, 0, '', '', 0)"
    first.write([(dead, ("d1",))])
    second.write([(dead, ("d2",))])
    found = observer(second, clock).situation(clock.now)
    assert found.journals == JournalUse(2, 0.4)
    by_size = observer(second, clock, max_bytes=500).situation(clock.now)
    assert by_size.journals is not None
    assert by_size.journals.fullest > 0.5


def test_counting_that_takes_long_is_done_less_often(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([100.0, 100.2, 104.1, 104.3, 104.4])
    asked: list[str] = []
    # Only here: the clients of other tests have threads that ask the clock, too.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    watch = observer(journal, clock)
    read = journal.read
    monkeypatch.setattr(journal, "read", lambda query, *rest: asked.append(query) or read(query, *rest))
    watch._count()
    watch._count()
    assert len(asked) == 2, "0.2 s, then 4 s of rest"
    watch._count()
    assert len(asked) == 2


def test_what_is_compared_is_asked_only_while_too_many_requests_fail(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = observer(journal, clock, rates=lambda: {"failed": "9 of 10"})
    put_state(journal, clock.now, incidents=["database_lost"])
    assert watch.situation(clock.now).rates == {}
    put_state(journal, clock.now, incidents=["error_rate"])
    assert watch.situation(clock.now).rates == {"failed": "9 of 10"}

    def hang() -> Any:
        raise TimeoutError

    monkeypatch.setattr(watch, "_rates", hang)
    assert watch.situation(clock.now).rates == {}


def test_the_limit_of_memory_is_asked_for_once(journal: Journal, clock: Clock) -> None:
    asked: list[int] = []
    watch = observer(journal, clock, memory_limit=lambda: asked.append(1) or 512.0)
    assert asked == [], "making it opens no file"
    assert [watch.situation(clock.now).memory_limit for _ in range(3)] == [512.0] * 3
    assert asked == [1]
