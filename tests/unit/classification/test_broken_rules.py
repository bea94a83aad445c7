"""Error 121: which rule each field broke, in every form in which MongoDB says it, and never with what value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from bson import encode
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from pymongo import MongoClient, UpdateOne
from pymongo import errors as mongo

from prodfix import Document, classify
from prodfix.classification.broken_rules import problems
from prodfix.documents import Documents
from prodfix.errors import FieldError

CANARY = "canary-7f3a"


def told(found: tuple[FieldError, ...]) -> list[tuple[str, str]]:
    return [(problem.to_json()["pointer"], problem.code) for problem in found]


def rule(name: str, **more: Any) -> dict[str, Any]:
    """A rule that was not met, with the values that the server tells beside it."""
    return {"operatorName": name, "specifiedAs": {name: CANARY}, "consideredValue": CANARY, **more}


def below(**fields: list[dict[str, Any]]) -> dict[str, Any]:
    wrong = [{"propertyName": name, "description": CANARY, "details": details} for name, details in fields.items()]
    return {"operatorName": "properties", "propertiesNotSatisfied": wrong}


def schema(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"operatorName": "$jsonSchema", "title": CANARY, "schemaRulesNotSatisfied": list(rules)}


def missing(*names: str) -> dict[str, Any]:
    return {"operatorName": "required", "specifiedAs": {"required": [*names, "other"]}, "missingProperties": [*names]}


def unknown(*names: str) -> dict[str, Any]:
    asked = {"additionalProperties": False}
    return {"operatorName": "additionalProperties", "specifiedAs": asked, "additionalProperties": [*names]}


def asked(operator: str, path: str, reason: str = "comparison failed") -> dict[str, Any]:
    """An operator of a query: the path stands in what was asked for."""
    values = {"consideredValue": CANARY, "consideredValues": [CANARY]}
    return {"operatorName": operator, "specifiedAs": {path: {operator: CANARY}}, "reason": reason, **values}


def clauses(operator: str, *details: Any, key: str = "clausesNotSatisfied") -> dict[str, Any]:
    return {"operatorName": operator, key: [{"index": index, "details": one} for index, one in enumerate(details)]}


def alternatives(name: str, *details: list[dict[str, Any]]) -> dict[str, Any]:
    return clauses(name, *details, key="schemasNotSatisfied")


TYPE = rule("bsonType", reason="type did not match", consideredType="string")
LOW = rule("minimum", reason="comparison failed")

FORMS: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "a field is missing": (schema(missing("owner")), [("/owner", "missing")]),
    "several are": (schema(missing("a", "b")), [("/a", "missing"), ("/b", "missing")]),
    "one within another": (schema(below(address=[missing("zip")])), [("/address/zip", "missing")]),
    "a field too many": (schema(unknown("colour")), [("/colour", "unexpected")]),
    "too many within": (schema(below(a=[below(b=[unknown("c")])])), [("/a/b/c", "unexpected")]),
    "a value's type": (schema(below(age=[TYPE])), [("/age", "type")]),
    "the type by its other name": (schema(below(age=[rule("type")])), [("/age", "type")]),
    "a number": (schema(below(age=[LOW])), [("/age", "minimum")]),
    "a length of another type": (
        schema(below(a=[rule("minLength", reason="type did not match"), TYPE])),
        [("/a", "type")],
    ),
    "rules of text": (
        schema(below(a=[rule("minLength")], b=[rule("maxLength")], c=[rule("pattern")])),
        [("/a", "minLength"), ("/b", "maxLength"), ("/c", "pattern")],
    ),
    "other rules of numbers": (
        schema(below(a=[rule("maximum")], b=[rule("multipleOf")], c=[rule("enum")])),
        [("/a", "maximum"), ("/b", "multipleOf"), ("/c", "enum")],
    ),
    "rules of lists": (
        schema(below(a=[rule("minItems")], b=[rule("maxItems")], c=[rule("uniqueItems", duplicatedValue=CANARY)])),
        [("/a", "minItems"), ("/b", "maxItems"), ("/c", "uniqueItems")],
    ),
    "rules of objects": (
        schema(rule("minProperties", numberOfProperties=1), below(a=[rule("maxProperties")])),
        [("", "minProperties"), ("/a", "maxProperties")],
    ),
    "an entry of a list": (
        schema(below(items=[rule("items", itemIndex=3, details=[below(price=[LOW])])])),
        [("/items/3/price", "minimum")],
    ),
    "an entry itself": (schema(below(tags=[rule("items", itemIndex=0, details=[TYPE])])), [("/tags/0", "type")]),
    "entries with a schema each": (
        schema(below(pair=[{"operatorName": "items", "details": [{"itemIndex": 1, "details": [LOW]}]}])),
        [("/pair/1", "minimum")],
    ),
    "entries too many": (
        schema(below(pair=[rule("additionalItems", additionalItems=[CANARY])])),
        [("/pair", "maxItems")],
    ),
    "an entry too many, with a schema": (
        schema(below(pair=[rule("additionalItems", itemIndex=2, details=[TYPE])])),
        [("/pair/2", "type")],
    ),
    "a list in a list": (
        schema(below(a=[rule("items", itemIndex=1, details=[rule("items", itemIndex=2, details=[LOW])])])),
        [("/a/1/2", "minimum")],
    ),
    "an additional field with a schema": (
        schema(rule("additionalProperties", failingProperty="x", details=[TYPE])),
        [("/x", "type")],
    ),
    "fields by a pattern": (
        schema(
            {
                "operatorName": "patternProperties",
                "details": [{"propertyName": "S_x", "regexMatched": "^S", "details": [LOW]}],
            }
        ),
        [("/S_x", "minimum")],
    ),
    "a field that another needs": (
        schema(
            {
                "operatorName": "dependencies",
                "failingDependencies": [
                    {"conditionalProperty": "card", "missingProperties": ["address"]},
                    {"conditionalProperty": "a", "details": [below(b=[LOW])]},
                ],
            }
        ),
        [("/address", "missing"), ("/b", "minimum")],
    ),
    "all of": (schema(alternatives("allOf", [below(b=[LOW])])), [("/b", "minimum")]),
    "any of": (schema(below(a=[alternatives("anyOf", [TYPE], [LOW])])), [("/a", "minimum")]),
    "any of two types": (schema(below(a=[alternatives("anyOf", [TYPE], [TYPE])])), [("/a", "type")]),
    "an object or nothing": (
        schema(below(address=[alternatives("anyOf", [missing("zip")], [TYPE])])),
        [("/address/zip", "missing")],
    ),
    "any of, each of all of": (
        schema(alternatives("anyOf", [alternatives("allOf", [below(e=[LOW])])], [below(c=[rule("enum")])])),
        [("/e", "minimum"), ("/c", "enum")],
    ),
    "one of, none": (
        schema(below(a=[alternatives("oneOf", [LOW], [rule("maximum")])])),
        [("/a", "minimum"), ("/a", "maximum")],
    ),
    "one of, two": (
        schema(below(a=[rule("oneOf", reason="more than one subschema matched", matchingSchemaIndexes=[0, 1])])),
        [("/a", "invalid")],
    ),
    "not": (schema(below(a=[rule("not", reason="child expression matched")])), [("/a", "invalid")]),
    "not, of the whole": (schema(rule("not", reason="child expression matched")), [("", "invalid")]),
    "not encrypted": (
        schema(below(a=[{"operatorName": "encrypt", "reason": "value was not encrypted"}])),
        [("/a", "invalid")],
    ),
    "an operator": (asked("$gt", "age"), [("/age", "minimum")]),
    "an operator without its name": (asked("$eq", "a"), [("/a", "invalid")]),
    "a path of an operator": (asked("$lte", "address.rooms"), [("/address/rooms", "maximum")]),
    "an operator's field is missing": (asked("$gt", "a.b", "field was missing"), [("/a/b", "missing")]),
    "a field must be there": (asked("$exists", "a", "path does not exist"), [("/a", "missing")]),
    "a field must not": (asked("$exists", "a", "path does exist"), [("/a", "unexpected")]),
    "a type, asked for": (asked("$type", "a", "type did not match"), [("/a", "type")]),
    "a list, a form, a rest": (
        clauses("$and", asked("$in", "a"), asked("$regex", "b"), asked("$mod", "c"), asked("$size", "d")),
        [("/a", "enum"), ("/b", "pattern"), ("/c", "multipleOf"), ("/d", "invalid")],
    ),
    "entries, asked for": (asked("$elemMatch", "a", "array did not satisfy the child predicate"), [("/a", "invalid")]),
    "and": (clauses("$and", asked("$gt", "a"), schema(missing("b"))), [("/a", "minimum"), ("/b", "missing")]),
    "or": (clauses("$or", asked("$gt", "a"), asked("$lt", "b")), [("/a", "minimum"), ("/b", "maximum")]),
    "nor": (
        clauses("$nor", asked("$gt", "a", "comparison succeeded"), key="clausesSatisfied"),
        [("/a", "invalid")],
    ),
    "nor of a field that is not there": (
        clauses("$nor", asked("$exists", "a", "path does not exist"), key="clausesSatisfied"),
        [("/a", "missing")],
    ),
    "nor of one that is": (
        clauses("$nor", asked("$exists", "a", "path does exist"), key="clausesSatisfied"),
        [("/a", "unexpected")],
    ),
    "nor of a schema": (
        clauses("$nor", {"operatorName": "$jsonSchema", "reason": "schema matched"}, key="clausesSatisfied"),
        [("", "invalid")],
    ),
    "an operator that must not be met": (
        {"operatorName": "$not", "details": asked("$gt", "a", "comparison succeeded")},
        [("/a", "invalid")],
    ),
    "an expression": (
        {"operatorName": "$expr", "specifiedAs": {"$expr": {"$gt": ["$a", 1]}}, "expressionResult": False},
        [("", "invalid")],
    ),
    "names that a pointer escapes": (
        schema(below(**{"a/b": [missing("c~d", "e.f")]})),
        [
            ("/a~1b/c~0d", "missing"),
            ("/a~1b/e.f", "missing"),
        ],
    ),
    "the same twice": (schema(below(a=[LOW]), below(a=[LOW])), [("/a", "minimum")]),
    "what says no more": ({"operatorName": "$jsonSchema"}, [("", "invalid")]),
    "what a later version may say": (schema({"operatorName": "unevaluated", "canary": CANARY}), [("", "invalid")]),
    "cut short by the server": ({"operatorName": "$gt", "reason": "comparison failed"}, [("", "minimum")]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_broken_rule_names_its_field_and_itself(form: str) -> None:
    details, expected = FORMS[form]
    found = problems(details)
    assert told(found) == expected
    assert all(problem.message for problem in found)
    assert CANARY not in repr(found)


def test_the_servers_own_words_hold_the_values() -> None:
    # The control: whoever hands them on tells them.
    assert sum(CANARY in repr(details) for details, _ in FORMS.values()) > 40


@pytest.mark.parametrize("form", ["one within another", "and", "an entry of a list"])
@pytest.mark.parametrize(
    "reply",
    [
        lambda part: mongo.WriteError(CANARY, 121, part),
        lambda part: mongo.OperationFailure(CANARY, 121, {"ok": 0, **part}),  # findAndModify, and a command by its name
        lambda part: mongo.BulkWriteError({"writeErrors": [part], "nInserted": 0}),
        lambda part: mongo.ClientBulkWriteException({"writeErrors": [part], "anySuccessful": False}, False),
    ],
    ids=["write", "command", "bulk", "client bulk"],
)
def test_it_is_so_in_every_reply_that_can_tell_it(form: str, reply: Callable[[Any], Exception]) -> None:
    details, expected = FORMS[form]
    part = {"index": 0, "code": 121, "errmsg": CANARY, "errInfo": {"failingDocumentId": CANARY, "details": details}}
    meaning = classify(reply(part))
    assert (meaning.code, told(meaning.details)) == ("VALIDATION_FAILED", expected)
    assert CANARY not in repr(meaning)


@pytest.mark.parametrize(
    "details", [None, 5, "canary", [], {}, {"operatorName": None}, {"schemaRulesNotSatisfied": "x"}]
)
def test_what_has_no_form_names_no_field(details: Any) -> None:
    assert {problem.pointer for problem in problems(details)} <= {""}


def test_a_deep_or_wide_reply_is_looked_at_for_a_while_only() -> None:
    deep: dict[str, Any] = LOW
    for _ in range(2_000):
        deep = below(a=[deep])
    assert len(problems(schema(deep))) <= 1
    assert len(problems(schema(unknown(*map(str, range(100_000)))))) == 50
    assert len(problems(schema(below(**{str(number): [LOW] for number in range(5_000)})))) == 50
    wide: dict[str, Any] = schema(*({} for _ in range(100_000)))
    assert told(problems(wide)) == [("", "invalid")]


KEYS = ["operatorName", "schemaRulesNotSatisfied", "propertiesNotSatisfied", "propertyName", "details", "itemIndex"]
KEYS += ["missingProperties", "additionalProperties", "clausesNotSatisfied", "clausesSatisfied", "schemasNotSatisfied"]
KEYS += ["failingDependencies", "specifiedAs", "reason", "consideredValue", "failingProperty"]
NODES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["anyOf", "$gt", "minimum", "field was missing", "a.b", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)


@given(details=NODES)
def test_no_reply_is_too_odd(details: Any) -> None:
    found = problems(details)
    assert len(found) <= 50
    assert all(json.dumps(problem.to_json()) for problem in found)


# ---- a server's own replies


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    zip: str
    rooms: int | None = None


class Person(Document, collection="people"):
    name: Annotated[str, Field(max_length=20)]
    age: Annotated[int, Field(ge=0)]
    address: Address
    former: Annotated[list[Address], Field(default_factory=list)]
    second: Address | None = None


GOOD = {"name": "a", "age": 1, "address": {"zip": "1"}, "former": [], "second": None, "version": 1}
BAD: dict[str, tuple[dict[str, Any], set[str]]] = {
    "an unknown field": ({"colour": CANARY}, {"/colour"}),
    "a nested unknown field": ({"address": {"zip": "1", "street": CANARY}}, {"/address/street"}),
    "a nested missing field": ({"address": {"rooms": 5}}, {"/address/zip"}),
    "a number": ({"age": -7_319}, {"/age"}),
    "a type": ({"age": CANARY}, {"/age"}),
    "a length": ({"name": CANARY * 4}, {"/name"}),
    "an entry": ({"former": [{"zip": "1"}, {"zip": 5}]}, {"/former/1/zip"}),
    "an entry's missing field": ({"former": [{}]}, {"/former/0/zip"}),
    "what may be nothing": ({"second": {"rooms": 1}}, {"/second/zip"}),
    "a nested type": ({"address": CANARY}, {"/address"}),
    "several": ({"age": -7_319, "colour": CANARY, "address": {}}, {"/age", "/colour", "/address/zip"}),
}


@pytest.fixture(scope="module")
def people(database_server: str) -> Iterator[Any]:
    """A collection that only the server guards."""
    with MongoClient(database_server) as client:
        database = client["broken_rules"]
        client.drop_database("broken_rules")
        documents = Documents(lambda: database, lambda: database)
        documents.register(Person)
        documents.apply()
        database.people.insert_one({**GOOD, "_id": 0})
        yield database.people
        client.drop_database("broken_rules")


# The embedded server has no errInfo in its reply to a client's bulk write: that form is above.
WRITES: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "insert": lambda people, fields: people.insert_one({**GOOD, **fields}),
    "insert many": lambda people, fields: people.insert_many([{**GOOD, **fields}]),
    "update": lambda people, fields: people.update_one({"_id": 0}, {"$set": fields}),
    "replace": lambda people, fields: people.replace_one({"_id": 0}, {**GOOD, **fields}),
    "find and modify": lambda people, fields: people.find_one_and_update({"_id": 0}, {"$set": fields}),
    "bulk": lambda people, fields: people.bulk_write([UpdateOne({"_id": 0}, {"$set": fields})]),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("bad", BAD)
def test_the_rules_of_our_own_models_name_their_fields_when_the_server_keeps_them(
    people: Any, write: str, bad: str
) -> None:
    fields, pointers = BAD[bad]
    with pytest.raises(mongo.PyMongoError) as caught:
        WRITES[write](people, fields)
    meaning = classify(caught.value)
    assert meaning.code == "VALIDATION_FAILED"
    assert {pointer for pointer, _ in told(meaning.details)} == pointers
    assert CANARY not in repr(meaning)
    assert "7319" not in repr(meaning)


def test_what_the_rules_allow_is_written(people: Any) -> None:
    # The control: it is the rule that was broken, and nothing else.
    for write in WRITES.values():
        write(people, {"age": 2})
    assert encode(people.find_one({"_id": 0}))
