"""The background writer: everything reaches MongoDB once, whatever is killed when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import orjson
import pytest
from pymongo.errors import OperationFailure

from prodfix.journal.journal import Journal
from prodfix.records import storage as storages
from prodfix.records.record_indexes import CONNECTION_EVENTS, ERROR_LOG
from prodfix.records.storage import Storage
from prodfix.statistics.groups import ERROR_GROUPS, Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.windows import ERROR_HOURS, ERROR_MINUTES, Windows
from tests.support.recorded_commands import Commands
from tests.support.stored_counts import revisions, states, window_of

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = int(NOW.timestamp() // 60)


def make_storage(journal: Journal, database: Any, **options: Any) -> Storage:
    windows = Windows(journal, lambda: database)
    parts = Minutes(journal, windows, period=0.0), Groups(lambda: database)
    return Storage(journal, lambda: database, *parts, retention_days=8, **{"period": 0.0} | options)


@pytest.fixture
def storage(journal: Journal, database: Any) -> Storage:
    return make_storage(journal, database)


def put(journal: Journal, storage: Storage, *request_ids: str) -> None:
    for request_id in request_ids:
        document = {"timestamp": datetime.now(UTC), "requestId": request_id}
        journal.write(storage.insertion(ERROR_LOG, bson.ObjectId(), document, request_id))


def count(journal: Journal, total: int, *, minute: int = MINUTE) -> None:
    """Errors of a minute: this one, which the test may take a minute for."""
    row = ["unknown", "mobile", "/", "f", "x", total, NOW.timestamp(), NOW.timestamp(), ["v1"]]
    values = ("w", minute, total, orjson.dumps([row]), b"{}")
    columns = "(worker, minute, revision, errors, traffic)"
    journal.write([(f"INSERT OR REPLACE INTO minutes {columns} VALUES (?, ?, ?, ?, ?)", values)])


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
    count(journal, 7)
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
    assert window_of(*states(database)).counts.total_errors == 7
    assert [(group["_id"], group["releases"]) for group in database[ERROR_GROUPS].find()] == [("f", ["v1"])]


def test_without_an_identity_of_its_own_a_record_would_be_there_twice(storage: Storage, database: Any) -> None:
    # The control of the test above: what MongoDB makes of the same documents without _id.
    for _ in range(2):
        database[ERROR_LOG].insert_one({"requestId": "a"})
    assert stored(database) == ["a", "a"]


def test_a_count_that_comes_while_its_minute_is_stored_is_stored_next(
    journal: Journal, storage: Storage, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(journal, 1)
    write = journal.write

    def counted_meanwhile(statements: Any, **options: Any) -> None:
        monkeypatch.undo()
        count(journal, 2)
        write(statements, **options)

    monkeypatch.setattr(journal, "write", counted_meanwhile)
    storage.tick()
    storage.tick()
    assert revisions(database) == [("w", MINUTE, 2)]


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
    kept = {name: timedelta(days=8) for name in (ERROR_LOG, CONNECTION_EVENTS, ERROR_HOURS)}
    kept |= {ERROR_MINUTES: timedelta(hours=50), ERROR_GROUPS: timedelta(days=90)}
    for name, time in kept.items():
        expiry = database[name].index_information()["prodfix_expiry"]
        assert timedelta(seconds=expiry["expireAfterSeconds"]) == time
    assert "prodfix_request" in database[ERROR_LOG].index_information()


@pytest.mark.parametrize("live", [True, False])
def test_while_requests_use_the_database_records_are_stored_a_few_at_a_time(
    journal: Journal, connect: Callable[..., Any], commands: Commands, live: bool
) -> None:
    storage = make_storage(journal, connect(event_listeners=[commands]).get_default_database(), live=lambda: live)
    names = [f"{number:02}" for number in range(30)]
    for name in names:
        put(journal, storage, name)
    while unmarked(journal):  # a slow machine needs more than one
        storage.tick()
    sizes = [len(command["documents"]) for command in commands.sent if command.get("insert") == ERROR_LOG]
    assert (sum(sizes), sizes[0]) == (30, storages.TOGETHER if live else 30)


def test_mongodb_itself_deletes_what_is_too_old(journal: Journal, sweeping: Any, until: Callable[..., Any]) -> None:
    storage, database = make_storage(journal, sweeping), sweeping
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
    fail("createIndexes", errorCode=2)
    with pytest.raises(OperationFailure):
        storage.tick()
    assert unmarked(journal) == 1


def test_what_the_journal_refuses_is_counted_there(journal: Journal, storage: Storage) -> None:
    journal.close()
    storage.put(CONNECTION_EVENTS, {"timestamp": NOW})
    assert (storage.dropped, journal.lost) == (0, 1)


def test_what_is_no_document_is_counted(journal: Journal, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OverflowError

    monkeypatch.setattr(storages, "encoded", refuse)
    storage.put(CONNECTION_EVENTS, {"timestamp": NOW})
    assert (storage.dropped, journal.lost) == (1, 0)


def test_without_a_disk_everything_reaches_mongodb_all_the_same(tmp_path: Path, database: Any) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file")
    journal.open()
    storage = make_storage(journal, database)
    put(journal, storage, "a", "b")
    count(journal, 3, minute=MINUTE - 2)  # one that may still grow waits: this process has no name that it keeps
    for _ in range(2):
        storage.tick()
    assert (stored(database), storage.dropped, unmarked(journal)) == (["a", "b"], 0, 0)
    assert window_of(*states(database)).counts.total_errors == 3
    journal.close()


@pytest.mark.parametrize(
    "value", [pytest.param(object(), id="object"), 2**70, "\ud800", {"a\0b": 1}, {1: 2}], ids=ascii
)
def test_what_bson_cannot_hold_is_kept_in_a_form_that_it_can(storage: Storage, database: Any, value: Any) -> None:
    storage.put(CONNECTION_EVENTS, {"timestamp": NOW, "event": value})
    storage.tick()
    (document,) = database[CONNECTION_EVENTS].find()
    assert (document["timestamp"], storage.dropped) == (NOW, 0)


def test_what_a_dead_worker_left_is_stored_too(
    open_journal: Callable[[], Journal], journal: Journal, storage: Storage, database: Any
) -> None:
    dead = open_journal()
    put(dead, make_storage(dead, database), "a")
    dead.close()
    storage.tick()
    assert stored(database) == ["a"]


def requests(journal: Journal) -> list[str]:
    return [row[0] for row in journal.read("SELECT request_id FROM records ORDER BY at")]


def test_when_they_are_too_large_together_the_oldest_go_and_are_counted(
    journal: Journal, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "LARGEST_WAITING", 200_000)
    for number in range(40):
        document = {"timestamp": NOW, "requestId": str(number), "stack": "x" * 10_000}
        journal.write(storage.insertion(ERROR_LOG, bson.ObjectId(), document, str(number)))
        ((held, size),) = journal.read_own("SELECT count(*), sum(length(entry)) FROM records")
        assert (size <= 200_000, held + storage.dropped) == (True, number + 1)
    assert storage.dropped >= 20
    kept = [int(row[0]) for row in journal.read_own("SELECT request_id FROM records ORDER BY at")]
    assert kept == list(range(storage.dropped, 40)), "the newest stay"


def test_when_too_many_wait_the_oldest_goes_and_is_counted_until_there_is_room(
    journal: Journal, storage: Storage, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "WAITING", 2)
    put(journal, storage, "a", "b", "c", "d")
    assert (requests(journal), storage.dropped) == (["c", "d"], 2)
    storage.tick()
    put(journal, storage, "e")
    storage.tick()
    assert (stored(database), storage.dropped) == (["c", "d", "e"], 2)


def test_what_is_stored_already_does_not_make_room_by_going(
    journal: Journal, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(journal, storage, "stored")
    storage.tick()
    monkeypatch.setattr(storages, "WAITING", 1)
    put(journal, storage, "a", "b")
    assert (requests(journal), storage.dropped) == (["stored", "b"], 1)


def test_what_dead_workers_left_does_not_grow_while_it_cannot_be_stored(
    open_journal: Callable[[], Journal], journal: Journal, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "WAITING", 3)
    for letter in "abcd":
        dead = open_journal()
        put(dead, make_storage(dead, None), letter + "1", letter + "2")
        dead.close()
        storage.adopt()
    assert (requests(journal), storage.dropped) == (["c2", "d1", "d2"], 5)
    put(journal, storage, "e")
    assert (requests(journal), storage.dropped) == (["d1", "d2", "e"], 6)


def test_files_of_dead_workers_are_looked_for_when_one_is_gone_and_now_and_then(
    open_journal: Callable[[], Journal], journal: Journal, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[frozenset[str] | None] = [None]
    storage = make_storage(journal, database, siblings=lambda: alive[0])

    def die(name: str) -> None:
        dead = open_journal()
        put(dead, make_storage(dead, None), name)
        dead.close()

    die("nobody can say")
    storage.tick()
    alive[0] = frozenset("ab")
    die("another number")
    storage.tick()  # and once more, as there was one
    storage.tick()
    die("the same")
    storage.tick()
    assert stored(database) == ["another number", "nobody can say"]
    alive[0] = frozenset("a")
    storage.tick()
    assert "the same" in stored(database), "the control"
    storage.tick()
    die("later")
    storage.tick()
    assert "later" not in stored(database)
    monkeypatch.setattr(storage._left, "_again", 0.0)
    storage.tick()
    assert "later" in stored(database)
