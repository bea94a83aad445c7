"""The query interceptor: what is slow or failed becomes a record, without a value, and nothing ever breaks because of it."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from greenlet import greenlet
from pymongo import InsertOne
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.monitoring import CommandStartedEvent, CommandSucceededEvent

from prodfix.operations.frames import database_operation
from prodfix.queries.interceptor import CommandRecord, QueryInterceptor, observed
from prodfix.request.context import current_context, new_context, reset_context, set_context
from tests.support.drivers import needs

CANARY = "canary7f3a@example.org"


@pytest.fixture
def records() -> list[CommandRecord]:
    return []


@pytest.fixture
def slow_ms() -> float:
    return 60_000


SLOW = pytest.mark.parametrize("slow_ms", [0.0])
"""Every command is slow."""


@pytest.fixture
def interceptor(records: list[CommandRecord], slow_ms: float) -> QueryInterceptor:
    return QueryInterceptor(slow_ms=slow_ms, on_record=records.append)


@pytest.fixture
def database(connect: Callable[..., Any], interceptor: QueryInterceptor) -> Any:
    return connect(event_listeners=[interceptor]).get_default_database()


@pytest.fixture
def context() -> Iterator[Any]:
    token = set_context(new_context(endpoint="/notes/<id>", method="GET", ip="", headers={"X-Request-ID": "request1"}))
    yield current_context()
    reset_context(token)


def test_a_good_command_is_counted_and_not_recorded(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord], context: Any
) -> None:
    database.notes.insert_one({"a": 1})
    database.notes.find_one({"a": 1})
    assert (interceptor.commands, context.notes.commands, records) == (2, 2, [])
    assert context.notes.command_micros > 0


@SLOW
def test_a_slow_command_is_recorded_with_its_shape(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord], context: Any
) -> None:
    database.notes.insert_many([{"a": 1} for _ in range(3)])
    records.clear()
    list(database.notes.find({"a": 1}, batch_size=2))
    first, second = records
    assert (first.outcome, first.operation.operation, first.operation.collection) == ("slow", "find", "notes")
    assert (second.operation.operation, second.operation.collection, second.results) == ("getMore", "notes", 1)
    assert first.operation.query is not None
    assert set(first.operation.query["filter"]) == {"a"}
    assert (first.results, first.code, first.database) == (2, None, database.name)
    assert first.operation.duration_ms is not None
    assert first.to_json()["requestId"] == "request1"
    assert first.to_json()["context"]["endpoint"] == "/notes/<id>"
    assert context.notes.failed is None


@pytest.mark.parametrize("slow_ms", [150.0])
def test_a_command_is_slow_from_its_threshold_on(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord], fail: Any
) -> None:
    fail("find", times=1, blockConnection=True, blockTimeMS=160)
    database.notes.find_one()
    database.notes.find_one()
    assert [record.outcome for record in records] == ["slow"]


@SLOW
@pytest.mark.parametrize("name", ["error_log", "error_minutes", "connection_events", "audit_log"])
def test_a_hosts_collection_is_the_hosts_whatever_its_name(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord], fail: Any, name: str
) -> None:
    database[name].find_one({"a": 1})
    fail("find", times=1, errorCode=2)
    with pytest.raises(PyMongoError):
        database[name].find_one({"a": 1})
    seen = [(record.outcome, record.operation.collection) for record in records]
    assert seen == [("slow", name), ("failed", name)]


def test_our_own_client_is_heard_by_nobody(serve: Any, database_uri: str) -> None:
    services = serve(mongodb_uri=database_uri, slow_query_threshold_ms=1).extensions["prodfix"]
    try:
        services.database.clients.own_db["error_log"].find_one()
        assert services.queries.interceptor.commands == 0
        services.db["error_log"].find_one()
        assert services.queries.interceptor.commands == 1, "the control: the application's own question"
    finally:
        services.database.clients.close()


def test_a_failed_command_is_recorded_with_its_code(
    database: Any, records: list[CommandRecord], fail: Any, context: Any
) -> None:
    fail("find", times=1, errorCode=2)
    with pytest.raises(PyMongoError):
        database.notes.find_one({"email": CANARY})
    (record,) = records
    assert (record.outcome, record.code, record.operation.collection) == ("failed", 2, "notes")
    assert context.notes.failed == record.operation


def test_a_lost_connection_is_a_failed_command(database: Any, records: list[CommandRecord], fail: Any) -> None:
    fail("insert", times=2, closeConnection=True)
    with pytest.raises(PyMongoError):
        database.notes.insert_one({"a": 1})
    assert [(record.outcome, record.code) for record in records] == [("failed", None)] * 2  # and the driver's own retry


def test_a_duplicate_key_arrives_as_a_success_and_is_recorded_all_the_same(
    database: Any, records: list[CommandRecord], context: Any
) -> None:
    database.notes.insert_one({"_id": CANARY})
    with pytest.raises(DuplicateKeyError) as raised:
        database.notes.insert_one({"_id": CANARY})
    (record,) = records
    assert (record.outcome, record.code) == ("partly_failed", 11000)
    assert record.operation.operation == "insert"
    assert context.notes.failed == record.operation
    assert CANARY not in repr(record)
    assert CANARY in str(raised.value)  # the control: the driver's own error has it


def test_the_abort_of_a_transaction_that_the_server_has_ended_already_is_no_failure(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord], context: Any
) -> None:
    database.notes.insert_one({"_id": 1})
    with (
        pytest.raises(DuplicateKeyError),
        database.client.start_session() as session,
        session.start_transaction(),
    ):
        database.notes.insert_one({"_id": 1}, session=session)
    failed = {key.operation: kind.errors for key, kind in interceptor.command_stats.drain()}
    assert failed == {"insert": 1, "abortTransaction": 0}
    (record,) = records
    assert context.notes.failed == record.operation
    assert record.operation.operation == "insert"  # and not the abort, which the server has refused


def test_a_validation_failure_of_the_server_is_recorded(database: Any, records: list[CommandRecord]) -> None:
    database.create_collection("notes", validator={"$jsonSchema": {"required": ["title"]}})
    with pytest.raises(PyMongoError):
        database.notes.insert_one({"a": 1})
    with pytest.raises(PyMongoError):
        database.notes.bulk_write([InsertOne({"title": 1}), InsertOne({"a": 1})], ordered=False)
    assert [(record.outcome, record.code) for record in records] == [("partly_failed", 121)] * 2


def test_a_write_concern_error_is_recorded(database: Any, records: list[CommandRecord], fail: Any) -> None:
    fail("insert", times=1, writeConcernError={"code": 64, "errmsg": "waiting"})
    with pytest.raises(PyMongoError):
        database.notes.insert_one({"a": 1})
    assert [(record.outcome, record.code) for record in records] == [("partly_failed", 64)]


def test_a_bulk_write_of_the_client_names_its_collections(database: Any, records: list[CommandRecord]) -> None:
    database.books.insert_one({"_id": 1})
    models = [InsertOne({"_id": 1}, namespace=f"{database.name}.books")]
    with pytest.raises(PyMongoError):
        database.client.bulk_write(models)
    (record,) = records
    assert (record.operation.operation, record.operation.collection) == ("bulkWrite", "books")
    assert record.outcome == "partly_failed"


@SLOW
def test_housekeeping_is_never_recorded(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord]
) -> None:
    database.command("ping")
    with database.client.start_session():
        pass
    assert records == []


@SLOW
def test_outside_a_request_there_is_no_context(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord]
) -> None:
    database.notes.find_one()
    assert (records[0].context, records[0].to_json()["requestId"]) == (None, None)


# -- what it never does -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["slow", "failed", "partly_failed"])
def ways(request: pytest.FixtureRequest, connect: Callable[..., Any], fail: Any) -> Callable[[Any], QueryInterceptor]:
    """Makes one record of each outcome, which is given to a function; the interceptor that has made it."""
    made: list[QueryInterceptor] = []

    def use(on_record: Any) -> QueryInterceptor:
        made.append(QueryInterceptor(slow_ms=0 if request.param == "slow" else 60_000, on_record=on_record))
        way(connect(event_listeners=made).get_default_database())
        return made[0]

    def slow(database: Any) -> None:
        database.notes.find_one({"email": CANARY})

    def failed(database: Any) -> None:
        fail("find", errorCode=2, times=1)
        with pytest.raises(PyMongoError):
            database.notes.find_one({"email": CANARY})

    def partly_failed(database: Any) -> None:
        database.notes.insert_one({"_id": CANARY})
        with pytest.raises(DuplicateKeyError):
            database.notes.insert_one({"_id": CANARY})

    way = {"slow": slow, "failed": failed, "partly_failed": partly_failed}[request.param]
    return use


def test_it_never_raises_whatever_takes_its_records_does(ways: Callable[[Any], QueryInterceptor], capfd: Any) -> None:
    def broken(record: CommandRecord) -> None:
        raise RuntimeError(CANARY)

    assert ways(broken).errors == 1
    assert capfd.readouterr().err == ""  # the driver prints a listener's exception, with all its values


@SLOW
def test_no_value_of_a_command_is_in_its_record(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord]
) -> None:
    seen: list[Any] = []
    plain = interceptor.started
    interceptor.started = lambda event: (seen.append(copy.deepcopy(event.command)), plain(event))[1]  # type: ignore[method-assign]
    database.notes.insert_one({"email": CANARY, "deep": [{"list": [CANARY]}]})
    database.notes.update_one({"email": CANARY}, {"$set": {"other": CANARY}})
    database.notes.update_one({"email": CANARY}, [{"$set": {"other": CANARY}}])
    database.notes.find_one_and_update({"email": {"$in": [CANARY]}}, {"$set": {CANARY.replace(".", "_"): 1}})
    list(database.notes.aggregate([{"$match": {"$expr": {"$eq": ["$email", CANARY]}}}, {"$set": {"x": CANARY}}]))
    list(database.notes.find({"$or": [{"email": CANARY}, {"n": {"$gt": CANARY}}]}, comment=CANARY))
    database.notes.distinct("email", {"email": CANARY})
    database.notes.delete_many({"email": {"$regex": CANARY}})
    assert len(records) == len(seen) == 8
    for record, command in zip(records, seen, strict=True):
        assert "canary7f3a" in repr(command)  # the control: there was something to leak
        assert "canary7f3a" not in repr(record.to_json())


@SLOW
def test_it_never_changes_what_the_application_sends(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord]
) -> None:
    wanted = {"email": CANARY, "$or": [{"password": CANARY}, {"n": {"$in": [1, CANARY]}}]}
    document = {"_id": 1, "password": CANARY, "deep": {"list": [CANARY, {"token": CANARY}]}}
    before = copy.deepcopy((wanted, document))
    database.notes.find_one(wanted)
    database.notes.insert_one(document)
    assert (wanted, document) == before
    assert database.notes.find_one() == document
    assert len(records) == 3


@SLOW
def test_a_command_that_never_ended_is_not_taken_for_the_next_one(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord]
) -> None:
    cut = interceptor.succeeded
    interceptor.succeeded = lambda event: None  # type: ignore[method-assign] # as a timeout cuts a greenlet
    database.books.find_one({"a": 1})
    interceptor.succeeded = cut  # type: ignore[method-assign]
    database.notes.find_one({"b": 1})
    assert [record.operation.collection for record in records] == ["notes"]


class _Sent(CommandStartedEvent):
    """Weakly referable, which the driver's own is not."""

    __slots__ = ("__weakref__",)


