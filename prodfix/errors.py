"""What can go wrong, and what each of it means: categories, severities, our exceptions and the one table of classification.

::

    ProdFixError
    ├── ClientError                  always answered with 4xx
    │   ├── MalformedRequest         400
    │   ├── BodyInterrupted          400
    │   ├── AuthenticationRequired   401
    │   ├── Forbidden                403
    │   ├── NotFound                 404
    │   ├── BodyTimeout              408
    │   ├── Conflict                 409
    │   │   └── ConcurrentModification
    │   └── ValidationFailed         422
    ├── DatabaseNotConfigured        503
    ├── DatabaseUnavailable          503   (also a pymongo ServerSelectionTimeoutError: raised inside the driver)
    ├── JournalUnavailable           503
    ├── ShuttingDown                 503
    └── DeadlineExceeded             504
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import bson.errors
from pydantic import ValidationError as PydanticError
from pymongo import errors as mongo
from tenacity import RetryError

from prodfix import foreign


class ErrorCategory(StrEnum):
    """The seed's eight categories, and three that its strategy table and HTTP need."""

    DATABASE_CONNECTION = "database_connection"
    DATABASE_QUERY = "database_query"
    VALIDATION = "validation"
    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    NETWORK = "network"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"
    DUPLICATE_KEY = "duplicate_key"
    CONFLICT = "conflict"
    CLIENT = "client"


class Severity(StrEnum):
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class Outcome(StrEnum):
    """What became of a failed write. A write that failed on the network is unknown, not failed."""

    NOT_APPLIED = "not_applied"
    APPLIED = "applied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with one field. ``pointer`` is a JSON pointer (RFC 6901) into the request's body."""

    field: str
    code: str
    message: str
    pointer: str = ""

    def to_json(self) -> dict[str, str]:
        pointer = self.pointer or "/" + self.field.replace("~", "~0").replace("/", "~1").replace(".", "/")
        # The names may be the client's own (an unknown field), and as long as its body.
        return {
            "field": self.field[:100],
            "pointer": pointer[:200],
            "code": self.code[:60],
            "message": self.message[:200],
        }


class ProdFixError(Exception):
    """Root of the exceptions that prodfix raises on purpose. ``message`` is for the log; the answer's text is the table's."""

    def __init__(self, message: str = "", *, problems: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message or type(self).__name__)
        self.problems = problems


class ClientError(ProdFixError):
    """The request is at fault: always answered with 4xx."""


class MalformedRequest(ClientError):
    """The body is not JSON as RFC 8259 means it, or is deeper or larger than allowed."""


class BodyInterrupted(ClientError):
    """The client went away, or broke HTTP, while its body was read."""


class AuthenticationRequired(ClientError):
    """No token, or one that is not valid."""


class Forbidden(ClientError):
    """A valid token without the role."""


class NotFound(ClientError):
    """There is no such thing."""


class BodyTimeout(ClientError):
    """The request's body did not arrive in time."""


class ValidationFailed(ClientError):
    """Fields are wrong. ``problems`` names each of them."""

    @classmethod
    def from_pydantic(cls, error: PydanticError) -> ValidationFailed:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return cls(f"{len(problems)} fields are wrong", problems=tuple(_field_error(problem) for problem in problems))


def _foreign_problem(path: tuple[str, ...], code: str, message: str) -> FieldError:
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return FieldError(".".join(path) or "body", code, message, pointer or "/")


def _field_error(problem: Mapping[str, Any]) -> FieldError:
    path = [str(part) for part in problem["loc"]]
    message = str(problem["msg"]).removeprefix("Value error, ")
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return FieldError(".".join(path) or "body", str(problem["type"]), message, pointer or "/")


class Conflict(ClientError):
    """The request does not fit the state of what it wants to change."""


class ConcurrentModification(Conflict):
    """Somebody else changed the document first. ``expected`` and ``found`` are versions, or ``None`` if it is gone."""

    def __init__(self, message: str = "", *, expected: int | None = None, found: int | None = None) -> None:
        super().__init__(message, problems=(FieldError("version", "stale", "The version has moved on"),))
        self.expected, self.found = expected, found


