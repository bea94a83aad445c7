"""From the journals of an instance into MongoDB: one part of each incident, by one worker for all, every ten seconds at most.

A part is changed only if it is as it was read (``revision``), and with it, in the same document and so at once, the sums over
all instances: whoever else stored it meanwhile, and whoever was killed where, nothing is in them twice.

======================================== =====================================================================
what happened                            what is left, and who goes on
======================================== =====================================================================
the leader is killed before the update   the rows in the journals; the next leader, within ten seconds
it is killed after it                    the same: the next one finds that all of it is known
the answer of the update was lost        the same
the leader is stopped, and keeps its     whoever has rows that are old and not stored stores them itself; what the leader
lock                                     does when it wakes up is refused by its revision, or known
a worker is killed                       its rows, which another one adopts under their own names
the disk never worked                    no lock, and no name of the instance: each worker stores its own part, under its boot
======================================== =====================================================================
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import bson
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.incidents.instance_part import (
    WorkerRow,
    changeable,
    folded,
    moment,
    part_in,
    sound_incidents,
    together,
    worker_rows,
)
from prodfix.incidents.observed import COUNTED, FOLLOWED, GAP
from prodfix.journal.instance_identity import InstanceIdentity
from prodfix.journal.journal import Journal, Statement
from prodfix.journal.leadership import Leadership

INCIDENTS = "incidents"
HEADS = "incident_heads"
LEADER = "incidents.leader"

PAUSE = 3.0  # seconds between two calls after which all instances may have waited for the same
PERIOD = 10.0  # seconds between two updates of one document by one instance
SETTLED = 25.0  # seconds after its end until an incident is summed up: the last instance has stored its part after two periods
OLD = FOLLOWED + SETTLED  # seconds after its end in which a part may still change
REST = (300.0, 600.0)  # seconds from one look for what nobody has summed up to the next, without an incident of our own
TRIES = 3  # of a worker that ends, while others do
NEAR = 20  # incidents that a part may belong to
MOST_PARTS = 2000  # of one incident; further instances, or starts of one without a disk, begin another one

ROWS = "SELECT revision, entry FROM incidents"


def alone(boot: str) -> str:
    """The key of the part of a worker that stores for itself."""
    return f"~{boot}"


class IncidentFolds:
    """What one worker stores. ``summed_up`` is given each incident that is over, once over all workers and instances."""

    def __init__(
        self,
        journal: Journal,
        summed_up: Callable[[Mapping[str, Any]], None],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._journal, self._summed_up = journal, summed_up
        self._clock, self._monotonic, self._chance = clock, monotonic, chance
        self.identity = InstanceIdentity(journal)
        self._leadership = Leadership(journal, LEADER)
        self._due = self._called = self._hold = -math.inf
        self._spread = False
        self._look_at = 0.0  # when the next incident may be over
        self._known: dict[str, int] = {}  # revisions that are stored
        self._forget_at = 0.0

    def tick(self, database: Database[Any]) -> None:
        """Called each second while MongoDB answers, or less often while nothing changes.

        Raises what MongoDB says; the next period goes on.
        """
        now, before = self._monotonic(), self._called
        self._called = now
        if now - before > PAUSE and not self._spread:
            # It rested, or MongoDB was away: then all instances begin again at the same moment. Workers of one wait equally long:
            # of eight that drew lots the first would be early in nearly every instance.
            self._hold, self._spread = now + self._share() * PERIOD, True
            return
        # Who is called seldom is spread by that, and would be put off each time.
        if now < self._due or (now < self._hold and now - before <= PAUSE):
            return
        self._due, self._spread = now + PERIOD, False
        if self.identity.made() is None or self._leadership.taken():
            self.fold(database)
            self.sum_up(database)
        self._forget(database)

    def _share(self) -> float:
        """Of a period: the same for all workers of an instance, and any for another one."""
        name = self.identity.made()
        return int(name, 16) / 16 ** len(name) if name is not None else self._chance(0.0, 1.0)

    def finish(self, database: Database[Any]) -> None:
        """This worker ends: what its instance's rows count is stored, unless it is already. Raises what MongoDB says."""
        try:
            for _ in range(TRIES):
                if self.fold(database, counts_only=True):
                    break
        finally:
            self._leadership.give()

    def fold(self, database: Database[Any], *, counts_only: bool = False) -> bool:
        """Store what the journals know more than MongoDB; whether nobody else was faster."""
        rows = self._rows()
        self._known = {row.part.id: self._known[row.part.id] for row in rows if row.part.id in self._known}
        changed = (
            group for group in together(rows) if any(row.revision > self._known.get(row.part.id, 0) for row in group)
        )
        return all([self._put(database, group, counts_only=counts_only) for group in changed])

    def _rows(self) -> list[WorkerRow]:
        """Of the instance; of this worker alone while it has no name."""
        name = self.identity.read()
        return worker_rows(self._journal.read_own(ROWS) if name is None else self._journal.read(ROWS))

    def _put(self, database: Database[Any], rows: Sequence[WorkerRow], *, counts_only: bool = False) -> bool:
        document = incident_of(rows, self._candidates(database, rows))
        if document is None or (document.get("members", 0) >= MOST_PARTS and not self._in(document, rows)):
            full = document["_id"] if document is not None else None
            document = {"_id": _head(database, rows, full)}
        stored = True
        for key, own in by_key(rows, document, self.key()).items():
            if _update(database, document, key, own, counts_only=counts_only):
                self._known |= {row.part.id: row.revision for row in own}
                self._look_at = min(self._look_at, max(row.part.end for row in own) + SETTLED)
            else:
                stored = False
        return stored

    def _candidates(self, database: Database[Any], rows: Sequence[WorkerRow]) -> list[dict[str, Any]]:
        fields = {**dict.fromkeys(("cause", "from", "to", "members", "workers", "counts"), 1), **self.parts_of(rows)}
        # What has moved with the clock is no longer where it was stored.
        wanted = {"cause": rows[0].part.cause} if any(row.part.moved for row in rows) else _near(rows)
        found = database[INCIDENTS].find(wanted, fields).sort("to", -1).limit(NEAR)
        return sound_incidents(document for document in found if changeable(document))

    def key(self) -> str:
        """Under which this worker's instance, or it alone, has its part."""
        return self.identity.read() or alone(self._journal.boot)

    def parts_of(self, rows: Iterable[WorkerRow]) -> dict[str, int]:
        """The projection of the parts in which these rows may be."""
        return dict.fromkeys((f"parts.{key}" for key in (self.key(), *_boots(rows))), 1)

    def _in(self, document: Mapping[str, Any], rows: Sequence[WorkerRow]) -> bool:
        return all(key in document.get("parts", {}) for key in by_key(rows, document, self.key()))

    # -- what is over -------------------------------------------------------------------------------------------------------

    def sum_up(self, database: Database[Any]) -> None:
        """Tell what is over. Without an incident nothing is asked, but now and then for what a whole instance left behind."""
        now = self._clock()
        if now < self._look_at <= now + REST[1]:  # later than that means that the clock was put back
            return
        over = {"publishedAt": None, "to": {"$lt": moment(now - SETTLED)}}
        while (found := database[INCIDENTS].find_one(over, {"moved": 1})) is not None:
            told = {"$set": {"publishedAt": moment(now)}}
            shown = None if found.get("moved") else {"parts": 0}
            document = database[INCIDENTS].find_one_and_update({"_id": found["_id"], **over}, told, shown)
            for one in sound_incidents([document] if document is not None else []):
                self._summed_up(one)
        # What another instance has prolonged meanwhile is over later than our part of it.
        timed = {"publishedAt": None, "to": {"$gt": moment(0)}}
        open_one = database[INCIDENTS].find_one(timed, {"to": 1}, sort=[("to", 1)])
        due = open_one["to"].timestamp() + SETTLED if open_one else math.inf
        self._look_at = min(max(due, now), now + random.uniform(*REST))

    # -- what nobody changes any more ---------------------------------------------------------------------------------------

    def _forget(self, database: Database[Any]) -> None:
        """Remove old rows of this worker that MongoDB knows, and store those that it does not know after all this time."""
        now = self._clock()
        if now < self._forget_at <= now + OLD + PERIOD:
            return
        rows = worker_rows(self._journal.read_own(ROWS))
        old = [row for row in rows if row.part.end < now - OLD]
        self._forget_at = min([now + OLD, *(row.part.end + OLD for row in rows)]) + self._chance(0.0, PERIOD)
        done: list[Statement] = []
        for group in together(old):
            self._put(database, group)
            done += [
                ("DELETE FROM incidents WHERE id = ? AND revision <= ?", (row.part.id, row.revision))
                for row in group
                if self._known.get(row.part.id, 0) >= row.revision
            ]
        if done:
            self._journal.write(done)
            for row in old:
                self._known.pop(row.part.id, None)


