"""The JSON Schema of a line of the log, in prodfix's own names: ``docs/reference/log-line.schema.json`` is made of it.

What stands in a line as one of the library's types is that type's own schema, so a new field is in both. A kind of line that
takes whatever an application, or a condition of an alert, has to say is open; each other has its names and no more.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from prodfix.connection.status import ConnectionDetails, ConnectionStatus, ProcessEnvironment
from prodfix.errors import ErrorCategory, Outcome
from prodfix.incidents.incident_log import Incident
from prodfix.journal.quarantine import DamageReport
from prodfix.operations.operation import DatabaseOperation
from prodfix.queries.advice import QueryAdvice
from prodfix.records.records import RecoveryAttempts
from prodfix.recovery.breaker import BreakerStatus
from prodfix.request.context import ErrorContext
from prodfix.request.notes import SentCommand
from prodfix.serialization import inlined

Schema = dict[str, Any]

TYPES = (
    BreakerStatus,
    ConnectionDetails,
    ConnectionStatus,
    DamageReport,
    DatabaseOperation,
    ErrorContext,
    Incident,
    ProcessEnvironment,
    QueryAdvice,
    RecoveryAttempts,
    SentCommand,
)
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXTS: Schema = {"type": "array", "items": TEXT}
OBJECT: Schema = {"type": "object"}
MOMENT: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
LEVEL: Schema = {"enum": ["debug", "info", "warn", "error", "critical"]}
TRACE: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
SPAN: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _type(cls: type) -> Schema:
    return {"$ref": f"#/$defs/{cls.__name__}"}


MAYBE = _or_null(TEXT)
CATEGORY: Schema = {"enum": [one.value for one in ErrorCategory]}
_HEAD: Schema = {
    "timestamp": MOMENT,
    "level": LEVEL,
    "message": TEXT,
    "requestId": MAYBE,
    "traceId": TRACE,
    "spanId": SPAN,
}
_EVENT = {**_HEAD, "severity": LEVEL}
# What every line of a category's file has.
_FILED: Schema = {"category": TEXT, "database": {"type": "null"}, "stack": TEXT}


def schema() -> Schema:
    """The whole document, of draft 2020-12."""
    definitions = _definitions()
    kinds = _kinds(definitions)
    for name, kind in kinds.items():
        definitions[f"line-{name}"] = kind
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:prodfix:log-line",
        "title": "A line of prodfix's log",
        "description": "One JSON object. Its kind is `event`; a line without one is what somebody's logger has said.",
        "oneOf": [{"$ref": f"#/$defs/line-{name}"} for name in kinds],
        "$defs": dict(sorted(definitions.items())),
    }


def kinds() -> frozenset[str]:
    """Each ``event`` that a line of ours can have."""
    return frozenset(_kinds(_definitions())) - {"log"}


def _definitions() -> dict[str, Schema]:
    models: list[Any] = [(one, "serialization", TypeAdapter(one)) for one in TYPES]
    definitions: dict[str, Schema] = TypeAdapter.json_schemas(models, ref_template="#/$defs/{model}", by_alias=True)[1][
        "$defs"
    ]
    inlined(definitions)
    for found in definitions.values():
        found.pop("title", None)
    return definitions


def _line(event: str, properties: Schema, *, required: tuple[str, ...] = (), head: Schema = _EVENT) -> Schema:
    """A kind of line that has these properties and no others. What is ``required`` besides its head."""
    always = [name for name in head if name not in ("traceId", "spanId")]
    return {
        "type": "object",
        "properties": {**head, "event": {"const": event}, **properties},
        "required": list(dict.fromkeys([*always, "event", *required])),
        "additionalProperties": False,
    }


def _filed(event: str, properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    """One that a category's file has too."""
    return _line(event, {**_FILED, **properties}, required=("category", "database", "stack", *required))


def _of(definitions: dict[str, Schema], cls: type) -> Schema:
    """The properties of a type whose fields are the line's own."""
    return dict(definitions[cls.__name__]["properties"])


