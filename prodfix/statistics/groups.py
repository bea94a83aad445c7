"""Errors of one kind as one thing that an admin works on: first and last seen, in which releases, resolved, and back again.

A group is what has one fingerprint. How often it happened comes from the counts of the window that is asked for; what
outlives them stands in ``error_groups``, written so that writing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import pymongo
from pymongo import IndexModel, UpdateOne
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen, mutable
from prodfix.statistics.counts import OTHER, RELEASES, ErrorKey, Seen
from prodfix.statistics.windows import Counted, Window

ERROR_GROUPS = "error_groups"
RETENTION = timedelta(days=90)  # since it was last seen
KNOWN = 2_000  # groups whose last moment a worker remembers
MOST = 1_000  # groups that are told apart in one answer
LIMIT = 3.0  # seconds

GroupState = Literal["open", "resolved", "regressed", "unknown"]


@frozen
class GroupSummary(Serializable):
    """One kind of error in a window. ``status`` is unknown while MongoDB cannot tell."""

    fingerprint: str
    message: str
    category: str
    count: Annotated[int, Description("Within the window")]
    first_seen: datetime
    last_seen: datetime
    releases: list[str]
    devices: dict[str, int]
    endpoints: dict[str, int]
    status: GroupState
    resolved_by: str | None
    resolved_at: datetime | None


@mutable
class Group:
    """The same while it is put together."""

    fingerprint: str
    title: str
    category: str
    seen: Seen
    devices: dict[str, int] = field(default_factory=dict)
    endpoints: dict[str, int] = field(default_factory=dict)
    status: GroupState = "unknown"
    first: float | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None

    def add(self, key: ErrorKey, seen: Seen) -> None:
        self.seen.add(seen)
        for counts, name in ((self.devices, key.device), (self.endpoints, key.endpoint)):
            counts[name] = counts.get(name, 0) + seen.count

    def summary(self) -> GroupSummary:
        return GroupSummary(
            fingerprint=self.fingerprint,
            message=self.title,
            category=self.category,
            count=self.seen.count,
            first_seen=_moment(min(self.seen.first, self.first or self.seen.first)),
            last_seen=_moment(self.seen.last),
            releases=sorted(self.seen.releases),
            devices=self.devices,
            endpoints=self.endpoints,
            status=self.status,
            resolved_by=self.resolved_by,
            resolved_at=self.resolved_at,
        )


class Groups:
    """What is known of groups in MongoDB. ``on_regression`` is told of a resolved group that is back, once over all workers."""

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        on_regression: Callable[[Mapping[str, Any]], None] = lambda group: None,
    ) -> None:
        self._answering = answering
        self.on_regression = on_regression
        self._known: dict[tuple[str, frozenset[str]], tuple[float, float]] = {}

    def indexes(self) -> list[IndexModel]:
        seconds = int(RETENTION.total_seconds())
        return [IndexModel([("lastSeen", -1)], name="prodfix_expiry", expireAfterSeconds=seconds)]

    def store(self, database: Database[Any], minutes: Iterable[Counted]) -> None:
        """Bring the groups of these minutes up to date. Raises what MongoDB says."""
        found = self._newer(minutes)
        if not found:
            return
        database[ERROR_GROUPS].bulk_write([change for one in found for change in _changes(*one)], ordered=True)
        # One question for all of them: few are resolved, and each question takes a round trip.
        asked = {
            "_id": {"$in": sorted({key.fingerprint for key, _ in found})},
            "resolvedAt": {"$ne": None},
            "regressedAt": None,
        }
        resolved = {row["_id"] for row in database[ERROR_GROUPS].find(asked, {"_id": 1})}
        for key, seen in found:
            if key.fingerprint in resolved:
                self._tell_if_back(database, key.fingerprint, seen)
            self._remember(key.fingerprint, seen)

    def _newer(self, minutes: Iterable[Counted]) -> list[tuple[ErrorKey, Seen]]:
        """By fingerprint and release, what happened since it was last stored: a minute's totals come again with each change
        of it."""
        found: dict[tuple[str, frozenset[str]], tuple[ErrorKey, Seen]] = {}
        for minute in minutes:
            for *parts, count, first, last, releases in minute.errors:
                key, seen = ErrorKey(*parts), Seen(count, first, last, frozenset(releases))
                kind = (key.fingerprint, seen.releases)
                known = self._known.get(kind)
                if key.fingerprint == OTHER or (known is not None and known[0] <= first and last <= known[1]):
                    continue
                if kind in found:
                    found[kind][1].add(seen)
                else:
                    found[kind] = (key, seen)
        return list(found.values())

    def _remember(self, fingerprint: str, seen: Seen) -> None:
        if len(self._known) >= KNOWN:
            self._known.clear()  # storing again changes nothing
        known = self._known.get((fingerprint, seen.releases), (seen.first, seen.last))
        self._known[(fingerprint, seen.releases)] = min(known[0], seen.first), max(known[1], seen.last)

    def _tell_if_back(self, database: Database[Any], fingerprint: str, seen: Seen) -> None:
        """An error after the group was resolved, in a release that was not there when it was: only the first to say so wins."""
        back = {
            "_id": fingerprint,
            "resolvedAt": {"$lt": _moment(seen.last)},
            "regressedAt": None,
            "resolvedReleases": {"$nin": sorted(seen.releases)} if seen.releases else {"$exists": True},
        }
        changed = database[ERROR_GROUPS].find_one_and_update(back, {"$set": {"regressedAt": _moment(seen.last)}})
        if changed is not None:
            self.on_regression(
                {"fingerprint": fingerprint, "message": changed["title"], "releases": sorted(seen.releases)}
            )

    def resolve(self, fingerprint: str, window: Window, *, by: str, in_next_release: bool = False) -> bool:
        """Mark a group as done; whether there is one, in MongoDB or, since a moment ago, in ``window``. What comes back is a
        regression; with ``in_next_release`` only in a release that the group was not seen in yet. Raises what MongoDB says.
        """
        known: Any = "$releases" if in_next_release else {"$literal": []}
        now = datetime.now(UTC)
        fields = {"resolvedAt": now, "resolvedBy": {"$literal": by}, "regressedAt": None, "resolvedReleases": known}
        change = [{"$set": fields}]
        return self._change(fingerprint, change) or (
            self._introduce(fingerprint, window) and self._change(fingerprint, change)
        )

    def reopen(self, fingerprint: str) -> bool:
        """Take that back; whether there is such a group. Raises what MongoDB says."""
        fields = dict.fromkeys(("resolvedAt", "resolvedBy", "regressedAt", "resolvedReleases"), "")
        return self._change(fingerprint, {"$unset": fields})

    def _change(self, fingerprint: str, change: Any) -> bool:
        database = self._answering()
        if database is None:
            raise pymongo.errors.ServerSelectionTimeoutError("the database does not answer")
        with pymongo.timeout(LIMIT):
            return database[ERROR_GROUPS].update_one({"_id": fingerprint}, change).matched_count > 0

    def _introduce(self, fingerprint: str, window: Window) -> bool:
        """Store a group before the background does; whether the window has it."""
        found = [(key, seen) for key, seen in window.counts.errors.items() if key.fingerprint == fingerprint]
        database = self._answering()
        if database is not None and found:
            with pymongo.timeout(LIMIT):
                database[ERROR_GROUPS].bulk_write([change for one in found for change in _changes(*one)], ordered=True)
        return bool(found)

    def page(
        self,
        window: Window,
        *,
        status: GroupState | None = None,
        category: str | None = None,
        limit: int = MOST,
        offset: int = 0,
    ) -> tuple[list[GroupSummary], int]:
        """Groups of a window, the most frequent first, and how many there are in all. Of more than :data:`MOST` the rare ones
        are left out. Never raises for a database that is down.
        """
        ordered = sorted(_of(window).values(), key=lambda group: (-group.seen.count, group.fingerprint))
        if category is not None:
            ordered = [group for group in ordered if group.category == category]
        if status is None:
            chosen = ordered[offset : min(offset + limit, MOST)]
            self._know(chosen)
            return [group.summary() for group in chosen], min(len(ordered), MOST)
        chosen = ordered[:MOST]
        self._know(chosen)
        found = [group.summary() for group in chosen if group.status == status]
        return found[offset : offset + limit], len(found)

    def find(self, fingerprint: str, window: Window) -> GroupSummary | None:
        """One group: as often as it happened in ``window``, which may be never. None if nobody knows it."""
        group = _of(window).get(fingerprint)
        if group is not None:
            self._know([group])
            return group.summary()
        for document in self._stored([fingerprint]) or ():
            first, last = document["firstSeen"].timestamp(), document["lastSeen"].timestamp()
            seen = Seen(0, first, last, frozenset(document.get("releases", ())))
            group = Group(fingerprint, document["title"], document["category"], seen, status=_status(document))
            return group.summary()
        return None

    def _know(self, groups: Sequence[Group]) -> None:
        """Add what MongoDB knows of them."""
        stored = self._stored([group.fingerprint for group in groups])
        if stored is None:
            return
        known = {document["_id"]: document for document in stored}
        for group in groups:
            document = known.get(group.fingerprint)
            group.status = _status(document) if document else "open"  # also what MongoDB is about to hear of
            if document:
                group.first = document["firstSeen"].timestamp()
                group.resolved_by, group.resolved_at = document.get("resolvedBy"), document.get("resolvedAt")

    def _stored(self, fingerprints: Sequence[str]) -> list[dict[str, Any]] | None:
        database = self._answering()
        if database is None:
            return None
        try:
            with pymongo.timeout(LIMIT):
                return list(database[ERROR_GROUPS].find({"_id": {"$in": list(fingerprints)}}))
        except UNANSWERED:
            return None


def _of(window: Window) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    for key, seen in window.counts.errors.items():
        group = groups.get(key.fingerprint)
        if group is None:
            nothing = Seen(0, seen.first, seen.last, frozenset())
            group = groups[key.fingerprint] = Group(key.fingerprint, key.title, key.category, nothing)
        group.add(key, seen)
    return groups


def _status(document: Mapping[str, Any]) -> GroupState:
    if document.get("resolvedAt") is None:
        return "open"
    return "regressed" if document.get("regressedAt") else "resolved"


def _changes(key: ErrorKey, seen: Seen) -> Iterable[UpdateOne]:
    times = {"$min": {"firstSeen": _moment(seen.first)}, "$max": {"lastSeen": _moment(seen.last)}}
    yield UpdateOne(
        {"_id": key.fingerprint},
        {**times, "$setOnInsert": {"title": key.title, "category": key.category, "releases": []}},
        upsert=True,
    )
    for release in sorted(seen.releases):
        missing = {"_id": key.fingerprint, "releases": {"$ne": release}}
        yield UpdateOne(missing, {"$push": {"releases": {"$each": [release], "$slice": -RELEASES}}})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
