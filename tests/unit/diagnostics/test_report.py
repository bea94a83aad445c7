"""The seed's database report: what cannot be learned is shown as such, and the rest is there."""

from __future__ import annotations

from typing import Any

import pytest

from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.queue import DeferredQueue
from prodfix.diagnostics.collections import Collections
from prodfix.diagnostics.report import Diagnostics
from prodfix.errors import DatabaseNotConfigured
from prodfix.journal.journal import Journal
from prodfix.records.lookup import Lookup
from prodfix.workers.workers import Workers
from tests.unit.workers.test_workers import live, worker


def nothing() -> Any:
    raise DatabaseNotConfigured


def diagnostics_of(journal: Journal, state: Any = None) -> Diagnostics:
    deferred = DeferredQueue(journal, nothing, enabled=True, durable=True, max_entries=9, max_bytes=2**20)
    backlog = Backlog(journal, deferred, AdminCommands(journal))
    return Diagnostics(Workers(journal, state=state), Collections(nothing), Lookup(journal, lambda: None), backlog)


@pytest.fixture
def diagnostics(journal: Journal) -> Diagnostics:
    return diagnostics_of(journal)


def test_without_a_database_everything_else_is_there(diagnostics: Diagnostics, journal: Journal) -> None:
    worker(journal, "w", state="reconnecting", lastError="AutoReconnect")
    report = diagnostics.database().to_json()
    assert (report["scope"], report["collections"], report["recentErrors"]) == ("instance", None, [])
    assert (report["connection"]["state"], report["connection"]["lastError"]) == ("reconnecting", "AutoReconnect")
    assert report["deferred"] == {
        "enabled": True,
        "durability": "durable",
        "waiting": 0,
        "otherVersions": 0,
        "note": None,
        "failing": 0,
        "dead": 0,
        "bytes": 0,
        "oldestSeconds": None,
        "operations": {},
        "reasons": {},
        "refused": 0,
    }
    assert [entry["worker"] for entry in report["workers"]] == ["w"]


def test_on_a_disk_that_does_not_answer_the_workers_are_there(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(journal, "read", refuse)
    report = diagnostics_of(journal, live).database().to_json()
    assert report["journal"] == {"failing": "OSError 30", "quarantined": 1, "lostWrites": 0, "otherVersions": 0}
    assert (report["recentErrors"], report["deferred"]["enabled"]) == (None, True)
    assert [report["deferred"][name] for name in ("waiting", "dead", "oldestSeconds", "bytes")] == [None] * 4
