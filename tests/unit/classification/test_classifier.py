"""The table of classification: complete, deliberate, and silent about values."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bson.errors
import pytest
from bson import encode
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError
from pymongo import errors as mongo
from pymongo import helpers_shared
from tenacity import Future, RetryError

from prodfix import ProdFix, Settings, errors
from prodfix.classification.classifications import INTERNAL_ERROR, Classification
from prodfix.classification.classifier import Classifier, classify, server_code
from prodfix.classification.error_types import TYPES
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.errors import ErrorCategory, Outcome, Severity

CANARY = "canary-7f3a@secret.example"


def made(kind: type[BaseException]) -> BaseException:
    """An exception of ``kind``, whatever its constructor asks for."""
    special: dict[str, Callable[[], BaseException]] = {
        "BulkWriteError": lambda: mongo.BulkWriteError({}),
        "ClientBulkWriteException": lambda: mongo.ClientBulkWriteException({}, False),
        "EncryptionError": lambda: mongo.EncryptionError(ValueError("x")),
        "EncryptedCollectionError": lambda: mongo.EncryptedCollectionError(ValueError("x"), {}),
    }
    return special.get(kind.__name__, lambda: kind("something"))()


def failure(code: int | None, *labels: str, **details: Any) -> mongo.OperationFailure:
    return mongo.OperationFailure("server said so", code, {"code": code, "errorLabels": list(labels), **details})


def labelled(error: mongo.PyMongoError, *labels: str) -> mongo.PyMongoError:
    for label in labels:
        error._add_error_label(label)
    return error


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    for outer, inner in zip((error, *causes), causes, strict=False):
        outer.__cause__ = inner
    return error


def retried(error: BaseException) -> RetryError:
    last = Future(4)
    last.set_exception(error)
    return RetryError(last)


def row(error: BaseException) -> tuple[str, int, Outcome | None, bool]:
    """What a client and a retry loop see: code, status, outcome of a write, worth another try."""
    meaning = classify(error)
    return meaning.code, meaning.status, meaning.outcome, meaning.transient


NO, YES, MAYBE = Outcome.NOT_APPLIED, Outcome.APPLIED, Outcome.UNKNOWN
UNAVAILABLE = ("DATABASE_UNAVAILABLE", 503, NO, True)
INTERRUPTED = ("DATABASE_UNAVAILABLE", 503, MAYBE, True)
BUSY = ("DATABASE_BUSY", 503, NO, True)
TIMED_OUT = ("DATABASE_TIMEOUT", 504, MAYBE, True)
FAILED = ("DATABASE_ERROR", 500, NO, False)
GARBLED = ("DATABASE_ERROR", 500, MAYBE, False)
INVALID = ("VALIDATION_FAILED", 422, NO, False)
MISCONFIGURED = ("DATABASE_UNAVAILABLE", 503, NO, False)

EXPECTED = {
    "AutoReconnect": INTERRUPTED,
    "BulkWriteError": FAILED,
    "BSONError": INVALID,
    "ClientBulkWriteException": FAILED,
    "CollectionInvalid": FAILED,
    "ConfigurationError": FAILED,
    "ConnectionFailure": INTERRUPTED,
    "CursorNotFound": FAILED,
    "DocumentTooLarge": ("PAYLOAD_TOO_LARGE", 413, NO, False),
    "DuplicateKeyError": ("DUPLICATE_KEY", 409, NO, False),
    "EncryptedCollectionError": FAILED,
    "EncryptionError": FAILED,
    "ExecutionTimeout": TIMED_OUT,
    "InvalidBSON": GARBLED,
    "InvalidDocument": INVALID,
    "InvalidId": INVALID,
    "InvalidName": FAILED,
    "InvalidOperation": FAILED,
    "InvalidStringData": INVALID,
    "InvalidURI": FAILED,
    "NetworkTimeout": TIMED_OUT,
    "NotPrimaryError": INTERRUPTED,
    "OperationFailure": FAILED,
    "ProtocolError": GARBLED,
    "PyMongoError": FAILED,
    "ServerSelectionTimeoutError": UNAVAILABLE,
    "WTimeoutError": ("DATABASE_TIMEOUT", 504, YES, False),
    "WaitQueueTimeoutError": BUSY,
    "WriteConcernError": ("DATABASE_ERROR", 500, YES, False),
    "WriteError": FAILED,
    "_OperationCancelled": INTERRUPTED,
}


def exceptions_of(module: Any) -> dict[str, type[BaseException]]:
    found = inspect.getmembers(module, lambda kind: inspect.isclass(kind) and issubclass(kind, BaseException))
    return {name: kind for name, kind in found if kind.__module__ == module.__name__}


DRIVER = exceptions_of(mongo) | exceptions_of(bson.errors)


def test_every_exception_of_pymongo_and_bson_has_a_deliberate_row() -> None:
    assert set(EXPECTED) == set(DRIVER)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_exception_of_the_driver_means_what_its_row_says(name: str) -> None:
    error = made(DRIVER[name])
    assert row(error) == EXPECTED[name]
    assert classify(error).code != INTERNAL_ERROR.code


def test_every_exception_of_ours_has_a_row_and_client_errors_are_4xx() -> None:
    own = [
        kind
        for kind in exceptions_of(errors).values()
        if kind not in (errors.ProdFixError, errors.ConcurrentModification)
    ]
    for kind in own:
        meaning = classify(kind("x"))
        assert meaning.code != INTERNAL_ERROR.code, kind
        assert (400 <= meaning.status < 500) == issubclass(kind, errors.ClientError), kind
    assert classify(errors.ConcurrentModification(expected=1, found=2)).code == "CONFLICT"
    assert len(own) >= 14


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (11000, ("DUPLICATE_KEY", 409, NO, False)),
        (121, INVALID),
        (13, MISCONFIGURED),
        (18, MISCONFIGURED),
        (8000, MISCONFIGURED),
        (50, TIMED_OUT),
        (64, ("DATABASE_TIMEOUT", 504, YES, False)),
        (112, BUSY),
        (251, BUSY),
        (462, BUSY),
        (10107, INTERRUPTED),
        (11600, INTERRUPTED),
        (2, FAILED),
        (None, FAILED),
    ],
)
def test_a_server_code_decides(code: int | None, expected: Any) -> None:
    assert row(failure(code)) == expected


def test_a_refusal_of_our_own_credentials_is_never_the_users_401() -> None:
    assert {classify(failure(code)).status for code in (13, 18, 8000)} == {503}
    assert not any(classify(failure(code)).retryable for code in (13, 18, 8000))


def test_every_code_that_the_driver_retries_is_transient() -> None:
    driver = helpers_shared._RETRYABLE_ERROR_CODES | helpers_shared._NOT_PRIMARY_CODES | helpers_shared._SHUTDOWN_CODES
    assert [code for code in driver if not classify(failure(code)).transient] == []


def test_not_primary_carries_its_code_in_its_details_only() -> None:
    assert server_code(mongo.NotPrimaryError("x", {"code": 10107})) == 10107
    assert server_code(ValueError()) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failure(None, "UnknownTransactionCommitResult"), ("DATABASE_BUSY", 503, MAYBE, True)),
        (labelled(mongo.AutoReconnect("x"), "UnknownTransactionCommitResult"), ("DATABASE_BUSY", 503, MAYBE, True)),
        (failure(None, "TransientTransactionError"), BUSY),
        (failure(2, "TransientTransactionError"), BUSY),
        (failure(11601, "TransientTransactionError"), BUSY),
        (failure(2, "SystemOverloadedError", "RetryableError"), BUSY),
        (failure(2, "RetryableWriteError"), INTERRUPTED),
        (failure(13, "SystemOverloadedError", "RetryableError"), MISCONFIGURED),
        (failure(50, "NoWritesPerformed"), ("DATABASE_TIMEOUT", 504, NO, True)),
        (labelled(mongo.AutoReconnect("x"), "TransientTransactionError"), INTERRUPTED),
        (labelled(mongo.AutoReconnect("x"), "NoWritesPerformed"), UNAVAILABLE),
        (failure(10107, "NoWritesPerformed"), UNAVAILABLE),
        (failure(999, "SystemOverloadedError", "RetryableError"), BUSY),
        (labelled(mongo.AutoReconnect("x"), "SystemOverloadedError"), INTERRUPTED),
        (failure(11000, "TransientTransactionError"), ("DUPLICATE_KEY", 409, NO, False)),
    ],
)
def test_a_label_of_the_driver_decides(error: BaseException, expected: Any) -> None:
    assert row(error) == expected


@pytest.mark.parametrize("code", [None, 1, 2, 100, 131, 11602])
def test_a_write_that_was_not_confirmed_never_says_that_it_was_not_applied(code: int | None) -> None:
    expected = INTERRUPTED if code == 11602 else ("DATABASE_ERROR", 500, YES, False)
    assert row(mongo.WriteConcernError("x", code, {"code": code})) == expected


def test_a_dns_that_does_not_answer_is_an_unreachable_database() -> None:
    resolver = type("LifetimeTimeout", (Exception,), {"__module__": "dns.resolver"})
    assert row(caused(mongo.ConfigurationError("The resolution lifetime expired"), resolver())) == UNAVAILABLE
    assert row(mongo.ConfigurationError("The DNS query name does not exist: x.")) == UNAVAILABLE
    assert row(mongo.ConfigurationError("bad option")) == FAILED


# ---- bulk writes


def part(code: int, **more: Any) -> dict[str, Any]:
    return {"index": 0, "code": code, "errmsg": CANARY, "op": {"email": CANARY}, **more}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"writeErrors": [part(11000)]}, ("DUPLICATE_KEY", 409, NO, False)),
        ({"writeErrors": [part(11000)], "nInserted": 3}, ("DUPLICATE_KEY", 409, MAYBE, False)),
        ({"writeErrors": [part(121)], "nRemoved": 1}, ("VALIDATION_FAILED", 422, MAYBE, False)),
        ({"writeErrors": [part(2)]}, FAILED),
        ({"writeErrors": [part(121), part(11000)]}, INVALID),
        ({"writeConcernErrors": [{"code": 64}]}, ("DATABASE_ERROR", 500, YES, False)),
        ({"writeErrors": [], "writeConcernErrors": []}, FAILED),
    ],
)
def test_a_bulk_write_is_what_its_first_failed_part_is(details: dict[str, Any], expected: Any) -> None:
    assert row(mongo.BulkWriteError(details)) == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"error": mongo.AutoReconnect("cut")}, INTERRUPTED),
        ({"error": mongo.WaitQueueTimeoutError("full")}, BUSY),
        ({"error": mongo.WaitQueueTimeoutError("full"), "anySuccessful": True}, ("DATABASE_BUSY", 503, MAYBE, True)),
        ({"error": {"code": 13, "ok": 0}}, MISCONFIGURED),
        ({"writeErrors": [part(11000)], "nDeleted": 1}, ("DUPLICATE_KEY", 409, MAYBE, False)),
    ],
)
def test_a_bulk_write_of_a_client_is_what_ended_it(details: dict[str, Any], expected: Any) -> None:
    assert row(mongo.ClientBulkWriteException(details, False)) == expected


# ---- fields, never values


@pytest.mark.parametrize(
    "error",
    [
        mongo.DuplicateKeyError(CANARY, 11000, {"keyPattern": {"email": 1, "team": 1}, "keyValue": {"email": CANARY}}),
        mongo.BulkWriteError(
            {"writeErrors": [part(11000, keyPattern={"email": 1, "team": 1}, keyValue={"email": CANARY})]}
        ),
    ],
)
def test_a_duplicate_key_names_its_fields_and_no_value(error: Exception) -> None:
    meaning = classify(error)
    assert [problem.field for problem in meaning.details] == ["email", "team"]
    assert CANARY in str(error) + str(error.details)  # type: ignore[attr-defined]  # the naive answer would show it
    assert CANARY not in repr(meaning)


ERR_INFO = {
    "failingDocumentId": 7,
    "details": {
        "operatorName": "$jsonSchema",
        "schemaRulesNotSatisfied": [
            {"operatorName": "required", "specifiedAs": {"required": ["owner"]}, "missingProperties": ["owner"]},
            {
                "operatorName": "properties",
                "propertiesNotSatisfied": [{"propertyName": "text", "details": [{"consideredValue": CANARY}]}],
            },
        ],
    },
}


@pytest.mark.parametrize(
    "error",
    [
        mongo.WriteError(CANARY, 121, {"code": 121, "errInfo": ERR_INFO}),
        mongo.BulkWriteError({"writeErrors": [part(121, errInfo=ERR_INFO)]}),
    ],
)
def test_the_servers_validator_tells_which_fields_are_wrong(error: Exception) -> None:
    meaning = classify(error)
    assert [(problem.field, problem.code) for problem in meaning.details] == [("owner", "missing"), ("text", "invalid")]
    assert CANARY not in repr(meaning)


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "details",
                    "errInfo",
                    "schemaRulesNotSatisfied",
                    "missingProperties",
                    "propertiesNotSatisfied",
                    "writeErrors",
                    "keyPattern",
                    "code",
                    "error",
                    "nInserted",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(details=st.dictionaries(st.sampled_from(["errInfo", "writeErrors", "keyPattern", "code", "error"]), ANYTHING))
def test_no_reply_of_a_server_is_too_odd_to_classify(details: dict[str, Any]) -> None:
    for error in (
        mongo.WriteError("x", 121, details),
        mongo.DuplicateKeyError("x", 11000, details),
        mongo.BulkWriteError(details),
        mongo.ClientBulkWriteException(details, True),
    ):
        assert isinstance(classify(error), Classification)


def test_nothing_that_python_can_raise_is_too_odd_to_classify() -> None:
    kinds = [kind for kind in vars(builtins).values() if inspect.isclass(kind) and issubclass(kind, BaseException)]
    plain = [kind() for kind in kinds if not issubclass(kind, (UnicodeError, BaseExceptionGroup))]
    assert {classify(error).code for error in plain} == {"INTERNAL_ERROR"}
    assert len(plain) > 50


def test_an_integer_that_bson_cannot_hold_is_the_clients_mistake() -> None:
    with pytest.raises(OverflowError) as caught:
        encode({"n": 2**70})
    assert row(caught.value) == INVALID
    assert classify(OverflowError("math range error")) is INTERNAL_ERROR


def test_pydantic_problems_have_pointers_and_no_input() -> None:
    class Body(BaseModel):
        age: int

    class Outer(BaseModel):
        inner: list[Body]

    with pytest.raises(PydanticError) as caught:
        Outer.model_validate({"inner": [{"age": CANARY}]})
    meaning = classify(caught.value)
    assert [(problem.field, problem.pointer) for problem in meaning.details] == [("inner.0.age", "/inner/0/age")]
    assert CANARY in str(caught.value)
    assert CANARY not in repr(meaning)


@given(name=st.text(max_size=20))
def test_a_pointer_escapes_what_rfc_6901_escapes(name: str) -> None:
    pointer = errors.FieldError(name.replace(".", ""), "x", "y").to_json()["pointer"]
    assert pointer[1:].replace("~1", "/").replace("~0", "~") == name.replace(".", "")
    assert "/" not in pointer[1:]


# ---- what wraps what


class Wrapped(Exception):
    """An application's own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (retried(mongo.AutoReconnect("x")), INTERRUPTED),
        (retried(retried(failure(11000))), ("DUPLICATE_KEY", 409, NO, False)),
        (retried(ValueError()), ("INTERNAL_ERROR", 500, None, False)),
        (caused(Wrapped(), mongo.AutoReconnect("x")), INTERRUPTED),
        (caused(Wrapped(), Wrapped(), KeyError(), failure(121)), INVALID),
        (caused(Wrapped(), retried(failure(112))), BUSY),
        (caused(Wrapped(), KeyError("x")), ("INTERNAL_ERROR", 500, None, False)),
        (caused(errors.NotFound(), mongo.AutoReconnect("x")), ("NOT_FOUND", 404, None, False)),
    ],
)
def test_what_wraps_a_driver_error_means_the_driver_error(error: BaseException, expected: Any) -> None:
    assert row(error) == expected


