"""One part for an instance: how often it is stored, that its sums are right whoever is killed where, and how large it gets."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import monitoring
from pymongo.errors import AutoReconnect, PyMongoError

from prodfix.incidents import folding, instance_part
from prodfix.incidents.folding import HEADS, INCIDENTS, MOST_PARTS, PERIOD, IncidentFolds
from prodfix.incidents.incident_log import IncidentLog
from prodfix.incidents.instance_part import GONE, KNOWN, WorkerRow, folded
from prodfix.incidents.observed import COUNTED, IncidentPart, Incidents

START = 1_800_000_000.0
INSTANCES, WORKERS = 50, 8
OUTAGE, AFTER = 30, 40  # seconds
AT_ONCE = 16  # of 50 instances in one second, where 5 are to be expected of ten


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - START


class Shelf:
    """The journals of one instance, without files for their rows: workers share them as they share a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.journals: list[ShelvedJournal] = []


class ShelvedJournal:
    """One worker's."""

    def __init__(self, shelf: Shelf, boot: str) -> None:
        self.shelf, self.boot, self.folder = shelf, boot, shelf.folder
        self.rows: dict[str, tuple[int, bytes]] = {}
        shelf.journals.append(self)

    def write(self, statements: Sequence[tuple[str, Any]]) -> None:
        for statement, values in statements:
            if statement.startswith("DELETE"):
                if self.rows.get(values[0], (0, b""))[0] <= values[1]:
                    self.rows.pop(values[0], None)
            else:
                self.rows[values[0]] = (values[1], values[2])

    def read_own(self, query: str) -> list[tuple[int, bytes]]:
        return [*self.rows.values()]

    def read(self, query: str) -> list[tuple[int, bytes]]:
        return [row for journal in self.shelf.journals for row in journal.rows.values()]

    @staticmethod
    def aside(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    def adopted_by(self, other: ShelvedJournal) -> None:
        other.rows |= self.rows
        self.shelf.journals.remove(self)


class ShelvedWorker:
    def __init__(self, shelf: Shelf, name: str, clock: Clock, database: Any, chance: random.Random) -> None:
        self.journal: Any = ShelvedJournal(shelf, name)
        options: dict[str, Any] = {"clock": clock, "monotonic": clock.monotonic}
        self.seen = Incidents(self.journal, instance=shelf.folder.name, release="v1", **options)
        self.log = IncidentLog(self.journal, lambda: database, chance=chance.uniform, **options)
        self.database = database

    @property
    def folds(self) -> IncidentFolds:
        return self.log.folds

    def kill(self) -> None:
        """The kernel gives its lock free."""
        self.folds._leadership.give()


class Updates(monitoring.CommandListener):
    """When each instance has changed which document."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.at: dict[tuple[Any, str], list[float]] = defaultdict(list)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "update" and event.command["update"] == INCIDENTS:
            for update in event.command["updates"]:
                (key,) = (name for name in update["u"]["$set"] if name.startswith("parts."))
                self.at[update["q"]["_id"], key].append(self._clock.now)
        elif event.command_name == "findAndModify" and event.command["findAndModify"] == HEADS:
            self.at[HEADS, str(event.request_id)].append(self._clock.now)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    def pauses(self) -> list[float]:
        """Between two updates of one document by one instance."""
        return [after - before for times in self.at.values() for before, after in itertools.pairwise(times)]

    def at_once(self) -> int:
        """The most updates of one document in one second."""
        seconds = Counter((document, int(at)) for (document, _), times in self.at.items() for at in times)
        return max(seconds.values())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def updates(clock: Clock) -> Updates:
    return Updates(clock)


@pytest.fixture
def watched(connect: Callable[..., Any], updates: Updates) -> Any:
    return connect(event_listeners=[updates]).get_default_database()


@pytest.fixture
def workers(tmp_path: Path, clock: Clock, watched: Any) -> Callable[[int, int], list[list[ShelvedWorker]]]:
    """So many instances of so many workers."""
    chance = random.Random(5)

    def make(instances: int, each: int) -> list[list[ShelvedWorker]]:
        shelves = [Shelf(tmp_path / f"instance {number}") for number in range(instances)]
        return [
            [ShelvedWorker(shelf, f"{number}-{one}", clock, watched, chance) for one in range(each)]
            for number, shelf in enumerate(shelves)
        ]

    return make


def outage(fleet: list[list[ShelvedWorker]], clock: Clock, tick: Callable[[ShelvedWorker], None]) -> Counter[str]:
    """All instances lose MongoDB together, and are back together; what was counted."""
    counted: Counter[str] = Counter()
    everyone = [worker for instance in fleet for worker in instance]
    for worker in everyone:
        worker.seen.begin("database_lost")
    for second in range(OUTAGE + AFTER):
        clock.now += 1
        for number, worker in enumerate(everyone):
            if second < OUTAGE and (second + number) % 3 == 0:
                worker.seen.failed(database=True)
                worker.seen.count("deferred", 2)
                counted.update(failed=1, deferred=2)
            elif second == OUTAGE:
                worker.seen.end("database_lost")
            elif second > OUTAGE and (second + number) % 7 == 0:
                worker.seen.ended("replayed", [START + 5])
                counted.update(replayed=1)
            worker.seen.flush()
            if second >= OUTAGE:
                tick(worker)
    return counted


def told(worker: ShelvedWorker) -> dict[str, int]:
    (incident,) = worker.log.read().incidents
    return {name: getattr(incident, name) for name in ("failed", "deferred", "replayed", "workers")}


def test_no_document_gets_more_than_an_update_per_instance_and_ten_seconds_and_a_return_is_spread(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], clock: Clock, updates: Updates, watched: Any
) -> None:
    fleet = workers(INSTANCES, WORKERS)
    counted = outage(fleet, clock, lambda worker: worker.log.store(worker.database))
    assert min(updates.pauses()) >= PERIOD
    assert updates.at_once() <= AT_ONCE
    for _ in range(int(2 * PERIOD)):
        clock.now += 1
        for instance in fleet:
            for worker in instance:
                worker.log.store(watched)
    for worker in (fleet[0][0], fleet[17][3], fleet[-1][-1]):
        begun = time.monotonic()
        assert told(worker) == {**counted, "workers": INSTANCES * WORKERS}
        assert time.monotonic() - begun < 1
    (document,) = watched[INCIDENTS].find()
    assert len(document["parts"]) == INSTANCES
    assert len(bson.encode(document)) < 60_000


@pytest.mark.parametrize("seconds", [1, 7, 10, 30])
def test_it_is_stored_in_time_however_often_it_is_called_and_never_twice_in_a_period(
    workers: Callable[[int, int], list[list[ShelvedWorker]]],
    clock: Clock,
    updates: Updates,
    watched: Any,
    seconds: int,
) -> None:
    ((one, other),) = workers(1, 2)
    one.seen.begin("error_rate")
    for second in range(300):
        clock.now += 1
        one.seen.flush()
        if second % seconds == 0 and not 40 <= second < 45:  # in which MongoDB is away
            for worker in (one, other):
                worker.log.store(watched)
    assert min(updates.pauses()) >= PERIOD
    (times,) = (times for (document, _), times in updates.at.items() if document != HEADS)
    assert times[0] - START <= max(PERIOD + 1, 2 * seconds)
    assert max(after - before for before, after in itertools.pairwise(times)) <= 2 * max(PERIOD, seconds) + max(
        5, seconds
    )


def test_workers_that_store_each_for_itself_would_make_it_a_hot_document(
    workers: Callable[[int, int], list[list[ShelvedWorker]]],
    clock: Clock,
    updates: Updates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: each worker its own part, each second, as it was."""
    monkeypatch.setattr(folding.InstanceIdentity, "read", lambda self: None)
    fleet = workers(5, WORKERS)
    outage(fleet, clock, lambda worker: [worker.folds.fold(worker.database)])  # type: ignore[func-returns-value]
    assert min(updates.pauses()) < PERIOD
    assert updates.at_once() == 5 * WORKERS


def test_a_hundred_incidents_of_four_hundred_workers_are_read_within_a_second(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], clock: Clock, watched: Any
) -> None:
    ((reader, *_),) = workers(1, WORKERS)
    documents = []
    for number in range(100):
        rows = [[row_of(f"{one}-{each}:{number}", 3, failed=1) for each in range(WORKERS)] for one in range(INSTANCES)]
        parts = {f"{one:016x}": folded(None, own).to_document() for one, own in enumerate(rows)}
        begin = instance_part.moment(START - 6000 * number)
        sums = {"failed": INSTANCES * WORKERS}
        whole = {"cause": "database_lost", "from": begin, "to": begin, "publishedAt": begin, "counts": sums}
        documents.append({"_id": bson.ObjectId(), **whole, "workers": INSTANCES * WORKERS, "parts": parts})
    watched[INCIDENTS].insert_many(documents)
    begun = time.monotonic()
    page = reader.log.read(limit=100)
    assert time.monotonic() - begun < 1
    assert (len(page.incidents), {one.failed for one in page.incidents}) == (100, {INSTANCES * WORKERS})


