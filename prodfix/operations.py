"""One database operation, as every record, log line and answer shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
_WRITES = frozenset(
    [
        "insert",
        "update",
        "delete",
        "findAndModify",
        "bulkWrite",
        "commitTransaction",
        "create",
        "createIndexes",
        "drop",
        "dropDatabase",
        "dropIndexes",
        "renameCollection",
        "createSearchIndexes",
        "updateSearchIndex",
        "dropSearchIndex",
        "collMod",
    ]
)


@dataclass(frozen=True, slots=True)
class DatabaseOperation:
    """``query`` is a redacted shape; ``duration_ms`` is known only where the driver published a command event."""

    operation: str
    collection: str | None = None
    query: dict[str, Any] | None = None
    duration_ms: float | None = None

    @property
    def writes(self) -> bool:
        return self.operation in _WRITES or (self.operation == "aggregate" and self._writes_out())

    def _writes_out(self) -> bool:
        stages = (self.query or {}).get("pipeline")
        last = stages[-1] if isinstance(stages, list) and stages else None
        return isinstance(last, dict) and not _OUT.isdisjoint(last)

    def to_json(self) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "collection": self.collection,
            "query": self.query,
            "durationMs": self.duration_ms,
        }


def command_of(method: str) -> str:
    """The command that a method of pymongo sends: ``insert_one`` -> ``insert``."""
    return _COMMANDS.get(method, method.lstrip("_"))
