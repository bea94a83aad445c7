"""A caller's own limits within a deadline: what is sent is the shorter of the two."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pymongo
import pytest
from bson import Int64
from bson.son import SON
from pymongo import IndexModel, InsertOne, MongoClient, ReturnDocument, UpdateOne, WriteConcern
from pymongo.client_session import TransactionOptions
from pymongo.errors import ExecutionTimeout
from pymongo.synchronous.bulk import _Bulk
from pymongo.synchronous.client_bulk import _ClientBulk
from pymongo.synchronous.pool import Connection

from prodfix.connection.clients import Clients
from prodfix.connection.time_limits import LimitedConnection
from tests.support.recorded_commands import Commands

LONG, SHORT = 9.5, 0.25
NOTHING = WriteConcern()


@pytest.fixture
def make(database_uri: str, commands: Commands) -> Iterator[Callable[..., MongoClient[Any]]]:
    """Makes clients of ours, with their options, whose ``commands`` are seen."""
    with ExitStack() as stack:

        def made(**options: Any) -> MongoClient[Any]:
            clients = Clients(database_uri, options, listeners=[commands])
            stack.callback(clients.close)
            return clients.application

        yield made


@pytest.fixture
def client(make: Callable[..., MongoClient[Any]]) -> MongoClient[Any]:
    client = make()
    client.get_default_database().notes.insert_one({"_id": 0, "n": 0})
    return client


def transaction(db: Any, *, default: Any = None, **options: Any) -> None:
    with db.client.start_session(default_transaction_options=default) as session:
        session.start_transaction(**options)
        db.notes.update_one({}, {"$inc": {"n": 1}}, session=session)
        session.commit_transaction()


def convenient(db: Any) -> None:
    with db.client.start_session() as session:
        session.with_transaction(
            lambda own: db.notes.update_one({}, {"$inc": {"n": 1}}, session=own), max_commit_time_ms=300
        )


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "find": lambda db: list(db.notes.find(max_time_ms=300)),
    "find, told afterwards": lambda db: list(db.notes.find().max_time_ms(300)),
    "find_one": lambda db: db.notes.find_one(max_time_ms=300),
    "find, raw": lambda db: list(db.notes.find_raw_batches(max_time_ms=300)),
    "aggregate": lambda db: list(db.notes.aggregate([], maxTimeMS=300)),
    "aggregate of the database": lambda db: list(db.aggregate([{"$documents": [{"a": 1}]}], maxTimeMS=300)),
    "count_documents": lambda db: db.notes.count_documents({}, maxTimeMS=300),
    "estimated_document_count": lambda db: db.notes.estimated_document_count(maxTimeMS=300),
    "distinct": lambda db: db.notes.distinct("n", maxTimeMS=300),
    "find_one_and_update": lambda db: db.notes.find_one_and_update(
        {}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER, maxTimeMS=300
    ),
    "find_one_and_replace": lambda db: db.notes.find_one_and_replace({}, {"n": 1}, maxTimeMS=300),
    "find_one_and_delete": lambda db: db.notes.find_one_and_delete({}, maxTimeMS=300),
    "command": lambda db: db.command({"find": "notes", "maxTimeMS": 300}),
    "command by name": lambda db: db.command("ping", maxTimeMS=300),
    "command in order": lambda db: db.command(SON([("find", "notes"), ("maxTimeMS", 300)])),
    "cursor_command": lambda db: list(db.cursor_command({"find": "notes", "maxTimeMS": 300})),
    "create_index": lambda db: db.notes.create_index("n", maxTimeMS=300),
    "create_indexes": lambda db: db.notes.create_indexes([IndexModel("n")], maxTimeMS=300),
    "list_collections": lambda db: list(db.list_collections(maxTimeMS=300)),
    "commit": lambda db: transaction(db, max_commit_time_ms=300),
    "commit, by the session": lambda db: transaction(db, default=TransactionOptions(max_commit_time_ms=300)),
    "commit, convenient": convenient,
}


def sent_limits(commands: Commands) -> list[Any]:
    """Of the last command, and of the commit if it was a transaction."""
    return [command.get("maxTimeMS") for command in commands.sent[-1:]]


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_shorter_one_is_sent(client: MongoClient[Any], commands: Commands, name: str) -> None:
    db = client.get_default_database()
    OPERATIONS[name](db)
    assert sent_limits(commands) == [300], "without a deadline it is the caller's"
    with pymongo.timeout(LONG):
        OPERATIONS[name](db)
        assert sent_limits(commands) == [300]
    with pymongo.timeout(SHORT):
        OPERATIONS[name](db)
        (limit,) = sent_limits(commands)
    assert 0 < limit <= SHORT * 1000


@pytest.mark.parametrize("name", ["find", "aggregate", "distinct", "command", "create_index", "commit"])
def test_the_driver_itself_sends_what_is_left_of_the_deadline(
    connect: Callable[..., MongoClient[Any]], name: str
) -> None:
    # The control.
    commands = Commands()
    db = connect(event_listeners=[commands]).get_default_database()
    db.notes.insert_one({"_id": 0, "n": 0})
    with pymongo.timeout(LONG):
        OPERATIONS[name](db)
    assert sent_limits(commands)[0] > 9_000


@pytest.mark.parametrize("own", [None, 0, {}])
def test_without_a_limit_the_deadline_is(client: MongoClient[Any], commands: Commands, own: Any) -> None:
    with pymongo.timeout(LONG):
        list(client.get_default_database().notes.aggregate([], **({} if own == {} else {"maxTimeMS": own or 0})))
    assert 9_000 < sent_limits(commands)[0] <= 9_500


@pytest.mark.parametrize("own", [Int64(300), 300.0])
def test_every_number_is_one(client: MongoClient[Any], commands: Commands, own: Any) -> None:
    with pymongo.timeout(LONG):
        client.get_default_database().command("ping", maxTimeMS=own)
    assert sent_limits(commands) == [own]


def test_the_servers_limit_ends_the_operation_and_not_the_deadline(
    client: MongoClient[Any], commands: Commands, database_server: str
) -> None:
    with MongoClient(database_server) as other:
        other.admin.command("configureFailPoint", "maxTimeAlwaysTimeOut", mode="alwaysOn")
        try:
            with pytest.raises(ExecutionTimeout), pymongo.timeout(LONG):
                client.get_default_database().notes.find_one(max_time_ms=300)
        finally:
            other.admin.command("configureFailPoint", "maxTimeAlwaysTimeOut", mode="off")
    assert sent_limits(commands) == [300]


def test_a_command_of_the_callers_own_may_be_sent_again_with_the_time_that_is_left_then(
    client: MongoClient[Any], commands: Commands
) -> None:
    # The driver writes its limit into an ordered mapping: the next time it must not look like the caller's.
    own = SON([("ping", 1)])
    for seconds in (0.5, LONG):
        with pymongo.timeout(seconds):
            client.admin.command(own)
    assert sent_limits(commands)[0] > 9_000


def test_a_retry_and_the_next_user_of_the_connection_have_their_own(
    make: Callable[..., MongoClient[Any]], commands: Commands, fail: Any
) -> None:
    db = make(maxPoolSize=1, appname=fail.app_name).get_default_database()
    db.notes.insert_one({"_id": 0, "n": 0})
    fail("commitTransaction", times=1, errorCode=134, errorLabels=["RetryableWriteError"])
    with pymongo.timeout(LONG):
        transaction(db, max_commit_time_ms=300)
        db.notes.find_one()
        transaction(db)
    told = [(name, sent.get("maxTimeMS")) for name, sent in zip(commands.names, commands.sent, strict=True)]
    commits = [limit for name, limit in told if name == "commitTransaction"]
    assert commits[:2] == [300, 300]
    assert commits[2] > 8_000
    assert next(limit for name, limit in told if name == "find") > 8_000


# -- write concern ----------------------------------------------------------------------------------------------------------

CONCERN = WriteConcern(w=1, wtimeout=2000)
WRITES: dict[str, Callable[[Any, WriteConcern], Any]] = {
    "insert_one": lambda notes, _: notes.insert_one({}),
    "insert_many": lambda notes, _: notes.insert_many([{}, {}]),
    "update_one": lambda notes, _: notes.update_one({}, {"$inc": {"n": 1}}),
    "update_many": lambda notes, _: notes.update_many({}, {"$inc": {"n": 1}}),
    "replace_one": lambda notes, _: notes.replace_one({}, {"n": 1}),
    "delete_one": lambda notes, _: notes.delete_one({}),
    "find_one_and_update": lambda notes, _: notes.find_one_and_update({}, {"$inc": {"n": 1}}),
    "bulk_write": lambda notes, _: notes.bulk_write([InsertOne({}), UpdateOne({}, {"$inc": {"n": 1}})]),
    "bulk_write, unordered": lambda notes, _: notes.bulk_write([InsertOne({}), InsertOne({})], ordered=False),
    "client.bulk_write": lambda notes, concern: notes.database.client.bulk_write(
        [InsertOne({}, namespace=notes.full_name)], write_concern=concern
    ),
    "create_index": lambda notes, _: notes.create_index("n"),
    "$out": lambda notes, _: notes.aggregate([{"$out": "copies"}]),
    "commit": lambda notes, concern: transaction(notes.database, write_concern=concern),
}


def concerns(commands: Commands, since: int) -> list[Any]:
    return [dict(command["writeConcern"]) for command in commands.sent[since:] if "writeConcern" in command]


@pytest.mark.parametrize("name", WRITES)
def test_a_write_waits_for_its_concern_no_longer_than_it_says(
    client: MongoClient[Any], commands: Commands, name: str
) -> None:
    notes = client.get_default_database().notes
    for seconds, wait in ((LONG, {"wtimeout": 2000}), (1.9, {})):
        since = len(commands.sent)
        with pymongo.timeout(seconds):
            WRITES[name](notes.with_options(write_concern=CONCERN), CONCERN)
        assert {str(one) for one in concerns(commands, since)} == {str({"w": 1} | wait)} or concerns(
            commands, since
        ) == [wait | {"w": 1}] * len(concerns(commands, since))
        assert concerns(commands, since)


@pytest.mark.parametrize("name", ["insert_one", "insert_many", "bulk_write", "commit"])
def test_the_driver_itself_leaves_it_out(connect: Callable[..., MongoClient[Any]], name: str) -> None:
    # The control.
    commands = Commands()
    notes = connect(event_listeners=[commands]).get_default_database().notes
    notes.insert_one({})
    with pymongo.timeout(LONG):
        WRITES[name](notes.with_options(write_concern=CONCERN), CONCERN)
    assert all(one == {"w": 1} for one in concerns(commands, 1))


def test_one_of_the_uri_holds_too_and_none_is_none(make: Callable[..., MongoClient[Any]], commands: Commands) -> None:
    for options, expected in (({"wtimeoutMS": 100, "w": 1}, {"w": 1, "wtimeout": 100}), ({"w": 1}, {"w": 1})):
        notes, since = make(**options).get_default_database().notes, len(commands.sent)
        with pymongo.timeout(LONG):
            notes.insert_one({})
            notes.insert_many([{}])
        assert concerns(commands, since) == [expected] * 2


def test_within_a_transaction_no_operation_has_one(client: MongoClient[Any], commands: Commands) -> None:
    notes = client.get_default_database().notes.with_options(write_concern=CONCERN)
    since = len(commands.sent)
    with pymongo.timeout(LONG), client.start_session() as session, session.start_transaction():
        notes.insert_one({}, session=session)
        notes.insert_many([{}], session=session)
        notes.bulk_write([InsertOne({})], session=session)
    assert concerns(commands, since) == []


# -- the driver's private names ---------------------------------------------------------------------------------------------


def test_what_of_the_driver_this_stands_in_is_where_it_was(client: MongoClient[Any]) -> None:
    pool: Any = next(iter(client._topology._servers.values())).pool
    assert {type(connection) for connection in pool.conns} == {LimitedConnection}
    client_first = pymongo.version_tuple < (4, 20)
    known = ["self", *["client"] * client_first, "cmd"]
    assert list(inspect.signature(Connection.apply_timeout).parameters) == known
    if pymongo.version_tuple >= (4, 18):  # before it a decorator passed everything on
        assert list(inspect.signature(Connection.command).parameters)[:3] == ["self", "dbname", "spec"]
        assert "write_concern" in inspect.signature(Connection.command).parameters
    assert list(inspect.signature(MongoClient._retry_internal).parameters)[:5] == [
        "self",
        "func",
        "session",
        "bulk",
        "operation",
    ]
    bulk = inspect.signature(_Bulk.__init__).parameters, inspect.signature(_ClientBulk.__init__).parameters
    assert "collection" in bulk[0]
    assert "write_concern" in bulk[1]
    with client.start_session() as session:
        session.start_transaction(max_commit_time_ms=7)
        assert session._transaction.opts is not None
        assert session._transaction.opts.max_commit_time_ms == 7
