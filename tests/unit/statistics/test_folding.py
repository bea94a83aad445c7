"""One worker stores for all: whoever it is, whoever is gone, and whoever does it at the same time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo.errors import OperationFailure

from prodfix.journal.journal import Journal
from prodfix.statistics import minutes as module
from prodfix.statistics.instance_hours import ERROR_MINUTES
from prodfix.statistics.minutes import Minutes
from tests.support.counting_worker import MINUTE, Clock, Worker, kind
from tests.support.stored_counts import revisions, states, window_of

OVER = 330  # seconds after which a part of an hour is over


def total(database: Any) -> int:
    """The errors that MongoDB has."""
    return window_of(*states(database)).counts.total_errors


def rows(worker: Worker, condition: str = "true") -> int:
    return int(worker.journal.read_own(f"SELECT count(*) FROM minutes WHERE {condition}")[0][0])


# -- who does it ------------------------------------------------------------------------------------------------------


def test_one_worker_stores_for_all_and_each_marks_its_own(make_worker: Callable[..., Worker], database: Any) -> None:
    workers = [make_worker(database) for _ in range(4)]
    for number, worker in enumerate(workers):
        worker.error(times=number + 1)
        worker.request()
    workers[2].store()
    assert (total(database), len(states(database))) == (10, 1)
    assert [rows(worker, "stored < revision") for worker in workers] == [1, 1, 0, 1]
    for worker in workers:
        worker.store()
    assert [rows(worker, "stored < revision") for worker in workers] == [0, 0, 0, 0]
    (document,) = database[ERROR_MINUTES].find()
    assert document["revision"] == 1, "the others have written nothing"
    assert {worker.total() for worker in workers} == {10}


def test_when_it_is_gone_another_one_goes_on(make_worker: Callable[..., Worker], database: Any) -> None:
    first, second = make_worker(database), make_worker(database)
    first.store()
    for worker in (first, second):
        worker.error()
    first.end()  # between what it did last and its next time
    second.error()
    second.storage.tick()
    assert (total(database), second.total()) == (3, 3)


def test_one_that_is_stuck_is_not_waited_for_for_ever(
    make_worker: Callable[..., Worker], clock: Clock, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, worker = make_worker(database), make_worker(database)
    stuck.store()
    worker.error()
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    for seconds, found in ((1, 0), (1, 0), (100, 0), (module.PATIENCE - 1, 0), (2, 1)):
        now[0] += seconds
        clock.now += seconds
        worker.store()
        assert total(database) == found, seconds
    stuck.store()
    assert total(database) == 1


def test_what_nobody_else_can_see_its_worker_stores_itself(
    make_worker: Callable[..., Worker], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, worker = make_worker(database), make_worker(database)
    leader.store()
    monkeypatch.setattr(
        type(worker.journal), "failure", property(lambda journal: "OSError 5" * (journal is worker.journal))
    )
    worker.error(times=2)
    worker.store()
    leader.error()
    leader.store()
    assert (total(database), len(states(database))) == (3, 1)


def test_a_worker_that_ends_stores_what_it_has_whoever_does_it_otherwise(
    make_worker: Callable[..., Worker], database: Any
) -> None:
    leader, worker = make_worker(database), make_worker(database)
    leader.store()
    worker.error()
    worker.store()
    assert total(database) == 0  # the control
    worker.minutes.finish()
    worker.store()
    assert total(database) == 1


def test_it_is_done_once_in_a_period_and_not_while_nothing_is_counted(
    make_worker: Callable[..., Worker], connect: Callable[..., Any], commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(connect(event_listeners=[commands]).get_default_database())
    worker.minutes = Minutes(worker.journal, worker.windows)
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stored = []
    for _ in range(100):
        worker.error()
        worker.store()
        stored.append(ERROR_MINUTES in [one.get("update") for one in commands.sent])
        commands.sent.clear()
        now[0] += 1
    assert 100 / module.PERIOD / (1 + module.JITTER) - 1 <= sum(stored) <= 100 / module.PERIOD / (1 - module.JITTER) + 1
    for _ in range(30):
        worker.store()
        now[0] += 1
    commands.sent.clear()
    for _ in range(100):
        worker.store()
        now[0] += 1
    assert commands.sent == []


@pytest.mark.parametrize(("workers", "users"), [(2, 0), (8, 0), (2, 1_000_000)])
def test_what_counts_cost_mongodb_stays_small(
    make_worker: Callable[..., Worker],
    clock: Clock,
    connect: Callable[..., Any],
    commands: Any,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    users: int,
) -> None:
    """25 requests and 4 errors a second in each worker, for three minutes: at most 0.5 KB and half a command a second. Also if
    each error meets another user."""
    database = connect(event_listeners=[commands]).get_default_database()
    now, chance, seconds = [1000.0], random.Random(workers), 180
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    team = [make_worker(database) for _ in range(workers)]
    for worker in team:
        worker.minutes = Minutes(worker.journal, worker.windows)
    commands.sent.clear()
    for _ in range(seconds):
        for worker in team:
            for number in range(25):
                device, micros = ("mobile", "desktop", "unknown")[number % 3], int(chance.lognormvariate(9.2, 0.8))
                worker.counters.request(f"/api/v1/notes/{number % 5}", device, micros, failed=number < 2)
            for number in range(4):
                met = f"user {chance.randrange(users)}" if users else None
                worker.counters.error(
                    kind(f"{chance.randrange(8):016x}", device=("mobile", "desktop")[number % 2]), met
                )
            worker.counters.flush()
            worker.store()
        now[0] += 1
        clock.now += 1
    sent = sum(len(bson.encode(command)) for command in commands.sent)
    assert team[-1].total() == workers * seconds * 4
    assert 0 < sent / seconds / workers < 512
    assert 0 < len(commands.sent) / seconds / workers < 0.5


def test_when_the_database_is_back_not_all_instances_store_at_once(
    make_worker: Callable[..., Worker], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    worker, waits = make_worker(database), []
    for _ in range(20):
        worker.minutes.close()
        worker.minutes = Minutes(worker.journal, worker.windows)
        worker.store()
        now[0] += 600
        worker.error()
        begun, before = now[0], total(database)
        while total(database) == before:
            worker.store()
            now[0] += 1
        waits.append(now[0] - begun)
    assert max(waits) <= module.PERIOD + 1
    assert len(set(waits)) > 3, "they are spread"


def test_a_worker_that_is_asked_seldom_comes_to_it_all_the_same(
    make_worker: Callable[..., Worker], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    worker = make_worker(database)
    worker.minutes = Minutes(worker.journal, worker.windows)
    found = set()
    for _ in range(20):  # as beside a database that takes so long for each batch of records
        worker.error()
        worker.store()
        found.add(total(database))
        now[0] += module.AWAY + 1
    assert len(found) > 4


# -- two that do it ---------------------------------------------------------------------------------------------------


def test_two_that_write_the_same_hour_lose_nothing_and_double_nothing(
    make_worker: Callable[..., Worker], database: Any
) -> None:
    workers = [make_worker(database) for _ in range(4)]
    for worker in workers:
        worker.minutes.finish()  # so that each of them does it
    for round_ in range(5):
        for worker in workers:
            worker.error(times=round_ + 1)
        with ThreadPoolExecutor(4) as pool:
            for task in [pool.submit(_stored, worker) for worker in workers]:
                task.result(30)
        workers[0].clock.now += 37
    assert total(database) == 4 * 15
    assert {worker.total() for worker in workers} == {4 * 15}


def _stored(worker: Worker) -> None:
    for _ in range(20):
        worker.minutes.finish()
        try:
            worker.store()
        except OperationFailure:
            continue  # the others were faster, again and again
        return


def test_a_late_write_of_an_older_state_changes_nothing(
    make_worker: Callable[..., Worker], clock: Clock, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, other = make_worker(database), make_worker(database)
    stopped.error(times=2)
    stopped.store()
    stopped.error()
    write, late = module._write, []

    def stop(*arguments: Any) -> bool:
        if not late:  # the other one has done it, and a minute more, before this one goes on
            late.append(arguments)
            for _ in range(3):
                other.error(times=5)
                clock.now += 60
                other.minutes.finish()
                other.store()
        return write(*arguments)

    monkeypatch.setattr(module, "_write", stop)
    stopped.store()
    assert (total(database), stopped.total(), other.total()) == (18, 18, 18)


def test_that_test_would_see_a_write_that_looks_at_no_revision(
    make_worker: Callable[..., Worker], clock: Clock, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: the same, with an update that names no revision.
    stopped, other = make_worker(database), make_worker(database)
    stopped.error(times=2)
    stopped.store()
    stopped.error()
    rows_, _ = stopped.minutes._held()
    (state,) = stopped.minutes._hours_of(database, [MINUTE // 60]).values()
    state.put(rows_[0], stopped.windows.rows_of)
    for _ in range(3):
        other.error(times=5)
        clock.now += 60
        other.minutes.finish()
        other.store()
    assert total(database) == 18
    update = state.update()
    database[ERROR_MINUTES].update_one({"_id": update._filter["_id"]}, update._doc)
    assert total(database) != 18


def test_a_holder_that_was_stopped_for_a_while_writes_nothing_old(
    tmp_path: Path, open_journal: Callable[..., Journal], clock: Clock, database: Any, database_uri: str
) -> None:
    code = """
        import sys
        from pathlib import Path
        from pymongo import MongoClient
        from prodfix.journal.journal import Journal
        from prodfix.statistics import minutes
        from tests.support.counting_worker import Clock, Worker

        journal = Journal(Path(sys.argv[1]))
        journal.open()
        worker = Worker(journal, Clock(float(sys.argv[2])), MongoClient(sys.argv[3], tz_aware=True).get_default_database())
        write = minutes._write

        def announced(*arguments):
            print("writes", flush=True)
            sys.stdin.readline()
            return write(*arguments)

        worker.error(times=2)
        worker.store()
        worker.error()
        minutes._write = announced
        worker.store()
        print("stored", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "journal"), str(clock.now), database_uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "writes\n"
        os.kill(holder.pid, signal.SIGSTOP)
        other = Worker(open_journal(), clock, database)
        for _ in range(3):
            other.error(times=5)
            clock.now += 60
            other.minutes.finish()
            other.store()
        assert total(database) == 18
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "stored\n"
        assert (total(database), other.total()) == (18, 18)
        holder.stdin.write("\n")
        holder.stdin.close()
        holder.wait(30)


