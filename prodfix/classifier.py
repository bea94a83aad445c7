"""Which row of the table an error has, and what of its details may be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError as PydanticError
from pymongo import errors as mongo
from tenacity import RetryError

from prodfix import foreign
from prodfix.classifications import (
    BUSY,
    CODES,
    CONTENDED,
    DATABASE_ERROR,
    DUPLICATE,
    INTERNAL_ERROR,
    INTERRUPTED,
    INVALID,
    NOT_DURABLE,
    TYPES,
    UNAVAILABLE,
    UNCERTAIN_COMMIT,
    Classification,
)
from prodfix.errors import FieldError, Outcome, PartlyApplied, ProdFixError, ValidationFailed, _foreign_problem


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
        if isinstance(error, PartlyApplied) and error.__cause__ is not None:
            return replace(self.classify(error.__cause__), outcome=Outcome.UNKNOWN)
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


def server_code(error: BaseException) -> int | None:
    """The server's error code. ``NotPrimaryError`` carries it only in its details (pymongo 4.20)."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else server_code_of(_details(error))