def test_a_retry_error_without_an_error_is_an_internal_error() -> None:
    last = Future(1)
    last.set_result("a value that was not good enough")
    assert classify(RetryError(last)) is INTERNAL_ERROR


def during(error: BaseException, *others: BaseException) -> BaseException:
    for outer, inner in zip((error, *others), others, strict=False):
        outer.__context__ = inner
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (during(KeyError(), mongo.AutoReconnect("x")), INTERRUPTED),
        # What the code in between did to the database is not known, whatever the first error left undone.
        (during(KeyError(), mongo.ServerSelectionTimeoutError("x")), INTERRUPTED),
        (during(KeyError(), ValueError(), failure(112)), ("DATABASE_BUSY", 503, MAYBE, True)),
        (during(KeyError(), failure(18)), ("DATABASE_UNAVAILABLE", 503, MAYBE, False)),
        (during(KeyError(), retried(mongo.AutoReconnect("x"))), INTERRUPTED),
        (during(Wrapped(), caused(KeyError(), failure(50))), TIMED_OUT),
        (caused(Wrapped(), during(KeyError(), failure(50))), TIMED_OUT),
        (during(errors.NotFound(), mongo.AutoReconnect("x")), ("NOT_FOUND", 404, None, False)),
    ],
)
def test_what_the_driver_raised_before_tells_why_the_service_fails(error: BaseException, expected: Any) -> None:
    assert row(error) == expected