def row_of(identity: str, revision: int, end: float = START, **counts: int) -> WorkerRow:
    return WorkerRow(IncidentPart(identity, "database_lost", START - 5, end, "a", "v1", counts), revision)


# -- kills and lost answers -------------------------------------------------------------------------------------------------


class Interrupted:
    """A collection whose updates end at a step: before they are applied, or before their answer is heard."""

    def __init__(self, collection: Any, when: str) -> None:
        self._collection, self._when = collection, when
        self.left = 1

    def update_one(self, *arguments: Any, **options: Any) -> Any:
        if not self.left:
            return self._collection.update_one(*arguments, **options)
        self.left -= 1
        if self._when == "after":
            self._collection.update_one(*arguments, **options)
        raise AutoReconnect("the worker or the connection is gone")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


class InterruptedDatabase:
    def __init__(self, database: Any, when: str) -> None:
        self._database, self._incidents = database, Interrupted(database[INCIDENTS], when)

    def __getitem__(self, name: str) -> Any:
        return self._incidents if name == INCIDENTS else self._database[name]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("killed", [True, False])
def test_nothing_is_lost_or_doubled_whoever_is_killed_where(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], clock: Clock, watched: Any, when: str, killed: bool
) -> None:
    (leader, other), (stranger, _) = workers(2, 2)
    for worker in (leader, other, stranger):
        worker.seen.begin("database_lost")
        worker.seen.count("failed", 3)
        worker.seen.flush()
        worker.folds.fold(watched)
    leader.seen.count("failed", 4)
    leader.seen.flush()
    with pytest.raises(PyMongoError):
        leader.folds.fold(InterruptedDatabase(watched, when))  # type: ignore[arg-type]
    if killed:
        leader.kill()
        leader.journal.adopted_by(other.journal)
    else:
        leader.folds.fold(watched)
    other.seen.ended("replayed", [START] * 5)
    other.seen.flush()
    for _ in range(3):
        other.folds.fold(watched)
    assert told(stranger) == {"failed": 13, "deferred": 0, "replayed": 5, "workers": 3}
    assert told(other) == told(stranger)


