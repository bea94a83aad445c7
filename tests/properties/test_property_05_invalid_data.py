from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import WriteError
from pymongo.synchronous.database import Database

from prodfix import classify
from tests.properties.site import Site
from tests.properties.strategies import invalid_notes, notes

NOTES = "/api/v1/notes"


@pytest.fixture
def database(database_uri: str) -> Iterator[Database[Any]]:
    """The same database, past everything of ours."""
    client: MongoClient[Any]
    with MongoClient(database_uri) as client:
        yield client.get_default_database()


def content(database: Database[Any]) -> list[dict[str, Any]]:
    return [document for name in ("notes", "notebooks") for document in database[name].find().sort("_id")]


@given(invalid=invalid_notes(), valid=notes)
def test_no_invalid_document_is_saved(
    site: Site, database: Database[Any], invalid: tuple[dict[str, Any], set[str]], valid: dict[str, Any]
) -> None:
    """For any invalid document, the system should prevent it from being saved to the database and return a validation error.

    New documents and changes alike, and nothing that belongs to the same request is saved either. The control stands
    between: a valid document is.

    Feature: production-deployment-fix, Property 5
    """
    database.notes.delete_many({})
    before = content(database)
    answer = site.ask(NOTES, "POST", json=invalid[0])
    assert (answer.status_code, answer.json["code"]) == (422, "VALIDATION_FAILED")
    assert content(database) == before

    saved = site.ask(NOTES, "POST", json=valid)
    assert saved.status_code == 201
    assert database.notes.count_documents({}) == 1

    before = content(database)
    changes = {name: value for name, value in invalid[0].items() if name in invalid[1]}
    if changes and set(changes) != {"version"}:
        answer = site.ask(f"{NOTES}/{saved.json['id']}", "PATCH", json={"version": 1} | changes)
        assert (answer.status_code, answer.json["code"]) == (422, "VALIDATION_FAILED")
        assert content(database) == before


SCHEMA = {
    "required": ["name", "age"],
    "properties": {"name": {"bsonType": "string"}, "age": {"bsonType": "int", "minimum": 0}},
}
right = st.fixed_dictionaries({"name": st.text(max_size=9), "age": st.integers(0, 150)})
wrong = {
    "name": st.none() | st.integers(-9, 9) | st.lists(st.integers(0, 9)),
    "age": st.text(max_size=3) | st.integers(-9, -1),
}


@given(document=right, field=st.sampled_from(sorted(wrong)), data=st.data())
def test_nor_one_that_the_server_refuses(site: Site, document: dict[str, Any], field: str, data: st.DataObject) -> None:
    """What only the server's own schema knows is answered in the same way.

    Feature: production-deployment-fix, Property 5
    """
    database = site.services.db
    if "people" not in database.list_collection_names():
        database.create_collection("people", validator={"$jsonSchema": SCHEMA})
    database.people.insert_one(document)  # the control
    count = database.people.count_documents({})
    bad = {key: value for key, value in document.items() if key not in ("_id", field)}
    if data.draw(st.booleans()):
        bad[field] = data.draw(wrong[field])
    with pytest.raises(WriteError) as caught:
        database.people.insert_one(bad)
    assert database.people.count_documents({}) == count
    assert classify(caught.value).status == 422
    answer = site.fail(caught.value)
    assert answer.json["code"] == "VALIDATION_FAILED"
    assert [problem["field"] for problem in answer.json["details"]] == [field]