class DatabaseNotConfigured(ProdFixError):
    """There is no MONGODB_URI."""


class DatabaseUnavailable(mongo.ServerSelectionTimeoutError, ProdFixError):
    """The database is known to be down, so it was not asked.

    Raised inside the driver's server selection by :class:`prodfix.clients.Clients`, and therefore an exception that the
    driver knows not to retry.
    """

    def __init__(self, message: str = "") -> None:
        mongo.ServerSelectionTimeoutError.__init__(self, message or "the database does not answer")
        self.problems = ()


class JournalUnavailable(ProdFixError):
    """A write could not be kept on disk, so it was not accepted."""


class ShuttingDown(ProdFixError):
    """This worker is about to end."""


class DeadlineExceeded(ProdFixError):
    """The request's own deadline has passed."""


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
    ShuttingDown: SHUTTING_DOWN,
    DeadlineExceeded: DEADLINE,
    mongo.ServerSelectionTimeoutError: UNAVAILABLE,
    mongo.WaitQueueTimeoutError: BUSY,
    mongo.NetworkTimeout: TIMED_OUT,
    mongo.ConnectionFailure: INTERRUPTED,
    mongo.ExecutionTimeout: TIMED_OUT,
    mongo.WTimeoutError: replace(TIMED_OUT, transient=False, outcome=Outcome.APPLIED),
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
    64: replace(TIMED_OUT, transient=False, outcome=Outcome.APPLIED),
    112: CONTENDED,
    251: CONTENDED,
    246: CONTENDED,
    462: BUSY,
    **dict.fromkeys((6, 7, 89, 91, 134, 189, 9001, 10058, 10107, 11600, 11602, 13435, 13436), INTERRUPTED),
}


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it came from, nearest first; a cycle or a very long chain ends it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < 20:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


class Classifier:
    """The table as an object of its own for each application.

    ``rows`` are the application's: exception type -> :class:`Classification`. They win over ours for the same type, and
    a row for a subclass wins over one for its parent.
    """

    def __init__(self, rows: Mapping[type[BaseException], Classification] | None = None) -> None:
        self._rows = {**TYPES, **(rows or {})}
        self._own = frozenset(rows or ())

    def classify(self, error: BaseException) -> Classification:
        """What ``error`` means. Never raises; what is not known is ``INTERNAL_ERROR``."""
        if isinstance(error, RetryError):
            inner = error.last_attempt.exception()
            return self.classify(inner) if inner is not None else INTERNAL_ERROR
        kind = self._kind(error)
        row = self._by_type(error, kind)
        if isinstance(error, mongo.PyMongoError) and kind not in self._own:
            row = self._by_server(error) or row
        if row is None:
            found = foreign.problems(error)
            if found is not None:
                return replace(INVALID, details=tuple(_foreign_problem(*problem) for problem in found))
            # An application that wraps a driver's error (`raise Failed from error`) still means the driver's error.
            wrapped = (cause for cause in _causes(error) if isinstance(cause, (mongo.PyMongoError, RetryError)))
            cause = next(wrapped, None)
            return self.classify(cause) if cause is not None else INTERNAL_ERROR
        if isinstance(error, PydanticError):
            return replace(row, details=ValidationFailed.from_pydantic(error).problems)
        return replace(row, details=error.problems) if isinstance(error, ProdFixError) and error.problems else row

    def unreachable(self, timeout: Classification) -> Classification:
        """What a timeout means while the database is known not to answer at all."""
        return replace(UNAVAILABLE, outcome=timeout.outcome)

    def _kind(self, error: BaseException) -> type | None:
        return next((kind for kind in type(error).__mro__ if kind in self._rows), None)

    def _by_type(self, error: BaseException, kind: type | None) -> Classification | None:
        if isinstance(error, OverflowError) and kind not in self._own and "8-byte ints" in str(error):
            return INVALID  # bson's words for an integer that BSON cannot hold; the type alone says too little
        return self._rows[kind] if kind is not None else None

    def _by_server(self, error: mongo.PyMongoError) -> Classification | None:
        if isinstance(error, (mongo.BulkWriteError, mongo.ClientBulkWriteException)):
            return self._by_parts(_details(error))
        if error.has_error_label("UnknownTransactionCommitResult"):
            return UNCERTAIN_COMMIT
        code = server_code(error)
        row = CODES.get(code) if code is not None else None
        if row is DUPLICATE:
            return replace(row, details=_key_fields(_details(error)))
        if row is INVALID:
            return replace(row, details=_rule_fields(_details(error)))
        lost = row is INTERRUPTED or isinstance(error, mongo.ConnectionFailure)
        if lost and error.has_error_label("NoWritesPerformed"):
            return UNAVAILABLE
        return row or (None if lost else self._by_label(error))

    def _by_label(self, error: mongo.PyMongoError) -> Classification | None:
        if error.has_error_label("SystemOverloadedError"):
            return BUSY
        if error.has_error_label("TransientTransactionError"):
            return CONTENDED
        return UNAVAILABLE if isinstance(error, mongo.ConfigurationError) and _no_name(error) else None

    def _by_parts(self, details: Mapping[str, Any]) -> Classification | None:
        """A bulk write is what ended it as a whole, or its first failed part. With another part applied, the whole is no
        longer `not_applied`."""
        ended = details.get("error")  # a client's bulk write only
        part = ended if isinstance(ended, Mapping) else next(iter(_mappings(details, "writeErrors")), None)
        if isinstance(ended, BaseException):
            row = self.classify(ended)
        elif part is not None:
            row = CODES.get(server_code_of(part) or 0, DATABASE_ERROR)
            fields = {DUPLICATE.code: _key_fields, INVALID.code: _rule_fields}.get(row.code)
            row = replace(row, details=fields(part)) if fields else row
        else:
            return NOT_DURABLE if details.get("writeConcernErrors") else None
        counts = ("nInserted", "nModified", "nUpserted", "nRemoved", "nDeleted", "anySuccessful")
        return replace(row, outcome=Outcome.UNKNOWN) if any(details.get(count) for count in counts) else row


