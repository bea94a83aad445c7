"""What is redacted once passes the redactor, and nothing else does."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import bson
import orjson
import pytest

from prodfix.operations.shapes import document_shape, redact_command
from prodfix.redaction.redacted import Redacted
from prodfix.redaction.redactor import redact_document

CANARY = "canary7f3a"
URI = f"mongodb://u:{CANARY}@db.example.org"
COMMAND = {"find": "notes", "filter": {"name": "Ann", "$or": [{"age": {"$gt": 5}}]}, "sort": {"age": -1}}


def test_a_shape_is_redacted_with_all_that_is_in_it() -> None:
    shape = redact_command(COMMAND)
    documents = (shape, shape["filter"], shape["filter"]["$or"][0], shape["sort"], document_shape({"a": 1}))
    assert [type(one) for one in documents] == [Redacted] * 5


def test_a_shape_passes_the_redactor_as_it_is() -> None:
    shape = redact_command({"find": "notes", "filter": {"password": "secret"}})
    facts = {"database": {"query": shape, "password": CANARY}}
    assert redact_document(facts) == {"database": {"query": shape, "password": "***"}}
    assert redact_document(facts)["database"]["query"] is shape
    assert redact_document(dict(shape["filter"])) == {"password": "***"}, (
        "the control: of another class, it is redacted"
    )


FORGERIES: dict[str, Callable[[], Any]] = {
    "JSON": lambda: orjson.loads(orjson.dumps(Redacted(a=URI))),
    "BSON": lambda: bson.decode(bson.encode(Redacted(a=URI))),
    "a document with its name": lambda: {"__class__": "Redacted", "Redacted": True, "a": URI},
    "a copy": lambda: Redacted(a=URI).copy(),
    "a shallow copy": lambda: copy.copy(Redacted(a=URI)),
    "a deep copy": lambda: copy.deepcopy(Redacted(a=URI)),
    "a pickle": lambda: pickle.loads(pickle.dumps(Redacted(a=URI))),
    "a union": lambda: Redacted(b=1) | {"a": URI},
    "a union with it": lambda: {"a": URI} | Redacted(b=1),
    "a class below": lambda: type("Mine", (Redacted,), {})(a=URI),
}


@pytest.mark.parametrize("made", FORGERIES.values(), ids=FORGERIES)
def test_nothing_that_is_decoded_copied_or_joined_passes_for_redacted(made: Callable[[], Any]) -> None:
    assert CANARY in str(made())
    assert CANARY not in str(redact_document(made()))
    assert CANARY in str(redact_document(Redacted(a=URI))), "the control"


CHANGES: dict[str, Callable[[Any], Any]] = {
    "set": lambda shape: shape.__setitem__("a", URI),
    "update": lambda shape: shape.update(a=URI),
    "or": lambda shape: shape.__ior__({"a": URI}),
    "setdefault": lambda shape: shape.setdefault("a", URI),
    "delete": lambda shape: shape.__delitem__("find"),
    "pop": lambda shape: shape.pop("find"),
    "popitem": lambda shape: shape.popitem(),
    "clear": lambda shape: shape.clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_puts_a_value_into_what_is_redacted(change: Callable[[Any], Any]) -> None:
    shape = redact_command(COMMAND)
    before = dict(shape)
    with pytest.raises(TypeError):
        change(shape)
    assert shape == before


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (URI, "mongodb://***"),
        ("a@example.org", "***"),
        ("x" * 110 + " mongodb://u:" + CANARY + "@h", ("x" * 110 + " mongodb://***")[:120]),
        ("open", "open"),
        (7, 7),
    ],
)
def test_a_value_that_is_to_be_shown_is_redacted(value: Any, told: Any) -> None:
    shown = frozenset({"orders.status", "orders.password"})
    filter = {"status": value, "password": value, "name": value}
    shape = redact_command({"find": "orders", "filter": filter}, shown)
    kind = f"?{type(value).__name__}"
    assert shape["filter"] == {"status": told, "password": kind, "name": kind}


def test_a_name_that_stays_is_redacted_too() -> None:
    shape = redact_command({"find": URI, "filter": {"a": 1}, "$db": URI})
    assert shape == {"find": "mongodb://***", "filter": {"a": "?int"}, "$db": "mongodb://***"}


def test_it_is_written_as_any_document() -> None:
    shape = redact_command(COMMAND)
    plain = copy.deepcopy(shape)
    assert (type(plain), type(plain["filter"])) == (dict, dict)
    assert orjson.dumps(shape) == orjson.dumps(plain)
    assert bson.encode(shape) == bson.encode(plain)
