"""Keeps what is ours in MongoDB within its bounds: one worker of all instances at a time, about once a minute, none when idle.

Who has stored something looks at one document, ``error_sampling``. It names the worker that keeps the bounds now, and until when;
that one measures, thins the kinds of which there is too much, and writes down from which level on records are kept
(:mod:`prodfix.records.sampling`), for all that store. If it dies another one is the keeper a few minutes later; if two of them
work at once, they remove the same records.

Counts, groups, incidents and all else that is ours count for the bound, but only records are thinned.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pymongo
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.synchronous.database import Database

from prodfix.deferral.throttle import Throttle
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.records.sampling import Sampling, thinned
from prodfix.slotted import frozen

ERROR_SAMPLING = "error_sampling"
IDENTITY = "keeper"
TOUCHED = "touched"  # another document of the same collection, for who asks whether anything is taken

ROUND = 60.0  # seconds from one look to the next
LONGER = 50  # times as long as a round took, at least: where the server counts by reading, that is dear
LEASE = timedelta(seconds=300)
LIMIT = 5.0  # seconds for each command
WORK = 10.0  # seconds of one round
AT_ONCE = 200  # documents of one delete
AT_A_LOOK, MOST_AT_A_LOOK = 50, 20_000  # kinds whose records are looked at together, and records
REMEMBERED = 600.0  # seconds for which the size of all that is no record is not asked for again
ENOUGH = 0.8  # of the bound, to which records are thinned once it is reached
AGAIN = 0.5  # of it, below which more may be sent again
DEFAULT_SHARE, DEFAULT_MOST, DEFAULT_UNKNOWN = 0.05, 100, 25  # of the disk; megabytes; where nobody tells: of 512 MB
FREE_SHARE = 0.02  # of the disk that is left to the application: with less of it we stop
INDEX_BYTES = 440  # of one record, in all indexes of its collection
LEAST = 2  # records of a kind: its first and its last
MOST_KINDS = 1_000  # whose levels are written down
MEGABYTE = 1024 * 1024


@frozen
class Kept:
    """What was found: ``records`` in MongoDB, ``bytes`` of all that is ours and how many it may have. ``disk_full``: so little is
    left of the disk that our writing must stop. ``at``: when it was found."""

    records: int = 0
    bytes: int = 0
    max_bytes: int = 0
    disk_full: bool = False
    at: datetime | None = None


class Keeper:
    """``name`` is this worker's; ``collections`` are all that are ours. ``work`` is called by who has stored something."""

    def __init__(
        self,
        name: Callable[[], str],
        sampling: Sampling,
        throttle: Throttle,
        *,
        keep: int,
        max_mb: int | None,
        collections: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name, self._sampling, self._throttle = name, sampling, throttle
        self._keep, self._max_mb, self._collections = keep, max_mb, collections
        self._clock, self._now = clock, now
        self._due = 0.0
        self._wanted, self._seen = False, None
        self._counted = -1
        self._others, self._others_at = 0, -REMEMBERED
        self.kept: Kept | None = None
        self.failing: str | None = None
        """Why the bounds cannot be kept."""

    def work(self, database: Database[Any], *, stored: bool) -> None:
        """Learn what is kept, and keep the bounds if nobody else does, once a minute after something was ``stored``. Raises what
        MongoDB says."""
        self._wanted = self._wanted or stored
        begun = self._clock()
        if not self._wanted or begun < self._due:
            return
        self._due = begun + ROUND  # whatever comes of it
        try:
            self._work(database, begun)
            self.failing = None
        except OperationFailure as error:  # of a user who may write, and not measure or remove
            self.failing = f"{type(error).__name__} (code {error.code})"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.failing = type(error).__name__  # somebody else's document, or one of another release
        self._sampling.forget()

    def _work(self, database: Database[Any], begun: float) -> None:
        with pymongo.timeout(LIMIT):
            known = database[ERROR_SAMPLING].find_one({"_id": IDENTITY}) or {}
            self._learn(known)
            mine = self._leads(database, known)
        if mine:
            done = self._keep_bounds(database, known)
            rest = max(ROUND, LONGER * (self._clock() - begun)) if done else ROUND / 6
            self._due = self._clock() + rest * random.uniform(0.9, 1.1)
            self._wanted = not done
        elif known.get("at") != self._seen:
            self._seen, self._wanted = known.get("at"), False  # the one that does has looked meanwhile

    def touch(self, database: Database[Any]) -> None:
        """Write what nobody reads. Raises what MongoDB says, if it takes nothing of ours."""
        database[ERROR_SAMPLING].update_one({"_id": TOUCHED}, {"$set": {"at": self._now()}}, upsert=True)

    def full(self, database: Database[Any]) -> bool:
        """Whether the disk was found to be full but for a little, and still is. Raises what MongoDB says."""
        if self.kept is not None and self.kept.disk_full:
            bound, full = self._bound(database)
            self.kept = Kept(self.kept.records, self.kept.bytes, bound, full, self.kept.at)
        return self.kept is not None and self.kept.disk_full

    # -- who keeps ------------------------------------------------------------------------------------------------------------

    def _learn(self, known: Mapping[str, Any]) -> None:
        levels = {one["kind"]: int(one["level"]) for one in known.get("levels", ())}
        self._sampling.agree(levels, int(known.get("floor", 0)))
        self.kept = kept_of(known) or self.kept

    def _leads(self, database: Database[Any], known: Mapping[str, Any]) -> bool:
        """Whether this worker keeps the bounds now. A lease that ends too late was written under another clock."""
        now, name = self._now(), self._name()
        free = {"$or": [{"holder": name}, {"until": {"$not": {"$gte": now, "$lte": now + 2 * LEASE}}}]}
        lease = {"holder": name, "until": now + LEASE}
        if not known:
            try:
                database[ERROR_SAMPLING].insert_one({"_id": IDENTITY, **lease})
            except DuplicateKeyError:
                return False
            return True
        until = known.get("until")
        lasts = isinstance(until, datetime) and now <= until.replace(tzinfo=UTC) <= now + 2 * LEASE
        held = known.get("holder") != name and lasts
        return not held and bool(
            database[ERROR_SAMPLING].update_one({"_id": IDENTITY, **free}, {"$set": lease}).modified_count
        )

    # -- the bounds -----------------------------------------------------------------------------------------------------------

    def _keep_bounds(self, database: Database[Any], known: Mapping[str, Any]) -> bool:
        """Whether all is done."""
        end = self._clock() + WORK
        records, each, others = self._measured(database)
        bound, full = self._bound(database)
        total = others + records * each
        levels = {one["kind"]: int(one["level"]) for one in known.get("levels", ())}
        floor, keep, done = int(known.get("floor", 0)), self._keep, True
        if total > bound or records != self._counted:
            counts, room = dict(_counts(database)), math.inf
            if total > bound:
                room = int(max(bound * ENOUGH - others, bound * (1 - ENOUGH)) / max(1, each))
                keep, floor = self._fitting(counts.values(), room)
            done = self._thin_kinds(database, counts, keep, levels, end)
            # Others store meanwhile: what has been found to fit, and has grown since, is no reason that any of it goes.
            done = done and self._thin_oldest(database, room, end)
            records = _size(database, ERROR_LOG)[0]
        if total < bound * AGAIN:
            floor = max(0, floor - 1)
        self._counted = records if done else -1
        self.kept = Kept(records, int(others + records * each), bound, full, self._now())
        self._tell(database, levels, floor)
        return done

    def _fitting(self, counts: Iterable[int], room: float) -> tuple[int, int]:
        """How many of each kind there is ``room`` for, and how often that is half of what is wanted."""
        keep, floor, counts = self._keep, 0, list(counts)
        while keep > LEAST and sum(min(count, keep) for count in counts) > room:
            keep, floor = max(LEAST, keep // 2), floor + 1
        return keep, floor

    def _tell(self, database: Database[Any], levels: Mapping[str, int], floor: int) -> None:
        assert self.kept is not None
        highest = sorted(levels.items(), key=lambda one: -one[1])[:MOST_KINDS]
        told = {
            "levels": [{"kind": kind, "level": level} for kind, level in highest if level > 0],
            "floor": floor,
            "records": self.kept.records,
            "bytes": self.kept.bytes,
            "maxBytes": self.kept.max_bytes,
            "diskFull": self.kept.disk_full,
            "at": self.kept.at,
        }
        with pymongo.timeout(LIMIT):
            database[ERROR_SAMPLING].update_one({"_id": IDENTITY}, {"$set": told})
        self._sampling.agree(dict(highest), floor)

    def _measured(self, database: Database[Any]) -> tuple[int, float, int]:
        """How many records there are, the bytes of each, and the bytes of all else that is ours."""
        count, size, indexes = _size(database, ERROR_LOG)
        # Files of indexes do not shrink when what is in them goes, but take new entries in its place.
        each = (size + min(indexes, count * INDEX_BYTES)) / count if count else 0.0
        if self._clock() - self._others_at >= REMEMBERED:
            self._others = sum(sum(_size(database, name)[1:]) for name in self._collections if name != ERROR_LOG)
            self._others_at = self._clock()
        return count, each, self._others

    def _bound(self, database: Database[Any]) -> tuple[int, bool]:
        """How many bytes all that is ours may have, and whether the disk is full but for a little."""
        with pymongo.timeout(LIMIT):
            try:
                stats = database.command("dbStats")
            except OperationFailure:  # not allowed
                stats = {}
        disk, used = (float(stats.get(name) or 0) for name in ("fsTotalSize", "fsUsedSize"))
        full = disk > 0 and disk - used < disk * FREE_SHARE
        if self._max_mb is not None:
            return self._max_mb * MEGABYTE, full
        share = disk * DEFAULT_SHARE if disk else DEFAULT_UNKNOWN * MEGABYTE
        return int(min(share, DEFAULT_MOST * MEGABYTE)), full

    # -- thinning -------------------------------------------------------------------------------------------------------------

    def _thin_kinds(
        self, database: Database[Any], counts: Mapping[str, int], keep: int, levels: dict[str, int], end: float
    ) -> bool:
        """Of each kind ``keep`` at most; whether there was time for all of them. Those with few may be sent again."""
        for kind in [kind for kind in levels if counts.get(kind, 0) < keep // 2]:
            levels[kind] -= 1
        many = [kind for kind, count in counts.items() if count > keep]
        while many and self._clock() < end:
            some = many[:AT_A_LOOK] if counts[many[0]] * AT_A_LOOK <= MOST_AT_A_LOOK else many[:1]
            self._thin(database, some, max(LEAST, keep * 3 // 4), levels, end)
            many = many[len(some) :]
        return not many

    def _thin_oldest(self, database: Database[Any], room: float, end: float) -> bool:
        """All of them together ``room``: of too many kinds the oldest records go."""
        left = max(0, int(_size(database, ERROR_LOG)[0] - room)) if room < math.inf else 0
        while left > 0 and self._clock() < end:
            with pymongo.timeout(LIMIT):
                oldest = database[ERROR_LOG].find({}, {"_id": 1}).sort([("timestamp", 1), ("_id", 1)])
                gone = [one["_id"] for one in oldest.limit(min(left, AT_ONCE))]
            if not gone:
                return True
            self._delete(database, gone, end)
            left -= len(gone)
        return left <= 0

    def _thin(
        self, database: Database[Any], kinds: Sequence[str], keep: int, levels: dict[str, int], end: float
    ) -> None:
        """To somewhat fewer than there may be, so that it need not be done again at once. Of the index alone, too."""
        wanted = {"_id": 1, "timestamp": 1, "fingerprint": 1}
        with pymongo.timeout(LIMIT):
            found = list(database[ERROR_LOG].find({"fingerprint": {"$in": list(kinds)}}, wanted))
        found.sort(key=lambda one: (one["fingerprint"], one["timestamp"], one["_id"]))
        gone: list[Any] = []
        for kind, documents in groupby(found, key=lambda one: str(one["fingerprint"])):
            some, levels[kind] = thinned(list(documents), keep, at_least=max(0, levels.get(kind, 0)))
            gone += some
        self._delete(database, gone, end)

    def _delete(self, database: Database[Any], identities: Sequence[Any], end: float) -> None:
        """A few at a time, as the throttle says. What there is no time for goes the next time."""
        start = 0
        while start < len(identities) and self._clock() < end:
            some = list(identities[start : start + min(AT_ONCE, self._throttle.size())])
            with self._throttle.batch(len(some)), pymongo.timeout(LIMIT), self._throttle.command():
                database[ERROR_LOG].delete_many({"_id": {"$in": some}})
            start += len(some)


def kept_of(known: Mapping[str, Any]) -> Kept | None:
    """What the document of the bounds says was found; None if nothing was yet."""
    if "bytes" not in known:
        return None
    at, full = known.get("at"), bool(known.get("diskFull"))
    at = at.replace(tzinfo=UTC) if isinstance(at, datetime) else None
    return Kept(known.get("records", 0), known["bytes"], known.get("maxBytes", 0), full, at)


def _counts(database: Database[Any]) -> list[tuple[str, int]]:
    """How many records there are of each kind, the most frequent first: of the index alone, no record is read."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"fingerprint": {"$gt": ""}}},
        {"$group": {"_id": "$fingerprint", "count": {"$sum": 1}}},
        {"$sort": {"count": -1}},
    ]
    with pymongo.timeout(LIMIT):
        return [(one["_id"], one["count"]) for one in database[ERROR_LOG].aggregate(pipeline)]


def _size(database: Database[Any], name: str) -> tuple[int, int, int]:
    """Documents of a collection, their bytes, and those of its indexes; nothing of one that is not there."""
    try:
        with pymongo.timeout(LIMIT):
            stats = database.command("collStats", name)
    except OperationFailure as error:
        if error.code != 26:  # NamespaceNotFound
            raise
        return 0, 0, 0
    count, size, indexes = (int(stats.get(name) or 0) for name in ("count", "size", "totalIndexSize"))
    return count, size, indexes
