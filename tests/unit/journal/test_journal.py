"""The journal: what was acknowledged is there, once, whoever dies."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prodfix.errors import JournalTimeout, JournalUnavailable
from prodfix.journal import adoption
from prodfix.journal import file as journal_file
from prodfix.journal import store as stores
from prodfix.journal.batch import LARGEST as BATCH
from prodfix.journal.batch import Statement, Unwritten, write_together
from prodfix.journal.journal import Journal
from prodfix.journal.reading import Others
from prodfix.journal.tables import SCHEMA_VERSION

ALL = "SELECT id FROM writes ORDER BY position"
SMALL = 100 * 4096  # bytes: with all tables empty it is a third of it; 350,000 bytes do not fit

OWNER = """
import sys
from pathlib import Path
from prodfix.journal.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.open()
insert = "INSERT INTO writes (id, entry, created) VALUES (?, x'00', 0)"
for identity in sys.argv[2:]:
    journal.write([(insert, (identity,))], durable=True)
minutes = "INSERT INTO minutes VALUES ('w', 1, 3, 'three', 'three requests', 0), ('w', 2, 5, 'five', 'five requests', 0)"
journal.write([(minutes, ())], durable=True)
print(journal.boot, flush=True)
sys.stdin.read()
"""


def put(identity: str, entry: bytes = b"") -> Statement:
    return "INSERT INTO writes (id, entry, created) VALUES (?, ?, 0)", (identity, entry)


def ids(journal: Journal) -> list[str]:
    return [row[0] for row in journal.read(ALL)]


def files(journal: Journal) -> set[str]:
    return {path.name for path in journal.folder.iterdir()}


@contextmanager
def owner(folder: Path, *identities: str) -> Iterator[subprocess.Popen[str]]:
    """Another worker, alive, which has put some writes."""
    command = [sys.executable, "-c", OWNER, str(folder), *identities]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.boot = process.stdout.readline().strip()  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def turn_taken(journal: Journal) -> Iterator[None]:
    """Another one's turn to write takes as long as the block: a disk that hangs."""
    with journal._commit_lock:
        yield


def statements_of(journal: Journal) -> list[str]:
    """What the connection executes from here on."""
    seen: list[str] = []
    assert journal._file is not None
    journal._file.connection.set_trace_callback(seen.append)
    return seen


# -- writing --------------------------------------------------------------------------------------------------------------


def test_what_waits_together_is_committed_once(journal: Journal, until: Callable[..., Any]) -> None:
    seen = statements_of(journal)
    with ThreadPoolExecutor(30) as pool:
        with turn_taken(journal):
            tasks = [pool.submit(journal.write, [put(str(number))]) for number in range(30)]
            until(lambda: journal._waiting is not None and journal._waiting.size == 30)
        for task in tasks:
            task.result(5)
    assert seen.count("COMMIT") == 1
    assert sorted(ids(journal), key=int) == [str(number) for number in range(30)]


