"""The collections of an application's models, whose documents are checked before the driver sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import bson
from pymongo import IndexModel
from pymongo.errors import ConnectionFailure
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.collection import Collection
from pymongo.synchronous.database import Database

from prodfix.errors import ConcurrentModification, FieldError, NotFound, ValidationFailed
from prodfix.loaded import loaded
from prodfix.operations.shapes import document_shape, type_name
from prodfix.process.per_process import in_each_process
from prodfix.schemas import GUARD, json_schema

if TYPE_CHECKING:
    from prodfix.document import Document

Report = Callable[[str, Mapping[str, Any]], None]


Model = TypeVar("Model", bound="Document")


class Documents:
    """The collections of an application's models.

    ``auto_index`` (the seed's ``autoIndex``, off in production): each process makes a model's indexes before it first uses
    the collection, through ``own_database``, outside any transaction, if the database is ``answering``.
    """

    def __init__(
        self,
        database: Callable[[], Database[Any]],
        own_database: Callable[[], Database[Any]],
        *,
        auto_index: bool = False,
        answering: Callable[[], bool] = lambda: True,
        report: Report = lambda event, facts: None,
    ) -> None:
        self._database, self._own_database = database, own_database
        self._auto_index, self._answering = auto_index, answering
        self._report = report
        self.models: list[type[Document]] = []
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._indexed: set[type[Document]] = set()

    def register(self, *models: type[Document]) -> None:
        """Make models known to what keeps their indexes."""
        self.models = list(dict.fromkeys([*self.models, *models]))

    def prepare(self) -> None:
        """Make the indexes now that :meth:`collection` would make later (in the background, before the first request)."""
        for model in self.models:
            self.collection(model)

    def collection(self, model: type[Model]) -> Documents.Bound[Model]:
        # While the database is down there is nothing to index, and the operation itself is what should fail.
        if self._auto_index and model not in self._indexed and self._answering():
            with contextlib.suppress(ConnectionFailure):  # as above, before it is known to be down
                self._make_indexes(model)
                self._indexed.add(model)
        return Documents.Bound(model, self._database()[model.collection_name], self._report)

    def differences(self) -> list[str]:
        """What :meth:`apply` would change, in words; empty if the database is as the models say."""
        return [change for model in self.models for change in _differences(self._own_database(), model)]

    def apply(self) -> list[str]:
        """Put the indexes and validators of all registered models in place; what was changed. Idempotent.

        Indexes and documents that no model knows stay: validation is ``moderate``, for documents that are valid already
        and for new ones. Raises what MongoDB says.
        """
        changes = self.differences()
        database = self._own_database()
        existing = set(database.list_collection_names())
        for model in self.models:
            validator = {"$jsonSchema": json_schema(model)}
            if model.collection_name in existing:
                database.command("collMod", model.collection_name, validator=validator, validationLevel="moderate")
            else:
                database.create_collection(model.collection_name, validator=validator, validationLevel="moderate")
            self._make_indexes(model)
        return changes

    def _make_indexes(self, model: type[Document]) -> list[str]:
        if not model.indexes:
            return []
        names = self._own_database()[model.collection_name].create_indexes(list(model.indexes))
        return [f"{model.collection_name}.{name}" for name in names]

    class Bound(Generic[Model]):
        """One collection of one model. Every write is validated first and carries ``version``."""

        def __init__(self, model: type[Model], collection: Collection[Any], report: Report) -> None:
            self._model, self.raw, self._report = model, collection, report

        def new(self, fields: Mapping[str, Any]) -> dict[str, Any]:
            """The document that :meth:`insert` would store, without its ``_id``: for a write that may be deferred.

            Raises :class:`prodfix.errors.ValidationFailed`. Asks no database.
            """
            document = {**validated(self._model, fields), "version": 1}
            encodable(document)
            return document

        def insert(self, fields: Mapping[str, Any], *, session: ClientSession | None = None) -> dict[str, Any]:
            """Insert a new document; the document with ``_id`` and ``version`` 1.

            Raises :class:`prodfix.errors.ValidationFailed` with all field errors, before the database is asked.
            """
            document = {"_id": bson.ObjectId(), **self.new(fields)}
            self.raw.insert_one(document, session=session)
            return document

        def get(self, identity: bson.ObjectId) -> dict[str, Any]:
            """The document. Raises :class:`prodfix.errors.NotFound`."""
            found: dict[str, Any] | None = self.raw.find_one({"_id": identity})
            if found is None:
                raise NotFound
            return found

        def replace(
            self,
            identity: bson.ObjectId,
            fields: Mapping[str, Any],
            *,
            version: int,
            session: ClientSession | None = None,
        ) -> dict[str, Any]:
            """Put other fields in the place of all that the document has, if it still has ``version``.

            Raises as :meth:`patch` does.
            """
            document = {**validated(self._model, fields), "version": version + 1}
            encodable(document)
            where = {"_id": identity, "version": version}
            # What guards deferred writes against a second time must outlive the fields.
            kept = {"_id": "$_id", GUARD: f"${GUARD}"}
            whole = {"$replaceWith": {"$mergeObjects": [{"$literal": document}, kept]}}
            found: dict[str, Any] | None = self.raw.find_one_and_update(
                where, [whole], return_document=True, session=session
            )
            if found is None:
                raise self._conflict(identity, document, version, session)
            return found

        def patch(
            self,
            identity: bson.ObjectId,
            changes: Mapping[str, Any],
            *,
            version: int,
            session: ClientSession | None = None,
        ) -> dict[str, Any]:
            """Set some fields if the document still has ``version``; the new document, one version on.

            Raises :class:`prodfix.errors.NotFound`, :class:`prodfix.errors.ValidationFailed`, or
            :class:`prodfix.errors.ConcurrentModification`, with both versions logged as field names and types.
            """
            current = self.raw.find_one({"_id": identity}, session=session)
            if current is None:
                raise NotFound
            kept = {key: value for key, value in current.items() if key in self._model.model_fields}
            checked = validated(self._model, {**kept, **changes})
            new = {key: checked[key] for key in changes if key in checked}
            encodable(new)
            where = {"_id": identity, "version": version}
            changed: dict[str, Any] | None = self.raw.find_one_and_update(
                where, {"$set": new, "$inc": {"version": 1}}, return_document=True, session=session
            )
            if changed is None:
                raise self._conflict(identity, new, version, session)
            return changed

        def delete(self, identity: bson.ObjectId, *, session: ClientSession | None = None) -> dict[str, Any]:
            """Delete the document; what it was. Raises :class:`prodfix.errors.NotFound`."""
            deleted: dict[str, Any] | None = self.raw.find_one_and_delete({"_id": identity}, session=session)
            if deleted is None:
                raise NotFound
            return deleted

        def _conflict(
            self, identity: bson.ObjectId, new: Mapping[str, Any], version: int, session: ClientSession | None
        ) -> Exception:
            current = self.raw.find_one({"_id": identity}, session=session)
            if current is None:
                return NotFound()
            found = current.get("version")
            facts = {
                "collection": self.raw.name,
                "document": str(identity),
                "expectedVersion": version,
                "foundVersion": found,
                "theirs": {key: type_name(current.get(key)) for key in new},
                "ours": {key: type_name(value) for key, value in new.items()},
            }
            self._report("the document has moved on to another version", facts)
            return ConcurrentModification(expected=version, found=found if isinstance(found, int) else None)


def _differences(database: Database[Any], model: type[Document]) -> list[str]:
    name = model.collection_name
    options = next((found.get("options", {}) for found in database.list_collections(filter={"name": name})), None)
    if options is None:
        return [f"{name}: create the collection", *(f"{name}: create index {_name(index)}" for index in model.indexes)]
    changes = []
    if options.get("validator") != {"$jsonSchema": json_schema(model)}:
        changes.append(f"{name}: set the validator")
    there = set(database[name].index_information())
    return [*changes, *(f"{name}: create index {_name(index)}" for index in model.indexes if _name(index) not in there)]


def _name(index: IndexModel) -> str:
    return str(index.document["name"])


def validated(model: type[Document], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the model means them. Raises :class:`prodfix.errors.ValidationFailed` with every field error."""
    try:
        return model.model_validate(fields).model_dump()
    except loaded("pydantic_core", "ValidationError") as error:
        facts = {"model": model.__name__, "document": document_shape(fields)}
        raise ValidationFailed.from_pydantic(error, facts=facts) from error


def unique_fields(model: type[Document]) -> list[str]:
    """The fields that an index of their own keeps unique, in every document."""
    partial = ("partialFilterExpression", "sparse", "collation")
    indexes = [dict(index.document) for index in model.indexes]
    return [
        next(iter(index["key"]))
        for index in indexes
        if index.get("unique") and len(index["key"]) == 1 and not any(index.get(option) for option in partial)
    ]


def encodable(document: Mapping[str, Any]) -> None:
    """Raise :class:`prodfix.errors.ValidationFailed` for what BSON cannot hold, and for keys that MongoDB takes for operators
    or paths.

    Inside the driver the first costs a pooled connection each time.
    """
    try:
        size = len(bson.encode(document))
    except (bson.errors.BSONError, OverflowError, UnicodeError) as error:
        problem = FieldError("body", "not_storable", "A value cannot be stored: a number too large, or broken text")
        raise ValidationFailed(type(error).__name__, problems=(problem,)) from error
    if size > 16 * 1024 * 1024:
        raise ValidationFailed("too large", problems=(FieldError("body", "too_large", "More than 16 MiB"),))
    refused = tuple(
        FieldError(path, "key", "A key must not begin with $ or contain a dot") for path in _odd_keys(document)
    )
    if refused:
        raise ValidationFailed("keys", problems=refused[:50])


def _odd_keys(value: Any, path: str = "") -> Iterator[str]:
    """Where keys are that MongoDB would take for an operator or a path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else str(key)
            if str(key).startswith("$") or "." in str(key):
                yield here[:200]
            yield from _odd_keys(inner, here)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _odd_keys(inner, path)
