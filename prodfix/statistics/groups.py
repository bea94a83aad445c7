"""Errors of one kind as one thing that an admin works on: first and last seen, in which releases, resolved, and back again.

A group is what has one fingerprint. How often it happened comes from the counts of the window that is asked for; what
outlives them stands in ``error_groups``, written so that writing it again changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import pymongo
from pymongo import IndexModel, ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.serialization import iso_of
from prodfix.statistics.counts import OTHER, RELEASES, ErrorKey, Seen, seen_of
from prodfix.statistics.decision_orders import DecisionOrders
from prodfix.statistics.further_kinds import FurtherKinds
from prodfix.statistics.group_summary import Group, GroupSummary, KindWords, moment
from prodfix.statistics.kinds import Kinds
from prodfix.statistics.known_groups import ERROR_GROUPS, LIMIT, KnownGroups
from prodfix.statistics.window import Counted, Window

__all__ = ["ERROR_GROUPS", "LIMIT", "Group", "GroupSummary", "Groups"]

ERROR_SAMPLING = "error_sampling"
KINDS_STATE = "kinds"  # the document there that says when groups were stored first, and looked at last
RETENTION = timedelta(days=90)  # since it was last seen
KNOWN = 2_000  # groups whose last moment a worker remembers
FRESH = 60.0  # seconds for which a group's last moment is not written again: answers have it from the counts
GRACE = timedelta(hours=1)  # after the first start of all, in which what is new is no news

Facts = Mapping[str, Any]
"""What is told of a kind: fingerprint, message, releases, and what else belongs to the event."""


class Known(NamedTuple):
    """What a worker remembers of a group and a release: what it has written, and until when it has asked whether it is back."""

    first: float
    last: float
    asked: float


class Groups(KnownGroups):
    """Those that are known, and how they come to be: stored, and told of.

    ``on_regression`` is told of a resolved group that is back, ``on_new_kind`` of one that nobody has seen before: each once over
    all workers and instances, by the one that has stored it first. ``on_further_kinds`` is told by category how many kinds are
    not told apart beside such new ones, and again if they are more. ``on_unignored``: what one was ignored until has come.
    """

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        kinds: Kinds | None = None,
        orders: DecisionOrders | None = None,
        on_regression: Callable[[Facts], None] = lambda group: None,
        on_new_kind: Callable[[Facts], None] = lambda group: None,
        on_early_kind: Callable[[Facts], None] = lambda group: None,
        on_further_kinds: Callable[[Mapping[str, int]], None] = lambda numbers: None,
        on_escalation: Callable[[Facts], None] = lambda group: None,
        on_unignored: Callable[[Facts], None] = lambda group: None,
        kinds_of: Callable[[str, Window], Collection[str]] = lambda user, window: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(answering, kinds=kinds, orders=orders, kinds_of=kinds_of, clock=clock)
        self.on_regression, self.on_new_kind, self.on_escalation = on_regression, on_new_kind, on_escalation
        self.on_early_kind, self.on_further_kinds = on_early_kind, on_further_kinds
        self.on_unignored = on_unignored
        self._further = FurtherKinds()
        self._known: dict[tuple[str, frozenset[str]], Known] = {}
        self._begun: float | None = None

    def indexes(self) -> list[IndexModel]:
        seconds = int(RETENTION.total_seconds())
        return [
            IndexModel([("lastSeen", -1)], name="prodfix_expiry", expireAfterSeconds=seconds),
            IndexModel([("watched", 1)], name="prodfix_watched", sparse=True),
        ]

    # -- storing ----------------------------------------------------------------------------------------------------------

    def store(self, database: Database[Any], minutes: Sequence[Counted]) -> None:
        """Bring the groups of these minutes up to date, with one bulk of what is news. Raises what MongoDB says."""
        self._store(database, minutes)
        if further := self._further.grown(minutes):
            self.on_further_kinds(further)

    def _store(self, database: Database[Any], minutes: Iterable[Counted]) -> None:
        found = self._newer(minutes)
        if not found:
            return
        words = self._words_of_news(found)
        changes = [change for one in found for change in self._news(*one, words)]
        if changes:
            result = database[ERROR_GROUPS].bulk_write(changes, ordered=True)
            for key, seen in found:
                self._remember(key.fingerprint, seen)
            self._tell_of_new(database, set((result.upserted_ids or {}).values()), found, words)
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
            kind = (key.fingerprint, seen.releases)
            if kind in self._known:
                self._known[kind] = self._known[kind]._replace(asked=max(self._known[kind].asked, seen.last))

    def _newer(self, minutes: Iterable[Counted]) -> list[tuple[ErrorKey, Seen]]:
        """By fingerprint and release, what happened since it was last asked for: a minute's totals come again with each change
        of it."""
        found: dict[tuple[str, frozenset[str]], tuple[ErrorKey, Seen]] = {}
        for minute in minutes:
            for row in minute.errors:
                key, seen = seen_of(row)
                kind = (key.fingerprint, seen.releases)
                known = self._known.get(kind)
                if key.fingerprint == OTHER or (
                    known is not None and known.first <= seen.first and seen.last <= known.asked
                ):
                    continue
                if kind in found:
                    found[kind][1].add(seen)
                else:
                    found[kind] = (key, seen)
        return list(found.values())

    def _words_of_news(self, found: Iterable[tuple[ErrorKey, Seen]]) -> Mapping[str, KindWords]:
        """The words of those that this worker has not written yet."""
        news = {key.fingerprint for key, seen in found if (key.fingerprint, seen.releases) not in self._known}
        return self._kinds.words(news) if self._kinds is not None else {}

    def _news(self, key: ErrorKey, seen: Seen, words: Mapping[str, KindWords]) -> Iterable[UpdateOne]:
        """What MongoDB must hear of it: a kind or a release that is new, an earlier first moment, a far later last one."""
        known = self._known.get((key.fingerprint, seen.releases))
        if known is None:
            return _changes(key, seen, words.get(key.fingerprint))
        if seen.first < known.first or seen.last >= known.last + FRESH:
            return [_change(key, seen)]
        return []

    def _remember(self, fingerprint: str, seen: Seen) -> None:
        kind = (fingerprint, seen.releases)
        known = self._known.get(kind)
        if known is None:
            if len(self._known) >= KNOWN:
                self._known.clear()  # storing again changes nothing
            self._known[kind] = Known(seen.first, seen.last, -math.inf)
        elif seen.first < known.first or seen.last >= known.last + FRESH:
            self._known[kind] = Known(min(known.first, seen.first), max(known.last, seen.last), known.asked)

    def introduce(self, fingerprint: str, window: Window) -> bool:
        """Store a group before the background does; whether the window has it."""
        found = [(key, seen) for key, seen in window.counts.errors.items() if key.fingerprint == fingerprint]
        database = self._answering()
        if database is not None and found:
            words = self._words_of_news(found)
            changes = [change for key, seen in found for change in _changes(key, seen, words.get(fingerprint))]
            with pymongo.timeout(LIMIT):
                result = database[ERROR_GROUPS].bulk_write(changes, ordered=True)
                self._tell_of_new(database, set((result.upserted_ids or {}).values()), found, words)
        return bool(found)

    # -- telling ----------------------------------------------------------------------------------------------------------

    def _tell_of_new(
        self,
        database: Database[Any],
        new: Collection[str],
        found: Iterable[tuple[ErrorKey, Seen]],
        words: Mapping[str, KindWords],
    ) -> None:
        """Whoever has made a group's document has seen it first. In the first hour of all everything is new."""
        if not new:
            return
        early = self._clock() - self.begun(database) < GRACE.total_seconds()
        tell = self.on_early_kind if early else self.on_new_kind
        told = {key.fingerprint: (key, seen) for key, seen in found if key.fingerprint in new}.values()
        self._further.note(told)
        for key, seen in told:
            known = words.get(key.fingerprint) or Group(key.fingerprint, key.title, key.category, seen).told()
            tell(
                {
                    "fingerprint": key.fingerprint,
                    "message": key.title,
                    **known._asdict(),
                    "category": key.category,
                    "releases": sorted(seen.releases),
                    "at": iso_of(seen.first),
                }
            )

    def begun(self, database: Database[Any]) -> float:
        """When the first group of all was stored, or this release has stored its first one, in seconds since the epoch."""
        if self._begun is None:
            query, made = {"_id": KINDS_STATE}, {"$setOnInsert": {"begun": moment(self._clock())}}
            states = database[ERROR_SAMPLING]
            try:
                state = states.find_one_and_update(query, made, upsert=True, return_document=ReturnDocument.AFTER)
            except DuplicateKeyError:  # two at once
                state = states.find_one(query)
            self._begun = state["begun"].timestamp() if state and "begun" in state else self._clock()
        return self._begun

    def _tell_if_back(self, database: Database[Any], fingerprint: str, seen: Seen) -> None:
        """An error after the group was resolved, in a release that was not there when it was: only the first to say so wins."""
        back = {
            "_id": fingerprint,
            "resolvedAt": {"$lt": moment(seen.last)},
            "regressedAt": None,
            "resolvedReleases": {"$nin": sorted(seen.releases)} if seen.releases else {"$exists": True},
        }
        self._tell_back(database, back, seen.last, seen.releases)

    def _tell_back(self, database: Database[Any], back: Facts, at: float, releases: Iterable[str]) -> None:
        changed = database[ERROR_GROUPS].find_one_and_update(back, {"$set": {"regressedAt": moment(at)}})
        if changed is not None:
            told = {"fingerprint": changed["_id"], "message": changed["title"], "releases": sorted(releases)}
            kind = {name: changed.get(name, "") for name in ("code", "category")}
            self.on_regression(told | kind | {"at": iso_of(at)})

    def look_back(self, database: Database[Any], fingerprint: str) -> None:
        """Whether a group that was resolved while MongoDB was away is back already: what has happened since then is stored."""
        found = database[ERROR_GROUPS].find_one({"_id": fingerprint, "regressedAt": None, "resolvedReleases": []})
        if found is not None and found.get("resolvedAt") and found["lastSeen"] > found["resolvedAt"]:
            back = {"_id": fingerprint, "resolvedAt": found["resolvedAt"], "regressedAt": None}
            self._tell_back(database, back, found["lastSeen"].timestamp(), found.get("releases", ()))


def _changes(key: ErrorKey, seen: Seen, words: KindWords | None) -> Iterable[UpdateOne]:
    yield _change(key, seen, words)
    for release in sorted(seen.releases):
        missing = {"_id": key.fingerprint, "releases": {"$ne": release}}
        yield UpdateOne(missing, {"$push": {"releases": {"$each": [release], "$slice": -RELEASES}}})
    if words is not None:  # of a group that an older release has made, or a worker that knew none
        yield UpdateOne({"_id": key.fingerprint, "headline": {"$exists": False}}, {"$set": words._asdict()})


def _change(key: ErrorKey, seen: Seen, words: KindWords | None = None) -> UpdateOne:
    times = {"$min": {"firstSeen": moment(seen.first)}, "$max": {"lastSeen": moment(seen.last)}}
    new = {"title": key.title, "category": key.category, "releases": sorted(seen.releases)}
    named = words._asdict() if words is not None else {}
    return UpdateOne({"_id": key.fingerprint}, {**times, "$setOnInsert": new | named}, upsert=True)
