"""Transactions: all or nothing, tried again as the driver's labels say, and never for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pymongo
import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure, PyMongoError

from prodfix.classification.classifier import classify
from prodfix.errors import Outcome, Severity
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import MOST, Conflicts
from prodfix.recovery.transactions import Transactions, TransactionsUnsupported
from tests.support.proxy import Proxy
from tests.support.recorded_commands import Commands
from tests.support.servers import CLIENT_LIMITS

Told = list[tuple[Severity, str, Mapping[str, Any]]]
TRANSIENT = {"errorCode": 112, "errorLabels": ["TransientTransactionError"]}


class Callback:
    """Inserts two documents; counts its calls."""

    def __init__(self, database: Any, error: BaseException | None = None) -> None:
        self.database, self.error, self.calls = database, error, 0

    def __call__(self, session: Any) -> str:
        self.calls += 1
        self.database.notes.insert_one({"n": 1}, session=session)
        self.database.books.insert_one({"n": 1}, session=session)
        if self.error is not None:
            raise self.error
        return "done"


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def transactions(database: Any, told: Told) -> Transactions:
    database.create_collection("notes")
    database.create_collection("books")
    return Transactions(
        lambda: database.client,
        retries=3,
        base=0.001,
        report=lambda *facts: told.append(facts),
        sleep=lambda seconds: None,
    )


@pytest.fixture
def callback(database: Any) -> Callback:
    return Callback(database)


@pytest.fixture
def counted(database: Any) -> Callable[[], tuple[int, int]]:
    return lambda: (database.notes.count_documents({}), database.books.count_documents({}))


def test_what_the_callback_returns_is_committed(
    transactions: Transactions, callback: Callback, counted: Any, told: Told
) -> None:
    assert transactions.run(callback) == "done"
    assert (counted(), callback.calls, told) == ((1, 1), 1, [])


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_whatever_the_callback_raises_nothing_is_applied(
    transactions: Transactions, database: Any, counted: Any, error: BaseException
) -> None:
    callback = Callback(database, error)
    with pytest.raises(type(error)) as raised:
        transactions.run(callback)
    assert raised.value is error
    assert (counted(), callback.calls) == ((0, 0), 1)


def test_without_its_session_an_insert_stays(transactions: Transactions, database: Any, counted: Any) -> None:
    # The control of the test above: an operation outside the transaction is not rolled back with it.
    def forgetful(session: Any) -> None:
        database.notes.insert_one({"n": 1})
        raise ValueError

    with pytest.raises(ValueError):
        transactions.run(forgetful)
    assert counted() == (1, 0)


@pytest.mark.parametrize("command", ["insert", "commitTransaction"])
def test_a_transient_error_runs_all_of_it_again(
    transactions: Transactions, callback: Callback, counted: Any, fail: Any, told: Told, command: str
) -> None:
    fail(command, times=2, **TRANSIENT)
    assert transactions.run(callback) == "done"
    assert (counted(), callback.calls) == ((1, 1), 3)
    ((severity, _, facts),) = told
    assert (severity, facts["attempts"], facts["outcome"]) == (Severity.WARN, 3, "applied")


def test_transient_errors_are_not_tried_for_ever(
    transactions: Transactions, callback: Callback, counted: Any, fail: Any, told: Told
) -> None:
    fail("insert", **TRANSIENT)
    with pytest.raises(OperationFailure) as raised:
        transactions.run(callback)
    assert (callback.calls, raised.value.code) == (1 + MOST, 112)
    assert raised.value.__cause__ is not raised.value
    fail.off()
    assert counted() == (0, 0)
    assert [facts["outcome"] for _, _, facts in told] == ["not_applied"]


@pytest.mark.parametrize(("retries", "calls"), [(0, 1), (1, 2)])
def test_the_caller_may_set_the_limit(
    transactions: Transactions, callback: Callback, fail: Any, retries: int, calls: int
) -> None:
    fail("insert", **TRANSIENT)
    with pytest.raises(OperationFailure):
        transactions.run(callback, retries=retries)
    assert callback.calls == calls


def test_a_commit_whose_answer_was_lost_is_committed_again_and_not_run_again(
    transactions: Transactions, callback: Callback, counted: Any, fail: Any
) -> None:
    fail("commitTransaction", times=3, closeConnection=True)  # the driver itself tries twice
    assert transactions.run(callback) == "done"
    assert (counted(), callback.calls) == ((1, 1), 1)


def test_a_commit_that_is_never_answered_is_unknown(
    transactions: Transactions, callback: Callback, fail: Any, told: Told
) -> None:
    fail("commitTransaction", closeConnection=True)
    with pytest.raises(AutoReconnect) as raised:
        transactions.run(callback)
    assert callback.calls == 1
    assert raised.value.has_error_label("UnknownTransactionCommitResult")
    assert (classify(raised.value).outcome, told[0][2]["outcome"]) == ("unknown", "unknown")


@pytest.mark.parametrize("within", [False, True], ids=["the command", "the write concern"])
@pytest.mark.parametrize("label", [[], ["TransientTransactionError"], ["UnknownTransactionCommitResult"]])
def test_a_commit_whose_time_was_over_is_not_sent_again(
    transactions: Transactions, callback: Callback, fail: Any, connect: Any, told: Told, within: bool, label: list[str]
) -> None:
    seen = Commands()
    client = connect(event_listeners=[seen])
    watched = Transactions(lambda: client, retries=3, base=0.001, sleep=lambda seconds: None)
    callback.database = client.get_default_database()
    late = {"writeConcernError": {"code": 50, "errmsg": "late"}} if within else {"errorCode": 50}
    fail("commitTransaction", **late, errorLabels=label)
    with pytest.raises(OperationFailure) as raised:
        watched.run(callback)
    assert (seen.names.count("commitTransaction"), callback.calls) == (1, 1)
    assert classify(raised.value).outcome is not Outcome.NOT_APPLIED


def test_any_other_commit_without_an_answer_is_sent_again(
    transactions: Transactions, callback: Callback, fail: Any, connect: Any
) -> None:
    # The control of the test above.
    seen = Commands()
    client = connect(event_listeners=[seen])
    callback.database = client.get_default_database()
    fail("commitTransaction", writeConcernError={"code": 64, "errmsg": "late"})
    with pytest.raises(OperationFailure):
        Transactions(lambda: client, retries=3, base=0.001, sleep=lambda seconds: None).run(callback)
    assert seen.names.count("commitTransaction") == 4


def test_a_crowd_at_one_document_is_served_whole(database: Any) -> None:
    database.books.insert_one({"_id": "hot", "n": 0})
    slept: list[float] = []
    conflicts = Conflicts()  # with the waits that they have
    transactions = Transactions(lambda: database.client, retries=0, base=10.0, conflicts=conflicts, sleep=slept.append)

    def increment(session: Any) -> None:
        database.notes.insert_one({}, session=session)
        database.books.update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=session)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: transactions.run(increment), range(64)))
    assert database.books.find_one()["n"] == database.notes.count_documents({}) == 64
    assert slept == [], "the waits after conflicts are not those after an outage"


def test_a_crowd_with_the_tries_of_an_outage_is_not(database: Any) -> None:
    # The control of the test above.
    database.books.insert_one({"_id": "hot", "n": 0})
    transactions = Transactions(lambda: database.client, retries=0, base=10.0, conflicts=Conflicts(most=0))

    def increment(session: Any) -> None:
        database.books.find_one({"_id": "hot"}, session=session)
        together.wait(5)
        database.books.update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=session)

    def run(_: int) -> int | None:
        try:
            transactions.run(increment)
        except OperationFailure as error:
            return error.code
        return None

    together = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        assert sorted(map(str, pool.map(run, range(8)))) == ["112"] * 7 + ["None"]


@pytest.fixture
def proxied(database_uri: str) -> Iterator[tuple[Proxy, Any]]:
    """The database through a proxy."""
    whole = urlsplit(database_uri)
    with (
        Proxy(whole.port or 27017) as proxy,
        MongoClient(proxy.database_uri(whole.path[1:]), **CLIENT_LIMITS) as client,
    ):
        yield proxy, client.get_default_database()


@pytest.mark.parametrize("kept", [16, 21])
@pytest.mark.parametrize("answers", [1, 100])
def test_a_commit_whose_answer_nobody_can_read_is_sent_again_and_never_taken_for_not_applied(
    proxied: tuple[Proxy, Any], told: Told, kept: int, answers: int
) -> None:
    proxy, database = proxied
    transactions = Transactions(
        lambda: database.client,
        retries=3,
        base=0.001,
        report=lambda *facts: told.append(facts),
        sleep=lambda seconds: None,
    )
    callback = Callback(database)
    proxy.corrupt_reply_of("commitTransaction", answers, kept=kept)
    if answers == 1:
        assert transactions.run(callback) == "done"
    else:
        with pytest.raises(AutoReconnect) as raised:
            transactions.run(callback)
        assert (classify(raised.value).outcome, told[0][2]["outcome"]) == ("unknown", "unknown")
    assert set(proxy.spoiled) == {"commitTransaction"}
    assert callback.calls == database.notes.count_documents({}) == 1, "it is applied"


def test_an_error_that_lasts_is_not_tried_again(transactions: Transactions, database: Any, counted: Any) -> None:
    database.notes.insert_one({"_id": 1})
    calls: list[int] = []

    def duplicate(session: Any) -> None:
        calls.append(1)
        database.books.insert_one({}, session=session)
        database.notes.insert_one({"_id": 1}, session=session)

    with pytest.raises(DuplicateKeyError):
        transactions.run(duplicate)
    assert (counted(), len(calls)) == ((1, 0), 1)


def test_two_transactions_on_one_document_both_count(
    transactions: Transactions, database: Any, connect: Callable[..., Any]
) -> None:
    database.books.insert_one({"_id": "b", "n": 0})
    other = connect().get_default_database()
    calls: list[int] = []

    def increment(session: Any) -> None:
        calls.append(1)
        database.books.find_one({"_id": "b"}, session=session)
        if len(calls) == 1:
            other.books.update_one({"_id": "b"}, {"$inc": {"n": 1}})  # somebody was faster
        database.books.update_one({"_id": "b"}, {"$inc": {"n": 1}}, session=session)

    transactions.run(increment)
    assert (database.books.find_one()["n"], len(calls)) == (2, 2)


def test_a_callback_may_end_its_transaction_itself(transactions: Transactions, database: Any, counted: Any) -> None:
    def rolled_back(session: Any) -> str:
        database.notes.insert_one({}, session=session)
        session.abort_transaction()
        return "no"

    assert transactions.run(rolled_back) == "no"
    assert counted() == (0, 0)


def test_a_standalone_server_is_explained(transactions: Transactions, callback: Callback, fail: Any) -> None:
    fail("insert", errorCode=20)
    with pytest.raises(TransactionsUnsupported, match="replica set") as raised:
        transactions.run(callback)
    assert isinstance(raised.value.__cause__, PyMongoError)
    assert callback.calls == 1


def test_retries_of_transactions_are_of_the_same_budget_as_all_others() -> None:
    budget = RetryBudget(least=2)
    client: MongoClient[Any]
    with MongoClient("127.0.0.1", 1, connect=False) as client:  # a transaction without operations asks no server
        transactions = Transactions(lambda: client, retries=9, base=0.1, budget=budget, sleep=lambda seconds: None)
        calls: list[Any] = []

        def again(session: Any) -> None:
            calls.append(session)
            raise OperationFailure("again", 11602, {"errorLabels": ["TransientTransactionError"]})

        with pytest.raises(OperationFailure):
            transactions.run(again)
    facts = budget.status().to_json()
    assert (len(calls), facts["tries"], facts["retries"], facts["refusedByBudget"]) == (3, 1, 2, 1)


def test_a_deadline_that_cuts_a_transaction_leaves_no_lock_behind(
    transactions: Transactions, database: Any, fail: Any
) -> None:
    database.notes.insert_one({"_id": "hot", "n": 0})

    def slow(session: Any) -> None:
        database.notes.update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=session)
        fail("insert", blockConnection=True, blockTimeMS=2000, times=1)
        database.books.insert_one({"n": 1}, session=session)

    with pytest.raises(PyMongoError), pymongo.timeout(0.4):
        transactions.run(slow)
    fail.off()
    # The lock would last for the five seconds of a transaction's life.
    transactions.run(lambda session: database.notes.update_one({"_id": "hot"}, {"$inc": {"n": 10}}, session=session))
    assert database.notes.find_one({"_id": "hot"})["n"] == 10
