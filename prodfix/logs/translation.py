"""The names of others for what stands in a line: ``LOG_SCHEMA=ecs`` and ``otel``, and attributes of OpenTelemetry's signals.

A line is made once, in prodfix's own names, and what is to be written otherwise is translated where it is written. Each kind of
line (its ``event``) has a table, since an application may bind any name to a line of its own: there ``status`` is not HTTP's.
What has no name elsewhere is prodfix's there too, so nothing is lost. Pure Python, and nothing of the library: gunicorn's
arbiter writes such lines too.

Elastic Common Schema 9.1: https://www.elastic.co/docs/reference/ecs. OpenTelemetry: the log data model's field names
(https://opentelemetry.io/docs/specs/otel/logs/data-model/) and semantic conventions 1.37.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Entry = dict[str, Any]
Translate = Callable[[Mapping[str, Any]], Entry]

ECS_VERSION = "9.1.0"
SEVERITIES = {"debug": 5, "info": 9, "warn": 13, "error": 17, "critical": 21}
"""OpenTelemetry's numbers of our levels: DEBUG, INFO, WARN, ERROR, FATAL."""

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


@lru_cache(1024)
def snake(name: str) -> str:
    """``answeredBy`` -> ``answered_by``; any other character than a letter, a digit, ``_`` or ``.`` becomes ``_``."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", _CAPITAL.sub(r"_\1", name)).lower()[:100]


def nanoseconds(timestamp: Any) -> int:
    """Since 1970, of a line's timestamp (``2026-11-29T18:00:00.123Z``). Raises ``ValueError`` for another form."""
    text = str(timestamp)
    second, _, fraction = text.removesuffix("Z").partition(".")
    return _second(second) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or "0")


