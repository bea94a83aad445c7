"""What the tools answer, as types. Their schemas are made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from prodfix.diagnostics.requests import RequestReport
from prodfix.incidents.incident_log import Incident
from prodfix.queries.query_statistics import QueryFigures
from prodfix.records.records import ErrorSummary
from prodfix.serialization import INLINE, Description, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.groups import GroupSummary
from prodfix.statistics.statistics import Coverage
from prodfix.statistics.windows import Scope

Covered = Annotated[Scope, Description("`instance` while MongoDB cannot be asked: what the workers of this host know")]
NextOffset = Annotated[int | None, Description("The `offset` of the next page; null on the last one")]


@frozen
class ErrorKinds(Serializable):
    groups: list[GroupSummary]
    total: int
    next: NextOffset
    coverage: Annotated[Coverage, INLINE]


@frozen
class ErrorKind(Serializable):
    group: Annotated[GroupSummary, INLINE]
    records: Annotated[list[ErrorSummary], Description("The newest, each with the ID of its request")]
    newest: Annotated[dict[str, Any] | None, Description("The whole newest record, with its stack")]
    coverage: Annotated[Coverage, INLINE]


@frozen
class ErrorRecords(Serializable):
    scope: Covered
    records: list[ErrorSummary]
    next: Annotated[str | None, Description("The `cursor` of the next page; null on the last one")]


@frozen
class OneRequest(Serializable):
    report: Annotated[RequestReport, INLINE]
    left_out: Annotated[int, Description("Older errors of this request that would have made the answer too large")]


@frozen
class ListedIncidents(Serializable):
    scope: Covered
    incidents: list[Incident]
    next: NextOffset


@frozen
class QueryKinds(Serializable):
    workers: int
    total: int
    queries: list[QueryFigures]
    next: NextOffset


@frozen
class Explained(Serializable):
    query: Annotated[QueryFigures, INLINE]


@frozen
class Decided(Serializable):
    fingerprint: str
    changed: bool
    by: str
    at: datetime
    pending: Annotated[bool, Description("MongoDB is away: it is kept on disk, and applied when MongoDB is back")] = (
        False
    )
