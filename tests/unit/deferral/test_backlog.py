"""What admins see: all workers' writes, counted and paged, and no value of anybody's arguments."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.backlog import COUNTED, Backlog
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.waiting import HELD
from prodfix.deferral.writes import Write
from prodfix.errors import NotFound
from prodfix.journal.journal import Journal
from prodfix.serialization import to_json
from tests.support.deferred_notes import note

Make = Callable[..., Any]
CANARY = "ada.canary@example.org"


@pytest.fixture
def deferred(make_deferred: Make) -> DeferredQueue:
    made: DeferredQueue = make_deferred()
    return made


@pytest.fixture
def backlog(journal: Journal, deferred: DeferredQueue) -> Backlog:
    return Backlog(journal, deferred, AdminCommands(journal))


@pytest.fixture
def writes(
    deferred: DeferredQueue, make_drainer: Make, make_deferred: Make, open_journal: Callable[[], Journal]
) -> list[Write]:
    """Two dead letters, then three that wait: two of them in another worker's file."""
    other = make_deferred(journal=open_journal())
    other.register("other", lambda _: [])
    made = [Write("note", {"text": CANARY}, created=time.time() - 60 + number) for number in range(4)]
    for write in made[:2]:
        deferred.put(write)
    make_drainer(deferred, max_age=0).drain()
    deferred.put(made[2])
    other.put(made[3])
    last = Write("other", {"text": CANARY})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other, "steps", lambda write: [])
        other.put(last)
    return [*made, last]


def test_all_workers_are_counted(backlog: Backlog, writes: list[Write]) -> None:
    counts = backlog.counts().to_json()
    size, oldest = counts.pop("bytes"), counts.pop("oldestSeconds")
    assert counts == {
        "waiting": 3,
        "otherVersions": 0,
        "note": None,
        "failing": 0,
        "dead": 2,
        "operations": {"note": 2, "other": 1},
        "reasons": {"EXPIRED": 2},
    }
    assert 5 * 100 < size < 5 * 300
    assert 57 <= oldest <= 60


def test_what_waits_is_counted_in_the_order_of_an_index(journal: Journal) -> None:
    def plan(query: str, *values: str) -> str:
        return str(journal.read_own(f"EXPLAIN QUERY PLAN {query}", values))

    assert "INDEX writes_to_count" in plan(COUNTED, HELD)
    assert "TEMP B-TREE" not in plan(COUNTED, HELD)
    assert "TEMP B-TREE" in plan("SELECT attempts, count(*) FROM writes GROUP BY 1"), "the control"


def test_pages_are_in_order_and_filtered(backlog: Backlog, writes: list[Write]) -> None:
    def ids(**options: Any) -> list[str]:
        return [entry.operation_id for entry in backlog.page(**options).entries]

    every = [write.id for write in writes]
    assert ids() == every
    assert ids(limit=2) + ids(limit=2, offset=2) + ids(limit=2, offset=4) == every
    assert [backlog.page(limit=2, offset=offset).more for offset in (0, 2, 4)] == [True, True, False]
    assert ids(state="failed") == every[:2]
    assert ids(state="waiting", operation="note") == every[2:4]
    assert ids(operation="nobody's") == []


def test_an_entry_shows_names_and_types_and_no_value(
    backlog: Backlog, deferred: DeferredQueue, writes: list[Write]
) -> None:
    shown = backlog.show(writes[0].id).to_json()
    assert (shown["status"], shown["reason"], shown["arguments"]) == ("failed", "EXPIRED", {"text": "?str"})
    everything = json.dumps(to_json([shown, *backlog.page().entries, backlog.counts(), backlog.show(writes[4].id)]))
    assert CANARY not in everything
    assert CANARY in str(deferred._journal.read("SELECT entry FROM dead")), "the control: it is in the file"


def test_an_unknown_one_is_not_there_and_nothing_is_ordered(backlog: Backlog) -> None:
    for ask in (backlog.show, lambda identity: backlog.order("discard", identity, "ada")):
        with pytest.raises(NotFound):
            ask("0" * 24)
    assert backlog.ordered == 0


