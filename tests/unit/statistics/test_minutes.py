"""Minutes and hours: an answer is the true sum at every moment, whatever is stored, closed and killed in which order."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import PyMongoError

from prodfix.journal.journal import Journal
from prodfix.statistics import minutes as module
from prodfix.statistics.counts import Counts
from prodfix.statistics.minutes import CLOSED_AT_ONCE, STEP
from prodfix.statistics.statistics import TIME_RANGES
from prodfix.statistics.windows import ERROR_HOURS, ERROR_MINUTES, GRACE, HOUR, KEPT, LATEST
from tests.support.counting_worker import BEGIN, MINUTE, Clock, Worker


class Killed(BaseException):
    """The process ended here."""


def hours(database: Any) -> dict[int, int]:
    """The errors of each hour's document."""
    return {
        document["_id"] - MINUTE // HOUR: sum(row[5] for row in document["errors"])
        for document in database[ERROR_HOURS].find()
    }


def minutes(database: Any) -> list[tuple[int, int]]:
    found = [(one["_id"]["minute"] - MINUTE, one["revision"]) for one in database[ERROR_MINUTES].find()]
    return sorted(found)


@pytest.fixture
def stored(worker: Worker, database: Any) -> Worker:
    """A worker beside MongoDB."""
    worker.database = database
    return worker


# -- storing ----------------------------------------------------------------------------------------------------------


def test_a_minute_is_stored_as_a_total_and_replaced_by_a_later_one(stored: Worker, database: Any) -> None:
    for times in (1, 4, 0):
        stored.error(times=times)
        stored.store()
    (document,) = database[ERROR_MINUTES].find()
    assert document["_id"] == {"minute": MINUTE, "worker": stored.journal.boot}
    assert (document["revision"], document["errors"][0][5], document["timestamp"].timestamp()) == (5, 5, BEGIN)


def test_what_is_stored_is_handed_on_before_it_is_marked(stored: Worker) -> None:
    stored.error()
    handed: list[Any] = []

    def fail(database: Any, rows: Any) -> None:
        handed.extend(rows)
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            stored.minutes.store(stored.database, fail)
    assert [row.errors[0][5] for row in handed] == [1, 1]
    stored.minutes.store(stored.database, lambda database, rows: handed.append(rows))
    stored.minutes.store(stored.database, lambda database, rows: handed.append(rows))
    assert len(handed) == 3


def test_stored_minutes_that_are_old_leave_the_disk_and_unstored_ones_do_not(
    stored: Worker, clock: Clock, fail: Any
) -> None:
    stored.error()
    stored.store()
    clock.now += (LATEST - HOUR) * 60
    stored.error()
    clock.now += (2 * HOUR + 1) * 60
    stored.error()
    fail("update", errorCode=8000)
    with pytest.raises(PyMongoError):
        stored.store()
    query = "SELECT minute FROM minutes ORDER BY minute"
    assert [row[0] - MINUTE for row in stored.journal.read(query)] == [0, LATEST - HOUR, LATEST + HOUR + 1]
    fail.off()
    stored.store()
    assert [row[0] - MINUTE for row in stored.journal.read(query)] == [LATEST - HOUR, LATEST + HOUR + 1]


