"""Which row of the table an error has, and what of its details may be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError as PydanticError
from pymongo import errors as mongo
from tenacity import RetryError

from prodfix.classification import foreign, outbound, web_errors, wrappers
from prodfix.classification.classifications import (
    DAMAGED,
    DATABASE_ERROR,
    DOCUMENT_TOO_LARGE,
    DUPLICATE,
    INTERNAL_ERROR,
    INTERRUPTED,
    INVALID,
    MISCONFIGURED,
    NOT_DURABLE,
    UNAVAILABLE,
    UNFINISHED,
    Classification,
    Row,
    check_row,
    check_rows,
    with_outcome,
)
from prodfix.classification.error_types import LABELS, RULES, TYPES
from prodfix.classification.places import fetching, reading_a_reply
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.server_replies import code_of, details_of, key_fields, mappings, rule_fields
from prodfix.errors import (
    ErrorCategory,
    Outcome,
    PartlyApplied,
    ProdFixError,
    Severity,
    ValidationFailed,
    _foreign_problem,
)
from prodfix.origins import MOST, ancestry, given_up

# Rows of codes that say no more than that it failed.
_VAGUE = (DATABASE_ERROR, UNFINISHED, DAMAGED)
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Classifier:
    """The table as an object of its own for each application.

    ``rows`` are the application's: exception type -> :class:`Classification`, or a callable that finds it for one error.
    They win over ours for the same type, and a row for a subclass wins over one for its parent. Raises ``ValueError`` for a row
    that could not be answered with.
    """

    def __init__(self, rows: Mapping[type[BaseException], Row] | None = None) -> None:
        check_rows(rows or {})
        self.rows: dict[type[BaseException], Row] = {**TYPES, **RULES, **web_errors.WEB_TYPES, **web_errors.WEB_RULES}
        self.rows.update(rows or {})
        self.own = frozenset(rows or ())
        self.failures = 0
        """How often a callable of the application's rows raised, or gave something that is no answer."""

    def classify(self, error: BaseException) -> Classification:
        """What ``error`` means. Never raises; what is not known is ``INTERNAL_ERROR``."""
        return self._classify(error, 0)

    def claims(self, error: BaseException) -> bool:
        """Whether a row of the application's decides what ``error`` means."""
        return next((kind for kind in type(error).__mro__ if kind in self.rows), None) in self.own

    def unreachable(self, timeout: Classification) -> Classification:
        """What a timeout means while the database is known not to answer at all."""
        return replace(UNAVAILABLE, outcome=timeout.outcome)

    def _classify(self, error: BaseException, depth: int) -> Classification:
        kind = next((kind for kind in type(error).__mro__ if kind in self.rows), None)
        if kind in self.own:
            return _detailed(self._asked(self.rows[kind], error), error)
        if depth == MOST:
            return INTERNAL_ERROR
        for inner in (given_up(error), web_errors.original(error)):
            if inner is not None:
                return self._classify(inner, depth + 1)
        held = self._wrapped(error, depth)
        if held is not None:
            return wrappers.decided_after(error, held)
        if isinstance(error, BaseExceptionGroup):
            return _worst([self._classify(member, depth + 1) for member in error.exceptions])
        if isinstance(error, PartlyApplied) and error.__cause__ is not None:
            return with_outcome(self._classify(error.__cause__, depth + 1), Outcome.UNKNOWN)
        row = self._row(error, kind, depth)
        if row is not None and row.code != INTERNAL_ERROR.code:
            return _detailed(row, error)
        return web_errors.of_body(error) or self._by_origin(error, row, depth) or row or INTERNAL_ERROR

    def _wrapped(self, error: BaseException, depth: int) -> Classification | None:
        """What the error means that ``error`` wraps by its class; ``None`` if that is nothing that is known."""
        inner = wrappers.wrapped(error)
        if inner is None:
            return None
        found = wrappers.key_service_failed(inner) or self._classify(inner, depth + 1)
        return found if found.category is not ErrorCategory.UNKNOWN else None

    def _asked(self, row: Row, error: BaseException) -> Classification:
        if isinstance(row, Classification):
            return row
        try:
            found = row(error)
            check_row(found, type(error).__name__)
        except Exception:  # noqa: BLE001 - the error that is being answered must not become another one
            self.failures += 1
            return INTERNAL_ERROR
        return found

    def _row(self, error: BaseException, kind: type[BaseException] | None, depth: int) -> Classification | None:
        if reading_a_reply(error):
            return UNFINISHED
        known = web_errors.named(error) or outbound.named(error) or wrappers.named(error)
        if known is None and isinstance(error, mongo.PyMongoError):
            known = self._by_server(error, depth)
        if known is None and kind is not None:
            row = self.rows[kind]
            known = row if isinstance(row, Classification) else row(error)
        if known is None:
            found = foreign.problems(error)
            if found is not None:
                return replace(INVALID, details=tuple(_foreign_problem(*problem) for problem in found))
        if known is None or not isinstance(error, mongo.PyMongoError):
            return known
        return wrappers.decided_after(error, _labelled(known, error))

    def _by_origin(self, error: BaseException, row: Classification | None, depth: int) -> Classification | None:
        """The error of the driver, or of a call to somebody else, that an application's came from.

        ``raise Failed from error`` claims that it is that error. Without ``from`` it is one that happened while the other was
        handled: that may tell why the service fails, but never that the client did; and what the code in between has done
        to the database is not known.
        """
        for origin, claimed in ancestry(error):
            if not claimed and row is not None:
                return None
            unknown = row is None or row.category is ErrorCategory.UNKNOWN
            if _is_drivers(origin) or (unknown and outbound.failure(origin) is not None):
                found = self._classify(origin, depth + 1)
                if claimed:
                    return found
                if found.status < 500:
                    return None
                return with_outcome(found, Outcome.UNKNOWN if found.outcome is not None else None)
        return None

    def _by_server(self, error: mongo.PyMongoError, depth: int) -> Classification | None:
        if isinstance(error, (mongo.BulkWriteError, mongo.ClientBulkWriteException)):
            return self._by_parts(details_of(error), depth)
        row = _of_code(server_code(error))
        if isinstance(error, mongo.WriteConcernError) and row is not None and row.outcome is Outcome.NOT_APPLIED:
            row = NOT_DURABLE  # it was applied, whatever then kept it from being confirmed
        if row is DOCUMENT_TOO_LARGE and fetching(error):
            row = DATABASE_ERROR  # what a pipeline has made is too large, and nothing that a client has sent
        lost = row is INTERRUPTED or isinstance(error, mongo.ConnectionFailure)
        vague = not lost and (row is None or row in _VAGUE)
        for label, (meaning, rule) in LABELS.items():
            if error.has_error_label(label) and (rule == "always" or (rule == "vague" and vague)):
                return meaning
        if row is DUPLICATE:
            return replace(row, details=key_fields(details_of(error)))
        if row is INVALID:
            return replace(row, details=rule_fields(details_of(error)))
        return MISCONFIGURED if lost and _refused(error) else row

    def _by_parts(self, details: Mapping[str, Any], depth: int) -> Classification | None:
        """A bulk write is what ended it as a whole, or its first failed part. With another part applied, the whole is no
        longer `not_applied`."""
        ended = details.get("error")  # a client's bulk write only
        part = ended if isinstance(ended, Mapping) else next(iter(mappings(details, "writeErrors")), None)
        if isinstance(ended, BaseException):
            row = self._classify(ended, depth + 1)
        elif part is not None:
            row = _of_code(code_of(part)) or DATABASE_ERROR
            fields = {DUPLICATE.code: key_fields, INVALID.code: rule_fields}.get(row.code)
            row = replace(row, details=fields(part)) if fields else row
        else:
            return NOT_DURABLE if details.get("writeConcernErrors") else None
        counts = ("nInserted", "nModified", "nUpserted", "nRemoved", "nDeleted", "anySuccessful")
        return with_outcome(row, Outcome.UNKNOWN) if any(details.get(count) for count in counts) else row


