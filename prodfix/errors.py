"""What can go wrong: categories, severities, and our exceptions. What each of it means stands in ``classifications``.

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
    │   │   ├── ConcurrentModification
    │   │   ├── RequestInProgress
    │   │   └── AnswerNotKept
    │   ├── IdempotencyKeyReused     422
    │   └── ValidationFailed         422
    ├── DatabaseNotConfigured        503
    ├── DatabaseUnavailable          503   (also a pymongo ServerSelectionTimeoutError: raised inside the driver)
    │   ├── DatabaseRefused          503   no try helps
    │   └── NotKnownNow              503   and no outage
    ├── JournalUnavailable           503
    │   ├── JournalTimeout           (also a TimeoutError)
    │   └── JournalUncertain         with an unknown outcome
    ├── PartlyApplied                as its cause, with an unknown outcome
    │   └── Uncertain
    ├── Unguarded                    503
    ├── ShuttingDown                 503
    └── DeadlineExceeded             504
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bson.errors import BSONError
from pymongo import errors as mongo

from prodfix import causes
from prodfix.serialization import Serializable, json_maker
from prodfix.slotted import frozen

if TYPE_CHECKING:
    from pydantic import ValidationError as PydanticError


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


@frozen
class FieldProblem(Serializable):
    """What an answer says of one field."""

    field: str
    pointer: str
    code: str
    message: str


_problem = json_maker(FieldProblem)


@frozen
class FieldError:
    """One thing that is wrong with one field. ``pointer`` is a JSON pointer (RFC 6901) into the request's body, made of
    ``field`` where none is given; the whole body's is empty."""

    field: str
    code: str
    message: str
    pointer: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A :class:`FieldProblem`."""
        pointer = self.pointer
        if pointer is None:
            pointer = "/" + self.field.replace("~", "~0").replace("/", "~1").replace(".", "/")
        # The names may be the client's own (an unknown field), and as long as its body.
        return _problem(self.field[:100], pointer[:200], self.code[:60], self.message[:200])


class ProdFixError(Exception):
    """Root of the exceptions that prodfix raises on purpose. ``message`` is for the log; the answer's text is the table's.

    ``facts`` stand in the log and in no answer; they hold no value of a user.
    """

    facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, message: str = "", *, problems: tuple[FieldError, ...] = (), facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message or type(self).__name__)
        self.problems = problems
        if facts is not None:
            self.facts = facts


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
    def from_pydantic(cls, error: PydanticError, *, facts: Mapping[str, Any] | None = None) -> ValidationFailed:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        fields = tuple(_field_error(problem) for problem in problems)
        return cls(f"{len(problems)} fields are wrong", problems=fields, facts=facts)


def _foreign_problem(path: tuple[str, ...], code: str, message: str) -> FieldError:
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return FieldError(".".join(path) or "body", code, message, pointer)


def _field_error(problem: Mapping[str, Any]) -> FieldError:
    path = [str(part) for part in problem["loc"]]
    # pydantic's own text names the class.
    whole = str(problem["type"]) in ("model_type", "model_attributes_type")
    message = "must be an object" if whole else str(problem["msg"]).removeprefix("Value error, ")
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return FieldError(".".join(path) or "body", str(problem["type"]), message, pointer)


class Conflict(ClientError):
    """The request does not fit the state of what it wants to change."""


class ConcurrentModification(Conflict):
    """Somebody else changed the document first. ``expected`` and ``found`` are versions, or ``None`` if it is gone."""

    def __init__(self, message: str = "", *, expected: int | None = None, found: int | None = None) -> None:
        super().__init__(message, problems=(FieldError("version", "stale", "The version has moved on"),))
        self.expected, self.found = expected, found


class RequestInProgress(Conflict):
    """A copy of the request, with the same idempotency key, is still being worked on."""


class AnswerNotKept(Conflict):
    """A copy of the request was answered before, and what it was answered could not be kept."""


class IdempotencyKeyReused(ClientError):
    """The idempotency key came with another request before."""


class DatabaseNotConfigured(ProdFixError):
    """There is no MONGODB_URI."""


class DatabaseUnavailable(mongo.ServerSelectionTimeoutError, ProdFixError):
    """The database is known to be down, so it was not asked. ``cause`` is the type of what the last ping met, or
    that it has had no answer yet.

    Raised inside the driver's server selection by :class:`prodfix.connection.clients.Clients`, and therefore an
    exception that the driver knows not to retry.
    """

    def __init__(self, message: str = "", *, cause: str | None = None) -> None:
        mongo.ServerSelectionTimeoutError.__init__(self, message or "the database does not answer")
        self.problems = ()
        self.cause = cause


class DatabaseRefused(DatabaseUnavailable):
    """The database answers, but refuses our credentials, or the driver our settings: waiting does not help."""


class NotKnownNow(DatabaseUnavailable):
    """What is asked for is not known here, and who may know it cannot tell it now: other instances have not done so yet, or
    MongoDB cannot be read from."""


class JournalUnavailable(ProdFixError):
    """A write could not be kept on disk, so it was not accepted."""


class JournalTimeout(JournalUnavailable, TimeoutError):
    """The disk with the journals did not answer in time."""


class JournalUncertain(JournalUnavailable):
    """Whether a write was kept on disk is not known yet: its commit had begun, and the disk did not answer in time."""


class PartlyApplied(ProdFixError):
    """Some steps of a write were applied before the one that failed, which is the cause."""


class Uncertain(PartlyApplied):
    """A write was tried before, and its document no longer remembers whether that was applied."""


class Unguarded(ProdFixError, ValueError):
    """A deferrable operation has a step that could be applied twice. It is refused, and never deferred."""


class ShuttingDown(ProdFixError):
    """This worker is about to end."""


class DeadlineExceeded(ProdFixError):
    """The request's own deadline has passed."""


UNANSWERED = (mongo.PyMongoError, BSONError)
"""What an operation raises that got no answer from MongoDB, or one that the driver cannot decode: for those who go on without."""


def answers_late(error: BaseException) -> bool:
    """Whether it says that the server was there, and did not answer a command in time. One that could not be selected, or
    connected to, is away, however long that took (the driver labels the latter as of an overloaded system)."""
    if not isinstance(error, mongo.PyMongoError) or isinstance(error, mongo.ServerSelectionTimeoutError):
        return False
    return error.timeout and not error.has_error_label("SystemOverloadedError")


def chain(error: BaseException) -> list[BaseException]:
    """:func:`prodfix.causes.chain`: the error, then all that it came from."""
    return causes.chain(error)
