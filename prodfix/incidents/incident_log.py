"""The incidents of all workers and instances: one record of each, in MongoDB when it is back.

Parts that overlap in time and have one cause are one incident. What MongoDB has of this instance is replaced by what its
journals know, so that all its workers say the same within a second, and while MongoDB is down too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import pymongo
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED
from prodfix.incidents.folding import HEADS, INCIDENTS, PERIOD, ROWS, IncidentFolds, by_key, incident_of
from prodfix.incidents.instance_part import (
    InstancePart,
    WorkerRow,
    folded,
    part_in,
    sound_incidents,
    together,
    worker_rows,
)
from prodfix.incidents.observed import COUNTED, GAP, IncidentCause
from prodfix.journal.journal import Journal
from prodfix.serialization import Serializable
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope

__all__ = ["HEADS", "INCIDENTS", "Incident", "IncidentLog", "IncidentPage", "IncidentState"]

IncidentState = Literal["open", "closed"]

MOST = 1000  # incidents that are looked at
LIMIT = 3.0  # seconds
AHEAD = 60.0  # seconds that another instance's clock may be ahead of this one's
LASTING = GAP + PERIOD + 5.0  # seconds after which an instance that has said that it lasts must have said so again
SHOWN = ("cause", "from", "to", "counts", "workers", "instances", "releases", "lasting", "moved")


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
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[float, float], float] = random.uniform,
        on_closed: Callable[[Incident], None] = lambda incident: None,
    ) -> None:
        self._journal, self._answering, self._clock = journal, answering, clock
        self.on_closed = on_closed
        self.folds = IncidentFolds(journal, self._summed_up, clock=clock, monotonic=monotonic, chance=chance)

    def store(self, database: Database[Any]) -> None:
        """Called each second: store what is due, and sum up what is over. Raises what MongoDB says."""
        self.folds.tick(database)

    def finish(self, database: Database[Any]) -> None:
        """This worker ends: what its instance has counted is stored. Raises what MongoDB says."""
        self.folds.finish(database)

    def _summed_up(self, document: Mapping[str, Any]) -> None:
        self.on_closed(_summary(document, self._clock()))

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
        """The incidents that touch the time from ``begin`` to ``end``. One that lasts touches all until now, though its last
        word is some seconds old.

        Never raises for a database that is down; raises ``TimeoutError`` if the disk does not answer.
        """
        rows = worker_rows(self._journal.read(ROWS))
        stored = self._stored(begin, end, rows)
        documents = stored or []
        for group in together(rows):
            _merge(documents, group, self.folds.key())
        now = self._clock()
        found = [
            _summary(document, now)
            for document in sorted(documents, key=lambda document: document["from"], reverse=True)
            if (begin is None or _lasts_until(document, now) >= begin) and (end is None or document["from"] <= end)
        ]
        found = [one for one in found if cause in (None, one.cause) and status in (None, one.status)]
        scope: Scope = "instance" if stored is None else "all"
        return IncidentPage(scope, found[offset : offset + limit], more=len(found) > offset + limit)

    def _stored(
        self, begin: datetime | None, end: datetime | None, rows: Iterable[WorkerRow]
    ) -> list[dict[str, Any]] | None:
        """Of each its sums, and the parts that ``rows`` know better; the newest first."""
        database = self._answering()
        if database is None:
            return None
        touching: dict[str, Any] = {"to": {"$gte": begin - timedelta(seconds=LASTING)}} if begin else {}
        touching |= {"from": {"$lte": end}} if end else {}
        fields = dict.fromkeys(SHOWN, 1) | self.folds.parts_of(rows)
        try:
            with pymongo.timeout(LIMIT):
                # By the field that has an index: parts of many instances are too large to be sorted.
                found = list(database[INCIDENTS].find(touching, fields).sort("to", -1).limit(MOST))
                moved = [document["_id"] for document in found if document.get("moved")]
                whole = {one["_id"]: one for one in database[INCIDENTS].find({"_id": {"$in": moved}})} if moved else {}
        except UNANSWERED:
            return None
        return sound_incidents(whole.get(document["_id"], document) for document in found)


def _merge(documents: list[dict[str, Any]], rows: list[WorkerRow], key: str) -> None:
    """Let the journals say what they know more than MongoDB."""
    document = incident_of(rows, documents)
    if document is None:
        begun = min(rows, key=lambda row: row.part.begin)
        part = folded(None, rows)
        document = {"_id": begun.part.id, "cause": begun.part.cause, "from": part.from_, "to": part.to}
        documents.append(document)
    for name, own in by_key(rows, document, key).items():
        before = part_in(document, name)
        part = folded(before, own)
        known = before.counts if before is not None else {}
        counts = document.get("counts", {})
        document["counts"] = {
            each: counts.get(each, 0) + part.counts.get(each, 0) - known.get(each, 0) for each in COUNTED
        }
        document["workers"] = document.get("workers", 0) + part.workers - (before.workers if before else 0)
        document["instances"] = {*document.get("instances", ()), *part.instances}
        document["releases"] = {*document.get("releases", ()), *part.releases}
        document["lasting"] = ({*document.get("lasting", ())} - {name}) | ({name} if part.open else set())
        document["from"], document["to"] = min(document["from"], part.from_), max(document["to"], part.to)
        document["moved"] = document.get("moved") or part.moved
        document["parts"] = {**document.get("parts", {}), name: part.to_document()}


def _lasts_until(document: Mapping[str, Any], now: float) -> datetime:
    """Its end, or now, if an instance that was heard of lately has said that it lasts."""
    end: datetime = document["to"]
    until = datetime.fromtimestamp(now, end.tzinfo)
    return max(end, until) if document.get("lasting") and (until - end).total_seconds() < LASTING else end


def _extent(document: Mapping[str, Any]) -> tuple[datetime, datetime, float]:
    """From when to when, and for how many seconds: of workers whose clock was set meanwhile, what the longest has seen."""
    begin, end = document["from"], document["to"]
    if not document.get("moved"):
        return begin, end, (end - begin).total_seconds()
    found = (part_in(document, key) for key in document.get("parts", {}))
    parts: list[InstancePart] = [part for part in found if part is not None]
    begin = min((part.from_ for part in parts), default=begin)
    end = max((part.to for part in parts), default=end)
    return begin, max(begin, end), max((part.seconds for part in parts), default=0.0)


def _summary(document: Mapping[str, Any], now: float) -> Incident:
    begin, end, seconds = _extent(document)
    counts = document.get("counts", {})
    lasts = LASTING if document.get("lasting") else GAP
    return Incident(
        id=str(document["_id"]),
        cause=document["cause"],
        status="open" if -AHEAD < now - end.timestamp() < lasts else "closed",
        from_=begin,
        to=end,
        seconds=round(seconds, 1),
        **{name: counts.get(name, 0) for name in COUNTED},
        workers=document.get("workers", 0),
        instances=sorted(document.get("instances", ())),
        releases=sorted(document.get("releases", ())),
    )
