"""The test operations: each step is told, and nothing stays behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.diagnostics import selftest as module
from prodfix.diagnostics.selftest import EXPIRY, TEST_COLLECTION, TEST_OPERATIONS, SelfTest
from prodfix.errors import DatabaseUnavailable

OWN = "prodfix-own"  # the appname of the client that is used
STEPS = {
    "read": ["ping", "find"],
    "write": ["prepare", "insert", "find", "update", "delete"],
    "transaction": ["prepare", "insert", "update", "commit", "find", "delete"],
}


@pytest.fixture
def selftest(database_uri: str) -> Iterator[SelfTest]:
    clients = Clients(database_uri, {})
    yield SelfTest(lambda: clients.own_db, Classifier())
    clients.close()


@pytest.fixture
def left(database: Any) -> Callable[[], int]:
    return lambda: int(database[TEST_COLLECTION].count_documents({}))


@pytest.mark.parametrize("operation", TEST_OPERATIONS)
def test_an_operation_that_succeeds_leaves_nothing_behind(
    selftest: SelfTest, left: Callable[[], int], operation: Any
) -> None:
    for _ in range(2):
        answer = selftest.run(operation).to_json()
        assert (answer["operation"], answer["success"], answer["error"], answer["code"]) == (
            operation,
            True,
            None,
            None,
        )
        assert [step["name"] for step in answer["steps"]] == STEPS[operation]
        assert all(step["success"] and step["durationMs"] > 0 for step in answer["steps"])
        assert sum(step["durationMs"] for step in answer["steps"]) <= answer["durationMs"]
    assert left() == 0


@pytest.mark.parametrize(
    ("operation", "command", "step"),
    [
        ("read", "find", "find"),
        ("write", "insert", "insert"),
        ("write", "update", "update"),
        ("transaction", "update", "update"),
        ("transaction", "commitTransaction", "commit"),
    ],
)
def test_an_operation_that_fails_half_way_says_where_and_leaves_nothing_behind(
    selftest: SelfTest, left: Callable[[], int], fail: Any, operation: Any, command: str, step: str
) -> None:
    fail(command, app_name=OWN, errorCode=2)
    answer = selftest.run(operation).to_json()
    assert (answer["success"], answer["error"]) == (False, "OperationFailure (code 2)")
    assert (answer["steps"][-1]["name"], answer["steps"][-1]["success"]) == (step, False)
    fail.off()
    assert left() == 0


def test_what_cannot_be_deleted_is_swept_when_it_can_be(
    selftest: SelfTest, left: Callable[[], int], database: Any, fail: Any
) -> None:
    fail("delete", app_name=OWN, errorCode=2)
    answer = selftest.run("write").to_json()
    assert (answer["success"], answer["steps"][-1]["name"]) == (False, "delete")
    assert left() == 1  # the control: without the deletion it would be there
    assert database[TEST_COLLECTION].index_information()["prodfix_expiry"]["expireAfterSeconds"] == EXPIRY
    assert "timestamp" in database[TEST_COLLECTION].find_one()
    fail.off()
    selftest.sweep()
    assert left() == 0


def test_a_write_that_arrives_after_it_was_given_up_is_swept_too(
    selftest: SelfTest, left: Callable[[], int], database: Any, fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.2)
    fail("insert", app_name=OWN, errorCode=2)
    selftest.run("write")
    (identity,) = selftest._left
    database[TEST_COLLECTION].insert_one({"_id": identity})  # what a slow server does later
    selftest.sweep()
    assert left() == 0
    assert list(selftest._left) == [identity], "it may still come"
    later = time.monotonic() + module.SWEPT
    # Only there: the clients of other tests have threads that ask the clock, too.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: later))
    selftest.sweep()
    assert not selftest._left


def test_no_more_is_remembered_than_the_bound(selftest: SelfTest, monkeypatch: pytest.MonkeyPatch, fail: Any) -> None:
    monkeypatch.setattr(module, "LEFT", 2)
    fail("insert", "delete", app_name=OWN, errorCode=2)
    for _ in range(4):
        selftest.run("write")
    assert len(selftest._left) == 2


def test_an_operation_is_given_up_in_time(selftest: SelfTest, fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.2)
    fail("find", app_name=OWN, times=1, blockConnection=True, blockTimeMS=2000)
    answer = selftest.run("read").to_json()
    assert (answer["success"], answer["durationMs"] < 1500) == (False, True)


def test_what_is_not_there_as_it_was_written_is_a_failure(
    selftest: SelfTest, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymongo.synchronous.collection.Collection.find_one", lambda *_, **__: None)
    answer = selftest.run("write").to_json()
    assert (answer["success"], answer["error"]) == (False, "ProdFixError: what was written is not there")


def test_a_database_that_is_down_is_told_at_once() -> None:
    def closed() -> None:
        raise DatabaseUnavailable(cause="AutoReconnect")

    clients = Clients("mongodb://canary.example.org/", {}, gate=closed)
    answer = SelfTest(lambda: clients.own_db, Classifier()).run("read").to_json()
    assert (answer["code"], answer["error"]) == ("DATABASE_UNAVAILABLE", "DatabaseUnavailable (AutoReconnect)")
    assert (answer["durationMs"] < 1000, "canary" in str(answer)) == (True, False)
    clients.close()
