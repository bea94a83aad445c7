"""What the properties are searched with: errors as the driver makes them, requests as clients send them, documents."""

from __future__ import annotations

import re
from typing import Any

import bson
from hypothesis import strategies as st
from pymongo import errors as mongo
from tenacity import Future, RetryError
from werkzeug.exceptions import HTTPException, default_exceptions

from prodfix import (
    AuthenticationRequired,
    ConcurrentModification,
    Conflict,
    FieldError,
    Forbidden,
    NotFound,
    RequestContext,
    ValidationFailed,
)
from prodfix.errors import (
    BodyInterrupted,
    BodyTimeout,
    DatabaseNotConfigured,
    DatabaseUnavailable,
    DeadlineExceeded,
    JournalUnavailable,
    MalformedRequest,
    ShuttingDown,
)
from prodfix.request.context import new_context

# ---- text -------------------------------------------------------------------------------------------------------------

HOSTILE = (
    "{0} {name!r} %s %(x)d",
    "a\nb\r\nc",
    "\u2028\u2029\x85",
    "\x1b[31m",
    "\x00",
    "\ud800",
    "<b>&\"'",
    "x" * 5000,
)
text = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE))
names = st.from_regex(r"[a-z][a-z_]{0,11}", fullmatch=True)
# What a WSGI server lets through in a header: latin-1 without control characters.
headers = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80).map(
    str.strip
)
passwords = st.from_regex(r"[A-Za-z0-9]{12,24}", fullmatch=True).map("pw".__add__)

# ---- errors -----------------------------------------------------------------------------------------------------------

CODES = (
    2,
    6,
    9,
    13,
    18,
    20,
    26,
    43,
    50,
    64,
    89,
    91,
    112,
    121,
    189,
    202,
    246,
    251,
    262,
    462,
    8000,
    10107,
    11000,
    40324,
    99999,
)
LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError", "NoWritesPerformed")


@st.composite
def replies(draw: st.DrawFn, *codes: int) -> dict[str, Any]:
    """A server's refusal, as its reply says it."""
    reply = {"ok": 0.0, "code": draw(st.sampled_from(codes or CODES)), "errmsg": draw(text)}
    pattern = draw(st.dictionaries(names, st.just(1), min_size=1, max_size=3))
    extras = {
        "codeName": draw(names),
        "errorLabels": draw(st.lists(st.sampled_from(LABELS), max_size=2)),
        "keyPattern": pattern,
        "keyValue": dict.fromkeys(pattern, draw(text)),
        "errInfo": {
            "details": {"schemaRulesNotSatisfied": [{"propertiesNotSatisfied": [{"propertyName": draw(names)}]}]}
        },
    }
    kept = draw(st.sets(st.sampled_from(sorted(extras))))
    return reply | {name: extras[name] for name in kept}


def _refused(kind: type[mongo.OperationFailure], *codes: int) -> st.SearchStrategy[mongo.PyMongoError]:
    return replies(*codes).map(lambda reply: kind(reply["errmsg"], reply["code"], reply))


lost = st.one_of(
    *(
        st.builds(kind, text)
        for kind in (
            mongo.AutoReconnect,
            mongo.ConnectionFailure,
            mongo.NetworkTimeout,
            mongo.ServerSelectionTimeoutError,
            mongo.WaitQueueTimeoutError,
        )
    ),
    replies(91, 189, 10107).map(lambda reply: mongo.NotPrimaryError(reply["errmsg"], reply)),
)
"""Errors of a connection that is lost, or was never there."""

refused = st.one_of(
    _refused(mongo.OperationFailure),
    _refused(mongo.WriteError),
    _refused(mongo.WriteConcernError),
    _refused(mongo.DuplicateKeyError, 11000),
    _refused(mongo.ExecutionTimeout, 50),
    _refused(mongo.WTimeoutError, 64),
    _refused(mongo.CursorNotFound, 43),
    st.lists(replies(), max_size=2).map(
        lambda parts: mongo.BulkWriteError({"writeErrors": parts, "nInserted": len(parts)})
    ),
)
"""What the server answers to an operation that it refuses."""

driver_errors = st.one_of(
    lost,
    refused,
    *(
        st.builds(kind, text)
        for kind in (
            mongo.ConfigurationError,
            mongo.DocumentTooLarge,
            mongo.InvalidOperation,
            mongo.InvalidURI,
            mongo.PyMongoError,
            bson.errors.InvalidDocument,
        )
    ),
)

problems = st.lists(st.builds(FieldError, text, names, text), max_size=60).map(tuple)
client_errors = st.one_of(
    st.builds(
        lambda kind, message, found: kind(message, problems=found),
        st.sampled_from([ValidationFailed, Conflict]),
        text,
        problems,
    ),
    st.builds(
        lambda kind, message: kind(message), st.sampled_from([AuthenticationRequired, Forbidden, NotFound]), text
    ),
    st.builds(
        lambda kind, message: kind(message), st.sampled_from([MalformedRequest, BodyInterrupted, BodyTimeout]), text
    ),
    st.builds(ConcurrentModification, text, expected=st.integers(), found=st.none() | st.integers()),
)
own_errors = st.builds(
    lambda kind, message: kind(message),
    st.sampled_from([DatabaseNotConfigured, DatabaseUnavailable, JournalUnavailable, ShuttingDown, DeadlineExceeded]),
    text,
)


