"""Lines in the names of others are what those say: fields and types of the Elastic Common Schema 9.1, and of OpenTelemetry's log
data model with semantic conventions 1.37."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from prodfix.logs import lines
from prodfix.logs.outlets import PartlyWritten
from prodfix.logs.translated import Translated
from prodfix.logs.translation import SCHEMAS, attributes, nanoseconds, snake
from tests.support.log_kinds import every_line

SERVICE = {"name": "shop", "version": "1.2", "environment": "production", "instance": "a"}
KEYWORD = TEXT = {"type": "string"}
LONG = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}

# Of https://www.elastic.co/docs/reference/ecs (9.1.0): what we have of it. A keyword and a match_only_text are texts here.
ECS: dict[str, Any] = {
    "@timestamp": {"type": "string", "format": "date-time"},
    "client.ip": {"type": "string", "format": "ip"},
    "ecs.version": {"const": "9.1.0"},
    "error.code": KEYWORD,
    "error.message": TEXT,
    "error.stack_trace": TEXT,
    "error.type": KEYWORD,
    "event.action": KEYWORD,
    "event.duration": LONG,
    "http.request.id": KEYWORD,
    "http.request.method": KEYWORD,
    "http.response.status_code": LONG,
    "log.level": KEYWORD,
    "log.logger": KEYWORD,
    "message": TEXT,
    "process.pid": LONG,
    "service.environment": KEYWORD,
    "service.name": KEYWORD,
    "service.node.name": KEYWORD,
    "service.version": KEYWORD,
    "span.id": KEYWORD,
    "trace.id": KEYWORD,
    "url.original": KEYWORD,
    "url.path": KEYWORD,
    "user.id": KEYWORD,
    "user_agent.original": KEYWORD,
}
ECS_LINE = {
    "type": "object",
    "properties": {**ECS, "prodfix": {"type": "object", "propertyNames": {"pattern": "^[a-z0-9_.]+$"}}},
    "required": ["@timestamp", "ecs.version", "log.level", "message", "service.name"],
    "additionalProperties": False,
}

# Of https://opentelemetry.io/docs/specs/semconv/registry/attributes/: the stable ones, and log.logger, which has no name there.
ATTRIBUTES: dict[str, Any] = {
    "client.address": TEXT,
    "db.collection.name": TEXT,
    "db.namespace": TEXT,
    "db.operation.name": TEXT,
    "db.response.status_code": TEXT,
    "db.system.name": {"const": "mongodb"},
    "error.type": TEXT,
    "exception.message": TEXT,
    "exception.stacktrace": TEXT,
    "exception.type": TEXT,
    "http.request.method": TEXT,
    "http.response.status_code": LONG,
    "http.route": TEXT,
    "log.logger": TEXT,
    "process.pid": LONG,
    "url.path": TEXT,
    "user.id": TEXT,
    "user_agent.original": TEXT,
}
OTEL_LINE = {
    "type": "object",
    "properties": {
        "Timestamp": {"type": "string", "pattern": "^[0-9]{19}$"},
        "TraceId": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "SpanId": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "SeverityText": {"enum": ["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"]},
        "SeverityNumber": {"enum": [5, 9, 13, 17, 21]},
        "Body": {"type": "string", "minLength": 1},
        "EventName": {"type": "string", "pattern": r"^prodfix\.[a-z-]+$"},
        "Resource": {
            "type": "object",
            "properties": {
                name: TEXT
                for name in ("service.name", "service.version", "service.instance.id", "deployment.environment.name")
            },
            "required": ["service.name"],
            "additionalProperties": False,
        },
        "Attributes": {
            "type": "object",
            "properties": ATTRIBUTES,
            "patternProperties": {r"^prodfix\.[a-z0-9_.]+$": True},
            "additionalProperties": False,
        },
    },
    "required": ["Timestamp", "SeverityText", "SeverityNumber", "Body", "Resource", "Attributes"],
    "additionalProperties": False,
}
formats = FormatChecker()
formats.checks("ip", raises=ValueError)(lambda text: bool(ipaddress.ip_address(text)))
VALIDATORS = {
    "ecs": Draft202012Validator(ECS_LINE, format_checker=formats),
    "otel": Draft202012Validator(OTEL_LINE, format_checker=formats),
}


def problems(schema: str, line: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATORS[schema].iter_errors(line)]


@pytest.fixture
def arbiter() -> Iterator[Callable[[str], None]]:
    yield lambda schema: lines.use(schema, SERVICE)
    lines.use("prodfix", {})


@pytest.mark.parametrize("schema", ["ecs", "otel"])
def test_every_kind_of_line_is_as_the_schema_says(
    serve: Callable[..., Any],
    database_uri: str,
    tmp_path: Path,
    arbiter: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    schema: str,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    arbiter(schema)
    found = every_line(serve, database_uri, tmp_path, log_schema=schema, app_release="1.2")
    assert [problem for line in found for problem in problems(schema, line)] == []
    name = {"ecs": "event.action", "otel": "EventName"}[schema]
    assert len({line.get(name) for line in found}) > 25, "every kind of line, and those of none"
    files = [json.loads(line) for line in (tmp_path / "log" / "error.log").read_text().splitlines()]
    assert files
    assert [problem for line in files for problem in problems(schema, line)] == []


@pytest.mark.parametrize(
    ("schema", "broken"),
    [
        ("ecs", {"@timestamp": "yesterday"}),
        ("ecs", {"client.ip": "somewhere"}),
        ("ecs", {"http.response.status_code": "200"}),
        ("ecs", {"event.duration": 1.5}),
        ("ecs", {"requestId": "x"}),
        ("ecs", {"prodfix": {"camelCase": 1}}),
        ("otel", {"Timestamp": 5}),
        ("otel", {"SeverityNumber": 4}),
        ("otel", {"Attributes": {"requestId": "x"}}),
        ("otel", {"Attributes": {"db.response.status_code": 13}}),
        ("otel", {"timestamp": "x"}),
    ],
)
def test_the_control_a_line_that_is_not_is_refused(schema: str, broken: dict[str, Any]) -> None:
    good = SCHEMAS[schema](SERVICE)(LINE)
    assert problems(schema, good) == []
    assert problems(schema, good | broken)


LINE: dict[str, Any] = {
    "timestamp": "2026-11-29T18:00:00.123Z",
    "level": "error",
    "event": "error",
    "requestId": "request-0001",
    "traceId": "a" * 32,
    "spanId": "b" * 16,
    "category": "database_query",
    "severity": "error",
    "code": "DATABASE_ERROR",
    "status": 500,
    "message": "OperationFailure (code 13)",
    "errorType": "OperationFailure",
    "stack": "a\nb",
    "context": {
        "requestId": "request-0001",
        "endpoint": "/a/<b>",
        "method": "GET",
        "ip": "::1",
        "deviceType": "mobile",
    },
    "database": {"operation": "find", "collection": "things", "query": None, "durationMs": 1.5},
    "facts": {"n": 1},
    "release": "1.2",
    "outcome": None,
}


def test_an_error_in_ecs() -> None:
    assert SCHEMAS["ecs"](SERVICE)(LINE) == {
        "@timestamp": "2026-11-29T18:00:00.123Z",
        "log.level": "error",
        "message": "OperationFailure (code 13)",
        "ecs.version": "9.1.0",
        "service.name": "shop",
        "service.version": "1.2",
        "service.environment": "production",
        "service.node.name": "a",
        "event.action": "error",
        "http.request.id": "request-0001",
        "trace.id": "a" * 32,
        "span.id": "b" * 16,
        "error.code": "DATABASE_ERROR",
        "error.type": "OperationFailure",
        "error.message": "OperationFailure (code 13)",
        "error.stack_trace": "a\nb",
        "event.duration": 1_500_000,
        "http.response.status_code": 500,
        "http.request.method": "GET",
        "url.path": "/a/<b>",
        "client.ip": "::1",
        "prodfix": {
            "category": "database_query",
            "severity": "error",
            "database": {"operation": "find", "collection": "things", "query": None, "durationMs": 1.5},
            "facts": {"n": 1},
            "device_type": "mobile",
        },
    }


def test_an_error_in_opentelemetrys_names() -> None:
    found = SCHEMAS["otel"](SERVICE)(LINE)
    assert (found["Timestamp"], found["SeverityText"], found["SeverityNumber"]) == ("1795975200123000000", "ERROR", 17)
    assert (found["EventName"], found["TraceId"], found["SpanId"]) == ("prodfix.error", "a" * 32, "b" * 16)
    assert found["Attributes"] == {
        "prodfix.request_id": "request-0001",
        "prodfix.category": "database_query",
        "prodfix.severity": "error",
        "prodfix.code": "DATABASE_ERROR",
        "http.response.status_code": 500,
        "exception.type": "OperationFailure",
        "exception.message": "OperationFailure (code 13)",
        "exception.stacktrace": "a\nb",
        "error.type": "OperationFailure",
        "http.request.method": "GET",
        "http.route": "/a/<b>",
        "client.address": "::1",
        "prodfix.device_type": "mobile",
        "db.system.name": "mongodb",
        "db.operation.name": "find",
        "db.collection.name": "things",
        "prodfix.database.duration_ms": 1.5,
        "prodfix.facts": {"n": 1},
        "prodfix.release": "1.2",
    }


def test_what_an_application_binds_is_nobody_elses_field() -> None:
    said = {**LINE, "status": "none", "method": 5, "ip": "x", "context": "mine"}
    del said["event"]
    found = attributes(said)
    assert (found["prodfix.status"], found["prodfix.method"], found["prodfix.context"]) == ("none", 5, "mine")
    assert "http.response.status_code" not in found
    ecs = SCHEMAS["ecs"](SERVICE)(said)
    assert (ecs["prodfix"]["status"], "http.response.status_code" in ecs, problems("ecs", ecs)) == ("none", False, [])


def test_a_moment_in_nanoseconds_and_a_name_in_snake_case() -> None:
    assert nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert nanoseconds("2026-11-29T18:00:00Z") == 1_795_975_200_000_000_000
    with pytest.raises(ValueError):
        nanoseconds("yesterday")
    assert [snake(name) for name in ("answeredBy", "a", "HTTPStatus", "db.name", "$x y")] == [
        "answered_by",
        "a",
        "httpstatus",
        "db.name",
        "_x_y",
    ]


class Half:
    """A sink that takes some bytes and no more."""

    name, quick = "half", True

    def __init__(self, takes: int) -> None:
        self.takes, self.data = takes, b""

    def write(self, data: bytes) -> None:
        self.data = data
        if self.takes < len(data):
            whole = data.rfind(b"\n", 0, self.takes) + 1
            raise PartlyWritten(OSError(28, os.strerror(28)), whole)

    def write_at_once(self, lines: list[bytes]) -> int:
        return len(lines) - 1


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_of_a_sink_that_took_some_lines_those_are_known_by_their_own_length(taken: int) -> None:
    written = [orjson.dumps(LINE | {"message": "x" * size}) + b"\n" for size in (1, 50, 7)]
    translate = SCHEMAS["ecs"](SERVICE)
    sizes = [len(orjson.dumps(translate(orjson.loads(line)))) + 1 for line in written]
    sink = Translated(Half(sum(sizes[:taken])), translate)
    if taken == 3:
        sink.write(b"".join(written))
    else:
        with pytest.raises(PartlyWritten) as raised:
            sink.write(b"".join(written))
        assert raised.value.written == len(b"".join(written[:taken]))
        assert raised.value.errno == 28
    assert (sink.quick, sink.write_at_once(written)) == (True, 2)


def test_a_line_that_cannot_be_translated_is_written_as_it_is() -> None:
    sink = Half(10**6)
    Translated(sink, SCHEMAS["otel"](SERVICE)).write(b"no JSON\n")
    assert sink.data == b"no JSON\n"
