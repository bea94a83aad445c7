"""What one record says of a write, and what it keeps to itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from prodfix.classification.classifier import Classifier, classify
from prodfix.errors import AuthenticationRequired, ErrorCategory, FieldError, Outcome, ValidationFailed
from prodfix.logs.sinks import render
from prodfix.operations import tracebacks
from prodfix.operations.fingerprints import CommandKey
from prodfix.operations.operation import DatabaseOperation
from prodfix.operations.shapes import document_shape
from prodfix.records.error_log import ErrorLog
from prodfix.records.records import LARGEST_RECORD, ErrorRecord, encoded, named_place, summary
from prodfix.request.context import RequestContext, new_context
from prodfix.web.answers import answer_to
from tests.support import REPOSITORY


def context(method: str = "POST", **headers: str) -> RequestContext:
    return new_context(
        endpoint="/notes",
        method=method,
        ip="",
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )


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


@pytest.mark.parametrize("outcome", [None, *Outcome])
@pytest.mark.parametrize("error", [ServerSelectionTimeoutError(), DuplicateKeyError("x", 11000), ValueError("x")])
def test_only_what_was_not_applied_should_be_sent_again(error: Exception, outcome: Outcome | None) -> None:
    made = replace(record(error, "insert", context()), outcome=outcome)
    answer = answer_to(made)
    body, headers = answer.problem, answer.headers
    retryable = isinstance(error, ServerSelectionTimeoutError) and outcome in (None, Outcome.NOT_APPLIED)
    assert (body["retryable"], "Retry-After" in headers) == (retryable, retryable)
    assert body.get("outcome") == (str(outcome) if outcome else None)


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


# -- fingerprints -----------------------------------------------------------------------------------------------------


def recorded(error: BaseException, request: RequestContext | None = None, **options: Any) -> ErrorRecord:
    log = ErrorLog(Classifier(), None, None, None, None, None, **options)  # type: ignore[arg-type]
    return log.record(error, request)


def caught(work: Callable[[], Any]) -> BaseException:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it did not fail")


def pay(amount: Any) -> None:
    if amount == "first":
        raise ValueError(f"cannot pay {amount}")
    raise ValueError(f"cannot pay {amount}")


def refund(amount: Any, error: type[Exception] = ValueError) -> None:
    raise error(f"cannot refund {amount}")


def test_other_messages_values_and_lines_have_the_same_fingerprint() -> None:
    made = [recorded(caught(lambda amount=amount: pay(amount))) for amount in ("first", 17, "canary@example.org")]
    assert len({one.fingerprint for one in made}) == 1
    assert len({one.title for one in made}) == 1
    assert len({one.summary for one in made}) == 3  # the control: they are not the same errors
    assert made[0].title == f"INTERNAL_ERROR (ValueError) in {Path(__file__).relative_to(REPOSITORY)}:pay"
    assert re.fullmatch("[0-9a-f]{16}", made[0].fingerprint)


def test_another_type_place_or_category_has_another() -> None:
    def elsewhere() -> None:
        refund(1)

    errors = [
        caught(lambda: pay(1)),
        caught(lambda: refund(1)),
        caught(elsewhere),
        caught(lambda: refund(1, KeyError)),
        caught(lambda: refund(1, type("ValueError", (DuplicateKeyError,), {}))),
    ]
    made = [recorded(error) for error in errors]
    assert len({one.fingerprint for one in made}) == len(errors)
    assert made[0].fingerprint == recorded(errors[0]).fingerprint
    code = replace(made[0], meaning=replace(made[0].meaning, code="OTHER"))
    category = replace(made[0], meaning=replace(made[0].meaning, category=ErrorCategory.TIMEOUT))
    assert len({made[0].fingerprint, code.fingerprint, category.fingerprint}) == 3


def evaluated(tree: Any) -> Any:
    """As an interpreter of what a client sends: which way it goes is up to the tree."""
    return {"sum": summed, "part": part, "leaf": leaf}[tree[0]](tree[1])


def summed(trees: list[Any]) -> Any:
    return sum(evaluated(tree) for tree in trees)


def part(tree: Any) -> Any:
    return evaluated(tree)


def leaf(value: Any) -> int:
    return int(value)


def test_how_data_is_nested_makes_no_kind_of_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [("leaf", "x")]
    for levels in range(1, 40):
        tree: Any = ("leaf", "x")
        for level in range(levels):
            tree = ("sum", [tree]) if (levels >> (level % 5)) % 2 else ("part", tree)
        trees.append(tree)
    kinds = {recorded(caught(lambda tree=tree: evaluated(tree))).fingerprint for tree in trees}
    assert len(kinds) == 1
    assert recorded(caught(lambda: evaluated(("sum", 1)))).fingerprint not in kinds, "another end is another kind"
    deep = recorded(caught(lambda: recursive(5_000, ValueError("x"))))
    assert deep.title == f"INTERNAL_ERROR (RecursionError) in {Path(__file__).relative_to(REPOSITORY)}:recursive"

    monkeypatch.setattr(tracebacks, "_without_loops", list)
    tracebacks._ways.clear()
    told = {recorded(caught(lambda tree=tree: evaluated(tree))).fingerprint for tree in trees}
    tracebacks._ways.clear()
    assert len(told) > 30, "the control: nearly each of them goes a way of its own"


def test_a_fingerprint_is_the_same_in_another_process(python: Callable[..., str]) -> None:
    code = """
        import importlib, sys
        sys.path.insert(0, ".")
        tests = importlib.import_module(sys.argv[1])
        print(tests.recorded(tests.caught(lambda: tests.pay(1))).fingerprint)
    """
    assert len({python(code, __name__) for _ in range(2)}) == 1


# -- bounds -----------------------------------------------------------------------------------------------------------


def recursive(levels: int, error: Exception) -> None:
    if levels:
        recursive(levels - 1, error)
    raise error


def deep(levels: int, leaf: Any) -> Any:
    for _ in range(levels):
        leaf = {"a" * 30: [leaf]}
    return leaf


FACTS: dict[str, Callable[[int, str], dict[Any, Any]]] = {
    "none": lambda size, text: {},
    "text": lambda size, text: {"text": text, text: 1},
    "numbers": lambda size, text: {"numbers": list(range(size))},
    "deep": lambda size, text: {"deep": deep(size % 60, text)},
    "200 fields": lambda size, text: {f"field{number}": text[: size // 10] for number in range(200)},
    "odd": lambda size, text: {"odd": [object(), 2**70, {1: 2}, b"\xff" * size, {1, 2}, {"a\0b": text}]},
}
LONG = st.tuples(st.sampled_from('aé字😀\0\ud800"\\@1'), st.integers(0, 40_000))


@given(
    message=LONG,
    levels=st.integers(0, 300),
    shape=st.sampled_from(sorted(FACTS)),
    size=st.integers(0, 30_000),
    agent=LONG,
    name=st.integers(1, 40_000),
    chained=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_record_is_never_larger_than_64_kilobytes(
    message: tuple[str, int],
    levels: int,
    shape: str,
    size: int,
    agent: tuple[str, int],
    name: int,
    chained: bool,
) -> None:
    text = message[0] * message[1]
    facts = FACTS[shape](size, text)
    kind = type("E" * name, (ValidationFailed,), {})
    error = kind(text, facts=facts, problems=tuple(FieldError(text, text[:70], text) for _ in range(200)))
    if chained:
        error.__cause__ = caught(lambda: recursive(levels, RuntimeError(text)))
    request = context("POST", User_Agent=agent[0] * agent[1], X_App_Version="1.0")
    for _ in range(60):
        request.notes.count(CommandKey("insert", "notes", ()), 1, False, request.begun)
    request.notes.user_id = "u" * 256
    made = recorded(caught(lambda: recursive(levels, error)), request, release="v" * 40)
    made = replace(made, operation=DatabaseOperation("find", "c" * 200, document_shape(facts)))
    for document in (made.to_document(), made.to_entry(), made.to_log_entry()):
        assert len(render(document)) <= LARGEST_RECORD
        assert document["requestId"] == request.request_id
        assert document["fingerprint"] == made.fingerprint
    for whole, document in ((True, made.to_document()), (False, made.to_log_entry())):
        assert len(made.to_bson(whole=whole)) == len(encoded(document | {"_id": made.id})) <= LARGEST_RECORD
    assert made.to_entry().line == render(made.to_entry())
    assert len(made.title) <= 200


def test_without_a_bound_it_would_be() -> None:
    # The control of the test above: what is left out is what was too large, and it is said.
    made = recorded(ValidationFailed("x", facts={"numbers": list(range(30_000))}))
    assert len(encoded(dict(made.facts))) > LARGEST_RECORD
    document = made.to_document()
    assert (document["facts"], document["errorType"]) == (None, "ValidationFailed")
    small = recorded(ValidationFailed("x", facts={"numbers": [1, 2]}))
    assert small.to_document()["facts"]["numbers"] == [1, 2]


def test_a_suppressed_record_is_small_and_says_enough_to_find_its_group() -> None:
    made = recorded(caught(lambda: recursive(50, ValueError("x" * 3000))), context("POST"))
    trace = made.to_log_entry()
    assert {"stack", "trail"}.isdisjoint(trace)
    assert trace["facts"] == {}
    assert (trace["requestId"], trace["fingerprint"], trace["suppressed"]) == (made.request_id, made.fingerprint, True)
    assert len(render(trace)) < 2500 < len(render(made.to_document()))


# -- the seed's severities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (ServerSelectionTimeoutError(), "critical"),
        (AutoReconnect(), "critical"),
        (OperationFailure("no", 2), "error"),
        (ValueError(), "error"),
        (DuplicateKeyError("x", 11000), "info"),
        (AuthenticationRequired(), "warn"),
        (ValidationFailed(), "info"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_errors_severity_is_the_seeds(error: Exception, severity: str) -> None:
    made = recorded(error)
    assert (made.to_entry()["severity"], made.to_entry()["level"]) == (severity, severity)


@pytest.mark.parametrize(
    ("places", "place"),
    [
        (("a.py:show", "a.py:total"), "a.py:total"),
        (("a.py:show", "a.py:total", "a.py:<genexpr>"), "a.py:total"),
        (("a.py:index", "a.py:<lambda>", "a.py:<listcomp>"), "a.py:index"),
        (("a.py:<module>",), "a.py:<module>"),
        ((), ""),
    ],
)
def test_a_kind_has_the_place_of_a_function_with_a_name(places: tuple[str, ...], place: str) -> None:
    assert named_place(places) == place
