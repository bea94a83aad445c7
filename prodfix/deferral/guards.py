"""How a step is applied once, however often it is tried: an insert by its ``_id``, an update by a guard in its document.

The guard is an array in the document, of marks: the ID of a write (and the number of its step) and when. The server checks
it and adds to it in the same atomic update. A mark stays until whoever has the write knows what became of all of it, on
disk (:mod:`prodfix.deferral.releases`): however many others come meanwhile, from whatever worker or instance, they push no
mark out. So of a write that is in doubt each step can be read: a mark that is there says applied, one that is not says
not applied. Who dies when, and what is found then:

======================================= ======================= ====================================================
what happened                           what is left            the next try
======================================= ======================= ====================================================
died, or lost the answer, before it     no mark                 applies it
was applied
died, or lost the answer, between two   the first step's mark   meets the mark, and applies what is missing
steps                                   or document
died, or lost the answer, after the     all marks               meets all of them, and says ``applied``
last step
what is applied was forgotten on disk,  marks, no entry         there is none; they are removed with a worker that
and the worker died                                             ends in order, or pushed out
the same, and the power failed: the     all marks, as they are  as after a lost answer
entry is there again                    removed only after the
                                        next fsync
marks were removed, and a try whose     no mark                 cannot be: they stay ``GRACE`` seconds longer than
answer was lost arrives only then                               any try may take at the server
a copy of the request left the same     perhaps no mark, then   finds the status, says ``applied``
write with another worker or instance   a status in MongoDB
======================================= ======================= ====================================================

It is bounded all the same, as what dies removes nothing: a document has ``REMEMBERED`` marks at most. Beyond them the oldest
go, and an entry then says until when. A try that finds that its mark could have been one of them says so
(:class:`prodfix.errors.Uncertain`), and never guesses.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import bson
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.database import Database

from prodfix.deferral.coalescing import mergeable, merged
from prodfix.deferral.writes import Insert, Step, Update
from prodfix.errors import ConcurrentModification, Conflict, NotFound, Uncertain
from prodfix.schemas import GUARD

REMEMBERED = 500  # marks in one document's guard: some 35 KB at the very most
# Of these, how many may have come later than their times say: clocks differ, and commands take their time. So a full guard
# tells for sure of a write after which no more than the others have come.
SLACK = 250
FORGOTTEN = ""  # the ID of no write, but of an entry that says until when others were pushed out
SKEW = timedelta(seconds=5)  # between the clocks of two instances

Request = InsertOne[Any] | UpdateOne
State = Literal["applied", "not_applied", "unknown"]
Tried = tuple[Step, str, int, float | None]
"""A step, its write's ID, its number, and when an earlier try may first have been applied."""
Document = tuple[str, bytes]
"""A collection, and the filter that names a document of it, as BSON: what a dictionary can have as a key."""


def apply(
    database: Database[Any],
    step: Step,
    identity: str,
    number: int,
    *,
    since: float | None = None,
    session: ClientSession | None = None,
) -> None:
    """Apply step ``number`` of the write ``identity``, unless it is applied already.

    ``since``: when (``time.time()``) an earlier try may first have been applied; None if none may.

    Raises what the database says; :class:`prodfix.errors.NotFound`, :class:`prodfix.errors.ConcurrentModification` or
    :class:`prodfix.errors.Conflict` if the document is not there or not as expected; and
    :class:`prodfix.errors.Uncertain`. In a transaction every clash is raised, as it has ended the transaction.
    """
    if isinstance(step, Insert):
        _insert(database, step, identity, session)
    else:
        _update(database, step, mark_of(identity, number), since, session)


def states(database: Database[Any], steps: Sequence[Step], identity: str, since: float | None = None) -> list[State]:
    """What MongoDB itself tells of each step of the write. ``unknown``: its mark may have been pushed out.

    Steps are applied in order, the next one only once the last one is known to be: so one that is seen tells of those before.
    """
    told = [_state(database, step, identity, number, since) for number, step in enumerate(steps)]
    seen = max((number for number, state in enumerate(told) if state == "applied"), default=-1)
    return ["applied" if number < seen and state == "unknown" else state for number, state in enumerate(told)]


def applied(database: Database[Any], steps: Sequence[Step], identity: str) -> bool:
    """Whether all steps of the write can be seen in the database."""
    return set(states(database, steps, identity)) == {"applied"}


def begun(database: Database[Any], steps: Sequence[Step], identity: str) -> bool:
    """Whether a document that the write inserts is there: then it is this write's, whatever its other steps tell."""
    inserts = [step for step in steps if isinstance(step, Insert)]
    return any(_state(database, step, identity, 0, None) == "applied" for step in inserts)


