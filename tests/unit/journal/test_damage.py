"""A journal that is damaged under a living worker, or that nobody can read: what is done and said, and what is not given up."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prodfix.deferral.drainer import Drainer
from prodfix.deferral.operation_status import OperationStatuses
from prodfix.deferral.queue import DeferredQueue
from prodfix.errors import JournalUnavailable
from prodfix.journal import adoption, quarantine, reading, upkeep
from prodfix.journal import file as journal_file
from prodfix.journal.journal import Journal
from prodfix.journal.quarantine import Damage, kept
from prodfix.journal.salvage import Salvaged
from prodfix.journal.tables import PAGE
from tests.support.deferred_notes import dead, note, texts, waiting

Make = Callable[..., Any]
ROOT = "SELECT rootpage FROM sqlite_schema WHERE name = ?"


def path_of(journal: Journal) -> Path:
    assert journal._file is not None
    return journal._file.path


def checkpoint(journal: Journal) -> None:
    assert journal._file is not None
    journal._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal._file.connection.execute("PRAGMA shrink_memory")


def overwrite(journal: Journal, name: str) -> None:
    """The first page of a table or an index, as a bad disk would."""
    ((page,),) = journal.read_own(ROOT, (name,))
    checkpoint(journal)
    with path_of(journal).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)
    # What SQLite has of it in memory would hide it for a while.
    assert journal._file is not None
    journal._file.connection.execute("PRAGMA cache_size=0")
    journal._file.connection.execute("PRAGMA shrink_memory")


@pytest.fixture
def deferred(make_deferred: Make) -> DeferredQueue:
    found: DeferredQueue = make_deferred()
    return found


@pytest.fixture
def drainer(make_drainer: Make, deferred: DeferredQueue) -> Drainer:
    found: Drainer = make_drainer(deferred)
    return found


@pytest.fixture
def statuses(journal: Journal) -> OperationStatuses:
    return OperationStatuses(journal, lambda: None, configured=False, uptime=lambda: 0.0, retention_days=1)


def state(statuses: OperationStatuses, identity: str) -> Any:
    found = statuses.status(identity)
    return None if found is None else (found.state, found.reason)


def look(journal: Journal) -> list[Damage]:
    """What a worker's loop does each second."""
    journal.tidy()
    journal.adopt()
    return journal.damages()


def test_an_owner_that_meets_damage_goes_on_in_a_new_file_with_all_that_is_whole(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, statuses: OperationStatuses
) -> None:
    kept_writes = [note(str(number)) for number in range(30)]
    for write in kept_writes:
        deferred.put(write)
    overwrite(journal, "writes_by_key")
    first = path_of(journal)
    deferred.put(later := note("later"))  # acknowledged, whatever the first file was worth
    (damage,) = look(journal)
    assert path_of(journal) != first
    assert (damage.writes, damage.certain, damage.found["writes"]) == (0, True, 30)
    assert [state(statuses, write.id) for write in (*kept_writes, later)] == [("waiting", "DATABASE_UNAVAILABLE")] * 31
    assert drainer.drain() == 31
    assert sorted(texts(database)) == sorted([*(str(number) for number in range(30)), "later"])
    assert [one.file for one in kept(journal.folder)] == [damage.file]


def test_what_is_gone_is_told_to_whoever_asks_for_it(
    deferred: DeferredQueue, journal: Journal, open_journal: Callable[[], Journal], statuses: OperationStatuses
) -> None:
    writes = [note(str(number)) for number in range(3)]
    for write in writes:
        deferred.put(write)
    overwrite(journal, "writes")  # all three stood on it
    with contextlib.suppress(JournalUnavailable):
        journal.read_own("SELECT entry FROM writes")
    (damage,) = look(journal)
    assert (damage.writes, damage.certain, damage.lost) == (3, True, {"writes": 3})
    assert sorted(damage.operations) == sorted(write.id for write in writes)
    assert [state(statuses, write.id) for write in writes] == [("failed", "LOST")] * 3
    assert (journal.quarantine.files, journal.quarantine.lost) == (1, 3)
    assert damage.report().to_json()["lostWrites"] == 3
    other = open_journal()
    other.adopt()
    assert other.quarantine == journal.quarantine, "every worker says so, also one that has begun later"
    assert other.damages() == [], "but once"


