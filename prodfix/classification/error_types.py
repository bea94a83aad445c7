"""The rows of exception types and of the driver's labels.

The most derived class that has a row decides. An error of the server is told apart by its code first (``server_codes``).
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import bson.errors
from pymongo import errors as mongo

from prodfix.classification.classifications import (
    APPLIED_LATE,
    BODY_BROKEN,
    BODY_LATE,
    BUSY,
    CONFLICTING,
    CONTENDED,
    DAMAGED,
    DATABASE_ERROR,
    DEADLINE,
    DOCUMENT_TOO_LARGE,
    DUPLICATE,
    FATAL,
    FORBIDDEN,
    IN_PROGRESS,
    INTERNAL_ERROR,
    INTERRUPTED,
    INVALID,
    KEY_REUSED,
    MALFORMED,
    MISCONFIGURED,
    NETWORK_FAILED,
    NETWORK_REFUSED,
    NOT_DURABLE,
    NOT_FOUND,
    NOT_KEPT,
    NOT_KNOWN,
    SHUTTING_DOWN,
    TIMED_OUT,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNCERTAIN_COMMIT,
    UNFINISHED,
    UNGUARDED,
    Classification,
)
from prodfix.classification.places import encoding
from prodfix.driver.operation_internals import CLOSED
from prodfix.errors import (
    AnswerNotKept,
    AuthenticationRequired,
    BodyInterrupted,
    BodyTimeout,
    ClientError,
    Conflict,
    DatabaseNotConfigured,
    DatabaseRefused,
    DatabaseUnavailable,
    DeadlineExceeded,
    Forbidden,
    IdempotencyKeyReused,
    JournalUnavailable,
    JournalUncertain,
    MalformedRequest,
    NotFound,
    NotKnownNow,
    PartlyApplied,
    ProdFixError,
    RequestInProgress,
    ShuttingDown,
    Unguarded,
    ValidationFailed,
)

TYPES: dict[type[BaseException], Classification] = {
    # Ours.
    ProdFixError: INTERNAL_ERROR,
    MalformedRequest: MALFORMED,
    BodyInterrupted: BODY_BROKEN,
    AuthenticationRequired: UNAUTHENTICATED,
    Forbidden: FORBIDDEN,
    NotFound: NOT_FOUND,
    BodyTimeout: BODY_LATE,
    ValidationFailed: INVALID,
    Conflict: CONFLICTING,
    RequestInProgress: IN_PROGRESS,
    AnswerNotKept: NOT_KEPT,
    IdempotencyKeyReused: KEY_REUSED,
    ClientError: MALFORMED,
    DatabaseNotConfigured: MISCONFIGURED,
    DatabaseUnavailable: UNAVAILABLE,
    DatabaseRefused: MISCONFIGURED,
    NotKnownNow: NOT_KNOWN,
    JournalUnavailable: UNAVAILABLE,
    JournalUncertain: INTERRUPTED,
    PartlyApplied: UNFINISHED,
    Unguarded: UNGUARDED,
    ShuttingDown: SHUTTING_DOWN,
    DeadlineExceeded: DEADLINE,
    # The driver's. A wait for a connection or a server that was too long is a connection's error, not a timeout.
    mongo.PyMongoError: DATABASE_ERROR,
    mongo.ConnectionFailure: INTERRUPTED,
    mongo.ServerSelectionTimeoutError: UNAVAILABLE,
    mongo.WaitQueueTimeoutError: BUSY,
    **dict.fromkeys(CLOSED, INTERRUPTED),
    mongo.NetworkTimeout: TIMED_OUT,
    mongo.ExecutionTimeout: TIMED_OUT,
    mongo.WTimeoutError: APPLIED_LATE,
    mongo.WriteConcernError: NOT_DURABLE,
    mongo.DuplicateKeyError: DUPLICATE,
    mongo.DocumentTooLarge: DOCUMENT_TOO_LARGE,
    mongo.ProtocolError: UNFINISHED,
    bson.errors.BSONError: INVALID,
    bson.errors.InvalidBSON: UNFINISHED,
    # What it holds decides, as long as it holds something.
    BaseExceptionGroup: INTERNAL_ERROR,
    # The application's own calls to the outside.
    ConnectionError: NETWORK_FAILED,
    TimeoutError: NETWORK_FAILED,
    socket.gaierror: NETWORK_FAILED,
    socket.herror: NETWORK_FAILED,
    ssl.SSLError: NETWORK_FAILED,
    ssl.SSLCertVerificationError: NETWORK_REFUSED,
    MemoryError: FATAL,
    RecursionError: INTERNAL_ERROR,
}

# Module and name of classes of libraries that are loaded by who uses them (prodfix.loaded).
LATER_TYPES: dict[tuple[str, str], Classification] = {
    ("gridfs.errors", "NoFile"): NOT_FOUND,
    ("gridfs.errors", "FileExists"): DUPLICATE,
    ("gridfs.errors", "CorruptGridFile"): DAMAGED,
    # What pydantic raises besides ValidationError tells of a defect in the application's models.
    ("pydantic_core._pydantic_core", "ValidationError"): INVALID,
    ("pydantic_core._pydantic_core", "PydanticSerializationError"): INTERNAL_ERROR,
    ("pydantic_core._pydantic_core", "SchemaError"): INTERNAL_ERROR,
    # What they hold decides, as long as they hold something.
    ("tenacity", "RetryError"): INTERNAL_ERROR,
    ("tenacity", "TryAgain"): INTERNAL_ERROR,
}

AWAY = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
_USED_UP = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EIO, errno.ENOMEM})


def _system(error: OSError) -> Classification:
    """By its number: the network, a disk or a table of files that is full, or a defect such as a missing file."""
    if error.errno in AWAY:
        return NETWORK_FAILED
    return FATAL if error.errno in _USED_UP else INTERNAL_ERROR


def _overflow(error: OverflowError) -> Classification:
    # bson's words for an integer that BSON cannot hold; the type alone says too little.
    return INVALID if "8-byte ints" in str(error) else INTERNAL_ERROR


def _setting(error: mongo.ConfigurationError) -> Classification:
    """A DNS that does not answer for a mongodb+srv name is an unreachable database: pymongo wraps what dnspython raised."""
    no_name = "DNS" in str(error) or type(error.__cause__).__module__.startswith("dns.")
    return UNAVAILABLE if no_name else DATABASE_ERROR


def _unicode(error: UnicodeEncodeError) -> Classification:
    """Half of a surrogate pair is text to JSON and to Python, and none to BSON."""
    return INVALID if encoding(error) else INTERNAL_ERROR


# Types that mean this or that: their errors are looked into.
RULES: dict[type[BaseException], Callable[[Any], Classification]] = {
    OSError: _system,
    OverflowError: _overflow,
    UnicodeEncodeError: _unicode,
    mongo.ConfigurationError: _setting,
}


# Said in the printed table, for what the columns alone do not tell.
_BODY = "while the request's body is read: 400"
NOTES: dict[type[BaseException] | tuple[str, str], str] = {
    bson.errors.BSONError: "also InvalidDocument of the raw driver: taken for the client's, though a view may have built it",
    OSError: "by errno: network, critical (disk or files used up), else a defect; " + _BODY,
    OverflowError: "an integer that BSON cannot hold: 422; else a defect",
    UnicodeEncodeError: "text that BSON cannot hold: 422; else a defect",
    mongo.ConfigurationError: "while the DNS does not answer: 503; else a DATABASE_ERROR",
    ConnectionError: _BODY,
    TimeoutError: _BODY,
    RecursionError: "in the JSON of a request's body: 400",
    ("tenacity", "RetryError"): "what its last try was; this if there is none",
    BaseExceptionGroup: "its worst member",
    PartlyApplied: "its cause, with this outcome",
}


class Label(NamedTuple):
    """What a label of the driver or the server does to an error that carries it."""

    row: Classification
    rule: str
    """``always``: it decides. ``vague``: it decides for an error whose code is unknown or says no more than DATABASE_ERROR, and
    whose connection was not lost. ``outcome``: only the row's outcome is taken."""


# In this order.
LABELS: dict[str, Label] = {
    "UnknownTransactionCommitResult": Label(UNCERTAIN_COMMIT, "always"),
    "SystemOverloadedError": Label(BUSY, "vague"),
    "TransientTransactionError": Label(CONTENDED, "vague"),
    "RetryableWriteError": Label(INTERRUPTED, "vague"),
    "RetryableError": Label(INTERRUPTED, "vague"),
    "ResumableChangeStreamError": Label(INTERRUPTED, "vague"),
    "NoWritesPerformed": Label(UNAVAILABLE, "outcome"),
}