class Unspeakable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


python_errors = st.one_of(
    st.builds(
        lambda kind, words: kind(words), st.sampled_from([ValueError, KeyError, TypeError, RuntimeError, OSError]), text
    ),
    st.builds(Exception),
    st.builds(Unspeakable, text),
    st.builds(ExceptionGroup, text, st.just([ValueError("inner")])),
    st.builds(lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
)


@st.composite
def http_errors(draw: st.DrawFn) -> HTTPException:
    """What ``abort`` raises, and statuses that werkzeug has no class for."""
    error = HTTPException(draw(text))
    error.code = draw(st.sampled_from(sorted(default_exceptions)) | st.integers(400, 599))
    return error


@st.composite
def errors(draw: st.DrawFn, *kinds: st.SearchStrategy[Exception]) -> Exception:
    """Any error of a request, alone, or raised from another one."""
    some = (
        st.one_of(*kinds)
        if kinds
        else st.one_of(driver_errors, client_errors, own_errors, python_errors, http_errors())
    )
    error = draw(some)
    shape = draw(st.sampled_from(["alone", "alone", "caused", "cycle", "retried"]))
    if shape == "caused":
        error.__cause__ = draw(some)
    elif shape == "cycle":
        error.__context__ = error.__cause__ = error
    elif shape == "retried":
        attempt = Future(3)
        attempt.set_exception(error)
        return RetryError(attempt)
    return error


# ---- requests ---------------------------------------------------------------------------------------------------------

_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
_AGENTS = {
    f"{_IPHONE} Version/18.1 Mobile/15E148 Safari/604.1": "mobile",
    f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {_CHROME} Mobile Safari/537.36": "mobile",
    "okhttp/4.12.0": "mobile",
    "Notes/7 CFNetwork/1568.200.51 Darwin/24.1.0": "mobile",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36": "desktop",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.7; rv:133.0) Gecko/20100101 Firefox/133.0": "desktop",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "unknown",
    "curl/8.9.1": "unknown",
    "": "unknown",
}
known_agents = st.sampled_from(sorted(_AGENTS.items()))
user_agents = (
    st.sampled_from(sorted(_AGENTS))
    | headers
    | st.text(st.characters(min_codepoint=33, max_codepoint=126)).map(lambda word: word * 40)
)
methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])


@st.composite
def contexts(draw: st.DrawFn) -> RequestContext:
    """A request's context, with a user that some view has verified."""
    given = {"User-Agent": draw(user_agents), "X-App-Version": draw(headers), "X-Request-ID": draw(headers)}
    endpoint = "/api/v1/" + draw(names)
    context = new_context(endpoint=endpoint, method=draw(methods), ip=draw(st.ip_addresses().map(str)), headers=given)
    context.notes.user_id = draw(text)
    return context


# ---- notes ------------------------------------------------------------------------------------------------------------

_words = st.from_regex(r"[A-Za-z]{1,20}( [a-z]{1,9}){0,3}", fullmatch=True)
notes = st.fixed_dictionaries(
    {
        "slug": st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True),
        "title": _words,
        "body": st.text(st.characters(codec="utf-8"), max_size=100),
        "notebook": _words,
    },
    optional={"tags": st.lists(_words, max_size=5)},
)
"""Bodies that the example application takes."""

_not_text = st.one_of(
    st.none(), st.booleans(), st.integers(), st.lists(st.text(max_size=3), max_size=2), st.just({"$gt": ""})
)
_blank = st.text(" \t\n", max_size=5)
_WRONG = {
    "slug": _not_text | st.sampled_from(["", "Big", "a--b", "-a", "a b", "a\n", "ä", "a" * 81]),
    "title": _not_text | _blank | st.just("x" * 201),
    "body": _not_text,
    "notebook": _not_text | _blank | st.just("x" * 201),
    "tags": st.sampled_from([None, "one", 7, {"a": 1}, ["x"] * 21, [""], ["fine", 7], [["x"]], ["x" * 201]]),
}
_unknown = names.filter(lambda name: name not in _WRONG) | st.sampled_from(
    ["_id", "version", "$where", "a.b", "created_at"]
)


@st.composite
def invalid_notes(draw: st.DrawFn) -> tuple[dict[str, Any], set[str]]:
    """A body that is to be refused, and the names of the fields that are wrong."""
    note = draw(notes)
    if draw(st.booleans()):
        added = draw(st.sets(_unknown, min_size=1, max_size=3))
        return note | dict.fromkeys(added, draw(st.integers(0, 9))), added
    wrong = draw(st.sets(st.sampled_from(sorted(_WRONG)), min_size=1))
    for field in sorted(wrong):
        if field != "tags" and draw(st.booleans()):
            del note[field]
        else:
            note[field] = draw(_WRONG[field])
    return note, wrong


def moment(value: str) -> bool:
    """Whether it is ISO 8601 in UTC with milliseconds."""
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value) is not None
