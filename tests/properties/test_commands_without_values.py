"""No value of a command is in any record, line or statistic, whatever the command; and no caller's document is changed."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import bson
from bson import SON, Binary, Decimal128, Regex
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

from prodfix import QueryInterceptor
from prodfix.logs.sinks import render
from prodfix.operations.command_stats import CommandStats
from prodfix.queries.interceptor import CommandRecord

CANARY = "canary7f3a"
ADDRESS = ("127.0.0.1", 27017)
SLOW = timedelta(seconds=2)

FIELDS = ["name", "owner.id", "tags.0", "at", "filter", "pipeline", "from", "q", "find", "$where", "_id"]
OPERATORS = (
    "$eq $in $gt $set $inc $push $expr $or $and $not $elemMatch $let $map $regex $search $near $literal $cond $meta"
).split()
CONSTANTS = [
    CANARY,
    CANARY.encode(),
    Binary(CANARY.encode(), 128),
    Regex(CANARY),
    bson.Code(CANARY),
    bson.DBRef("people", CANARY),
    Decimal128("7.31"),
]
# In few draws, none of them in vain: making the commands takes longer than all that is done with them.
keys = st.sampled_from([*FIELDS, *OPERATORS, *[f"{CANARY}@example.com"] * 15])
leaves = st.one_of(st.sampled_from(CONSTANTS), st.text(max_size=5).map(CANARY.__add__), st.integers())


def mappings(inner: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.tuples(keys, inner), max_size=most).map(dict)


values: st.SearchStrategy[Any] = leaves
for _ in range(4):
    values = st.one_of(leaves, st.lists(values, max_size=3), *[mappings(values, 3)] * 3)
documents = mappings(values, 4)
stages = st.one_of(
    documents.map(lambda wanted: {"$match": wanted}),
    documents.map(lambda changes: {"$set": changes}),
    st.lists(documents.map(lambda wanted: {"$match": wanted}), max_size=2).map(
        lambda inner: {"$lookup": {"from": "people", "let": {"x": CANARY}, "pipeline": inner, "as": "found"}}
    ),
    st.lists(documents.map(lambda wanted: {"$match": wanted}), max_size=2).map(
        lambda inner: {"$facet": {"some": inner}}
    ),
    st.lists(documents.map(lambda wanted: {"$match": wanted}), max_size=2).map(
        lambda inner: {"$unionWith": {"coll": "people", "pipeline": inner}}
    ),
    documents.map(lambda query: {"$geoNear": {"near": [1, 2], "query": query, "key": CANARY}}),
    documents.map(lambda operator: {"$search": {"text": {"query": CANARY, "path": operator}}}),
    documents.map(lambda projection: {"$project": projection}),
)
pipelines = st.lists(stages, max_size=3)
commands = st.one_of(
    documents.map(
        lambda wanted: SON([("find", "notes"), ("filter", wanted), ("comment", CANARY), ("let", {"v": CANARY})])
    ),
    st.lists(documents, max_size=3).map(lambda new: SON([("insert", "notes"), ("documents", new)])),
    st.tuples(documents, st.one_of(documents, pipelines), st.lists(documents, max_size=2)).map(
        lambda parts: SON(
            [("update", "notes"), ("updates", [{"q": parts[0], "u": parts[1], "arrayFilters": parts[2]}])]
        )
    ),
    documents.map(lambda wanted: SON([("delete", "notes"), ("deletes", [{"q": wanted, "limit": 0}])])),
    pipelines.map(lambda stages: SON([("aggregate", "notes"), ("pipeline", stages), ("cursor", {})])),
    st.tuples(documents, documents).map(
        lambda parts: SON([("findAndModify", "notes"), ("query", parts[0]), ("update", parts[1])])
    ),
    documents.map(lambda wanted: SON([("count", "notes"), ("query", wanted)])),
    documents.map(lambda wanted: SON([("distinct", "notes"), ("key", "name"), ("query", wanted)])),
    documents.map(
        lambda partial: SON(
            [("createIndexes", "notes"), ("indexes", [{"key": {"name": 1}, "partialFilterExpression": partial}])]
        )
    ),
    documents.map(
        lambda new: SON([("bulkWrite", 1), ("ops", [{"insert": 0, "document": new}]), ("nsInfo", [{"ns": "db.notes"}])])
    ),
)
endings = st.sampled_from(["slow", "partly", "failed"])


def send(interceptor: QueryInterceptor, command: Any, ending: str) -> None:
    name = next(iter(command))
    interceptor.started(CommandStartedEvent(command, "db", 7, ADDRESS, 7))
    if ending == "failed":
        failure = {"code": 2, "errmsg": f"bad value {CANARY}"}
        interceptor.failed(CommandFailedEvent(SLOW, failure, name, 7, ADDRESS, operation_id=7))
        return
    errors = [{"code": 11000, "errmsg": f"dup key: {CANARY}", "keyValue": {"name": CANARY}}]
    reply = (
        {"ok": 1, "n": 1, "writeErrors": errors}
        if ending == "partly"
        else {"ok": 1, "cursor": {"firstBatch": [{"a": CANARY}]}}
    )
    interceptor.succeeded(CommandSucceededEvent(SLOW, reply, name, 7, ADDRESS, operation_id=7))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(commands, endings), min_size=20, max_size=20))
def test_ten_thousand_commands_leave_no_value_and_change_nothing(sent: list[tuple[Any, str]]) -> None:
    """Feature: production-deployment-fix, Property 3 (sanitised query parameters), over 10,000 commands."""
    records: list[CommandRecord] = []
    interceptor = QueryInterceptor(slow_ms=1000, on_record=records.append)
    before = copy.deepcopy([command for command, _ in sent])
    assume(CANARY in repr(before))  # the control: the same search finds it in the commands themselves
    for command, ending in sent:
        send(interceptor, command, ending)
    assert (len(records), interceptor.errors) == (len(sent), 0)
    assert [command for command, _ in sent] == before
    written = (
        b"".join(render(record.to_json()) for record in records) + repr(counted(interceptor.command_stats)).encode()
    )
    assert CANARY.encode() not in written


def counted(profile: CommandStats) -> list[Any]:
    return [(key, kind.totals().to_json()) for key, kind in profile.drain()]