def _kinds(definitions: dict[str, Schema]) -> dict[str, Schema]:
    return {
        "log": _said(),
        "request": _request(),
        "error": _error(),
        "query": _query(),
        **_of_connections(definitions),
        **_of_recovery(definitions),
        **_of_operators(definitions),
    }


def _said() -> Schema:
    """What an application's logger, a library's, or gunicorn's has said; whoever said it may have bound any name to it."""
    named = {"logger": TEXT, "stack": TEXT, "pid": WHOLE}
    return {
        "type": "object",
        "properties": {**_HEAD, **named, "event": False},
        "required": ["timestamp", "level", "message", "requestId"],
    }


def _request() -> Schema:
    head = {name: _HEAD[name] for name in ("timestamp", "level", "requestId", "traceId", "spanId")}
    properties = {
        "method": TEXT,
        "path": {**TEXT, "description": "The route's template; of a path without one its words"},
        "rawPath": {**TEXT, "description": "With LOG_LEVEL=debug"},
        "status": _or_null({"type": "integer", "minimum": 100, "maximum": 999}),
        "durationMs": NUMBER,
        "ip": MAYBE,
    }
    return _line("request", properties, required=("method", "path", "status", "durationMs", "ip"), head=head)


def _error() -> Schema:
    properties = {
        "traceId": _or_null(TRACE),
        "spanId": SPAN,
        "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "category": CATEGORY,
        "code": TEXT,
        "status": WHOLE,
        "answeredBy": {"enum": ["prodfix", "host", None]},
        "errorType": TEXT,
        "stack": TEXT,
        "context": _or_null(_type(ErrorContext)),
        "database": _or_null(_type(DatabaseOperation)),
        "trail": _or_null({"type": "array", "items": _type(SentCommand)}),
        "recovery": _type(RecoveryAttempts),
        "facts": _or_null(OBJECT),
        "outcome": {"enum": [*(one.value for one in Outcome), None]},
        "retryable": {"type": "boolean"},
        "release": MAYBE,
        "instance": MAYBE,
        "pid": WHOLE,
    }
    return _line("error", properties, required=tuple(name for name in properties if name != "spanId"))


def _query() -> Schema:
    operation: Schema = {
        "type": "object",
        "properties": {
            "operation": TEXT,
            "collection": MAYBE,
            "query": _or_null(OBJECT),
            "durationMs": _or_null(NUMBER),
            "name": TEXT,
            "options": OBJECT,
        },
        "required": ["operation", "collection", "query", "durationMs", "name", "options"],
        "additionalProperties": False,
    }
    properties = {
        "database": operation,
        "fingerprint": MAYBE,
        "outcome": {"enum": ["started", "succeeded", "slow", "failed", "partly_failed"]},
        "code": _or_null(WHOLE),
        "resultCount": _or_null(WHOLE),
        "driverAttempts": WHOLE,
        "context": _or_null(_type(ErrorContext)),
    }
    return _filed("query", properties, required=tuple(properties))


def _of_connections(definitions: dict[str, Schema]) -> dict[str, Schema]:
    return {
        "connection": _filed(
            "connection",
            {
                "connectionString": MAYBE,
                "timeouts": {"type": "object", "additionalProperties": NUMBER},
                **_of(definitions, ConnectionDetails),
                "environment": _type(ProcessEnvironment),
            },
        ),
        "connection-status": _line("connection-status", _of(definitions, ConnectionStatus)),
        "reconnect": _filed(
            "reconnect",
            {"attempt": WHOLE, "attempts": WHOLE, "error": TEXT},
            required=("attempt", "attempts", "error"),
        ),
        "storage": _filed("storage", {"reason": MAYBE}, required=("reason",)),
        "incident": _filed("incident", {"incident": _type(Incident)}, required=("incident",)),
        "advice": _filed("advice", _of(definitions, QueryAdvice)),
        "repeated-query": _filed("repeated-query", {"endpoint": TEXT, "database": OBJECT}, required=("endpoint",)),
    }


