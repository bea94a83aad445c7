"""Files of dead workers: those of version 1 are adopted with all that they hold, and nothing comes back that has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest

from prodfix.deferral.deferred import Deferred
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.traces import Traces
from prodfix.journal.journal import Journal
from tests.unit.deferring import dead, note, texts, waiting

Make = Callable[..., Any]

# As released: a copy, so that a change of today's tables cannot change what was written then.
VERSION_1 = """
CREATE TABLE writes (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, entry BLOB NOT NULL,
 attempts INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL);
CREATE TABLE dead (id TEXT PRIMARY KEY, entry BLOB NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE records (id TEXT PRIMARY KEY, collection TEXT NOT NULL, request_id TEXT, at REAL NOT NULL,
 entry BLOB NOT NULL, stored INTEGER NOT NULL DEFAULT 0);
CREATE INDEX records_by_request ON records (request_id);
CREATE INDEX records_to_store ON records (stored, at);
CREATE TABLE minutes (worker TEXT NOT NULL, minute INTEGER NOT NULL, revision INTEGER NOT NULL, counts BLOB NOT NULL,
 stored INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (worker, minute));
CREATE TABLE queries (worker TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, entry BLOB NOT NULL,
 PRIMARY KEY (worker, name));
CREATE TABLE advice (fingerprint TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL);
CREATE TABLE status (worker TEXT PRIMARY KEY, at REAL NOT NULL, entry BLOB NOT NULL);
PRAGMA user_version=1;
"""


def entry_1(text: str) -> bytes:
    return bson.encode({"operation": "note", "arguments": {"text": text}, "requestId": "request-1"})


@pytest.fixture
def version_1(journal: Journal) -> Path:
    """The file of a dead worker of version 1: two writes in order, the first one tried; a dead letter; a record; a count."""
    path = journal.folder / "dead.db"
    path.with_suffix(".lock").touch()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(VERSION_1)
    for number, attempts in enumerate((1, 0)):
        row = (f"{number:024}", entry_1(f"write {number}"), attempts, 1e9)
        connection.execute("INSERT INTO writes (id, entry, attempts, created) VALUES (?, ?, ?, ?)", row)
    connection.execute(
        "INSERT INTO dead VALUES (?, ?, 'DUPLICATE_KEY (DuplicateKeyError)', 5)", ("f" * 24, entry_1("x"))
    )
    connection.execute("INSERT INTO records VALUES ('r', 'error_log', 'request-1', 5, x'05', 0)")
    connection.execute("INSERT INTO minutes VALUES ('w', 7, 3, x'05', 0)")
    connection.commit()
    connection.close()
    return path


def test_a_file_of_version_1_is_adopted_whole(version_1: Path, journal: Journal) -> None:
    assert (journal.adopt(), journal.other_versions, version_1.exists()) == (1, 0, False)
    columns = "id, operation, attempts, created, tried, not_before"
    assert journal.read(f"SELECT {columns} FROM writes ORDER BY position") == [
        ("0" * 24, "note", 1, 1e9, 1e9, 0),
        (f"{1:024}", "note", 0, 1e9, 1e9, 0),
    ]
    assert journal.read("SELECT id, operation, reason, facts FROM dead") == [("f" * 24, "note", "DUPLICATE_KEY", "{}")]
    assert journal.read("SELECT id FROM records") == [("r",)]
    assert journal.read("SELECT worker, minute, revision FROM minutes") == [("w", 7, 3)]


def test_what_version_1_has_left_is_applied_in_order_and_told_to_whoever_knows_its_id(
    version_1: Path, journal: Journal, make_deferred: Make, make_drainer: Make, database: Any
) -> None:
    journal.adopt()
    assert make_drainer(make_deferred(), max_age=1e12).drain() == 2
    assert texts(database) == ["write 0", "write 1"]
    traces = Traces(journal, lambda: None, configured=False, uptime=lambda: 0.0, retention_days=1)
    assert [traces.find(identity, None).state for identity in ("0" * 24, "f" * 24)] == ["applied", "failed"]  # type: ignore[union-attr]


def test_a_broken_entry_of_version_1_holds_nothing_up(
    version_1: Path, journal: Journal, make_deferred: Make, make_drainer: Make
) -> None:
    with sqlite3.connect(version_1) as connection:
        connection.execute("UPDATE writes SET entry = x'00' WHERE id = ?", ("0" * 24,))
    connection.close()
    journal.adopt()
    assert make_drainer(make_deferred(), max_age=1e12).drain() == 1
    assert dead(journal)["0" * 24] == "UNKNOWN_OPERATION"


def test_all_of_a_dead_workers_writes_come_along(
    journal: Journal, open_journal: Callable[[], Journal], make_deferred: Make, make_drainer: Make, database: Any
) -> None:
    other = open_journal()
    theirs: Deferred = make_deferred(journal=other)
    drainer: Drainer = make_drainer(theirs, journal=other)
    done, expired, left = note("done"), note("expired"), note("left")
    theirs.put(done)
    drainer.drain()
    theirs.put(expired)
    make_drainer(theirs, journal=other, max_age=-1).drain()
    theirs.put(left, tried=5.0)
    other.write([("UPDATE writes SET not_before = 6, attempts = 2, reason = 'BUSY'", ())])
    other.write([("INSERT INTO orders VALUES ('o', 'replay', 'x', 'ada', 1, 'replayed')", ())])
    other.close()
    assert journal.adopt() == 1
    assert journal.read("SELECT id, tried, not_before, attempts, reason FROM writes") == [(left.id, 5, 6, 2, "BUSY")]
    assert dead(journal) == {expired.id: "EXPIRED"}
    assert [row[0] for row in journal.read("SELECT id FROM ended")] == [done.id]
    assert journal.read("SELECT id FROM orders") == [("o",)]


def test_what_has_ended_does_not_come_back_with_a_file_that_was_merged_before(
    journal: Journal, open_journal: Callable[[], Journal], make_deferred: Make, make_drainer: Make, database: Any
) -> None:
    # A worker is killed after it has merged a file and before it has removed it; then the next one finds that file again.
    other = open_journal()
    theirs: Deferred = make_deferred(journal=other)
    applied, expired = note("applied"), note("expired")
    theirs.put(applied)
    other.close()
    copies = {path: path.read_bytes() for path in journal.folder.glob(f"{other.boot}*")}
    assert journal.adopt() == 1
    make_drainer(make_deferred()).drain()
    database.notes.delete_many({})  # a replay would show
    for path, content in copies.items():
        path.write_bytes(content)
    assert journal.adopt() == 1
    make_drainer(make_deferred()).drain()
    assert (waiting(journal), texts(database), expired.id in dead(journal)) == ([], [], False)


def test_a_damaged_file_with_writes_is_put_aside_and_the_others_are_adopted(
    journal: Journal, open_journal: Callable[[], Journal], make_deferred: Make
) -> None:
    kept = []
    for damaged in (True, False):
        other = open_journal()
        theirs: Deferred = make_deferred(journal=other)
        kept.append(note("a"))
        theirs.put(kept[-1])
        other.close()
        if damaged:
            (path,) = journal.folder.glob(f"{other.boot}*.db")
            content = bytearray(path.read_bytes())
            content[100:200] = b"\xff" * 100
            path.write_bytes(content)
    assert (journal.adopt(), journal.dropped) == (1, 1)
    assert waiting(journal) == [kept[1].id]
    assert len(list(journal.folder.glob("*.corrupt-*"))) == 1