def test_what_several_have_is_committed_at_once_and_told_to_none_if_it_is_not(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = "INSERT INTO writes (id, entry, created) VALUES (?, x'00', 0)"
    written: list[str] = []
    parts = [Unwritten([(insert, (name,))], lambda name=name: written.append(name)) for name in "ab"]  # type: ignore[misc]
    before = journal.version("writes")
    with monkeypatch.context() as refused:
        refused.setattr(journal, "_opened", False)
        with pytest.raises(JournalUnavailable):
            write_together(journal.write, *parts)
    assert (written, journal.read(ALL)) == ([], [])
    commits: list[int] = []
    monkeypatch.setattr(
        journal, "write", lambda statements, write=journal.write: commits.append(write(statements) or 1)
    )
    write_together(journal.write, None, *parts)
    assert (written, journal.read(ALL), len(commits)) == (["a", "b"], [("a",), ("b",)], 1)
    assert journal.version("writes") == before + 2
    write_together(journal.write, None)
    assert len(commits) == 1, "nothing is nothing"


def test_a_large_batch_takes_no_more_with_it(journal: Journal, until: Callable[..., Any]) -> None:
    seen = statements_of(journal)
    with ThreadPoolExecutor(2) as pool:
        with turn_taken(journal):
            tasks = [pool.submit(journal.write, [put(str(number)) for number in range(BATCH)])]
            until(lambda: journal._waiting is not None)
            tasks.append(pool.submit(journal.write, [put("next")]))
            until(lambda: journal._waiting.size == 1)  # type: ignore[union-attr]
        for task in tasks:
            task.result(5)
    assert seen.count("COMMIT") == 2


@pytest.mark.parametrize(("durable", "mode"), [(True, "FULL"), (False, "NORMAL")])
def test_only_what_must_survive_a_loss_of_power_waits_for_the_disk(journal: Journal, durable: bool, mode: str) -> None:
    seen = statements_of(journal)
    journal.write([put("a")], durable=durable)
    assert seen[0] == f"PRAGMA synchronous={mode}"


def test_statements_are_committed_all_or_none(journal: Journal) -> None:
    with pytest.raises(JournalUnavailable):
        journal.write([put("a"), put("a")])
    assert ids(journal) == []
    journal.write([put("a")])
    assert ids(journal) == ["a"]


def test_a_disk_that_does_not_answer_is_waited_for_only_so_long(journal: Journal) -> None:
    with turn_taken(journal), pytest.raises(TimeoutError):
        journal.write([put("a")], limit=0.01)


@pytest.mark.parametrize("bad", [("not sql", ()), ("SELECT ?", (2**70,)), ("SELECT ?", ("\ud800",))])
def test_a_batch_that_fails_is_acknowledged_to_nobody(
    journal: Journal, until: Callable[..., Any], bad: Statement
) -> None:
    with ThreadPoolExecutor(2) as pool:
        with turn_taken(journal):
            tasks = [pool.submit(journal.write, [put("a")]), pool.submit(journal.write, [bad])]
            until(lambda: journal._waiting is not None and journal._waiting.size == 2)
        failures = [task.exception(5) for task in tasks]
    assert [type(failure) for failure in failures] == [JournalUnavailable] * 2
    assert ids(journal) == []


def test_a_journal_that_was_never_opened_refuses(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalUnavailable):
        journal.write([put("a")], durable=True)
    assert journal.read(ALL) == journal.read_own(ALL) == []
    assert journal.adopt() == 0


def test_its_files_are_the_owners_alone(journal: Journal) -> None:
    journal.write([put("a")])
    assert journal.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in journal.folder.iterdir()} == {0}


# -- a broken disk ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_somebody_removed_is_made_again_with_all_that_was_acknowledged(journal: Journal) -> None:
    for name in "ab":
        journal.write([put(name)], durable=True)
    journal.write([("DELETE FROM writes WHERE id = 'a'", ())])
    shutil.rmtree(journal.folder)
    journal.write([put("c")], durable=True)
    assert (ids(journal), journal.failure) == (["b", "c"], None)
    (file,) = journal.folder.glob("*.db")
    with contextlib.closing(sqlite3.connect(file)) as found:
        assert [row[0] for row in found.execute(ALL)] == ["b", "c"], "on the disk"


def test_a_folder_that_is_removed_while_it_commits_loses_nothing(journal: Journal) -> None:
    assert journal._file is not None
    journal._file.connection.create_function("vanish", 0, lambda: shutil.rmtree(journal.folder))
    journal.write([put("a"), ("SELECT vanish()", ())], durable=True)
    journal.write([put("b")], durable=True)
    assert ids(journal) == ["a", "b"]
    assert len(list(journal.folder.glob("*.db"))) == 1


def test_a_folder_that_cannot_be_made_refuses_and_says_so_without_a_path(journal: Journal, retry_at_once: None) -> None:
    shutil.rmtree(journal.folder)
    journal.folder.write_text("in the way")
    with pytest.raises(JournalUnavailable):
        journal.write([put("a")], durable=True)
    assert journal.failure == "FileExistsError 17"
    journal.folder.unlink()
    journal.write([put("b")], durable=True)
    assert (ids(journal), journal.failure) == (["b"], None)


