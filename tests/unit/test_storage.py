"""The background writer: everything reaches MongoDB once, whatever is killed when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import orjson
import pytest
from pymongo.errors import OperationFailure, PyMongoError

from prodfix import storage as storages
from prodfix.errors import JournalUnavailable
from prodfix.journal import Journal
from prodfix.storage import CONNECTION_EVENTS, ERROR_LOG, ERROR_MINUTES, Storage

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def storage(journal: Journal, database: Any) -> Storage:
    return Storage(journal, lambda: database, retention_days=8)


def put(journal: Journal, storage: Storage, *request_ids: str) -> None:
    for request_id in request_ids:
        document = {"timestamp": datetime.now(UTC), "requestId": request_id}
        journal.write(storage.insertion(ERROR_LOG, bson.ObjectId(), document, request_id))


def count(journal: Journal, minute: int, revision: int, total: int) -> None:
    row = ("w", minute, revision, orjson.dumps([["unknown", "mobile", "/", "x", total]]))
    journal.write([("INSERT OR REPLACE INTO minutes (worker, minute, revision, counts) VALUES (?, ?, ?, ?)", row)])


def stored(database: Any) -> list[str]:
    return sorted(document["requestId"] for document in database[ERROR_LOG].find())


def unmarked(journal: Journal) -> int:
    return int(journal.read_own("SELECT count(*) FROM records WHERE stored = 0")[0][0])


def test_what_waits_is_stored_once(journal: Journal, storage: Storage, database: Any) -> None:
    put(journal, storage, "a", "b")
    storage.put(CONNECTION_EVENTS, {"timestamp": NOW, "event": "connected"})
    for _ in range(3):
        storage.tick()
    assert stored(database) == ["a", "b"]
    assert database[CONNECTION_EVENTS].count_documents({}) == 1
    assert unmarked(journal) == 0


def test_a_kill_between_the_write_and_its_mark_changes_nothing(
    journal: Journal, storage: Storage, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(journal, storage, "a", "b")
    count(journal, 1, 7, 7)
    with monkeypatch.context() as killed:

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        killed.setattr(journal, "write", die)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                storage.tick()
    put(journal, storage, "c")
    storage.tick()
    assert stored(database) == ["a", "b", "c"]
    assert [document["counts"][0][-1] for document in database[ERROR_MINUTES].find()] == [7]


def test_without_an_identity_of_its_own_a_record_would_be_there_twice(storage: Storage, database: Any) -> None:
    # The control of the test above: what MongoDB makes of the same documents without _id.
    for _ in range(2):
        database[ERROR_LOG].insert_one({"requestId": "a"})
    assert stored(database) == ["a", "a"]


def test_a_minute_is_stored_as_a_total_and_replaced_by_a_later_one(
    journal: Journal, storage: Storage, database: Any
) -> None:
    for revision, total in ((1, 1), (5, 5), (5, 5)):
        count(journal, 100, revision, total)
        storage.tick()
    (document,) = database[ERROR_MINUTES].find()
    assert document["_id"] == {"minute": 100, "worker": "w"}
    assert (document["revision"], document["counts"][0][-1]) == (5, 5)
    assert document["timestamp"] == datetime.fromtimestamp(6000, UTC)


def test_a_count_that_comes_while_its_minute_is_stored_is_stored_next(
    journal: Journal, storage: Storage, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(journal, 100, 1, 1)
    write = journal.write

    def counted_meanwhile(statements: Any, **options: Any) -> None:
        monkeypatch.undo()
        write([("UPDATE minutes SET revision = 2, counts = ?", (orjson.dumps([["u", "m", "/", "x", 2]]),))])
        write(statements, **options)

    monkeypatch.setattr(journal, "write", counted_meanwhile)
    storage.tick()
    storage.tick()
    assert [document["revision"] for document in database[ERROR_MINUTES].find()] == [2]


def test_stored_minutes_that_are_old_leave_the_disk_and_unstored_ones_do_not(
    journal: Journal, storage: Storage, fail: Any
) -> None:
    count(journal, 100, 1, 1)
    fail("update", errorCode=8000)
    with pytest.raises(PyMongoError):
        storage.tick()
    assert journal.read("SELECT minute FROM minutes") == [(100,)]
    fail.off()
    storage.tick()
    assert journal.read("SELECT minute FROM minutes") == []


def test_records_stay_readable_for_an_outage_but_not_for_ever(
    journal: Journal, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "KEPT", 2)
    put(journal, storage, "a", "b", "c")
    storage.tick()
    assert [row[0] for row in journal.read("SELECT request_id FROM records ORDER BY at")] == ["b", "c"]


def test_a_document_that_mongodb_refuses_does_not_hold_up_the_rest(
    journal: Journal, storage: Storage, database: Any
) -> None:
    database.create_collection(ERROR_LOG, validator={"requestId": {"$ne": "bad"}})
    put(journal, storage, "a", "bad", "c")
    storage.tick()
    assert (stored(database), unmarked(journal)) == (["a", "c"], 0)


def test_the_indexes_make_old_records_expire(storage: Storage, database: Any) -> None:
    storage.tick()
    for name in (ERROR_LOG, CONNECTION_EVENTS, ERROR_MINUTES):
        expiry = database[name].index_information()["prodfix_expiry"]
        assert timedelta(seconds=expiry["expireAfterSeconds"]) == timedelta(days=8)
    assert "prodfix_request" in database[ERROR_LOG].index_information()


def test_mongodb_itself_deletes_what_is_too_old(
    journal: Journal, storage: Storage, database: Any, until: Callable[..., Any]
) -> None:
    storage.put(CONNECTION_EVENTS, {"timestamp": datetime.now(UTC) - timedelta(days=9), "event": "old"})
    storage.put(CONNECTION_EVENTS, {"timestamp": datetime.now(UTC), "event": "new"})
    storage.tick()
    until(lambda: database[CONNECTION_EVENTS].distinct("event") == ["new"])


def test_an_operators_own_retention_stays(journal: Journal, storage: Storage, database: Any) -> None:
    database[ERROR_LOG].create_index([("timestamp", -1)], name="prodfix_expiry", expireAfterSeconds=60)
    put(journal, storage, "a")
    storage.tick()
    assert database[ERROR_LOG].index_information()["prodfix_expiry"]["expireAfterSeconds"] == 60
    assert stored(database) == ["a"]


def test_a_tick_tells_what_mongodb_says_and_keeps_what_waits(journal: Journal, storage: Storage, fail: Any) -> None:
    put(journal, storage, "a")
    fail("createIndexes", errorCode=13)
    with pytest.raises(OperationFailure):
        storage.tick()
    assert unmarked(journal) == 1


def test_more_than_may_wait_is_dropped_and_counted_until_there_is_room(
    journal: Journal, storage: Storage, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "WAITING", 2)
    put(journal, storage, "a", "b", "c", "d")
    assert (unmarked(journal), storage.dropped) == (2, 2)
    storage.tick()
    put(journal, storage, "e")
    storage.tick()
    assert (stored(database), storage.dropped) == (["a", "b", "e"], 2)


@pytest.mark.parametrize("trouble", [JournalUnavailable, TimeoutError])
def test_what_the_journal_refuses_is_counted(
    journal: Journal, storage: Storage, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(journal, "write", refuse)
    storage.put(CONNECTION_EVENTS, {"timestamp": NOW})
    assert storage.dropped == 1


def test_an_earlier_revision_that_is_adopted_late_does_not_replace_a_later_one(
    journal: Journal, storage: Storage, database: Any
) -> None:
    for worker, revision in (("w", 8), ("w", 5), ("x", 1)):
        row = (worker, 100, revision, orjson.dumps([["u", "m", "/", "x", revision]]))
        journal.write([("INSERT OR REPLACE INTO minutes (worker, minute, revision, counts) VALUES (?, ?, ?, ?)", row)])
        if revision != 5:
            storage.tick()
    assert sorted(document["revision"] for document in database[ERROR_MINUTES].find()) == [1, 8]
    assert journal.read_own("SELECT revision FROM minutes WHERE stored < revision") == []


def test_without_a_disk_everything_reaches_mongodb_all_the_same(tmp_path: Path, database: Any) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file")
    journal.open()
    storage = Storage(journal, lambda: database, retention_days=8)
    put(journal, storage, "a", "b")
    count(journal, 100, 3, 3)
    for _ in range(2):
        storage.tick()
    assert (stored(database), storage.dropped, unmarked(journal)) == (["a", "b"], 0, 0)
    assert [document["counts"][0][-1] for document in database[ERROR_MINUTES].find()] == [3]
    journal.close()


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", {"a\0b": 1}, {1: 2}], ids=ascii)
def test_what_bson_cannot_hold_is_kept_in_a_form_that_it_can(storage: Storage, database: Any, value: Any) -> None:
    storage.put(CONNECTION_EVENTS, {"timestamp": NOW, "event": value})
    storage.tick()
    (document,) = database[CONNECTION_EVENTS].find()
    assert (document["timestamp"], storage.dropped) == (NOW, 0)


def test_what_a_dead_worker_left_is_stored_too(
    open_journal: Callable[[], Journal], journal: Journal, storage: Storage, database: Any
) -> None:
    dead = open_journal()
    put(dead, Storage(dead, lambda: database, retention_days=8), "a")
    dead.close()
    storage.tick()
    assert stored(database) == ["a"]