@lru_cache(16)
def _second(text: str) -> int:
    date, _, clock = text.partition("T")
    year, month, day = map(int, date.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    return timegm((year, month, day, hour, minute, second))


# -- tables: a line's own name, and the name elsewhere ------------------------------------------------------------------------

_CONTEXT = {"userId": "userId", "userAgent": "userAgent", "ip": "ip", "method": "method", "endpoint": "path"}
"""What of a request's context is the line's own where that does not say it."""

_ECS_ALL = {
    "message": "message",
    "level": "log.level",
    "logger": "log.logger",
    "event": "event.action",
    "traceId": "trace.id",
    "spanId": "span.id",
    "requestId": "http.request.id",
    "pid": "process.pid",
    "stack": "error.stack_trace",
}
_ECS_HTTP = {
    "method": "http.request.method",
    "path": "url.path",
    "rawPath": "url.original",
    "ip": "client.ip",
    "userId": "user.id",
    "userAgent": "user_agent.original",
}
_ECS = {
    "request": {**_ECS_ALL, **_ECS_HTTP, "status": "http.response.status_code"},
    "error": {
        **_ECS_ALL,
        **_ECS_HTTP,
        "status": "http.response.status_code",
        "code": "error.code",
        "errorType": "error.type",
        "release": "service.version",
    },
    "query": {**_ECS_ALL, **_ECS_HTTP},
    "audit": {**_ECS_ALL, **_ECS_HTTP, "endpoint": "url.path", "status": "http.response.status_code"},
}

_OTEL_ALL = {
    "logger": "log.logger",
    "requestId": "prodfix.request_id",
    "pid": "process.pid",
    "stack": "exception.stacktrace",
}
_OTEL_HTTP = {
    "method": "http.request.method",
    "path": "http.route",
    "rawPath": "url.path",
    "ip": "client.address",
    "userId": "user.id",
    "userAgent": "user_agent.original",
}
_OTEL = {
    "request": {**_OTEL_ALL, **_OTEL_HTTP, "status": "http.response.status_code"},
    "error": {
        **_OTEL_ALL,
        **_OTEL_HTTP,
        "status": "http.response.status_code",
        "errorType": "exception.type",
    },
    "query": {**_OTEL_ALL, **_OTEL_HTTP, "code": "db.response.status_code"},
    "audit": {**_OTEL_ALL, **_OTEL_HTTP, "endpoint": "http.route", "status": "http.response.status_code"},
}
_DATABASE = {
    "operation": "db.operation.name",
    "collection": "db.collection.name",
    "name": "db.namespace",
}
_TEXT = frozenset({"db.response.status_code", "error.code"})  # by their definitions no numbers, whatever they look like
_HEAD = frozenset({"timestamp", "level", "message", "event", "traceId", "spanId"})  # no attributes of OpenTelemetry's


def _known(entry: Mapping[str, Any], table: Mapping[str, str]) -> tuple[Entry, Entry]:
    """What of ``entry`` the table has a name for, and the rest by its own names. What is nothing is left out."""
    found: Entry = {}
    rest: Entry = {}
    for name, value in entry.items():
        if value is None or value == "":
            continue
        target = table.get(name)
        if target is None:
            rest[name] = value
        else:
            found[target] = str(value) if target in _TEXT else value
    context = rest.pop("context", None)
    if isinstance(context, Mapping):
        rest |= _request_of(context, table, found)
    elif context is not None:
        rest["context"] = context
    return found, rest


def _request_of(context: Mapping[str, Any], table: Mapping[str, str], found: Entry) -> Entry:
    """Put into ``found`` what a request's context knows; what of it has no name elsewhere."""
    rest: Entry = {}
    for name, value in context.items():
        if value is None or name in ("requestId", "traceId", "timestamp"):  # which are the line's
            continue
        target = table.get(_CONTEXT.get(name, ""))
        if target is None:
            rest[name] = value
        else:
            found.setdefault(target, value)
    return rest


# -- Elastic Common Schema ----------------------------------------------------------------------------------------------------


def ecs(service: Mapping[str, str]) -> Translate:
    """A line in ECS: names with dots, as ECS loggers write them; what has none there is below ``prodfix``. ``service``: its
    ``name``, ``version``, ``environment`` and ``instance``, as far as they are known."""
    names = {"name": "name", "version": "version", "environment": "environment", "instance": "node.name"}
    constant = {"ecs.version": ECS_VERSION} | {
        f"service.{names[name]}": value for name, value in service.items() if value
    }

    def translate(entry: Mapping[str, Any]) -> Entry:
        found, rest = _known(entry, _ECS.get(str(entry.get("event")), _ECS_ALL))
        made: Entry = {
            "@timestamp": rest.pop("timestamp", None),
            "log.level": found.pop("log.level", "info"),
            "message": found.pop("message", "") or body(entry),
            **constant,
            **found,
        }
        took = _milliseconds(rest)
        if took is not None:
            made["event.duration"] = int(took * 1_000_000)
        if entry.get("event") == "error":
            made["error.message"] = made["message"]
        _explained(made, entry, rest, "error.type")
        if rest:
            made["prodfix"] = {snake(name): value for name, value in rest.items()}
        return made

    return translate


def _milliseconds(rest: Entry) -> float | None:
    """Of a request, or of the command that a line tells of."""
    took = rest.get("durationMs")
    if isinstance(took, (int, float)):
        del rest["durationMs"]
        return took
    database = rest.get("database")
    inner = database.get("durationMs") if isinstance(database, Mapping) else None
    return inner if isinstance(inner, (int, float)) else None


def _explained(made: Entry, entry: Mapping[str, Any], rest: Entry, name: str) -> None:
    """Events tell the class of an exception, or its text, as ``error``."""
    error = rest.get("error")
    if name not in made and "event" in entry and isinstance(error, str) and error.isidentifier():
        made[name] = rest.pop("error")


# -- OpenTelemetry ------------------------------------------------------------------------------------------------------------


def attributes(entry: Mapping[str, Any]) -> Entry:
    """OpenTelemetry's attributes of a line: semantic conventions where they know it, else names that begin with ``prodfix.``;
    what is nested has its own names there."""
    told = {name: value for name, value in entry.items() if name not in _HEAD}
    made, rest = _known(told, _OTEL.get(str(entry.get("event")), _OTEL_ALL))
    database = rest.pop("database", None)
    if isinstance(database, Mapping):
        for name, value in database.items():
            if value is not None:
                made[_DATABASE.get(name) or f"prodfix.database.{snake(name)}"] = value
        made["db.system.name"] = "mongodb"
    elif database is not None:
        rest["database"] = database
    if entry.get("event") == "error":
        made["exception.message"] = entry.get("message", "")
        if isinstance(status := entry.get("status"), int) and status >= 500 and "exception.type" in made:
            made["error.type"] = made["exception.type"]
    _explained(made, entry, rest, "error.type")
    return made | {f"prodfix.{snake(name)}": value for name, value in rest.items()}


def otel(service: Mapping[str, str]) -> Translate:
    """A line in the names of OpenTelemetry's log data model. Its moment is in nanoseconds, as text, which no reader rounds."""
    resource = {
        name: service[key]
        for key, name in (
            ("name", "service.name"),
            ("version", "service.version"),
            ("instance", "service.instance.id"),
            ("environment", "deployment.environment.name"),
        )
        if service.get(key)
    }

    def translate(entry: Mapping[str, Any]) -> Entry:
        level = str(entry.get("level", "info"))
        made: Entry = {
            "Timestamp": str(nanoseconds(entry["timestamp"])),
            "SeverityText": level.upper(),
            "SeverityNumber": SEVERITIES.get(level, 9),
            "Body": body(entry),
        }
        for ours, theirs in (("traceId", "TraceId"), ("spanId", "SpanId")):
            if entry.get(ours):
                made[theirs] = entry[ours]
        if entry.get("event"):
            made["EventName"] = f"prodfix.{entry['event']}"
        return {**made, "Resource": resource, "Attributes": attributes(entry)}

    return translate


def body(entry: Mapping[str, Any]) -> str:
    """The words of a line; of one that needs none, an answered request's, what it tells."""
    return str(entry.get("message") or "") or " ".join(
        str(entry[name]) for name in ("method", "path", "status") if entry.get(name) is not None
    )


SCHEMAS: Mapping[str, Callable[[Mapping[str, str]], Translate]] = {"ecs": ecs, "otel": otel}
"""By the value of ``LOG_SCHEMA``; prodfix's own is none of them: nothing is translated there."""
