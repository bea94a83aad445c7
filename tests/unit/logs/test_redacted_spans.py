"""What leaves in a span: what prodfix tells of an exception, and nothing of what an instrumentation has read in it."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from prodfix import RedactingSpanExporter

CANARY = "canary7f3a@example.org"


@pytest.fixture(params=[True, False], ids=["redacted", "control"])
def kept(request: pytest.FixtureRequest) -> tuple[bool, InMemorySpanExporter, trace.Tracer]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    outer: SpanExporter = RedactingSpanExporter(exporter) if request.param else exporter
    provider.add_span_processor(SimpleSpanProcessor(outer))
    return request.param, exporter, provider.get_tracer("test", "1")


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_the_text_of_an_exception_stays_here_and_its_type_goes(
    kept: tuple[bool, InMemorySpanExporter, trace.Tracer],
) -> None:
    redacts, exporter, tracer = kept
    with pytest.raises(ValueError), tracer.start_as_current_span("work"):
        raise ValueError(CANARY)
    text = only(exporter).to_json()
    assert ("ValueError" in text, CANARY in text) == (True, not redacts)
    if redacts:
        (event,) = only(exporter).events
        assert dict(event.attributes or {}) == {
            "exception.type": "ValueError",
            "exception.message": "***",
            "exception.stacktrace": "***",
            "exception.escaped": "False",
        }
        assert only(exporter).status.description == "ValueError"


def test_secrets_in_attributes_go_nowhere(kept: tuple[bool, InMemorySpanExporter, trace.Tracer]) -> None:
    redacts, exporter, tracer = kept
    span = tracer.start_span("work", attributes={"url.full": f"https://x.example.org/?mail={CANARY}", "n": 5})
    span.add_event("said", {"text": f"password=hunter2 {CANARY}"})
    span.end()
    text = only(exporter).to_json()
    assert (CANARY in text, "hunter2" in text) == (not redacts, not redacts)
    assert (only(exporter).attributes or {})["n"] == 5


def test_secrets_in_lists_links_names_and_behind_their_names_go_nowhere(
    kept: tuple[bool, InMemorySpanExporter, trace.Tracer],
) -> None:
    redacts, exporter, tracer = kept
    other = trace.SpanContext(1, 2, is_remote=False)
    span = tracer.start_span(f"GET /x?mail={CANARY}", links=[trace.Link(other, {"url.full": "/?password=hunter1"})])
    # As Flask's instrumentation writes the headers that it was told to capture.
    span.set_attribute("http.request.header.authorization", ["Basic hunter2"])
    span.set_attribute("http.request.header.x_api_key", ["hunter3"])
    span.set_attribute("password", "hunter4")
    span.set_attribute("texts", ["password=hunter5", "plain"])
    span.set_attributes({"gen_ai.usage.input_tokens": 7, "ids": [1, 2]})
    span.end()
    text = only(exporter).to_json()
    assert [secret in text for secret in ("hunter1", "hunter2", "hunter3", "hunter4", "hunter5", CANARY)] == [
        not redacts
    ] * 6
    attributes = only(exporter).attributes or {}
    assert (attributes["gen_ai.usage.input_tokens"], [*attributes["ids"]]) == (7, [1, 2])  # type: ignore[misc]
    assert "plain" in text


def test_everything_else_is_as_it_was() -> None:
    plain, redacted = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(plain))
    provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(redacted)))
    tracer = provider.get_tracer("test", "1")
    with tracer.start_as_current_span("outer") as outer:
        links = [trace.Link(outer.get_span_context())]
        with tracer.start_as_current_span("work", kind=trace.SpanKind.CLIENT, links=links) as span:
            span.set_attributes({"a": 1, "b": "x", "c": [1, 2]})
            span.add_event("exception", {"exception.message": "ours, and redacted", "prodfix.redacted": True})
            span.set_status(Status(StatusCode.ERROR, "DATABASE_UNAVAILABLE"))
    assert [span.to_json() for span in plain.get_finished_spans()] == [
        span.to_json() for span in redacted.get_finished_spans()
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ValueError: x", "ValueError"),
        ("pymongo.errors.DuplicateKeyError: x", "pymongo.errors.DuplicateKeyError"),
        ("INTERNAL_ERROR", "INTERNAL_ERROR"),
        ('E11000 duplicate key error collection: a dup key: { mail: "x" }', "***"),
        ("two words", "***"),
        (": x", "***"),
    ],
)
def test_of_a_status_the_class_or_a_code_is_shown(text: str, shown: str) -> None:
    exporter = InMemorySpanExporter()
    span = ReadableSpan("work", status=Status(StatusCode.ERROR, text))
    assert RedactingSpanExporter(exporter).export([span]) is SpanExportResult.SUCCESS
    assert only(exporter).status.description == shown


def test_it_ends_and_flushes_as_the_one_that_it_stands_before() -> None:
    exporter = InMemorySpanExporter()
    outer = RedactingSpanExporter(exporter)
    assert outer.force_flush()
    outer.shutdown()
    assert outer.export([ReadableSpan("work")]) is SpanExportResult.FAILURE
