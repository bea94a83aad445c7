"""The collections in the report: each figure by itself, within its time, and never at the cost of the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from prodfix.connection.clients import Clients
from prodfix.diagnostics import collections as module
from prodfix.diagnostics.collections import Collections
from prodfix.errors import DatabaseUnavailable
from prodfix.serialization import to_json

OWN = "prodfix-own"  # the appname of the client that asks


@pytest.fixture
def collections(database_uri: str) -> Iterator[Collections]:
    clients = Clients(database_uri, {})
    yield Collections(lambda: clients.own_db)
    clients.close()


def test_each_collection_has_its_figures(collections: Collections, database: Any) -> None:
    database.notes.insert_many([{"a": 1}, {"a": 2}])
    database.notes.create_index("a", name="by_a")
    (notes,) = to_json(collections.read() or [])
    assert (notes["name"], notes["type"], notes["unavailable"]) == ("notes", "collection", {})
    assert (notes["documentCount"], notes["indexes"]) == (2, ["_id_", "by_a"])
    assert notes["avgDocSize"] > 10


def test_a_figure_that_is_refused_is_unavailable_and_the_rest_is_there(
    collections: Collections, database: Any, fail: Any
) -> None:
    database.notes.insert_one({})
    fail("collStats", app_name=OWN, errorCode=13)
    (notes,) = to_json(collections.read() or [])
    assert (notes["documentCount"], notes["indexes"], notes["avgDocSize"]) == (1, ["_id_"], None)
    assert notes["unavailable"] == {"avgDocSize": "OperationFailure (code 13)"}


def test_a_slow_database_makes_a_short_report_and_not_a_slow_one(
    collections: Collections, database: Any, fail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdef":
        database[name].insert_one({})
    monkeypatch.setattr(module, "EACH_LIMIT", 0.1)
    monkeypatch.setattr(module, "LIMIT", 0.3)
    fail("collStats", "count", app_name=OWN, blockConnection=True, blockTimeMS=500)
    begun = time.monotonic()
    found = to_json(collections.read() or [])
    assert time.monotonic() - begun < 5  # waiting for each of twelve answers would take 6 s
    assert [entry["avgDocSize"] for entry in found] == [None] * 6
    assert found[-1]["unavailable"] == dict.fromkeys(("documentCount", "indexes", "avgDocSize"), "no time left")


@pytest.mark.parametrize("uri", [None, "mongodb://127.0.0.1:9/"])
def test_without_a_database_there_are_none(uri: str | None) -> None:
    def closed() -> None:
        raise DatabaseUnavailable

    clients = Clients(uri, {"serverSelectionTimeoutMS": 100}, gate=closed)
    assert Collections(lambda: clients.own_db).read() is None
    clients.close()
