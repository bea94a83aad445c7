"""While nothing answers, the driver publishes no event: its frames still tell operation and collection."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import bson
import pymongo
import pytest
from bson import SON, DBRef
from bson.raw_bson import RawBSONDocument
from flask import Flask
from flask_pymongo import PyMongo
from pymongo import IndexModel, InsertOne, MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.command_cursor import CommandCursor
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener
from pymongo.operations import SearchIndexModel

from prodfix.operations.frames import database_operation, places, stack
from prodfix.operations.operation import DatabaseOperation

CANARY = "canary7f3a"
URI = "mongodb://127.0.0.1:1/app?serverSelectionTimeoutMS=0&connectTimeoutMS=1"


class Listener(CommandListener):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def started(self, event: Any) -> None:
        self.events.append(event)

    succeeded = failed = started


@pytest.fixture(scope="module")
def client() -> Iterator[MongoClient[Any]]:
    with MongoClient(URI) as dead:
        yield dead


@pytest.fixture
def database(client: MongoClient[Any]) -> Database[Any]:
    return client["app"]


def ended(call: Callable[[], Any]) -> DatabaseOperation:
    """The operation that a call against a dead port ended."""
    with pytest.raises(PyMongoError) as caught:
        call()
    operation = database_operation(caught.value)
    assert operation is not None
    return operation


F, D, U = {"owner": CANARY}, {"text": CANARY}, {"$set": {"text": CANARY}}
SEARCH = SearchIndexModel({"mappings": {"dynamic": True}}, "s")
CALLS: dict[str, tuple[str, Callable[[Collection[Any]], Any]]] = {
    "aggregate": ("aggregate", lambda c: c.aggregate([{"$match": F}])),
    "aggregate_raw_batches": ("aggregate", lambda c: c.aggregate_raw_batches([{"$match": F}])),
    "bulk_write": ("bulkWrite", lambda c: c.bulk_write([InsertOne(D), UpdateOne(F, U)])),
    "count_documents": ("aggregate", lambda c: c.count_documents(F)),
    "create_index": ("createIndexes", lambda c: c.create_index("a")),
    "create_indexes": ("createIndexes", lambda c: c.create_indexes([IndexModel("a")])),
    "create_search_index": ("createSearchIndexes", lambda c: c.create_search_index(SEARCH)),
    "create_search_indexes": ("createSearchIndexes", lambda c: c.create_search_indexes([SEARCH])),
    "delete_many": ("delete", lambda c: c.delete_many(F)),
    "delete_one": ("delete", lambda c: c.delete_one(F)),
    "distinct": ("distinct", lambda c: c.distinct("a", F)),
    "drop": ("drop", lambda c: c.drop()),
    "drop_index": ("dropIndexes", lambda c: c.drop_index("a")),
    "drop_indexes": ("dropIndexes", lambda c: c.drop_indexes()),
    "drop_search_index": ("dropSearchIndex", lambda c: c.drop_search_index("s")),
    "estimated_document_count": ("count", lambda c: c.estimated_document_count()),
    "find": ("find", lambda c: list(c.find(F))),
    "find_one": ("find", lambda c: c.find_one(F)),
    "find_one_and_delete": ("findAndModify", lambda c: c.find_one_and_delete(F)),
    "find_one_and_replace": ("findAndModify", lambda c: c.find_one_and_replace(F, D)),
    "find_one_and_update": ("findAndModify", lambda c: c.find_one_and_update(F, U)),
    "find_raw_batches": ("find", lambda c: list(c.find_raw_batches(F))),
    "index_information": ("listIndexes", lambda c: c.index_information()),
    "insert_many": ("insert", lambda c: c.insert_many([dict(D)])),
    "insert_one": ("insert", lambda c: c.insert_one(dict(D))),
    "list_indexes": ("listIndexes", lambda c: c.list_indexes()),
    "list_search_indexes": ("aggregate", lambda c: c.list_search_indexes()),
    "options": ("listCollections", lambda c: c.options()),
    "rename": ("renameCollection", lambda c: c.rename("other")),
    "replace_one": ("update", lambda c: c.replace_one(F, D)),
    "update_many": ("update", lambda c: c.update_many(F, U)),
    "update_one": ("update", lambda c: c.update_one(F, U)),
    "update_search_index": ("updateSearchIndex", lambda c: c.update_search_index("s", {})),
    "watch": ("aggregate", lambda c: c.watch()),
}


def methods(kind: type, *local: str) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"} - {
        "next",
        "with_options",
        *local,
    }


def test_every_method_of_a_collection_is_tried() -> None:
    assert set(CALLS) == methods(Collection)


@pytest.mark.parametrize(("expected", "call"), CALLS.values(), ids=CALLS)
def test_a_method_of_a_collection_that_reaches_nobody_is_known(database: Any, expected: str, call: Any) -> None:
    operation = ended(lambda: call(database["notes"]))
    assert (operation.operation, operation.collection) == (expected, "notes")
    assert CANARY not in str(operation)


def test_the_drivers_own_events_would_tell_nothing() -> None:
    listener = Listener()
    with MongoClient(URI, event_listeners=[listener]) as client:
        for _, call in CALLS.values():
            with pytest.raises(PyMongoError):
                call(client["app"]["notes"])
    assert listener.events == []


DATABASE_CALLS: dict[str, tuple[str, str | None, Callable[[Database[Any]], Any]]] = {
    "aggregate": ("aggregate", None, lambda d: d.aggregate([{"$currentOp": {}}])),
    "command": ("collStats", "notes", lambda d: d.command("collStats", "notes")),
    "cursor_command": ("find", "notes", lambda d: d.cursor_command("find", "notes", filter=F)),
    "create_collection": ("create", "notes", lambda d: d.create_collection("notes")),
    "dereference": ("find", "notes", lambda d: d.dereference(DBRef("notes", 1))),
    "drop_collection": ("drop", "notes", lambda d: d.drop_collection("notes")),
    "list_collection_names": ("listCollections", None, lambda d: d.list_collection_names()),
    "list_collections": ("listCollections", None, lambda d: d.list_collections()),
    "validate_collection": ("validate", "notes", lambda d: d.validate_collection("notes")),
    "watch": ("aggregate", None, lambda d: d.watch()),
}
MORE_DATABASE_CALLS: dict[str, tuple[str, str | None, Callable[[Database[Any]], Any]]] = {
    "command of a dict": ("find", "notes", lambda d: d.command({"find": "notes", "filter": F})),
    "command of a SON": ("update", "notes", lambda d: d.command(SON([("update", "notes"), ("updates", [{"q": F}])]))),
    "ping": ("ping", None, lambda d: d.command("ping")),
    "drop_collection of an object": ("drop", "notes", lambda d: d.drop_collection(d["notes"])),
    "validate_collection of an object": ("validate", "notes", lambda d: d.validate_collection(d["notes"])),
    "a dotted collection": ("find", "notes.archive", lambda d: d.notes.archive.find_one()),
}


def test_every_method_of_a_database_is_tried() -> None:
    assert set(DATABASE_CALLS) == methods(Database, "get_collection")


@pytest.mark.parametrize(
    ("expected", "collection", "call"),
    [*DATABASE_CALLS.values(), *MORE_DATABASE_CALLS.values()],
    ids=[*DATABASE_CALLS, *MORE_DATABASE_CALLS],
)
def test_a_method_of_a_database_that_reaches_nobody_is_known(
    database: Any, expected: str, collection: Any, call: Any
) -> None:
    operation = ended(lambda: call(database))
    assert (operation.operation, operation.collection) == (expected, collection)
    assert CANARY not in str(operation)


def cursor_of(database: Database[Any]) -> CommandCursor[Any]:
    """A cursor of which the server has more, and is gone."""
    return CommandCursor(database["notes"], {"id": 7, "ns": "app.notes", "firstBatch": []}, ("127.0.0.1", 1))


OTHERS: dict[str, tuple[str, str | None, Callable[[MongoClient[Any]], Any]]] = {
    "next": ("find", "notes", lambda c: c.app.notes.find(F).next()),
    "for": ("find", "notes", lambda c: [x for x in c.app.notes.find(F).sort("a").limit(3)]),
    "explain": ("find", "notes", lambda c: c.app.notes.find(F).explain()),
    "getMore": ("getMore", "notes", lambda c: cursor_of(c.app).next()),
    "client.bulk_write": ("bulkWrite", "notes,users", lambda c: c.bulk_write(
        [InsertOne(dict(D), namespace="app.notes"), InsertOne(dict(D), namespace="app.users")])),
    "client.watch": ("aggregate", None, lambda c: c.watch()),
    "client.drop_database": ("dropDatabase", None, lambda c: c.drop_database("app")),
    "client.list_database_names": ("listDatabases", None, lambda c: c.list_database_names()),
    "client.server_info": ("buildInfo", None, lambda c: c.server_info()),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "collection", "call"), OTHERS.values(), ids=OTHERS)
def test_a_cursor_or_client_that_reaches_nobody_is_known(
    client: Any, expected: str, collection: Any, call: Any
) -> None:
    operation = ended(lambda: call(client))
    assert (operation.operation, operation.collection) == (expected, collection)
    assert CANARY not in str(operation)


def test_in_a_transaction_the_operation_is_the_one_that_failed(client: MongoClient[Any]) -> None:
    def write(session: ClientSession) -> None:
        client.app.notes.insert_one(dict(D), session=session)

    with client.start_session() as session, pymongo.timeout(0.01):
        operation = ended(lambda: session.with_transaction(write))
    assert (operation.operation, operation.collection) == ("insert", "notes")


def test_the_subclasses_of_flask_pymongo_are_known() -> None:
    mongo = PyMongo(app := Flask(__name__), URI)
    assert type(mongo.db.notes) is not Collection
    with app.app_context():
        for expected, call in CALLS.values():
            operation = ended(lambda call=call: call(mongo.db.notes))
            assert (operation.operation, operation.collection) == (expected, "notes")
        operation = ended(lambda: mongo.db.notes.find_one_or_404(F))
    assert (operation.operation, operation.collection) == ("find", "notes")
    mongo.cx.close()


def test_the_shape_of_the_query_is_known_and_holds_no_value(database: Database[Any]) -> None:
    operation = ended(lambda: database.notes.update_one({"owner": CANARY, "n": {"$gt": 5}}, U))
    assert operation.query == {
        "update": "notes",
        "filter": {"owner": "?str", "n": {"$gt": "?int"}},
        "u": {"$set": {"text": "?str"}},
    }


def test_a_document_that_is_no_bson_hides_nothing(database: Database[Any]) -> None:
    broken = RawBSONDocument(b"\x0d\x00\x00\x00\x7fa\x00abcd\x00\x00")
    operation = ended(lambda: database.notes.insert_many([broken]))
    assert (operation.operation, operation.collection) == ("insert", "notes")


class Wrapped(Exception):
    """An application's own."""