def test_a_command_that_never_ended_is_gone_with_the_greenlet_that_sent_it() -> None:
    interceptor = QueryInterceptor()

    def send() -> weakref.ref[_Sent]:
        event = _Sent({"find": "notes", "$db": "d"}, "d", 1, ("h", 1), 1)
        interceptor.started(event)
        return weakref.ref(event)

    one = greenlet(send)
    sent = one.switch()
    assert sent() is not None, "the control: it is kept while it may end"
    del one
    gc.collect()
    assert sent() is None
    sent = send()  # by this thread, which sends another
    interceptor.started(CommandStartedEvent({"find": "notes", "$db": "d"}, "d", 2, ("h", 1), 2))
    assert sent() is None


def test_two_interceptors_of_one_client_see_the_same() -> None:
    both = QueryInterceptor(), QueryInterceptor()
    for interceptor in both:
        interceptor.started(CommandStartedEvent({"find": "notes", "$db": "d"}, "d", 1, ("h", 1), 1))
    for interceptor in both:
        ended = CommandSucceededEvent(timedelta(milliseconds=1), {"ok": 1}, "find", 1, ("h", 1), 1)
        interceptor.succeeded(ended)
    for interceptor in both:
        ((key, _),) = interceptor.command_stats.drain()
        assert (key.collection, interceptor.commands, interceptor.errors) == ("notes", 1, 0)