def test_opening_on_a_broken_disk_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file")
    journal.open()
    assert journal.failure
    with pytest.raises(JournalUnavailable):
        journal.write([put("a")], durable=True)
    journal.close()


def test_a_full_file_refuses_and_goes_on_once_there_is_room(
    open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "LARGEST_FILE", SMALL)
    journal = open_journal()
    journal.write([put("a", bytes(150_000))])
    with pytest.raises(JournalUnavailable, match="SQLITE_FULL"):
        journal.write([put("b", bytes(200_000))], durable=True)
    assert ids(journal) == ["a"]
    journal.write([("DELETE FROM writes", ())])
    journal.write([put("c", bytes(150_000))], durable=True)
    assert (ids(journal), journal.failure) == (["c"], None)


@pytest.fixture
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "RETRY", 0.0)


@pytest.fixture
def blocked(tmp_path: Path, retry_at_once: None) -> Iterator[Journal]:
    """A journal whose folder cannot be made, because a file is in its way: see ``unblock``."""
    (tmp_path / "journal").write_text("")
    journal = Journal(tmp_path / "journal")
    journal.open()
    yield journal
    journal.close()


def unblock(journal: Journal) -> None:
    journal.folder.unlink()


def minute(revision: int, counts: str) -> Statement:
    upsert = "INSERT OR REPLACE INTO minutes (worker, minute, revision, errors, traffic) VALUES ('w', 1, ?, ?, ?)"
    return upsert, (revision, counts, counts + " requests")


def test_while_the_disk_fails_memory_holds_what_need_not_survive_the_process(blocked: Journal) -> None:
    blocked.write([put("a")])
    for how in ({"durable": True}, {"to_disk": True}):
        with pytest.raises(JournalUnavailable):
            blocked.write([put("b")], **how)  # type: ignore[arg-type]
    assert ids(blocked) == [row[0] for row in blocked.read_own(ALL)] == ["a"]
    assert (blocked.failure, blocked.adopt()) == ("FileExistsError 17", 0)


