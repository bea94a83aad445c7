"""What the API answers, as types: envelopes of what the services answer, and errors. The document is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from prodfix import Outcome, Severity
from prodfix.models import (
    INLINE,
    AlarmKind,
    AlertPart,
    CarriedOut,
    Coverage,
    DeferredCounts,
    DeferredEntry,
    DeliveryState,
    Description,
    ErrorSummary,
    FieldProblem,
    GroupSummary,
    Incident,
    QueryPage,
    Scope,
    Serializable,
    StoredEvent,
)

Covered = Annotated[Scope, Description("`instance` while MongoDB cannot be asked")]
Next = Annotated[str | None, Description("The `cursor` of the next page; null on the last one")]


class Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Error(Answer):
    """Every error of the application has this shape (RFC 9457, and the seed's members)."""

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
class Records(Serializable):
    scope: Covered
    window_from: datetime | None
    window_to: datetime | None
    records: list[ErrorSummary]
    next: Next


@dataclass(frozen=True, slots=True)
class Groups(Serializable):
    groups: list[GroupSummary]
    total: int
    next: Next
    coverage: Annotated[Coverage, INLINE]


@dataclass(frozen=True, slots=True)
class OneGroup(Serializable):
    group: Annotated[GroupSummary, INLINE]
    records: list[ErrorSummary]
    coverage: Annotated[Coverage, INLINE]


@dataclass(frozen=True, slots=True)
class Changed(Serializable):
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Queries(Serializable):
    page: Annotated[QueryPage, INLINE]
    next: Next


@dataclass(frozen=True, slots=True)
class Incidents(Serializable):
    scope: Covered
    incidents: list[Incident]
    next: Next


@dataclass(frozen=True, slots=True)
class ConnectionEvents(Serializable):
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
    entries: list[DeferredEntry]
    orders: Orders
    next: Next


# -- alerts -----------------------------------------------------------------------------------------------------------------


class Alarm(Answer):
    """Something that is wrong now."""

    key: str
    kind: AlarmKind
    severity: Severity
    title: str
    since: datetime
    facts: Annotated[dict[str, Any], Field(description="Codes and counts")]
    told: Literal["by this instance", "by another instance", "not yet", "no channels"]


class AlertDelivery(Answer):
    channel: Annotated[str, Field(description="The scheme and number of its URL")]
    state: DeliveryState
    attempts: int
    reason: str | None
    next_try_at: datetime | None


class Alert(Answer):
    """What was told, with what became of it on each channel."""

    id: str
    key: str
    kind: AlarmKind
    part: AlertPart
    severity: Severity
    title: str
    at: datetime
    channels: list[AlertDelivery]


class Sender(Answer):
    worker: str
    pid: int


class Alerts(Answer):
    scope: Annotated[Scope, Field(description="`instance` while MongoDB cannot be asked")]
    complete: Annotated[bool, Field(description="False if the disk did not tell all")]
    channels: list[str]
    sender: Annotated[Sender | None, Field(description="The worker that tells")]
    alarms: Annotated[list[Alarm], Field(description="The oldest first")]
    alerts: Annotated[list[Alert], Field(description="The newest first")]
    sent: int
    failed: int
    held_back: int
