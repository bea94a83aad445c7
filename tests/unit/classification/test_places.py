"""A reply that cannot be decoded is an error of its operation; a document that cannot be encoded is the client's."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import bson
import pytest
from bson import CodecOptions, Int64
from bson.codec_options import TypeDecoder, TypeRegistry
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError, InvalidBSON, InvalidDocument, InvalidId
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, MongoClient
from pymongo.errors import ProtocolError

from prodfix import classify
from prodfix.classification.places import unreadable
from prodfix.errors import DeadlineExceeded
from tests.support.scripted_server import ScriptedServer

FAR = DatetimeMS(2**60)  # MongoDB's dates go further than Python's
TEXT = "canary-text"


def batch(document: Any, name: str = "firstBatch", cursor: int = 0) -> dict[str, Any]:
    return {"ok": 1, "cursor": {"id": Int64(cursor), "ns": "scripted.t", name: [document]}}


def answer(command: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
    """What the name of the collection asks for."""
    name, target = next(iter(command.items()))
    if name == "getMore":
        return batch({"at": FAR}, "nextBatch")
    if name == "find" and target == "more":
        return batch({"_id": 1}, cursor=5)
    if name in ("find", "aggregate"):
        whole = bson.encode(batch({"at": FAR} if target in ("date", 1) else {"_id": Int64(1), "text": TEXT}))
        return {
            "text": whole.replace(TEXT.encode(), b"\xff" * len(TEXT)),
            "type": whole.replace(b"\x02text\0", b"\x7atext\0"),
            "length": whole.replace(struct.pack("<i", len(TEXT) + 1), struct.pack("<i", 2**30)),
        }.get(str(target), whole)
    if name == "findAndModify":
        return {"ok": 1, "value": {"at": FAR}, "lastErrorObject": {}}
    if name == "distinct":
        return {"ok": 1, "values": [FAR]}
    return {"ok": 1, "n": 1, "extra": FAR}


class Broken(TypeDecoder):
    """An application's own, with a bug."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> Any:
        return bson.ObjectId(str(value))  # which raises what a client's bad ID raises


@pytest.fixture(scope="module")
def database() -> Iterator[Any]:
    with ScriptedServer(answer) as server, MongoClient(server.uri) as client:
        yield client["scripted"]


def caught(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it did not fail")


OWN: CodecOptions[Any] = CodecOptions(type_registry=TypeRegistry([Broken()]))
READS: dict[str, Callable[[Any], Any]] = {
    "a date": lambda db: db.date.find_one(),
    "a text": lambda db: list(db.text.find()),
    "a type": lambda db: db.type.find_one(),
    "a length": lambda db: db.length.find_one(),
    "a later batch": lambda db: list(db.more.find()),
    "aggregate": lambda db: list(db.date.aggregate([])),
    "distinct": lambda db: db.date.distinct("at"),
    "command": lambda db: db.command("find", "date"),
    "an application's decoder": lambda db: db.get_collection("fine", OWN).find_one(),
    "a raw document, later": lambda db: db.get_collection("date", CodecOptions(RawBSONDocument)).find_one()["at"],
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "find and modify": lambda db: db.fine.find_one_and_update({}, {"$set": {"a": 1}}),
    "insert": lambda db: db.fine.insert_one({}),
    "update": lambda db: db.fine.update_one({}, {"$set": {"a": 1}}),
    "bulk": lambda db: db.fine.bulk_write([InsertOne({})]),
}


@pytest.mark.parametrize("name", [*READS, *WRITES])
def test_a_reply_that_cannot_be_decoded_is_an_error_of_the_operation_whose_end_nobody_knows(
    database: Any, name: str
) -> None:
    error = caught(lambda: {**READS, **WRITES}[name](database))
    meaning = classify(error)
    assert (meaning.code, meaning.status, meaning.outcome) == ("DATABASE_ERROR", 500, "unknown")
    assert unreadable(error)
    assert TEXT not in repr(meaning)


ENCODED: dict[str, Callable[[Any], Any]] = {
    "an object": lambda db: db.fine.insert_one({"a": object()}),
    "a number": lambda db: db.fine.insert_one({"a": 2**70}),
    "a number in a filter": lambda db: db.fine.find_one({"a": 2**70}),
    "half a pair": lambda db: db.fine.insert_one({"a": "\ud800"}),
    "half a pair in a filter": lambda db: db.fine.find_one({"a": "\ud800"}),
    "half a pair in many": lambda db: db.fine.bulk_write([InsertOne({"a": "\ud800"})]),
    "half a pair, encoded by the view": lambda db: bson.encode({"a": "\ud800"}),
    "a key": lambda db: db.fine.insert_one({"a\0": 1}),
    "many": lambda db: db.fine.bulk_write([InsertOne({"a": object()})]),
    "an ID": lambda db: db.fine.find_one({"_id": bson.ObjectId("canary")}),
}


@pytest.mark.parametrize("name", ENCODED)
def test_what_bson_cannot_hold_is_the_clients_and_no_reply(database: Any, name: str) -> None:
    error = caught(lambda: ENCODED[name](database))
    assert classify(error).code == "VALIDATION_FAILED"
    assert not unreadable(error)


def test_half_a_pair_that_is_encoded_elsewhere_is_a_defect() -> None:
    assert classify(caught("\ud800".encode)).code == "INTERNAL_ERROR"


def test_the_type_alone_says_it_where_no_frame_does() -> None:
    assert unreadable(InvalidBSON("x"))
    assert unreadable(ProtocolError("x"))
    wrapper = RuntimeError()
    wrapper.__cause__ = InvalidBSON("x")
    assert unreadable(wrapper)
    for error in (
        BSONError("x"),
        InvalidDocument("x"),
        InvalidId("x"),
        OverflowError(),
        ValueError(),
        DeadlineExceeded(),
    ):
        assert not unreadable(error)