def _state(database: Database[Any], step: Step, identity: str, number: int, since: float | None) -> State:
    if isinstance(step, Insert):
        found = database[step.collection].find_one({"_id": document_id(identity)}, {"_id": 1})
        return "not_applied" if found is None else "applied"
    found = database[step.collection].find_one(document_of(step), {GUARD: 1})
    if found is not None and _remembers(found, mark_of(identity, number)):
        return "applied"
    return "not_applied" if found is None or since is None or _tells(found, since) else "unknown"


def outrun(error: DuplicateKeyError, steps: Sequence[Step]) -> bool:
    """Whether another write has just made a document that one of the steps would have made (upsert), and not changed."""
    pattern = (error.details or {}).get("keyPattern")
    made = {tuple(document_of(step)) for step in steps if isinstance(step, Update) and step.upsert}
    return isinstance(pattern, Mapping) and tuple(pattern) in made


def apply_many(database: Database[Any], collection: str, steps: Sequence[Tried]) -> set[int]:
    """Apply steps of one collection in one command, in any order; the places of those that need a closer look.

    Updates of one document that can be merged are one: all of them are applied, and remembered, or none is.
    Raises what ends the command as a whole: then each of them may be applied, or not.
    """
    groups = _groups(steps)
    updates = {place for place, (step, *_) in enumerate(steps) if isinstance(step, Update)}
    try:
        result = database[collection].bulk_write([request for request, _ in groups], ordered=False)
    except BulkWriteError as error:
        if error.details.get("writeConcernErrors"):
            return set(range(len(steps)))
        failed = {place for failure in error.details["writeErrors"] for place in groups[failure["index"]][1]}
        return failed | updates  # the counts of a command that failed in part do not tell which update met nothing
    met = result.inserted_count + result.matched_count + result.upserted_count
    return set() if met == len(groups) else updates


def place(steps: Sequence[Step]) -> Hashable:
    """The first document that the write changes, and that others may be changing too; ``None`` if it only inserts."""
    return next(((step.collection, bson.encode(document_of(step))) for step in steps if isinstance(step, Update)), None)


def document_id(text: str) -> bson.ObjectId | str:
    """The ``_id`` of what the write with this ID inserts."""
    return bson.ObjectId(text) if bson.ObjectId.is_valid(text) else text


def _groups(steps: Sequence[Tried]) -> list[tuple[Request, list[int]]]:
    """The requests, and the places of the steps that each is for."""
    groups: list[tuple[Request, list[int]]] = []
    fresh: dict[Any, list[tuple[int, Update, str]]] = {}
    for place, (step, identity, number, since) in enumerate(steps):
        mark = mark_of(identity, number)
        if isinstance(step, Insert):
            groups.append((InsertOne({**step.document, "_id": document_id(identity)}), [place]))
        elif since is None and step.expected_version is None and mergeable(step.update):
            fresh.setdefault((bson.encode(step.filter), step.upsert), []).append((place, step, mark))
        else:
            # What may be applied already is asked for by itself: the others do not depend on it.
            groups.append((_update_one(step, [mark], since), [place]))
    for members in fresh.values():
        update = merged([step.update for _, step, _ in members])
        if update is None:
            groups += [(_update_one(step, [mark], None), [place]) for place, step, mark in members]
        else:
            whole = replace(members[0][1], update=update)
            groups.append((_update_one(whole, [mark for *_, mark in members], None), [place for place, *_ in members]))
    return groups


def _update_one(step: Update, marks: Sequence[str], since: float | None) -> UpdateOne:
    guarded, changes = _guarded(step, marks, since)
    return UpdateOne(guarded, changes, upsert=step.upsert)


def mark_of(identity: str, number: int) -> str:
    """What a document remembers of step ``number`` of the write ``identity``."""
    # Each step has one of its own: two of them may change the same document.
    return f"{identity}.{number}" if number else identity


def _insert(database: Database[Any], step: Insert, identity: str, session: ClientSession | None) -> None:
    key = document_id(identity)
    try:
        database[step.collection].insert_one({**step.document, "_id": key}, session=session)
    except DuplicateKeyError:
        # Our own _id is there: an earlier try has applied it. The server may name another unique key, which our own document
        # has taken too. Any other clash is the caller's to hear of.
        if session is not None or database[step.collection].find_one({"_id": key}, {"_id": 1}) is None:
            raise


