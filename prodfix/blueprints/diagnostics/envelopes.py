"""What the API answers, as types: envelopes of what the services answer, and errors. The document is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from prodfix import Outcome
from prodfix.models import (
    INLINE,
    OMITTED,
    BacklogGroup,
    CarriedOut,
    Coverage,
    DeferredCounts,
    DeferredEntry,
    Description,
    EndpointFigures,
    ErrorSummary,
    FieldProblem,
    GroupSummary,
    Incident,
    MutedRule,
    QueryPage,
    Scope,
    Serializable,
    StoredEvent,
)

Covered = Annotated[Scope, Description("`instance` while MongoDB cannot be asked")]
Next = Annotated[str | None, Description("The `cursor` of the next page; null on the last one")]


class Error(BaseModel):
    """Every error of the application has this shape (RFC 9457, and the seed's members)."""

    model_config = ConfigDict(alias_generator=to_camel, defer_build=True)

    type: str
    title: str
    status: int
    detail: str
    code: str
    message: str
    details: list[FieldProblem]
    request_id: str
    timestamp: datetime
    retryable: bool
    outcome: Outcome | None = None


# -- pages ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordsPage(Serializable):
    scope: Covered
    window_from: datetime | None
    window_to: datetime | None
    records: list[ErrorSummary]
    next: Next


@dataclass(frozen=True, slots=True)
class GroupsPage(Serializable):
    groups: list[GroupSummary]
    total: int
    next: Next
    coverage: Annotated[Coverage, INLINE]


@dataclass(frozen=True, slots=True)
class OneGroup(Serializable):
    group: Annotated[GroupSummary, INLINE]
    kept: Annotated[
        int | None, Description("Records of it in MongoDB: the first, the newest, and a sample of the others")
    ]
    records: list[ErrorSummary]
    coverage: Annotated[Coverage, INLINE]


@dataclass(frozen=True, slots=True)
class Changed(Serializable):
    changed: bool = True
    pending: Annotated[
        bool | None,
        OMITTED,
        Description("MongoDB is away: it is kept on this instance's disk, and applied when MongoDB answers again"),
    ] = None


@dataclass(frozen=True, slots=True)
class EndpointsPage(Serializable):
    endpoints: list[EndpointFigures]
    total: int
    next: Next
    coverage: Annotated[Coverage, INLINE]


@dataclass(frozen=True, slots=True)
class Muted(Serializable):
    """What is muted now."""

    mutes: list[MutedRule]


@dataclass(frozen=True, slots=True)
class QueriesPage(Serializable):
    page: Annotated[QueryPage, INLINE]
    next: Next


@dataclass(frozen=True, slots=True)
class IncidentsPage(Serializable):
    scope: Covered
    incidents: list[Incident]
    next: Next


@dataclass(frozen=True, slots=True)
class ConnectionEventsPage(Serializable):
    scope: Covered
    events: list[StoredEvent]
    next: Next


@dataclass(frozen=True, slots=True)
class Orders(Serializable):
    waiting: int
    last: list[CarriedOut]


@dataclass(frozen=True, slots=True)
class DeferredPage(Serializable):
    scope: Covered
    counts: Annotated[DeferredCounts, INLINE]
    groups: Annotated[list[BacklogGroup], Description("The largest, by state, operation and reason")]
    entries: list[DeferredEntry]
    orders: Orders
    next: Next
