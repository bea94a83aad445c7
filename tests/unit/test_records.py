"""What one record says of a write, and what it keeps to itself."""

from __future__ import annotations

from datetime import date
from typing import Any

import bson
import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError, ServerSelectionTimeoutError, WTimeoutError

from prodfix.classifier import classify
from prodfix.context import RequestContext, new_context
from prodfix.errors import Outcome
from prodfix.fingerprints import CommandKey
from prodfix.operations import DatabaseOperation
from prodfix.records import ErrorRecord, summary


def context(method: str = "POST", *sent: str, **headers: str) -> RequestContext:
    made = new_context(
        endpoint="/notes",
        method=method,
        ip="",
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )
    for operation in sent:
        made.notes.note(CommandKey(operation, "notes", ()), 1, False)
    return made


def record(error: Exception, operation: str | None, request: RequestContext) -> ErrorRecord:
    return ErrorRecord(
        meaning=classify(error),
        summary=summary(error),
        error_type=type(error).__name__,
        stack="",
        context=request,
        operation=DatabaseOperation(operation, "notes") if operation else None,
        request_id=request.request_id,
        release="",
    )


@pytest.mark.parametrize(
    ("error", "operation", "request_", "outcome", "retryable"),
    [
        (ServerSelectionTimeoutError(), "insert", context(), Outcome.NOT_APPLIED, True),
        (AutoReconnect(), "insert", context(), Outcome.UNKNOWN, False),
        (AutoReconnect(), "find", context("GET"), None, True),
        (AutoReconnect(), "find", context("PATCH"), Outcome.NOT_APPLIED, True),
        (AutoReconnect(), "find", context("PATCH", "find", "update"), None, True),
        (WTimeoutError("x", 64), "update", context(), Outcome.APPLIED, False),
        (DuplicateKeyError("x", 11000), "insert", context(), Outcome.NOT_APPLIED, False),
        (ValueError("x"), None, context(), None, False),
    ],
)
def test_only_what_was_not_applied_should_be_sent_again(
    error: Exception, operation: str | None, request_: RequestContext, outcome: Outcome | None, retryable: bool
) -> None:
    made = record(error, operation, request_)
    body, _, headers = made.to_response()
    assert (made.outcome, body["retryable"], "Retry-After" in headers) == (outcome, retryable, retryable)
    assert body.get("outcome") == (str(outcome) if outcome else None)


def test_a_transaction_knows_more_than_its_last_operation() -> None:
    request = context()
    request.notes.outcome = Outcome.NOT_APPLIED
    made = record(AutoReconnect(), "insert", request)
    assert (made.outcome, made.retryable) == (Outcome.NOT_APPLIED, True)


def not_encodable() -> Exception:
    with pytest.raises(bson.errors.InvalidDocument) as caught:
        bson.encode({"name": {"canary-value"}, "born": date(1980, 1, 2)})
    return caught.value


def test_what_bson_could_not_encode_is_not_told() -> None:
    error = not_encodable()
    assert "canary" in str(error), "the control: the library's own text has the value"
    assert summary(error) == "InvalidDocument"


def test_gunicorns_errors_of_a_body_keep_its_pieces_to_themselves() -> None:
    kind = type("InvalidChunkSize", (Exception,), {"__module__": "gunicorn.http.errors"})
    assert summary(kind(b"canary")) == "InvalidChunkSize"


@pytest.mark.parametrize(
    ("header", "value", "shown"),
    [
        ("User_Agent", "app/1.0 token=canary-token", "app/1.0 token=***"),
        ("X_App_Version", "2.14.0-beta+7", "2.14.0-beta+7"),
        ("X_App_Version", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI.canary", None),
        ("X_App_Version", "1.0 canary", None),
    ],
)
def test_a_header_is_shown_without_what_does_not_belong_into_it(header: str, value: str, shown: Any) -> None:
    entry = record(ValueError(), None, context(**{header: value})).to_entry()["context"]
    assert entry["userAgent" if header == "User_Agent" else "appVersion"] == shown
