"""What is decided while MongoDB is away: on disk before it is told, seen by all workers, stored once MongoDB answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from prodfix.errors import JournalUnavailable, ValidationFailed
from prodfix.journal.journal import Journal
from prodfix.statistics import decision_orders as module
from prodfix.statistics.decision_orders import DecisionOrder, DecisionOrders
from prodfix.statistics.groups import ERROR_GROUPS, GroupSummary
from prodfix.statistics.triage import LATEST, TriageResult
from prodfix.statistics.windows import Window
from tests.support.counting_worker import Clock, Worker

NOW = datetime.now(UTC).replace(microsecond=0)
PENDING, STORED = TriageResult.PENDING, TriageResult.STORED


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW.timestamp() - 60)


@pytest.fixture
def team(make_worker: Callable[..., Worker], database: Any) -> list[Worker]:
    """Two workers of one instance, a kind that MongoDB has, and MongoDB away."""
    found = [make_worker(database), make_worker(database)]
    found[0].error()
    found[0].store()
    for worker in found:
        worker.database = None
    return found


def shown(worker: Worker) -> GroupSummary:
    (group,) = worker.groups.page(worker.statistics.read("24h").window)[0]
    return group


def window(worker: Worker) -> Window:
    return worker.statistics.read("7d").window


def back(team: list[Worker], database: Any) -> None:
    for worker in team:
        worker.database = database


def test_it_waits_and_all_workers_show_it_at_once(team: list[Worker], database: Any) -> None:
    one, other = team
    assert (shown(one).status, shown(one).pending) == ("unknown", False)  # the control
    assert one.triage.ignore("f1", window(one), by="ann", more=5) is PENDING
    assert one.triage.note("f1", window(one), by="ben", text="the till", link="https://example.org/1") is PENDING
    for worker in team:
        group = shown(worker)
        assert group.ignored is not None
        assert group.note is not None
        assert (group.status, group.pending) == ("ignored", True)
        assert (group.ignored.by, group.ignored.more, group.ignored.left) == ("ann", 5, 5)
        assert (group.note.text, group.note.by, group.link) == ("the till", "ben", "https://example.org/1")
    assert "ignored" not in database[ERROR_GROUPS].find_one({"_id": "f1"})
    back(team, database)
    assert shown(other).pending, "until it is stored"
    assert other.triage.apply(database) == 2
    for worker in team:
        assert (shown(worker).status, shown(worker).pending, shown(worker).link) == (
            "ignored",
            False,
            "https://example.org/1",
        )
    assert one.triage.apply(database) == 0


def test_a_note_says_nothing_of_the_state(team: list[Worker]) -> None:
    one, other = team
    assert one.triage.note("f1", window(one), by="ann", owner="team till") is PENDING
    assert (shown(other).status, shown(other).owner, shown(other).pending) == ("unknown", "team till", True)


@pytest.mark.parametrize(
    ("decide", "status"),
    [
        (lambda one: one.triage.resolve("f1", window(one), by="ann"), "resolved"),
        (lambda one: one.triage.resolve("f1", window(one), by="$ann", in_next_release=True), "resolved"),
        (lambda one: one.triage.reopen("f1", window(one), by="ann"), "open"),
        (lambda one: one.triage.ignore("f1", window(one), by="ann", escalates=True), "ignored"),
    ],
)
def test_each_of_them_is_shown_as_it_will_be(
    team: list[Worker], database: Any, decide: Callable[[Worker], TriageResult], status: str
) -> None:
    assert decide(team[0]) is PENDING
    before = [(shown(one).status, shown(one).resolved_by, shown(one).ignored) for one in team]
    assert before[0][0] == status
    back(team, database)
    team[1].triage.apply(database)
    after = [(shown(one).status, shown(one).resolved_by, shown(one).ignored) for one in team]
    assert before == after


def test_it_is_done_twice_without_harm(team: list[Worker], database: Any) -> None:
    one, other = team
    one.triage.resolve("f1", window(one), by="ann")
    waiting = one.orders.waiting()
    back(team, database)
    other.triage.apply(database)
    once = database[ERROR_GROUPS].find_one({"_id": "f1"})
    for order in waiting.values():
        one.orders.keep(order)  # as if its file had come back with a worker that died
    assert one.triage.apply(database) == 1
    assert database[ERROR_GROUPS].find_one({"_id": "f1"}) == once
    assert one.orders.waiting() == {}


def test_what_was_decided_later_wins_wherever_it_was(team: list[Worker], database: Any) -> None:
    one, other = team
    one.triage.ignore("f1", window(one), by="ann")
    one.triage.note("f1", window(one), by="ann", text="early")
    back([other], database)  # which finds MongoDB first, and whose admin decides before it is told of the others
    assert other.triage.resolve("f1", window(other), by="ben") is STORED
    back([one], database)
    assert one.triage.apply(database) == 2
    assert (shown(one).status, shown(one).resolved_by) == ("resolved", "ben")
    assert shown(one).note is not None, "of which nobody had decided later"


def test_of_two_that_wait_the_later_one_wins(team: list[Worker], database: Any) -> None:
    one, other = team
    one.triage.ignore("f1", window(one), by="ann")
    other.triage.reopen("f1", window(other), by="ben")
    assert {shown(worker).status for worker in team} == {"open"}
    back(team, database)
    assert one.triage.apply(database) == 2
    assert {shown(worker).status for worker in team} == {"open"}


def test_a_kind_that_began_while_mongodb_was_away_is_decided_once_it_is_stored(worker: Worker, database: Any) -> None:
    worker.error()
    assert worker.triage.ignore("f1", window(worker), by="ann") is PENDING
    worker.database = database
    assert worker.triage.apply(database) == 0, "MongoDB has not heard of it yet"
    assert (shown(worker).status, shown(worker).pending) == ("ignored", True)
    worker.store()
    assert worker.triage.apply(database) == 1
    assert (shown(worker).status, shown(worker).pending) == ("ignored", False)


def test_what_nobody_ever_hears_of_does_not_wait_for_ever(worker: Worker, database: Any) -> None:
    for age in (timedelta(0), LATEST + timedelta(hours=1)):
        worker.orders.keep(DecisionOrder("reopen", "f1", "ann", datetime.now(UTC) - age))
    assert worker.triage.apply(database) == 1
    assert len(worker.orders.waiting()) == 1


def test_what_was_resolved_meanwhile_and_came_back_is_a_regression(team: list[Worker], database: Any) -> None:
    one = team[0]
    one.triage.resolve("f1", window(one), by="ann")
    one.clock.now = datetime.now(UTC).timestamp() + 5
    one.error()
    back(team, database)
    one.store()
    assert one.told == []
    one.triage.apply(database)
    assert (shown(one).status, len(one.told)) == ("regressed", 1)


def test_the_control_what_did_not_come_back_is_none(team: list[Worker], database: Any) -> None:
    one = team[0]
    one.triage.resolve("f1", window(one), by="ann")
    back(team, database)
    one.store()
    one.triage.apply(database)
    assert (shown(one).status, one.told) == ("resolved", [])


def test_a_database_that_goes_while_it_is_asked_is_away(team: list[Worker], nowhere: Any, database: Any) -> None:
    one = team[0]
    one.database = nowhere.get_default_database()
    assert one.triage.ignore("f1", window(one), by="ann") is PENDING
    one.database = database
    one.triage.apply(database)
    assert shown(one).status == "ignored"


def test_what_is_not_known_here_is_refused(team: list[Worker]) -> None:
    one = team[0]
    for work in (
        lambda: one.triage.ignore("another", window(one), by="ann"),
        lambda: one.triage.note("another", window(one), by="ann", text="x"),
        lambda: one.triage.reopen("another", window(one), by="ann"),
    ):
        with pytest.raises(ServerSelectionTimeoutError):
            work()
    assert one.orders.waiting() == {}


def test_without_a_database_nothing_waits(worker: Worker) -> None:
    worker.error()
    worker.triage._orders = None
    with pytest.raises(ServerSelectionTimeoutError):
        worker.triage.ignore("f1", window(worker), by="ann")


def test_no_more_wait_than_may(team: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    one = team[0]
    for _ in range(2):
        assert one.triage.reopen("f1", window(one), by="ann") is PENDING
    with pytest.raises(JournalUnavailable):
        one.triage.reopen("f1", window(one), by="ann")


def test_what_is_no_order_is_left_out(team: list[Worker]) -> None:
    one = team[0]
    one.triage.reopen("f1", window(one), by="ann")
    for number, content in enumerate((b"", b"{}", b"[1]", b'{"action": "drop"}', b"\xff", b"x" * 100_000)):
        (one.orders.folder / f"{number}.json").write_bytes(content)
    assert [order.action for order in one.orders.waiting().values()] == ["reopen"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"more": 0}, "more"),
        ({"more": 10_000_000}, "more"),
        ({"more": 5, "escalates": True}, "until"),
        ({"until": NOW + timedelta(days=1), "more": 5}, "until"),
        ({"until": NOW - timedelta(days=1)}, "until"),
    ],
)
@pytest.mark.parametrize("down", [False, True])
def test_what_cannot_be_is_refused(
    team: list[Worker], database: Any, asked: dict[str, Any], field: str, down: bool
) -> None:
    one = team[0]
    one.database = None if down else database
    with pytest.raises(ValidationFailed) as refused:
        one.triage.ignore("f1", window(one), by="ann", **asked)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert one.orders.waiting() == {}


@pytest.mark.parametrize(
    ("link", "right"),
    [
        ("https://example.org/issues/5?x=1#y", True),
        ("http://tracker:8080/browse/SHOP-5", True),
        ("", True),
        ("javascript:alert(1)", False),
        ("ftp://example.org/", False),
        ("https://", False),
        ("//example.org/", False),
        ("example.org/5", False),
        ("https://ann:secret@example.org/", False),
        ("https://ann@example.org/", False),
        ("https://example.org/a b", False),
        ("https://example.org/\n", True),  # what stands around it is taken away
        ("https://example.org/\x00", False),
        ("https://example.org:99999/", False),
        ("https://example.org/?token=ghp_0123456789abcdefghijklmnopqrstuvwxyz", False),
        (f"https://example.org/{'x' * 500}", False),
    ],
)
def test_a_link_is_a_plain_address(team: list[Worker], database: Any, link: str, right: bool) -> None:
    one = team[0]
    back([one], database)
    if right:
        assert one.triage.note("f1", window(one), by="ann", link=link) is STORED
        assert shown(one).link == (link.strip() or None)
    else:
        with pytest.raises(ValidationFailed):
            one.triage.note("f1", window(one), by="ann", link=link)


# -- not lost ---------------------------------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from prodfix.journal.journal import Journal
from prodfix.statistics import decision_orders
from prodfix.statistics.decision_orders import DecisionOrder, DecisionOrders

journal = Journal(Path(sys.argv[1]))
journal.open()
orders = DecisionOrders(journal)
if sys.argv[2] == "memory":
    orders.keep = [].append
elif sys.argv[2] == "before":
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
orders.keep(DecisionOrder("reopen", "f1", "ann", datetime.now(UTC)))
print("kept", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, how: str) -> tuple[str, int]:
    """What a process said before it was killed, and how many decisions there are then."""
    command = [sys.executable, "-c", SCRIPT, str(folder), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip(), len(DecisionOrders(Journal(folder)).waiting())


def test_what_was_told_to_be_kept_outlives_kill_9(tmp_path: Path) -> None:
    assert killed(tmp_path / "journal", "disk") == ("kept", 1)


def test_the_control_what_is_in_memory_does_not(tmp_path: Path) -> None:
    assert killed(tmp_path / "journal", "memory") == ("kept", 0)


def test_nobody_is_told_before_the_disk_has_it(tmp_path: Path) -> None:
    assert killed(tmp_path / "journal", "before") == ("", 0)


def _steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        steps.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).suffix or 'folder'}")
        fsync(descriptor)

    def renamed(*places: Any) -> None:
        steps.append("rename")
        rename(*places)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    DecisionOrders(Journal(tmp_path / "journal")).keep(DecisionOrder("reopen", "f1", "ann", NOW))
    steps.append("told")
    return steps


WITH_POWER_LOST = ["fsync .new", "rename", "fsync folder", "fsync folder", "told"]


def test_file_and_name_are_on_the_disk_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _steps(tmp_path, monkeypatch) == WITH_POWER_LOST


def test_the_control_without_the_folders_fsync_its_name_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_sync", lambda folder: None)
    assert _steps(tmp_path, monkeypatch) != WITH_POWER_LOST
