"""The exceptions of a record: types, words and frames, the first cause first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prodfix.records.records import ErrorRecord
from prodfix.reporters.raised import known_of, raised, tags_of
from prodfix.reporters.sentry import event_id, event_of


class Broken(Exception):
    """An application's own."""


def caught(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - it is what this is for
        return error
    raise AssertionError("it should have failed")


def inner() -> None:
    raise KeyError("price")


def outer() -> None:
    try:
        inner()
    except KeyError as error:
        raise Broken("the till of password=hunter2hunter2") from error


def test_a_chain_is_told_from_its_first_cause_on(make_record: Callable[..., ErrorRecord]) -> None:
    cause, error = raised(make_record(caught(outer)))
    assert (cause.module, cause.kind, error.module, error.kind) == ("builtins", "KeyError", __name__, "Broken")
    assert "price" in cause.words
    assert error.words == "the till of password=***"
    assert [frame.function for frame in cause.frames] == ["outer", "inner"]
    assert [frame.function for frame in error.frames] == ["caught", "outer"]
    assert error.frames[-1].file == "tests/unit/reporters/test_raised.py"
    assert all(frame.application and frame.line > 0 for frame in error.frames)


def test_what_has_no_stack_has_its_type_and_its_words(make_record: Callable[..., ErrorRecord]) -> None:
    (one,) = raised(make_record(ValueError("no price")))
    assert (one.kind, one.words, one.frames) == ("ValueError", "no price", ())


@pytest.mark.parametrize("text", ["a <- b <- c <- d", "", "\nwhich led to\n", "  x.py:1 in y", "é" * 9000])
def test_words_of_any_kind_break_nothing(make_record: Callable[..., ErrorRecord], text: str) -> None:
    record = make_record(caught(lambda: (_ for _ in ()).throw(Broken(text))))
    assert [one.kind for one in raised(record)] == ["Broken"]
    assert event_of(record)["exception"]["values"][0]["type"] == "Broken"


def test_tags_are_what_is_known(make_record: Callable[..., ErrorRecord]) -> None:
    record = make_record()
    assert tags_of(record) == {
        "request_id": "request-0001",
        "prodfix.code": "INTERNAL_ERROR",
        "prodfix.category": "unknown",
        "http.status_code": "500",
    }
    assert known_of(record) == {"retryable": False, "answeredBy": "prodfix"}


def test_the_same_record_is_the_same_event_however_often_it_is_told(make_record: Callable[..., ErrorRecord]) -> None:
    record, other = make_record(), make_record()
    assert event_id(record) == event_id(record) != event_id(other)
    assert len(event_id(record)) == 32
