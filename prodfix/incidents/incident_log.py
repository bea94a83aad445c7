"""The incidents of all workers and instances: one record of each, in MongoDB when it is back.

Parts that overlap in time and have one cause are one incident. A part is stored under the boot of its worker, so that storing
it again changes nothing; until MongoDB is back the parts of this instance are read from its journals.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import bson
import orjson
import pymongo
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED
from prodfix.incidents.observed import COUNTED, FOLLOWED, GAP, IncidentCause, IncidentPart
from prodfix.journal.journal import Journal
from prodfix.serialization import OMITTED, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope

INCIDENTS = "incidents"
HEADS = "incident_heads"

IncidentState = Literal["open", "closed"]
Kept = TypeVar("Kept", bound=Serializable)

SETTLED = 10.0  # seconds after its end until an incident is summed up
REST = (300.0, 600.0)  # seconds from one look for what nobody has summed up to the next, without an incident of our own
MOST = 1000  # incidents that are looked at
LIMIT = 3.0  # seconds
AHEAD = 60.0  # seconds that another instance's clock may be ahead of this one's


@frozen
class KeptPart(Serializable):
    """What MongoDB keeps of one worker's part; ``moved``: a clock was set meanwhile."""

    from_: datetime
    to: datetime
    instance: str = ""
    release: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    moved: Annotated[bool | None, OMITTED] = None


@frozen
class Incident(Serializable):
    """One incident, with what its parts have counted."""

    id: str
    cause: IncidentCause
    status: IncidentState
    from_: datetime
    to: datetime
    seconds: float
    failed: int
    retried: int
    recovered: int
    deferred: int
    replayed: int
    dead: int
    workers: int
    instances: list[str]
    releases: list[str]


@frozen
class IncidentPage:
    """Incidents, newest first; ``more`` says whether others follow."""

    scope: Scope
    incidents: list[Incident]
    more: bool


