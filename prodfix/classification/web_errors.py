"""The rows of HTTP and of tokens: werkzeug's exceptions by status, flask-jwt-extended's and PyJWT's, and broken bodies.

Classes only: this knows no request and no application, so that every
:class:`prodfix.classification.classifier.Classifier` has these rows, also in a background greenlet and in a test
without an app.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from werkzeug.exceptions import ClientDisconnected, HTTPException, InternalServerError
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.routing import ValidationError as ConverterError
from werkzeug.routing.exceptions import NoMatch, RoutingException
from werkzeug.routing.matcher import SlashRequired
from werkzeug.utils import ImportStringError

from prodfix.classification.classifications import (
    BODY_BROKEN,
    BODY_LATE,
    FATAL,
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID,
    MALFORMED,
    NETWORK_FAILED,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHENTICATED,
    Classification,
)
from prodfix.classification.places import places
from prodfix.errors import ErrorCategory, Severity


def _client(
    status: int, code: str, message: str, *, category: ErrorCategory = ErrorCategory.CLIENT, retryable: bool = False
) -> Classification:
    return Classification(category, status, code, message, severity=Severity.INFO, retryable=retryable)


STATUSES: dict[int, Classification] = {
    400: MALFORMED,
    401: UNAUTHENTICATED,
    403: FORBIDDEN,
    404: NOT_FOUND,
    405: _client(405, "METHOD_NOT_ALLOWED", "This method is not allowed here"),
    408: BODY_LATE,
    409: _client(409, "CONFLICT", "The request does not fit the current state", category=ErrorCategory.CONFLICT),
    413: TOO_LARGE,
    415: _client(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be JSON, without a content encoding"),
    422: replace(INVALID, outcome=None),
    429: _client(429, "RATE_LIMITED", "Too many requests", retryable=True),
    500: INTERNAL_ERROR,
}
"""The statuses with a code of their own; the others are ``HTTP_<status>``."""


def row_of(status: int) -> Classification:
    """The row of a status from 300 to 599."""
    if status > 500:
        return replace(INTERNAL_ERROR, status=status, code=f"HTTP_{status}")
    name = HTTP_STATUS_CODES.get(status, "The request was refused")
    return STATUSES.get(status) or _client(status, f"HTTP_{status}", name)


def of_status(error: HTTPException) -> Classification:
    """The row of an HTTP error, or of the answer that an application gave to ``abort``, by its status."""
    status = getattr(error.response, "status_code", None) if error.response is not None else error.code
    if not isinstance(status, int) or not 300 <= status <= 599:
        return INTERNAL_ERROR
    row = row_of(status)
    # Whoever says when to come back means that one may.
    return replace(row, retryable=True) if status in (429, 503) and getattr(error, "retry_after", None) else row


def by_class(error: BaseException) -> bool:
    """Whether :func:`of_status` has nothing to go by but the error's class, as with ``abort(404)``; so of all other errors."""
    if not isinstance(error, HTTPException):
        return True
    return error.response is None and "code" not in error.__dict__ and not getattr(error, "retry_after", None)


WEB_TYPES: dict[type[BaseException], Classification] = {
    ClientDisconnected: BODY_BROKEN,
    # What werkzeug keeps to itself, and ours where it gets out: a name in url_for, a module in the configuration.
    RoutingException: INTERNAL_ERROR,
    NoMatch: INTERNAL_ERROR,
    SlashRequired: INTERNAL_ERROR,
    ConverterError: INTERNAL_ERROR,
    ImportStringError: INTERNAL_ERROR,
}
# Module and name of classes of libraries that are loaded by who uses them (prodfix.loaded).
LATER_WEB_TYPES: dict[tuple[str, str], Classification] = {
    # A user's token that is missing, broken, expired, revoked, or of the wrong kind.
    ("flask_jwt_extended.exceptions", "JWTExtendedException"): UNAUTHENTICATED,
    ("jwt.exceptions", "InvalidTokenError"): UNAUTHENTICATED,
    ("jwt.exceptions", "PyJWKClientError"): UNAUTHENTICATED,  # its key is not in the issuer's set
    # Our own keys, and those who should give them to us.
    ("jwt.exceptions", "PyJWTError"): FATAL,
    ("jwt.exceptions", "InvalidKeyError"): FATAL,
    ("jwt.exceptions", "PyJWKError"): FATAL,
    ("jwt.exceptions", "PyJWKSetError"): FATAL,
    ("jwt.exceptions", "PyJWKClientConnectionError"): NETWORK_FAILED,
}
WEB_RULES: dict[type[BaseException], Callable[[Any], Classification]] = {HTTPException: of_status}

# gunicorn is not imported here: a host may be served by another server.
NAMED: dict[tuple[str, str], Classification] = {
    ("gunicorn.http.errors", "NoMoreData"): BODY_BROKEN,
    ("gunicorn.http.errors", "ParseException"): BODY_BROKEN,
    ("gunicorn.http.errors", "ConfigurationProblem"): FATAL,
    ("gunicorn.http.errors", "InvalidResponseHeader"): INTERNAL_ERROR,  # the application's header
    ("gunicorn.http.errors", "InvalidResponseHeaderName"): INTERNAL_ERROR,
}

_READERS = ("gunicorn.http.", "werkzeug.wsgi", "werkzeug.formparser", "werkzeug.sansio.multipart", "werkzeug.serving")
_BELOW_READERS = frozenset({"gunicorn", "werkzeug", "gevent", "socket", "ssl", "selectors", "io", "tempfile"})
_PARSERS = frozenset({"json", "bson", "simplejson", "orjson"})


def named(error: BaseException) -> Classification | None:
    """The row of a class that is known by its name only."""
    kind: Any = type(error)
    return _named(kind)


@lru_cache(1024)
def _named(kind: type[BaseException]) -> Classification | None:
    rows = (NAMED.get((parent.__module__, parent.__name__)) for parent in kind.__mro__)
    return next((row for row in rows if row is not None), None)


HOLDING: type[BaseException] = InternalServerError
"""Holds another error."""


def original(error: BaseException) -> BaseException | None:
    """What Flask wrapped into an ``InternalServerError``. An HTTP error in there was trapped on purpose, and stays one."""
    found = error.original_exception if isinstance(error, InternalServerError) else None
    return None if isinstance(found, HTTPException) else found


def of_body(error: BaseException) -> Classification | None:
    """What an error means that ended the reading or the parsing of the request's body, wherever the view did so."""
    frames = places(error)
    if isinstance(error, OSError):
        readers = [index for index, (module, _) in enumerate(frames) if module.startswith(_READERS)]
        # Below the reader only sockets: a form that a view streams to another service is another matter.
        below = frames[readers[-1] :] if readers else []
        return BODY_BROKEN if below and all(_root(module) in _BELOW_READERS for module, _ in below) else None
    if ("werkzeug.wrappers.request", "get_json") not in frames:
        return None
    parsing = isinstance(error, RecursionError) or _root(frames[-1][0]) in _PARSERS
    return MALFORMED if parsing else None


def _root(module: str) -> str:
    return module.partition(".")[0]