def _update(
    database: Database[Any], step: Update, mark: str, since: float | None, session: ClientSession | None
) -> None:
    collection = database[step.collection]
    guarded, changes = _guarded(step, [mark], since)
    clash: DuplicateKeyError | None = None
    try:
        result = collection.update_one(guarded, changes, upsert=step.upsert, session=session)
        if result.matched_count or result.upserted_id is not None:
            return
    except DuplicateKeyError as error:
        # With upsert, the guard hides a document that has the ID already, and the server tries to insert a second one.
        # Or another write has made the document meanwhile: then this one is not applied yet. Any other clash is the caller's.
        if not step.upsert or session is not None:
            raise
        if collection.update_one(guarded, changes).matched_count:
            return
        clash = error
    found = collection.find_one(document_of(step), {GUARD: 1, "version": 1}, session=session)
    problem = _problem(step, found, mark, since)
    if problem is not None:
        raise clash or problem if not isinstance(problem, Uncertain) else problem


def _problem(step: Update, found: Mapping[str, Any] | None, mark: str, since: float | None) -> Exception | None:
    """Why the guarded update met nothing; None if it is applied already."""
    if found is None:
        return NotFound(f"no document of {step.collection} for an update that makes none")
    if _remembers(found, mark):
        return None
    if since is not None and not _tells(found, since):
        return Uncertain(f"a document of {step.collection} no longer remembers whether the write was applied")
    version = found.get("version")
    if step.expected_version is not None and version != step.expected_version:
        known = version if isinstance(version, int) else None
        return ConcurrentModification(expected=step.expected_version, found=known)
    return Conflict(f"the document of {step.collection} does not meet the update's conditions")


def document(step: Step, identity: str) -> Document:
    """The document that a step of the write ``identity`` inserts or updates."""
    named = {"_id": document_id(identity)} if isinstance(step, Insert) else document_of(step)
    return step.collection, bson.encode(named)


def document_of(step: Update) -> dict[str, Any]:
    """The filter that names the document of an update, and says nothing else of it."""
    return {"_id": step.filter["_id"]} if "_id" in step.filter else dict(step.filter)


def _guarded(step: Update, marks: Sequence[str], since: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The filter that meets the document only while it remembers none of ``marks``, and the update that makes it remember."""
    guarded = {**step.filter, f"{GUARD}.id": {"$nin": list(marks)}}
    if since is not None:
        told = {f"{GUARD}.{SLACK}.at": {"$lt": _moment(since)}}
        guarded["$or"] = [{f"{GUARD}.{REMEMBERED - 1}": {"$exists": False}}, told]
        guarded[GUARD] = {"$not": {"$elemMatch": {"id": FORGOTTEN, "at": {"$gte": _moment(since)}}}}
    now = datetime.now(UTC)
    entries = {"$each": [{"id": mark, "at": now} for mark in marks], "$slice": -REMEMBERED}
    changes = {**step.update, "$push": {**step.update.get("$push", {}), GUARD: entries}}
    if step.expected_version is not None:
        guarded["version"] = step.expected_version
        changes["$inc"] = {**step.update.get("$inc", {}), "version": 1}
    return guarded, changes


def _remembers(found: Mapping[str, Any], mark: str) -> bool:
    return any(entry.get("id") == mark for entry in found.get(GUARD) or [])


def _tells(found: Mapping[str, Any], since: float) -> bool:
    """Whether a write that was applied since then would still be in the guard."""
    entries = found.get(GUARD) or []
    if any(_forgotten_since(entry, since) for entry in entries):
        return False
    if len(entries) < REMEMBERED:
        return True
    early: datetime = entries[SLACK]["at"]
    return early.replace(tzinfo=UTC) < _moment(since)


def forget(database: Database[Any], marks: Mapping[Document, Sequence[str]]) -> None:
    """Remove these marks from their documents, with one command for each collection. A document that is gone is nothing.

    Of one that is full others may have been pushed out: it says until when, once it is no longer full.
    """
    until = datetime.now(UTC) + SKEW
    for collection in dict.fromkeys(collection for collection, _ in marks):
        requests: list[UpdateOne] = []
        for (theirs, named), those in marks.items():
            if theirs == collection:
                requests += _forgetting(bson.decode(named), those, until)
        database[collection].bulk_write(requests)


def _forgetting(named: Mapping[str, Any], marks: Sequence[str], until: datetime) -> list[UpdateOne]:
    older = {"id": FORGOTTEN, "at": {"$lt": until}}
    full = {f"{GUARD}.{REMEMBERED - 1}": {"$exists": True}}
    note = {"$each": [{"id": FORGOTTEN, "at": until}], "$slice": -REMEMBERED}
    return [
        UpdateOne({**named, **full}, {"$push": {GUARD: note}}),
        UpdateOne({**named, GUARD: {"$elemMatch": {"id": FORGOTTEN, "at": until}}}, {"$pull": {GUARD: older}}),
        UpdateOne(named, {"$pull": {GUARD: {"id": {"$in": list(marks)}}}}),
    ]


def _forgotten_since(entry: Mapping[str, Any], since: float) -> bool:
    return entry.get("id") == FORGOTTEN and entry["at"].replace(tzinfo=UTC) >= _moment(since)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