def test_a_batch_of_both_kinds_on_a_broken_disk_is_refused_to_those_who_need_the_disk(
    blocked: Journal, until: Callable[..., Any]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        with turn_taken(blocked):
            tasks = [pool.submit(blocked.write, [put(name)], durable=name == "disk") for name in ("disk", "memory")]
            until(lambda: blocked._waiting is not None and blocked._waiting.size == 2)
        assert [type(task.exception(5)) for task in tasks] == [JournalUnavailable, type(None)]
    assert ids(blocked) == ["memory"]


def test_what_is_in_memory_comes_home_once(blocked: Journal, open_journal: Callable[[], Journal]) -> None:
    kind = "INSERT INTO queries VALUES ('w', 'find', 0, x'')"
    blocked.write([put("a"), minute(8, "eight"), (kind, ())])
    unblock(blocked)
    other = open_journal()
    other.write([put("b"), minute(5, "five")])
    blocked.write([put("c")])
    assert blocked.failure is None
    assert sorted(ids(blocked)) == sorted(ids(other)) == ["a", "b", "c"]
    assert other.read("SELECT name FROM queries") == [("find",)]
    blocked.close()
    assert other.adopt() == 1
    assert other.read("SELECT revision, errors, traffic FROM minutes") == [(8, "eight", "eight requests")]


def test_what_is_in_memory_comes_home_when_the_worker_ends(
    blocked: Journal, open_journal: Callable[[], Journal]
) -> None:
    blocked.write([put("a")])
    unblock(blocked)
    blocked.close()
    assert ids(open_journal()) == ["a"]


def test_a_broken_disk_is_tried_again_only_now_and_then(
    journal: Journal, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def refuse(folder: Path, boot: str) -> None:
        tries.append(boot)
        raise OSError(28, "No space left on device", "/a/path")

    shutil.rmtree(journal.folder)
    monkeypatch.setattr(stores.JournalFile, "make", refuse)
    for number in range(20):
        journal.write([put(str(number))])
    assert (len(tries), journal.failure, len(ids(journal))) == (1, "OSError 28", 20)
    monkeypatch.setattr(journal._store, "_retry_at", 0.0)
    journal.write([put("last")])
    assert len(tries) == 2


def test_a_full_disk_keeps_its_rows_and_memory_takes_what_comes(
    open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch, retry_at_once: None
) -> None:
    monkeypatch.setattr(journal_file, "LARGEST_FILE", SMALL)
    journal, other = open_journal(), open_journal()
    journal.write([put("a", bytes(150_000))])
    journal.write([put("b", bytes(200_000))])
    journal.write([put("c")])
    assert (sorted(ids(journal)), ids(other), journal.failure) == (
        ["a", "b", "c"],
        ["a"],
        "OperationalError SQLITE_FULL",
    )
    assert len([name for name in files(journal) if name.endswith(".lock")]) == 2
    journal.write([("DELETE FROM writes WHERE id = 'a'", ())], to_disk=True)
    journal.write([put("d")])
    assert (sorted(ids(journal)), sorted(ids(other)), journal.failure) == (["b", "c", "d"], ["b", "c", "d"], None)


class Failing:
    """A connection to a disk that fails."""

    def __init__(self, connection: Any) -> None:
        self.close = connection.close

    def execute(self, *_: Any) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_WRITE"
        raise error


def test_a_disk_that_fails_later_keeps_its_rows_and_they_are_adopted(journal: Journal, retry_at_once: None) -> None:
    journal.write([put("a")])
    assert journal._file is not None
    journal._file.connection = Failing(journal._file.connection)  # type: ignore[assignment]
    journal.write([put("b")])
    assert (sorted(ids(journal)), journal.failure) == (["a", "b"], "OperationalError SQLITE_IOERR_WRITE")
    journal.write([put("c")])
    assert (journal.adopt(), journal.failure) == (1, None)
    assert [row[0] for row in journal.read_own(ALL)] == ["b", "c", "a"]


def test_reading_a_disk_that_fails_tells_what_memory_holds(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert journal._file is not None
    journal._file.connection = Failing(journal._file.connection)  # type: ignore[assignment]
    assert journal.read_own(ALL) == []
    journal.write([put("a")])
    assert journal.read_own(ALL) == [("a",)]


def test_memory_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocked: Journal) -> None:
    monkeypatch.setattr(journal_file, "LARGEST_MEMORY", SMALL)
    blocked.write([put("a", bytes(150_000))])
    with pytest.raises(JournalUnavailable):
        blocked.write([put("b", bytes(200_000))])
    blocked.write([put("c")])
    assert ids(blocked) == ["a", "c"]


def test_a_wrong_statement_does_not_make_the_disk_a_broken_one(journal: Journal) -> None:
    with pytest.raises(JournalUnavailable):
        journal.write([("not sql", ())])
    journal.write([put("a")])
    assert (journal.failure, journal._store.memory) == (None, None)


def test_a_file_that_cannot_be_made_whole_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_at_once: None
) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "journal")
    with monkeypatch.context() as patched:
        patched.setattr(journal_file, "sync_folder", full)
        journal.open()
        for name in "abc":
            journal.write([put(name)])
        assert files(journal) == set()
    journal.write([put("d")])
    assert (ids(journal), journal.adopt(), journal.quarantine.files) == (["a", "b", "c", "d"], 0, 0)
    journal.close()


# -- several workers --------------------------------------------------------------------------------------------------------


def test_every_worker_reads_what_all_of_them_wrote(open_journal: Callable[[], Journal]) -> None:
    first, second = open_journal(), open_journal()
    first.write([put("a")])
    second.write([put("b")])
    assert sorted(ids(first)) == sorted(ids(second)) == ["a", "b"]
    assert first.read_own(ALL) == [("a",)]


def test_a_living_workers_file_is_left_alone(journal: Journal) -> None:
    with owner(journal.folder, "a") as other:
        assert journal.adopt() == 0
        assert [name for name in files(journal) if name.startswith(other.boot)]
        assert ids(journal) == ["a"]


