"""What the sender remembers, and what becomes of it in files of dead workers and while the disk fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prodfix.alerts.alarms import Alarm
from prodfix.alerts.ledger import KEPT, REGRESSIONS_KEPT, TOUCHED, Ledger
from prodfix.alerts.outbox import Alert, Delivery
from prodfix.alerts.rules import Condition
from prodfix.journal.journal import Journal

NOW = 1_800_000_000.0
Open = Callable[[], Journal]


def firing(key: str = "dead_letters@a") -> Alarm:
    alarm = Alarm(key, "dead_letters")
    for at in (NOW, NOW + 1):
        alarm.see(Condition("dead_letters", key, {"dead": 2}, 2), at)
    return alarm


def alert(identity: str = "e:begin") -> Alert:
    return Alert(identity, "k", "memory", "begin", "critical", "t", "b", NOW, {"json #1": Delivery()})


def filled(journal: Journal) -> Ledger:
    ledger = Ledger(journal)
    ledger.alarms["dead_letters@a"] = firing()
    ledger.outbox.put(alert())
    ledger.totals.sent, ledger.totals.held = 3, 2
    ledger.save(NOW)
    return ledger


def loaded(journal: Journal, now: float = NOW) -> Ledger:
    ledger = Ledger(journal)
    assert ledger.load(now)
    return ledger


def content(ledger: Ledger) -> Any:
    alarms = {key: alarm.to_json() for key, alarm in ledger.alarms.items()}
    return alarms, ledger.outbox.alerts, (ledger.totals.sent, ledger.totals.held)


def test_the_next_sender_has_all_of_it(open_journal: Open) -> None:
    first, second = open_journal(), open_journal()
    assert content(filled(first)) == content(loaded(second))


def test_the_file_of_a_dead_one_is_adopted_and_what_came_later_wins(open_journal: Open) -> None:
    first, second, third = (open_journal() for _ in range(3))
    filled(first)
    later = loaded(second)
    later.alarms["dead_letters@a"].done("journal", NOW + 5)
    later.outbox.begin(later.outbox.alerts["e:begin"], "json #1")
    later.totals.sent = 9
    later.save(NOW + 5)
    first.close()
    assert third.adopt() == 1
    assert content(loaded(third)) == content(later)
    second.close()
    assert third.adopt() == 1
    assert content(loaded(third)) == content(later)
    assert third.read("SELECT count(*) FROM alerts") == [(1,)]
    assert loaded(third).alarms["dead_letters@a"].told == "journal"


def test_nothing_is_written_twice(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(journal)
    written: list[Any] = []
    monkeypatch.setattr(journal, "write", written.append)
    ledger.save(NOW + 1)
    loaded(journal).save(NOW + 1)
    assert written == []
    ledger.alarms["dead_letters@a"].done("journal", NOW + 2)
    ledger.save(NOW + 2)
    assert len(written) == 1, "the control"


def test_what_the_disk_refuses_comes_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: Any, **options: Any) -> Any:
        raise TimeoutError

    write = journal.write
    monkeypatch.setattr(journal, "write", hang)
    ledger = filled(journal)
    assert ledger.failure == "TimeoutError"
    monkeypatch.setattr(journal, "write", write)
    ledger.save(NOW + 1)
    assert ledger.failure is None
    assert content(loaded(journal)) == content(ledger)
    monkeypatch.setattr(journal, "read", hang)
    assert not ledger.load(NOW)
    assert ledger.failure == "TimeoutError"


def test_while_the_disk_fails_it_is_in_memory_and_comes_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "journal"
    folder.write_text("no folder")
    journal = Journal(folder)
    journal.open()
    ledger = filled(journal)
    assert content(loaded(journal)) == content(ledger)
    folder.unlink()
    monkeypatch.setattr("prodfix.journal.store.RETRY", 0.0)
    journal._store._retry_at = 0.0
    ledger.totals.sent = 4
    ledger.save(NOW + 1)
    assert journal.failure is None
    other = Journal(folder)
    other.open()
    assert content(loaded(other)) == content(ledger)
    journal.close()
    other.close()


def test_what_fires_for_long_is_not_forgotten_and_what_is_over_is(journal: Journal) -> None:
    ledger = filled(journal)
    over = firing("journal_full@a")
    over.firing, over.want = False, None
    ledger.alarms["journal_full@a"] = over
    ledger.save(NOW)
    for hour in range(1, 60):
        ledger.save(NOW + hour * (TOUCHED + 1))
        ledger.prune(NOW + hour * (TOUCHED + 1))
    late = NOW + 59 * (TOUCHED + 1)
    assert late > NOW + KEPT
    assert set(ledger.alarms) == set(loaded(journal, late).alarms) == {"dead_letters@a"}


def test_an_old_row_is_passed_over_wherever_it_stands(open_journal: Open) -> None:
    first, second = open_journal(), open_journal()
    filled(first)
    assert set(loaded(second, NOW + KEPT - 1).alarms) == {"dead_letters@a"}
    assert set(loaded(second, NOW + KEPT + 1).alarms) == set()


def test_regressions_are_told_to_all_and_forgotten_after_an_hour(open_journal: Open) -> None:
    first, second = open_journal(), open_journal()
    for at, journal in ((NOW, first), (NOW + 1, second)):
        Ledger(journal).put_regression(f"f{at}", {"error": "x"}, at)
    Ledger(first).put_regression(f"f{NOW}", {"error": "y"}, NOW + 5)
    assert [(row[1], row[2]) for row in Ledger(second).regressions()] == [
        (NOW + 1, {"error": "x"}),
        (NOW + 5, {"error": "y"}),
    ]
    second.close()
    first.adopt()
    assert len(list(Ledger(first).regressions())) == 2
    Ledger(first).prune(NOW + REGRESSIONS_KEPT + 3)
    assert [row[1] for row in Ledger(first).regressions()] == [NOW + 5]