@pytest.mark.parametrize("other", [failure(11000), failure(121), bson.errors.InvalidId(), errors.NotFound()], ids=repr)
def test_but_a_bug_in_an_except_clause_is_never_the_clients(other: Exception) -> None:
    assert classify(during(KeyError("a bug"), other)) is INTERNAL_ERROR
    # Not even with an outage behind it: the nearest one says what was being handled.
    assert classify(during(KeyError("a bug"), failure(11000), mongo.AutoReconnect("x"))) is INTERNAL_ERROR


def test_what_is_hidden_with_from_none_is_hidden() -> None:
    error = during(KeyError(), mongo.AutoReconnect("x"))
    assert classify(error) is not INTERNAL_ERROR  # the control
    error.__suppress_context__ = True
    assert classify(error) is INTERNAL_ERROR


def test_a_cycle_of_causes_ends() -> None:
    first, second = Wrapped("a"), Wrapped("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) is INTERNAL_ERROR
    assert list(errors.chain(first)) == [first, second]


def test_the_chain_of_an_error_stops_at_from_none() -> None:
    hidden = Wrapped()
    hidden.__context__, hidden.__suppress_context__ = KeyError(), True
    assert list(errors.chain(hidden)) == [hidden]
    hidden.__suppress_context__ = False
    assert len(list(errors.chain(hidden))) == 2
    assert len(list(errors.chain(caused(Wrapped(), *(Wrapped() for _ in range(100)))))) == 20


# ---- groups


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("canary", errors)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (group(failure(112), failure(112)), BUSY),
        (group(mongo.AutoReconnect("x")), INTERRUPTED),
        (group(failure(112), mongo.AutoReconnect("x")), INTERRUPTED),
        (group(failure(112), ValueError()), ("DATABASE_BUSY", 503, MAYBE, False)),
        (group(failure(11000), errors.NotFound()), ("DUPLICATE_KEY", 409, MAYBE, False)),
        (group(group(failure(11000)), group(group(failure(18)))), MISCONFIGURED),
        (group(failure(64), failure(112)), ("DATABASE_TIMEOUT", 504, MAYBE, False)),
        (group(retried(mongo.AutoReconnect("x"))), INTERRUPTED),
        (group(errors.NotFound()), ("NOT_FOUND", 404, None, False)),
        (caused(Wrapped(), group(group(failure(112)))), BUSY),
        (caused(Wrapped(), group(KeyError())), ("INTERNAL_ERROR", 500, None, False)),
        (during(Wrapped(), group(failure(112))), ("DATABASE_BUSY", 503, MAYBE, True)),
        (during(Wrapped(), group(failure(11000))), ("INTERNAL_ERROR", 500, None, False)),
    ],
)
def test_a_group_is_what_its_worst_member_is(error: BaseException, expected: Any) -> None:
    assert row(error) == expected


