"""What is told of a request in the log, as events of its span: retries, the breaker, writes that wait.

Only where the application has a tracer, whose span this is; what stands in it was redacted for the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.logs.translation import attributes

EVENTS = frozenset(
    ["breaker", "conflict", "deferred", "idempotency", "query", "repeated-query", "retry", "transaction"]
)
"""The kinds of lines that are events of a span too; all others are of no request, or of who looks at the diagnostics."""
_OF_THE_SPAN = frozenset({"prodfix.request_id"})  # what it says itself
LONGEST = 1000  # characters of an attribute


def tell_span(span: Any, event: str, entry: Mapping[str, Any]) -> None:
    """Make an event of a line, if its kind is one. Never raises."""
    try:
        if event in EVENTS and span.is_recording():
            told = {**plain(attributes(entry)), "prodfix.message": str(entry.get("message", ""))[:LONGEST]}
            span.add_event(f"prodfix.{event}", told)
    except Exception:  # noqa: BLE001, S110 - a tracer of somebody's; the line is written all the same
        pass


def plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a span can have of attributes: texts, numbers and truth values, and nothing that is nested."""
    return {
        name: value[:LONGEST] if isinstance(value, str) else value
        for name, value in found.items()
        if isinstance(value, (str, bool, int, float)) and name not in _OF_THE_SPAN
    }