def server_code(error: BaseException) -> int | None:
    """The server's error code. ``NotPrimaryError`` carries it only in its details (pymongo 4.20)."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else server_code_of(_details(error))


def server_code_of(part: Mapping[str, Any]) -> int | None:
    code = part.get("code")
    return code if isinstance(code, int) else None


def _no_name(error: mongo.ConfigurationError) -> bool:
    """Whether the DNS did not answer for a mongodb+srv name: pymongo wraps whatever dnspython raised."""
    return "DNS" in str(error) or type(error.__cause__).__module__.startswith("dns.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _details(error: BaseException) -> Mapping[str, Any]:
    details = getattr(error, "details", None)
    return details if isinstance(details, Mapping) else {}


def _key_fields(part: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """The names of the fields that clashed, never their values: an echoed value tells who has an account."""
    pattern = part.get("keyPattern")
    names = list(pattern) if isinstance(pattern, Mapping) else []
    return tuple(FieldError(str(name), "duplicate", "This value already exists") for name in names[:50])


def _rule_fields(part: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """Field errors from the server's own validator (``errInfo`` of error 121, MongoDB 5.0 and later)."""
    found: list[FieldError] = []
    for rule in _mappings(_mapping(_mapping(part, "errInfo"), "details"), "schemaRulesNotSatisfied"):
        missing = rule.get("missingProperties")
        for name in missing if isinstance(missing, list) else ():
            found.append(FieldError(str(name), "missing", "This field is required"))
        for wrong in _mappings(rule, "propertiesNotSatisfied"):
            found.append(FieldError(str(wrong.get("propertyName")), "invalid", "This value is not valid"))
    return tuple(found[:50])


def _mapping(part: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = part.get(key)
    return value if isinstance(value, Mapping) else {}


def _mappings(part: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = part.get(key)
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


_default = Classifier()


def classify(error: BaseException) -> Classification:
    """Classify by the default table (:class:`Classifier` without rows of an application)."""
    return _default.classify(error)
