"""The way back: in order, exactly once whatever dies when, and a bad write never blocks the others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
import orjson
import pytest
from bson.errors import InvalidBSON, InvalidDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, EncryptionError, OperationFailure, ProtocolError

from prodfix.deferral import drainer as drainers
from prodfix.deferral.drainer import BATCH, JITTER, Drainer
from prodfix.deferral.guards import REMEMBERED
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.throttle import LEAST
from prodfix.deferral.writes import Insert, Step, Update, Write
from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal
from prodfix.schemas import GUARD
from tests.support.deferred_notes import dead, note, texts, waiting
from tests.support.recorded_commands import Commands

Make = Callable[..., Any]
COUNT = Update("books", {"_id": "book"}, {"$inc": {"notes": 1}}, upsert=True)


@pytest.fixture
def deferred(make_deferred: Make) -> DeferredQueue:
    deferred: DeferredQueue = make_deferred()
    deferred.register("set", _setting)
    deferred.register("poison", _poison)
    return deferred


@pytest.fixture
def drainer(deferred: DeferredQueue, make_drainer: Make, clock: Clock) -> Drainer:
    made: Drainer = make_drainer(deferred, clock=clock)
    return made


class Clock:
    """Goes only when told; begins now, as the writes of a test do."""

    def __init__(self) -> None:
        self.now = time.time() + 1

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _setting(arguments: Mapping[str, Any]) -> Sequence[Step]:
    """Sets the title of a book, of a version if one is given."""
    version = arguments.get("version")
    change = {"$set": {"title": arguments["title"]}}
    return [Update("books", {"_id": arguments["book"]}, change, expected_version=version, overwrite=version is None)]


def _poison(arguments: Mapping[str, Any]) -> Sequence[Step]:
    raise KeyError("poison")


def setting(book: str, title: str, version: int | None = None) -> Write:
    return Write("set", {"book": book, "title": title, "version": version})


# -- order and batches ------------------------------------------------------------------------------------------------------


def test_what_waits_is_applied_and_leaves_a_status(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    writes = [note(f"{number:03}") for number in range(3 * BATCH)]
    for write in writes:
        deferred.put(write)
    applied: list[int] = []
    assert drainer.drain(applied.append) == len(writes)
    assert applied == [BATCH] * 3
    assert sorted(texts(database)) == [f"{number:03}" for number in range(len(writes))]
    assert database.books.find_one()["notes"] == len(writes)
    assert (waiting(journal), drainer.drain()) == ([], 0)
    ended = journal.read("SELECT id, state, attempts FROM ended")
    assert sorted(ended) == sorted((write.id, "applied", 1) for write in writes)


def test_writes_of_one_document_are_applied_in_the_order_of_their_coming(
    deferred: DeferredQueue, drainer: Drainer, database: Any
) -> None:
    names = ("a", "b", "c")
    database.books.insert_many([{"_id": name} for name in names])
    deferred.register("push", lambda given: [Update("books", {"_id": given["book"]}, {"$push": {"seen": given["n"]}})])
    for number in range(2 * BATCH):
        for name in names:
            deferred.put(Write("push", {"book": name, "n": number}))
    assert drainer.drain() == 2 * BATCH * len(names)
    assert [book["seen"] for book in database.books.find()] == [list(range(2 * BATCH))] * len(names)


def test_a_batch_takes_one_command_for_each_collection(
    deferred: DeferredQueue, drainer: Drainer, connect: Make, commands: Commands
) -> None:
    for number in range(BATCH):
        deferred.put(note(str(number), book=str(number)))
    deferred.database = connect(event_listeners=[commands]).get_default_database
    assert drainer.drain() == BATCH
    assert commands.names == ["insert", "update"]


def test_writes_to_one_document_are_one_update_of_it(
    deferred: DeferredQueue, drainer: Drainer, connect: Make, commands: Commands, database: Any
) -> None:
    for number in range(BATCH):
        deferred.put(note(str(number), book=f"book {number % 2}"))
    deferred.database = connect(event_listeners=[commands]).get_default_database
    assert drainer.drain() == BATCH
    assert [len(command["updates"]) for command in commands.sent if "update" in command] == [2]
    for book in database.books.find():
        assert (book["notes"], len(book["texts"]), len(book[GUARD])) == (BATCH / 2, BATCH / 2, BATCH / 2)


def test_updates_whose_sum_bson_cannot_hold_are_sent_one_by_one_in_one_command(
    deferred: DeferredQueue, drainer: Drainer, connect: Make, commands: Commands, database: Any
) -> None:
    deferred.register(
        "count", lambda given: [Insert("notes", {}), Update("books", {"_id": "a"}, {"$inc": {"n": given["n"]}})]
    )
    database.books.insert_one({"_id": "a", "n": -(2**62)})
    for _ in range(2):
        deferred.put(Write("count", {"n": 2**62}))
    deferred.database = connect(event_listeners=[commands]).get_default_database
    assert drainer.drain() == 2
    assert [len(command["updates"]) for command in commands.sent if "update" in command] == [2]
    assert database.books.find_one()["n"] == 2**62


def test_while_requests_come_batches_are_small_and_followed_by_a_rest(
    deferred: DeferredQueue, make_drainer: Make, database: Any
) -> None:
    slept: list[float] = []
    batches: list[int] = []
    for number in range(BATCH):
        deferred.put(note(str(number)))
    make_drainer(deferred, rate=1e9, live=lambda: True, sleep=slept.append).drain(batches.append)
    assert (sum(batches), batches[0], len(slept)) == (BATCH, LEAST, len(batches))
    assert min(slept) > 0
    # The control: nobody comes.
    slept.clear()
    for number in range(BATCH):
        deferred.put(note(str(number)))
    make_drainer(deferred, rate=1e9, sleep=slept.append).drain(batches.append)
    assert (batches[-1], slept) == (BATCH, [0])
    assert database.notes.count_documents({}) == 2 * BATCH


def test_it_is_never_faster_than_its_rate(deferred: DeferredQueue, make_drainer: Make) -> None:
    slept: list[float] = []
    for number in range(2 * BATCH):
        deferred.put(note(str(number)))
    begun = time.monotonic()
    make_drainer(deferred, rate=20.0, sleep=slept.append).drain()
    assert sum(slept) + time.monotonic() - begun >= 2 * BATCH / 20
    assert len(slept) == 2


def test_it_begins_at_a_random_moment_after_the_return(
    deferred: DeferredQueue, drainer: Drainer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drainers.random, "uniform", lambda least, most: most)
    deferred.put(note())
    assert [drainer.tick(False), drainer.tick(True)] == [0, 0]
    clock.now += JITTER / 2
    assert drainer.tick(True) == 0
    assert drainer.tick(False) == 0  # lost again: the moment is drawn anew
    clock.now += JITTER
    assert drainer.tick(True) == 0
    clock.now += JITTER
    assert drainer.tick(True) == 1


def test_a_clock_that_is_put_back_does_not_keep_what_waits_waiting(
    deferred: DeferredQueue, drainer: Drainer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drainers.random, "uniform", lambda least, most: most)
    deferred.put(note())
    assert [drainer.tick(False), drainer.tick(True)] == [0, 0]
    clock.now -= 3600
    assert drainer.tick(True) == 1


def test_after_a_return_a_backlog_goes_first_until_it_is_applied_and_not_for_long(
    deferred: DeferredQueue, drainer: Drainer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drainers.random, "uniform", lambda least, most: most)
    deferred.put(note())
    for _ in range(2):
        drainer.tick(False)
        drainer.tick(True)
        assert drainer.first, "the moment to begin is yet to come"
    monkeypatch.setattr(drainers, "FIRST", 0.0)
    assert not drainer.first, "the control: it was for too long"
    monkeypatch.undo()
    drainer.stop()
    assert not drainer.first, "a worker that ends writes what it has"


def test_what_is_applied_is_not_waited_for(deferred: DeferredQueue, drainer: Drainer, clock: Clock) -> None:
    deferred.put(note())
    drainer.tick(False)
    during: list[bool] = []
    drainer.tick(True)
    clock.now += JITTER
    apply = deferred.apply_steps
    deferred.apply_steps = lambda *given, **more: (during.append(drainer.first), apply(*given, **more))[1]  # type: ignore[method-assign]
    assert drainer.tick(True) == 1
    assert (during, drainer.first) == ([True], False)


def test_a_worker_that_ends_ends_its_drain(deferred: DeferredQueue, drainer: Drainer, journal: Journal) -> None:
    for number in range(3 * BATCH):
        deferred.put(note(str(number)))

    def stop(applied: int) -> None:
        drainer.stop()

    assert drainer.drain(stop) == BATCH
    assert len(waiting(journal)) == 2 * BATCH


# -- killed at any moment ---------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As SIGKILL: nothing that is written for errors sees it."""