def incident_of(rows: Sequence[WorkerRow], documents: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that knows one of these rows, else the first that is near in time."""
    cause, begin, end = rows[0].part.cause, *_extent(rows)
    for document in documents:
        if any((part := part_in(document, key)) is not None and part.has(rows) for key in document.get("parts", {})):
            return document
    for document in documents:
        apart = max((begin - document["to"]).total_seconds(), (document["from"] - end).total_seconds())
        if document["cause"] == cause and apart <= GAP:
            return document
    return None


def by_key(rows: Sequence[WorkerRow], document: Mapping[str, Any], key: str) -> dict[str, list[WorkerRow]]:
    """The rows by the part of ``document`` that they belong to: a worker that has begun to store for itself has its own."""
    found: dict[str, list[WorkerRow]] = {}
    parts = document.get("parts", {})
    for row in rows:
        own = alone(row.part.boot)
        found.setdefault(own if own in parts else key, []).append(row)
    return found


def _boots(rows: Iterable[WorkerRow]) -> list[str]:
    return sorted({alone(row.part.boot) for row in rows})


def _extent(rows: Sequence[WorkerRow]) -> tuple[datetime, datetime]:
    return moment(min(row.part.begin for row in rows)), moment(max(row.part.end for row in rows))


def _near(rows: Sequence[WorkerRow]) -> dict[str, Any]:
    late = moment(min(row.part.begin for row in rows) - GAP)
    early = moment(max(row.part.end for row in rows) + GAP)
    return {"cause": rows[0].part.cause, "from": {"$lte": early}, "to": {"$gte": late}}


def _update(
    database: Database[Any], document: Mapping[str, Any], key: str, rows: Sequence[WorkerRow], *, counts_only: bool
) -> bool:
    """Whether MongoDB knows all of it now; it does not if another one has changed this part meanwhile."""
    before = part_in(document, key)
    part = folded(before, rows)
    changed = {name: part.counts.get(name, 0) - (before.counts.get(name, 0) if before else 0) for name in COUNTED}
    if before is not None and (before.knows(rows) or (counts_only and not any(changed.values()))):
        return True
    sums = {f"counts.{name}": number for name, number in changed.items() if number}
    sums |= {"workers": part.workers - (before.workers if before else 0), "members": int(before is None)}
    seen: dict[str, Any] = {"instances": {"$each": part.instances}, "releases": {"$each": part.releases}}
    changes: dict[str, Any] = {
        "$min": {"from": part.from_},
        "$max": {"to": part.to},
        "$set": {"cause": rows[0].part.cause, f"parts.{key}": part.to_document()}
        | ({"moved": True} if part.moved else {}),
        "$inc": sums,
        "$addToSet": seen | ({"lasting": key} if part.open else {}),
        "$setOnInsert": {"publishedAt": None},
    }
    if not part.open and before is not None:
        changes["$pull"] = {"lasting": key}
    as_read = {f"parts.{key}.revision": before.revision} if before else {f"parts.{key}": {"$exists": False}}
    try:
        result = database[INCIDENTS].update_one({"_id": document["_id"], **as_read}, changes, upsert=before is None)
    except DuplicateKeyError:
        return False
    return bool(result.matched_count or result.upserted_id is not None)


def _head(database: Database[Any], rows: Sequence[WorkerRow], full: Any) -> bson.ObjectId:
    """The incident that this part begins, unless another instance has just begun it: decided in one document, atomically.

    ``full``: one that takes no more parts.
    """
    begin, end = _extent(rows)
    late = moment(min(row.part.begin for row in rows) - GAP)
    early = moment(max(row.part.end for row in rows) + GAP)
    fits = {"$and": [{"$gte": ["$to", late]}, {"$lte": ["$from", early]}, {"$ne": ["$incident", full]}]}
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
    wanted = {"_id": rows[0].part.cause}
    with contextlib.suppress(
        DuplicateKeyError
    ):  # of two upserts at once one may be refused (manual: upsert with unique index)
        database[HEADS].update_one(wanted, {"$setOnInsert": {"incident": None}}, upsert=True)
    head: Any = database[HEADS].find_one_and_update(wanted, change, return_document=ReturnDocument.AFTER)
    identity: bson.ObjectId = head["incident"]
    return identity
