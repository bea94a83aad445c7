"""The test operations of the diagnostics leave no document behind, whatever fails meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymongo import MongoClient

from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import Clients
from prodfix.diagnostics import selftest as module
from prodfix.diagnostics.selftest import TEST_COLLECTION, TEST_OPERATIONS, SelfTest, TestOperation
from tests.support.waiting import until

OWN = "prodfix-own"  # the appname of the client that is used
COMMANDS = ("createIndexes", "insert", "find", "update", "delete", "commitTransaction", "abortTransaction")
LIMIT = 0.15  # seconds for one operation, so that some commands are given up while the server still holds them
CODES = (2, 13, 50, 91, 112, 189, 251, 11600)


@dataclass(frozen=True)
class Fault:
    """What the server does with some commands, so many times."""

    commands: tuple[str, ...]
    times: int
    data: tuple[tuple[str, Any], ...]

    @property
    def blocks(self) -> float:
        return float(dict(self.data).get("blockTimeMS", 0)) / 1000


faults = st.builds(
    Fault,
    st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=3, unique=True).map(tuple),
    st.integers(1, 4),
    st.one_of(
        st.sampled_from(CODES).map(lambda code: (("errorCode", code),)),
        st.just((("closeConnection", True),)),
        st.sampled_from([20, 300]).map(lambda millis: (("blockConnection", True), ("blockTimeMS", millis))),
        st.just((("blockConnection", True), ("blockTimeMS", 300), ("errorCode", 91))),
        st.just((("writeConcernError", {"code": 64, "errmsg": "slow"}),)),
    ),
)


class Bench:
    """The self-test on a database of its own, and a client that no fault reaches."""

    def __init__(self, uri: str) -> None:
        self._clients = Clients(uri, {"connectTimeoutMS": 500, "serverSelectionTimeoutMS": 500})
        self._client: MongoClient[dict[str, Any]] = MongoClient(uri)
        self.selftest = SelfTest(lambda: self._clients.own_db, Classifier())

    def left(self) -> int:
        return int(self._client.get_default_database()[TEST_COLLECTION].count_documents({}))

    def clear(self) -> None:
        self._client.get_default_database()[TEST_COLLECTION].delete_many({})

    def run(self, operation: TestOperation, fault: Fault) -> dict[str, Any]:
        facts = {"failCommands": list(fault.commands), "appName": OWN, **dict(fault.data)}
        configure = self._client.admin.command
        configure("configureFailPoint", "failCommand", mode={"times": fault.times}, data=facts)
        answer = self.selftest.run(operation).to_json()
        configure("configureFailPoint", "failCommand", mode="off")
        return answer

    def close(self) -> None:
        self._clients.close()
        self._client.close()


@pytest.fixture
def bench(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(module, "LIMIT", LIMIT)
    bench = Bench(database_uri)
    bench.run("write", Fault(("ping",), 1, (("errorCode", 2),)))  # connected, before any time is short
    yield bench
    bench.close()


@given(operation=st.sampled_from(TEST_OPERATIONS), fault=faults)
@example("write", Fault(("insert",), 1, (("blockConnection", True), ("blockTimeMS", 300))))
@example("write", Fault(("delete",), 4, (("closeConnection", True),)))
@example("transaction", Fault(("commitTransaction",), 4, (("closeConnection", True),)))
def test_nothing_is_left(bench: Bench, operation: TestOperation, fault: Fault) -> None:
    """No test operation leaves a document behind: neither one that succeeds, nor one that fails half-way, nor one whose
    command is carried out only after it was given up. The collection's TTL (a minute) has no part in it."""
    bench.clear()
    begun = time.monotonic()
    answer = bench.run(operation, fault)
    assert time.monotonic() - begun < LIMIT + module.CLEANING_LIMIT + 1.5
    assert answer["success"] is all(step["success"] for step in answer["steps"])
    assert (answer["error"] is None) is answer["success"] is (answer["code"] is None)
    over = begun + fault.blocks + 0.05  # what the server holds back, it has carried out by then

    def swept() -> bool:
        bench.selftest.sweep()
        return time.monotonic() > over and bench.left() == 0

    until(swept, limit=5, every=0.02, what=f"{operation} under {fault}: nothing left")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(("insert",), 1, (("blockConnection", True), ("blockTimeMS", 300))),
        Fault(("delete",), 4, (("closeConnection", True),)),
    ],
)
def test_without_sweeping_something_would_be(bench: Bench, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    bench.clear()
    bench.run("write", fault)
    until(lambda: bench.left() == 1, limit=2, what="a document that nobody deletes")
    bench.selftest.sweep()
    assert bench.left() == 0
