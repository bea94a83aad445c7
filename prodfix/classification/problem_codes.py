"""The one table of codes: what each public ``code`` of an answer means, and what the client and the operator do about it.

The page that a problem's ``type`` leads to, and the reference in ``docs/``, are made of it. A code that an application has
given with a row of its own gets the sentences of its status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus

from prodfix.classification.classifications import Classification
from prodfix.classification.classifier import Classifier
from prodfix.slotted import frozen

_ASK_AGAIN = "Ask again after `Retry-After` seconds, with the same `Idempotency-Key`, and twice as long each time."
_MEND = "Mend the request. The same one gets the same answer."
_LOOK = "Do not repeat it without a look: `outcome` says what became of a write. Show `requestId` to the user."
_NOTHING = "Nothing, unless it comes often."


@frozen
class ProblemCode:
    """With which statuses it is answered, and three texts: when, what the client does, what the operator does. Words of code
    stand between backticks."""

    statuses: tuple[int, ...]
    meaning: str
    client: str
    operator: str


CODES: Mapping[str, ProblemCode] = {
    "MALFORMED_REQUEST": ProblemCode(
        (400,),
        "The body is not JSON, too deep (64 levels), has NaN, duplicate keys or broken text; or it ended early.",
        f"{_MEND} If the connection broke while it was sent, send it again.",
        "Nothing, unless a release of the client sends it: the log has its user agent.",
    ),
    "AUTHENTICATION_REQUIRED": ProblemCode(
        (401,),
        "There is no token, or none that is valid.",
        "Get a new token, then send the request again. `WWW-Authenticate` says whether one was refused.",
        "If all tokens are refused, compare `JWT_SECRET_KEY`, issuer and audience of all instances, and their clocks.",
    ),
    "FORBIDDEN": ProblemCode(
        (403,),
        "The token is valid and has not the role.",
        "Do not send it again. Ask for the role.",
        "Look whether `JWT_ROLES_CLAIM` names the claim in which the issuer puts roles.",
    ),
    "NOT_FOUND": ProblemCode(
        (404,),
        "There is no such thing, or not for this user.",
        "Do not send it again. Forget the address if it was kept.",
        _NOTHING,
    ),
    "METHOD_NOT_ALLOWED": ProblemCode(
        (405,), "The path has no such method.", "Use one of those that `Allow` lists.", _NOTHING
    ),
    "REQUEST_TIMEOUT": ProblemCode(
        (408,),
        "The body did not arrive within `BODY_TIMEOUT_MS`. Nothing ran.",
        f"{_ASK_AGAIN} Send less at once where the network is slow.",
        "Raise `BODY_TIMEOUT_MS` if slow clients are yours; give uploads a view with `@deadline(None)`.",
    ),
    "DUPLICATE_KEY": ProblemCode(
        (409,),
        "A value that must be unique is taken. `details` names the fields, never the values.",
        "Show the fields to the user and let them choose another value.",
        "Nothing: a unique index does its work.",
    ),
    "CONFLICT": ProblemCode(
        (409,),
        "Somebody else changed it first, or the request does not fit the current state. With `retryable`: a copy with the "
        "same `Idempotency-Key` still runs.",
        "With `retryable`: ask again after `Retry-After`, with the same key. Otherwise read it again and let the user "
        "decide.",
        _NOTHING,
    ),
    "PAYLOAD_TOO_LARGE": ProblemCode(
        (413,),
        "The body is larger than `MAX_BODY_BYTES`; or a document is, or would become, larger than MongoDB's 16 MB.",
        f"{_MEND} Send less, or in parts.",
        "Raise `MAX_BODY_BYTES` if such bodies are meant. A document that grows without end wants a collection of its own.",
    ),
    "UNSUPPORTED_MEDIA_TYPE": ProblemCode(
        (415,),
        "The body must be JSON, and not encoded (`Content-Encoding`).",
        "Send `Content-Type: application/json`, and only an encoding that `Accept-Encoding` of the answer lists.",
        "Name encodings that views decode themselves in `BODY_ENCODINGS`.",
    ),
    "VALIDATION_FAILED": ProblemCode(
        (422,),
        "Some fields are not valid. `details` has `field`, JSON `pointer`, `code` and `message` of each.",
        "Show each message beside its field. The same request gets the same answer.",
        "If good data is refused, compare the rules of the server with those of the models: `prodfix indexes diff`.",
    ),
    "IDEMPOTENCY_KEY_REUSED": ProblemCode(
        (422,),
        "This `Idempotency-Key` came with another request before.",
        "It is a bug in the client: make a new key for each thing that its user does.",
        "Tell the client's makers; the record has the user agent.",
    ),
    "RATE_LIMITED": ProblemCode(
        (429,),
        "Too many requests. `Retry-After` is the application's own, spread upwards.",
        "Wait for `Retry-After` seconds, then ask again.",
        "If honest clients meet it, raise the limit (`DIAGNOSTICS_RATE_LIMIT` for the diagnostics).",
    ),
    "INTERNAL_ERROR": ProblemCode(
        (500,),
        "The application has a defect, or a call to somebody else failed.",
        _LOOK,
        "Look the request's ID up in the diagnostics: the record has the type, the places, and the commands before it.",
    ),
    "DATABASE_ERROR": ProblemCode(
        (500,),
        "MongoDB refused the operation, or its reply cannot be read.",
        "As for `INTERNAL_ERROR`: the same request gets the same answer until somebody has mended it.",
        "Look the request's ID up: the record has MongoDB's code and the command's shape.",
    ),
    "DATABASE_UNAVAILABLE": ProblemCode(
        (503,),
        "MongoDB cannot be reached. Without `retryable` it refuses the application's own credentials or settings.",
        f"{_ASK_AGAIN} Without `retryable`: do not, until somebody has mended it.",
        "Look at the health check of the database and the diagnostics; then at MongoDB, the network, and (not `retryable`) "
        "the credentials in `MONGODB_URI`. Nothing must be restarted: workers find it again by themselves.",
    ),
    "DATABASE_BUSY": ProblemCode(
        (503,),
        "The pool of connections is exhausted, the server is overloaded, or others wrote the same document all the time.",
        _ASK_AGAIN,
        "Look at slow queries and their advice first, then at `DB_POOL_SIZE`, then at documents that everybody writes.",
    ),
    "SHUTTING_DOWN": ProblemCode(
        (503,),
        "This worker ends. Another one takes over.",
        "Ask again after `Retry-After` seconds, with the same `Idempotency-Key`.",
        "Nothing during a deploy. Otherwise look why workers end: memory, or the platform.",
    ),
    "DATABASE_TIMEOUT": ProblemCode(
        (504,),
        "MongoDB did not answer in time.",
        "With `retryable`, or for a GET: ask again after `Retry-After`. After a write look first: `outcome` may be `unknown`.",
        "Look at the queries with the highest p95 and at the advice for them; then at the server's load.",
    ),
    "DEADLINE_EXCEEDED": ProblemCode(
        (504,),
        "The request's own deadline is over: `REQUEST_DEADLINE_MS`, or the client's `X-Request-Timeout-Ms`.",
        "With `retryable`, or for a GET: ask again after `Retry-After`. After a write look first: `outcome` may be `unknown`.",
        "Look up the request: its commands say where the time went. Views that need longer get `@deadline`.",
    ),
}


def problem_codes(classifier: Classifier) -> dict[str, ProblemCode]:
    """All codes that the rows of ``classifier`` have, the application's too; not those of rows that decide error by error."""
    return {**{row.code: _of(row) for row in _own_rows(classifier)}, **CODES}


