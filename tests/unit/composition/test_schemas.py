from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from pymongo import MongoClient
from pymongo.errors import WriteError

from prodfix import Document, classify
from prodfix.schemas import json_schema


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    street: Annotated[str, Field(min_length=1, max_length=40)]
    number: Annotated[int, Field(gt=0, lt=1000)]


class Customer(Document, collection="customers"):
    name: Annotated[str, Field(pattern=r"^[A-Z]", max_length=30)]
    kind: Literal["person", "company"]
    balance: float = 0.0
    born: datetime | None = None
    tags: Annotated[list[str], Field(max_length=3)] = Field(default_factory=list)
    home: Address | None = None
    counts: dict[str, int] = Field(default_factory=dict)


class Tree(Document, collection="trees"):
    name: str
    children: list[Tree] = Field(default_factory=list)


class Odd(Document, collection="odd"):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    owner: bson.ObjectId


GOOD: dict[str, Any] = {
    "name": "Ann",
    "kind": "person",
    "home": {"street": "High Street", "number": 7},
    "born": datetime.now(UTC),
}
BAD: dict[str, dict[str, Any]] = {
    "a name of a wrong pattern": {"name": "ann"},
    "a name that is none": {"name": 7},
    "an unknown kind": {"kind": "robot"},
    "a date as text": {"born": "yesterday"},
    "too many tags": {"tags": ["a", "b", "c", "d"]},
    "an exclusive bound": {"home": {"street": "High Street", "number": 1000}},
    "an unknown field below": {"home": {"street": "High Street", "number": 1, "zip": "1"}},
    "a field that is missing below": {"home": {"street": "High Street"}},
    "an unknown field": {"nickname": "A"},
    "text in a map of numbers": {"counts": {"a": "b"}},
}


@pytest.fixture
def customers(database_uri: str) -> Any:
    client: MongoClient[dict[str, Any]] = MongoClient(database_uri)
    database = client.get_default_database()
    yield database.create_collection("customers", validator={"$jsonSchema": json_schema(Customer)})
    client.close()


def stored(fields: dict[str, Any]) -> dict[str, Any]:
    return {**Customer.model_validate(fields).model_dump(), "version": 1}


def test_what_the_model_accepts_the_server_stores(customers: Any) -> None:
    customers.insert_one(stored(GOOD))
    customers.insert_one(stored({"name": "B", "kind": "company", "balance": 3}))


@pytest.mark.parametrize("change", BAD)
def test_what_the_model_refuses_the_server_refuses_too(customers: Any, change: str) -> None:
    with pytest.raises(ValueError):
        Customer.model_validate(GOOD | BAD[change])
    with pytest.raises(WriteError) as refused:
        customers.insert_one(stored(GOOD) | BAD[change])
    assert classify(refused.value).code == "VALIDATION_FAILED"


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {"name": st.from_regex(r"\A[A-Z][a-z]{0,10}\Z"), "kind": st.sampled_from(["person", "company"])},
        optional={
            "balance": st.floats(allow_nan=False, allow_infinity=False),
            "tags": st.lists(st.text(max_size=5), max_size=3),
        },
    )
)
def test_the_servers_rules_are_never_stricter_than_the_models(schema_server: Any, fields: dict[str, Any]) -> None:
    schema_server.insert_one(stored(fields))


@pytest.fixture(scope="module")
def schema_server(database_server: str) -> Any:
    client: MongoClient[dict[str, Any]] = MongoClient(database_server)
    name = f"schemas_{bson.ObjectId()}"
    yield client[name].create_collection("customers", validator={"$jsonSchema": json_schema(Customer)})
    client.drop_database(name)
    client.close()


def test_a_model_that_contains_itself_ends(database_uri: str) -> None:
    client: MongoClient[dict[str, Any]]
    with MongoClient(database_uri) as client:
        trees = client.get_default_database().create_collection("trees", validator={"$jsonSchema": json_schema(Tree)})
        trees.insert_one({"name": "root", "children": [{"name": "leaf", "children": []}], "version": 1})


def test_a_type_that_json_does_not_know_is_anything() -> None:
    assert json_schema(Odd)["properties"]["owner"] == {}
