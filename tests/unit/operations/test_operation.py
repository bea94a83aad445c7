"""One operation, named by the command that it sends."""

from __future__ import annotations

import inspect

import pytest
from pymongo.collection import Collection

from prodfix.operations.operation import DatabaseOperation, command_of

READS = {"aggregate", "count", "distinct", "find", "listIndexes", "listCollections", "next"}
LOCAL = {"with_options", "next"}


def methods() -> list[str]:
    found = inspect.getmembers(Collection, inspect.isfunction)
    return [name for name, _ in found if not name.startswith("_") and name not in LOCAL]


@pytest.mark.parametrize("method", methods())
def test_every_method_of_a_collection_is_a_command_that_reads_or_writes(method: str) -> None:
    operation = DatabaseOperation(command_of(method))
    assert "_" not in operation.operation
    assert operation.writes == (operation.operation not in READS)


def test_a_method_that_nobody_knows_keeps_its_name() -> None:
    assert command_of("_retryable") == "retryable"


def test_the_json_has_the_names_of_the_contract() -> None:
    operation = DatabaseOperation("find", "notes", {"filter": {"a": "?str"}}, 12.5)
    assert operation.to_json() == {
        "operation": "find",
        "collection": "notes",
        "query": {"filter": {"a": "?str"}},
        "durationMs": 12.5,
    }
