"""OpenTelemetry, where the application has it: its active span, and work of ours that is none of it.

It is looked for where it is loaded already, and never imported: a process without it pays a look into a dictionary. A span is
the application's, or its instrumentation's: none is made here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

_SUPPRESSED = "suppress_instrumentation"  # the key by its own name, which instrumentations have asked for always


class SpanIds(NamedTuple):
    """In hexadecimal: the trace's 32 digits, the span's 16 (W3C Trace Context)."""

    trace: str
    span: str


def active_span() -> Any:
    """The span that is active in this greenlet or thread, ``None`` for none. Never raises."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        span = trace.get_current_span()
        return span if span.get_span_context().is_valid else None
    except Exception:  # noqa: BLE001 - a tracer of somebody's, or a module that is just being loaded
        return None


def ids_of(span: Any) -> SpanIds:
    """Of a span that :func:`active_span` gave. Raises what a tracer of somebody's raises."""
    found = span.get_span_context()
    return SpanIds("%032x" % found.trace_id, "%016x" % found.span_id)  # noqa: UP031 - in a third of the time


@contextmanager
def untraced() -> Iterator[None]:
    """A block of which no instrumentation makes spans."""
    context: Any = sys.modules.get("opentelemetry.context")
    if context is None:
        yield
        return
    silent = context.set_value(_SUPPRESSED, True)
    key = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    token = context.attach(silent if key is None else context.set_value(key, True, silent))
    try:
        yield
    finally:
        context.detach(token)
