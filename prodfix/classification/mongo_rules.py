"""What the driver's errors mean by what they carry: a bulk write by its parts, all others by label and by the server's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pymongo import errors as mongo

from prodfix.causes import ancestry
from prodfix.classification import wrappers
from prodfix.classification.classifications import (
    DAMAGED,
    DATABASE_ERROR,
    DOCUMENT_TOO_LARGE,
    DUPLICATE,
    INTERRUPTED,
    INVALID,
    MISCONFIGURED,
    NOT_DURABLE,
    UNFINISHED,
    Classification,
    with_outcome,
)
from prodfix.classification.error_types import LABELS
from prodfix.classification.places import fetching
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.server_replies import code_of, details_of, key_fields, mappings, rule_fields, server_code
from prodfix.errors import FieldError, Outcome

Classify = Callable[[BaseException], Classification]

_VAGUE = (DATABASE_ERROR, UNFINISHED, DAMAGED)  # rows of codes that say no more than that it failed
_APPLIED = ("nInserted", "nModified", "nUpserted", "nRemoved", "nDeleted", "anySuccessful")


def of_server(error: BaseException, within: Classify) -> Classification | None:
    """What the server or the driver says of it; ``None`` leaves it to its type. ``within`` classifies what is in it."""
    if not isinstance(error, mongo.PyMongoError):
        return None
    if isinstance(error, (mongo.BulkWriteError, mongo.ClientBulkWriteException)):
        return _of_parts(details_of(error), within)
    row = _of_code(error)
    lost = row is INTERRUPTED or isinstance(error, mongo.ConnectionFailure)
    vague = not lost and (row is None or row in _VAGUE)
    return (
        _of_label(error, vague)
        or (MISCONFIGURED if lost and _refused(error) else None)
        or (_with_fields(row, details_of(error)) if row is not None else None)
    )


def with_known_outcome(row: Classification, error: BaseException) -> Classification:
    """``row`` with the outcome that a label, or the place in the driver where it was raised, knows better."""
    if not isinstance(error, mongo.PyMongoError):
        return row
    if row.outcome is Outcome.UNKNOWN:
        labels = (
            meaning for label, (meaning, rule) in LABELS.items() if rule == "outcome" and error.has_error_label(label)
        )
        row = next((replace(row, outcome=meaning.outcome) for meaning in labels), row)
    return wrappers.decided_after(error, row)


def _of_label(error: mongo.PyMongoError, vague: bool) -> Classification | None:
    for label, (meaning, rule) in LABELS.items():
        if error.has_error_label(label) and (rule == "always" or (rule == "vague" and vague)):
            return meaning
    return None


def _of_code(error: mongo.PyMongoError) -> Classification | None:
    row = _row(server_code(error))
    if isinstance(error, mongo.WriteConcernError) and row is not None and row.outcome is Outcome.NOT_APPLIED:
        return NOT_DURABLE  # it was applied, whatever then kept it from being confirmed
    if row is DOCUMENT_TOO_LARGE and fetching(error):
        return DATABASE_ERROR  # what a pipeline has made is too large, and nothing that a client has sent
    return row


def _of_parts(details: Mapping[str, Any], within: Classify) -> Classification | None:
    """A bulk write is what ended it as a whole, or its first failed part. With another part applied, the whole is no
    longer `not_applied`."""
    ended = details.get("error")  # a client's bulk write only
    part = ended if isinstance(ended, Mapping) else next(iter(mappings(details, "writeErrors")), None)
    if isinstance(ended, BaseException):
        row = within(ended)
    elif part is not None:
        row = _with_fields(_row(code_of(part)) or DATABASE_ERROR, part)
    else:
        return NOT_DURABLE if details.get("writeConcernErrors") else None
    return with_outcome(row, Outcome.UNKNOWN) if any(details.get(count) for count in _APPLIED) else row


def _with_fields(row: Classification, part: Mapping[str, Any]) -> Classification:
    if row is DUPLICATE:
        return _duplicate(key_fields(part))
    fields = {DUPLICATE.code: key_fields, INVALID.code: rule_fields}.get(row.code)
    return replace(row, details=fields(part)) if fields is not None else row


@lru_cache(256)  # of an application's few unique indexes
def _duplicate(details: tuple[FieldError, ...]) -> Classification:
    return replace(DUPLICATE, details=details)


def _refused(error: BaseException) -> bool:
    """Whether a lost connection was lost because the server refused our credentials: the driver may wrap the refusal."""
    causes = (origin for origin, claimed in ancestry(error) if claimed)
    return any(_row(server_code(cause)) is MISCONFIGURED for cause in causes if isinstance(cause, mongo.PyMongoError))


def _row(code: int | None) -> Classification | None:
    known = SERVER_CODES.get(code) if code is not None else None
    return known[1] if known is not None else None
