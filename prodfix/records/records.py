"""One error, from the moment it is caught to the answer, the log and the collection: one record."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import bson
from pymongo.errors import PyMongoError

from prodfix.classification.classifications import Classification
from prodfix.classification.server_replies import server_code
from prodfix.classification.wording import silent, words
from prodfix.errors import ErrorCategory, FieldError, Outcome, ProdFixError, Severity, chain
from prodfix.logs.sinks import Rendered, render, renderable
from prodfix.operations.frames import name_of
from prodfix.operations.operation import DatabaseOperation
from prodfix.process.lazy import memoized
from prodfix.process.tracing import SpanIds
from prodfix.redaction.names import mask_key
from prodfix.redaction.redactor import redact_document, redact_text
from prodfix.request.context import RequestContext
from prodfix.request.devices import DeviceType
from prodfix.request.outgoing_trace import span_ids
from prodfix.serialization import Description, Serializable, iso_of, json_maker
from prodfix.slotted import frozen
from prodfix.statistics.counts import ErrorKey

Disposition = Literal["stored", "logged", "counted"]


# Which category goes into which file; error.log has everything of severity error and critical besides, and what has no file.
FILE_OF = {
    ErrorCategory.DATABASE_CONNECTION: "database",
    ErrorCategory.DATABASE_QUERY: "database",
    ErrorCategory.TIMEOUT: "database",
    ErrorCategory.DUPLICATE_KEY: "database",
    ErrorCategory.CONFLICT: "database",
    ErrorCategory.VALIDATION: "validation",
    ErrorCategory.AUTHENTICATION: "auth",
    ErrorCategory.AUTHORIZATION: "auth",
}


_LOGGED = frozenset(FILE_OF) - {ErrorCategory.DATABASE_CONNECTION, ErrorCategory.DATABASE_QUERY, ErrorCategory.TIMEOUT}


LARGEST_RECORD = 64 * 1024  # bytes
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})


@frozen
class RecoveryAttempts(Serializable):
    """What recovery did for a request: ``attempts`` are our own, ``driver_retries`` the driver's."""

    attempted: bool = False
    successful: bool = False
    attempts: int = 0
    driver_retries: int = 0


_attempts = json_maker(RecoveryAttempts)


class Answered(NamedTuple):
    """Who has answered a request that failed, and with which status. The application's own answer may be any."""

    by: Literal["prodfix", "host"]
    status: int | None = None
    """``None``: as the error's meaning says."""


