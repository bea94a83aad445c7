"""Spans without what instrumentations write of an exception: its text, and a stack that ends with it.

They have it from the exception itself, and know no redaction. Beside that stands what prodfix tells of the same error: its type,
its redacted text and its places. Needs the SDK, and is loaded by who names it only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prodfix.redaction.names import secret_key
from prodfix.redaction.redactor import redact_text

try:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Link, Status
except ImportError:  # `from prodfix import *` loads this as well: whoever makes one is told
    SpanExporter = object  # type: ignore[assignment,misc]

HIDDEN = "***"
_TEXTS = ("exception.message", "exception.stacktrace")
_OURS = "prodfix.redacted"
_NAME = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.]{0,199}(?=:|\Z)"
)  # of a class, or a code of ours, before the text that follows it


class RedactingSpanExporter(SpanExporter):
    """Gives ``exporter`` each span redacted: ``BatchSpanProcessor(RedactingSpanExporter(OTLPSpanExporter()))``. It works in the
    processor's own thread. Raises ``ImportError`` where the SDK is not installed."""

    def __init__(self, exporter: SpanExporter) -> None:
        if SpanExporter is object:
            raise ImportError("RedactingSpanExporter needs opentelemetry.sdk: pip install opentelemetry-sdk")
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([redacted_span(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def redacted_span(span: ReadableSpan) -> ReadableSpan:
    """A copy without secrets, and without texts of exceptions but prodfix's own."""
    status = span.status
    if status.description:
        status = Status(status.status_code, _described(status.description))
    return ReadableSpan(
        name=redact_text(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_shown(span.attributes or {}),
        events=[Event(event.name, _of_event(event), event.timestamp) for event in span.events],
        links=[Link(link.context, _shown(link.attributes or {})) for link in span.links],
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _of_event(event: Event) -> dict[str, Any]:
    attributes = dict(event.attributes or {})
    if event.name == "exception" and _OURS not in attributes:
        attributes |= {name: HIDDEN for name in _TEXTS if name in attributes}
    return _shown(attributes)


def _shown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(name, value) for name, value in attributes.items()}


def _value(name: str, value: Any) -> Any:
    """Texts, and lists of them, as headers are; numbers and truth values are no secrets whatever they are called."""
    if isinstance(value, str):
        return HIDDEN if secret_key(name) else redact_text(value)
    if isinstance(value, (list, tuple)):
        return [_value(name, one) for one in value]
    return value


def _described(text: str) -> str:
    """An instrumentation describes a failure by the class and the text of its exception, or by the server's words alone."""
    found = _NAME.match(text)
    return found[0] if found is not None else HIDDEN