class IncidentLog:
    """What is known of all incidents. ``on_closed`` is told the summary of each, once over all workers."""

    def __init__(
        self,
        journal: Journal,
        answering: Callable[[], Database[Any] | None],
        *,
        clock: Callable[[], float] = time.time,
        on_closed: Callable[[Incident], None] = lambda incident: None,
    ) -> None:
        self._journal, self._answering, self._clock = journal, answering, clock
        self.on_closed = on_closed
        self._look_at = 0.0  # when the next incident may be over

    def store(self, database: Database[Any]) -> None:
        """Store the parts in this worker's journal, and sum up what is over. Raises what MongoDB says."""
        rows = self._journal.read_own("SELECT id, revision, entry FROM incidents WHERE stored < revision")
        for identity, revision, entry in rows:
            part = _readable(IncidentPart, entry)
            if part is None:
                continue  # of another release, whose worker has died: one of its own may come back
            _store(database, part)
            self._look_at = min(self._look_at, part.end + SETTLED)
            done = "UPDATE incidents SET stored = max(stored, ?) WHERE id = ?"
            old = "DELETE FROM incidents WHERE stored >= revision AND json_extract(entry, '$.end') < ?"
            self._journal.write([(done, (revision, identity)), (old, (self._clock() - FOLLOWED - SETTLED,))])
        self._sum_up(database)

    def _sum_up(self, database: Database[Any]) -> None:
        """Tell what is over. Without an incident nothing is asked, but now and then for what a whole instance left behind."""
        now = self._clock()
        if now < self._look_at <= now + REST[1]:  # later than that means that the clock was put back
            return
        over = {"publishedAt": None, "to": {"$lt": _moment(now - SETTLED)}}
        told = {"$set": {"publishedAt": _moment(now)}}
        while (document := database[INCIDENTS].find_one_and_update(over, told)) is not None:
            self.on_closed(_summary(document, now))
        # What another worker has prolonged meanwhile is over later than our part of it.
        open_one = database[INCIDENTS].find_one({"publishedAt": None}, {"to": 1}, sort=[("to", 1)])
        due = open_one["to"].timestamp() + SETTLED if open_one else math.inf
        self._look_at = min(max(due, now), now + random.uniform(*REST))

    def read(
        self,
        *,
        begin: datetime | None = None,
        end: datetime | None = None,
        cause: IncidentCause | None = None,
        status: IncidentState | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> IncidentPage:
        """The incidents that touch the time from ``begin`` to ``end``.

        Never raises for a database that is down; raises ``TimeoutError`` if the disk does not answer.
        """
        rows = self._journal.read("SELECT entry FROM incidents")
        documents: dict[Any, dict[str, Any]] = {}
        stored = self._stored(begin, end)
        for document in stored or ():
            documents[document["_id"]] = document
        for (entry,) in rows:
            if (part := _readable(IncidentPart, entry)) is not None:
                _merge(documents, part)
        now = self._clock()
        found = [
            _summary(document, now)
            for document in sorted(documents.values(), key=lambda document: document["from"], reverse=True)
            if (begin is None or document["to"] >= begin) and (end is None or document["from"] <= end)
        ]
        found = [one for one in found if cause in (None, one.cause) and status in (None, one.status)]
        scope: Scope = "instance" if stored is None else "all"
        return IncidentPage(scope, found[offset : offset + limit], more=len(found) > offset + limit)

    def _stored(self, begin: datetime | None, end: datetime | None) -> list[dict[str, Any]] | None:
        database = self._answering()
        if database is None:
            return None
        touching: dict[str, Any] = {"to": {"$gte": begin}} if begin else {}
        touching |= {"from": {"$lte": end}} if end else {}
        try:
            with pymongo.timeout(LIMIT):
                return list(database[INCIDENTS].find(touching).sort("from", -1).limit(MOST))
        except UNANSWERED:
            return None


def _store(database: Database[Any], part: IncidentPart) -> None:
    begin, end, shown = _shown(part)
    near = {
        "cause": part.cause,
        "from": {"$lte": _moment(part.end + GAP)},
        "to": {"$gte": _moment(part.begin - GAP)},
    }
    # What has moved with the clock is no longer where it was stored.
    wanted = {f"parts.{part.id}": {"$exists": True}} if part.moved else near
    found = database[INCIDENTS].find_one(wanted, {"_id": 1}, sort=[("from", -1)])
    identity = found["_id"] if found is not None else _head(database, part)
    changes = {
        "$min": {"from": begin},
        "$max": {"to": end},
        "$set": {"cause": part.cause, f"parts.{part.id}": shown},
        "$setOnInsert": {"publishedAt": None},
    }
    database[INCIDENTS].update_one({"_id": identity}, changes, upsert=True)


def _head(database: Database[Any], part: IncidentPart) -> bson.ObjectId:
    """The incident that this part begins, unless another worker has just begun it: decided in one document, atomically."""
    begin, end = _moment(part.begin), _moment(part.end)
    late, early = _moment(part.begin - GAP), _moment(part.end + GAP)
    fits = {"$and": [{"$gte": ["$to", late]}, {"$lte": ["$from", early]}]}
    change: list[dict[str, Any]] = [
        {"$set": {"fits": fits}},
        {
            "$set": {
                "incident": {"$cond": ["$fits", "$incident", bson.ObjectId()]},
                "from": {"$cond": ["$fits", {"$min": ["$from", begin]}, begin]},
                "to": {"$cond": ["$fits", {"$max": ["$to", end]}, end]},
            }
        },
    ]
    wanted = {"_id": part.cause}
    with contextlib.suppress(
        DuplicateKeyError
    ):  # of two upserts at once one may be refused (manual: upsert with unique index)
        database[HEADS].update_one(wanted, {"$setOnInsert": {"incident": None}}, upsert=True)
    head: Any = database[HEADS].find_one_and_update(wanted, change, return_document=ReturnDocument.AFTER)
    identity: bson.ObjectId = head["incident"]
    return identity


def _merge(documents: dict[Any, dict[str, Any]], part: IncidentPart) -> None:
    """Add a part that a journal holds to the incident that it belongs to; the journal knows more than MongoDB."""
    begin, end, shown = _shown(part)
    for document in documents.values():
        apart = max((begin - document["to"]).total_seconds(), (document["from"] - end).total_seconds())
        known = part.id in document.get("parts", {})
        if known or (document["cause"] == part.cause and apart <= GAP):
            document["from"], document["to"] = min(document["from"], begin), max(document["to"], end)
            document["parts"] = {**document.get("parts", {}), part.id: shown}
            return
    documents[part.id] = {
        "_id": part.id,
        "cause": part.cause,
        "from": begin,
        "to": end,
        "parts": {part.id: shown},
    }


def _shown(part: IncidentPart) -> tuple[datetime, datetime, dict[str, Any]]:
    """When it begins and ends, and all that is kept of it."""
    begin, end = _moment(part.begin), _moment(part.end)
    kept = KeptPart(begin, end, part.instance, part.release, part.counts, part.moved or None)
    return begin, end, kept.to_document()


def _extent(document: Mapping[str, Any], parts: Collection[KeptPart]) -> tuple[datetime, datetime, float]:
    """From when to when, and for how many seconds: of workers whose clock was set meanwhile, what the longest has seen."""
    begin = min((part.from_ for part in parts), default=document["from"])
    end = max((part.to for part in parts), default=document["to"])
    moved = any(part.moved for part in parts)
    spans = [part.to - part.from_ for part in parts] if moved else [end - begin]
    return begin, max(begin, end), max(timedelta(), *spans).total_seconds()


def _summary(document: Mapping[str, Any], now: float) -> Incident:
    found = (_readable(KeptPart, part) for part in document.get("parts", {}).values())
    parts = [part for part in found if part is not None]
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    begin, end, seconds = _extent(document, parts)
    return Incident(
        id=str(document["_id"]),
        cause=document["cause"],
        status="open" if -AHEAD < now - end.timestamp() < GAP else "closed",
        from_=begin,
        to=end,
        seconds=round(seconds, 1),
        **{name: counts[name] for name in COUNTED},
        workers=len(parts),
        instances=sorted({part.instance for part in parts}),
        releases=sorted({part.release for part in parts if part.release}),
    )


def _readable(kind: type[Kept], found: Any) -> Kept | None:
    """A part that a worker has written, perhaps of another release; None if this one cannot read it."""
    try:
        return kind.from_json(orjson.loads(found) if isinstance(found, (bytes, str)) else found)
    except (ValueError, TypeError):
        return None


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