def _worst(members: list[Classification]) -> Classification:
    """A group is what its worst member is, and may be tried again only if every one of them may."""
    worst = max(members, key=lambda row: (_RANK[row.severity], row.status))
    outcomes = {row.outcome for row in members}
    row = with_outcome(worst, outcomes.pop() if len(outcomes) == 1 else Outcome.UNKNOWN)
    return replace(
        row,
        retryable=all(member.retryable for member in members),
        transient=all(member.transient for member in members),
        details=(),
    )


def _detailed(row: Classification, error: BaseException) -> Classification:
    if isinstance(error, PydanticError):
        return replace(row, details=ValidationFailed.from_pydantic(error).problems)
    problems = getattr(error, "problems", ()) if isinstance(error, ProdFixError) else ()
    return replace(row, details=problems) if problems else row


def _labelled(row: Classification, error: mongo.PyMongoError) -> Classification:
    """``row`` with the outcome that a label of the driver knows better."""
    if row.outcome is Outcome.UNKNOWN:
        for label, (meaning, rule) in LABELS.items():
            if rule == "outcome" and error.has_error_label(label):
                return replace(row, outcome=meaning.outcome)
    return row


def _refused(error: BaseException) -> bool:
    """Whether a lost connection was lost because the server refused our credentials: the driver may wrap the refusal."""
    causes = (origin for origin, claimed in ancestry(error) if claimed)
    return any(
        _of_code(server_code(cause)) is MISCONFIGURED for cause in causes if isinstance(cause, mongo.PyMongoError)
    )


def _of_code(code: int | None) -> Classification | None:
    known = SERVER_CODES.get(code) if code is not None else None
    return known[1] if known is not None else None


def _is_drivers(error: BaseException, depth: int = 0) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return depth < MOST and any(_is_drivers(member, depth + 1) for member in error.exceptions)
    return isinstance(error, (mongo.PyMongoError, RetryError))


_default = Classifier()


def classify(error: BaseException) -> Classification:
    """Classify by the default table (:class:`Classifier` without rows of an application)."""
    return _default.classify(error)


def server_code(error: BaseException) -> int | None:
    """The server's error code. ``NotPrimaryError`` carries it only in its details (pymongo 4.20)."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else code_of(details_of(error))


def server_code_name(error: BaseException) -> str | None:
    """The server's name for the code of ``error``; ``None`` for no code, or one that the table does not know."""
    known = SERVER_CODES.get(server_code(error) or 0)
    return known[0] if known is not None else None
