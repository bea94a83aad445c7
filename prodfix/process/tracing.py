"""OpenTelemetry, where the application has it: its active trace, and work of ours that is none of it.

It is looked for where it is loaded already, and never imported: a process without it pays a look into a dictionary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SUPPRESSED = "suppress_instrumentation"  # the key by its own name, which instrumentations have asked for always


def active_trace_id() -> str | None:
    """The trace of the span that is active now, 32 hexadecimal digits (W3C Trace Context); ``None`` for none. Never raises."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        span = trace.get_current_span().get_span_context()
        return format(span.trace_id, "032x") if span.is_valid else None
    except Exception:  # noqa: BLE001 - a tracer of somebody's, or a module that is just being loaded
        return None


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