@dataclass(frozen=True, init=False)
class ErrorRecord:
    """One error (the seed's EnrichedError and Error Log Entry). ``summary`` is redacted; ``meaning`` has the public text.

    Each form of it is made when it is first asked for, and once.

    ``outcome``: what became of the request's writes (:mod:`prodfix.records.outcomes`), ``None`` for what was no write;
    ``places`` are the application's functions on the way to it; ``facts`` what its kind tells besides, without values.
    ``recovered``: the operation succeeded in the end, and nobody was told of an error. ``answered``: ``None`` for what was no
    answer, of a background task say.
    """

    meaning: Classification
    summary: str
    error_type: str
    stack: str
    context: RequestContext | None
    operation: DatabaseOperation | None
    request_id: str
    release: str
    outcome: Outcome | None
    places: tuple[str, ...]
    facts: Mapping[str, Any]
    recovered: bool
    answered: Answered | None
    timestamp: datetime
    id: bson.ObjectId
    instance: str

    def __init__(
        self,
        meaning: Classification,
        summary: str,
        error_type: str,
        stack: str,
        context: RequestContext | None,
        operation: DatabaseOperation | None,
        request_id: str,
        release: str,
        outcome: Outcome | None = None,
        places: tuple[str, ...] = (),
        facts: Mapping[str, Any] = _NO_FACTS,
        recovered: bool = False,
        answered: Answered | None = None,
        timestamp: datetime | None = None,
        id: bson.ObjectId | None = None,
        instance: str = "",
    ) -> None:
        # All at once: what a frozen dataclass does for each field takes longer than to make all of them known to a log.
        self.__dict__.update(
            meaning=meaning,
            summary=summary,
            error_type=error_type,
            stack=stack,
            context=context,
            operation=operation,
            request_id=request_id,
            release=release,
            outcome=outcome,
            places=places,
            facts=facts,
            recovered=recovered,
            answered=answered,
            timestamp=timestamp or datetime.now(UTC),
            id=id or bson.ObjectId(),
            instance=instance,
        )

    @property
    def status(self) -> int:
        """What the client has got."""
        sent = self.answered.status if self.answered is not None else None
        return self.meaning.status if sent is None else sent

    @property
    def retryable(self) -> bool:
        """Whether the client should send it again. Not after a write that was, or may have been, applied."""
        return self.meaning.retryable and self.outcome in (None, Outcome.NOT_APPLIED)

    @memoized
    def moment(self) -> str:
        """The timestamp as text."""
        return iso_of(self.timestamp.timestamp())

    @memoized
    def _kind(self) -> tuple[str, str]:
        return _kind_of(self.error_type, self.meaning.category, self.meaning.code, self.places)

    @property
    def title(self) -> str:
        """What errors of this kind have in common: no message, whose values would make every error a kind of its own."""
        return self._kind[1]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: the same for the same type, category and way through the application."""
        return self._kind[0]

    @memoized
    def key(self) -> ErrorKey:
        """As what it is counted."""
        context, category = self.context, self.meaning.category
        if context is None:
            return ErrorKey(str(category), "unknown", "background", *self._kind)
        return ErrorKey(str(category), context.quick_device, context.endpoint, *self._kind)  # as its request is counted

    @property
    def files(self) -> list[str]:
        """The category files that have a line of it, without ``.log``."""
        # A call to somebody else that was too slow is of the same category as a slow query, and nothing of the database's.
        elsewhere = self.meaning.category is ErrorCategory.TIMEOUT and not self.meaning.of_database
        found = [FILE_OF[self.meaning.category]] if self.meaning.category in FILE_OF and not elsewhere else []
        return (
            found if found and self.meaning.severity not in (Severity.ERROR, Severity.CRITICAL) else [*found, "error"]
        )

    @property
    def disposition(self) -> Disposition:
        if self.status >= 500 and self.meaning.status < 500:
            return "stored"  # the application has made a failure of it: who has its ID must find it
        if self.meaning.category is ErrorCategory.CLIENT:
            return "counted"
        return "logged" if self.meaning.category in _LOGGED else "stored"

    def to_entry(self) -> Rendered:
        """The line of the log, at most :data:`LARGEST_RECORD` bytes."""
        return self._entry

    def to_document(self) -> dict[str, Any]:
        """The document of the collection ``error_log``, at most :data:`LARGEST_RECORD` bytes as JSON and as BSON."""
        return self._document[0]

    def to_bson(self, *, whole: bool) -> bytes:
        """The same with its ``_id``, encoded; or without ``whole`` what is kept in a storm of its kind."""
        return self._document[1] if whole else self._encoded(self.to_log_entry())

    @memoized
    def _entry(self) -> Rendered:
        head = {"timestamp": self.moment, "level": str(self.meaning.severity), "event": "error"}
        return Rendered(*capped(head | self._fields, render))

    @memoized
    def _document(self) -> tuple[dict[str, Any], bytes]:
        document = {"timestamp": self.timestamp, **self._fields}
        if self._entry["facts"] is not document["facts"]:  # the line was too large: as JSON this is shorter
            document |= {name: self._entry[name] for name in self._fields}
        return capped(document, self._encoded)

    def _encoded(self, document: Mapping[str, Any]) -> bytes:
        return encoded({**document, "_id": self.id})

    def to_log_entry(self) -> dict[str, Any]:
        """What is kept of an error in a storm of its kind: enough to find it by its request, and its group, and to see what of
        the database it was about."""
        fields = {name: value for name, value in self._fields.items() if name not in ("stack", "trail")}
        fields["facts"] = {name: self.facts[name] for name in ("operationId", "operation") if name in self.facts}
        if self.operation is not None:
            fields["database"] = replace(self.operation, query=None).to_json()
        return {"timestamp": self.timestamp, **fields, "suppressed": True}

    @memoized
    def span(self) -> SpanIds | None:
        """The span that was active when the record was first shown, as happens where the error is; ``None`` without a tracer."""
        return span_ids(self.context) if self.context is not None else None

    @memoized
    def _fields(self) -> dict[str, Any]:
        # Each name that is read more than once is read once: this is made of every error.
        context, meaning, operation, outcome = self.context, self.meaning, self.operation, self.outcome
        notes = context.notes if context is not None else None
        retries = notes.retries if notes is not None else 0
        fields: dict[str, Any] = {
            "requestId": self.request_id,
            "traceId": context.trace_id if context is not None else None,
            "fingerprint": self._kind[0],
            "category": str(meaning.category),
            "severity": str(meaning.severity),
            "code": meaning.code,
            "status": self.status,
            "answeredBy": self.answered.by if self.answered is not None else None,
            "message": self.summary,
            "errorType": self.error_type,
            "stack": self.stack,
            "context": context.to_json() if context is not None else None,
            "database": operation.to_json() if operation is not None else None,
            "trail": notes.trail_json(context.begun) if context is not None and notes is not None else [],
            "recovery": _attempts(
                attempted=retries > 0,
                successful=self.recovered,
                attempts=retries,
                driver_retries=notes.driver_retries if notes is not None else 0,
            ),
            "facts": dict(self.facts),
            "outcome": str(outcome) if outcome is not None else None,
            "retryable": self.retryable,
            "release": self.release or None,
            "instance": self.instance or None,
            "pid": os.getpid(),
        }
        if notes is not None and notes.span is not None and self.span is not None:
            fields["spanId"] = self.span.span  # of most there is none, and they are no larger for it
        return fields


def named_place(places: Sequence[str]) -> str:
    """The innermost of the application's functions that has a name, as people look for it; a lambda's or a comprehension's
    place only where there is no other. Empty without any."""
    named = (place for place in reversed(places) if not place.endswith(">"))
    return next(named, places[-1] if places else "")


@lru_cache(1024)
def _kind_of(error_type: str, category: str, code: str, places: tuple[str, ...]) -> tuple[str, str]:
    """The fingerprint and the title."""
    told = "\n".join((error_type, category, code, *places)).encode("utf-8", "replace")
    place = f" in {named_place(places)}" if places else ""
    return hashlib.blake2b(told, digest_size=8).hexdigest(), f"{code} ({error_type}){place}"[:200]


@frozen
class ErrorSummary(Serializable):
    """The seed's ErrorSummary of a stored record, of whatever release."""

    id: str
    timestamp: datetime
    request_id: str | None = None
    category: ErrorCategory | None = None
    severity: Severity | None = None
    code: str | None = None
    message: str | None = None
    status: Annotated[int | None, Description("HTTP status that the client has got")] = None
    answered_by: Annotated[
        Literal["prodfix", "host"] | None,
        Description("host: the application has answered itself; null: nobody was asking"),
    ] = None
    outcome: Outcome | None = None
    fingerprint: str | None = None
    endpoint: str | None = None
    device_type: DeviceType | None = None
    user_id: str | None = None
    release: str | None = None
    database: DatabaseOperation | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ErrorSummary:
        """Of a record's own fields, and of its context's."""
        return cls.from_json({**(document.get("context") or {}), **document, "id": str(document["_id"])})


