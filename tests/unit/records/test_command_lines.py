"""The line of a command: what the redactor would make of the record, whose shape is redacted already."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.operations.operation import DatabaseOperation
from prodfix.operations.shapes import redact_command
from prodfix.queries.interceptor import CommandRecord
from prodfix.records.reports import _facts
from prodfix.redaction.redacted import Redacted
from prodfix.redaction.redactor import redact_document
from prodfix.request.context import RequestContext, new_context

SECRET = "mongodb://root:s3cret-word@db.example.org/x"
PERSON = "ann@example.com"
TEXTS = st.one_of(
    st.sampled_from(["notes", "find", SECRET, PERSON, "4111 1111 1111 1111", "Bearer abcdefgh"]), st.text()
)


def context(agent: str = PERSON) -> RequestContext:
    headers = {"User-Agent": agent, "X-Request-ID": "request1"}
    return new_context(endpoint=f"/of/{PERSON}", method="GET", ip="10.1.2.3", headers=headers)


def record(operation: str, collection: Any, database: str, command: Any, of: RequestContext | None) -> CommandRecord:
    shape = redact_command(command)
    told = DatabaseOperation(operation, collection, shape, 1.5)
    return CommandRecord(told, database, "succeeded", 11000, 3, 2, of, command)


@given(TEXTS, st.none() | TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=4), TEXTS)
def test_it_is_what_the_redactor_makes_of_the_record(
    operation: str, collection: str | None, database: str, content: dict[str, str], user: str
) -> None:
    command = {"find": "notes", "filter": content, "limit": 5, "$db": "d"}
    asked = context(operation)
    for of in (None, asked):
        told = record(operation, collection, database, command, of)
        assert _facts(told) == {"category": "database_query", **redact_document(told.to_json())}
    asked.notes.user_id = user  # known from here on
    again = record(operation, collection, database, command, asked)
    assert _facts(again) == {"category": "database_query", **redact_document(again.to_json())}


def test_a_shape_that_nobody_has_redacted_is_redacted() -> None:
    plain = DatabaseOperation("find", "notes", {"find": "notes", "filter": {"owner": PERSON}, "let": PERSON}, 1.5)
    told = CommandRecord(plain, "d", "slow", None, None, 1, None, {})
    assert PERSON in repr(told.to_json()), "the control"
    assert PERSON not in repr(_facts(told))


@pytest.mark.parametrize("word", [SECRET, PERSON])
def test_no_name_leaks_however_often_it_comes(word: str) -> None:
    for _ in range(3):
        facts = _facts(record(word, word, word, {"find": word, "filter": {word: word}}, context(word)))
        assert type(facts) is Redacted
        assert word not in repr(facts)
        assert "s3cret" not in repr(facts)
