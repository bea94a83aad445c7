"""Counters never fall: whoever dies, and wherever what he has counted is read, summed up and left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.errors import JournalUnavailable
from prodfix.journal import journal as journal_module
from prodfix.journal.journal import Journal
from prodfix.metrics import totals
from prodfix.metrics.tallies import DIVIDER, Tallies
from prodfix.metrics.totals import ALL, FOLDED, SETTLED, Sums, TotalsJournal, by_text
from tests.support.metered import Metered

Open = Callable[[], Journal]
REQUESTS = "http_server_request_duration_seconds_count"
LIMIT = 3  # sets of totals in one worker's file


@pytest.fixture
def meter(open_journal: Open) -> Callable[[], Metered]:
    return lambda: Metered(open_journal())


def requests(worker: Metered, times: int, route: str = "/notes") -> None:
    for _ in range(times):
        worker.tallies.request("GET", route, 200, 7_000)
    worker.metrics.flush()


def total(worker: Metered, route: str = "/notes") -> float:
    return worker.scrape().total(REQUESTS, http_route=route)


def boots(journal: Journal) -> set[str]:
    return {row[0] for row in journal.read(ALL)}


def test_every_worker_tells_what_all_have_counted(meter: Callable[[], Metered]) -> None:
    one, other = meter(), meter()
    requests(one, 3)
    requests(other, 4)
    assert [total(one), total(other)] == [7, 7]
    assert one.scrape().values == other.scrape().values


def test_what_a_dead_worker_has_counted_stays(meter: Callable[[], Metered]) -> None:
    one, other = meter(), meter()
    requests(one, 3)
    requests(other, 4)
    other.journal.close()
    assert total(one) == 7, "its file is still there"
    one.journal.adopt()
    assert total(one) == 7
    # The control: what is read of those that live alone would have fallen.
    assert other.journal.boot in boots(one.journal)
    assert one.journal.read(f"{ALL} WHERE boot = ?", (one.journal.boot,)) != one.journal.read(ALL)
    assert one.metrics.own_families()[1].samples[0].value.counts[1] == 3  # type: ignore[union-attr]


def test_totals_of_dead_boots_are_bounded_and_add_up(meter: Callable[[], Metered]) -> None:
    lives, seen = meter(), []
    for number in range(1, 9):
        dying = meter()
        requests(dying, number, "/notes")
        requests(dying, 1, f"/once/{number}")
        dying.journal.close()
        lives.journal.adopt()
        lives.now += SETTLED + 1
        lives.metrics.flush()  # sees it
        lives.now += SETTLED + 1
        lives.metrics.flush()  # and sums it up
        seen.append(total(lives))
        assert len(boots(lives.journal)) <= LIMIT
    assert seen == [1, 3, 6, 10, 15, 21, 28, 36]
    assert [total(lives, f"/once/{number}") for number in range(1, 9)] == [1] * 8
    assert sum(boot.startswith(FOLDED) for boot in boots(lives.journal)) == 1


def test_without_summing_up_there_would_be_a_set_for_each_that_has_died(
    meter: Callable[[], Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TotalsJournal, "fold", lambda self: 0)
    lives = meter()
    for _ in range(8):
        dying = meter()
        requests(dying, 1)
        dying.journal.close()
        lives.journal.adopt()
        lives.now += SETTLED + 1
        lives.metrics.flush()
    assert len(boots(lives.journal)) > LIMIT
    assert total(lives) == 8


def test_what_just_came_is_not_summed_up_while_somebody_may_read_it_elsewhere(meter: Callable[[], Metered]) -> None:
    lives = meter()
    for _ in range(2):
        dying = meter()
        requests(dying, 1)
        dying.journal.close()
    # Who has opened the dead workers' files before they were adopted, and this one's after that, has both.
    early = lives.journal.read(ALL)
    lives.journal.adopt()
    lives.now += totals.SETTLED
    lives.metrics.flush()
    sums = Sums()
    sums.add_parts([*early, *lives.journal.read(ALL)])
    assert sums.tables()["requests"][DIVIDER.join(("GET", "/notes", "200"))][1] == 2
    # The control: a reader of that long ago would count twice.
    lives.now += totals.SETTLED + 31
    lives.metrics.flush()
    lives.now += totals.SETTLED + 31
    lives.metrics.flush()
    late = Sums()
    late.add_parts([*early, *lives.journal.read(ALL)])
    assert late.tables()["requests"][DIVIDER.join(("GET", "/notes", "200"))][1] == 4


def test_what_a_worker_that_lives_has_left_elsewhere_is_never_summed_up(meter: Callable[[], Metered]) -> None:
    """Its file was damaged, say, and adopted by another; it goes on in a new one with totals from its beginning."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        lives = meter()
        entry = totals.encoded(
            {"keys": [DIVIDER.join(("GET", "/notes", "200"))], "series": [[5] + [0] * 15], "marks": {}}
        )
        for boot in (f"{sleeper.pid}-aaaa", "folded-1", "folded-2"):
            lives.journal.write([(totals._UPSERT, (boot, "1:requests:0", 1, entry))])
        lives.metrics.flush()
        lives.now += SETTLED + 31
        lives.metrics.flush()
        assert f"{sleeper.pid}-aaaa" in boots(lives.journal)
        assert total(lives) == 15
    finally:
        assert sleeper.stdin is not None
        sleeper.stdin.close()
        sleeper.wait()
    # The control: once it is dead it is.
    for _ in range(2):
        lives.now += SETTLED + 31
        lives.metrics.flush()
    assert f"{sleeper.pid}-aaaa" not in boots(lives.journal)
    assert total(lives) == 15


