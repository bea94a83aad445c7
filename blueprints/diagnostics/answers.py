"""What the API answers, as types: for the document, and for the tests that hold the answers against it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from prodfix import (
    AlertKind,
    AlertPart,
    ConnectionState,
    DeferredCommand,
    DeliveryState,
    DeviceType,
    ErrorCategory,
    GroupState,
    IncidentCause,
    IncidentState,
    Outcome,
    QuerySort,
    Severity,
    TestOperation,
    TimeRange,
)

Scope = Annotated[Literal["all", "instance"], Field(description="`instance` while MongoDB cannot be asked")]
Next = Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one")]
Millis = Annotated[float | None, Field(description="Milliseconds")]
Status = Annotated[int | None, Field(description="HTTP status")]


class Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Problem(Answer):
    field: str
    pointer: str
    code: str
    message: str


class Error(Answer):
    """Every error of the application has this shape (RFC 9457, and the seed's members)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    message: str
    details: list[Problem]
    request_id: str
    timestamp: datetime
    retryable: bool
    outcome: Outcome | None = None


# -- the database -----------------------------------------------------------------------------------------------------------


class Connection(Answer):
    state: ConnectionState
    uptime: Annotated[float, Field(description="Seconds")]
    last_error: str | None
    reconnect_attempts: int
    pool_size: int
    available_connections: int
    checked_out: int
    waiting: int
    capacity: int
    pool_exhausted: bool


class Collection(Answer):
    name: str
    type: str
    document_count: int | None
    indexes: list[str] | None
    avg_doc_size: Annotated[float | None, Field(description="Bytes")]
    unavailable: Annotated[dict[str, str], Field(description="Why a figure is null")]


class DatabaseOperation(Answer):
    operation: str
    collection: str | None
    query: Any
    duration_ms: Millis = None


class ErrorSummary(Answer):
    id: str
    timestamp: datetime
    request_id: str | None
    category: ErrorCategory | None
    severity: Severity | None
    code: str | None
    message: str | None
    status: Status
    outcome: Outcome | None
    fingerprint: str | None
    endpoint: str | None
    device_type: DeviceType | None
    user_id: str | None
    release: str | None
    database: DatabaseOperation | None


class DeferredCounts(Answer):
    enabled: bool
    durability: str | None
    waiting: int | None
    other_versions: Annotated[
        int, Field(description="Of them in journals of another version, which no worker reads")
    ] = 0
    note: str | None = None
    dead: int | None
    bytes: int | None
    oldest_seconds: float | None
    refused: int
    failing: int = 0
    operations: dict[str, int] = {}
    reasons: dict[str, int] = {}


class Journal(Answer):
    failing: str | None
    quarantined: Annotated[int, Field(description="Damaged files that are kept for a person")]
    lost_writes: Annotated[int, Field(description="Acknowledged writes that are gone with them, at least")] = 0
    other_versions: int


class Sink(Answer):
    name: str
    failing: str | None
    lost: int
    dropped: int
    waiting: int


class Worker(Answer):
    worker: str
    pid: int
    connection: Connection
    loop_lag_ms: float


class Database(Answer):
    scope: Scope
    connection: Connection
    collections: list[Collection] | None
    recent_errors: list[ErrorSummary] | None
    deferred: DeferredCounts
    journal: Journal
    sinks: list[Sink]
    breaker: Annotated[dict[str, int], Field(description="Workers by the state of their circuit breaker")]
    workers: list[Worker]


# -- errors -----------------------------------------------------------------------------------------------------------------


class Coverage(Answer):
    scope: Scope
    window_from: datetime
    window_to: datetime
    workers: int
    dropped: Annotated[int, Field(description="Errors, events and counted requests that are gone")]


class Latency(Answer):
    p50: Millis
    p95: Millis
    p99: Millis


class Rates(Answer):
    requests: int
    failed_requests: int
    error_rate: Annotated[float | None, Field(description="Failed (5xx) of all; null without requests")]


class Traffic(Rates):
    latency_ms: Latency


class OfDevice(Traffic):
    errors: int


class OfEndpoint(Rates):
    endpoint: str
    errors: int


class TopError(Answer):
    message: str
    count: int
    fingerprint: str | None


class Point(Answer):
    at: datetime
    requests: int
    failed_requests: int
    errors: Annotated[dict[str, int], Field(description="By category")]


class Series(Answer):
    step_minutes: int
    points: list[Point]


class Statistics(Traffic, Coverage):
    time_range: TimeRange
    total_errors: int
    errors_by_category: dict[str, int]
    errors_by_device: dict[str, int]
    errors_by_endpoint: dict[str, int]
    top_errors: list[TopError]
    devices: dict[str, OfDevice]
    endpoints: list[OfEndpoint]
    series: Series


class Records(Answer):
    scope: Scope
    window_from: datetime | None
    window_to: datetime | None
    records: list[ErrorSummary]
    next: Next


class Group(Answer):
    fingerprint: str
    message: str
    category: str
    count: Annotated[int, Field(description="Within the window")]
    first_seen: datetime
    last_seen: datetime
    releases: list[str]
    devices: dict[str, int]
    endpoints: dict[str, int]
    status: GroupState
    resolved_by: str | None
    resolved_at: datetime | None


class Groups(Coverage):
    groups: list[Group]
    total: int
    next: Next


class OneGroup(Group, Coverage):
    records: list[ErrorSummary]


class Changed(Answer):
    changed: bool


# -- requests, queries, incidents -------------------------------------------------------------------------------------------


class Command(Answer):
    operation: str
    collection: str | None
    duration_ms: Millis
    failed: bool


class Recovery(Answer):
    attempted: bool
    successful: bool
    attempts: int
    driver_retries: int


class Incident(Answer):
    id: str
    cause: IncidentCause
    status: IncidentState
    begin: Annotated[datetime, Field(alias="from")]
    end: Annotated[datetime, Field(alias="to")]
    seconds: float
    failed: int
    retried: int
    recovered: int
    deferred: int
    replayed: int
    dead: int
    workers: int
    instances: list[str]
    releases: list[str]


class OperationStatus(Answer):
    operation_id: str
    status: Literal["waiting", "applied", "failed", "unknown"]
    operation: str | None = None
    reason: str | None = None
    attempts: int | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    waiting_since: Annotated[datetime | None, Field(description="Since when it waits for its `reason`")] = None


class Request(Answer):
    request_id: str
    trace_id: str | None
    endpoint: str | None
    method: str | None
    device_type: DeviceType | None
    app_version: str | None
    user_agent: str | None
    client: Annotated[str | None, Field(description="The user agent's device, system and client, in words")]
    user_id: str | None
    ip: str | None
    timestamp: datetime
    status: Status
    code: str | None
    outcome: Outcome | None
    errors: Annotated[list[dict[str, Any]], Field(description="The whole records, newest first")]
    commands: list[Command]
    recovery: Recovery | None
    deferred: list[OperationStatus]
    incidents: list[Incident]
    missing: Annotated[
        list[Literal["errors", "deferred", "incidents"]],
        Field(description="Parts of which MongoDB may know more, and cannot be asked now"),
    ]


class Query(Answer):
    operation: str
    collection: str | None
    fields: list[str]
    count: int
    errors: int
    repeated_in_requests: int
    total_ms: float
    mean_ms: Millis
    p50_ms: Annotated[Millis, Field(alias="p50Ms")]
    p95_ms: Annotated[Millis, Field(alias="p95Ms")]
    p99_ms: Annotated[Millis, Field(alias="p99Ms")]
    sampled: int
    advice: list[dict[str, Any]]


class Queries(Answer):
    scope: Scope
    workers: int
    sort: QuerySort
    total: int
    queries: list[Query]
    next: Next


class Incidents(Answer):
    scope: Scope
    incidents: list[Incident]
    next: Next


class ConnectionEvent(Answer):
    id: Annotated[str, Field(alias="_id")]
    timestamp: datetime
    event: ConnectionState
    details: dict[str, Any]
    environment: dict[str, Any]


class ConnectionEvents(Answer):
    scope: Scope
    events: list[ConnectionEvent]
    next: Next


class Alarm(Answer):
    """Something that is wrong now."""

    key: str
    kind: AlertKind
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
    kind: AlertKind
    part: AlertPart
    severity: Severity
    title: str
    at: datetime
    channels: list[AlertDelivery]


class Sender(Answer):
    worker: str
    pid: int


class Alerts(Answer):
    scope: Scope
    complete: Annotated[bool, Field(description="False if the disk did not tell all")]
    channels: list[str]
    sender: Annotated[Sender | None, Field(description="The worker that tells")]
    alarms: Annotated[list[Alarm], Field(description="The oldest first")]
    alerts: Annotated[list[Alert], Field(description="The newest first")]
    sent: int
    failed: int
    held_back: int


# -- deferred writes, and what is done ----------------------------------------------------------------------------------------


class DeferredEntry(Answer):
    operation_id: str
    status: Literal["waiting", "failed"]
    operation: str
    reason: str | None
    attempts: int
    created_at: datetime
    failed_at: datetime | None
    waiting_since: Annotated[datetime | None, Field(description="Since when it waits for its `reason`")]
    request_id: str | None
    facts: dict[str, Any]


class Order(Answer):
    command: DeferredCommand
    operation_id: str
    by: str | None
    at: datetime
    result: str


class Orders(Answer):
    waiting: int
    last: list[Order]


class DeferredPage(DeferredCounts):
    scope: Scope
    entries: list[DeferredEntry]
    orders: Orders
    next: Next


class DeferredWrite(DeferredEntry):
    bytes: int
    arguments: Annotated[Any, Field(description="Names and types, no values")]
    orders: list[Order]


class Ordered(Answer):
    ordered: DeferredCommand
    operation_id: str
    status: Literal["waiting", "failed"]


class Step(Answer):
    name: str
    success: bool
    duration_ms: float


class Tested(Answer):
    operation: TestOperation
    success: bool
    duration_ms: float
    steps: list[Step]
    error: Annotated[str | None, Field(description="Types and codes, no values")]
    code: str | None
