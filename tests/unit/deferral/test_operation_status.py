"""What became of a write: for its owner, alike from every worker, and never a 404 for what may be waiting elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prodfix.deferral import operation_status as module
from prodfix.deferral.admin import AdminCommands
from prodfix.deferral.operation_status import AWAY, KEPT_SECONDS, OPERATIONS, QUEUED, SETTLED, OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.throttle import LEAST
from prodfix.deferral.writes import Write
from prodfix.errors import DatabaseUnavailable, JournalUnavailable, NotKnownNow, ValidationFailed
from prodfix.journal.journal import Journal
from tests.support.deferred_notes import note
from tests.support.recorded_commands import Commands

Make = Callable[..., Any]


@pytest.fixture
def deferred(make_deferred: Make) -> DeferredQueue:
    made: DeferredQueue = make_deferred()
    made.register("bad", lambda _: [1 / 0])  # type: ignore[list-item]
    return made


@pytest.fixture
def make(journal: Journal, database: Any) -> Make:
    def make_statuses(**options: Any) -> OperationStatuses:
        known = {"configured": True, "uptime": lambda: SETTLED + 1, "retention_days": 8}
        chosen = {"journal": journal, "database": lambda: database} | known | options
        return OperationStatuses(chosen.pop("journal"), chosen.pop("database"), **chosen)

    return make_statuses


def put_bad(deferred: DeferredQueue, owner: str | None = None) -> Write:
    write = Write("bad", {}, owner=owner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferred, "steps", lambda write: [])
        deferred.put(write)
    return write


def test_a_write_waits_then_is_applied_or_has_failed(
    deferred: DeferredQueue, make: Make, make_drainer: Make, open_journal: Callable[[], Journal]
) -> None:
    good, bad = note("a"), put_bad(deferred)
    deferred.put(good)
    sibling = make(journal=open_journal(), database=lambda: None)
    here = make(database=lambda: None)
    for statuses in (here, sibling):
        assert [statuses.find(write.id, None).state for write in (good, bad)] == ["waiting", "waiting"]
    make_drainer(deferred).drain()
    for statuses in (here, sibling):
        applied, failed = (statuses.find(write.id, None).answer().to_json() for write in (good, bad))
        assert (applied["status"], applied["reason"], applied["attempts"]) == ("applied", None, 1)
        assert (failed["status"], failed["reason"]) == ("failed", "INTERNAL_ERROR")
        assert applied["createdAt"] <= applied["endedAt"]


@pytest.mark.parametrize(
    ("owner", "user", "seen"),
    [("ada", "ada", True), ("ada", "bob", False), ("ada", None, False), (None, None, True), (None, "bob", True)],
)
def test_only_its_owner_is_told(
    deferred: DeferredQueue, make: Make, make_drainer: Make, owner: str | None, user: str | None, seen: bool
) -> None:
    write = Write("note", {"text": "a"}, owner=owner)
    deferred.put(write)
    statuses = make()
    assert (statuses.find(write.id, user) is not None) is seen
    make_drainer(deferred).drain()
    assert (statuses.find(write.id, user) is not None) is seen
    statuses.store()
    elsewhere = make(journal=Journal(deferred._journal.folder / "elsewhere"))
    assert (elsewhere.find(write.id, user) is not None) is seen


def test_another_instance_learns_it_from_the_database_or_says_that_it_cannot_know(
    deferred: DeferredQueue, make: Make, make_drainer: Make, tmp_path: Any, database: Any
) -> None:
    good, bad = note("a"), put_bad(deferred)
    deferred.put(good)
    elsewhere = Journal(tmp_path / "elsewhere")
    with pytest.raises(DatabaseUnavailable):
        make(journal=elsewhere, database=lambda: None).find(good.id, None)
    with pytest.raises(NotKnownNow):  # it has just come back
        make(journal=elsewhere, uptime=lambda: SETTLED / 2).find(good.id, None)
    make_drainer(deferred).drain()
    make().store()
    there = make(journal=elsewhere)
    assert (there.find(good.id, None).state, there.find(bad.id, None).state) == ("applied", "failed")
    assert there.find("0" * 24, None) is None
    (expiry,) = [index for index in database[OPERATIONS].list_indexes() if "expireAfterSeconds" in index]
    assert expiry["expireAfterSeconds"] == 8 * 86400


NO_IDENTITIES = [
    "",
    "x",
    "seven77",
    "a" * 101,
    "0" * 24 + "\n",
    "a\x00" + "b" * 8,
    "../../../etc/passwd",
    "\u202e" * 9,
    None,
    7,
]


@pytest.mark.parametrize("identity", NO_IDENTITIES)
def test_what_cannot_be_an_identity_is_none_and_nobody_is_asked(
    make: Make, journal: Journal, deferred: DeferredQueue, monkeypatch: Any, identity: Any
) -> None:
    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(journal, "read", asked)
    statuses = make(database=asked, uptime=asked)
    assert (statuses.find(identity, None), statuses.applied(identity)) == (None, False)
    with pytest.raises(ValidationFailed):
        deferred.put(Write("note", {"text": "a"}, identity))
    with pytest.raises(AssertionError, match="asked"):
        statuses.find("0" * 24, None)  # the control


@pytest.mark.parametrize(
    "identity", ["orders-2026-11", "0" * 24, "A" * 100, "0b7c7d1e-8a52-4d3c-9c5e-0d4c8f6d3a11", "\u00e4pfel-1234"]
)
def test_an_identity_of_the_applications_own_is_found(
    make: Make, deferred: DeferredQueue, make_drainer: Make, identity: str
) -> None:
    deferred.put(Write("note", {"text": "a"}, identity))
    assert make().find(identity, None).state == "waiting"
    make_drainer(deferred).drain()
    assert make().find(identity, None).state == "applied"


def test_without_any_database_there_is_nobody_else_to_ask(make: Make) -> None:
    assert make(configured=False, database=lambda: None).find("0" * 24, None) is None


def test_what_failed_and_was_applied_at_last_stays_applied(
    deferred: DeferredQueue, journal: Journal, make: Make, make_drainer: Make, database: Any
) -> None:
    write, statuses, orders = put_bad(deferred), make(), AdminCommands(journal)
    make_drainer(deferred).drain()
    statuses.store()
    assert database[OPERATIONS].find_one({"_id": write.id})["state"] == "failed"
    del deferred._operations["bad"]
    deferred.register("bad", lambda _: deferred.operation("note").steps({"text": "a"}))
    orders.give("replay", write.id, "ada")
    assert orders.obey() == 1
    assert statuses.find(write.id, None).state == "waiting"
    make_drainer(deferred).drain()
    statuses.store()
    assert database[OPERATIONS].find_one({"_id": write.id})["state"] == "applied"
    journal.write([("INSERT INTO dead SELECT id, '', '', x'05000000', 0, 0, 0, 'LATE', '{}', 0, 0 FROM ended", ())])
    statuses.store()  # as from a file that is adopted late
    assert database[OPERATIONS].find_one({"_id": write.id})["state"] == "applied"
    assert statuses.find(write.id, None).state == "applied"


def test_the_disk_is_asked_only_once_something_may_be_told(
    deferred: DeferredQueue, make: Make, make_drainer: Make, monkeypatch: pytest.MonkeyPatch, database: Any
) -> None:
    asked, journal = [], deferred._journal
    read = journal.read_own
    monkeypatch.setattr(journal, "read_own", lambda query, *more: asked.append(query) or read(query, *more))
    statuses = make()

    def asks() -> int:
        asked.clear()
        statuses.store()
        return len(asked)

    assert asks() > 0, "nobody knows yet"
    assert asks() > 0, "old ones were looked for, which is a change"
    journal.write([("INSERT OR REPLACE INTO status (worker, at, entry) VALUES ('w', 0, '')", ())])
    assert asks() == 0
    deferred.put(note("a"))
    make_drainer(deferred).drain()
    assert asks() > 0, "the control"
    assert database[OPERATIONS].count_documents({"state": "applied"}) == 1
    assert asks() > 0, "that it was told is a change, too"
    assert asks() == 0
    monkeypatch.setattr(statuses._untold, "_again", 0.0)
    assert asks() > 0, "and now and then"


@pytest.mark.parametrize("live", [True, False])
def test_while_requests_use_the_database_it_is_told_a_few_at_a_time(
    deferred: DeferredQueue, make: Make, make_drainer: Make, connect: Make, commands: Commands, live: bool
) -> None:
    for number in range(30):
        deferred.put(note(str(number)))
    make_drainer(deferred).drain()
    database = connect(event_listeners=[commands]).get_default_database()
    statuses = make(database=lambda: database, live=lambda: live)
    while deferred._journal.read("SELECT 1 FROM ended WHERE published = 0"):  # a slow machine needs more than one
        statuses.store()
    sizes = [len(command["documents"]) for command in commands.sent if command.get("insert") == OPERATIONS]
    assert (sum(sizes), sizes[0]) == (30, LEAST if live else 30)


def test_what_waits_says_why_and_since_when(
    deferred: DeferredQueue, make: Make, make_drainer: Make, journal: Journal, database: Any, fail: Any
) -> None:
    write = note("a")
    deferred.put(write)
    told = make().find(write.id, None)
    assert (told.reason, told.answer().to_json()["waitingSince"]) == (QUEUED, told.answer().to_json()["createdAt"])
    assert make(database=lambda: None).find(write.id, None).reason == AWAY
    now = [write.created + 60]
    drainer = make_drainer(deferred, clock=lambda: now[0])
    fail("insert", errorCode=112)
    for _ in range(2):
        drainer.drain()
        told = make().find(write.id, None)
        assert (told.state, told.reason, told.since) == ("waiting", "DATABASE_BUSY", write.created + 60)
        now[0] += 1.5
    fail.off()
    make().store()
    elsewhere = make(journal=Journal(journal.folder / "elsewhere"))
    assert elsewhere.find(write.id, None).since == pytest.approx(write.created + 60, abs=0.001)
    now[0] += 60
    assert drainer.drain() == 1
    assert make().find(write.id, None).answer().to_json()["waitingSince"] is None


def test_statuses_end(
    deferred: DeferredQueue, journal: Journal, make: Make, make_drainer: Make, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "KEPT", 5)
    old = note("old")
    deferred.put(old)
    make_drainer(deferred).drain()
    journal.write([("UPDATE ended SET at = at - ?", (KEPT_SECONDS + 1,))])
    for number in range(10):
        deferred.put(note(str(number)))
    make_drainer(deferred).drain()
    statuses = make()
    statuses.store()
    kept = [row[0] for row in journal.read("SELECT id FROM ended")]
    assert (len(kept), old.id in kept) == (5, False)
    assert statuses.find(old.id, None).state == "applied", "MongoDB still knows"


def test_a_disk_that_does_not_answer_is_no_404(make: Make, journal: Journal, monkeypatch: Any) -> None:
    def hang(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(journal, "read", hang)
    with pytest.raises(JournalUnavailable):
        make().find("0" * 24, None)


def test_a_write_that_fails_for_now_is_told_to_the_other_instances(
    deferred: DeferredQueue, make: Make, make_drainer: Make, database: Any, fail: Any
) -> None:
    write = note("a")
    deferred.put(write)
    fail("insert", times=4, errorCode=112)
    make_drainer(deferred).drain()
    fail.off()
    make().store()
    found = database[OPERATIONS].find_one({"_id": write.id})
    assert (found["state"], found["reason"], found["attempts"]) == ("waiting", "DATABASE_BUSY", 0)
