"""The clients: once in each process, no sooner than needed, and closed by the gate while the database is down."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import gridfs
import pymongo
import pytest
from bson import CodecOptions
from flask_pymongo.wrappers import Collection as FlaskCollection
from flask_pymongo.wrappers import MongoClient as FlaskMongoClient
from pymongo import MongoClient, helpers_shared
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_preferences import SecondaryPreferred
from pymongo.write_concern import WriteConcern
from werkzeug.exceptions import NotFound

from prodfix.connection.clients import DEFAULT_DATABASE, Clients, GatedClient
from prodfix.errors import DatabaseNotConfigured, DatabaseUnavailable
from prodfix.operations.frames import database_operation
from tests.support.drivers import needs
from tests.support.processes import in_child
from tests.support.proxy import Proxy
from tests.support.recorded_commands import Commands

SECONDARY = SecondaryPreferred()
NOBODY = "mongodb://127.0.0.1:9/"


class Gate:
    """Open until it is told otherwise; counts how often it was asked."""

    def __init__(self) -> None:
        self.closed, self.asked = False, 0

    def __call__(self) -> None:
        self.asked += 1
        if self.closed:
            raise DatabaseUnavailable


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def make(gate: Gate, commands: Commands) -> Iterator[Callable[..., Clients]]:
    made: list[Clients] = []

    def make_clients(uri: str | None, **options: Any) -> Clients:
        made.append(Clients(uri, options, listeners=[commands], gate=gate))
        return made[-1]

    yield make_clients
    for clients in made:
        clients.close()


@pytest.fixture
def clients(make: Callable[..., Clients], database_uri: str) -> Clients:
    return make(database_uri)


# -- life -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["application", "own", "watch"])
def test_each_client_is_made_once_however_many_ask_for_it(clients: Clients, name: str) -> None:
    barrier = threading.Barrier(16)

    def ask(_: int) -> Any:
        barrier.wait()
        return getattr(clients, name)

    with ThreadPoolExecutor(16) as pool:
        assert len({id(client) for client in pool.map(ask, range(16))}) == 1


def test_making_them_connects_to_nothing() -> None:
    before = threading.active_count()
    Clients(NOBODY, {})
    assert threading.active_count() == before


def test_without_a_uri_every_use_says_so(make: Callable[..., Clients]) -> None:
    clients = make(None)
    assert not clients.configured
    for name in ("application", "own", "watch", "db", "own_db", "database_name", "uri"):
        with pytest.raises(DatabaseNotConfigured):
            getattr(clients, name)


@pytest.mark.parametrize(("path", "name"), [("", DEFAULT_DATABASE), ("shop", "shop")])
def test_the_database_is_the_uris_or_a_default(make: Callable[..., Clients], path: str, name: str) -> None:
    clients = make(NOBODY + path)
    assert (clients.db.name, clients.own_db.name) == (name, name)


def test_a_forked_process_makes_clients_of_its_own(clients: Clients) -> None:
    parents = clients.own
    parents.admin.command("ping")

    def child() -> list[Any]:
        before, childs = clients.in_use, clients.own
        childs.admin.command("ping")
        clients.close()
        return [before, childs is not parents]

    assert in_child(child) == [None, True]
    assert clients.own is parents
    parents.admin.command("ping")  # the child closed its own only


def test_closing_twice_is_once_and_a_closed_one_is_made_anew(clients: Clients) -> None:
    first = clients.application
    first.admin.command("ping")
    clients.close()
    clients.close()
    assert clients.application is not first
    clients.application.admin.command("ping")


def test_only_the_applications_commands_are_seen_by_its_listeners(clients: Clients, commands: Commands) -> None:
    clients.own_db.notes.find_one()
    clients.watch.admin.command("ping")
    assert commands.names == []
    clients.db.notes.find_one()
    assert commands.names == ["find"]


def test_the_applications_collections_are_flask_pymongos(clients: Clients) -> None:
    assert clients.db.notes.find_one_or_404


def test_the_watch_answers_while_the_applications_pool_is_exhausted(
    make: Callable[..., Clients], database_uri: str, fail: Any, until: Callable[..., Any]
) -> None:
    clients = make(database_uri, maxPoolSize=1, appname=fail.app_name)
    clients.application.admin.command("ping")
    fail("find", times=1, blockConnection=True, blockTimeMS=400)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(clients.db.notes.find_one)
        begun = time.monotonic()
        clients.watch.admin.command("ping")
        assert not task.done()
        task.result(5)
    assert time.monotonic() - begun >= 0.2  # the control: the pool was exhausted all the while


# -- the gate ---------------------------------------------------------------------------------------------------------------


def test_the_drivers_method_that_the_gate_stands_in_is_where_it_was() -> None:
    assert "_select_server" in vars(MongoClient)
    assert list(inspect.signature(MongoClient._select_server).parameters)[1:4] == [
        "server_selector",
        "session",
        "operation",
    ]


def transaction(clients: Clients) -> None:
    with clients.application.start_session() as session, session.start_transaction():
        clients.db.notes.insert_one({}, session=session)


OPERATIONS: dict[str, Callable[[Clients], Any]] = {
    "find": lambda clients: clients.db.notes.find_one({}),
    "insert": lambda clients: clients.db.notes.insert_one({}),
    "insertMany": lambda clients: clients.db.notes.insert_many([{}]),
    "update": lambda clients: clients.db.notes.update_one({}, {"$set": {"a": 1}}),
    "aggregate": lambda clients: list(clients.db.notes.aggregate([])),
    "command": lambda clients: clients.db.command("ping"),
    "count": lambda clients: clients.db.notes.count_documents({}),
    "transaction": transaction,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_asks_the_gate(clients: Clients, gate: Gate, commands: Commands, name: str) -> None:
    OPERATIONS[name](clients)
    assert gate.asked > 0
    gate.closed, sent = True, len(commands.names)
    with pytest.raises(DatabaseUnavailable):
        OPERATIONS[name](clients)
    assert len(commands.names) == sent


@pytest.mark.parametrize(
    ("name", "operation"),
    [("find", "find"), ("insert", "insert"), ("update", "update"), ("aggregate", "aggregate"), ("count", "aggregate")],
)
def test_what_the_gate_raises_still_names_operation_and_collection(
    clients: Clients, gate: Gate, name: str, operation: str
) -> None:
    gate.closed = True
    with pytest.raises(DatabaseUnavailable) as raised:
        OPERATIONS[name](clients)
    found = database_operation(raised.value)
    assert found is not None
    assert (found.operation, found.collection) == (operation, "notes")


def test_a_closed_gate_answers_at_once(make: Callable[..., Clients], gate: Gate) -> None:
    clients = make(NOBODY, serverSelectionTimeoutMS=30_000)
    gate.closed = True
    begun = time.monotonic()
    for _ in range(20):
        with pytest.raises(DatabaseUnavailable):
            clients.db.notes.find_one()
    assert time.monotonic() - begun < 10  # a single one would wait for 30 s


def test_a_request_that_waits_for_a_server_learns_that_the_gate_closed(
    make: Callable[..., Clients], gate: Gate, until: Callable[..., Any]
) -> None:
    clients = make(NOBODY, serverSelectionTimeoutMS=30_000)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(clients.db.notes.find_one)
        until(lambda: gate.asked)
        gate.closed, begun = True, time.monotonic()
        assert isinstance(task.exception(5), DatabaseUnavailable)
    assert time.monotonic() - begun < 10


def test_a_server_that_was_known_and_is_lost_makes_nobody_wait_behind_a_closed_gate(
    make: Callable[..., Clients], database_uri: str, gate: Gate, until: Callable[..., Any]
) -> None:
    with Proxy(urlsplit(database_uri).port or 27017) as proxy:
        clients = make(proxy.database_uri("known"), serverSelectionTimeoutMS=30_000, retryReads=False)
        for _ in range(3):
            clients.db.notes.find_one()
        proxy.set("refuse")
        until(lambda: not clients.application.topology_description.has_readable_server())
        with ThreadPoolExecutor(1) as pool:
            asked = gate.asked
            task = pool.submit(clients.db.notes.find_one)
            until(lambda: gate.asked > asked + 1)
            gate.closed = True
            assert isinstance(task.exception(5), DatabaseUnavailable)


def test_where_a_server_is_known_the_gate_is_asked_once_for_an_operation(clients: Clients, gate: Gate) -> None:
    for _ in range(3):  # the driver's description of the server may change between two of them
        clients.db.notes.find_one()
        asked = gate.asked
        clients.db.notes.find_one()
        assert gate.asked == asked + 1


def test_an_open_gate_waits_as_long_as_the_driver_would(make: Callable[..., Clients], gate: Gate) -> None:
    clients = make(NOBODY, serverSelectionTimeoutMS=1200)
    begun = time.monotonic()
    with pytest.raises(ServerSelectionTimeoutError) as raised:
        clients.db.notes.find_one()
    assert not isinstance(raised.value, DatabaseUnavailable)
    assert 1.0 < time.monotonic() - begun < 10
    assert gate.asked >= 3


def test_a_deadline_ends_the_wait_sooner(make: Callable[..., Clients]) -> None:
    clients = make(NOBODY, serverSelectionTimeoutMS=30_000)
    begun = time.monotonic()
    with pytest.raises(ServerSelectionTimeoutError), pymongo.timeout(0.3):
        clients.db.notes.find_one()
    assert time.monotonic() - begun < 10


def test_a_gated_client_is_a_mongo_client(clients: Clients) -> None:
    assert isinstance(clients.application, GatedClient)
    assert isinstance(clients.application, MongoClient)


# -- the driver's own retries -----------------------------------------------------------------------------------------------


def test_within_a_deadline_the_driver_tries_twice_and_raises_what_the_operation_failed_with(
    make: Callable[..., Clients], database_uri: str, fail: Any, commands: Commands
) -> None:
    clients = make(database_uri, appname=fail.app_name)
    fail("find", "insert", errorCode=134)
    for name in ("find", "insert"):
        before = commands.names.count(name)
        with pytest.raises(OperationFailure) as raised, pymongo.timeout(5):
            OPERATIONS[name](clients)
        assert (raised.value.code, commands.names.count(name) - before) == (134, 2)


def test_without_the_limit_it_would_not_stop(connect: Callable[..., MongoClient[Any]], fail: Any) -> None:
    # The control.
    seen = Commands()
    client = connect(event_listeners=[seen])
    fail("find", errorCode=134)
    with pytest.raises(PyMongoError), pymongo.timeout(0.3):
        client.get_default_database().notes.find_one()
    assert seen.names.count("find") > 4, "the limit is two"


OVERLOADED = {"errorCode": 462, "errorLabels": ["SystemOverloadedError", "RetryableError"]}
COUNTED = {"find": "find", "insert": "insert", "update": "update", "aggregate": "aggregate", "transaction": "insert"}


@needs("MongoClient._retry_policy")
@pytest.mark.parametrize("limit", [5.0, None])
@pytest.mark.parametrize("name", COUNTED)
def test_an_overloaded_server_is_asked_as_often_as_the_driver_says(
    make: Callable[..., Clients], database_uri: str, fail: Any, commands: Commands, name: str, limit: float | None
) -> None:
    clients = make(database_uri, appname=fail.app_name)
    OPERATIONS[name](clients)
    before = commands.names.count(COUNTED[name])
    fail(COUNTED[name], **OVERLOADED)
    with pytest.raises(OperationFailure) as raised, pymongo.timeout(limit):
        OPERATIONS[name](clients)
    assert (raised.value.code, commands.names.count(COUNTED[name]) - before) == (462, 3)
    fail(COUNTED[name], times=2, **OVERLOADED)
    OPERATIONS[name](clients)  # what the third try is for


@needs("MongoClient._retry_policy")
@pytest.mark.parametrize(("most", "sent"), [(0, 1), (1, 2), (4, 5)])
def test_how_often_can_be_set_in_the_uri(
    make: Callable[..., Clients], database_uri: str, fail: Any, commands: Commands, most: int, sent: int
) -> None:
    clients = make(f"{database_uri}?maxAdaptiveRetries={most}", appname=fail.app_name)
    fail("find", **OVERLOADED)
    with pytest.raises(OperationFailure):
        clients.db.notes.find_one()
    assert commands.names.count("find") == sent


def test_an_overload_that_may_not_be_asked_again_is_not(
    make: Callable[..., Clients], database_uri: str, fail: Any, commands: Commands
) -> None:
    clients = make(database_uri, appname=fail.app_name)
    fail("find", errorCode=462, errorLabels=["SystemOverloadedError"])
    with pytest.raises(OperationFailure), pymongo.timeout(5):
        clients.db.notes.find_one()
    assert commands.names.count("find") == 1


@pytest.mark.skipif(not hasattr(helpers_shared, "_RetryPolicy"), reason="this driver's policy is another class")
def test_the_drivers_policy_for_overloads_is_asked_before_each_other_try(
    connect: Callable[..., MongoClient[Any]], fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []
    should_retry = helpers_shared._RetryPolicy.should_retry

    def watched(self: Any, attempt: int, delay: float) -> bool:
        asked.append((attempt, delay >= 0))
        return should_retry(self, attempt, delay)

    monkeypatch.setattr(helpers_shared._RetryPolicy, "should_retry", watched)
    fail("find", **OVERLOADED)
    with pytest.raises(OperationFailure):
        connect().get_default_database().notes.find_one()
    assert asked == [(1, True), (2, True), (3, True)]


def test_a_connection_that_is_lost_once_is_still_the_drivers_to_mend(
    make: Callable[..., Clients], database_uri: str, fail: Any
) -> None:
    clients = make(database_uri, appname=fail.app_name)
    fail("find", times=1, closeConnection=True)
    with pymongo.timeout(5):
        assert clients.db.notes.find_one() is None


@needs("MongoClient._retry_internal, for Database.command")
def test_every_operation_goes_through_what_counts_it(database_uri: str) -> None:
    calls: list[Any] = []

    def call(operation: Callable[[], Any]) -> Any:
        calls.append(operation)
        return operation()

    clients = Clients(database_uri, {}, call=call)
    try:
        for work in OPERATIONS.values():
            before = len(calls)
            work(clients)
            assert len(calls) > before
        before = len(calls)
        clients.own_db.notes.find_one()
        clients.watch.admin.command("ping")
        assert len(calls) == before, "what is ours is not the application's"
    finally:
        clients.close()


# ---- collections within collections

PATHS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "attributes": (lambda db: db.fs.files, "fs.files"),
    "item, then attribute": (lambda db: db["fs"].files, "fs.files"),
    "attribute, then item": (lambda db: db.fs["files"], "fs.files"),
    "items": (lambda db: db["fs"]["files"], "fs.files"),
    "a name with a dot": (lambda db: db["fs.files"], "fs.files"),
    "deeper": (lambda db: db.a.b.c, "a.b.c"),
    "below a name with a dot": (lambda db: db["a.b"].c, "a.b.c"),
    "by its method": (lambda db: db.get_collection("fs").files, "fs.files"),
    "with options": (lambda db: db.fs.with_options(write_concern=WriteConcern(w=1)).files, "fs.files"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_collection_within_a_collection_is_one_of_flask_pymongos(clients: Clients, path: str) -> None:
    find, name = PATHS[path]
    found = find(clients.db)
    assert (found.name, found.full_name) == (name, f"{clients.database_name}.{name}")
    assert isinstance(found, FlaskCollection)
    found.insert_one({"_id": path})
    assert found.find_one_or_404({"_id": path}) == {"_id": path}
    with pytest.raises(NotFound):
        found.find_one_or_404({"_id": "nobody's"})
    assert clients.own_db[name].find_one({"_id": path})  # the driver's own has it under that name


def test_what_is_below_keeps_the_options_and_the_database_of_what_is_above(clients: Clients) -> None:
    above = clients.db.fs.with_options(write_concern=WriteConcern(w=1), codec_options=CodecOptions(tz_aware=True))
    assert above.files.write_concern == WriteConcern(w=1)
    assert above.files.codec_options.tz_aware
    assert above.files.database == clients.db
    assert clients.db.get_collection("fs", read_preference=SECONDARY).files.read_preference == SECONDARY


def test_private_names_are_no_collections(clients: Clients) -> None:
    for thing in (clients.application, clients.db, clients.db.fs):
        with pytest.raises(AttributeError):
            thing._nothing  # noqa: B018
        assert not hasattr(thing, "_ipython_display_")


def test_files_are_kept_and_found_through_the_applications_database(clients: Clients) -> None:
    identity = gridfs.GridFS(clients.db).put(b"text", filename="a.txt")
    assert clients.db.fs.files.find_one_or_404({"_id": identity})["filename"] == "a.txt"
    assert gridfs.GridFSBucket(clients.db).open_download_stream(identity).read() == b"text"
    assert clients.db.fs.chunks.count_documents({}) == 1


def test_flask_pymongo_itself_is_left_as_it_is(database_uri: str) -> None:
    # And the control: with this driver its own collections have none below them.
    with FlaskMongoClient(database_uri) as client:
        files = client.get_default_database().name
        assert type(client[files].fs) is FlaskCollection
        with pytest.raises(AttributeError):
            client[files].fs.files  # noqa: B018