def test_a_total_that_was_given_up_and_committed_all_the_same_does_not_hide_a_later_one(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, write = Metered(journal), journal.write

    def late(statements: Any, **options: Any) -> None:
        write(statements, **options)
        raise TimeoutError

    monkeypatch.setattr(journal, "write", late)
    with pytest.raises(TimeoutError):
        requests(worker, 1)
    monkeypatch.setattr(journal, "write", write)
    requests(worker, 1)
    assert total(worker) == 2


def test_nothing_is_written_when_nothing_has_changed(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, written = Metered(journal), []
    requests(worker, 1, "/a")
    write = journal.write
    monkeypatch.setattr(journal, "write", lambda statements, **options: (written.append(statements), write(statements)))
    worker.metrics.flush()
    assert written == []
    requests(worker, 1, "/a")
    assert [len(statements) for statements in written] == [1]


def test_of_many_series_only_the_part_that_changed_is_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, written = Metered(journal), []
    for number in range(200):
        worker.tallies.request("GET", f"/{number}", 200, 1)
    worker.metrics.flush()
    write = journal.write
    monkeypatch.setattr(journal, "write", lambda statements, **options: (written.append(statements), write(statements)))
    requests(worker, 1, "/77")
    assert [[values[1] for _, values in statements] for statements in written] == [["1:requests:2"]]


def test_a_process_that_opens_its_journal_anew_counts_nothing_twice_and_loses_nothing(
    open_journal: Open, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.open()
    worker = Metered(journal)
    worker.counts["retries"] = 5
    requests(worker, 3)
    journal.close()
    worker.tallies.request("GET", "/notes", 200, 7_000)  # between the two
    worker.counts["retries"] = 6
    journal.open()
    try:
        requests(worker, 1)
        assert total(worker) == 5
        assert worker.scrape().value("prodfix_retries_total") == 6
    finally:
        journal.close()


def test_a_forked_child_begins_at_nothing(python: Callable[..., str], tmp_path: Path) -> None:
    code = """
        import os, sys, warnings
        from pathlib import Path
        from prodfix.journal.journal import Journal
        from tests.support.metered import Metered

        journal = Journal(Path(sys.argv[1]))
        journal.open()
        worker = Metered(journal)
        worker.tallies.request("GET", "/notes", 200, 1)
        worker.metrics.flush()
        warnings.simplefilter("ignore")  # of threads that a child does not have
        if os.fork() == 0:
            journal.open()
            worker.tallies.request("GET", "/notes", 200, 1)
            worker.metrics.flush()
            os._exit(0)
        os.wait()
        print(round(worker.scrape().total("http_server_request_duration_seconds_count")))
    """
    assert python(code, tmp_path / "journal") == "2\n"


def test_while_a_journal_cannot_be_read_counters_are_left_out_and_that_is_said(
    meter: Callable[[], Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = meter(), meter()
    requests(one, 3)
    requests(other, 4)
    read = Journal.read_each

    def partly(journal: Journal, queries: Any, **options: Any) -> Any:
        found = read(journal, queries, **options)
        for reading in found:
            reading.whole = False
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "read_each", partly)
        scrape = one.scrape()
    assert scrape.value("prodfix_metrics_complete") == 0
    assert not [name for name, _ in scrape.values if name == REQUESTS]
    assert one.scrape().value("prodfix_metrics_complete") == 1
    assert total(one) == 7


def test_a_disk_that_does_not_answer_is_waited_for_no_longer_than_its_limit(
    meter: Callable[[], Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, stopped = meter(), threading.Event()
    requests(worker, 3)
    monkeypatch.setattr(journal_module, "read_each", lambda folder, asked: stopped.wait(30))
    begun = time.monotonic()
    try:
        scrape = worker.scrape()
        assert time.monotonic() - begun < 7
    finally:
        stopped.set()
    assert scrape.value("prodfix_metrics_complete") == 0
    assert scrape.value("prodfix_workers") == 1, "what it knows without the disk it tells"


def test_where_no_disk_takes_it_a_worker_tells_its_own_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder belongs")
    journal = Journal(tmp_path / "journal")
    journal.open()
    try:
        worker = Metered(journal)
        requests(worker, 3)
        scrape = worker.scrape()
        assert scrape.value("prodfix_metrics_shared") == 0
        assert scrape.total(REQUESTS) == 3
    finally:
        journal.close()


def test_a_sum_is_not_written_to_memory_beside_the_file(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Metered(journal)
    for boot in ("folded-1", "folded-2"):
        entry = totals.encoded({"keys": [DIVIDER.join("ab")], "series": [[1]], "marks": {}})
        journal.write([(totals._UPSERT, (boot, "1:errors:0", 1, entry))])
    worker.metrics.flush()
    worker.now += SETTLED + 31
    given = {}

    def refuse(statements: Any, **options: Any) -> None:
        given.update(options)
        raise JournalUnavailable("no room")

    monkeypatch.setattr(journal, "write", refuse)
    worker.metrics.flush()
    assert given == {"to_disk": True}


def copied(source: Journal, target: Journal, boot: str) -> None:
    for row in source.read(f"{ALL} WHERE boot = ?", (boot,)):
        target.write([(totals._UPSERT, row)])


def adopted_twice(meter: Callable[[], Metered]) -> tuple[Metered, Metered, str]:
    """An adopter was killed before it could remove the file, which is then adopted by one, and the adopter's own by another."""
    one, other, dying, second = meter(), meter(), meter(), meter()
    for worker in (dying, second):
        requests(worker, 3)
        worker.journal.close()
    one.journal.adopt()
    copied(one.journal, other.journal, dying.journal.boot)
    for worker in (one, other) * 3:
        worker.now += SETTLED + 31
        worker.metrics.flush()
    return one, other, dying.journal.boot


def test_what_two_workers_have_adopted_is_summed_up_by_neither(meter: Callable[[], Metered]) -> None:
    one, other, dead = adopted_twice(meter)
    assert total(one) == total(other) == 6
    assert dead in boots(one.journal)
    # The control: the one that has it alone sums it up.
    other.journal.close()
    one.journal.adopt()
    for _ in range(3):
        one.now += SETTLED + 31
        one.metrics.flush()
    assert dead not in boots(one.journal)
    assert total(one) == 6


def test_summed_up_where_another_has_it_too_it_would_count_twice(
    meter: Callable[[], Metered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TotalsJournal, "_elsewhere", lambda self: set())
    one, _, _ = adopted_twice(meter)
    assert total(one) == 9


def test_what_was_in_a_file_that_is_gone_is_written_to_the_next_one(journal: Journal) -> None:
    worker = Metered(journal)
    for number in range(100):
        worker.tallies.request("GET", f"/{number}", 200, 1)
    worker.metrics.flush()
    lost = journal.file_name
    assert journal._store.file is not None
    journal._store.file.abandon()
    journal._store.file = None
    for path in journal.folder.glob(f"{lost}*"):
        path.unlink()
    journal.write([])  # a new one is made
    assert journal.file_name != lost
    worker.metrics.flush()
    assert worker.scrape().total(REQUESTS) == 100


Counts = st.dictionaries(st.sampled_from(["/a", "/b", "/c"]), st.integers(1, 5), max_size=3)


@given(st.lists(Counts, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_summing_up_in_any_order_gives_the_same(counted: list[Mapping[str, int]], random: Any) -> None:
    rows = []
    for number, counts in enumerate(counted):
        tallies = Tallies()
        for route, times in counts.items():
            for _ in range(times):
                tallies.request("GET", route, 200, 1)
        rows += [
            (f"boot{number}", part, 1, totals.encoded(content))
            for part, content in totals.parts(by_text(tallies.tables), {})
        ]
    random.shuffle(rows)
    found = Sums()
    found.add_parts([*rows, *rows[: len(rows) // 2]])  # some are there twice
    wanted: dict[str, int] = {}
    for counts in counted:
        for route, times in counts.items():
            wanted[route] = wanted.get(route, 0) + times
    seen = {key.split(DIVIDER)[1]: series[0] for key, series in found.tables().get("requests", {}).items()}
    assert seen == wanted


def test_a_part_of_another_layout_is_left_alone() -> None:
    found = Sums()
    narrow = totals.encoded({"keys": ["a"], "series": [[1, 2]], "marks": {}})
    found.add_parts([("1-a", "2:requests:0", 1, b"[]"), ("1-a", "1:requests:0", 1, narrow)])
    assert found.tables() == {}


def test_series_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MOST", 2)
    found = Sums()
    for number in range(5):
        key = DIVIDER.join(("GET", f"/{number}", "404"))
        entry = totals.encoded({"keys": [key], "series": [[1] + [0] * 15], "marks": {}})
        found.add_parts([(f"{number}-a", "1:requests:0", 1, entry)])
    assert {tuple(key.split(DIVIDER)): series[0] for key, series in found.tables()["requests"].items()} == {
        ("GET", "/0", "404"): 1,
        ("GET", "/1", "404"): 1,
        ("__other__", "__other__", "404"): 3,
    }


def test_a_process_that_is_another_one_now_is_dead() -> None:
    assert totals._is_dead(f"{os.getpid()}-old", {os.getpid(): f"{os.getpid()}-new"})
    assert not totals._is_dead(f"{os.getpid()}-old", {})
    assert totals._is_dead("folded-1", {})