def _of_recovery(definitions: dict[str, Schema]) -> dict[str, Schema]:
    commands: Schema = {"type": "array", "items": {"type": "array", "items": OBJECT}}
    transaction = {
        "database": _or_null(OBJECT),
        "attempts": WHOLE,
        "outcome": TEXT,
        "error": MAYBE,
        "endpoint": MAYBE,
        "operations": commands,
        "place": MAYBE,
    }
    deferred = {
        "operationId": TEXT,
        "operation": TEXT,
        "writeRequestId": MAYBE,
        "durability": TEXT,
        "error": TEXT,
        "reason": TEXT,
        "partlyApplied": {"type": "boolean"},
        "expectedVersion": {},
        "foundVersion": {},
        "steps": TEXTS,
    }
    return {
        "retry": _line("retry", {"attempt": WHOLE, "delaySeconds": NUMBER, "error": TEXT}),
        "breaker": _filed("breaker", {"before": TEXT, "after": TEXT, **_of(definitions, BreakerStatus)}),
        "idempotency": _line("idempotency", {"error": TEXT}),
        "transaction": _filed("transaction", transaction),
        "conflict": _filed(
            "conflict",
            {
                "collection": TEXT,
                "document": TEXT,
                "expectedVersion": {},
                "foundVersion": {},
                "theirs": OBJECT,
                "ours": OBJECT,
            },
        ),
        "deferred": _filed("deferred", deferred, required=("operationId", "operation")),
        "deferred-order": _filed(
            "deferred-order",
            {"operationId": TEXT, "command": TEXT, "by": MAYBE, "result": TEXT},
            required=("operationId", "command", "result"),
        ),
        "journal-damaged": _filed("journal-damaged", _of(definitions, DamageReport)),
    }


def _of_operators(definitions: dict[str, Schema]) -> dict[str, Schema]:
    alarm = _line("alarm", _FILED)
    del alarm["additionalProperties"]  # each condition has facts of its own
    sink = {"sink": TEXT, "failing": MAYBE, "lost": WHOLE}
    audit = {
        "userId": TEXT,
        "jti": MAYBE,
        "method": TEXT,
        "endpoint": TEXT,
        "status": WHOLE,
        "ip": MAYBE,
        "error": TEXT,
        "fingerprint": {**MAYBE, "description": "Of the kind of error that a command, or a tool of MCP, was about"},
        "result": {"enum": ["changed", "pending", "superseded", "not found", "failed", "answered", "refused"]},
        "loggerName": {**TEXT, "description": "Whose level was changed for a while"},
        "loggerLevel": {"enum": ["debug", "info", "warn", "error", "usual"]},
        "minutes": WHOLE,
    }
    names = {"fingerprint": TEXT, "message": TEXT, "releases": TEXTS}
    group = {"type": "object", "properties": names, "required": ["fingerprint", "message", "releases"]}
    words = {"headline": TEXT, "place": TEXT, "code": TEXT, "category": TEXT}
    kind = {
        "type": "object",
        "properties": {
            **names,
            **words,
            "escalation": {"type": "object"},
            "ignoredUntil": {**TEXT, "description": "What it was ignored until, which has come"},
            "incident": {**TEXT, "description": "The outage that it is a consequence of: it alerts nobody by itself"},
        },
        "required": ["fingerprint", "message", *words, "releases"],
    }
    storm = {"fingerprint": TEXT, "error": TEXT, "suppressed": WHOLE}
    return {
        "alarm": alarm,
        "regression": _filed("regression", {"group": group}, required=("group",)),
        "new-kind": _filed("new-kind", {"group": kind}, required=("group",)),
        "escalation": _filed("escalation", {"group": kind}, required=("group",)),
        "unignored": _filed("unignored", {"group": kind}, required=("group",)),
        "storm": _filed("storm", storm, required=tuple(storm)),
        "audit": _filed("audit", audit),
        "background": _line("background", {"error": TEXT, "code": TEXT, "failing": MAYBE}),
        "error-handler": _line("error-handler", {"error": TEXT}, required=("error",)),
        "json": _line("json", {"endpoint": TEXT}, required=("endpoint",)),
        "rate-limit": _line("rate-limit", {"error": TEXT}, required=("error",)),
        "sink": _filed("sink", sink, required=("sink",)),
        "uncaught": _line("uncaught", {"stack": TEXT}, required=("stack",), head=_HEAD),
    }