def test_an_error_that_an_application_wrapped_is_still_known(database: Database[Any]) -> None:
    def view() -> None:
        try:
            database.notes.find_one(F)
        except PyMongoError as error:
            raise Wrapped from error

    with pytest.raises(Wrapped) as caught:
        view()
    operation = database_operation(caught.value)
    assert operation is not None
    assert (operation.operation, operation.collection) == ("find", "notes")


@pytest.mark.parametrize("error", [ValueError(), OperationFailure("never raised")])
def test_an_error_that_never_was_in_the_driver_has_no_operation(error: Exception) -> None:
    assert database_operation(error) is None


def test_an_error_of_bson_outside_the_driver_has_no_operation() -> None:
    with pytest.raises(bson.errors.InvalidDocument) as caught:
        bson.encode({"a": object()})
    assert database_operation(caught.value) is None


# ---- stacks


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    secret = CANARY
    raise ValueError(secret)


def test_a_stack_has_places_and_types_but_no_message_value_or_source() -> None:
    try:
        try:
            deep(3)
        except ValueError as error:
            raise Wrapped(CANARY) from error
    except Wrapped as error:
        text = stack(error)
    assert text.startswith("builtins.ValueError\n")
    assert "\nwhich led to\n" in text
    assert text.count(" in deep") == 4
    assert "test_frames.py:" in text
    assert os.getcwd() not in text
    assert CANARY not in text
    assert "secret =" not in text


def test_a_stack_is_cut_in_the_middle() -> None:
    with pytest.raises(ValueError, match=CANARY) as caught:
        deep(400)
    text = stack(caught.value)
    assert len(text.splitlines()) == 61
    assert " more" in text
    assert len(text) <= 16_000


def test_a_file_whose_name_is_no_text_to_others_is_told_with_question_marks() -> None:
    source = compile("def fail():\n    raise ValueError('x')\n", os.fsdecode(b"/srv/caf\xe9/fa\xff.py"), "exec")
    found: dict[str, Any] = {}
    exec(source, found)
    with pytest.raises(ValueError, match="x") as caught:
        found["fail"]()
    told = *places(caught.value), stack(caught.value)
    assert told[-2].endswith("fa?.py:fail"), "the control: it is told all the same"
    assert all(part.encode() for part in told)
