"""One failing request in traces, logs and metrics: the documented set-up, the real SDK, and OTLP to a collector."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPOSITORY
from tests.support.doc_blocks import blocks
from tests.support.otlp_collector import Collector, Sent, value
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

CANARY = "canary7f3a@example.org"
FAILING = f'''
from traced import app
from prodfix import current_prodfix

@app.get("/broken/<name>")
def broken(name):
    current_prodfix.db.things.find_one({{"name": name}})
    raise ValueError("{CANARY}, password=hunter2")
'''


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector, database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page's own example, with one route that fails, and an SDK that sends soon."""
    folder = tmp_path_factory.mktemp("traced")
    (block,) = (one for one in blocks(REPOSITORY / "docs" / "opentelemetry.md") if one.language == "python")
    (folder / "traced.py").write_text(block.text)
    (folder / "failing.py").write_text(FAILING)
    with Served(
        folder,
        f"{database_server}traced_{secrets.token_hex(4)}",
        application="failing:app",
        PYTHONPATH=f"{REPOSITORY}:{folder}",
        OPENTELEMETRY="all",
        LOG_SCHEMA="otel",
        SLOW_QUERY_THRESHOLD_MS="60000",
        OTEL_SERVICE_NAME="shop",
        OTEL_SEMCONV_STABILITY_OPT_IN="http",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        OTEL_BSP_SCHEDULE_DELAY="100",
        OTEL_BLRP_SCHEDULE_DELAY="100",
        OTEL_METRIC_EXPORT_INTERVAL="300",
    ) as application:
        yield application


def found(look: Callable[[], list[Sent]], chosen: Callable[[Sent], bool], what: str) -> Sent:
    return until(lambda: next(filter(chosen, look()), None), limit=20, what=what)  # type: ignore[return-value]


def test_a_failing_request_is_found_by_its_id_in_traces_logs_and_metrics(traced: Served, collector: Collector) -> None:
    answer = traced.get("/broken/hunter2", {"X-Request-ID": "request-of-the-test", "baggage": "k=v"})
    assert answer.status == 500
    span = found(
        lambda: collector.spans,
        lambda sent: sent.attributes.get("prodfix.request_id") == "request-of-the-test",
        "the span",
    )
    line = found(
        lambda: collector.logs,
        lambda sent: (
            sent.name == "prodfix.error" and sent.attributes.get("prodfix.request_id") == "request-of-the-test"
        ),
        "the log record",
    )
    point = found(
        lambda: collector.points,
        lambda sent: sent.name == "prodfix.errors" and sent.attributes["prodfix.code"] == "INTERNAL_ERROR",
        "the metric",
    )
    # One trace.
    assert span.message.trace_id == line.message.trace_id == bytes.fromhex(answer.body["traceId"])
    assert span.message.span_id == line.message.span_id == bytes.fromhex(answer.body["spanId"])
    # One error.
    assert span.attributes["prodfix.code"] == line.attributes["prodfix.code"] == answer.body["code"]
    assert span.attributes["prodfix.fingerprint"] == line.attributes["prodfix.fingerprint"]
    assert span.attributes["error.type"] == line.attributes["error.type"] == "ValueError"
    assert (span.message.status.code, line.message.severity_number) == (2, 17)
    assert point.message.as_int >= 1 or point.message.as_double >= 1
    # One service, of whose instances each has its own figures.
    assert {sent.resource["service.name"] for sent in (span, line, point)} == {"shop"}
    assert span.resource["service.instance.id"] == line.resource["service.instance.id"]
    # The command of the view is its child.
    child = next(sent for sent in collector.spans if sent.message.parent_span_id == span.message.span_id)
    assert (child.name.rpartition(".")[2], child.message.trace_id) == ("find", span.message.trace_id)
    # The names of Flask's instrumentation are those of the conventions, as ours are.
    assert span.attributes["http.response.status_code"] == 500
    assert "http.status_code" not in span.attributes
    found(
        lambda: collector.points,
        lambda sent: sent.name == "http.server.request.duration",
        "the instrumentation's metric",
    )
    # The record that the diagnostics have of it.
    for looked in traced.looked_up("request-of-the-test", times=2):
        assert answer.body["traceId"] in str(looked)


def test_no_text_of_an_exception_and_no_secret_is_sent(traced: Served, collector: Collector) -> None:
    traced.get("/broken/hunter2", {"X-Request-ID": "request-with-a-secret"})

    def sent() -> list[Sent]:
        chosen = [one for one in collector.spans if one.attributes.get("prodfix.request_id") == "request-with-a-secret"]
        return [*chosen, *(one for one in collector.logs if "request-with-a-secret" in str(one.attributes))]

    until(lambda: {one.name for one in sent()} >= {"prodfix.error", "GET /broken/<name>"}, limit=20, what="both")
    (span,) = (one for one in sent() if one.name == "GET /broken/<name>")
    theirs = [event for event in span.message.events if "prodfix.redacted" not in str(event)]
    assert [event.name for event in theirs] == ["exception"], "the control: the instrumentation has told of it"
    kept = {one.key: value(one.value) for one in theirs[0].attributes}
    assert (kept["exception.type"], kept["exception.message"]) == ("ValueError", "***")
    everything = str([(one.message, one.attributes) for one in sent()])
    assert CANARY not in everything
    assert "password=hunter2" not in everything


