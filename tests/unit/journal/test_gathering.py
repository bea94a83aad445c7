"""What nobody waits for: it is committed soon, together, and only a kill within that moment can take it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from prodfix.journal import gathering
from prodfix.journal.batch import Statement
from prodfix.journal.file import read_only
from prodfix.journal.gathering import MOST
from prodfix.journal.journal import Journal
from tests.support.waiting import until

KILLED = """
import os, signal, sys
from pathlib import Path
from prodfix.journal import gathering
from prodfix.journal.journal import Journal
gathering.GATHERING = 60.0
journal = Journal(Path(sys.argv[1]))
journal.open()
journal.gather([("INSERT INTO writes (id, entry, created) VALUES ('a', x'00', 0)", ())])
if sys.argv[2] == "settled":
    assert journal.settle(limit=5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def put(identity: str) -> Statement:
    return "INSERT INTO writes (id, entry, created) VALUES (?, x'00', 0)", (identity,)


def ids(journal: Journal) -> list[str]:
    return [row[0] for row in journal.read("SELECT id FROM writes ORDER BY position")]


def as_others_see_it(journal: Journal) -> list[str]:
    """As another worker does, which cannot know what this one has gathered."""
    assert journal._file is not None
    with closing(sqlite3.connect(read_only(journal._file.path), uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM writes ORDER BY position")]


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    opened: list[Journal] = []

    def make() -> Journal:
        journal = Journal(tmp_path / "journal")
        journal.open()
        opened.append(journal)
        return journal

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal: Callable[[], Journal]) -> Journal:
    return open_journal()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed that nobody asks for."""
    monkeypatch.setattr(gathering, "GATHERING", 60.0)


@contextmanager
def slow_disk(journal: Journal) -> Iterator[None]:
    """The disk hangs until the block is over."""
    with journal._storing:
        yield


def test_another_worker_sees_it_soon_and_nobody_has_asked(journal: Journal) -> None:
    journal.gather([put("a")])
    until(lambda: as_others_see_it(journal) == ["a"], what="the entry in the file")


def test_it_is_not_there_before_its_moment_has_come(journal: Journal, patient: None) -> None:
    journal.gather([put("a")])
    assert as_others_see_it(journal) == []
    assert journal.settle(limit=5)
    assert as_others_see_it(journal) == ["a"]


def test_what_a_process_reads_has_what_it_has_gathered(journal: Journal, patient: None) -> None:
    journal.gather([put("a")])
    assert ids(journal) == ["a"]
    journal.gather([put("b")])
    assert journal.read_own("SELECT count(*) FROM writes") == [(2,)]


def test_one_commit_takes_all_of_them_in_their_order(
    journal: Journal, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    commit = journal._store.commit
    monkeypatch.setattr(journal._store, "commit", lambda batch: (commits.append(batch.size), commit(batch)))
    names = [f"{number:03}" for number in range(100)]
    for name in names:
        journal.gather([put(name)])
    assert ids(journal) == names
    assert commits == [100]
    for number in range(600):
        journal.gather([put(f"more {number}")])
    assert len(ids(journal)) == 700
    assert commits == [100, 256, 256, 88], "no commit grows without bounds"


def test_a_source_of_totals_is_asked_once_for_all_that_was_counted(journal: Journal, patient: None) -> None:
    counted, asked = 0, 0

    def totals() -> list[Statement]:
        nonlocal asked
        asked += 1
        return [put(f"total {counted}")] if counted else []

    changed = journal.gather_from(totals)
    for _ in range(50):
        counted += 1
        changed()
    assert (ids(journal), asked) == (["total 50"], 1)


def test_a_source_that_fails_is_counted_and_takes_nothing_else_along(journal: Journal) -> None:
    def broken() -> list[Statement]:
        raise ValueError

    changed = journal.gather_from(broken)
    for name in ("a", "b"):  # the second by the same thread, which has lived on
        changed()
        journal.gather([put(name)])
        until(lambda name=name: name in as_others_see_it(journal), what=f"the entry {name}")  # type: ignore[misc]
    assert journal.lost >= 2


def test_what_the_disk_refuses_is_counted(journal: Journal) -> None:
    journal.gather([("not sql", ())])
    until(lambda: journal.lost == 1, what="one lost entry")


def test_memory_is_bounded_while_the_disk_hangs(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST", 5)
    waits: list[float] = []
    monkeypatch.setattr(journal, "settle", lambda *, limit: waits.append(limit))
    with slow_disk(journal):
        until(lambda: (journal.gather([put(f"{len(waits)}")]), len(journal._gathering._parts) >= 5)[1], what="five")
        before = journal.lost
        for number in range(10):
            journal.gather([put(f"more {number}")])
        assert len(journal._gathering._parts) == 5
        assert journal.lost - before == len(waits) == 10, "each has waited once, and is counted"
    assert MOST > 5


def test_what_is_being_committed_is_waited_for_too(journal: Journal) -> None:
    taken, go_on = threading.Event(), threading.Event()
    assert journal._file is not None
    journal._file.connection.create_function("hang", 0, lambda: taken.set() or (go_on.wait(30) and None))
    journal.gather([put("a"), ("SELECT hang()", ())])
    assert taken.wait(10)
    try:
        assert not journal.settle(limit=0.05)
    finally:
        go_on.set()
    assert ids(journal) == ["a"]


def test_it_goes_on_when_the_disk_does(journal: Journal) -> None:
    with slow_disk(journal):
        journal.gather([put("a")])
        assert not journal.settle(limit=0.05)
    assert ids(journal) == ["a"]
    assert journal.lost == 0


def test_what_waits_when_the_worker_ends_is_committed(open_journal: Callable[[], Journal], patient: None) -> None:
    journal, other = open_journal(), open_journal()
    journal.gather([put("a")])
    journal.close()
    assert ids(other) == ["a"]
    journal.gather([put("b")])
    assert (ids(other), journal.lost) == (["a"], 1), "it is refused, and counted"


def test_its_thread_ends_with_it_and_makes_no_file_anew(journal: Journal) -> None:
    for number in range(20):
        journal.gather([put(str(number))])
    changed = journal.gather_from(lambda: [put("late")])
    changed()
    journal.close()
    files = sorted(path.name for path in journal.folder.glob("*.db"))
    journal._commit_gathered()  # as the thread may do that was about to
    assert sorted(path.name for path in journal.folder.glob("*.db")) == files
    assert journal._store.file is None


@pytest.mark.parametrize(("how", "left"), [("settled", ["a"]), ("gathered", [])])
def test_a_kill_takes_what_has_gathered_and_nothing_that_was_waited_for(
    journal: Journal, how: str, left: list[str]
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(journal.folder), how], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert journal.adopt() == 1
    assert ids(journal) == left


def test_a_child_has_nothing_of_what_its_parent_has_gathered(
    journal: Journal, patient: None, open_journal: Callable[[], Journal]
) -> None:
    journal.gather([put("parent")])
    child = os.fork()
    if not child:
        try:
            journal.open()
            journal.gather([put("child")])
            os._exit(0 if journal.settle(limit=5) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    other = open_journal()
    other.adopt()
    assert ids(other) == ["child"]
    assert journal.settle(limit=5)
    assert sorted(ids(other)) == ["child", "parent"]


def test_threads_that_gather_at_once_lose_nothing(journal: Journal) -> None:
    def work(name: int) -> None:
        for number in range(100):
            journal.gather([put(f"{name} {number}")])

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids(journal)) == len(set(ids(journal))) == 800
    assert journal.lost == 0


def test_in_memory_nothing_is_begun_and_whoever_reads_finds_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(gathering, "start_thread", begun.append)
    journal = Journal(tmp_path / "journal")
    journal.open(in_memory=True)
    for number in range(MOST + 2):
        journal.gather([put(f"{number:05d}")])
    assert len(ids(journal)) == MOST + 2
    assert begun == []
    journal.close()
    on_disk = Journal(tmp_path / "journal")
    on_disk.open()
    on_disk.gather([put("a")])
    assert len(begun) == 1, "the control"
    on_disk.close()