def problem_code(classifier: Classifier, code: str) -> ProblemCode | None:
    """That of ``code``; None for one that nothing is known of. ``HTTP_<status>`` says what its status says."""
    known = CODES.get(code) or next((_of(row) for row in _own_rows(classifier) if row.code == code), None)
    if known is not None or not code.startswith("HTTP_"):
        return known
    status = next((status for status in HTTPStatus if code == f"HTTP_{status.value}" and status >= 400), None)
    return None if status is None else _plain(status, status.description or status.phrase, retryable=status == 503)


def problem_slug(code: str) -> str:
    """What stands for ``code`` in a problem's ``type``: ``duplicate-key``."""
    return code.lower().replace("_", "-")


def _own_rows(classifier: Classifier) -> Iterator[Classification]:
    rows = (classifier.rows[kind] for kind in classifier.own)
    return (row for row in rows if isinstance(row, Classification))


def _of(row: Classification) -> ProblemCode:
    return _plain(row.status, row.message, retryable=row.retryable)


def _plain(status: int, message: str, *, retryable: bool) -> ProblemCode:
    """Of a code that is not in the table: what its status allows to say."""
    client = _ASK_AGAIN if retryable else _LOOK if status >= 500 else _MEND
    operator = "Look the request's ID up in the diagnostics." if status >= 500 else _NOTHING
    return ProblemCode((status,), f"{message.rstrip('.')}.", client, operator)
