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
from prodfix.statistics.hours import CLOSED_AT_ONCE
from prodfix.statistics.instance_hours import ERROR_MINUTES, identity_of
from prodfix.statistics.packing import packed
from prodfix.statistics.parts import HourPart
from prodfix.statistics.statistics import TIME_RANGES
from prodfix.statistics.window import STEP, Counted, moment_of
from prodfix.statistics.windows import ERROR_HOURS, GRACE, HOUR, KEPT, LATEST
from tests.support.counting_worker import BEGIN, MINUTE, Clock, Worker
from tests.support.stored_counts import hour_contents, revisions, states, window_of


class Killed(BaseException):
    """The process ended here."""


def hours(database: Any) -> dict[int, int]:
    """The errors of each hour's document."""
    found = hour_contents(database)
    return {hour - MINUTE // HOUR: sum(row[5] for row in content["errors"]) for hour, content in found.items()}


def total(database: Any) -> int:
    """The errors that the documents of instances have."""
    return window_of(*states(database)).counts.total_errors


def minutes(database: Any) -> list[tuple[int, int]]:
    """Each minute of each worker with its revision."""
    return sorted((minute - MINUTE, revision) for _, minute, revision in revisions(database))


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
    assert document["_id"] == identity_of(MINUTE // HOUR, stored.windows.instance())
    assert (document["revision"], document["timestamp"].timestamp()) == (2, BEGIN), "one update for each change"
    (state,) = states(database)
    assert (window_of(state).counts.total_errors, state.workers) == (5, {stored.journal.boot})
    assert minutes(database) == [(0, 5)]


def test_what_is_over_is_written_once_and_what_grows_again_and_again(
    stored: Worker, clock: Clock, connect: Callable[..., Any], commands: Any
) -> None:
    stored.database = connect(event_listeners=[commands]).get_default_database()
    sent: list[list[str]] = []
    for _ in range(9):
        stored.error()
        commands.sent.clear()
        stored.store()
        (update,) = [one["updates"][0]["u"] for one in commands.sent if one.get("update") == ERROR_MINUTES]
        fields = sorted(set(update["$set"]) - {"revision", "workers", "timestamp"})
        sent.append(fields + [f"- {name}" for name in update.get("$unset", ())])
        clock.now += 41
    assert sent == [
        ["minutes.0"],
        ["minutes.0"],
        ["minutes.1"],
        ["minutes.2"],
        ["minutes.2"],
        ["minutes.3"],
        ["minutes.4"],
        ["minutes.4"],
        ["minutes.5", "revisions", "sums.0", *(f"- minutes.{offset}" for offset in range(5))],
    ]
    (state,) = states(stored.database)
    assert ({minute - MINUTE for _, minute in state.open}, window_of(state).counts.total_errors) == ({5}, 9)


def test_a_minute_whose_rows_stay_as_they_are_is_not_sent_again(
    make_worker: Callable[..., Worker], clock: Clock, connect: Callable[..., Any], commands: Any
) -> None:
    """The control is the other worker's, which has grown."""
    worker, other = make_worker(connect(event_listeners=[commands]).get_default_database()), make_worker()
    worker.error()
    other.error()
    worker.store()
    clock.now += 61
    other.error()
    commands.sent.clear()
    worker.store()
    (update,) = [one["updates"][0]["u"] for one in commands.sent if one.get("update") == ERROR_MINUTES]
    assert [name for name in update["$set"] if "." in name] == ["minutes.1"]
    assert "workers" not in update["$set"], "nor is who has counted"


def test_what_an_earlier_release_has_stored_of_the_hour_is_read_and_gone_on_with(
    make_instance: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    """It has sent each part again with each minute, and what may grow as rows and as parts."""
    worker, elsewhere = make_instance(database), make_instance(database)

    def counted(minute: int, times: int, revision: int) -> Counted:
        row = ["unknown", "mobile", "/", "f1", "title of f1", times, BEGIN, BEGIN, ["v0"]]
        return Counted("0-old", MINUTE + minute, revision, 0, [row], {"devices": [], "endpoints": [], "routes": []})

    def part(*rows: Counted) -> Any:
        whole = HourPart()
        for row in rows:
            whole.add(row)
        return whole.to_json()

    over, second, open_one = counted(0, 2, 2), counted(1, 3, 3), counted(2, 4, 4)
    document = {
        "_id": identity_of(MINUTE // HOUR, worker.windows.identity.made() or ""),
        "timestamp": moment_of(MINUTE),
        "revision": 7,
        "workers": ["0-old"],
        "final": packed({"0-old": {MINUTE: 2, MINUTE + 1: 3}}),
        "parts": {"0": packed(part(over, second))},
        "rows": packed([["0-old", MINUTE + 2, 4, open_one.errors, open_one.traffic]]),
        "open": packed({0: part(open_one)}),
    }
    database[ERROR_MINUTES].insert_one(document)
    clock.now += 200
    assert (worker.total(), elsewhere.total()) == (9, 9)
    worker.error()
    worker.store()
    assert (worker.total(), elsewhere.total(), total(database)) == (10, 10, 10)
    stored = database[ERROR_MINUTES].find_one()
    assert set(stored) == {"_id", "timestamp", "workers", "revision", "revisions", "minutes", "parts"}, (
        "what changed is ours"
    )
    clock.now += 300
    worker.error()
    worker.store()
    assert (worker.total(), elsewhere.total(), total(database)) == (11, 11, 11)
    stored = database[ERROR_MINUTES].find_one()
    assert (list(stored["sums"]), stored["parts"], stored["revision"]) == (["0"], {}, 9)
    worker.journal.write([("UPDATE minutes SET stored = revision", ())])
    clock.now += 3 * 3600
    worker.store()
    assert hours(database) == {0: 11}


@pytest.mark.parametrize(("weight", "errors"), [(0, 1), (99, 0)])
def test_an_hour_that_an_earlier_release_has_closed_is_closed_once_more(
    stored: Worker, clock: Clock, connect: Callable[..., Any], commands: Any, weight: int, errors: int
) -> None:
    """As it has left out what this one has stored. The control: a heavier one has all that there is."""
    stored.database = database = connect(event_listeners=[commands]).get_default_database()
    hour = MINUTE // HOUR
    stored.error()
    stored.store()
    content = {"workers": ["old"], "series": [], "errors": [], "traffic": {}}
    old = {
        "_id": hour,
        "timestamp": moment_of(MINUTE),
        "weight": weight,
        "counts": packed(content),
        "steps": packed([]),
    }
    database[ERROR_HOURS].insert_one(old)
    clock.now += 2 * 3600
    stored.store()
    assert (hours(database), database[ERROR_HOURS].find_one()["form"]) == ({0: errors}, 2)
    commands.sent.clear()
    clock.now += 3 * 3600
    stored.store()
    assert [one for one in commands.sent if one.get("update") == ERROR_HOURS] == [], "once"


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
    (state,) = states(database)
    assert state.workers == {dead.journal.boot}


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
    content = hour_contents(database)[MINUTE // HOUR]
    assert (document["_id"], document["weight"]) == (MINUTE // HOUR, 1)
    assert content["workers"] == [stored.journal.boot]
    assert sorted((row[3], row[5], row[9]) for row in content["errors"]) == [("f1", 3, [0, 3]), ("f2", 2, [55, 2])]
    assert content["series"] == [[0, 0, 0, [["unknown", 3]]], [55, 1, 1, [["unknown", 2]]]]
    assert STEP == 5
    database[ERROR_MINUTES].delete_many({})
    stored.journal.write([("DELETE FROM minutes", ())])
    answer = stored.answer("24h")
    assert (answer["totalErrors"], answer["requests"], answer["workers"]) == (5, 1, 1)


def test_a_late_minute_is_added_to_its_hour(
    stored: Worker, make_worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    late = make_worker(database)
    stored.error()
    stored.store()
    clock.now += 5 * 3600
    stored.store()
    assert hours(database) == {0: 1}
    clock.now -= 5 * 3600
    late.error(times=4)  # as in the file of a disk that has failed for so long
    clock.now += 5 * 3600
    assert stored.total("24h") == 5  # before it is stored ...
    stored.store()
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
    for (minute,) in stored.journal.read("SELECT minute FROM minutes"):
        identity = identity_of(minute // HOUR, "elsewhere")
        document = {"_id": identity, "timestamp": moment_of(minute), "revision": 1, "workers": [], "final": packed({})}
        database[ERROR_MINUTES].insert_one(document)
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
    for _ in range(3):
        stored.error()
        stored.store()
    clock.now += 2 * 3600
    stored.store()
    assert hours(database) == {0: 3}
    database[ERROR_MINUTES].delete_many({})  # as the server does after 50 hours, or as a reader saw it before
    document = {"_id": identity_of(MINUTE // HOUR, "v"), "timestamp": moment_of(MINUTE), "revision": 2, "workers": []}
    document["final"] = packed({})
    database[ERROR_MINUTES].insert_one(document)
    stored.minutes.hours.close(database, MINUTE // HOUR)
    assert hours(database) == {0: 3}
    database[ERROR_MINUTES].update_one({}, {"$set": {"revision": 4}})  # the control
    stored.minutes.hours.close(database, MINUTE // HOUR)
    assert hours(database) == {0: 0}


def test_instances_that_close_at_once_leave_the_whole_hour(
    make_instance: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    instances = [make_instance(database) for _ in range(6)]
    for round_ in range(4):
        for number, instance in enumerate(instances):
            instance.error(times=number + 1)
        clock.now += 2 * 3600
        with ThreadPoolExecutor(6) as pool:
            for task in [pool.submit(instance.store) for instance in instances]:
                task.result(30)
        assert hours(database)[2 * round_] == 21
    assert {instance.total("24h") for instance in instances} == {84}


def test_a_minute_of_an_instance_whose_clock_is_behind_is_added_to_its_hour(
    make_instance: Callable[..., Worker], database: Any
) -> None:
    behind, ahead = make_instance(database), make_instance(database, clock=Clock(BEGIN + (HOUR + GRACE + 1) * 60))
    behind.error()
    behind.store()
    ahead.store()
    assert hours(database) == {0: 1}
    behind.error()  # by its own clock the hour is still open
    behind.store()
    assert hours(database) == {0: 2}
    assert ahead.total("24h") == 2


def test_what_another_release_has_left_hides_nothing(stored: Worker, clock: Clock, database: Any) -> None:
    hour = MINUTE // HOUR
    row = ["unknown", "mobile", "/", "f", "title", 900, 0.0, 0.0, []]
    old = {"timestamp": moment_of(MINUTE), "errors": [row], "traffic": {}}
    database[ERROR_MINUTES].insert_one({"_id": {"minute": MINUTE, "worker": "old"}, "revision": 900, **old})
    database[ERROR_HOURS].insert_one({"_id": hour, "weight": 900, "workers": ["old"], "series": [], **old})
    stored.error()
    stored.store()
    assert stored.total() == 1
    clock.now += 5 * 3600
    assert stored.total("24h") == 1
    stored.store()
    assert (hours(database), stored.total("24h")) == ({0: 1}, 1)


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
            patched.setattr(module, "_write", after(module._write))
        elif when == "closed":
            patched.setattr(worker.minutes.hours, "close", after(worker.minutes.hours.close))
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
            worker.end()
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
        found, kept = hour_contents(self.database), states(self.database)
        for hour, content in found.items():
            counts = window_of(*[state for state in kept if state.hour == hour]).counts
            assert sum(row[5] for row in content["errors"]) == counts.total_errors
            assert sum(row[1] for row in content["traffic"]["devices"]) == counts.whole().requests
        over = {state.hour for state in kept if state.hour * HOUR + 120 < self.now()}
        assert len(found) >= len(over)

    def now(self) -> int:
        return self.workers[0].windows.now()

    def close(self) -> None:
        for worker in self.workers:
            worker.end()


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
        for step in (("count", 0, 1), ("turn", 0, 64), ("store", 0, ""), ("turn", 0, -64), ("count", 1, 2)):
            instance.step(*step)
            instance.check()
        assert database[ERROR_HOURS].count_documents({}) == 1
        instance.step("turn", 0, 64)
        instance.check()
        monkeypatch.setattr(instance.workers[0].minutes.hours, "close", lambda *_: None)
        instance.step("store", 0, "")
        instance.workers[1].minutes.store(database, lambda *_: None)  # marks its own
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
