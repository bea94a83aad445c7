"""Files of dead workers are adopted with all that they hold, and nothing comes back that has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prodfix.deferral.drainer import Drainer
from prodfix.deferral.queue import DeferredQueue
from prodfix.journal.journal import Journal
from tests.support.deferred_notes import dead, note, texts, waiting

Make = Callable[..., Any]


def test_all_of_a_dead_workers_writes_come_along(
    journal: Journal, open_journal: Callable[[], Journal], make_deferred: Make, make_drainer: Make, database: Any
) -> None:
    other = open_journal()
    theirs: DeferredQueue = make_deferred(journal=other)
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
    theirs: DeferredQueue = make_deferred(journal=other)
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


def test_of_a_damaged_file_what_is_whole_is_adopted_with_the_others_and_it_is_put_aside(
    journal: Journal, open_journal: Callable[[], Journal], make_deferred: Make
) -> None:
    kept = []
    for damaged in (True, False):
        other = open_journal()
        theirs: DeferredQueue = make_deferred(journal=other)
        kept.append(note("a"))
        theirs.put(kept[-1])
        other.close()
        if damaged:
            (path,) = journal.folder.glob(f"{other.boot}*.db")
            content = bytearray(path.read_bytes())
            content[100:200] = b"\xff" * 100
            path.write_bytes(content)
    assert (journal.adopt(), journal.quarantine.files) == (1, 1)
    assert sorted(waiting(journal)) == sorted(write.id for write in kept)
    assert len(list(journal.folder.glob("*.corrupt-*[0-9]"))) == 1