def test_a_group_is_retryable_only_if_all_of_it_is_and_tells_no_details() -> None:
    assert classify(group(failure(112), failure(246))).retryable
    assert not classify(group(failure(112), KeyError())).retryable
    duplicate = failure(11000, keyPattern={"email": 1})
    assert classify(duplicate).details  # the control
    assert classify(group(duplicate)).details == ()
    # Nor a text that is true of one member only.
    assert "applied" not in classify(group(failure(64), failure(112))).message
    assert "applied" in classify(failure(64)).message


def test_a_group_without_end_ends() -> None:
    error: Exception = failure(112)
    for _ in range(200):
        error = group(error)
    assert classify(error) == INTERNAL_ERROR
    assert classify(caused(Wrapped(), error)) == INTERNAL_ERROR


def test_the_chain_of_an_error_holds_what_groups_and_retries_hold() -> None:
    inner, last, cause = KeyError(), mongo.AutoReconnect("x"), ValueError()
    waiting = retried(last)
    outer = caused(group(inner, waiting), cause)
    assert list(errors.chain(outer)) == [outer, inner, waiting, last, cause]
    assert len(list(errors.chain(group(*(KeyError() for _ in range(1000)))))) == 20


def test_a_retry_that_is_not_done_is_not_waited_for() -> None:
    running = RetryError(Future(1))
    assert classify(running) is INTERNAL_ERROR
    assert list(errors.chain(running)) == [running]
    running.last_attempt.cancel()
    assert classify(running) is INTERNAL_ERROR


