"""Counting in one process: nothing is lost and nothing counted twice, whatever the clock, the threads and the disk do."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from prodfix.errors import JournalUnavailable
from prodfix.journal import store as stores
from prodfix.journal.journal import Journal
from prodfix.statistics import counters as module
from prodfix.statistics.counters import FINISHED, KEYS, Counters
from tests.support.counting_worker import BEGIN, MINUTE, Clock, Worker, kind


def rows(journal: Journal) -> list[Any]:
    return sorted(journal.read("SELECT worker, minute, revision FROM minutes"))


@pytest.fixture
def refused(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The journal refuses everything until it is undone."""

    def refuse(*_: Any, **__: Any) -> None:
        raise JournalUnavailable("full")

    monkeypatch.setattr(worker.journal, "write", refuse)
    return monkeypatch


def test_a_row_says_what_kind_how_often_and_when(worker: Worker, clock: Clock) -> None:
    worker.error("f1")
    clock.now += 1.2345
    worker.error("f1")
    ((row_worker, minute, revision, errors, traffic),) = worker.journal.read(
        "SELECT worker, minute, revision, errors, traffic FROM minutes"
    )
    assert (row_worker, minute, revision) == (worker.journal.boot, MINUTE, 2)
    assert orjson.loads(errors) == [["unknown", "mobile", "/", "f1", "title of f1", 2, BEGIN, BEGIN + 1.234, ["v1"]]]
    assert orjson.loads(traffic) == {"devices": [], "endpoints": [], "routes": []}


def test_an_error_is_known_at_once_and_requests_with_the_next_flush(worker: Worker) -> None:
    worker.error()
    worker.counters.request("/", "mobile", 1000, failed=True)
    answer = worker.answer()
    assert (answer["totalErrors"], answer["requests"]) == (1, 0)
    worker.counters.flush()
    answer = worker.answer()
    assert (answer["totalErrors"], answer["requests"], answer["failedRequests"]) == (1, 1, 1)


def test_writing_totals_twice_or_in_the_wrong_order_changes_nothing(worker: Worker) -> None:
    worker.journal._sources.clear()  # what is pending is asked for here
    statements = []
    for _ in range(3):
        worker.counters.error(kind())
        statements.append(worker.counters.pending())
    for one in (statements[2], statements[0], statements[2], statements[1]):
        worker.journal.write(one)
    worker.counters.flush()
    worker.counters.flush()
    assert worker.total() == 3
    assert rows(worker.journal) == [(worker.journal.boot, MINUTE, 3)]


def test_a_flush_without_news_writes_nothing(worker: Worker, refused: pytest.MonkeyPatch) -> None:
    worker.counters.flush()
    worker.counters.request("/", "mobile", 1, failed=False)
    with pytest.raises(JournalUnavailable):  # the control
        worker.counters.flush()


def test_every_minute_has_its_own_total(worker: Worker, clock: Clock) -> None:
    for _ in range(3):
        worker.error(times=2)
        clock.now += 60
    assert worker.total() == 6
    assert [row[1:] for row in rows(worker.journal)] == [(MINUTE, 2), (MINUTE + 1, 2), (MINUTE + 2, 2)]


def test_requests_of_a_minute_that_ends_before_its_flush_are_flushed_with_the_next(
    worker: Worker, clock: Clock
) -> None:
    for _ in range(3):
        worker.counters.request("/", "mobile", 1000, failed=False)
        clock.now += 60
    worker.counters.flush()
    assert [row[1:] for row in rows(worker.journal)] == [(MINUTE, 1), (MINUTE + 1, 1), (MINUTE + 2, 1)]
    assert worker.answer()["requests"] == 3


def test_a_clock_that_goes_back_loses_nothing_and_counts_nothing_twice(worker: Worker, clock: Clock) -> None:
    for step in (60, -60, 60, -120, 180):
        worker.error()
        worker.request()
        clock.now += step
    worker.error()
    clock.now += 60
    answer = worker.answer()
    assert (answer["totalErrors"], answer["requests"], answer["workers"]) == (6, 5, 1)


