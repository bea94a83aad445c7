"""An example of an application on prodfix: notes in notebooks, written also while the database is down.

Delete this file and its name in ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from bson import ObjectId
from flask import Blueprint, Response, jsonify, request
from pydantic import Field, StringConstraints
from pymongo import IndexModel

from prodfix import (
    Document,
    FieldError,
    Insert,
    Update,
    ValidationFailed,
    Write,
    accepted,
    current_operation_id,
    current_prodfix,
    deferrable,
    idempotent,
    run_transaction,
)

blueprint = Blueprint("notes", __name__, url_prefix="/api/v1/notes")

NOTEBOOKS = "notebooks"

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Body = Annotated[str, StringConstraints(max_length=20_000)]


def _now() -> datetime:
    return datetime.now(UTC)


_NEWEST = [("created_at", -1), ("_id", -1)]  # an operation's ID, which a note's _id is, holds no time


class Note(
    Document,
    collection="notes",
    indexes=[IndexModel("slug", unique=True), IndexModel([("notebook", 1), *_NEWEST]), IndexModel(_NEWEST)],
):
    """One note. The driver is asked only for what these types let through."""

    slug: Slug
    title: Words
    body: Body
    notebook: Words
    tags: Annotated[list[Words], Field(max_length=20, default_factory=list)]
    created_at: datetime = Field(default_factory=_now)


FIELDS = frozenset({"slug", "title", "body", "notebook", "tags"})


@deferrable("notes.create", atomic=True)
def creation(note: Mapping[str, Any]) -> Sequence[Insert | Update]:
    """Insert the note and count it in its notebook: both or neither, or one after the other when the outage is over."""
    return [
        Insert(Note.collection_name, note),
        Update(NOTEBOOKS, {"_id": note["notebook"]}, {"$inc": {"notes": 1}}, upsert=True),
    ]


@blueprint.post("")
@idempotent
def create() -> Response:
    """201 with the note; 202 while the database is away: it is on disk, and is applied once when it is back."""
    note = current_prodfix.documents.collection(Note).new(_fields(FIELDS))
    result = current_prodfix.recovery.write(Write("notes.create", note, id=current_operation_id()))
    if result.deferred:
        return accepted(result)
    if "Idempotency-Key" in request.headers:  # a copy may come when its first one was applied already, from the journal
        note = current_prodfix.documents.collection(Note).get(ObjectId(result.operation_id))
    response = jsonify(_shown({**note, "_id": result.operation_id}))
    response.status_code = 201
    response.headers["Location"] = f"{blueprint.url_prefix}/{result.operation_id}"
    return response


@blueprint.get("")
def index() -> Response:
    """The newest notes, of one notebook if ``?notebook=`` names it; ``?limit=`` up to 100."""
    limit = request.args.get("limit", "20")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 3 or not 1 <= int(limit) <= 100:
        problem = FieldError("limit", "range", "must be a number from 1 to 100")
        raise ValidationFailed("limit", problems=(problem,))
    wanted = {"notebook": request.args["notebook"]} if "notebook" in request.args else {}
    found = current_prodfix.recovery.run(
        lambda: list(current_prodfix.db.notes.find(wanted).sort(_NEWEST).limit(int(limit))), idempotent=True
    )
    return jsonify({"notes": [_shown(note) for note in found]})


@blueprint.get("/<ObjectId:identity>")
def show(identity: ObjectId) -> Response:
    """One note."""
    notes = current_prodfix.documents.collection(Note)
    return jsonify(_shown(current_prodfix.recovery.run(lambda: notes.get(identity), idempotent=True)))


@blueprint.patch("/<ObjectId:identity>")
@idempotent
def update(identity: ObjectId) -> Response:
    """Change fields of the ``version`` that the client has seen; 409 if somebody else was faster."""
    changes = _fields(FIELDS - {"notebook"} | {"version"})
    version = changes.pop("version", None)
    if not isinstance(version, int) or isinstance(version, bool):
        problem = FieldError("version", "missing", "the version that is to be changed")
        raise ValidationFailed("version", problems=(problem,))
    return jsonify(_shown(current_prodfix.documents.collection(Note).patch(identity, changes, version=version)))


@blueprint.delete("/<ObjectId:identity>")
def delete(identity: ObjectId) -> tuple[str, int]:
    """204; the note and its count are gone, or both are there."""

    def write(session: Any) -> None:
        note = current_prodfix.documents.collection(Note).delete(identity, session=session)
        counter = {"$inc": {"notes": -1}}
        current_prodfix.db[NOTEBOOKS].update_one({"_id": note["notebook"]}, counter, session=session)

    run_transaction(write)
    return "", 204


def _fields(allowed: frozenset[str]) -> dict[str, Any]:
    """The body's fields. Raises ``ValidationFailed`` for anything but an object of known fields."""
    body = request.get_json()
    if not isinstance(body, dict):
        raise ValidationFailed("body", problems=(FieldError("body", "object", "must be an object", ""),))
    unknown = tuple(
        FieldError(name[:80], "unknown", "is not a field of a note") for name in body if name not in allowed
    )
    if unknown:
        raise ValidationFailed("unknown fields", problems=unknown[:50])
    return body


def _shown(note: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(note["_id"]),
        "slug": note["slug"],
        "title": note["title"],
        "body": note["body"],
        "notebook": note["notebook"],
        "tags": note["tags"],
        "version": note["version"],
        "createdAt": note["created_at"],
    }