def test_one_that_is_killed_between_writing_and_marking_leaves_all_right(
    make_worker: Callable[..., Worker], clock: Clock, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, other = make_worker(database), make_worker(database)
    for worker in (killed, other):
        worker.error(times=3)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(killed.journal, "write", die)
        with pytest.raises(KeyboardInterrupt):
            killed.store()
    assert (total(database), other.total()) == (6, 6)
    killed.end()
    other.error()
    for _ in range(3):
        other.storage.tick()
        assert (total(database), other.total()) == (7, 7)
        clock.now += 60
    assert rows(other, "stored < revision") == 0


# -- what cannot be seen any more -------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", [False, True])
def test_what_a_journal_had_that_is_gone_stays_stored(
    make_worker: Callable[..., Worker], clock: Clock, database: Any, *, over: bool
) -> None:
    gone, worker = make_worker(database), make_worker(database)
    worker.store()
    for one in (gone, worker):
        one.error(times=4)
        one.request()
    worker.store()
    if over:
        clock.now += 61
        worker.error()
        worker.store()
    path = gone.journal._file.path  # type: ignore[union-attr]
    gone.end()
    for suffix in (".db", ".lock", ".db-wal", ".db-shm"):
        path.with_suffix(suffix).unlink(missing_ok=True)
    worker.minutes.close()
    worker.minutes = Minutes(worker.journal, worker.windows, period=0.0)  # and who knew of it is another one now
    worker.error()
    worker.store()
    assert (total(database), worker.total()) == (9 + over, 9 + over)
    assert window_of(*states(database)).counts.whole().requests == 2


def test_a_minute_that_grows_after_it_was_over_is_added_up_again(
    make_worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    late, worker = make_worker(database), make_worker(database)
    worker.store()
    late.error(times=2)
    worker.error(times=3)
    clock.now += OVER
    worker.store()
    assert {one.final == {} for one in states(database)} == {False}
    clock.now -= OVER
    late.counters._minute, late.counters._revision = MINUTE, 2  # as if it was stopped before it had flushed all of it
    late.error(times=5)
    clock.now += OVER
    assert (worker.total(), late.total()) == (10, 10)
    worker.store()
    assert (total(database), worker.total()) == (10, 10)
    assert worker.minutes.dropped == 0


def test_what_grows_late_beside_a_journal_that_is_gone_is_counted_as_dropped(
    make_worker: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    late, gone, worker = make_worker(database), make_worker(database), make_worker(database)
    worker.store()
    late.error(times=2)
    gone.error(times=3)
    clock.now += OVER
    worker.store()
    path = gone.journal._file.path  # type: ignore[union-attr]
    gone.end()
    for suffix in (".db", ".lock", ".db-wal", ".db-shm"):
        path.with_suffix(suffix).unlink(missing_ok=True)
    late.journal.write([("UPDATE minutes SET revision = 9", ())])
    for _ in range(2):
        worker.store()
    assert (total(database), worker.minutes.dropped) == (5, 7)


# -- which instance ---------------------------------------------------------------------------------------------------


def test_instances_of_one_name_are_told_apart_by_their_disks(
    make_instance: Callable[..., Worker], database: Any
) -> None:
    instances = [make_instance(database) for _ in range(3)]
    for instance in instances:
        instance.error(times=2)
        instance.store()
    assert len({instance.windows.instance() for instance in instances}) == 3
    assert {instance.total() for instance in instances} == {6}


def test_two_lives_of_an_instance_within_a_minute_are_added(
    tmp_path: Path, open_journal: Callable[..., Journal], clock: Clock, database: Any
) -> None:
    totals = []
    for times in (3, 4):
        worker = Worker(open_journal("life"), clock, database)
        worker.error(times=times)
        worker.store()
        totals.append(worker.total())
        worker.end()
        shutil.rmtree(tmp_path / "life")
    assert (totals, total(database), len(states(database))) == ([3, 7], 7, 2)


def test_all_workers_of_an_instance_have_one_name_for_it_and_give_it_back(
    make_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    workers = [make_worker() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        names = set(pool.map(lambda worker: worker.windows.identity.made(), workers))
    assert len(names) == 1
    kept = tmp_path / "journal" / "instance"
    for content in (None, b"", b"cut"):
        if content is None:
            kept.unlink()
        else:
            kept.write_bytes(content)  # as after a loss of power
        assert {worker.windows.identity.made() for worker in workers} == names
        assert {kept.read_text()} == names
    assert make_worker().windows.identity.read() in names
    assert sorted(path.name for path in kept.parent.glob("instance*")) == ["instance"]


def test_a_copy_of_a_disk_counts_beside_the_original(
    tmp_path: Path, open_journal: Callable[..., Journal], clock: Clock, database: Any
) -> None:
    original = Worker(open_journal("one"), clock, database)
    original.error(times=2)
    original.store()
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "instance", tmp_path / "two" / "instance")  # an image that was made with it
    copy = Worker(open_journal("two"), clock, database)
    for _ in range(3):
        for worker in (original, copy):
            worker.error()
            worker.store()
        clock.now += 60
    assert total(database) == 8
    assert [revision for _, _, revision in revisions(database)].count(3) == 1


# -- without a folder -------------------------------------------------------------------------------------------------


def test_without_a_disk_a_minute_waits_until_it_is_over(tmp_path: Path, clock: Clock, database: Any) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file")
    journal.open()
    worker = Worker(journal, clock, database)
    worker.error(times=2)
    worker.store()
    assert (total(database), worker.total()) == (0, 2)
    clock.now += 90
    worker.store()
    assert (total(database), worker.total()) == (2, 2)
    worker.error()
    worker.minutes.finish()
    worker.store()
    assert total(database) == 3
    worker.end()