def test_what_waits_for_more_than_47_hours_is_dropped_and_counted(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error(times=3)
    stored.request()
    clock.now += 60
    stored.error(times=2)
    clock.now += (LATEST - 1) * 60
    stored.store()
    assert (minutes(database), stored.minutes.dropped) == ([(1, 2)], 4)
    for _ in range(2):
        stored.store()
    assert stored.minutes.dropped == 4
    assert stored.total("7d") == 2


def test_of_what_comes_too_late_an_earlier_total_is_not_gone(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error(times=5)
    stored.request()
    stored.store()
    stored.error(times=2)
    clock.now += LATEST * 60
    stored.store()
    assert (minutes(database), stored.minutes.dropped) == ([(0, 6)], 2)


def test_an_earlier_revision_that_is_adopted_late_does_not_replace_a_later_one(stored: Worker, database: Any) -> None:
    stored.error(times=8)
    stored.store()
    stored.journal.write([("UPDATE minutes SET revision = 5, stored = 0, errors = '[]'", ())])
    stored.store()
    assert minutes(database) == [(0, 8)]
    assert stored.journal.read_own("SELECT revision FROM minutes WHERE stored < revision") == []


def test_what_a_dead_worker_counted_is_stored_too(
    stored: Worker, make_worker: Callable[..., Worker], database: Any
) -> None:
    dead = make_worker()
    dead.error(times=3)
    dead.request(failed=True)
    dead.journal.close()
    for _ in range(2):
        stored.storage.tick()
        answer = stored.answer()
        assert (answer["totalErrors"], answer["requests"], answer["failedRequests"]) == (3, 1, 1)
    assert [document["_id"]["worker"] for document in database[ERROR_MINUTES].find()] == [dead.journal.boot]


# -- closing ----------------------------------------------------------------------------------------------------------


def test_an_hour_is_closed_three_minutes_after_its_end(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error(times=3)
    clock.now += 59 * 60
    stored.error("f2", times=2, device="desktop")
    stored.request(micros=7000, failed=True)
    stored.store()
    clock.now += (GRACE + 1) * 60 - 1
    stored.store()
    assert hours(database) == {}
    clock.now += 61  # by then the worker that looks after it has had its turn
    stored.store()
    (document,) = database[ERROR_HOURS].find()
    assert (document["_id"], document["weight"]) == (MINUTE // HOUR, 6)
    assert document["workers"] == [stored.journal.boot]
    assert sorted((row[3], row[5]) for row in document["errors"]) == [("f1", 3), ("f2", 2)]
    assert document["series"] == [[0, 0, 0, [["unknown", 3]]], [55, 1, 1, [["unknown", 2]]]]
    assert STEP == 5
    database[ERROR_MINUTES].delete_many({})
    stored.journal.write([("DELETE FROM minutes", ())])
    answer = stored.answer("24h")
    assert (answer["totalErrors"], answer["requests"], answer["workers"]) == (5, 1, 1)


def test_a_late_minute_is_added_to_its_hour(
    stored: Worker, make_worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    late = make_worker(database)
    late.error(times=4)
    stored.error()
    stored.store()
    clock.now += 5 * 3600
    stored.store()
    assert hours(database) == {0: 1}
    assert stored.total("24h") == 5  # before it is stored ...
    late.store()
    assert hours(database) == {0: 5}
    assert stored.total("24h") == 5  # ... and after


def test_empty_hours_do_not_keep_an_older_one_from_being_closed(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error()
    stored.store()
    clock.now += (CLOSED_AT_ONCE + 5) * 3600  # nothing happened, and nobody was there
    stored.store()
    assert hours(database) == {0: 1}


def test_a_few_hours_are_closed_at_once_and_the_rest_next(stored: Worker, clock: Clock, database: Any) -> None:
    for _ in range(2 * CLOSED_AT_ONCE + 1):
        stored.error()
        clock.now += 3600
    for row in stored.journal.read("SELECT worker, minute, revision, errors FROM minutes"):
        worker, minute, revision, _ = row
        document = {"_id": {"minute": minute, "worker": worker}, "timestamp": module.moment_of(minute)}
        database[ERROR_MINUTES].insert_one(document | {"revision": revision, "errors": [], "traffic": {}})
    stored.journal.write([("UPDATE minutes SET stored = revision", ())])
    clock.now += GRACE * 60
    for count in (CLOSED_AT_ONCE, 2 * CLOSED_AT_ONCE, 2 * CLOSED_AT_ONCE + 1):
        stored.store()
        assert len(hours(database)) == count
    assert min(hours(database)) == 0


def test_a_closed_hour_costs_nothing_until_the_next_one(
    stored: Worker, clock: Clock, connect: Callable[..., Any], commands: Any
) -> None:
    stored.database = connect(event_listeners=[commands]).get_default_database()
    stored.error()
    stored.store()
    commands.names.clear()
    for _ in range(5):
        stored.store()
    assert commands.names == []
    clock.now += (HOUR + GRACE + 1) * 60
    stored.store()
    assert "distinct" in commands.names


def test_a_clock_that_is_put_back_does_not_keep_hours_from_being_closed(
    stored: Worker, clock: Clock, connect: Callable[..., Any], commands: Any
) -> None:
    stored.database = connect(event_listeners=[commands]).get_default_database()
    clock.now += 86_400
    stored.store()
    commands.names.clear()
    clock.now -= 86_400
    stored.store()
    assert "distinct" in commands.names


def test_a_lighter_document_never_replaces_a_heavier_one(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error(times=3)
    stored.store()
    clock.now += 2 * 3600
    stored.minutes._close(database, MINUTE // HOUR)
    assert hours(database) == {0: 3}
    database[ERROR_MINUTES].delete_many({})  # as the server does after 50 hours, or as a reader saw it before
    document = {"_id": {"minute": MINUTE, "worker": "v"}, "timestamp": module.moment_of(MINUTE), "revision": 2}
    database[ERROR_MINUTES].insert_one(document | {"errors": [], "traffic": {}})
    stored.minutes._close(database, MINUTE // HOUR)
    assert hours(database) == {0: 3}
    database[ERROR_MINUTES].update_one({}, {"$set": {"revision": 4}})  # the control
    stored.minutes._close(database, MINUTE // HOUR)
    assert hours(database) == {0: 0}


def test_workers_that_close_at_once_leave_the_whole_hour(
    make_worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    workers = [make_worker(database) for _ in range(6)]
    for round_ in range(4):
        for number, worker in enumerate(workers):
            worker.error(times=number + 1)
        clock.now += 2 * 3600
        with ThreadPoolExecutor(6) as pool:
            for task in [pool.submit(worker.store) for worker in workers]:
                task.result(30)
        assert hours(database)[2 * round_] == 21
    assert {worker.total("24h") for worker in workers} == {84}


def test_a_minute_of_a_worker_whose_clock_is_behind_is_added_to_its_hour(
    stored: Worker, open_journal: Callable[[], Journal], database: Any
) -> None:
    ahead = Worker(open_journal(), Clock(BEGIN + (HOUR + GRACE + 1) * 60), database)
    stored.error()
    stored.store()
    ahead.store()
    assert hours(database) == {0: 1}
    stored.error()  # by its own clock the hour is still open
    stored.store()
    assert hours(database) == {0: 2}
    assert ahead.total("24h") == 2


# -- all of it, in any order ------------------------------------------------------------------------------------------


KILLS = st.sampled_from(["", "", "stored", "closed", "handed on", "marked"])
STEPS = st.one_of(
    st.tuples(st.just("count"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("count"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("store"), st.integers(0, 1), KILLS),
    st.tuples(st.just("store"), st.integers(0, 1), KILLS),
    st.tuples(st.just("turn"), st.just(0), st.sampled_from([1, 7, 30, 61, 62, 64, 180, -2, -65])),
    st.tuples(st.just("replace"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("database"), st.just(0), st.booleans()),
)


@contextlib.contextmanager
def killed(worker: Worker, when: str) -> Iterator[None]:
    """The worker's next storing ends at this place."""
    with pytest.MonkeyPatch.context() as patched:

        def after(work: Any) -> Any:
            def run(*arguments: Any, **options: Any) -> None:
                work(*arguments, **options)
                raise Killed

            return run

        if when == "stored":
            patched.setattr(module, "_replace", after(module._replace))
        elif when == "closed":
            patched.setattr(worker.minutes, "_close", after(worker.minutes._close))
        elif when == "handed on":
            patched.setattr(worker.groups, "store", after(worker.groups.store))
        elif when == "marked":
            patched.setattr(worker.journal, "write", after(worker.journal.write))
        with contextlib.suppress(Killed):
            yield


class Instance:
    """Two workers of one instance, MongoDB, and what the answers have to be."""

    def __init__(self, folder: Path, database: Any) -> None:
        self.folder, self.database = folder, database
        self.clock = Clock(BEGIN + 24 * 3600)
        self.truth: Counter[int] = Counter()
        self.requests: Counter[int] = Counter()
        self.workers = [self.start(), self.start()]

    def start(self) -> Worker:
        journal = Journal(self.folder)
        journal.open()
        return Worker(journal, self.clock, self.database)

    def step(self, what: str, number: int, how: Any) -> None:
        worker = self.workers[number]
        if what == "count":
            worker.error(f"f{how}", times=how, device=("mobile", "desktop")[number])
            worker.request(failed=True)
            self.truth[worker.windows.now()] += how
            self.requests[worker.windows.now()] += 1
        elif what == "store" and worker.database is not None:
            with killed(worker, how):
                worker.storage.tick()
        elif what == "turn":
            self.clock.now += how * 60
        elif what == "replace":  # a worker that was killed, and another in its place
            worker.journal.close()
            self.workers[number] = self.start()
            self.workers[number].database = worker.database
        elif what == "database":
            for one in self.workers:
                one.database = self.database if how else None

    def check(self) -> None:
        for worker in self.workers:
            for time_range in TIME_RANGES if worker is self.workers[0] else TIME_RANGES[2:]:
                answer = worker.statistics.read(time_range)
                within = range(answer.first, answer.last + 1)
                assert answer.counts.total_errors == sum(self.truth[minute] for minute in within), time_range
                assert answer.counts.whole().requests == sum(self.requests[minute] for minute in within), time_range
                plotted = [sum(point["errors"].values()) for point in answer.statistics().to_json()["series"]["points"]]
                assert sum(plotted) == answer.counts.total_errors, time_range

    def check_hours(self) -> None:
        """Each document of an hour is the sum of its minutes, once nothing is on its way."""
        for worker in self.workers:
            worker.database = self.database
        for _ in range(2):
            for worker in self.workers:
                worker.storage.tick()
        found = {document["_id"]: document for document in self.database[ERROR_HOURS].find()}
        sums: dict[int, Counts] = {}
        for one in self.database[ERROR_MINUTES].find():
            sums.setdefault(one["_id"]["minute"] // HOUR, Counts(999)).add(one["errors"], one["traffic"])
        for hour, document in found.items():
            assert sum(row[5] for row in document["errors"]) == sums[hour].total_errors
            assert sum(row[1] for row in document["traffic"]["devices"]) == sums[hour].whole().requests
        assert self.database[ERROR_HOURS].count_documents({}) >= len([h for h in sums if h * HOUR + 120 < self.now()])

    def now(self) -> int:
        return self.workers[0].windows.now()

    def close(self) -> None:
        for worker in self.workers:
            worker.journal.close()


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=8, max_size=24))
def test_the_answer_is_the_true_sum_at_every_step(database: Any, steps: list[tuple[str, int, Any]]) -> None:
    for name in (ERROR_MINUTES, ERROR_HOURS):
        database[name].delete_many({})
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Instance(Path(folder), database)) as instance:
        for step in steps:
            instance.step(*step)
            instance.check()
        instance.check_hours()
        instance.check()


def test_that_test_would_see_a_minute_that_is_marked_before_its_hour_has_it(
    tmp_path: Path, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: hours are closed after the marks, and the worker is killed in between.
    with contextlib.closing(Instance(tmp_path, database)) as instance:
        for step in (("count", 0, 1), ("store", 0, ""), ("count", 1, 2), ("turn", 0, 64), ("store", 0, "")):
            instance.step(*step)
            instance.check()
        assert database[ERROR_HOURS].count_documents({}) == 1
        monkeypatch.setattr(instance.workers[1].minutes, "_close", lambda *_: None)
        instance.step("store", 1, "")
        with pytest.raises(AssertionError):
            instance.check()


# -- without MongoDB --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4), st.integers(1, 900)), max_size=25))
def test_folding_old_minutes_into_hours_changes_no_sum(steps: list[tuple[int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Instance(Path(folder), None)) as instance:
        for number, times, turned in steps:
            instance.step("count", number, times)
            instance.clock.now += turned * 60
            before = instance.workers[0].statistics.read("7d").counts.error_rows()
            for worker in instance.workers:
                for _ in range(2):
                    worker.minutes.fold(8)
            assert sorted(instance.workers[1].statistics.read("7d").counts.error_rows()) == sorted(before)
            instance.check()


def test_what_is_folded_is_one_row_for_each_old_hour_and_worker(worker: Worker, clock: Clock) -> None:
    for _ in range(90):
        worker.error()
        clock.now += 60
    clock.now += (KEPT + HOUR) * 60
    query = "SELECT minute, revision FROM minutes ORDER BY minute"
    assert len(worker.journal.read(query)) == 90  # the control
    worker.minutes.fold(8)
    assert [(row[0] - MINUTE, row[1]) for row in worker.journal.read(query)] == [(0, 60), (60, 30)]
    assert worker.total("7d") == 90


def test_what_is_older_than_the_retention_is_forgotten(worker: Worker, clock: Clock) -> None:
    worker.error()
    clock.now += 8 * 24 * 3600
    worker.error()
    worker.minutes.fold(8)
    assert len(worker.journal.read("SELECT minute FROM minutes")) == 2
    clock.now += 60
    worker.minutes.fold(8)
    assert len(worker.journal.read("SELECT minute FROM minutes")) == 1
