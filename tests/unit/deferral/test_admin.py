"""Admin commands: who has the write carries them out, in its own file; what is none, or nobody's, does not stay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from prodfix.deferral.admin import LONGEST_LIFE, MOST, AdminCommands
from prodfix.deferral.backlog import Backlog
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.writes import Update, Write
from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal
from tests.support.deferred_notes import dead, note, waiting

Make = Callable[..., Any]


@pytest.fixture
def deferred(make_deferred: Make) -> DeferredQueue:
    made: DeferredQueue = make_deferred()
    return made


@pytest.fixture
def orders(journal: Journal) -> AdminCommands:
    return AdminCommands(journal)


@pytest.fixture
def letter(deferred: DeferredQueue, make_drainer: Make) -> Write:
    """A dead letter."""
    write = Write("note", {"text": "a"}, owner="ada")
    deferred.put(write)
    make_drainer(deferred, max_age=-1).drain()
    return write


def test_a_dead_letter_is_tried_again(
    deferred: DeferredQueue, orders: AdminCommands, journal: Journal, letter: Write, make_drainer: Make, database: Any
) -> None:
    assert dead(journal) == {letter.id: "EXPIRED"}
    orders.give("replay", letter.id, "ada")
    assert (orders.waiting(), orders.obey(), orders.waiting()) == (1, 1, 0)
    assert (waiting(journal), dead(journal)) == ([letter.id], {})
    assert make_drainer(deferred).drain() == 1, "it does not expire again at once"
    assert database.notes.count_documents({}) == 1


def test_a_retry_is_no_part_of_an_incident_and_its_tries_add_up(
    orders: AdminCommands, journal: Journal, make_deferred: Make, make_drainer: Make, database: Any
) -> None:
    ended: list[tuple[str, list[float]]] = []
    deferred = make_deferred(ended=lambda name, kept: ended.extend([(name, kept)] if kept else []))
    deferred.register("poison", lambda given: [Update("notes", {"_id": given["id"]}, {"$inc": {"text": 1}})])
    database.notes.insert_one({"_id": 1, "text": "no number"})
    write, began = Write("poison", {"id": 1, "at": datetime.max}, owner="ada"), time.time()
    deferred.put(write)
    kept = time.time()
    backlog, statuses = Backlog(journal, deferred, orders), told(journal)
    for tries in (1, 2, 3):
        make_drainer(deferred).drain()
        assert dead(journal).keys() == {write.id}
        assert backlog.show(write.id).entry.attempts == tries
        assert statuses(write.id).attempts == tries
        orders.give("replay", write.id, "ada")
        orders.obey()
    ((name, moments),) = ended
    assert name == "dead"
    assert began <= moments[0] <= kept, "counted where it was deferred, and once"
    database.notes.update_one({"_id": 1}, {"$set": {"text": 0}})
    assert make_drainer(deferred).drain() == 1
    assert statuses(write.id).attempts == 4
    assert len(ended) == 1, "what an admin has done is his"


def test_what_was_applied_is_told_with_when_it_was_deferred(make_deferred: Make, make_drainer: Make) -> None:
    ended: list[tuple[str, int]] = []
    deferred = make_deferred(ended=lambda name, kept: ended.append((name, len(kept))))
    for text in "abc":
        deferred.put(note(text))
    make_drainer(deferred).drain()
    assert ended == [("replayed", 3)]


def told(journal: Journal) -> Callable[[str], Any]:
    """What an owner is told."""
    return OperationStatuses(journal, lambda: None, configured=False, uptime=lambda: 0.0, retention_days=1).status


@pytest.mark.parametrize("where", ["waiting", "dead"])
def test_a_discarded_write_has_failed_for_good(
    deferred: DeferredQueue, orders: AdminCommands, journal: Journal, letter: Write, make_drainer: Make, where: str
) -> None:
    if where == "waiting":
        orders.give("replay", letter.id, None)
        orders.obey()
    orders.give("discard", letter.id, "ada")
    assert orders.obey() == 1
    assert (waiting(journal), dead(journal)) == ([], {})
    assert journal.read("SELECT id, state, owner FROM ended") == [(letter.id, "discarded", "ada")]
    assert make_drainer(deferred).drain() == 0
    deferred.put(letter)
    assert waiting(journal) == []


def test_one_that_waits_is_tried_at_once(
    deferred: DeferredQueue, orders: AdminCommands, journal: Journal, make_drainer: Make
) -> None:
    write = note("a")
    deferred.put(write)
    journal.write([("UPDATE writes SET not_before = ?", (time.time() + 60,))])
    assert make_drainer(deferred).drain() == 0
    orders.give("replay", write.id, None)
    assert orders.obey() == 1
    assert make_drainer(deferred).drain() == 1


def test_only_the_worker_that_has_the_write_obeys_and_all_read_what_was_done(
    orders: AdminCommands, letter: Write, journal: Journal, open_journal: Callable[[], Journal]
) -> None:
    told: list[dict[str, Any]] = []
    sibling = open_journal()
    other = AdminCommands(sibling, done=told.append)
    other.give("discard", letter.id, "ada")
    assert (other.obey(), dead(journal)) == (0, {letter.id: "EXPIRED"})
    assert orders.obey() == 1
    assert told == []
    for reader in (journal, sibling):
        assert reader.read("SELECT command, operation_id, ordered_by, result FROM orders") == [
            ("discard", letter.id, "ada", "discarded")
        ]


def test_an_order_is_private_and_appears_at_once_or_not(orders: AdminCommands, letter: Write) -> None:
    orders.give("discard", letter.id, "ada")
    (path,) = orders.folder.iterdir()
    assert path.suffix == ".json"
    assert (path.stat().st_mode & 0o777, orders.folder.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"command":"drop","operationId":"a"}',
        b'{"command":"discard","operationId":1}',
        b'{"command":"discard","operationId":"' + b"a" * 5000 + b'"}',
    ],
)
def test_what_is_no_order_is_removed_and_does_nothing(
    orders: AdminCommands, letter: Write, journal: Journal, content: bytes
) -> None:
    orders.give("discard", "0" * 24, None)
    (path,) = orders.folder.iterdir()
    path.write_bytes(content)
    assert orders.obey() == 0
    assert list(orders.folder.iterdir()) == []
    assert dead(journal) == {letter.id: "EXPIRED"}


@pytest.mark.parametrize("suffix", [".json", ".new"])
def test_what_nobody_can_do_goes_after_a_minute(orders: AdminCommands, suffix: str) -> None:
    orders.give("discard", "0" * 24, None)
    (path,) = orders.folder.iterdir()
    path = path.rename(path.with_suffix(suffix))
    assert (orders.obey(), path.exists()) == (0, True)
    old = time.time() - LONGEST_LIFE - 1
    os.utime(path, (old, old))
    assert (orders.obey(), path.exists()) == (0, False)


def test_orders_are_bounded(orders: AdminCommands) -> None:
    orders.folder.mkdir(parents=True)
    for number in range(MOST):
        (orders.folder / f"{number}.json").touch()
    with pytest.raises(JournalUnavailable, match="too many"):
        orders.give("discard", "0" * 24, None)


def test_a_folder_that_cannot_be_made_is_told_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    orders = AdminCommands(Journal(tmp_path / "file"))
    with pytest.raises(JournalUnavailable) as refused:
        orders.give("discard", "0" * 24, None)
    assert str(tmp_path) not in str(refused.value)
    assert (orders.waiting(), orders.obey()) == (0, 0)


def test_a_kill_between_doing_and_removing_does_it_once(
    orders: AdminCommands, letter: Write, journal: Journal, make_drainer: Make, deferred: DeferredQueue, database: Any
) -> None:
    orders.give("replay", letter.id, None)
    (path,) = orders.folder.iterdir()
    content = path.read_bytes()
    assert orders.obey() == 1
    make_drainer(deferred).drain()
    path.write_bytes(content)
    assert orders.obey() == 0
    assert orjson.loads(path.read_bytes())["operationId"] == letter.id, "it goes after a minute"
    assert database.notes.count_documents({}) == 1


def test_a_write_that_copies_have_left_with_two_workers_is_discarded_by_both(
    open_journal: Callable[[], Journal], make_deferred: Make
) -> None:
    journals = [open_journal() for _ in range(2)]
    write = Write("note", {"text": "a"})
    for journal in journals:
        make_deferred(journal=journal).put(write)
    both = [AdminCommands(journal) for journal in journals]
    both[0].give("discard", write.id, "ada")
    assert [one.obey() for one in both] == [1, 1]
    assert [journal.read_own("SELECT count(*) FROM writes") for journal in journals] == [[(0,)], [(0,)]]
    assert [one.obey() for one in both] == [0, 0], "and once only"
