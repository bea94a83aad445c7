"""What the document says in words of its own: headers, refusals, parameters that say nothing of themselves."""

from __future__ import annotations

from typing import Any

from prodfix.blueprints.diagnostics.examples import MOMENT

SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "`flask prodfix token --role viewer` makes one that sees all, `--role admin` one that may change things",
}
HEADER_NAMES = {
    "RequestId": "X-Request-ID",
    "CacheControl": "Cache-Control",
    "Link": "Link",
    "RetryAfter": "Retry-After",
    "WwwAuthenticate": "WWW-Authenticate",
}
HEADERS: dict[str, dict[str, Any]] = {
    "RequestId": {
        "description": "The ID of this request, which the log and the diagnostics have too",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        "example": "01JDXW6P9ZK4Q8M2T7V5R3N1BC",
    },
    "CacheControl": {"description": "Nobody keeps it", "schema": {"type": "string"}, "example": "no-store"},
    "Link": {
        "description": "The next page, if there is one (RFC 8288)",
        "schema": {"type": "string"},
        "example": '</api/v1/diagnostics/errors/records?cursor=50>; rel="next"',
    },
    "RetryAfter": {
        "description": "Seconds after which it is worth another try",
        "schema": {"type": "integer", "minimum": 0},
        "example": 5,
    },
    "WwwAuthenticate": {
        "description": "What is missing (RFC 6750)",
        "schema": {"type": "string"},
        "example": 'Bearer realm="api"',
    },
}
REFUSALS = {
    "401": "No token, or none that is valid",
    "403": "A valid token without the role: a viewer changes nothing",
    "422": "What is asked has another form; `details` says where",
    "429": "Asked too often; `Retry-After` says when to come back",
    "503": "MongoDB or the disk cannot be asked, and this cannot do without",
    "404": "There is no such thing",
    "400": "No JSON",
}
DESCRIPTIONS = {
    "code": "Only errors with this code",
    "done": "What was done a moment ago",
    "fingerprint": "The 16 hexadecimal digits of a kind of error",
    "operationId": "The ID of a deferred write",
    "requestId": "The `X-Request-ID` of its answer",
    "sort": "What comes first",
    "q": "Words to search for",
    "offset": "Entries to pass by",
}
_CODES = {
    "400": ("MALFORMED_REQUEST", "Bad Request"),
    "401": ("AUTHENTICATION_REQUIRED", "Unauthorized"),
    "403": ("FORBIDDEN", "Forbidden"),
    "404": ("NOT_FOUND", "Not Found"),
    "422": ("VALIDATION_FAILED", "Unprocessable Content"),
    "429": ("RATE_LIMITED", "Too Many Requests"),
    "503": ("DATABASE_UNAVAILABLE", "Service Unavailable"),
}


def example_of_refusal(status: str, text: str) -> dict[str, Any]:
    """The body of one, in the shape that all of them have."""
    code, title = _CODES[status]
    limit = {"pointer": "/limit", "field": "limit", "code": "less_than_equal", "message": "must be at most 200"}
    return {
        "type": f"/problems/{code.lower().replace('_', '-')}",
        "title": title,
        "status": int(status),
        "detail": text,
        "code": code,
        "message": text,
        "details": [limit] if status == "422" else [],
        "requestId": HEADERS["RequestId"]["example"],
        "timestamp": MOMENT,
        "retryable": status in ("429", "503"),
        "outcome": None,
    }
