"""Documents: what the driver sees was checked before, and nobody overwrites what somebody else changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import bson
import pytest
from pydantic import Field
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError, WriteError

from prodfix.document import Document
from prodfix.documents import Documents, encodable
from prodfix.errors import ConcurrentModification, FieldError, NotFound, ValidationFailed
from prodfix.schemas import GUARD
from tests.support.recorded_commands import Commands


class Note(Document, collection="notes", indexes=[IndexModel("slug", unique=True, name="by_slug")]):
    slug: Annotated[str, Field(pattern=r"^[a-z]+$")]
    text: Annotated[str, Field(max_length=10)] = ""
    more: dict[str, Any] = Field(default_factory=dict)


class Plain(Document, collection="plain"):
    name: str


@pytest.fixture
def database(connect: Callable[..., Any], commands: Commands) -> Any:
    return connect(event_listeners=[commands]).get_default_database()


@pytest.fixture
def told() -> list[Mapping[str, Any]]:
    return []


@pytest.fixture
def notes(database: Any, told: list[Mapping[str, Any]]) -> Documents.Bound[Note]:
    return Documents(lambda: database, lambda: database, report=lambda _, facts: told.append(facts)).collection(Note)


def problems(error: ValidationFailed) -> set[tuple[str, str]]:
    return {(problem.field, problem.code) for problem in error.problems}


# -- inserting --------------------------------------------------------------------------------------------------------------


def test_a_new_document_has_an_identity_its_defaults_and_version_one(notes: Documents.Bound[Note]) -> None:
    made = notes.insert({"slug": "a"})
    assert made == {"_id": made["_id"], "slug": "a", "text": "", "more": {}, "version": 1}
    assert notes.get(made["_id"]) == made


def test_every_wrong_field_is_named_and_the_driver_is_not_asked(
    notes: Documents.Bound[Note], commands: Commands
) -> None:
    with pytest.raises(ValidationFailed) as raised:
        notes.insert({"slug": "A", "text": 7, "nobody": 1, "_id": 1, "version": 9})
    assert problems(raised.value) == {
        ("slug", "string_pattern_mismatch"),
        ("text", "string_type"),
        *((name, "extra_forbidden") for name in ("nobody", "_id", "version")),
    }
    assert commands.names == []


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        "\ud800",
        pytest.param(object(), id="object"),
        {1: "a"},
        {"a\0b": 1},
        {"deep": {"bytes": bytearray, "set": {1}}},
    ],
    ids=repr,
)
def test_what_bson_cannot_hold_never_reaches_the_driver(
    notes: Documents.Bound[Note], commands: Commands, value: Any
) -> None:
    with pytest.raises(ValidationFailed):
        notes.insert({"slug": "a", "more": {"value": value}})
    assert commands.names == []


def test_a_document_that_is_too_large_is_refused() -> None:
    encodable({"text": "x" * (15 * 1024 * 1024)})
    with pytest.raises(ValidationFailed) as raised:
        encodable({"text": "x" * (16 * 1024 * 1024)})
    assert raised.value.problems == (FieldError("body", "too_large", "More than 16 MiB"),)


def test_the_database_still_has_the_last_word(notes: Documents.Bound[Note], database: Any) -> None:
    database.notes.create_index("slug", unique=True)
    notes.insert({"slug": "a"})
    with pytest.raises(DuplicateKeyError):
        notes.insert({"slug": "a"})


def test_a_session_is_passed_on(notes: Documents.Bound[Note], database: Any) -> None:
    database.create_collection("notes")
    kept = notes.insert({"slug": "kept"})
    with database.client.start_session() as session:
        session.start_transaction()
        notes.insert({"slug": "b"}, session=session)
        notes.patch(kept["_id"], {"text": "new"}, version=1, session=session)
        notes.delete(kept["_id"], session=session)
        session.abort_transaction()
    assert list(database.notes.find()) == [kept]


# -- changing ---------------------------------------------------------------------------------------------------------------


def test_a_patch_changes_only_its_fields_and_the_version(notes: Documents.Bound[Note]) -> None:
    made = notes.insert({"slug": "a", "text": "old", "more": {"kept": 1}})
    assert notes.patch(made["_id"], {"text": "new"}, version=1) == made | {"text": "new", "version": 2}


@pytest.mark.parametrize("changes", [{"slug": "A"}, {"nobody": 1}, {"version": 5}, {"more": {"n": 2**63}}])
def test_a_patch_is_checked_like_an_insert(notes: Documents.Bound[Note], changes: dict[str, Any]) -> None:
    made = notes.insert({"slug": "a"})
    with pytest.raises(ValidationFailed):
        notes.patch(made["_id"], changes, version=1)
    assert notes.get(made["_id"]) == made


def test_of_two_who_saw_the_same_version_the_second_is_told(
    notes: Documents.Bound[Note], told: list[Mapping[str, Any]]
) -> None:
    made = notes.insert({"slug": "a", "text": "old"})
    notes.patch(made["_id"], {"text": "first"}, version=1)
    with pytest.raises(ConcurrentModification) as raised:
        notes.patch(made["_id"], {"text": "canary"}, version=1)
    assert (raised.value.expected, raised.value.found) == (1, 2)
    assert notes.get(made["_id"])["text"] == "first"
    (facts,) = told
    assert (facts["expectedVersion"], facts["foundVersion"], facts["collection"]) == (1, 2, "notes")
    assert set(facts["ours"]) == set(facts["theirs"]) == {"text"}


def test_the_report_of_a_conflict_has_no_value_of_either(
    notes: Documents.Bound[Note], told: list[Mapping[str, Any]]
) -> None:
    made = notes.insert({"slug": "a", "text": "canary1"})
    with pytest.raises(ConcurrentModification):
        notes.patch(made["_id"], {"text": "canary2"}, version=7)
    assert "canary" not in repr(told)
    assert "canary1" in repr(notes.get(made["_id"]))  # the control: it was there to be leaked


def test_a_replaced_document_has_nothing_of_the_old_one_but_its_identity(notes: Documents.Bound[Note]) -> None:
    made = notes.insert({"slug": "a", "text": "old"})
    new = notes.replace(made["_id"], {"slug": "b"}, version=1)
    assert new == notes.get(made["_id"]) == {"_id": made["_id"], "slug": "b", "text": "", "more": {}, "version": 2}
    with pytest.raises(ConcurrentModification):
        notes.replace(made["_id"], {"slug": "c"}, version=1)
    with pytest.raises(ValidationFailed):
        notes.replace(made["_id"], {"slug": "C"}, version=2)


@pytest.mark.parametrize("key", ["$gt", "a.b", "$where"])
@pytest.mark.parametrize(
    "deep", [lambda key: {key: 1}, lambda key: {"list": [{"inner": {key: 1}}]}], ids=["top", "deep"]
)
def test_a_key_that_looks_like_an_operator_or_a_path_is_refused_before_the_driver(
    notes: Documents.Bound[Note], commands: Commands, deep: Any, key: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        notes.insert({"slug": "a", "more": deep(key)})
    assert [(problem.code, problem.field.endswith(key)) for problem in refused.value.problems] == [("key", True)]
    assert commands.names == []


def test_what_is_gone_is_not_found(notes: Documents.Bound[Note]) -> None:
    nobody = bson.ObjectId()
    for ask in (notes.get, notes.delete, lambda identity: notes.patch(identity, {"text": "x"}, version=1)):
        with pytest.raises(NotFound):
            ask(nobody)


def test_what_is_deleted_while_it_is_changed_is_not_found(
    notes: Documents.Bound[Note], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = notes.insert({"slug": "a"})
    update = notes.raw.find_one_and_update

    def too_late(*arguments: Any, **options: Any) -> Any:
        database.notes.delete_many({})
        return update(*arguments, **options)

    monkeypatch.setattr(notes.raw, "find_one_and_update", too_late, raising=False)
    with pytest.raises(NotFound):
        notes.patch(made["_id"], {"text": "x"}, version=1)


def test_a_replacement_keeps_only_what_guards_deferred_writes(notes: Documents.Bound[Note], database: Any) -> None:
    made = notes.insert({"slug": "a", "text": "$text", "more": {"x": 1}})
    database.notes.update_one({"_id": made["_id"]}, {"$set": {GUARD: ["an-id"], "stray": 1}})
    replaced = notes.replace(made["_id"], {"slug": "b", "text": "$slug"}, version=1)
    expected = {"_id": made["_id"], "slug": "b", "text": "$slug", "more": {}, "version": 2, GUARD: ["an-id"]}
    assert replaced == database.notes.find_one() == expected
    with pytest.raises(ConcurrentModification):
        notes.replace(made["_id"], {"slug": "c"}, version=1)
    with pytest.raises(ValidationFailed):
        notes.replace(made["_id"], {"slug": "NOT A SLUG"}, version=2)
    assert notes.replace(notes.insert({"slug": "z"})["_id"], {"slug": "y"}, version=1).keys() == made.keys()


def test_a_deleted_document_is_returned(notes: Documents.Bound[Note], database: Any) -> None:
    made = notes.insert({"slug": "a"})
    assert notes.delete(made["_id"]) == made
    assert database.notes.count_documents({}) == 0


# -- indexes ----------------------------------------------------------------------------------------------------------------


def test_what_all_registered_models_need_is_put_in_place_once(database: Any) -> None:
    documents = Documents(lambda: database, lambda: database)
    documents.register(Note, Plain, Note)
    changes = ["notes: create the collection", "notes: create index by_slug", "plain: create the collection"]
    assert (documents.models, documents.differences(), documents.apply()) == ([Note, Plain], changes, changes)
    assert (documents.differences(), documents.apply()) == ([], [])
    assert "by_slug" in database.notes.index_information()
    with pytest.raises(WriteError):
        database.notes.insert_one({"slug": "NOT A SLUG", "text": 7})


def test_a_collection_that_is_there_keeps_its_documents_and_gets_what_it_lacks(database: Any) -> None:
    database.notes.insert_one({"_id": 1, "old": True})
    documents = Documents(lambda: database, lambda: database)
    documents.register(Note)
    assert documents.apply() == ["notes: set the validator", "notes: create index by_slug"]
    assert database.notes.find_one() == {"_id": 1, "old": True}
    assert documents.differences() == []


@pytest.mark.parametrize(("auto_index", "made"), [(True, 1), (False, 0)])
def test_outside_production_indexes_are_made_once_before_the_first_use(
    database: Any, commands: Commands, auto_index: bool, made: int
) -> None:
    documents = Documents(lambda: database, lambda: database, auto_index=auto_index)
    for _ in range(3):
        documents.collection(Note).insert({"slug": "abc"[len(commands.names) % 3]})
    assert commands.names.count("createIndexes") == made
    assert commands.names[0] == ("createIndexes" if made else "insert")


def test_a_model_without_indexes_asks_for_none(database: Any, commands: Commands) -> None:
    documents = Documents(lambda: database, lambda: database, auto_index=True)
    documents.collection(Plain).insert({"name": str(datetime.now(UTC))})
    assert commands.names == ["insert"]