def test_our_own_work_makes_no_span(traced: Served, collector: Collector) -> None:
    """Pings, records, counts: at least one look at them all has gone by with the record that is stored now."""
    identity = f"request-{secrets.token_hex(6)}"
    traced.get("/broken/x", {"X-Request-ID": identity})
    traced.looked_up(identity, times=2)
    before = len(collector.points)
    until(lambda: len(collector.points) > before + 200, limit=20, what="two more seconds of metrics")
    names = {sent.name.rpartition(".")[2] for sent in collector.spans if " " not in sent.name}
    assert names == {"find"}  # the view's
    assert all(sent.message.parent_span_id for sent in collector.spans if " " not in sent.name)


def test_each_worker_counts_for_itself_and_the_sum_is_the_instances(traced: Served, collector: Collector) -> None:
    def pushed() -> float:
        newest: dict[tuple[str, str], float] = {}
        for sent in collector.points:
            if (
                sent.name == "prodfix.http.server.request.duration.count"
                and sent.attributes["http.route"] == "/broken/<name>"
            ):
                newest[sent.resource["service.instance.id"], str(sent.attributes)] = (
                    sent.message.as_int or sent.message.as_double
                )
        return sum(newest.values())

    until(lambda: pushed() > 0, limit=20, what="the first count")
    before = pushed()
    for _ in range(12):
        traced.get("/broken/x")
    until(lambda: pushed() >= before + 12, limit=20, what="12 more requests")
    instances = {sent.resource["service.instance.id"] for sent in collector.points}
    assert len(instances) == 2
    # Cumulative, and each worker's series begins with its process.
    assert pushed() == before + 12


def test_lines_on_stdout_are_in_opentelemetrys_names_and_of_the_same_span(traced: Served, collector: Collector) -> None:
    traced.get("/broken/x", {"X-Request-ID": "request-on-stdout"})

    def lines() -> dict[str, dict[str, Any]]:
        told = [
            line
            for line in traced.stdout_lines()
            if line["Attributes"].get("prodfix.request_id") == "request-on-stdout"
        ]
        return {line.get("EventName", ""): line for line in told}

    until(lambda: {"prodfix.error", "prodfix.request"} <= set(lines()), limit=10, what="both lines")
    error, access = lines()["prodfix.error"], lines()["prodfix.request"]
    assert error["TraceId"] == access["TraceId"]
    assert error["SpanId"] == access["SpanId"]
    assert error["Resource"]["service.name"] == "shop"
    assert {line["SeverityText"] for line in traced.stdout_lines()} <= {"DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"}


def test_a_collector_that_is_gone_costs_no_request_and_is_told_once_in_the_log(
    traced: Served, collector: Collector
) -> None:
    collector.status = 400
    try:
        until(lambda: _complains(traced), limit=20, what="the SDK's own line")
        assert [traced.get("/broken/x").status for _ in range(4)] == [500] * 4
        sinks = traced.get("/api/v1/diagnostics/database", traced.bearer()).body
        assert "opentelemetry" in str(sinks)
    finally:
        collector.status = 200
    # Nor does the complaint itself go round.
    assert not [
        sent for sent in collector.logs if str(sent.attributes.get("log.logger", "")).startswith("opentelemetry")
    ]


def _complains(traced: Served) -> bool:
    return any(
        str(line["Attributes"].get("log.logger", "")).startswith("opentelemetry") for line in traced.stdout_lines()
    )


def test_what_waits_is_sent_when_the_service_ends(
    collector: Collector, traced: Served, database_server: str, tmp_path: Path
) -> None:
    """As the SDK comes it sends spans every 5 s, and metrics every minute: what is there at once was flushed."""
    for name in ("traced.py", "failing.py"):
        (tmp_path / name).write_text((traced.folder / name).read_text())
    identity = f"last-{secrets.token_hex(6)}"
    with Served(
        tmp_path,
        f"{database_server}flushed_{secrets.token_hex(4)}",
        application="failing:app",
        workers=1,
        PYTHONPATH=f"{REPOSITORY}:{tmp_path}",
        OPENTELEMETRY="all",
        OTEL_SERVICE_NAME="flushed",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
    ) as last:
        last.get("/broken/x", {"X-Request-ID": identity})
        os.kill(last.pid, signal.SIGTERM)
        assert last.stop() == 0
    spans = [sent for sent in collector.spans if sent.attributes.get("prodfix.request_id") == identity]
    lines = [sent for sent in collector.logs if sent.attributes.get("prodfix.request_id") == identity]
    counted = [
        sent
        for sent in collector.points
        if sent.resource["service.name"] == "flushed" and sent.name == "prodfix.errors"
    ]
    assert len(spans) == 1
    assert {sent.name for sent in lines} >= {"prodfix.error", "prodfix.request"}
    assert counted
