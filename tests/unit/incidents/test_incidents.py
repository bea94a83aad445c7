"""Incidents: each worker's part, one record of all, and nothing counted twice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from prodfix.incidents import folding
from prodfix.incidents.folding import INCIDENTS, OLD, PERIOD, REST, SETTLED, IncidentFolds
from prodfix.incidents.incident_log import AHEAD, LASTING, IncidentLog, IncidentPage
from prodfix.incidents.observed import FOLLOWED, GAP, NOTICED, Incidents, WorkerPart
from prodfix.incidents.outages import Outages
from prodfix.journal.journal import Journal
from prodfix.serialization import iso, to_json
from tests.support.recorded_commands import Commands

START = 1_800_000_000.0


class Clock:
    """``now`` is what the wall says; ``set`` was added to it by somebody, of which the monotonic clock knows nothing."""

    def __init__(self) -> None:
        self.now = START
        self.set = 0.0

    def __call__(self) -> float:
        return self.now + self.set

    def monotonic(self) -> float:
        return self.now - START


class Worker:
    """One worker's incidents, on a journal of its own."""

    def __init__(self, journal: Journal, clock: Clock, database: Any, instance: str, closed: list[Any]) -> None:
        self.journal = journal
        self.own = Incidents(journal, instance=instance, release="v1", clock=clock, monotonic=clock.monotonic)
        self.log = IncidentLog(
            journal,
            lambda: database,
            clock=clock,
            monotonic=clock.monotonic,
            on_closed=lambda one: closed.append(one.to_json()),
        )
        self._database = database

    def store(self) -> None:
        """As if it were due."""
        self.own.flush()
        self.log.folds.fold(self._database)
        self.log.folds.sum_up(self._database)

    def tick(self) -> None:
        """As in its loop."""
        self.own.flush()
        self.log.store(self._database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def closed() -> list[Any]:
    return []


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Journal]]:
    """Makes journals: those of one instance in one folder."""
    with contextlib.ExitStack() as stack:

        def make(instance: str) -> Journal:
            journal = Journal(tmp_path / instance)
            journal.open()
            stack.callback(journal.close)
            return journal

        yield make


@pytest.fixture
def worker(opened: Callable[[str], Journal], clock: Clock, database: Any, closed: list[Any]) -> Callable[..., Worker]:
    return lambda instance="a": Worker(opened(instance), clock, database, instance, closed)


@pytest.fixture
def alone(opened: Callable[[str], Journal], clock: Clock, closed: list[Any]) -> Callable[..., Worker]:
    """Workers of an instance whose MongoDB is down."""
    return lambda instance="a": Worker(opened(instance), clock, None, instance, closed)


def only(answer: IncidentPage) -> dict[str, Any]:
    (incident,) = answer.incidents
    return incident.to_json()


def test_the_parts_of_all_workers_are_one_incident(
    worker: Callable[..., Worker], clock: Clock, closed: list[Any]
) -> None:
    workers = [worker("a"), worker("a"), worker("b")]
    for number, one in enumerate(workers):
        clock.now = START + number
        one.own.begin("database_lost")
        for _ in range(number + 1):
            one.own.failed(database=True)
        one.own.count("deferred", 2)
    clock.now = START + 60
    for one in workers:
        one.own.end("database_lost")
        one.own.ended("replayed", [START + 5] * 2)
    for _ in range(3):
        for one in workers:
            one.store()
    for one in workers:
        incident = only(one.log.read())
        assert (incident["failed"], incident["deferred"], incident["replayed"]) == (6, 6, 6)
        assert (incident["workers"], incident["instances"], incident["releases"]) == (3, ["a", "b"], ["v1"])
        assert (incident["seconds"], incident["status"], incident["cause"]) == (60.0, "open", "database_lost")
    assert not closed
    clock.now += SETTLED + 1
    for one in workers:
        one.store()
    (told,) = closed
    assert (told["failed"], told["status"]) == (6, "closed")