def test_a_row_that_is_no_longer_what_was_written_is_found_and_not_applied(
    deferred: DeferredQueue, drainer: Drainer, journal: Journal, database: Any, statuses: OperationStatuses
) -> None:
    for text in ("good", "CANARY", "too"):
        deferred.put(note(text))
    ((identity,),) = journal.read_own("SELECT id FROM writes WHERE position = 2")
    checkpoint(journal)
    path = path_of(journal)
    content = path.read_bytes()
    assert content.count(b"CANARY") == 1
    path.write_bytes(content.replace(b"CANARY", b"CANNOT"))  # SQLite sees nothing wrong with it
    assert journal._file is not None
    journal._file.connection.execute("PRAGMA cache_size=0")
    journal._file.connection.execute("PRAGMA shrink_memory")
    (damage,) = look(journal)
    assert (damage.writes, damage.operations) == (1, [identity])
    drainer.drain()
    assert sorted(texts(database)) == ["good", "too"]
    assert state(statuses, identity) == ("failed", "LOST")


def test_the_look_at_rows_goes_round(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROWS", 2)
    insert = "INSERT INTO writes (id, entry, created) VALUES (?, x'', 0)"
    journal.write([(insert, (str(number),)) for number in range(5)])
    assert journal._file is not None
    one = upkeep.Upkeep()
    for _ in range(7):
        assert one.look(journal._file.connection)
        assert one._seen["writes"] in (0, 2, 4)


def test_a_readers_trouble_makes_the_owner_look(
    deferred: DeferredQueue, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred.put(note())
    overwrite(journal, "records")
    monkeypatch.setattr(upkeep, "LOOKED_AT", ())
    journal._store._upkeep._seen.clear()
    journal.tidy()
    assert journal.failure is None, "the control: nobody has read it yet"
    journal.read("SELECT entry FROM records")
    (damage,) = look(journal)
    assert (damage.writes, damage.found["writes"]) == (0, 1)


def test_a_connection_that_cannot_be_opened_is_no_reason_to_give_a_file_up(
    deferred: DeferredQueue, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred.put(write := note())
    first = path_of(journal)

    class Refusing:
        def execute(self, *_: Any) -> Any:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error

    assert journal._file is not None
    with monkeypatch.context() as patched:
        patched.setattr(journal._file, "connection", Refusing())
        assert journal.read_own("SELECT id FROM writes") == []
    assert path_of(journal) == first
    assert waiting(journal) == [write.id]
    assert look(journal) == []


def test_a_status_is_not_denied_while_a_file_cannot_be_read(
    make_deferred: Make,
    open_journal: Callable[[], Journal],
    statuses: OperationStatuses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = open_journal()
    make_deferred(journal=other).put(write := note())
    assert state(statuses, write.id) == ("waiting", "DATABASE_UNAVAILABLE")
    assert state(statuses, "nobody's") is None
    connect, theirs = reading._connection, path_of(other)

    def refuse(path: Path) -> sqlite3.Connection:
        if path == theirs:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path)

    monkeypatch.setattr(reading, "_connection", refuse)
    for identity in (write.id, "nobody's"):
        with pytest.raises(JournalUnavailable):
            statuses.status(identity)


def test_without_the_salvage_all_of_a_damaged_file_is_gone(
    make_deferred: Make, open_journal: Callable[[], Journal], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(path: Path, draft: Path, *_: Any, **__: Any) -> Any:
        with contextlib.closing(journal_file.in_memory()) as empty:
            empty.execute("VACUUM INTO ?", (str(draft),))
        return Salvaged()

    monkeypatch.setattr(adoption, "salvage", nothing)
    other = open_journal()
    make_deferred(journal=other).put(note())
    overwrite(other, "records")
    other.close()
    journal.adopt()
    assert (waiting(journal), dead(journal)) == ([], {})


def test_a_file_that_was_salvaged_and_is_found_again_brings_nothing_back(
    make_deferred: Make,
    make_drainer: Make,
    open_journal: Callable[[], Journal],
    journal: Journal,
    database: Any,
) -> None:
    other = open_journal()
    theirs: DeferredQueue = make_deferred(journal=other)
    theirs.put(note("a"))
    overwrite(other, "records")
    other.close()
    copies = {path: path.read_bytes() for path in journal.folder.glob(f"{other.boot}*")}
    journal.adopt()
    make_drainer(make_deferred()).drain()
    database.notes.delete_many({})  # a replay would show
    for path, content in copies.items():  # as if it had been killed before it put the file aside
        path.write_bytes(content)
    journal.adopt()
    make_drainer(make_deferred()).drain()
    assert (waiting(journal), texts(database)) == ([], [])


# -- what is kept -----------------------------------------------------------------------------------------------------------


def test_only_so_many_damaged_files_are_kept_the_newest_ones(
    open_journal: Callable[[], Journal], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(quarantine.MOST + 2):
        other = open_journal()
        other.write([("INSERT INTO writes (id, entry, created) VALUES (?, x'', 0)", (str(number),))])
        overwrite(other, "records")
        other.close()
        monkeypatch.setattr(quarantine.time, "time", lambda number=number: 1_000_000.0 + number)
        journal.adopt()
    assert len(waiting(journal)) == quarantine.MOST + 2
    found = kept(journal.folder)
    assert [damage.at for damage in found] == [1_000_006.0 - number for number in range(quarantine.MOST)]
    assert len(list(journal.folder.glob("*.json"))) == quarantine.MOST
    monkeypatch.setattr(quarantine, "LARGEST", 1)
    quarantine._forget_old(journal.folder)
    assert [damage.at for damage in kept(journal.folder)] == [1_000_006.0], "the newest, however large"


def test_it_is_over_when_somebody_has_taken_the_file_away(
    journal: Journal, open_journal: Callable[[], Journal]
) -> None:
    other = open_journal()
    overwrite(other, "records")
    other.close()
    journal.adopt()
    assert journal.quarantine.files == 1
    for path in journal.folder.glob("*.corrupt-*"):
        path.unlink()
    journal.adopt()
    assert journal.quarantine.files == 0


def test_a_disk_without_room_for_what_is_whole_is_tried_again(
    journal: Journal, open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_journal()
    other.write([("INSERT INTO writes (id, entry, created) VALUES ('a', x'', 0)", ())])
    overwrite(other, "records")
    other.close()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(adoption, "salvage", full)
        assert (journal.adopt(), journal.damages(), journal.quarantine.files) == (0, [], 0)
    assert (journal.adopt(), len(journal.damages()), waiting(journal)) == (0, 1, ["a"])


def test_a_file_that_was_cut_to_nothing_is_said_to_be_damaged(
    journal: Journal, open_journal: Callable[[], Journal]
) -> None:
    other = open_journal()
    other.write([("INSERT INTO writes (id, entry, created) VALUES ('a', x'', 0)", ())])
    path = path_of(other)
    other.close()
    os.truncate(path, 0)
    journal.adopt()
    (damage,) = journal.damages()
    assert (damage.certain, damage.found) == (False, {})


def test_a_version_that_the_tables_contradict_is_damage(journal: Journal, open_journal: Callable[[], Journal]) -> None:
    other = open_journal()
    other.write([("INSERT INTO writes (id, entry, created) VALUES ('a', x'', 0)", ()), ("PRAGMA user_version=67", ())])
    other.close()
    journal.adopt()
    assert (waiting(journal), len(journal.damages()), journal.other_versions) == (["a"], 1, 0)


def test_a_log_that_somebody_removed_is_no_traceback(journal: Journal, open_journal: Callable[[], Journal]) -> None:
    other = open_journal()
    other.write([("INSERT INTO writes (id, entry, created) VALUES ('a', x'', 0)", ())], durable=True)
    path = path_of(other)
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    shutil.copyfile(path.with_suffix(".db-shm"), copy.with_suffix(".db-shm"))
    copy.with_suffix(".lock").write_bytes(b"made\n")
    journal.adopt()
    (damage,) = journal.damages()
    assert damage.certain is False