def test_what_was_ordered_and_done_is_shown(backlog: Backlog, writes: list[Write]) -> None:
    assert backlog.order("discard", writes[0].id, "ada").status == "failed"
    assert (backlog.ordered, backlog._orders.obey(), backlog.ordered) == (1, 1, 0)
    ((order),) = to_json(backlog.orders())
    assert (order["command"], order["operationId"], order["by"], order["result"]) == (
        "discard",
        writes[0].id,
        "ada",
        "discarded",
    )
    assert backlog.orders(writes[1].id) == []


def test_a_process_that_has_opened_no_journal_reads_the_same_and_makes_no_file(
    backlog: Backlog, writes: list[Write], deferred: DeferredQueue, journal: Journal
) -> None:
    before = sorted(path.name for path in journal.folder.iterdir())
    outside = Backlog(Journal(journal.folder), deferred, AdminCommands(Journal(journal.folder)))
    assert outside.page() == backlog.page()
    assert sorted(path.name for path in journal.folder.iterdir()) == before


def test_a_broken_entry_is_still_listed(backlog: Backlog, deferred: DeferredQueue, journal: Journal) -> None:
    deferred.put(note())
    journal.write([("UPDATE writes SET entry = x'00'", ())])
    (entry,) = to_json(backlog.page().entries)
    assert backlog.show(entry["operationId"]).arguments == {}


@pytest.mark.parametrize("told", ["x''", "'{'", "'[1]'", "'null'"])
def test_a_dead_letter_whose_facts_are_damaged_is_shown_without_them(
    backlog: Backlog, deferred: DeferredQueue, writes: list[Write], told: str
) -> None:
    def shown(facts: str) -> list[dict[str, Any]]:
        deferred._journal.write([(f"UPDATE dead SET facts = {facts}", ())])
        return [entry.facts for entry in backlog.page(state="failed").entries]

    assert shown(told) == [{}, {}]
    assert shown("""'{"code":11000}'""") == [{"code": 11000}] * 2, "the control"


def test_why_a_write_waits_is_told_alike_by_list_group_and_status_and_its_group_can_be_ordered(
    journal: Journal, deferred: DeferredQueue
) -> None:
    lost = [True]
    backlog = Backlog(journal, deferred, AdminCommands(journal), lambda: lost[0])
    statuses = OperationStatuses(
        journal, lambda: None if lost[0] else deferred.database(), configured=False, uptime=float, retention_days=1
    )
    writes = [note("a"), note("b")]
    for write in writes:
        deferred.put(write)
    # One was tried, and its connection was lost.
    journal.write(
        [("UPDATE writes SET reason = 'DATABASE_UNAVAILABLE', not_before = ? WHERE id = ?", (2e10, writes[0].id))]
    )

    def reasons(write: Write) -> set[str | None]:
        (listed,) = (one for one in backlog.page().entries if one.operation_id == write.id)
        status = statuses.status(write.id)
        assert status is not None
        return {listed.reason, backlog.show(write.id).entry.reason, status.reason}

    assert [reasons(write) for write in writes] == [{"DATABASE_UNAVAILABLE"}] * 2
    assert [(one.reason, one.count) for one in backlog.groups.read()] == [("DATABASE_UNAVAILABLE", 2)]
    lost[0] = False
    assert [reasons(write) for write in writes] == [{"DATABASE_UNAVAILABLE"}, {"QUEUED"}]
    assert {(one.reason, one.count) for one in backlog.groups.read()} == {("DATABASE_UNAVAILABLE", 1), ("QUEUED", 1)}
    order = {"operation": "note", "state": "waiting"}
    assert backlog.groups.order("replay", "ada", reason="QUEUED", **order).count == 0, "it rests not"  # type: ignore[arg-type]
    assert backlog.groups.order("discard", "ada", reason="QUEUED", **order).count == 1  # type: ignore[arg-type]
    assert backlog.groups.order("replay", "ada", reason="DATABASE_UNAVAILABLE", **order).count == 1  # type: ignore[arg-type]