@needs("CommandStartedEvent.operation_id, kept by a retry")
def test_what_the_driver_sends_again_by_itself_is_counted_with_the_request(
    database: Any, context: Any, fail: Any
) -> None:
    database.notes.find_one()
    assert context.notes.driver_retries == 0
    fail("find", times=1, errorCode=134)
    database.notes.find_one()  # mended
    assert context.notes.driver_retries == 1
    database.notes.find_one()
    assert context.notes.driver_retries == 1, "the next operation is none"
    fail("find", times=2, errorCode=134)
    with pytest.raises(PyMongoError):
        database.notes.find_one()
    assert context.notes.driver_retries == 2


@SLOW
def test_a_collection_that_is_named_by_a_users_address_is_told_without_it(
    database: Any, interceptor: QueryInterceptor, records: list[CommandRecord], context: Any
) -> None:
    collection = database[f"inbox {CANARY}"]
    with observed() as seen:
        collection.find_one({"a": 1})
        with pytest.raises(PyMongoError) as caught:
            collection.aggregate([{"$nosuch": 1}])
    told: list[Any] = [record.operation.to_json() for record in records]
    told += [context.notes.failed.to_json(), database_operation(caught.value).to_json()]  # type: ignore[union-attr]
    told += [context.notes.trail_json(context.begun), [one.to_json() for one in seen]]
    told += [key for key, _ in interceptor.command_stats.drain()]
    assert len(records) == 2
    assert all("inbox ***" in str(one) for one in told), "the control: each of them names the collection"
    assert [one for one in told if CANARY in str(one)] == []