LEAVES = [
    *(lambda code=code: failure(code) for code in (2, 18, 50, 64, 112, 121, 11000, 11600)),
    *(KeyError, mongo.NetworkTimeout, mongo.WaitQueueTimeoutError, errors.NotFound, ConnectionResetError, OSError),
]
TREES: st.SearchStrategy[Exception] = st.recursive(
    st.sampled_from(LEAVES).map(lambda make: make()),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda members: group(*members))
        | inner.map(retried)
        | st.tuples(inner, inner).map(lambda pair: caused(*pair))
        | st.tuples(inner, inner).map(lambda pair: during(*pair))
    ),
    max_leaves=8,
)


@given(error=TREES, explicit=st.booleans())
def test_however_errors_hang_together_a_bug_is_never_the_clients_by_accident(error: Exception, explicit: bool) -> None:
    bug = caused(Wrapped(), error) if explicit else during(Wrapped(), error)
    meaning = classify(bug)
    assert isinstance(meaning, Classification)
    if not explicit:
        assert meaning.status >= 500
        assert meaning.outcome in (None, Outcome.UNKNOWN)
    assert len(list(errors.chain(bug))) <= 20


@given(members=st.lists(TREES, min_size=1, max_size=4))
def test_a_group_is_no_better_than_any_of_its_members(members: list[Exception]) -> None:
    order = list(Severity)
    rows, whole = [classify(member) for member in members], classify(group(*members))
    assert order.index(whole.severity) == max(order.index(row.severity) for row in rows)
    assert whole.retryable == all(row.retryable for row in rows)
    assert whole.transient == all(row.transient for row in rows)
    assert whole.outcome in {Outcome.UNKNOWN, *(row.outcome for row in rows)}


