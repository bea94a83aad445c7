"""What the span of the application's own tracer is told of a request, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pymongo.errors import AutoReconnect, OperationFailure

from prodfix import current_prodfix, trace_headers
from prodfix.errors import DatabaseUnavailable, DeadlineExceeded
from prodfix.signals import error_recorded

CANARY = "canary7f3a@example.org"


class Traced:
    """An application with OpenTelemetry's own instrumentation, and the spans that have ended."""

    def __init__(self, app: Flask) -> None:
        self.app, self._kept, self.provider = app, InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))
        FlaskInstrumentor().instrument_app(app, tracer_provider=self.provider)

    def get(self, path: str, **headers: str) -> tuple[Any, ReadableSpan]:
        """The answer and its span, the last one of a server's."""
        self._kept.clear()
        answer = self.app.test_client().get(path, headers=headers)
        return answer, self._kept.get_finished_spans()[-1]


def told(span: ReadableSpan) -> dict[str, Any]:
    return {
        name: value for name, value in (span.attributes or {}).items() if name.startswith(("prodfix.", "db.", "error."))
    }


def events(span: ReadableSpan) -> dict[str, dict[str, Any]]:
    """Ours: an instrumentation has an ``exception`` of its own."""
    return {
        event.name: dict(event.attributes or {})
        for event in span.events
        if any(name.startswith("prodfix.") for name in (event.name, *(event.attributes or {})))
    }


def add_views(app: Flask) -> None:
    failures = iter([AutoReconnect("connection closed"), OperationFailure("x", 91)])

    @app.get("/fine")
    def fine() -> dict[str, str]:
        return trace_headers()

    @app.get("/defect/<name>")
    def defect(name: str) -> None:
        raise ValueError(f"no such thing: {CANARY}, token={name}")

    @app.get("/saved")
    def saved() -> str:
        def work() -> str:
            for failure in failures:
                raise failure
            return "done"

        return current_prodfix.recovery.run(work, idempotent=True)


def add_failures(app: Flask) -> None:
    @app.get("/late")
    def late() -> None:
        raise DeadlineExceeded

    @app.get("/down")
    def down() -> None:
        raise DatabaseUnavailable("breaker")

    @app.get("/refused")
    def refused() -> None:
        raise OperationFailure(f"not allowed for {CANARY}", 13)

    @app.get("/gone")
    def gone() -> None:
        abort(404)

    @app.get("/inner")
    def inner() -> None:
        with trace.get_tracer("inner", tracer_provider=app.extensions["provider"]).start_as_current_span("inner"):
            current_prodfix.logs.event(current_prodfix.classifier.classify(ValueError()).severity, "retry", "within")
        raise ValueError

    @app.get("/own")
    def own() -> None:
        raise KeyError

    app.register_error_handler(KeyError, lambda error: ("mine", 500))


@pytest.fixture
def served(serve: Callable[..., Any]) -> Traced:
    app = serve(max_retry_attempts=3, retry_base_delay_ms=1)
    add_views(app)
    add_failures(app)
    traced = Traced(app)
    app.extensions["provider"] = traced.provider
    return traced


@pytest.fixture
def records() -> Any:
    kept: list[Any] = []

    def keep(sender: Any, record: Any) -> None:
        kept.append(record)

    with error_recorded.connected_to(keep):
        yield kept