def test_workers_that_store_at_once_make_one_incident(
    worker: Callable[..., Worker], database: Any, clock: Clock
) -> None:
    workers = [worker() for _ in range(6)]
    for one in workers:
        one.own.begin("database_lost")
        one.own.failed(database=True)
        one.own.flush()
    with ThreadPoolExecutor(6) as pool:
        for task in [pool.submit(one.store) for one in workers]:
            task.result(30)
    assert database[INCIDENTS].count_documents({}) == 1
    assert only(workers[0].log.read())["failed"] == 6


def test_instances_that_store_at_once_make_one_incident(worker: Callable[..., Worker], database: Any) -> None:
    workers = [worker(f"instance {number}") for number in range(6)]
    for one in workers:
        one.own.begin("database_lost")
        one.own.failed(database=True)
        one.own.flush()
    with ThreadPoolExecutor(6) as pool:
        for task in [pool.submit(one.store) for one in workers]:
            task.result(30)
    assert database[INCIDENTS].count_documents({}) == 1
    assert only(workers[0].log.read())["failed"] == 6


def test_without_the_head_each_would_have_its_own(
    worker: Callable[..., Worker], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: what becomes of instances that look first, and insert then.
    monkeypatch.setattr(folding, "_head", lambda *_: bson.ObjectId())
    monkeypatch.setattr(IncidentFolds, "_candidates", lambda *_: [])
    for one in (worker("a"), worker("b")):
        one.own.begin("database_lost")
        one.store()
    assert database[INCIDENTS].count_documents({}) == 2


def test_while_mongodb_is_down_the_workers_of_the_instance_say_the_same(alone: Callable[..., Worker]) -> None:
    first, second = alone(), alone()
    for one in (first, second):
        one.own.begin("database_lost")
        one.own.failed(database=True)
        one.own.flush()
    answers = [one.log.read() for one in (first, second)]
    assert answers[0] == answers[1]
    assert (answers[0].scope, only(answers[0])["failed"], only(answers[0])["status"]) == ("instance", 2, "open")


def test_what_failed_before_the_loss_was_certain_belongs_to_it(alone: Callable[..., Worker], clock: Clock) -> None:
    one = alone()
    one.own.failed(database=True)
    clock.now += 8
    one.own.failed(database=True)
    one.own.failed(database=False)
    clock.now += 1
    one.own.begin("database_lost")
    one.own.flush()
    incident = only(one.log.read())
    assert (incident["failed"], incident["seconds"]) == (1, 1.0)


def test_an_outage_that_pauses_for_a_moment_is_one_and_a_later_one_another(
    worker: Callable[..., Worker], clock: Clock
) -> None:
    one = worker()
    for pause in (GAP - 1, GAP + 30):
        one.own.begin("database_lost")
        clock.now += 5
        one.own.end("database_lost")
        one.store()
        clock.now += pause
    one.own.begin("database_lost")
    one.store()
    assert [incident["seconds"] for incident in to_json(one.log.read().incidents)] == [0.0, 5 + GAP - 1 + 5]


def test_what_another_instance_sees_is_open_between_two_of_its_updates_and_closed_when_it_is_not_heard_of(
    worker: Callable[..., Worker], clock: Clock
) -> None:
    there, here = worker("a"), worker("b")
    there.own.begin("error_rate")
    there.store()
    clock.now += GAP + 2
    assert only(here.log.read())["status"] == "open"
    clock.now += LASTING
    assert only(here.log.read())["status"] == "closed", "it was killed"
    there.own.begin("error_rate")
    there.own.end("error_rate")
    there.store()
    clock.now += GAP + 2
    assert only(here.log.read())["status"] == "closed", "the control: it has ended"


def test_causes_are_told_apart(worker: Callable[..., Worker]) -> None:
    one = worker()
    one.own.begin("database_lost")
    one.own.begin("error_rate")
    one.own.failed(database=False)
    one.store()
    found = {incident["cause"]: incident["failed"] for incident in to_json(one.log.read().incidents)}
    assert found == {"database_lost": 0, "error_rate": 1}


def test_drained_writes_belong_to_the_incident_that_deferred_them_and_failures_after_it_do_not(
    alone: Callable[..., Worker], clock: Clock
) -> None:
    one = alone()
    one.own.begin("database_lost")
    kept = clock()
    one.own.end("database_lost")
    clock.now += 60
    one.own.ended("replayed", [kept])
    one.own.ended("dead", [kept])
    for name in ("failed", "retried"):
        one.own.count(name)
    clock.now += FOLLOWED
    one.own.ended("replayed", [kept])
    one.own.flush()
    incident = only(one.log.read())
    assert [incident[name] for name in ("replayed", "dead", "failed", "retried")] == [1, 1, 0, 0]


def test_what_was_deferred_in_another_incident_or_in_none_changes_no_incident(
    worker: Callable[..., Worker], clock: Clock
) -> None:
    one, moments = worker(), []
    for cause in ("error_rate", "database_lost", "database_lost"):
        one.own.begin(cause)
        clock.now += 30
        moments.append(clock())
        one.own.count("deferred")
        clock.now += 30
        one.own.end(cause)
        clock.now += 60
    one.store()
    of_none = clock()
    clock.now += 60
    for at in (*moments[1:], of_none):
        one.own.ended("replayed", [at])
    one.own.ended("dead", [moments[1]])
    one.store()
    told = [(found["cause"], found["deferred"], found["replayed"], found["dead"]) for found in all_of(one)]
    assert told == [("database_lost", 1, 1, 0), ("database_lost", 1, 1, 1), ("error_rate", 1, 0, 0)]


def test_a_write_that_was_deferred_before_the_loss_was_certain_belongs_to_it_however_the_clock_is_set(
    worker: Callable[..., Worker], clock: Clock
) -> None:
    one = worker()
    kept = [clock()]
    one.own.count("deferred")
    clock.now += 2
    one.own.begin("database_lost")
    clock.now += 10
    one.own.count("deferred")
    kept.append(clock())
    one.own.flush()
    clock.now, clock.set = clock.now + 10, -3600.0
    one.own.end("database_lost")
    one.own.ended("replayed", kept)
    one.store()
    assert [only(one.log.read())[name] for name in ("deferred", "replayed")] == [2, 2]


def all_of(one: Worker) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = to_json(one.log.read().incidents)
    return found


def test_the_part_of_a_worker_that_died_is_stored_by_another(
    worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    dead, alive = worker(), worker()
    dead.own.begin("database_lost")
    dead.own.count("failed", 3)
    dead.store()
    dead.own.count("failed", 4)
    dead.own.flush()
    dead.journal.close()
    alive.journal.adopt()
    alive.store()
    assert only(alive.log.read())["failed"] == 7
    assert database[INCIDENTS].count_documents({}) == 1


def test_without_an_incident_nothing_is_asked_of_mongodb_and_what_an_instance_left_behind_is_summed_up_all_the_same(
    open_journal: Callable[[], Journal], connect: Callable[..., Any], clock: Clock, closed: list[Any]
) -> None:
    seen = Commands()
    database = connect(event_listeners=[seen]).get_default_database()
    idle, other = (Worker(open_journal(), clock, database, name, closed) for name in ("idle", "other"))
    idle.store()
    before = len(seen.names)
    for _ in range(200):
        clock.now += 1
        idle.store()
    assert seen.names[before:] == []
    other.own.begin("database_lost")
    other.store()
    other.own.end("database_lost")
    other.store()
    for _ in range(int(REST[1])):
        clock.now += 1
        idle.store()
    assert [one["cause"] for one in closed] == ["database_lost"]
    # The control: with an incident of its own it asks in its time.
    idle.own.begin("error_rate")
    idle.own.end("error_rate")
    for _ in range(int(SETTLED) + 2):
        idle.store()
        clock.now += 1
    assert [one["cause"] for one in closed] == ["database_lost", "error_rate"]


def test_old_parts_leave_the_journals_of_all_workers_once_they_are_stored(
    worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    workers = [worker(), worker()]
    for one in workers:
        one.own.begin("database_lost")
        one.own.failed(database=True)
        one.own.end("database_lost")
        one.own.flush()
    clock.now += OLD + PERIOD  # the leader was stopped all the time, and has stored nothing
    for _ in range(int(OLD + 3 * PERIOD)):
        clock.now += 1
        for one in workers:
            one.tick()
    assert [one.journal.read_own("SELECT id FROM incidents") for one in workers] == [[], []]
    assert only(workers[0].log.read())["failed"] == 2
    # The control: what is not old stays.
    workers[0].own.begin("error_rate")
    for _ in range(int(3 * PERIOD)):
        clock.now += 1
        workers[0].tick()
    assert len(workers[0].journal.read_own("SELECT id FROM incidents")) == 1


def test_incidents_are_found_by_cause_state_and_time_and_in_pages(worker: Callable[..., Worker], clock: Clock) -> None:
    one = worker()
    for cause in ("database_lost", "error_rate", "database_lost"):
        one.own.begin(cause)
        clock.now += 30
        one.own.end(cause)
        one.store()
        clock.now += 600
    one.own.begin("error_rate")
    one.store()

    def causes(**asked: Any) -> list[str]:
        return [found["cause"] for found in to_json(one.log.read(**asked).incidents)]

    everything = ["error_rate", "database_lost", "error_rate", "database_lost"]
    assert causes() == everything
    assert causes(cause="database_lost") == ["database_lost"] * 2
    assert causes(status="open") == ["error_rate"]
    assert causes(status="closed", cause="error_rate") == ["error_rate"]
    begun = datetime.fromtimestamp(START, UTC)
    assert causes(begin=begun + timedelta(seconds=31), end=begun + timedelta(seconds=660)) == ["error_rate"]
    assert causes(begin=begun + timedelta(seconds=10), end=begun + timedelta(seconds=20)) == ["database_lost"]
    pages = [one.log.read(limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [found["cause"] for page in pages for found in to_json(page.incidents)] == everything
    assert [page.more for page in pages] == [True, False, False]


@pytest.mark.parametrize("asked", ["a", "b"], ids=["by its own instance", "by another one"])
def test_one_that_lasts_touches_what_comes_after_its_last_word(
    worker: Callable[..., Worker], clock: Clock, asked: str
) -> None:
    """A worker says each second that it lasts, and its instance each ten; what fails between is part of it."""
    one, reader = worker("a"), worker(asked)
    one.own.begin("database_lost")
    one.store()

    def touched(after: float) -> int:
        at = datetime.fromtimestamp(clock(), UTC)
        return len(reader.log.read(begin=at - timedelta(seconds=after), end=at).incidents)

    clock.now += LASTING - 1
    assert touched(after=0) == 1
    clock.now += 2
    assert touched(after=0) == 0, "who has said nothing for so long does not say that it lasts"
    one.own.begin("database_lost")
    one.own.end("database_lost")
    one.store()
    clock.now += 0.5
    assert (touched(after=0), touched(after=1)) == (0, 1), "the control: it is over"


# -- clocks that are set ----------------------------------------------------------------------------------------------------

JUMPS = [-86_400.0, -3600.0, -61.0, -5.0, -0.7, 0.7, 5.0, 3600.0, 86_400.0]


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("stored", [True, False])
def test_an_incident_lasts_as_long_as_it_does_whatever_the_clock_is_set_to(
    worker: Callable[..., Worker], alone: Callable[..., Worker], clock: Clock, jump: float, stored: bool
) -> None:
    one = worker() if stored else alone()
    keep = one.store if stored else one.own.flush
    one.own.begin("database_lost")
    for seconds in range(1, 21):
        clock.now += 1
        clock.set += jump if seconds == 10 else 0
        keep()
    one.own.failed(database=True)
    assert only(one.log.read())["status"] == "open"
    one.own.end("database_lost")
    keep()
    incident = only(one.log.read())
    assert (incident["seconds"], incident["failed"]) == (20.0, 1)
    assert incident["from"] <= incident["to"] == iso(datetime.fromtimestamp(clock(), UTC))
    clock.now += GAP + 1
    assert only(one.log.read())["status"] == "closed"


def test_without_the_monotonic_clock_it_would_last_less_than_nothing(
    alone: Callable[..., Worker], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""

    def touch(part: WorkerPart, now: float, seen: float) -> None:
        part.end = now
        part.revision += 1

    monkeypatch.setattr(WorkerPart, "touch", touch)
    one = alone()
    one.own.begin("database_lost")
    clock.now, clock.set = clock.now + 20, -3600.0
    one.own.flush()
    (row,) = one.journal.read_own("SELECT entry FROM incidents")
    part = json.loads(row[0])
    assert part["end"] - part["begin"] == 20 - 3600


class Kept:
    """A journal of parts, without a disk."""

    boot = "worker"
    folder = Path("/nowhere")

    def __init__(self) -> None:
        self.entries: dict[str, tuple[int, bytes]] = {}

    def write(self, statements: list[Any]) -> None:
        self.entries |= {values[0]: values[1:] for _, values in statements}

    def read(self, query: str) -> list[tuple[int, bytes]]:
        return [*self.entries.values()]

    @staticmethod
    def aside(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["begin", "end", "failed", "wait"]), st.integers(0, 90), st.sampled_from([0.0, *JUMPS])
        ),
        max_size=30,
    )
)
@settings(deadline=None, max_examples=300)
def test_no_incident_lasts_less_than_nothing_or_longer_than_the_test(steps: list[tuple[str, int, float]]) -> None:
    clock, journal = Clock(), Kept()
    one = Worker(journal, clock, None, "a", [])  # type: ignore[arg-type]
    for name, seconds, jump in steps:
        clock.now += seconds
        clock.set += jump
        if name == "failed":
            one.own.failed(database=True)
        elif name != "wait":
            getattr(one.own, name)("database_lost")
        one.own.flush()
    total = sum(seconds for _, seconds, _ in steps) + NOTICED
    for incident in to_json(one.log.read().incidents):
        assert 0 <= incident["seconds"] <= total + 0.1
        assert incident["from"] <= incident["to"]


def test_drained_writes_and_early_failures_are_told_by_the_time_that_has_passed(
    alone: Callable[..., Worker], clock: Clock
) -> None:
    one = alone()
    one.own.failed(database=True)
    clock.now, clock.set = clock.now + 60, -3600.0
    one.own.begin("database_lost")
    kept = clock()
    one.own.end("database_lost")
    clock.now, clock.set = clock.now + FOLLOWED + 1, -7200.0
    one.own.ended("replayed", [kept])
    one.own.flush()
    assert not one.own.within("database_lost", FOLLOWED)
    assert [only(one.log.read())[name] for name in ("failed", "replayed")] == [0, 0], (
        "an hour ago by the wall, and long ago"
    )


def test_an_instance_whose_clock_is_ahead_has_an_open_incident_too(alone: Callable[..., Worker], clock: Clock) -> None:
    one = alone()
    clock.set = AHEAD / 2
    one.own.begin("database_lost")
    one.own.flush()
    clock.set = 0.0
    assert only(one.log.read())["status"] == "open"
    clock.set = -AHEAD
    assert only(one.log.read())["status"] == "closed", "a clock that was set back does not keep it open for so long"


@pytest.mark.parametrize(
    "change",
    [{"cause": "disk_full"}, {"begin": "x"}, {"end": None}, {"id": 5}, {"counts": "t"}, {"instance": 5}, {"new": 1}],
)
def test_a_part_of_another_release_hides_no_other(
    worker: Callable[..., Worker], database: Any, clock: Clock, change: dict[str, Any]
) -> None:
    one = worker()
    one.own.begin("error_rate")
    one.own.flush()
    ((entry,),) = one.journal.read_own("SELECT entry FROM incidents")
    strange = {**json.loads(entry), "id": "0" * 24, "cause": "database_lost"} | change
    row = ("0" * 24, 1, 0, json.dumps(strange).encode())
    one.journal.write([("INSERT INTO incidents (id, revision, stored, entry) VALUES (?, ?, ?, ?)", row)])
    assert "error_rate" in {found.cause for found in one.log.read().incidents}
    one.store()
    assert "error_rate" in {document["cause"] for document in database[INCIDENTS].find()}
    assert "error_rate" in {found.cause for found in one.log.read().incidents}


@pytest.mark.parametrize(
    "change", [{"instance": None}, {"release": 5}, {"counts": "t"}, {"from": "x"}, {"to": None}, "none"]
)
def test_a_stored_part_of_another_release_hides_no_incident(
    worker: Callable[..., Worker], database: Any, clock: Clock, change: Any
) -> None:
    one = worker()
    one.own.begin("error_rate")
    one.store()
    ((identity, document),) = [(found["_id"], found) for found in database[INCIDENTS].find()]
    (part,) = document["parts"].values()
    odd = {**part, **change} if isinstance(change, dict) else change
    database[INCIDENTS].update_one({"_id": identity}, {"$set": {"parts.strange": odd}})
    assert [found.cause for found in one.log.read().incidents] == ["error_rate"]


def test_what_fails_shortly_before_and_after_a_loss_is_a_consequence_of_it(
    worker: Callable[..., Worker], clock: Clock
) -> None:
    one = worker()
    outages = Outages(lambda: one.log)

    def known(seconds: float) -> bool:
        at = START + seconds
        return any(outage.begin <= at <= outage.end for outage in outages.between(at, at))

    clock.now += 100
    one.own.begin("error_rate")
    one.store()
    assert not known(100), "no outage"
    one.own.begin("database_lost")
    one.store()
    assert (known(101), known(94)) == (True, False), "while it lasts"
    clock.now += 60
    one.own.end("database_lost")
    one.store()
    clock.now += 3600
    assert [known(at) for at in (94, 96, 130, 169, 171, 3000)] == [False, True, True, True, False, False]
    (found,) = outages.between(START, START + 3600)
    assert found.incident == one.log.read(cause="database_lost").incidents[0].id


def test_what_nobody_can_tell_was_no_outage() -> None:
    for error in (TimeoutError(), OperationFailure("no right to read")):
        log = Mock(read=Mock(side_effect=error))
        assert Outages(lambda log=log: log).between(START, START) == []


ODD_INCIDENTS: list[dict[str, Any]] = [
    {"from": None},
    {"from": b"x"},
    {"to": "x"},
    {"to": datetime(1970, 1, 1, tzinfo=UTC)},
    {"cause": None},
    {"cause": "flood"},
    {"counts": "x"},
    {"counts": {"failed": "many", "dead": None}},
    {"workers": "x"},
    {"members": []},
    {"instances": "x"},
    {"instances": [5, None]},
    {"releases": None},
    {"lasting": [{}]},
    {"parts": "x"},
    {"parts": {"x": {"known": b"short"}}},
    {"moved": {}},
]


@pytest.mark.parametrize("change", ODD_INCIDENTS, ids=str)
def test_an_incident_that_cannot_be_believed_hides_no_other_and_stops_no_storing(
    worker: Callable[..., Worker], database: Any, clock: Clock, closed: list[Any], change: dict[str, Any]
) -> None:
    one = worker()
    one.own.begin("error_rate")
    one.own.failed(database=True)
    one.store()
    document = database[INCIDENTS].find_one()
    database[INCIDENTS].insert_one({**document, "_id": "odd", **change})
    clock.now += 2
    one.own.failed(database=True)
    one.store()
    identity = str(document["_id"])
    assert {found.id: found.failed for found in one.log.read().incidents}[identity] == 2
    assert database[INCIDENTS].find_one({"_id": document["_id"]})["counts"]["failed"] == 2
    one.own.end("error_rate")
    one.store()
    clock.now += SETTLED + 1
    one.store()
    assert identity in {told["id"] for told in closed}
    assert database[INCIDENTS].count_documents({}) == 2, "the control: it is still there"