# ---- rows of an application

OWN = Classification(ErrorCategory.CLIENT, 418, "TEAPOT", "I am a teapot")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Wrapped, Wrapped()),
        (Wrapped, type("Derived", (Wrapped,), {})()),
        (Wrapped, caused(Wrapped(), mongo.AutoReconnect("x"))),
        (mongo.DuplicateKeyError, mongo.DuplicateKeyError("x", 11000, {})),
        (mongo.OperationFailure, failure(50)),
        (OverflowError, OverflowError("MongoDB can only handle up to 8-byte ints")),
    ],
)
def test_a_row_of_the_application_wins(kind: type[BaseException], error: BaseException) -> None:
    assert Classifier({kind: OWN}).classify(error) == OWN
    assert classify(error) != OWN


def test_a_row_for_a_parent_leaves_the_rows_below_it_alone() -> None:
    own = Classifier({Exception: OWN})
    assert own.classify(ValueError()) == OWN
    assert own.classify(failure(11000)).code == "DUPLICATE_KEY"
    assert own.classify(mongo.AutoReconnect("x")).code == "DATABASE_UNAVAILABLE"
    assert Classifier({mongo.ConnectionFailure: OWN}).classify(mongo.AutoReconnect("x")) == OWN
    assert Classifier({mongo.PyMongoError: OWN}).classify(failure(11000)) == OWN
    assert Classifier({errors.ClientError: OWN}).classify(errors.NotFound()).status == 404


