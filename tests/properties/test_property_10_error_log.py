from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from prodfix import RequestContext
from prodfix.sinks import render
from tests.properties.site import Site
from tests.properties.strategies import (
    client_errors,
    contexts,
    driver_errors,
    errors,
    moment,
    own_errors,
    python_errors,
    text,
)

CONTEXT = {
    "requestId",
    "traceId",
    "userId",
    "endpoint",
    "method",
    "userAgent",
    "deviceType",
    "appVersion",
    "ip",
    "timestamp",
}
RECORD = {
    "requestId",
    "traceId",
    "fingerprint",
    "category",
    "severity",
    "code",
    "status",
    "message",
    "errorType",
    "stack",
    "context",
    "database",
    "trail",
    "recovery",
    "facts",
    "outcome",
    "retryable",
    "release",
}


@given(error=errors(driver_errors, client_errors, own_errors, python_errors), context=st.none() | contexts())
def test_every_entry_is_complete(site: Site, error: Exception, context: RequestContext | None) -> None:
    """For any logged error, the log entry should include timestamp, severity level, error type, and full context.

    An error outside any request (a background loop, a command line) has no context, and says so. What is stored holds the
    same as what is logged, and nothing is lost on the way.

    Feature: production-deployment-fix, Property 10
    """
    site.clear()
    log = site.services.error_log
    record = log.record(error, context)
    log.append(record)
    assert log.failures == site.services.logs.sinks.dropped == 0
    for entry in (*site.errors(), *[json.loads(render(record.to_document()))]):
        assert entry.keys() >= RECORD | {"timestamp"}
        assert datetime.now(UTC) - datetime.fromisoformat(entry["timestamp"]) < timedelta(minutes=1)
        assert entry["severity"] in ("info", "warn", "error", "critical")
        assert entry["errorType"] == type(error).__name__
        assert entry["stack"] or entry["severity"] in ("info", "warn")
        assert entry["requestId"]
        if context is None:
            assert entry["context"] is None
        else:
            assert set(entry["context"]) == CONTEXT
            assert entry["context"]["userId"] is not None
            assert entry["context"]["endpoint"] == context.endpoint
            assert moment(entry["context"]["timestamp"])
    assert len(site.errors()) == (record.disposition != "counted")
    assert len(site.services.lookup.request(record.request_id)) >= (record.disposition == "stored")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(max_size=9) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(text, values, max_size=4))
def test_an_entry_is_one_line(entry: dict[str, object]) -> None:
    """And an entry stays one line of JSON, whatever stands in it: nobody forges a second one.

    Feature: production-deployment-fix, Property 10
    """
    line = render(entry).decode("utf-8")
    assert line.splitlines(keepends=True) == [line]
    assert isinstance(json.loads(line), dict)
    assert len(json.loads(line)) <= len(entry)


def test_a_plain_line_would_be_forged() -> None:
    """The control: the same text without rendering makes a second line."""
    forged = 'x\n{"severity": "info"}'
    assert len(forged.splitlines()) == 2
    assert len(render({"message": forged}).decode().splitlines()) == 1