def test_a_request_that_succeeds_has_its_id_and_nothing_else(served: Traced) -> None:
    answer, span = served.get("/fine", **{"X-Request-ID": "request-0001"})
    assert told(span) == {"prodfix.request_id": "request-0001"}
    assert not events(span)
    assert span.context is not None
    sent = answer.get_json()
    assert sent["traceparent"] == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def test_an_error_is_told_by_the_conventions_and_without_its_values(served: Traced, records: list[Any]) -> None:
    answer, span = served.get("/defect/hunter2")
    found = told(span)
    assert found["prodfix.request_id"] == answer.headers["X-Request-ID"] == answer.get_json()["requestId"]
    assert (found["error.type"], found["prodfix.code"]) == ("ValueError", answer.get_json()["code"])
    assert found["prodfix.category"] == "unknown"
    assert found["prodfix.fingerprint"] == records[0].fingerprint
    assert span.status.status_code is trace.StatusCode.ERROR
    ours = events(span)["exception"]
    assert (ours["exception.type"], "test_spans.py" in ours["exception.stacktrace"]) == ("ValueError", True)
    assert CANARY not in json.dumps(ours)
    assert "hunter2" not in json.dumps([ours, found])
    # The record, its line and the answer are of the same trace.
    assert span.context is not None
    ids = (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    entry = records[0].to_entry()
    assert (entry["traceId"], entry["spanId"]) == ids
    assert (answer.get_json()["traceId"], answer.get_json()["spanId"]) == ids


def test_the_control_the_instrumentation_itself_tells_the_text(served: Traced) -> None:
    _, span = served.get("/defect/hunter2")
    theirs = [event for event in span.events if "prodfix.redacted" not in (event.attributes or {})]
    assert any(CANARY in str(event.attributes) for event in theirs)


def test_retries_are_events_and_their_number_an_attribute(served: Traced) -> None:
    answer, span = served.get("/saved")
    assert answer.status_code == 200
    retries = [event for event in span.events if event.name == "prodfix.retry"]
    assert [(event.attributes or {})["prodfix.attempt"] for event in retries] == [1, 2]
    assert {(event.attributes or {})["error.type"] for event in retries} == {"AutoReconnect", "OperationFailure"}
    assert (told(span)["prodfix.retries"], told(span)["prodfix.recovered"]) == (2, True)
    assert span.status.status_code is trace.StatusCode.UNSET


@pytest.mark.parametrize(
    ("path", "name", "status", "kind"),
    [
        ("/late", "prodfix.deadline", 504, "DeadlineExceeded"),
        ("/down", "prodfix.unavailable", 503, "DatabaseUnavailable"),
    ],
)
def test_a_deadline_and_a_breaker_are_told_by_name(
    served: Traced, path: str, name: str, status: int, kind: str
) -> None:
    answer, span = served.get(path)
    assert answer.status_code == status
    assert events(span)[name] == {"prodfix.code": answer.get_json()["code"]}
    assert told(span)["error.type"] == kind


def test_the_servers_code_is_the_databases(served: Traced) -> None:
    answer, span = served.get("/refused")
    assert (told(span)["db.response.status_code"], answer.status_code >= 500) == ("13", True)
    assert CANARY not in json.dumps(events(span))


def test_what_the_client_did_wrong_is_no_error_of_the_server(served: Traced) -> None:
    answer, span = served.get("/gone")
    assert (answer.status_code, span.status.status_code) == (404, trace.StatusCode.UNSET)
    assert "error.type" not in told(span)
    assert told(span)["prodfix.code"] == answer.get_json()["code"]
    assert "exception" not in events(span)


def test_an_error_that_the_host_answers_itself_is_told_too(served: Traced, records: list[Any]) -> None:
    answer, span = served.get("/own")
    assert (answer.data, answer.status_code) == (b"mine", 500)
    assert (told(span)["error.type"], told(span)["prodfix.fingerprint"]) == ("KeyError", records[0].fingerprint)
    assert len(records) == 1


def test_a_line_names_the_innermost_span_and_the_server_span_has_the_event(
    served: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    services = served.app.extensions["prodfix"]
    monkeypatch.setattr(services.logs, "emit", lambda severity, entry, *files: lines.append(dict(entry)))
    _, server = served.get("/inner")
    inner = next(span for span in served._kept.get_finished_spans() if span.name == "inner")
    line = next(line for line in lines if line["event"] == "retry")
    error = next(line for line in lines if line["event"] == "error")
    assert inner.context is not None
    assert server.context is not None
    assert line["spanId"] == f"{inner.context.span_id:016x}"
    assert error["spanId"] == f"{server.context.span_id:016x}"
    assert line["traceId"] == error["traceId"]
    assert "prodfix.retry" in {event.name for event in server.events}


@pytest.mark.parametrize("path", ["/fine", "/defect/hunter2", "/saved"])
def test_with_traces_off_the_span_is_left_alone(serve: Callable[..., Any], path: str) -> None:
    app = serve(opentelemetry="off", retry_base_delay_ms=1)
    add_views(app)
    answer, span = Traced(app).get(path)
    assert (told(span), events(span)) == ({}, {})
    assert "spanId" not in answer.get_data(as_text=True)


def test_a_tracer_that_fails_breaks_nothing(served: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise RuntimeError("a tracer of somebody's")

    kind = type(served.provider.get_tracer("x").start_span("x"))
    wanted, _ = served.get("/defect/a")
    for name in ("set_attributes", "add_event"):
        monkeypatch.setattr(kind, name, fail)
    answer, span = served.get("/defect/a")
    assert answer.status_code == wanted.status_code == 500
    assert "prodfix.code" not in told(span)
