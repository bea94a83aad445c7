"""Lines as log records of OpenTelemetry: ``OPENTELEMETRY=logs``. The SDK that the application has set up sends them; without
one nothing does.

A sink as any other: behind a bounded queue, in a native thread of its own, and what it is given was redacted for the line. Loaded
only where it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger
from opentelemetry.context import Context

from prodfix.logs.translation import SEVERITIES, attributes, body, nanoseconds

NAME = "opentelemetry"
_THEIRS = "opentelemetry"  # loggers of the SDK: that it cannot send is no line for it to send


class OtelLogs:
    """Its name in the diagnostics is that of OpenTelemetry."""

    def __init__(self) -> None:
        self.name = NAME
        self._logger = get_logger("prodfix", _version())

    def write(self, data: bytes) -> None:
        """Raises what a processor of the SDK raises: then the lines of this batch are counted as lost."""
        for line in data.splitlines():
            entry = orjson.loads(line)
            if str(entry.get("logger", "")).partition(".")[0] != _THEIRS:
                self._logger.emit(record_of(entry))


def record_of(entry: Mapping[str, Any]) -> LogRecord:
    """A line as a record, with its trace and span; its moment is the line's."""
    level = str(entry.get("level", "info"))
    moment = nanoseconds(entry["timestamp"])
    event = entry.get("event")
    return LogRecord(
        timestamp=moment,
        observed_timestamp=moment,
        context=_context(entry),
        severity_text=level.upper(),
        severity_number=SeverityNumber(SEVERITIES.get(level, SEVERITIES["info"])),
        body=body(entry),
        attributes={name: _sendable(value) for name, value in attributes(entry).items()},
        event_name=f"prodfix.{event}" if event else None,
    )


def _sendable(value: Any) -> Any:
    """``value`` without lists whose parts are no texts or numbers of one kind, which the SDK refuses: they become JSON."""
    if isinstance(value, dict):
        return {name: _sendable(one) for name, one in value.items()}
    if isinstance(value, list) and (
        len({type(one) for one in value}) > 1 or isinstance((value or [""])[0], (list, dict))
    ):
        return orjson.dumps(value).decode()
    return value


def _context(entry: Mapping[str, Any]) -> Context:
    traced, span = entry.get("traceId"), entry.get("spanId")
    if not traced or not span:
        return Context({"prodfix": True})  # one of nobody's: an empty one would be taken for the thread's own
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    found = trace.SpanContext(int(traced, 16), int(span, 16), is_remote=False, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(found), Context())


def _version() -> str:
    try:
        return version("prodfix")
    except PackageNotFoundError:  # it runs from its sources
        return ""