def test_what_a_killed_worker_had_acknowledged_is_merged_once_and_its_files_are_gone(journal: Journal) -> None:
    own = "INSERT INTO minutes VALUES ('w', 1, 4, 'four', 'four requests', 0), ('w', 2, 4, 'four', 'four requests', 4)"
    journal.write([put("both"), (own, ())])
    with owner(journal.folder, "a", "both", "c") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert sorted(ids(journal)) == ["a", "both", "both", "c"]  # read, before anybody adopts
    assert journal.adopt() == 1
    assert journal.read(ALL) == journal.read_own(ALL) == [("both",), ("a",), ("c",)]
    minutes = journal.read("SELECT minute, revision, errors, traffic FROM minutes ORDER BY minute")
    assert minutes == [(1, 4, "four", "four requests"), (2, 5, "five", "five requests")]
    assert not [name for name in files(journal) if name.startswith(other.boot)]
    assert (journal.adopt(), journal.quarantine.files) == (0, 0)


def test_a_closed_journal_is_adopted_too(open_journal: Callable[[], Journal]) -> None:
    first, second = open_journal(), open_journal()
    first.write([put("a")])
    first.close()
    assert second.adopt() == 1
    assert second.read_own(ALL) == [("a",)]


@pytest.mark.parametrize("damage", [lambda data: b"no database" * 1000, lambda data: data[:4096] + bytes(len(data))])
def test_a_file_that_cannot_be_read_is_left_out_and_put_aside(
    open_journal: Callable[[], Journal], damage: Callable[[bytes], bytes]
) -> None:
    broken, journal = open_journal(), open_journal()
    journal.write([put("a")])
    broken.write([put("b")])
    assert broken._file is not None
    path = broken._file.path
    broken.close()
    path.write_bytes(damage(path.read_bytes()))
    assert ids(journal) == ["a"]
    assert journal.adopt() == 0
    assert journal.quarantine.files == 1
    assert {name.partition("-")[0] for name in put_aside(journal)} == {str(os.getpid())}
    journal.write([put("c")])
    assert (ids(journal), journal.adopt()) == (["a", "c"], 0)


def put_aside(journal: Journal) -> list[str]:
    return sorted(name for name in files(journal) if "corrupt" in name)


def test_what_a_young_journal_had_acknowledged_is_put_aside_with_it(journal: Journal) -> None:
    with owner(journal.folder, "a") as other:
        other.kill()
        other.wait()
    (path,) = journal.folder.glob(f"{other.boot}*.db")  # type: ignore[attr-defined]
    path.write_bytes(b"")
    log = path.with_suffix(".db-wal").read_bytes()
    assert ids(journal) == []
    assert (journal.adopt(), journal.quarantine.files) == (0, 1)
    file, wal, report = put_aside(journal)
    assert (wal, report) == (f"{file}-wal", f"{file}.json")
    assert (journal.folder / wal).read_bytes() == log
    assert log
    assert ids(journal) == ["a"]