def test_kinds_beyond_the_bound_are_counted_together(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS", 3)
    worker.counters = Counters(worker.journal, clock=worker.clock)
    for number in range(10):
        worker.error(str(number), endpoint=f"/{number}")
    worker.error("0", endpoint="/0")
    answer = worker.answer()
    assert answer["totalErrors"] == 11
    assert [(one["fingerprint"], one["count"]) for one in answer["topErrors"]] == [("0", 2), ("1", 1), ("2", 1)]
    assert (answer["otherErrors"], answer["otherKinds"]) == (7, 7)
    assert answer["errorsByEndpoint"] == {"__other__": 7, "/0": 2, "/1": 1, "/2": 1}


def test_what_the_journal_refuses_is_flushed_later(worker: Worker, clock: Clock, refused: pytest.MonkeyPatch) -> None:
    worker.journal._sources.clear()  # so that only a flush makes it known
    for _ in range(3):
        worker.counters.error(kind())
        worker.counters.request("/", "mobile", 1000, failed=False)
        for _ in range(2):
            with pytest.raises(JournalUnavailable):
                worker.counters.flush()
        clock.now += 60
    refused.undo()
    assert worker.total() == 0
    for _ in range(2):
        worker.counters.flush()
        answer = worker.answer()
        assert (answer["totalErrors"], answer["requests"], worker.counters.dropped) == (3, 3, 0)


def test_minutes_that_it_refuses_for_too_long_are_dropped_and_counted(
    worker: Worker, clock: Clock, refused: pytest.MonkeyPatch
) -> None:
    for _ in range(FINISHED + 3):
        worker.counters.error(kind())
        worker.counters.request("/", "mobile", 1000, failed=False)
        clock.now += 60
    with pytest.raises(JournalUnavailable):
        worker.counters.flush()
    refused.undo()
    worker.counters.flush()
    assert worker.counters.dropped == 6
    assert worker.total() == FINISHED


def test_of_a_minute_that_it_refuses_an_earlier_total_is_not_gone(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        worker.counters.request("/", "mobile", 1000, failed=False)
    worker.counters.flush()
    worker.counters.request("/", "mobile", 1000, failed=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise JournalUnavailable

    monkeypatch.setattr(worker.journal, "write", refuse)
    for _ in range(FINISHED + 1):
        clock.now += 60
        worker.counters.request("/", "mobile", 1000, failed=False)
    with pytest.raises(JournalUnavailable):
        worker.counters.flush()
    monkeypatch.undo()
    worker.counters.flush()
    assert (worker.counters.dropped, worker.answer()["requests"]) == (1, 5 + FINISHED + 1)


def test_minutes_that_end_while_others_are_written_are_not_taken_for_written(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = worker.journal.write

    def slowly(statements: Any, **options: Any) -> None:
        monkeypatch.undo()
        clock.now += 60
        worker.counters.request("/", "mobile", 1000, failed=False)  # ends a minute that has news since the flush began
        write(statements, **options)

    for _ in range(FINISHED):
        worker.counters.request("/", "mobile", 1000, failed=False)
        clock.now += 60
    worker.counters.request("/", "mobile", 1000, failed=False)
    monkeypatch.setattr(worker.journal, "write", slowly)
    for _ in range(2):
        worker.counters.flush()
    assert worker.answer()["requests"] == FINISHED + 2


def test_a_clock_that_goes_there_and_back_during_a_flush_hides_nothing(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = worker.journal.write

    def slowly(statements: Any, **options: Any) -> None:
        monkeypatch.undo()
        for step in (60, -60):
            clock.now += step
            worker.counters.request("/", "mobile", 1000, failed=False)
        write(statements, **options)

    for _ in range(5):
        worker.counters.request("/", "mobile", 1000, failed=False)
    monkeypatch.setattr(worker.journal, "write", slowly)
    for _ in range(2):
        worker.counters.flush()
    clock.now += 60
    assert worker.answer()["requests"] == 7


def test_another_start_or_a_forked_child_begins_at_nothing(worker: Worker, journal: Journal) -> None:
    worker.error(times=3)
    worker.journal.close()
    worker.journal.open()  # what a child does, too: the same counters, another boot
    worker.error()
    assert worker.total() == 4
    assert sorted(row[2] for row in rows(worker.journal)) == [1, 3]


def test_what_was_counted_before_the_start_is_not_forgotten(tmp_path: Path, clock: Clock) -> None:
    worker = Worker(Journal(tmp_path / "journal"), clock)
    worker.counters.error(kind())
    worker.journal.open()
    worker.counters.flush()
    assert worker.total() == 1
    worker.journal.close()


def test_threads_that_count_at_once_lose_nothing(worker: Worker, switching: None) -> None:
    ended = threading.Event()

    def work(name: int) -> None:
        for number in range(100):
            worker.counters.error(kind(f"{name} {number % 5}"))
            worker.counters.request(f"/{name}", "mobile", 1000, failed=False)

    def flush() -> None:
        while not ended.is_set():
            worker.counters.flush()

    with ThreadPoolExecutor(8) as pool:
        flushing = [pool.submit(flush) for _ in range(2)]
        for task in [pool.submit(work, name) for name in range(6)]:
            task.result(30)
        ended.set()
        for task in flushing:
            task.result(30)
    worker.counters.flush()
    answer = worker.answer()
    assert (answer["totalErrors"], answer["requests"]) == (600, 600)


def test_so_it_is_while_minutes_pass(worker: Worker, clock: Clock, switching: None) -> None:
    ended = threading.Event()

    def work() -> None:
        for _ in range(150):
            worker.counters.request("/", "mobile", 1000, failed=False)

    def flush() -> None:
        turns = random.Random(1)
        while not ended.is_set():
            clock.now += turns.choice([0, 60])
            worker.counters.flush()

    with ThreadPoolExecutor(5) as pool:
        flushing = pool.submit(flush)
        for task in [pool.submit(work) for _ in range(4)]:
            task.result(30)
        ended.set()
        flushing.result(30)
    worker.counters.flush()
    assert worker.answer("7d")["requests"] == 600


def test_an_error_that_is_counted_while_the_disk_fails_is_counted_once(
    tmp_path: Path, make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RETRY", 0.0)
    (tmp_path / "journal").touch()
    worker = make_worker()
    worker.error(times=2)
    assert worker.total() == 2
    (tmp_path / "journal").unlink()
    worker.error()
    assert (worker.total(), make_worker().total()) == (3, 3)


# -- memory -----------------------------------------------------------------------------------------------------------

GROWTH = """
    import sys
    from pathlib import Path
    from prodfix.statistics.counters import Counters
    from prodfix.journal.journal import Journal
    from prodfix.statistics.counts import ErrorKey, Seen, Counts

    journal = Journal(Path(sys.argv[1]))
    journal.open()
    now = [4e9]
    counters = Counters(journal, release="v1", clock=lambda: now[0])

    def key(number, kinds):
        place = number % kinds
        return ErrorKey("unknown", "mobile", f"/resource/{place % 50}/<id>", f"{place:016x}", f"ValueError in f{place}")

    def count(times, kinds):
        for number in range(times):
            counters.error(key(number, kinds))
            journal.settle(limit=5)
            counters.request("/", "mobile", number % 100_000, failed=False)
            now[0] += 0.05

    def peak():
        # Not ru_maxrss, which begins with what the parent process had.
        (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        return int(line.split()[1])

    count(200, 20)  # what the libraries take once
    before = peak()
    count(int(sys.argv[2]), 20)
    count(3_000, 10**9)
    counts = Counts(int(sys.argv[3]))
    for number in range(int(sys.argv[4])):
        counts.count_error(key(number, 10**9), Seen(1, now[0], now[0], frozenset(["v1"])))
    assert counts.total_errors == int(sys.argv[4])
    print((peak() - before) // 1024)
    journal.close()
"""


def test_a_million_errors_take_no_more_than_16_megabytes(tmp_path: Path, python: Callable[..., str]) -> None:
    # Through the journal 20,000 of 20 kinds and 3,000 of as many kinds, each commit of which takes its time; a million of
    # a million kinds in one counts, which is all that a worker keeps of a minute.
    assert int(python(GROWTH, tmp_path / "journal", 20_000, KEYS, 1_000_000)) <= 16


def test_without_the_bound_they_would(tmp_path: Path, python: Callable[..., str]) -> None:
    assert int(python(GROWTH, tmp_path / "journal", 0, 10**9, 100_000)) > 32


@pytest.mark.parametrize("where", ["title", "endpoint"])
def test_a_word_that_json_cannot_hold_keeps_no_other_count_from_being_written(
    worker: Worker, clock: Clock, where: str
) -> None:
    worker.error("f2", **{where: "Bad\udcff"})
    worker.error("f1")
    worker.counters.request("/", "mobile", 1000, failed=True)
    worker.counters.flush()
    clock.now += 60
    worker.counters.request("/", "mobile", 1000, failed=False)  # in the next minute: it was raised here for ever
    worker.counters.flush()
    answer = worker.answer()
    assert (answer["totalErrors"], answer["requests"], answer["failedRequests"]) == (2, 2, 1)
    told = worker.journal.read("SELECT errors FROM minutes WHERE minute = ?", (MINUTE,))
    assert "Bad?" in str(orjson.loads(told[0][0]))


def test_without_that_one_such_word_would_keep_all_counts_from_being_written(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "json_of", orjson.dumps)
    worker.error("f2", title="Bad\udcff")
    with pytest.raises(TypeError, match="surrogates"):
        worker.counters.flush()
