"""What is sent for an error: one maker of status, headers and body, for Flask's handlers, their last resort, and beyond Flask.

The body has the members of RFC 9457 and the seed's. ``X-Request-ID`` is on every answer, of an error or not, and is none of
this: the outermost layer (:mod:`prodfix.web.wsgi`) sets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.http import HTTP_STATUS_CODES

from prodfix.classification.classifications import INTERNAL_ERROR, Classification
from prodfix.classification.problem_codes import problem_slug
from prodfix.errors import Outcome
from prodfix.logs.sinks import render
from prodfix.records.records import ErrorRecord
from prodfix.request.deadlines import retry_after
from prodfix.serialization import iso
from prodfix.slotted import frozen

JSON, PROBLEM = "application/json", "application/problem+json"
REQUEST_ID = "prodfix.request_id"
"""In the environ: the ID that an error's answer tells. There is one also where no context has been made."""
MOST_DETAILS = 50
_OURS = frozenset({"content-type", "cache-control"})
LARGEST_DETAILS = 1400  # bytes; the whole answer stays below 2 KB


@frozen
class Answer:
    """``body`` is the JSON of ``problem``."""

    status: int
    headers: Headers
    problem: Mapping[str, Any]
    body: bytes

    def to_flask(self) -> Response:
        return Response(self.body, self.status, self.headers)  # not by the host's JSON provider


def answer_to(
    record: ErrorRecord,
    *,
    detailed: bool = False,
    words: str | None = None,
    media_type: str = JSON,
    headers: Headers | None = None,
    kind: str | None = None,
) -> Answer:
    """The answer to the error of ``record``. ``detailed``: with a 5xx's redacted text, never in production. ``words``: the
    application's own, in place of the table's, where the status is below 500. ``headers``: what is to be said besides; when to
    come back they know better. ``kind``: the ``type``, where a page of the code is shown."""
    meaning = record.meaning
    problem = _problem(meaning, record.request_id, record.moment, record.retryable, record.outcome)
    if kind is not None:
        problem["type"] = kind
    if record.context is not None and record.context.notes.span is not None and record.span is not None:
        problem["traceId"], problem["spanId"] = record.span
    if detailed and meaning.status >= 500:
        problem["debug"] = record.summary
    if words and meaning.status < 500:
        problem["detail"] = problem["message"] = words
    ours = [("Content-Type", media_type), ("Cache-Control", "no-store")]
    sent = Headers([(name, value) for name, value in headers or () if name.lower() not in _OURS] + ours)
    if record.retryable:
        sent.setdefault("Retry-After", str(retry_after()))
    return Answer(meaning.status, sent, problem, render(problem))


def last_resort(request_id: str) -> Answer:
    """The shortest honest 500. It needs nothing but the clock: neither a record, nor a context, nor the host's JSON."""
    problem = _problem(INTERNAL_ERROR, request_id, iso(datetime.now(UTC)), False, None)
    return Answer(
        INTERNAL_ERROR.status,
        Headers([("Content-Type", JSON), ("Cache-Control", "no-store")]),
        problem,
        render(problem),
    )


def _problem(
    meaning: Classification, request_id: str, moment: str, retryable: bool, outcome: Outcome | None
) -> dict[str, Any]:
    details = [problem.to_json() for problem in meaning.details[:MOST_DETAILS]]
    while details and len(render({"details": details})) > LARGEST_DETAILS:
        details.pop()
    kind, title = _named(meaning.code)
    return {
        "type": kind,
        "title": title,
        "status": meaning.status,
        "detail": meaning.message,
        "code": meaning.code,
        "message": meaning.message,
        "details": details,
        "requestId": request_id,
        "timestamp": moment,
        "retryable": retryable,
        **({"outcome": str(outcome)} if outcome is not None else {}),
    }


@lru_cache(256)
def _named(code: str) -> tuple[str, str]:
    """The type and the title of a problem: of a status without a code of its own, HTTP's name for it."""
    number = code.removeprefix("HTTP_")
    name = HTTP_STATUS_CODES.get(int(number)) if number != code and number.isdecimal() else None
    return "urn:prodfix:" + problem_slug(code), name or code.replace("_", " ").capitalize()