def test_what_is_put_aside_can_be_recovered_by_hand(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    with owner(journal.folder, "a", "b") as other:
        other.kill()
        other.wait()
    monkeypatch.setattr(adoption, "_is_whole", lambda connection: False)
    assert (journal.adopt(), journal.quarantine.files) == (0, 1)
    file, *_ = put_aside(journal)
    with contextlib.closing(sqlite3.connect(journal.folder / file)) as recovered:
        assert recovered.execute(ALL).fetchall() == [("a",), ("b",)]


@pytest.mark.parametrize("mode", [None, "DELETE", "WAL"])
def test_a_file_with_nothing_in_it_is_removed(journal: Journal, mode: str | None) -> None:
    (journal.folder / "young.lock").touch()
    (journal.folder / "young.db").touch()
    if mode:
        with contextlib.closing(sqlite3.connect(journal.folder / "young.db")) as young:
            young.execute(f"PRAGMA journal_mode={mode}")
            young.execute("CREATE TABLE t (a)")
            young.execute("DROP TABLE t")
    assert (journal.adopt(), journal.quarantine.files) == (0, 0)
    assert not [name for name in files(journal) if name.startswith("young")]


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_file_of_another_version_is_left_alone_and_shown(
    journal: Journal, open_journal: Callable[[], Journal], version: int
) -> None:
    theirs = open_journal()
    theirs.write([put("a"), ("ALTER TABLE writes ADD COLUMN more TEXT", ()), (f"PRAGMA user_version={version}", ())])
    theirs.close()
    before = files(journal)
    for _ in range(2):
        assert (journal.adopt(), journal.quarantine.files, journal.other_versions) == (0, 0, 1)
    assert {name for name in files(journal) if name.endswith((".db", ".lock"))} == {
        name for name in before if name.endswith((".db", ".lock"))
    }
    assert ids(journal) == []
    assert journal.others() == Others(1, 1)
    assert journal.waits_elsewhere("a") == ("", b"", 0)
    assert journal.waits_elsewhere("b") is None


def test_a_file_of_another_version_that_has_nothing_of_ours_is_counted_all_the_same(journal: Journal) -> None:
    with contextlib.closing(sqlite3.connect(journal.folder / "later.db")) as later:
        later.execute("CREATE TABLE queue (a)")
        later.execute("PRAGMA user_version=9")
    assert journal.others() == Others(1, 0)
    assert journal.waits_elsewhere("a") is None


def test_a_healthy_file_that_does_not_fit_now_is_adopted_later(
    open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = open_journal()
    large.write([put("large", bytes(200_000))], durable=True)
    large.close()
    monkeypatch.setattr(journal_file, "LARGEST_FILE", SMALL)
    journal = open_journal()
    journal.write([put("a", bytes(150_000))])
    assert (journal.adopt(), journal.quarantine.files) == (0, 0)
    assert sorted(ids(journal)) == ["a", "large"]
    journal.write([("DELETE FROM writes", ())])
    assert journal.adopt() == 1
    assert journal.read_own(ALL) == [("large",)]


# -- what nobody waits for to the end -----------------------------------------------------------------------------------------


@contextmanager
def slow_disk(journal: Journal) -> Iterator[Callable[[], None]]:
    """The thread that writes hangs in its disk until the block is over, or what it is given is called."""
    go_on = threading.Event()
    task = journal._begun = journal._writer.submit(go_on.wait, 30)
    try:
        yield go_on.set
    finally:
        go_on.set()
        assert task.ended(5)


def test_what_is_committed_late_is_not_lost(journal: Journal) -> None:
    with slow_disk(journal):
        assert not journal.offer([put("a")], limit=0.01)
        assert (journal.lost, ids(journal)) == (0, [])
    journal.write([put("b")])
    assert (journal.lost, sorted(ids(journal))) == (0, ["a", "b"])


def test_what_is_committed_late_is_counted_if_it_turns_out_to_be_lost(journal: Journal) -> None:
    with slow_disk(journal):
        for bad in (("not sql", ()), put("a")):
            assert not journal.offer([bad], limit=0.01)
    with pytest.raises(JournalUnavailable):
        journal.write([put("b")])
    assert (journal.lost, ids(journal)) == (2, [])
    assert not journal.offer([("not sql", ())], limit=5)
    assert journal.lost == 3
    journal.close()
    assert not journal.offer([put("c")], limit=5)
    assert journal.lost == 4


def test_what_waits_when_the_worker_ends_is_committed(open_journal: Callable[[], Journal]) -> None:
    journal, other = open_journal(), open_journal()
    with slow_disk(journal):
        assert not journal.offer([put("a")], limit=0.01)
    journal.close()
    assert ids(other) == ["a"]


def test_a_write_whose_commit_has_not_begun_is_refused_for_certain(journal: Journal) -> None:
    with slow_disk(journal), turn_taken(journal), pytest.raises(JournalTimeout):
        journal.write([put("a")], durable=True, limit=0.01)
    journal.write([put("b")])
    assert ids(journal) == ["b"], "it does not come later"


def test_a_write_whose_commit_has_begun_is_in_doubt_until_it_is_known(journal: Journal) -> None:
    assert journal._file is not None
    go_on = threading.Event()
    journal._file.connection.create_function("hang", 0, lambda: go_on.wait(30) and None)
    with pytest.raises(TimeoutError) as doubt:
        journal.write([put("a"), ("SELECT hang()", ())], durable=True, limit=0.05)
    assert not isinstance(doubt.value, JournalUnavailable)
    with pytest.raises(TimeoutError):
        journal.read_own(ALL, limit=0.05)
    go_on.set()
    assert journal.read_own(ALL) == [("a",)]


# -- room that goes back ------------------------------------------------------------------------------------------------------


def test_a_backlog_that_is_gone_gives_its_room_back(journal: Journal, until: Callable[..., Any]) -> None:
    for number in range(20):
        journal.write([put(f"{number}-{more}", bytes(3000)) for more in range(200)], durable=True)
    assert journal._file is not None
    path, connection = journal._file.path, journal._file.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    large = path.stat().st_size
    assert large > 10 * 1024 * 1024
    journal.write([("DELETE FROM writes", ())], durable=True)
    assert connection.execute("PRAGMA freelist_count").fetchone()[0] * 4096 > large / 2, "the control: it has kept it"
    for _ in range(40):
        journal.tidy()
        journal.write([("UPDATE status SET at = 1", ())])
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert path.stat().st_size < 2 * 1024 * 1024
    journal.write([put("a")])
    assert path.with_suffix(".db-wal").stat().st_size <= journal_file.LARGEST_LOG


def test_upkeep_gives_way_to_whoever_writes(journal: Journal) -> None:
    seen = statements_of(journal)
    with turn_taken(journal):
        journal.tidy()
    assert seen == []
    journal.tidy()
    assert seen != [], "the control"


# -- other processes --------------------------------------------------------------------------------------------------------


def test_under_gevent_other_greenlets_run_while_it_commits(python: Callable[..., str], tmp_path: Path) -> None:
    code = """
    from gevent import monkey; monkey.patch_all()
    import sys, gevent
    from pathlib import Path
    from prodfix.errors import JournalTimeout, JournalUnavailable
    from prodfix.journal.journal import Journal

    journal = Journal(Path(sys.argv[1]))
    journal.open()
    # A slow disk: the writer's thread is held by SQLite for 0.3 s.
    pause = monkey.get_original("time", "sleep")
    journal._file.connection.create_function("pause", 0, lambda: pause(0.3))
    turns = 0
    def turn():
        global turns
        while True:
            turns += 1
            gevent.sleep(0.01)
    gevent.spawn(turn)
    journal.write([("SELECT pause()", ()), ("INSERT INTO writes (id, entry, created) VALUES ('a', x'', 0)", ())])
    print(turns, journal.read_own("SELECT id FROM writes"))
    try:
        journal.write([("not sql", ())])
    except JournalUnavailable:
        print("refused")
    journal.close()
    """
    first, second = python(code, tmp_path / "journal").splitlines()
    turns, rows = first.split(maxsplit=1)
    assert int(turns) > 10
    assert (rows, second) == ("[('a',)]", "refused")


def test_a_forked_child_has_a_file_of_its_own_and_leaves_its_parents_alone(
    python: Callable[..., str], journal: Journal
) -> None:
    code = """
    import os, sys, warnings
    from pathlib import Path
    from prodfix.errors import JournalTimeout, JournalUnavailable
    from prodfix.journal.journal import Journal

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tried here (Python 3.12)
    insert = "INSERT INTO writes (id, entry, created) VALUES (?, x'', 0)"
    journal = Journal(Path(sys.argv[1]))
    journal.open()
    journal.write([(insert, ("parent",))], durable=True)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            journal.write([(insert, ("nobody",))])
        except JournalUnavailable:
            journal.open()
            journal.write([(insert, ("child",))], durable=True)
        print(journal.read_own("SELECT id FROM writes"), flush=True)
        os.close(writing)
        os.read(reading, 1)  # until the parent is gone
        os._exit(0)
    os.close(reading)
    journal.write([(insert, ("after",))], durable=True)
    sys.stdout.flush()
    os._exit(0)
    """
    python(code, journal.folder)
    assert sorted(ids(journal)) == ["after", "child", "parent"]
    assert journal.adopt() >= 1
    assert [row for row in journal.read_own(ALL) if row[0] != "child"] == [("parent",), ("after",)]