def test_rows_of_one_application_are_not_those_of_another() -> None:
    Classifier({ValueError: OWN})
    assert classify(ValueError()) is INTERNAL_ERROR


def test_a_timeout_while_nothing_answers_keeps_its_outcome() -> None:
    slow = classify(mongo.NetworkTimeout("x"))
    meaning = Classifier().unreachable(slow)
    assert (meaning.code, meaning.outcome) == ("DATABASE_UNAVAILABLE", slow.outcome)


def test_every_row_that_asks_for_another_try_is_503_504_or_408_but_that_of_a_copy_that_came_early() -> None:
    assert TYPES[errors.RequestInProgress].retryable
    rows = [meaning for kind, meaning in TYPES.items() if kind is not errors.RequestInProgress]
    rows += [row for _, row in SERVER_CODES.values()]
    assert {meaning.status for meaning in rows if meaning.retryable} <= {408, 503, 504}
    assert all(meaning.message and "{" not in meaning.message for meaning in rows)


def test_a_callable_row_finds_the_meaning_of_each_error() -> None:
    own = Classifier({Wrapped: lambda error: OWN if error.args else INTERNAL_ERROR})
    assert own.classify(Wrapped("x")) is OWN
    assert own.classify(Wrapped()) is INTERNAL_ERROR
    assert own.classify(type("Derived", (Wrapped,), {})("x")) is OWN
    assert own.failures == 0


@pytest.mark.parametrize("row", [lambda error: 1 / 0, lambda error: None, lambda error: replace(OWN, status=200)])
def test_a_callable_row_that_fails_is_counted_and_does_not_hide_the_error(row: Any) -> None:
    own = Classifier({Wrapped: row})
    assert own.classify(Wrapped("x")) is INTERNAL_ERROR
    assert own.failures == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"Wrapped": OWN}, "not a type of exception"),
        ({int: OWN}, "not a type of exception"),
        ({Wrapped(): OWN}, "not a type of exception"),
        ({Wrapped: "TEAPOT"}, "neither a Classification nor callable"),
        ({Wrapped: replace(OWN, status=200)}, "Wrapped has a status outside 400..599"),
        ({Wrapped: replace(OWN, status=600)}, "status"),
        ({Wrapped: replace(OWN, status=True)}, "status"),
        ({Wrapped: replace(OWN, status="418")}, "status"),
        ({Wrapped: replace(OWN, code="teapot")}, "code"),
        ({Wrapped: replace(OWN, code="")}, "code"),
        ({Wrapped: replace(OWN, code="TEA POT")}, "code"),
        ({Wrapped: replace(OWN, code="TEAPOT\n")}, "code"),
        ({Wrapped: replace(OWN, message=" ")}, "message"),
        ({Wrapped: replace(OWN, message=None)}, "message"),
        ({Wrapped: replace(OWN, category="tea")}, "ErrorCategory"),
        ({Wrapped: replace(OWN, severity="bad")}, "Severity"),
        ({Wrapped: replace(OWN, outcome="maybe")}, "outcome"),
    ],
)
def test_a_bad_row_is_refused_at_start(rows: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Classifier(rows)
    with pytest.raises(ValueError, match=says):
        ProdFix(Flask("host"), settings=Settings(jwt_secret_key=None, app_env="development"), classifications=rows)
    Classifier({Wrapped: OWN})  # the control