def test_a_sum_that_added_what_it_is_told_would_double_it(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: totals of workers that are not remembered."""
    monkeypatch.setattr(instance_part.InstancePart, "totals", lambda self: {})
    ((one,),) = workers(1, 1)
    one.seen.begin("database_lost")
    for _ in range(2):
        one.seen.count("failed", 3)
        one.seen.flush()
        one.folds.fold(watched)
    assert watched[INCIDENTS].find_one()["counts"]["failed"] == 9


def test_workers_that_end_together_leave_nothing_behind(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], watched: Any
) -> None:
    fleet = workers(3, 4)
    everyone = [worker for instance in fleet for worker in instance]
    for worker in everyone:
        worker.seen.begin("database_lost")
        worker.seen.count("failed")
        worker.seen.flush()

    def end(worker: ShelvedWorker) -> None:
        worker.seen.count("deferred")
        worker.seen.flush()
        worker.log.finish(watched)

    with ThreadPoolExecutor(len(everyone)) as pool:
        for task in [pool.submit(end, worker) for worker in everyone]:
            task.result(30)
    found = watched[INCIDENTS].find_one()
    assert (found["counts"]["failed"], found["counts"]["deferred"], found["workers"]) == (12, 12, 12)


def test_a_worker_whose_disk_never_worked_has_a_part_of_its_own_also_when_its_rows_are_found_later(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((alone, other),) = workers(1, 2)
    with monkeypatch.context() as without:
        without.setattr(folding.InstanceIdentity, "read", lambda self: None)
        alone.seen.begin("database_lost")
        alone.seen.count("failed", 2)
        alone.seen.flush()
        alone.folds.fold(watched)
    other.seen.begin("database_lost")
    other.seen.count("failed", 5)
    alone.seen.count("failed")
    for worker in (alone, other):
        worker.seen.flush()
    other.folds.identity.made()
    other.folds.fold(watched)
    assert told(other) == {"failed": 8, "deferred": 0, "replayed": 0, "workers": 2}
    assert len(watched[INCIDENTS].find_one()["parts"]) == 2


# -- sums and bounds --------------------------------------------------------------------------------------------------------


@given(
    told=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.sampled_from(COUNTED)), max_size=40),
    batches=st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_a_part_is_the_sum_of_the_last_totals_whatever_came_again(
    told: list[tuple[int, int, str]], batches: random.Random
) -> None:
    totals = [Counter[str]() for _ in range(5)]
    history: list[list[WorkerRow]] = [[] for _ in range(5)]
    part = None
    for worker, number, name in told:
        totals[worker][name] += number
        history[worker].append(row_of(f"{worker}", len(history[worker]) + 1, **totals[worker]))
        seen = [batches.choice(rows) for rows in history if rows and batches.random() < 0.5] + [history[worker][-1]]
        part = folded(part, worker_rows_of(seen))
    wanted = sum(totals, Counter[str]())
    assert (Counter(part.counts) if part else Counter()) == wanted
    assert (part.workers if part else 0) == sum(map(bool, history))


def worker_rows_of(rows: Sequence[WorkerRow]) -> list[WorkerRow]:
    """As they come from journals: the newest of each."""
    return [*{row.part.id: row for row in sorted(rows, key=lambda row: row.revision)}.values()]


def test_workers_that_begin_and_die_for_ever_make_a_part_no_larger_and_are_counted_once() -> None:
    part = None
    rows = [row_of(f"{number}", 1, failed=1) for number in range(KNOWN + 500)]
    for number in range(0, len(rows), 20):
        part = folded(part, rows[max(0, number - 300) : number + 20])
    for again in range(3):
        part = folded(part, rows[again * 100 :])
    assert part is not None
    assert (part.counts["failed"], part.workers) == (len(rows), len(rows))
    more = folded(part, [row_of(f"more {number}", 1, failed=1) for number in range(2 * GONE)])
    more = folded(more, [row_of(f"later {number}", 1, failed=1) for number in range(2 * GONE)])
    assert len(bson.encode(more.to_document())) < 36 * KNOWN + 8 * GONE + 500


def test_an_incident_takes_only_so_many_parts_and_the_next_instance_begins_another(
    workers: Callable[[int, int], list[list[ShelvedWorker]]], watched: Any
) -> None:
    fleet = workers(3, 1)
    for (one,) in fleet:
        one.seen.begin("database_lost")
        one.seen.count("failed")
        one.seen.flush()
    (first,), (second,), (third,) = fleet
    first.folds.fold(watched)
    watched[INCIDENTS].update_one({}, {"$set": {"members": MOST_PARTS}})
    for one in (second, third, first):
        one.folds.fold(watched)
    assert sorted(len(found["parts"]) for found in watched[INCIDENTS].find()) == [1, 2]
    assert sum(found["counts"]["failed"] for found in watched[INCIDENTS].find()) == 3