def crashing(target: Any, name: str, monkeypatch: pytest.MonkeyPatch, after: int, before: bool) -> None:
    """Dies at the call of that number, before or after it takes effect."""
    calls = iter(range(after + 1))
    real = getattr(target, name)

    def call(*arguments: Any, **options: Any) -> Any:
        last = next(calls, None) == after
        if last and before:
            raise Killed
        result = real(*arguments, **options)
        if last:
            raise Killed
        return result

    monkeypatch.setattr(target, name, call)


POINTS = st.tuples(st.sampled_from(["journal", "together", "alone"]), st.integers(0, 4), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=st.lists(POINTS, min_size=1, max_size=5), books=st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_each_is_applied_exactly_once_whatever_dies_when(
    deferred: DeferredQueue,
    drainer: Drainer,
    journal: Journal,
    database: Any,
    points: list[tuple[str, int, bool]],
    books: list[int],
) -> None:
    database.notes.delete_many({})
    database.books.delete_many({})
    for number, book in enumerate(books):
        deferred.put(note(str(number), book=f"book {book}"))
    targets = {
        "journal": (journal, "write"),
        "together": (drainers.guards, "apply_many"),
        "alone": (drainers.guards, "apply"),
    }
    for where, after, before in points:
        with pytest.MonkeyPatch.context() as patch:
            crashing(*targets[where], patch, after, before)
            try:
                drainer.drain()
            except Killed:
                drainer = Drainer(
                    deferred, journal, drainer._classifier, max_attempts=3, max_age=3600, rate=1e9, sleep=lambda _: None
                )
    drainer.drain()
    assert (waiting(journal), dead(journal)) == ([], {})
    assert sorted(texts(database)) == sorted(str(number) for number in range(len(books)))
    for book in set(books):
        found = database.books.find_one({"_id": f"book {book}"})
        assert (found["notes"], len(found["texts"])) == (books.count(book), books.count(book))


@pytest.mark.parametrize("guarded", [True, False])
def test_without_guard_and_id_the_same_crash_doubles(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, monkeypatch: Any, guarded: bool
) -> None:
    # The control of the test above.
    if not guarded:
        monkeypatch.setattr(
            drainers.guards, "_guarded", lambda step, marks, since: (dict(step.filter), dict(step.update))
        )
        monkeypatch.setattr(drainers.guards, "document_id", lambda identity: bson.ObjectId())
    deferred.put(note("a"))
    with pytest.MonkeyPatch.context() as patch:
        crashing(journal, "write", patch, 1, before=True)  # applied, and not forgotten
        with pytest.raises(Killed):
            drainer.drain()
    drainer.drain()
    times = 1 if guarded else 2
    assert (texts(database), database.books.find_one()["notes"]) == (["a"] * times, times)


def test_a_write_is_marked_on_disk_before_it_is_tried(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    deferred.put(note("a"))
    with monkeypatch.context() as patch:
        crashing(drainers.guards, "apply", patch, 0, before=True)
        # Killed is no Exception, so it is not taken for the database's.
        with pytest.raises(Killed):
            drainer.drain()
    assert journal.read("SELECT tried FROM writes") == [(clock.now,)]


def test_what_may_have_been_applied_and_forgotten_is_put_aside_and_not_guessed(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    deferred.register("count", lambda _: [COUNT])
    write = Write("count", {})
    begun = time.time()
    deferred.apply(write)
    for _ in range(REMEMBERED):
        deferred.apply(Write("count", {}))
    deferred.put(write, tried=begun)
    assert drainer.drain() == 0
    assert dead(journal) == {write.id: "UNCERTAIN"}
    assert database.books.find_one()["notes"] == REMEMBERED + 1
    ((facts,),) = journal.read("SELECT facts FROM dead")
    assert orjson.loads(facts)["steps"] == ["unknown"]


def test_a_step_that_is_seen_tells_of_those_before_it(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its first document has forgotten it; but the note would not be there if that had not been applied.
    forgetful(deferred, monkeypatch)
    deferred.register("count", lambda _: [COUNT])
    deferred.register("reversed", lambda given: [COUNT, Insert("notes", {"text": "a"}), replace(COUNT, upsert=False)])
    begun = time.time()
    whole, none = Write("reversed", {}), Write("reversed", {})
    deferred.apply_steps(whole, deferred.steps(whole)[:2])
    for _ in range(100):
        deferred.apply(Write("count", {}))
    for write in (whole, none):
        deferred.put(write, tried=begun)
    known = [drainers.guards.states(database, deferred.steps(write), write.id, begun) for write in (whole, none)]
    assert known == [["applied", "applied", "unknown"], ["unknown", "not_applied", "unknown"]]
    assert drainer.drain() == 0
    facts = dict(journal.read("SELECT id, facts FROM dead"))
    assert [orjson.loads(facts[write.id])["steps"] for write in (whole, none)] == known


def test_a_write_that_cannot_be_forgotten_ends_the_drain_and_is_applied_once(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    deferred.put(note())
    assert journal._file is not None
    refuse = "CREATE TEMP TRIGGER refuse BEFORE DELETE ON writes BEGIN SELECT RAISE(FAIL, 'no room'); END"
    journal._file.connection.execute(refuse)
    for _ in range(2):
        with pytest.raises(JournalUnavailable):
            drainer.drain()
    journal._file.connection.execute("DROP TRIGGER refuse")
    assert (drainer.drain(), waiting(journal)) == (1, [])
    assert (texts(database), database.books.find_one()["notes"]) == (["a"], 1)


def test_a_full_file_refuses_more_and_is_drained_all_the_same(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    assert journal._file is not None
    connection = journal._file.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages + 20}")
    kept = 0
    while not deferred.refused:
        with contextlib.suppress(JournalUnavailable):
            deferred.put(note(str(kept), more="x" * 500))
            kept += 1
    assert kept > 50
    assert journal.failure == "OperationalError SQLITE_FULL"
    assert drainer.drain() == kept
    assert (database.notes.count_documents({}), database.books.find_one()["notes"]) == (kept, kept)
    deferred.put(note("there is room again"))


# -- what other workers leave ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
def test_what_a_worker_was_trying_when_it_died_is_known_however_many_others_come_first(
    deferred: DeferredQueue,
    drainer: Drainer,
    open_journal: Callable[[], Journal],
    make_deferred: Make,
    journal: Journal,
    database: Any,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
) -> None:
    other = open_journal()
    theirs: DeferredQueue = make_deferred(journal=other)
    applied, half, _ = left = [note(text) for text in ("applied", "half", "untouched")]
    if not guarded:
        forgetful(deferred, monkeypatch)  # the control
    for write in left:
        theirs.put(write, tried=time.time())
    theirs.apply_steps(applied, theirs.steps(applied))
    theirs.apply_steps(half, theirs.steps(half)[:1])
    mine = REMEMBERED + 2 * BATCH
    for number in range(mine):
        deferred.put(note(str(number)))
    monkeypatch.setattr(drainer, "_adopt", lambda: False)
    assert drainer.drain() == mine
    other.close()
    journal.adopt()
    if guarded:
        assert (drainer.drain(), dead(journal)) == (3, {})
        assert sorted(texts(database)) == sorted(database.books.find_one()["texts"])
        assert database.books.find_one()["notes"] == mine + 3
        assert len(database.books.find_one()[GUARD]) < 3 * BATCH
    else:
        assert (drainer.drain(), dead(journal)) == (0, {write.id: "UNCERTAIN" for write in left})


def forgetful(deferred: DeferredQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if documents remembered the last 100 writes, whatever is known of them."""
    monkeypatch.setattr(drainers.guards, "REMEMBERED", 100)
    monkeypatch.setattr(drainers.guards, "SLACK", 50)
    monkeypatch.setattr(deferred.releases, "work", lambda: None)


def test_it_never_goes_before_an_older_one_of_its_document(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    database.books.insert_one({"_id": "a"})
    older, newer = setting("a", "older"), setting("a", "newer")
    deferred.put(older)
    deferred.put(newer, tried=time.time())
    assert drainer.drain() == 2
    assert database.books.find_one()["title"] == "newer"


# -- what fails -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("poison", "reason"),
    [(Write("poison", {}), "INTERNAL_ERROR"), (Write("gone", {}), "UNKNOWN_OPERATION")],
)
def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, poison: Write, reason: str
) -> None:
    told: list[Mapping[str, Any]] = []
    deferred.report = lambda severity, message, facts: told.append(facts)
    for write in (note("a"), poison, note("b")):
        put(deferred, journal, write)
    assert drainer.drain() == 2
    assert texts(database) == ["a", "b"]
    assert dead(journal) == {poison.id: reason}
    assert [facts["reason"] for facts in told if "reason" in facts] == [reason]


def put(deferred: DeferredQueue, journal: Journal, write: Write) -> None:
    """As an earlier release did, which knew the operation, or whose version of it did not fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferred, "steps", lambda write: [])
        if write.operation == "gone":
            patch.setattr(deferred, "operation", lambda name: deferred._operations["note"])
        deferred.put(write)


def test_a_lost_connection_stops_the_drain_and_says_nothing_about_the_write(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, nowhere: Any, clock: Clock, database: Any
) -> None:
    deferred.database = nowhere.get_default_database
    for text in ("a", "b", "c"):
        deferred.put(note(text))
    for _ in range(10):
        assert drainer.drain() == 0
        clock.now += 2 * drainers.LONGEST_INTERRUPTED
    assert journal.read("SELECT attempts FROM writes") == [(0,)] * 3
    deferred.database = lambda: database
    assert drainer.drain() == 3


def test_a_write_that_breaks_the_connection_lets_the_others_go_first(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, nowhere: Any, database: Any
) -> None:
    class Broken:
        """A database whose collection ``bad`` always loses the connection."""

        def __getitem__(self, name: str) -> Any:
            return nowhere.nowhere.bad if name == "bad" else database[name]

    deferred.register("bad", lambda _: [Insert("bad", {})])
    deferred.database = Broken  # type: ignore[assignment,return-value]
    bad = Write("bad", {})
    for write in (bad, note("a"), note("b")):
        deferred.put(write)
    applied = sum(drainer.drain() for _ in range(3))
    assert (applied, waiting(journal)) == (2, [bad.id])


@pytest.mark.parametrize("code", [13, 18])
def test_a_database_that_refuses_us_buries_nothing(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, fail: Any, clock: Clock, code: int
) -> None:
    deferred.put(note("a"))
    fail("insert", errorCode=code)
    for _ in range(5):
        drainer.drain()
        clock.now += 60
    assert (len(waiting(journal)), dead(journal)) == (1, {})


def test_what_fails_again_and_again_waits_longer_each_time_and_is_put_aside_at_last(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, fail: Any, clock: Clock
) -> None:
    write = note("a")
    deferred.put(write)
    fail("insert", errorCode=262)
    for attempts in (1, 2, 3):
        for _ in range(2):  # the second time it rests
            drainer.drain()
        assert journal.read("SELECT attempts, reason FROM writes") == [(attempts, "DATABASE_TIMEOUT")]
        clock.now += 2 * drainers.LONGEST_STUCK
    clock.now += drainers.PATIENCE
    drainer.drain()
    assert (waiting(journal), dead(journal)) == ([], {write.id: "DATABASE_TIMEOUT"})


def test_what_meets_others_at_its_document_is_never_put_aside_for_that(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, fail: Any, clock: Clock
) -> None:
    # The test above is the control: for other reasons a write is put aside at last.
    deferred.put(note("a"))
    fail("insert", errorCode=112)
    for _ in range(10):
        drainer.drain()
        clock.now += 2.5
    assert (journal.read("SELECT attempts, reason FROM writes"), dead(journal)) == ([(0, "DATABASE_BUSY")], {})
    fail.off()
    assert drainer.drain() == 1
    assert texts(database) == ["a"]


def test_a_clock_that_is_put_back_keeps_nobody_waiting(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, fail: Any, clock: Clock
) -> None:
    deferred.put(note("a"))
    fail("insert", times=3, errorCode=112)
    assert drainer.drain() == 0
    fail.off()
    assert drainer.drain() == 0
    clock.now -= 3600
    assert drainer.drain() == 1


def test_a_failing_write_holds_back_only_those_of_its_own_document(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, clock: Clock, monkeypatch: Any
) -> None:
    database.books.insert_many([{"_id": "a"}, {"_id": "b"}])
    first, second, other = setting("a", "1"), setting("a", "2"), setting("b", "3")
    for write in (first, second, other):
        deferred.put(write)
    busy = iter([first.id])
    failing = failing_once(monkeypatch, busy)
    assert drainer.drain() == 1
    assert [book.get("title") for book in database.books.find().sort("_id", 1)] == [None, "3"]
    assert failing == [first.id]
    clock.now += 5
    assert drainer.drain() == 2
    assert database.books.find_one({"_id": "a"})["title"] == "2"


def failing_once(monkeypatch: pytest.MonkeyPatch, identities: Any) -> list[str]:
    """The database is too busy for these writes, together and alone, one time."""
    wanted, failed = set(identities), []
    many, one = drainers.guards.apply_many, drainers.guards.apply

    def apply_many(database: Any, collection: str, steps: Any) -> set[int]:
        left = [place for place, step in enumerate(steps) if step[1] not in wanted]
        doubtful = many(database, collection, [steps[place] for place in left])
        return {left[place] for place in doubtful} | (set(range(len(steps))) - set(left))

    def apply(database: Any, step: Step, identity: str, number: int, **options: Any) -> None:
        if identity in wanted:
            wanted.discard(identity)
            failed.append(identity)
            raise OperationFailure("conflict", 112)
        one(database, step, identity, number, **options)

    monkeypatch.setattr(drainers.guards, "apply_many", apply_many)
    monkeypatch.setattr(drainers.guards, "apply", apply)
    return failed


def test_a_dead_one_holds_nobody_back(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    database.books.insert_one({"_id": "a", "version": 1})
    first, second = setting("a", "1", version=7), setting("a", "2", version=1)
    for write in (first, second):
        deferred.put(write)
    assert drainer.drain() == 1
    assert (dead(journal), database.books.find_one()["title"]) == ({first.id: "CONFLICT"}, "2")


def test_an_older_write_does_not_overwrite_a_newer_one(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    database.books.insert_one({"_id": "a", "version": 3})
    older = setting("a", "older", version=3)
    deferred.put(older)
    deferred.apply(setting("a", "newer", version=3))
    assert drainer.drain() == 0
    assert database.books.find_one()["title"] == "newer"
    ((reason, facts),) = journal.read("SELECT reason, facts FROM dead")
    assert reason == "CONFLICT"
    assert orjson.loads(facts) == {
        "error": "ConcurrentModification",
        "partlyApplied": False,
        "expectedVersion": 3,
        "foundVersion": 4,
    }


def test_without_a_version_the_older_one_would_win(deferred: DeferredQueue, drainer: Drainer, database: Any) -> None:
    # The control of the test above.
    database.books.insert_one({"_id": "a"})
    deferred.put(setting("a", "older"))
    deferred.apply(setting("a", "newer"))
    drainer.drain()
    assert database.books.find_one()["title"] == "older"


def test_a_clash_of_another_unique_key_is_put_aside_with_its_name(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    database.notes.create_index("text", unique=True)
    first, clash, other = note("taken"), note("taken"), note("free")
    for write in (first, clash, other):
        deferred.put(write)
    assert drainer.drain() == 2
    assert dead(journal) == {clash.id: "DUPLICATE_KEY"}
    assert (texts(database), database.books.find_one()["notes"]) == (["taken", "free"], 2)


def test_a_clash_with_ones_own_document_is_none_whichever_key_the_server_names(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any
) -> None:
    database.notes.create_index("text", unique=True)
    writes = [note(str(number)) for number in range(3)]
    for write in writes:
        deferred.put(write)
    with pytest.MonkeyPatch.context() as patch:
        crashing(drainers.guards, "apply_many", patch, 0, before=False)  # after the inserts, before the updates
        with pytest.raises(Killed):
            drainer.drain()
    assert (database.notes.count_documents({}), database.books.find_one()) == (3, None)
    assert drainer.drain() == 3
    assert (database.notes.count_documents({}), database.books.find_one()["notes"], dead(journal)) == (3, 3, {})


def test_an_update_of_a_document_that_is_not_there_is_put_aside(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal
) -> None:
    write = setting("nowhere", "a")
    deferred.put(write)
    assert (drainer.drain(), dead(journal)) == (0, {write.id: "NOT_FOUND"})


def test_what_is_too_old_is_put_aside_untried(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, clock: Clock
) -> None:
    old, young = note("old"), note("young")
    deferred.put(old)
    journal.write([("UPDATE writes SET created = created - 3601", ())])
    deferred.put(young)
    assert drainer.drain() == 1
    assert (dead(journal), texts(database)) == ({old.id: "EXPIRED"}, ["young"])


def test_an_entry_that_cannot_be_read_is_put_aside(deferred: DeferredQueue, drainer: Drainer, journal: Journal) -> None:
    broken = note("a")
    deferred.put(broken)
    journal.write([("UPDATE writes SET entry = x'00'", ())])
    deferred.put(note("b"))
    assert (drainer.drain(), dead(journal)) == (1, {broken.id: "UNKNOWN_OPERATION"})


def test_times_in_arguments_come_back_as_they_were(deferred: DeferredQueue, drainer: Drainer, database: Any) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    deferred.put(note(moment))
    drainer.drain()
    assert database.notes.find_one()["text"] == moment


@pytest.mark.parametrize("error", [InvalidBSON("year 20000 is out of range"), ProtocolError("no reply")], ids=repr)
def test_a_reply_that_cannot_be_read_is_no_reason_to_bury_a_write_at_its_first_try(
    deferred: DeferredQueue,
    drainer: Drainer,
    journal: Journal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    deferred.put(write := note())
    answered = [error, error]
    replay = deferred.apply_steps

    def unreadable(*arguments: Any, **options: Any) -> None:
        replay(*arguments, **options)  # it was applied, and what the server said of it is lost
        if answered:
            raise answered.pop()

    monkeypatch.setattr(deferred, "apply_steps", unreadable)
    for _ in answered[:]:
        assert (drainer.drain(), waiting(journal), dead(journal)) == (0, [write.id], {})
        clock.now += 120
    assert (drainer.drain(), waiting(journal), dead(journal)) == (1, [], {})


def test_but_it_is_put_aside_at_last_and_what_cannot_be_encoded_at_once(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, tries in ((InvalidBSON("x"), 3), (InvalidDocument("x"), 1)):
        deferred.put(write := note())

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(deferred, "apply_steps", fail)
        for count in range(tries):
            assert write.id not in dead(journal), count
            drainer.drain()
            clock.now += 120
        assert write.id in dead(journal)


def test_a_database_that_is_away_when_a_write_is_encrypted_ends_the_drain(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred.put(write := note())

    def fail(*_: Any, **__: Any) -> None:
        raise EncryptionError(AutoReconnect("the key vault"))

    monkeypatch.setattr(deferred, "apply_steps", fail)
    assert (drainer.drain(), waiting(journal), dead(journal)) == (0, [write.id], {})
    assert journal.read("SELECT attempts, reason FROM writes") == [(0, "DATABASE_UNAVAILABLE")]
