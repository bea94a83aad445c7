"""The rows of the table of errors: every meaning that an error can have.

Which error has which of them stand in ``error_types`` (exception types and labels), ``server_codes`` (MongoDB's codes) and
``web_errors`` (HTTP and JWT); an application adds its own with ``ProdFix(classifications=...)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

from prodfix.errors import ErrorCategory, FieldError, Outcome, Severity
from prodfix.slotted import frozen


@frozen
class Classification:
    """What an error means: for the log (category, severity), for the client (status, code, message, retryable) and
    for recovery (transient: worth another try now; outcome: what became of a write)."""

    category: ErrorCategory
    status: int
    code: str
    message: str
    severity: Severity | Any = None  # by the status: what the client can mend is no error of ours
    transient: bool = False
    retryable: bool = False
    outcome: Outcome | None = None
    details: tuple[FieldError, ...] = field(default=())

    @property
    def of_database(self) -> bool:
        """As :func:`of_database`."""
        return of_database(self.category, self.code)

    def __post_init__(self) -> None:
        if self.severity is None:
            mild = isinstance(self.status, int) and self.status < 500
            object.__setattr__(self, "severity", Severity.INFO if mild else Severity.ERROR)

    @property
    def contended(self) -> bool:
        """Whether somebody else was at the same data, and nothing was applied: the database works, and the same again may
        succeed within milliseconds. That is no outage, and never a reason to wait for the end of one."""
        return (self.category, self.code, self.outcome) == (CONTENDED.category, CONTENDED.code, CONTENDED.outcome)


def of_database(category: str, code: str) -> bool:
    """Whether an error with these says that the database is away or slow. A timeout of a call to somebody else does not."""
    if category == ErrorCategory.TIMEOUT:
        return code != NETWORK_TIMED_OUT.code
    return category == ErrorCategory.DATABASE_CONNECTION


Row = Classification | Callable[[Any], Classification]
"""A meaning, or what finds the meaning of one error: ``(error) -> Classification``."""


def check_rows(rows: Mapping[Any, Any]) -> None:
    """Raise ``ValueError`` for a row that could not be answered with: told at start, and not at the first error."""
    for kind, row in rows.items():
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ValueError(f"classifications: {kind!r} is not a type of exception")
        if isinstance(row, Classification):
            check_row(row, kind.__name__)
        elif not callable(row):
            raise ValueError(f"classifications: the row of {kind.__name__} is neither a Classification nor callable")


def check_row(row: Any, name: str) -> None:
    """Raise ``ValueError`` if ``row``, which is that of ``name``, is no error that can be answered."""
    wrong, is_one = None, isinstance(row, Classification)
    if not is_one:
        wrong = "gave something that is no Classification"
    elif not isinstance(row.category, ErrorCategory) or not isinstance(row.severity, Severity):
        wrong = "needs an ErrorCategory and a Severity"
    elif row.outcome is not None and not isinstance(row.outcome, Outcome):
        wrong = "has an outcome that is no Outcome"
    elif isinstance(row.status, bool) or not isinstance(row.status, int) or not 400 <= row.status <= 599:
        wrong = "has a status outside 400..599"
    elif not isinstance(row.code, str) or not re.fullmatch("[A-Z][A-Z0-9_]{0,59}", row.code):
        wrong = "has a code that is not in capital letters, digits and underscores"
    elif not isinstance(row.message, str) or not row.message.strip():
        wrong = "has no message"
    if wrong is not None:
        raise ValueError(f"classifications: the row of {name} {wrong}")


def with_outcome(row: Classification, outcome: Outcome | None) -> Classification:
    """``row`` where what became of the write is ``outcome``. A text that says it was applied does not stay."""
    if row.outcome is Outcome.APPLIED and outcome is not Outcome.APPLIED:
        return replace(row, outcome=outcome, message=INTERNAL_ERROR.message)
    return replace(row, outcome=outcome)


def _row(category: ErrorCategory, status: int, code: str, message: str, **more: Any) -> Classification:
    return Classification(category, status, code, message, **more)


INTERNAL_ERROR = _row(ErrorCategory.UNKNOWN, 500, "INTERNAL_ERROR", "An error occurred")
FATAL = replace(INTERNAL_ERROR, severity=Severity.CRITICAL)
NETWORK_FAILED = replace(INTERNAL_ERROR, category=ErrorCategory.NETWORK, transient=True, outcome=Outcome.UNKNOWN)
NETWORK_REFUSED = replace(NETWORK_FAILED, transient=False, outcome=None)
NETWORK_TIMED_OUT = replace(NETWORK_FAILED, category=ErrorCategory.TIMEOUT)
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
NOT_KNOWN = replace(UNAVAILABLE, category=ErrorCategory.CLIENT, severity=Severity.INFO, outcome=None)
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
UNFINISHED = replace(DATABASE_ERROR, outcome=Outcome.UNKNOWN)
DAMAGED = replace(DATABASE_ERROR, severity=Severity.CRITICAL)
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
BODY_BROKEN = replace(MALFORMED, category=ErrorCategory.NETWORK)
TOO_LARGE = _row(ErrorCategory.CLIENT, 413, "PAYLOAD_TOO_LARGE", "The request is too large", severity=Severity.INFO)
DOCUMENT_TOO_LARGE = replace(TOO_LARGE, category=ErrorCategory.VALIDATION, outcome=Outcome.NOT_APPLIED)
NOT_FOUND = _row(ErrorCategory.CLIENT, 404, "NOT_FOUND", "Not found", severity=Severity.INFO)
CONFLICTING = _row(
    ErrorCategory.CONFLICT,
    409,
    "CONFLICT",
    "It was changed by somebody else in the meantime",
    severity=Severity.INFO,
    outcome=Outcome.NOT_APPLIED,
)
IN_PROGRESS = replace(CONFLICTING, message="The same request is still being worked on", retryable=True, outcome=None)
NOT_KEPT = replace(CONFLICTING, message="It was done before, but its answer was not kept", outcome=None)
KEY_REUSED = _row(
    ErrorCategory.VALIDATION,
    422,
    "IDEMPOTENCY_KEY_REUSED",
    "This idempotency key came with another request before",
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
UNGUARDED = replace(MISCONFIGURED, category=ErrorCategory.UNKNOWN, severity=Severity.ERROR)
