"""What became of a request, on the span that the application's tracer has of it: a look at the trace tells what its record does.

Names are the stable semantic conventions' where they have one (``error.type``, ``exception.*``, ``db.*``), else they begin with
``prodfix.``. A server's span is an error where the answer is 5xx, and not where the client was wrong
(https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status). Texts are those of the record: redacted.
"""

from __future__ import annotations

import sys
from typing import Any

from prodfix.classification.server_replies import server_code
from prodfix.errors import DatabaseUnavailable, DeadlineExceeded, chain
from prodfix.logs.span_events import LONGEST
from prodfix.records.records import ErrorRecord
from prodfix.request.notes import Notes

_MOMENTS = ((DeadlineExceeded, "prodfix.deadline"), (DatabaseUnavailable, "prodfix.unavailable"))
"""Of these the span has an event that says so by name: a deadline that has passed, and a breaker or monitor that refused."""


def tell_error(record: ErrorRecord, error: BaseException) -> None:
    """Put an error on the span of its request, if there is one that is recorded. Raises what a tracer of somebody's raises."""
    context = record.context
    span = context.notes.span if context is not None else None
    if context is None or span is None or context.notes.outcome_of == id(error) or not span.is_recording():
        return
    context.notes.outcome_of = id(error)
    failed = record.status >= 500
    if record.answered is not None:
        context.notes.outcome = told = _attributes(record, error, failed=failed)
        span.set_attributes(told)
        if failed:
            _fail(span, record.meaning.code)
    if failed or record.answered is None:
        span.add_event("exception", _exception(record))
    links = chain(error)
    for kind, name in _MOMENTS:
        if any(isinstance(link, kind) for link in links):
            span.add_event(name, {"prodfix.code": record.meaning.code})


def tell_warning(record: ErrorRecord) -> None:
    """The same of an error that nobody was told of, since a retry, or a write that waits, has saved its request."""
    context = record.context
    span = context.notes.span if context is not None else None
    if span is not None and span.is_recording():
        done = "prodfix.recovered" if record.recovered else "prodfix.deferred"
        span.set_attribute(done, True)
        if "operationId" in record.facts:
            span.set_attribute("prodfix.operation_id", str(record.facts["operationId"])[:LONGEST])


def finish(notes: Notes) -> None:
    """Before the application's own teardown, in which its span ends. Never raises.

    Once more what an instrumentation may have put less of in its place meanwhile: the status for ``error.type``.
    """
    span, outcome = notes.span, notes.outcome
    if outcome is None and not notes.retries and not notes.driver_retries:
        return
    try:
        told = dict(outcome or ())
        if notes.retries:
            told["prodfix.retries"] = notes.retries
        if notes.driver_retries:
            told["prodfix.driver_retries"] = notes.driver_retries
        if told and span.is_recording():
            span.set_attributes(told)
    except Exception:  # noqa: BLE001, S110 - a tracer of somebody's; the record has it all
        pass


def _attributes(record: ErrorRecord, error: BaseException, *, failed: bool) -> dict[str, Any]:
    meaning, operation = record.meaning, record.operation
    told: dict[str, Any] = {
        "prodfix.code": meaning.code,
        "prodfix.category": str(meaning.category),
        "prodfix.fingerprint": record.fingerprint,
    }
    if record.outcome is not None:
        told["prodfix.outcome"] = str(record.outcome)
    if failed:  # of an answer that is none of the server's errors there must be none
        told["error.type"] = record.error_type
    if operation is not None:
        told |= {"db.system.name": "mongodb", "db.operation.name": operation.operation}
        if operation.collection:
            told["db.collection.name"] = operation.collection
    code = next((code for link in chain(error) if (code := server_code(link)) is not None), None)
    if code is not None and meaning.of_database:
        told["db.response.status_code"] = str(code)
    return told


def _exception(record: ErrorRecord) -> dict[str, Any]:
    return {
        "exception.type": record.error_type,
        "exception.message": record.summary[:LONGEST],
        "exception.stacktrace": record.stack,
        "prodfix.redacted": True,
    }


def _fail(span: Any, code: str) -> None:
    trace: Any = sys.modules["opentelemetry.trace"]  # which has made the span
    span.set_status(trace.Status(trace.StatusCode.ERROR, code))
