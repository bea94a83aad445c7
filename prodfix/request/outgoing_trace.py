"""The trace of the request that is served now, for its log lines and for what it asks of others."""

from __future__ import annotations

from prodfix.process.tracing import SpanIds, active_span, ids_of
from prodfix.request.context import RequestContext, quick_context
from prodfix.request.identities import identities
from prodfix.request.trace_context import Carried, baggage, parent_header, trace_state

_NO_FIELDS: dict[str, str] = {}


def span_ids(context: RequestContext) -> SpanIds | None:
    """The trace and the span that are active now, or those of the request's own span; ``None`` where it has none."""
    own = context.notes.span
    if own is None:
        return None
    try:
        return ids_of(active_span() or own)
    except Exception:  # noqa: BLE001 - a tracer of somebody's
        return None


def trace_fields(context: RequestContext) -> dict[str, str]:
    """``traceId`` and ``spanId`` of a line that is said now: of a request that has a span."""
    if context.notes.span is None:
        return _NO_FIELDS
    ids = span_ids(context)
    return _NO_FIELDS if ids is None else {"traceId": ids.trace, "spanId": ids.span}


def trace_headers() -> dict[str, str]:
    """What a request to somebody else has to say so that it is found with the one that is served now: ``X-Request-ID``,
    ``traceparent``, and ``tracestate`` and ``baggage`` as they came, as far as they are valid. Empty outside a request.

    The parent is the active span; without a tracer the caller's, or, where there was none, one of nobody's that has the trace.
    """
    context = quick_context()
    if context is None:
        return {}
    carried = context.notes.carried or Carried()
    ids = span_ids(context)
    if ids is not None:
        sampled = context.notes.span.get_span_context().trace_flags
        parent = parent_header(ids.trace, ids.span, f"{int(sampled):02x}")
    else:
        parent = parent_header(context.trace_id, carried.parent or identities.next()[:16], carried.flags)
    found = {
        "X-Request-ID": context.request_id,
        "traceparent": parent,
        "tracestate": trace_state(carried.state),
        "baggage": baggage(carried.baggage),
    }
    return {name: value for name, value in found.items() if value}