def summary(error: BaseException, links: Sequence[BaseException] | None = None) -> str:
    """The error in words that are safe in a log: its type, the server's code, and, unless it is a driver's, its redacted text.

    Texts of the driver and of MongoDB hold hosts, values and keys, and so do those of libraries that validate: type, code and
    rule say the same without them. ``links``: its chain, for who has it.
    """
    parts = []
    links = links or chain(error)
    for link in links[:3]:
        name = name_of(link)
        code = server_code(link) if isinstance(link, PyMongoError) else None
        reason = f"code {code}" if code else getattr(link, "cause", None)  # a DatabaseUnavailable's
        if silent(link) and isinstance(reason, str):
            parts.append(f"{name} ({reason})")
        else:
            text = words(link, links) if silent(link) or link.args else ""
            parts.append(f"{name}: {text}" if text and text != name else name)
    return " <- ".join(parts)


def rules_of(problems: Sequence[FieldError]) -> list[dict[str, str]]:
    """Which rule each field failed. An unknown field's name is the client's own."""
    return [{"field": redact_text(mask_key(one.field[:100])), "rule": one.code[:60]} for one in problems[:50]]


def facts_of(error: BaseException, meaning: Classification, context: RequestContext | None) -> dict[str, Any]:
    """What a kind of error tells besides: a validation failure its rules, a refusal its user and reason."""
    # Of our own exceptions only: somebody else's may have anything under this name.
    facts = dict(redact_document(error.facts)) if isinstance(error, ProdFixError) else {}
    if meaning.category is ErrorCategory.VALIDATION:
        facts["rules"] = rules_of(meaning.details)
    elif meaning.category in (ErrorCategory.AUTHENTICATION, ErrorCategory.AUTHORIZATION):
        user = context.notes.user_id if context else None
        facts = {"type": name_of(error), "userId": user, "reason": summary(error)} | facts
    return facts


def encoded(document: Mapping[str, Any]) -> bytes:
    """BSON, also of what only an error brings along: half a character in its text, a NUL in a key."""
    try:
        return bson.encode(document)
    except (bson.errors.BSONError, OverflowError, UnicodeError):
        kept = {name: value for name, value in document.items() if isinstance(value, (datetime, bson.ObjectId))}
        return bson.encode(renderable(document) | kept)


def capped(document: dict[str, Any], made: Callable[[Mapping[str, Any]], bytes]) -> tuple[dict[str, Any], bytes]:
    """``document`` without what makes it too large, in the order of what is missed least; and what is ``made`` of it."""
    data = made(document)
    for part in ("facts", "trail", "database", "stack", "message", "context"):
        if len(data) <= LARGEST_RECORD:
            break
        document = {**document, part: "left out: too large" if isinstance(document[part], str) else None}
        data = made(document)
    return document, data
