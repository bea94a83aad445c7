"""Classes that mean the error which they wrap: the driver's for client-side encryption, and those of object-document mappers.

A mapper often raises its own error while it handles the driver's, without ``from``: by Python's rules that claims nothing, but
these classes exist for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pymongo import errors as mongo

from prodfix.causes import came_from
from prodfix.classification import by_name
from prodfix.classification.by_name import Name
from prodfix.classification.classifications import CONFLICTING, DUPLICATE, NETWORK_FAILED, Classification
from prodfix.classification.places import places
from prodfix.errors import Outcome

Wrapped = Callable[[Any], BaseException | None]


def _cause(error: Any) -> BaseException | None:
    return _exception(error.cause)


def _driver_error(error: Any) -> BaseException | None:
    return _exception(error.driver_error)


def _handled(error: BaseException) -> BaseException | None:
    """The driver's error that was being handled, or is the cause; one before that is another matter."""
    origin = came_from(error)
    return origin if isinstance(origin, mongo.PyMongoError) else None


def _of_umongo(error: BaseException) -> BaseException | None:
    """umongo raises marshmallow's class for a key that is taken, too; raised by anybody else it is what it says."""
    frames = places(error)
    from_umongo = bool(frames) and frames[-1][0].startswith("umongo.")
    return error.__cause__ if from_umongo and isinstance(error.__cause__, mongo.DuplicateKeyError) else None


def _last_try(error: Any) -> BaseException | None:
    attempt = error.last_attempt
    return _exception(attempt.value[1]) if attempt.has_exception else None


def _exception(value: Any) -> BaseException | None:
    return value if isinstance(value, BaseException) else None


_WRAPPERS: dict[Name, Wrapped] = {
    ("pymongo", "EncryptionError"): _cause,
    ("pymongoarrow", "ArrowWriteError"): _handled,
    ("mongoengine", "OperationError"): _handled,
    ("mongoengine", "ConnectionFailure"): _handled,
    ("odmantic", "DuplicateKeyError"): _driver_error,
    ("marshmallow", "ValidationError"): _of_umongo,
    ("retrying", "RetryError"): _last_try,
}
NOTES: dict[Name, str] = {name: "the error that it wraps; this if there is none" for name in _WRAPPERS} | {
    ("marshmallow", "ValidationError"): "umongo's for a key that is taken: DUPLICATE_KEY",
    ("pymongo", "EncryptionError"): "its cause; a key service that does not answer is network",
}
ROWS: dict[Name, Classification] = {
    ("mongoengine", "NotUniqueError"): DUPLICATE,
    ("odmantic", "DuplicateKeyError"): DUPLICATE,
    # Their optimistic lock: the document has another revision than the one that was read.
    ("beanie", "RevisionIdWasChanged"): CONFLICTING,
    ("bunnet", "RevisionIdWasChanged"): CONFLICTING,
}
"""What they mean if they wrap nothing."""

_ENCRYPTION = "pymongo.synchronous.encryption"


def wrapped(error: BaseException) -> BaseException | None:
    """The error that ``error`` means; ``None`` if its class wraps none, or this one does not."""
    find = by_name.found(_WRAPPERS, error)
    if find is None:
        return None
    try:
        inner = find(error)
    except Exception:  # noqa: BLE001 - another version's: what it is, is known, and only what it wraps is not
        return None
    return inner if inner is not error else None


def named(error: BaseException) -> Classification | None:
    """The row of a wrapper that wraps nothing."""
    return by_name.found(ROWS, error)


def of_key_service(error: BaseException) -> bool:
    """Whether a service that keeps keys for client-side encryption did not answer, which is not the database."""
    return (_ENCRYPTION, "kms_request") in places(error)


def key_service_failed(error: BaseException) -> Classification | None:
    return NETWORK_FAILED if isinstance(error, mongo.ConnectionFailure) and of_key_service(error) else None


def decided_after(error: BaseException, row: Classification) -> Classification:
    """``row`` of an ``error`` that came when the reply was decrypted: then the server has done what it was asked for."""
    late = isinstance(error, mongo.EncryptionError) and row.outcome is Outcome.NOT_APPLIED
    return replace(row, outcome=Outcome.UNKNOWN) if late and _decrypting(error) else row


def _decrypting(error: BaseException) -> bool:
    pairs = pairwise(places(error))
    return any(outer[0].endswith(".command_runner") and inner == (_ENCRYPTION, "decrypt") for outer, inner in pairs)
