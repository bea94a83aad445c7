"""A database that takes nothing more: our own writing stops first, says so once, and goes on by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from flask import Flask
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure, WriteError

from prodfix.journal.journal import Journal
from prodfix.records import storage_refusal as module
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.records.storage import Storage
from prodfix.records.storage_refusal import StorageRefusal, refused
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.windows import Windows
from tests.support.counting_worker import Clock
from tests.support.scripted_server import ScriptedServer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OperationFailure("you are over your space quota", 8000), "OVER_QUOTA"),
        (OperationFailure("x", 14031), "DISK_FULL"),
        (OperationFailure("not authorized on db", 13), "NOT_AUTHORIZED"),
        (OperationFailure("blocked", 371), "WRITES_BLOCKED"),
        (OperationFailure("read-only", 20), "READ_ONLY"),
        (OperationFailure("x", 8, {"errmsg": "WT_PANIC: No space left on device"}), "DISK_FULL"),
        (WriteError("x", 14031), "DISK_FULL"),
        (BulkWriteError({"writeErrors": [{"index": 0, "code": 8000, "errmsg": "over quota"}]}), "OVER_QUOTA"),
        (BulkWriteError({"writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000"}]}), None),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 14031}]}), "DISK_FULL"),
        (OperationFailure("x", 11600), None),
        (AutoReconnect("connection closed"), None),
        (ValueError("No space left on device"), None),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_a_refusal_of_all(error: Exception, reason: str | None) -> None:
    assert refused(error) == reason


def test_it_is_said_once_and_tried_at_growing_intervals(clock: Clock) -> None:
    told: list[str | None] = []
    refusal = StorageRefusal(told.append, clock=clock)
    pauses = []
    for _ in range(10):
        assert refusal.noticed(OperationFailure("x", 8000))
        begun = clock.now
        while refusal.waits:
            clock.now += 1
        pauses.append(clock.now - begun)
    assert told == ["OVER_QUOTA"]
    assert refusal.since is not None
    assert pauses[0] <= 11
    assert all(later > before for before, later in itertools.pairwise(pauses[:6]))
    assert max(pauses) <= module.LONGEST + 1
    assert not refusal.noticed(AutoReconnect("x"))
    refusal.over()
    refusal.over()
    assert (told, refusal.reason, refusal.since) == (["OVER_QUOTA", None], None, None)


class Full:
    """A server that answers everything, and takes nothing while it is ``full``."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        self.full, self._reply = True, reply
        self.taken: list[str] = []

    def __call__(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        name = next(iter(command))
        if name in ("insert", "update", "createIndexes", "findAndModify", "delete"):
            if self.full and name == "insert":
                return {**self._reply, "n": 0}
            self.taken.append(str(command[name]))
            return {"ok": 1, "n": 1}
        return {
            "ok": 1,
            "count": 0,
            "size": 0,
            "totalIndexSize": 0,
            "cursor": {"id": bson.Int64(0), "ns": "scripted.x", "firstBatch": []},
            "values": [],
        }


REPLIES: list[Mapping[str, Any]] = [
    {"ok": 0, "code": 8000, "codeName": "AtlasError", "errmsg": "you are over your space quota, using 513 MB of 512 MB"},
    {"ok": 1, "writeErrors": [{"index": 0, "code": 14031, "errmsg": "out of disk space"}]},
    {"ok": 0, "code": 1, "codeName": "InternalError", "errmsg": "28: No space left on device"},
    {"ok": 0, "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on prodfix to execute command"},
]  # fmt: skip


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: str(reply.get("code", "writeErrors")))
def test_our_writing_stops_and_what_waits_is_stored_later(
    journal: Journal, clock: Clock, reply: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []
    answers = Full(reply)
    with ScriptedServer(answers) as server, MongoClient(server.uri, tz_aware=True, retryWrites=False) as client:
        database = client["scripted"]
        windows = Windows(journal, lambda: database)
        parts = Minutes(journal, windows), Groups(lambda: database)
        storage = Storage(journal, lambda: database, *parts, retention_days=8, period=0, report=told.append)
        storage.refusal._clock = clock
        document = {"timestamp": datetime.now(UTC), "requestId": "r"}
        journal.write(storage.insertion(ERROR_LOG, bson.ObjectId(), document, "r"))
        assert not storage.tick()
        sent = len(server.commands)
        for _ in range(5):
            assert not storage.tick()
        assert len(server.commands) == sent, "nothing is sent while it waits"
        waiting = "SELECT count(*) FROM records WHERE stored = 0"
        status = storage.status()
        assert (journal.read_own(waiting), status.waiting, storage.dropped) == ([(1,)], 1, 0)
        assert status.refused == told[0] is not None
        database.of_the_application.update_one({}, {"$set": {"a": 1}})  # nothing of ours is in its way
        answers.full = False
        clock.now += 2 * module.FIRST
        assert storage.tick()
    assert ERROR_LOG in answers.taken
    assert (journal.read_own(waiting), len(told), told[1]) == ([(0,)], 2, None)
    assert storage.status().refused is None


def test_it_is_told_once_also_while_nothing_is_due(journal: Journal, clock: Clock) -> None:
    told: list[str | None] = []
    refusing = True

    def answer(command: Mapping[str, Any]) -> Mapping[str, Any]:
        name = next(iter(command))
        if refusing and name in ("insert", "update", "delete", "findAndModify"):
            return REPLIES[0]
        nothing = {"id": bson.Int64(0), "ns": "scripted.x", "firstBatch": []}
        return {"ok": 1, "n": 1, "cursor": nothing, "values": []}

    with ScriptedServer(answer) as server, MongoClient(server.uri, tz_aware=True, retryWrites=False) as client:
        database = client["scripted"]
        windows = Windows(journal, lambda: database)
        parts = Minutes(journal, windows), Groups(lambda: database)
        # Records wait for others for as long as the first pause lasts at most, and then for nothing: none is left.
        storage = Storage(journal, lambda: database, *parts, retention_days=8, report=told.append, clock=clock)
        storage.refusal._clock = clock
        journal.write(storage.insertion(ERROR_LOG, bson.ObjectId(), {"timestamp": datetime.now(UTC)}, "r"))
        for _ in range(100):
            assert not storage.tick()
            clock.now += 1
        journal.write([("DELETE FROM records", ())])
        for _ in range(700):
            assert not storage.tick()
            clock.now += 1
        assert (told, storage.status().refused) == (["OVER_QUOTA"], "OVER_QUOTA")
        refusing = False  # the control
        for _ in range(700):
            storage.tick()
            clock.now += 1
    assert told == ["OVER_QUOTA", None]


def test_a_document_that_is_refused_alone_is_none(journal: Journal) -> None:
    # The control: of one document only, MongoDB takes all others.
    assert refused(BulkWriteError({"writeErrors": [{"index": 0, "code": 121, "errmsg": "validation"}]})) is None


@pytest.mark.parametrize("waiting", [3])
def test_what_waits_meanwhile_is_bounded(
    tmp_path: Path, open_journal: Callable[[], Journal], waiting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prodfix.records import storage as storages

    monkeypatch.setattr(storages, "WAITING", waiting)
    journal = open_journal()
    windows = Windows(journal, lambda: None)
    storage = Storage(journal, lambda: None, Minutes(journal, windows), Groups(lambda: None), retention_days=8)  # type: ignore[arg-type, return-value]
    storage.refusal.hold("DISK_FULL")
    for number in range(10):
        document = {"timestamp": datetime.now(UTC), "requestId": str(number)}
        journal.write(storage.insertion(ERROR_LOG, bson.ObjectId(), document, str(number)))
        assert not storage.tick()
    kept = [row[0] for row in journal.read("SELECT request_id FROM records ORDER BY at")]
    assert (kept, storage.dropped) == (["7", "8", "9"], 7)


def test_the_applications_own_writes_go_on_and_all_is_said(
    adopt: Callable[..., Flask], fail: Any, database_uri: str, until: Callable[..., Any]
) -> None:
    services = adopt(mongodb_uri=SecretStr(database_uri)).extensions["prodfix"]
    services.start()
    until(lambda: services.errors.storage.indexes.made)
    fail("insert", "update", "findAndModify", app_name="prodfix-own", errorCode=8000)
    services.errors.log.log_error(RuntimeError("canary"))
    until(lambda: services.diagnostics.report.instance().storage.refused == "OVER_QUOTA")
    services.db.notes.insert_one({"a": 1})
    status = services.diagnostics.report.instance().storage
    assert (services.db.notes.count_documents({}), status.waiting >= 1, status.since is not None) == (1, True, True)
    assert services.database.monitor.health().healthy
    assert len(services.errors.lookup.errors().records) == 1, "a journal has it"
    assert services.db[ERROR_LOG].count_documents({}) == 0  # the control: it was refused
    fail.off()
    services.errors.storage.refusal._next = 0.0
    until(lambda: services.db[ERROR_LOG].count_documents({}) == 1)
    until(lambda: services.diagnostics.report.instance().storage.refused is None)
