"""One database operation, as every record, log line and answer shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.serialization import Millis, Serializable
from prodfix.slotted import frozen

_COMMANDS = {
    "insert_one": "insert",
    "insert_many": "insert",
    "update_one": "update",
    "update_many": "update",
    "replace_one": "update",
    "delete_one": "delete",
    "delete_many": "delete",
    "find_one": "find",
    "find_one_and_update": "findAndModify",
    "find_one_and_replace": "findAndModify",
    "find_one_and_delete": "findAndModify",
    "bulk_write": "bulkWrite",
    "count_documents": "aggregate",
    "estimated_document_count": "count",
    "find_raw_batches": "find",
    "aggregate_raw_batches": "aggregate",
    "dereference": "find",
    "watch": "aggregate",
    "list_search_indexes": "aggregate",
    "create_index": "createIndexes",
    "create_indexes": "createIndexes",
    "drop_index": "dropIndexes",
    "drop_indexes": "dropIndexes",
    "list_indexes": "listIndexes",
    "index_information": "listIndexes",
    "create_search_index": "createSearchIndexes",
    "create_search_indexes": "createSearchIndexes",
    "update_search_index": "updateSearchIndex",
    "drop_search_index": "dropSearchIndex",
    "rename": "renameCollection",
    "options": "listCollections",
    "list_collections": "listCollections",
    "list_collection_names": "listCollections",
    "create_collection": "create",
    "drop_collection": "drop",
    "validate_collection": "validate",
    "drop_database": "dropDatabase",
    "list_databases": "listDatabases",
    "list_database_names": "listDatabases",
    "server_info": "buildInfo",
    "commit_transaction": "commitTransaction",
    "abort_transaction": "abortTransaction",
}
_OUT = frozenset({"$out", "$merge"})
# Of what may be sent twice without harm: an index that is there already is not made again.
_HARMLESS = frozenset({"createIndexes"})
_CHANGES = frozenset(
    [
        "insert",
        "update",
        "delete",
        "findAndModify",
        "findandmodify",
        "bulkWrite",
        "commitTransaction",
        "create",
        "drop",
        "dropDatabase",
        "dropIndexes",
        "renameCollection",
        "convertToCapped",
        "createSearchIndexes",
        "updateSearchIndex",
        "dropSearchIndex",
        "collMod",
    ]
)
_WRITES = _CHANGES | _HARMLESS
TRANSACTION_OVER = frozenset({225, 251, 256})
"""Codes of who ends a transaction that is open no more: TransactionTooOld, NoSuchTransaction, TransactionCommitted."""
MAY_CHANGE = _CHANGES | {"aggregate", "mapReduce", "mapreduce"}
"""The names of commands for which :func:`changes` is worth asking."""


@frozen
class DatabaseOperation(Serializable):
    """``query`` is a redacted shape; ``duration_ms`` is known only where the driver published a command event."""

    operation: str
    collection: str | None = None
    query: dict[str, Any] | None = None
    duration_ms: Millis = None

    @property
    def writes(self) -> bool:
        return self.operation in _WRITES or (self.operation == "aggregate" and self._writes_out())

    def _writes_out(self) -> bool:
        return not _OUT.isdisjoint(_last_stage(self.query or {}))


def command_of(method: str) -> str:
    """The command that a method of pymongo sends: ``insert_one`` -> ``insert``."""
    return _COMMANDS.get(method, method.lstrip("_"))


def changes(name: str, command: Mapping[str, Any]) -> bool:
    """Whether a command changes data, so that sending it twice may matter."""
    if name in _CHANGES:
        return True
    if name == "aggregate":
        return not _OUT.isdisjoint(_last_stage(command))
    return name in ("mapReduce", "mapreduce") and merges(command)


def merges(command: Mapping[str, Any]) -> bool:
    """Whether it writes its results one by one while it runs: one that fails has perhaps written some."""
    if "mapReduce" in command or "mapreduce" in command:
        out = command.get("out")
        return not (isinstance(out, Mapping) and "inline" in out)
    return "aggregate" in command and "$merge" in _last_stage(command)


def _last_stage(command: Mapping[str, Any]) -> Mapping[str, Any]:
    stages = command.get("pipeline")
    last = stages[-1] if isinstance(stages, list) and stages else None
    return last if isinstance(last, Mapping) else {}
