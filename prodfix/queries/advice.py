"""Why a query is slow: its plan, and the index that would serve it.

At most once an hour for each fingerprint, a background greenlet asks MongoDB to ``explain`` the command
(``queryPlanner``: nothing is executed) through our own client. The values of the command leave memory with it; what is
stored is the plan's stages, index names and field names.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import bson
import orjson
import pymongo
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED
from prodfix.journal.journal import Journal
from prodfix.operations.command_stats import masked
from prodfix.operations.fingerprints import CommandKey, collection_of, command_key, filter_of
from prodfix.queries.interceptor import CommandRecord
from prodfix.redaction.names import mask_key
from prodfix.schemas import GUARD
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

PERIOD = 3600.0  # seconds between two explanations of one fingerprint
REMEMBERED = 1000  # fingerprints
WAITING = 20  # commands that may wait to be explained; the oldest gives way
LARGEST = 64 * 1024  # bytes of a command that is kept for its explanation
LIMIT = 1.0  # seconds for one

_EXPLAINED = {
    "find": ("filter", "sort", "projection", "hint", "collation", "skip", "limit"),
    "aggregate": ("pipeline", "hint", "collation"),
    "count": ("query", "hint", "collation", "skip", "limit"),
    "update": ("updates",),
    "delete": ("deletes",),
}
_EQUAL = frozenset({"$eq", "$in"})
_LOGICAL = frozenset({"$and"})
_NEVER = frozenset({"_id", GUARD})


@frozen
class _Slow:
    fingerprint: str
    key: CommandKey
    database: str
    command: bytes


@frozen
class QueryAdvice(Serializable):
    """The plan of a slow kind of command; ``index`` would serve it, as ``[[field, direction], ...]``, and is empty if there is
    one. ``documents``: how many the collection has, where all of them were read."""

    fingerprint: str = ""
    operation: str = ""
    collection: str | None = None
    fields: tuple[str, ...] = ()
    plan: str = ""
    stages: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    documents: int | None = None
    index: tuple[list[Any], ...] = ()


class Advisor:
    """Takes slow commands and explains them later. ``consider`` never waits; ``work`` is called every second."""

    def __init__(
        self,
        client: Callable[[], Any],
        journal: Journal,
        *,
        enabled: bool,
        on_advice: Callable[[QueryAdvice], None] = lambda advice: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._journal, self._clock = client, journal, clock
        self.enabled = enabled
        self._on_advice = on_advice
        self._seen: dict[str, float] = {}
        self._waiting: deque[_Slow] = deque(maxlen=WAITING)

    def consider(self, record: CommandRecord) -> None:
        """Keep a slow command for its explanation, if its kind can be explained and was not within the hour."""
        name = record.operation.operation
        if not self.enabled or record.outcome != "slow" or name not in _EXPLAINED:
            return
        now, identity = self._clock(), record.fingerprint
        if now - self._seen.get(identity, -PERIOD) < PERIOD or len(self._seen) >= REMEMBERED:
            return
        self._seen[identity] = now
        command = {name: record.command[name]}
        command |= {part: record.command[part] for part in _EXPLAINED[name] if part in record.command}
        if name == "aggregate":
            command["cursor"] = {}
        encoded = bson.encode(command)
        if len(encoded) <= LARGEST:
            key = masked(command_key(name, record.command))
            self._waiting.append(_Slow(identity, key, record.database, encoded))

    def work(self) -> None:
        """Explain what waits. A command that MongoDB does not explain is left out; raises ``JournalUnavailable``."""
        if len(self._seen) >= REMEMBERED:
            limit = self._clock() - PERIOD
            self._seen = {identity: at for identity, at in self._seen.items() if at > limit}
        while self._waiting:
            slow = self._waiting.popleft()
            try:
                with pymongo.timeout(LIMIT):
                    advice = _explain(self._client()[slow.database], slow)
            except UNANSWERED:
                continue
            insert = "INSERT OR REPLACE INTO advice (fingerprint, at, entry) VALUES (?, ?, ?)"
            self._journal.write([(insert, (slow.fingerprint, time.time(), orjson.dumps(advice.to_json())))])
            self._on_advice(advice)


def _explain(database: Database[Any], slow: _Slow) -> QueryAdvice:
    command = bson.decode(slow.command)
    explained = database.command("explain", command, verbosity="queryPlanner")
    stages = list(_stages(explained))
    names = [str(stage["stage"]) for stage in stages]
    scanned = "COLLSCAN" in names
    documents = None
    collection = collection_of(slow.key.operation, command)  # the key's is as it may be told
    if scanned and collection:
        documents = database[collection].estimated_document_count()
    return QueryAdvice(
        fingerprint=slow.fingerprint,
        operation=slow.key.operation,
        collection=slow.key.collection,
        fields=slow.key.fields,
        plan="COLLSCAN" if scanned else "IXSCAN" if "IXSCAN" in names else next(iter(names), "UNKNOWN"),
        stages=tuple(names),
        indexes=tuple(sorted({str(stage["indexName"]) for stage in stages if "indexName" in stage})),
        documents=documents,
        index=tuple(_missing(database, collection, slow, command)) if scanned or "SORT" in names else (),
    )


def _missing(
    database: Database[Any], collection: str | None, slow: _Slow, command: Mapping[str, Any]
) -> list[list[Any]]:
    """The index that would serve the command; empty if there is one that begins so already."""
    wanted = suggested_index(slow.key.operation, command)
    if not collection:
        return wanted
    for index in database[collection].index_information().values():
        there = [list(part) for part in index["key"]]
        if there[: len(wanted)] == wanted:
            return []
    return wanted


def _stages(value: Any, level: int = 0) -> Iterator[Mapping[str, Any]]:
    """The stages of a plan, wherever the server's version puts them."""
    if level > 30:
        return
    if isinstance(value, Mapping):
        if isinstance(value.get("stage"), str):
            yield value
        for key, item in value.items():
            if key not in ("rejectedPlans", "command", "parsedQuery"):
                yield from _stages(item, level + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _stages(item, level + 1)


def suggested_index(name: str, command: Mapping[str, Any]) -> list[list[Any]]:
    """The index that serves a command, as ``[[field, direction], ...]``: equality first, then sort, then range.

    Source: the ESR guideline of MongoDB's manual. Empty if the command has neither filter nor sort, and if it names its
    documents by ``_id``, whose index is always there; neither that nor the guard of deferred writes is ever part of one.
    """
    equal: list[str] = []
    ranged: list[str] = []
    _sort_out(filter_of(name, command) or {}, equal, ranged)
    if "_id" in equal:
        return []
    parts = [(field, 1) for field in equal] + _order(name, command) + [(field, 1) for field in ranged]
    index: dict[str, int] = {}
    for field, direction in parts:
        if mask_key(field) == field and not field.startswith("$") and field.partition(".")[0] not in _NEVER:
            index.setdefault(field, direction)  # not a name that is data, and not $natural
    return [[field, direction] for field, direction in index.items()]


def _sort_out(wanted: Mapping[str, Any], equal: list[str], ranged: list[str]) -> None:
    for field, value in wanted.items():
        if field in _LOGICAL and isinstance(value, list):
            for part in value:
                _sort_out(part, equal, ranged)
        elif not field.startswith("$"):
            operators = (
                set(value) if isinstance(value, Mapping) and any(str(key).startswith("$") for key in value) else None
            )
            (equal if operators is None or operators <= _EQUAL else ranged).append(field)


def _order(name: str, command: Mapping[str, Any]) -> list[tuple[str, int]]:
    found = command.get("sort")
    if name == "aggregate":
        stages = [stage for stage in command.get("pipeline", ()) if isinstance(stage, Mapping)]
        found = next((stage["$sort"] for stage in stages[:2] if "$sort" in stage), None)
    if not isinstance(found, Mapping):
        return []
    return [(str(field), int(direction)) for field, direction in found.items() if direction in (1, -1)]
