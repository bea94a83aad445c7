"""What each error means: one table, by type and by the server's code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import bson.errors
from pydantic import ValidationError as PydanticError
from pymongo import errors as mongo

from prodfix.errors import (
    AuthenticationRequired,
    BodyInterrupted,
    BodyTimeout,
    ClientError,
    Conflict,
    DatabaseNotConfigured,
    DatabaseUnavailable,
    DeadlineExceeded,
    ErrorCategory,
    FieldError,
    Forbidden,
    JournalUnavailable,
    MalformedRequest,
    NotFound,
    Outcome,
    PartlyApplied,
    Severity,
    ShuttingDown,
    Unguarded,
    ValidationFailed,
)


@dataclass(frozen=True, slots=True)
class Classification:
    """What an error means: for the log (category, severity), for the client (status, code, message, retryable) and
    for recovery (transient: worth another try now; outcome: what became of a write)."""

    category: ErrorCategory
    status: int
    code: str
    message: str
    severity: Severity = Severity.ERROR
    transient: bool = False
    retryable: bool = False
    outcome: Outcome | None = None
    details: tuple[FieldError, ...] = field(default=())


def _row(category: ErrorCategory, status: int, code: str, message: str, **more: Any) -> Classification:
    return Classification(category, status, code, message, **more)


INTERNAL_ERROR = _row(ErrorCategory.UNKNOWN, 500, "INTERNAL_ERROR", "An error occurred")
UNAVAILABLE = _row(
    ErrorCategory.DATABASE_CONNECTION,
    503,
    "DATABASE_UNAVAILABLE",
    "Service temporarily unavailable",
    severity=Severity.CRITICAL,
    transient=True,
    retryable=True,
    outcome=Outcome.NOT_APPLIED,
)
INTERRUPTED = replace(UNAVAILABLE, outcome=Outcome.UNKNOWN)
BUSY = replace(UNAVAILABLE, code="DATABASE_BUSY", severity=Severity.ERROR)
MISCONFIGURED = replace(UNAVAILABLE, transient=False, retryable=False)
TIMED_OUT = _row(
    ErrorCategory.TIMEOUT,
    504,
    "DATABASE_TIMEOUT",
    "Request timed out, please try again",
    transient=True,
    retryable=True,
    outcome=Outcome.UNKNOWN,
)
DATABASE_ERROR = _row(
    ErrorCategory.DATABASE_QUERY, 500, "DATABASE_ERROR", "An error occurred", outcome=Outcome.NOT_APPLIED
)
DUPLICATE = _row(
    ErrorCategory.DUPLICATE_KEY,
    409,
    "DUPLICATE_KEY",
    "This value already exists",
    severity=Severity.INFO,
    outcome=Outcome.NOT_APPLIED,
)
INVALID = _row(
    ErrorCategory.VALIDATION,
    422,
    "VALIDATION_FAILED",
    "Some fields are not valid",
    severity=Severity.INFO,
    outcome=Outcome.NOT_APPLIED,
)
MALFORMED = _row(
    ErrorCategory.CLIENT, 400, "MALFORMED_REQUEST", "The request could not be read", severity=Severity.INFO
)
TOO_LARGE = _row(ErrorCategory.CLIENT, 413, "PAYLOAD_TOO_LARGE", "The request is too large", severity=Severity.INFO)
NOT_FOUND = _row(ErrorCategory.CLIENT, 404, "NOT_FOUND", "Not found", severity=Severity.INFO)
CONFLICTING = _row(
    ErrorCategory.CONFLICT,
    409,
    "CONFLICT",
    "It was changed by somebody else in the meantime",
    severity=Severity.INFO,
    outcome=Outcome.NOT_APPLIED,
)
CONTENDED = replace(BUSY, category=ErrorCategory.DATABASE_QUERY)
UNCERTAIN_COMMIT = replace(CONTENDED, outcome=Outcome.UNKNOWN, severity=Severity.ERROR)
NOT_DURABLE = replace(DATABASE_ERROR, outcome=Outcome.APPLIED)
UNAUTHENTICATED = _row(
    ErrorCategory.AUTHENTICATION, 401, "AUTHENTICATION_REQUIRED", "Authentication required", severity=Severity.WARN
)
FORBIDDEN = _row(
    ErrorCategory.AUTHORIZATION, 403, "FORBIDDEN", "You are not allowed to do this", severity=Severity.WARN
)
SHUTTING_DOWN = _row(
    ErrorCategory.NETWORK,
    503,
    "SHUTTING_DOWN",
    "Service temporarily unavailable",
    severity=Severity.WARN,
    transient=True,
    retryable=True,
    outcome=Outcome.NOT_APPLIED,
)
APPLIED_LATE = replace(
    TIMED_OUT,
    message="It was applied, but not confirmed in time",
    transient=False,
    retryable=False,
    outcome=Outcome.APPLIED,
)
DEADLINE = replace(TIMED_OUT, code="DEADLINE_EXCEEDED", transient=False)
BODY_LATE = _row(
    ErrorCategory.NETWORK,
    408,
    "REQUEST_TIMEOUT",
    "Network error, retrying...",
    severity=Severity.INFO,
    retryable=True,
    outcome=Outcome.NOT_APPLIED,
)

# The most derived class that has a row decides. Server errors are told apart by their code first (see CODES).
TYPES: dict[type[BaseException], Classification] = {
    MalformedRequest: MALFORMED,
    BodyInterrupted: replace(MALFORMED, category=ErrorCategory.NETWORK),
    AuthenticationRequired: UNAUTHENTICATED,
    Forbidden: FORBIDDEN,
    NotFound: NOT_FOUND,
    BodyTimeout: BODY_LATE,
    ValidationFailed: INVALID,
    Conflict: CONFLICTING,
    ClientError: MALFORMED,
    DatabaseNotConfigured: MISCONFIGURED,
    DatabaseUnavailable: UNAVAILABLE,
    JournalUnavailable: UNAVAILABLE,
    PartlyApplied: replace(DATABASE_ERROR, outcome=Outcome.UNKNOWN),
    Unguarded: replace(MISCONFIGURED, category=ErrorCategory.UNKNOWN, severity=Severity.ERROR),
    ShuttingDown: SHUTTING_DOWN,
    DeadlineExceeded: DEADLINE,
    mongo.ServerSelectionTimeoutError: UNAVAILABLE,
    mongo.WaitQueueTimeoutError: BUSY,
    mongo.NetworkTimeout: TIMED_OUT,
    mongo.ConnectionFailure: INTERRUPTED,
    mongo.ExecutionTimeout: TIMED_OUT,
    mongo.WTimeoutError: APPLIED_LATE,
    mongo.WriteConcernError: NOT_DURABLE,
    mongo.DuplicateKeyError: DUPLICATE,
    mongo.DocumentTooLarge: replace(TOO_LARGE, category=ErrorCategory.VALIDATION, outcome=Outcome.NOT_APPLIED),
    mongo.ProtocolError: replace(DATABASE_ERROR, outcome=Outcome.UNKNOWN),
    mongo.PyMongoError: DATABASE_ERROR,
    bson.errors.BSONError: INVALID,
    bson.errors.InvalidBSON: replace(DATABASE_ERROR, outcome=Outcome.UNKNOWN),
    PydanticError: INVALID,
}

# MongoDB's error codes (src/mongo/base/error_codes.yml). The server's refusal of our own credentials is never the user's 401.
CODES: dict[int, Classification] = {
    11000: DUPLICATE,
    11001: DUPLICATE,
    12582: DUPLICATE,
    121: INVALID,
    13: MISCONFIGURED,
    18: MISCONFIGURED,
    8000: MISCONFIGURED,
    50: TIMED_OUT,
    202: TIMED_OUT,
    262: TIMED_OUT,
    64: APPLIED_LATE,
    112: CONTENDED,
    251: CONTENDED,
    246: CONTENDED,
    462: BUSY,
    **dict.fromkeys((6, 7, 89, 91, 134, 189, 9001, 10058, 10107, 11600, 11602, 13435, 13436), INTERRUPTED),
}
