"""Kinds of errors that happen more often than their last days predict, and those that are ignored until so many more of them.

One worker of all instances looks, once a minute: of those that store counts the first that comes. It reads the last hour as an
answer does, and the seven days before it once an hour. What it decides stands in the group's document with its figures, so that
all answer alike. It is confirmed with each look, and ends with the first that finds the rate back; where nobody looks any more
it fades (:data:`prodfix.statistics.decisions.FADING`). Whoever has looked last goes on though nothing new is stored, while an
escalation may end, or counts that are stored are not counted yet.

A kind that is younger than a day has no history, and does not escalate. One that is ignored until it does is judged by what was
before that was decided, and by the errors after it; one that is ignored otherwise is not judged at all. What has come that it
was ignored until, whoever looks tells: so many more, or, after a time, the first of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo.synchronous.database import Database

from prodfix.classification.classifications import of_database
from prodfix.serialization import iso
from prodfix.statistics.decisions import FADING, Escalation, decision_of, escalation_of
from prodfix.statistics.group_summary import NEW
from prodfix.statistics.groups import ERROR_GROUPS, ERROR_SAMPLING, KINDS_STATE, Groups
from prodfix.statistics.ignored_counts import (
    after_decision,
    before_decision,
    decided_in,
    is_counting,
    is_timed,
    lacks_history,
)
from prodfix.statistics.predictions import DAY, LEAST, usual_of
from prodfix.statistics.window import HOUR
from prodfix.statistics.windows import Window, Windows

PERIOD = 60.0  # seconds from one look to the next
SHARE = 50  # times as long as a look took, at least: so it costs at most 2 % of a core
WEEK = 7 * DAY  # minutes
MOST = 500  # kinds of one look, the most frequent first
SETTLING = 2  # minutes until the counts of a minute have come from all workers
LIMIT = 3.0  # seconds for what is written


class Escalations:
    """``stored`` is another number whenever this worker has stored counts of its instance: who stores none does not look, unless
    its last look has left something. ``outages`` tells from when to when the database was away, between two moments in seconds
    since the epoch: what failed by that is no escalation."""

    def __init__(
        self,
        windows: Windows,
        groups: Groups,
        *,
        stored: Callable[[], int],
        outages: Callable[[float, float], Sequence[tuple[float, float]]] = lambda begin, end: (),
        period: float = PERIOD,
    ) -> None:
        self._windows, self._groups, self._stored, self._period = windows, groups, stored, period
        self._outages = outages
        self._seen, self._due_at, self._left = 0, 0.0, False
        self._hour = -1
        self._week: Mapping[str, Mapping[int, int]] = {}

    def look(self, database: Database[Any]) -> bool:
        """Whether this worker has looked. Raises what MongoDB says; the next look goes on."""
        stored, begun = self._stored(), time.monotonic()
        if (stored == self._seen and not self._left) or begun < self._due_at:
            return False
        self._due_at = begun + self._period
        if not self._taken(database):
            return False  # but perhaps next time: whoever has looked may be gone by then
        self._left = True  # unless it comes to its end
        self._left = self._look(database)
        self._seen, self._due_at = stored, begun + max(self._period, SHARE * (time.monotonic() - begun))
        return True

    def _taken(self, database: Database[Any]) -> bool:
        """Whether nobody else has looked within the period."""
        with pymongo.timeout(LIMIT):
            self._groups.begun(database)
            before = self._time() - timedelta(seconds=self._period * 0.9)
            query = {"_id": KINDS_STATE, "lookedAt": {"$not": {"$gt": before}}}
            changed = database[ERROR_SAMPLING].update_one(query, {"$set": {"lookedAt": self._time()}})
            return bool(changed.matched_count)

    def _look(self, database: Database[Any]) -> bool:
        """Whether it must be looked again, even if nothing more is stored."""
        last = self._windows.now()
        hour = self._windows.load(last - HOUR + 1, last)
        if hour.scope != "all" or hour.complete_from is not None:
            return True  # a part of it would be no rate
        if last // HOUR != self._hour:
            week = self._windows.load((last - WEEK) // HOUR * HOUR, last - HOUR)
            if week.scope != "all" or week.complete_from is not None:
                return True
            self._hour, self._week = last // HOUR, _by_hour(week)
        seen = {fingerprint: sum(points.values()) for fingerprint, points in hour.trends.items()}
        frequent = sorted(seen, key=lambda one: -seen[one])[:MOST]
        many = [fingerprint for fingerprint in frequent if seen[fingerprint] >= LEAST]
        with pymongo.timeout(LIMIT):
            groups = database[ERROR_GROUPS]
            found = {one["_id"]: one for one in groups.find({"_id": {"$in": many}})}
            found |= {one["_id"]: one for one in groups.find({"watched": True}).limit(MOST)}
        documents = self._with_history(database, list(found.values()))
        trends = self._without_outages(documents, hour)
        with pymongo.timeout(LIMIT):
            left = [self._judge(database, one, trends.get(one["_id"], {}), last) for one in documents]
            self._end_timed(database, documents, hour)
            return self._count_ignored(database, documents, hour) or any(left)

    def _without_outages(
        self, documents: Collection[Mapping[str, Any]], hour: Window
    ) -> Mapping[str, Mapping[int, int]]:
        """The trends of the hour; of kinds that say that the database is away without the minutes in which it was: that has a
        cause of its own, which is told."""
        own = [one["_id"] for one in documents if of_database(str(one.get("category")), str(one.get("code")))]
        if not any(hour.trends.get(kind) for kind in own):
            return hour.trends
        last = self._windows.now()
        outages = self._outages((last - HOUR + 1) * 60.0, (last + 1) * 60.0)
        away = {minute for begin, end in outages for minute in range(int(begin // 60), int(end // 60) + 1)}
        found = {kind: hour.trends.get(kind, {}) for kind in own}
        return {
            **hour.trends,
            **{kind: {m: n for m, n in points.items() if m not in away} for kind, points in found.items()},
        }

    def _with_history(self, database: Database[Any], documents: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Of those that are ignored until they escalate, note once what was before that: later it could not be told from what
        came after it, or nobody would know it any more."""
        lacking = [one for one in documents if lacks_history(one)]
        if not lacking:
            return documents
        moments = {decided_in(one["ignored"]) for one in lacking}
        first = max(min(moments), self._windows.now() - WEEK) - WEEK
        before = self._windows.load(first // HOUR * HOUR, max(moments))
        hours = {at: self._windows.load(at - HOUR + 1, at) for at in moments}
        if any(one.scope != "all" or one.complete_from is not None for one in (before, *hours.values())):
            return documents
        noted = {}
        for one in lacking:
            hour = hours[decided_in(one["ignored"])]
            points = (window.trends.get(one["_id"], {}) for window in (before, hour))
            noted[one["_id"]] = before_decision(one, *points)
        with pymongo.timeout(LIMIT):
            for one in lacking:
                query = {"_id": one["_id"], "ignored.at": one["ignored"]["at"]}
                database[ERROR_GROUPS].update_one(query, {"$set": {"ignored.usual": noted[one["_id"]]}})
        return [
            {**one, "ignored": {**one["ignored"], "usual": noted[one["_id"]]}} if one["_id"] in noted else one
            for one in documents
        ]

    # -- escalations ------------------------------------------------------------------------------------------------------

    def _judge(
        self, database: Database[Any], document: Mapping[str, Any], points: Mapping[int, int], last: int
    ) -> bool:
        """Whether it may change though nothing more is stored."""
        now = self._time()
        before, ignored = escalation_of(document, now), document.get("ignored")
        found: Escalation | None = None
        if decision_of(document, now).ignored is None:
            found = self._by_its_days(document, sum(points.values()), now, last)
        elif ignored is not None and ignored.get("escalates") and not lacks_history(document):
            usual = ignored["usual"]
            seen = after_decision(points, ignored, last)
            found = Escalation(now, seen, usual["expected"], usual["bound"], HOUR, usual["days"])
        if found is not None and before is not None:
            found = _going_on(before, found)
            if found.seen > max(found.expected, found.bound / 2):  # one quiet minute is no end
                self._write(database, document, {"$set": {"escalation": _written(found, now)}})
                return True
            self._write(database, document, _ended(document))
        elif found is not None and found.seen > found.bound:
            self._begin(database, document, found, now)
            return True
        else:
            self._forget(database, document)
        return lacks_history(document)

    def _by_its_days(self, document: Mapping[str, Any], seen: int, now: datetime, last: int) -> Escalation | None:
        """As it is seen, and what its days predict; None if it has too few of them. One that escalates all the same was ignored
        until it did: it goes on by what began it."""
        before, age = escalation_of(document, now), now - document["firstSeen"]
        if age < NEW:
            return None if before is None else Escalation(now, seen, before.expected, before.bound, HOUR, before.days)
        if before is None and seen < LEAST:
            return None
        minutes = min(WEEK, int(age.total_seconds() // 60) - HOUR)
        usual = usual_of(self._week.get(document["_id"], {}), last - HOUR, minutes)
        return Escalation(now, seen, round(usual.expected, 2), usual.bound, HOUR, round(minutes / DAY, 1))

    def _begin(self, database: Database[Any], document: Mapping[str, Any], found: Escalation, now: datetime) -> None:
        """Only the first to say so tells."""
        fresh: dict[str, Any] = {"_id": document["_id"], "escalation.lookedAt": {"$not": {"$gte": now - FADING}}}
        change: dict[str, Any] = {"$set": {"escalation": _written(found, now), "watched": True}}
        ignored = document.get("ignored")
        fresh |= {"ignored.at": ignored["at"]} if ignored else {"ignored": None}  # else an admin has decided meanwhile
        if isinstance(ignored, Mapping) and ignored.get("escalates"):
            change["$unset"] = {"ignored": ""}
        changed = database[ERROR_GROUPS].find_one_and_update(fresh, change)
        if changed is not None:
            self._groups.on_escalation(_facts(changed) | {"escalation": found.to_json()})

    def _forget(self, database: Database[Any], document: Mapping[str, Any]) -> None:
        """One that has faded, as nobody had looked for a while, or that nobody need look at any more."""
        if document.get("escalation") is not None or (document.get("watched") and not _watched(document)):
            self._write(database, document, _ended(document))

    @staticmethod
    def _write(database: Database[Any], document: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        database[ERROR_GROUPS].update_one({"_id": document["_id"]}, change)

    # -- ignored until a time ---------------------------------------------------------------------------------------------

    def _end_timed(self, database: Database[Any], documents: Collection[Mapping[str, Any]], hour: Window) -> None:
        """What has happened again after the time until which it was ignored is open for good; what has not for a week is open,
        and no news any more."""
        now = self._time()
        for one in documents:
            if not is_timed(one) or one["ignored"]["until"] > now:
                continue
            until = one["ignored"]["until"]
            minute = int(until.timestamp() // 60)
            if one["lastSeen"] > until or any(point > minute for point in hour.trends.get(one["_id"], {})):
                self._unignore(database, one, {}, iso(until))
            elif now - until > timedelta(minutes=WEEK):
                self._write(database, one, {"$unset": {"watched": ""}})

    def _unignore(
        self, database: Database[Any], document: Mapping[str, Any], known: Mapping[str, Any], until: str
    ) -> None:
        """Only the first to say so tells. ``known``: what must still stand there."""
        query = {"_id": document["_id"], "ignored.at": document["ignored"]["at"], **known}
        changed = database[ERROR_GROUPS].find_one_and_update(query, {"$unset": {"ignored": "", "watched": ""}})
        if changed is not None:
            self._groups.on_unignored(_facts(changed) | {"ignoredUntil": until})

    # -- ignored until so many more ---------------------------------------------------------------------------------------

    def _count_ignored(self, database: Database[Any], documents: Collection[Mapping[str, Any]], hour: Window) -> bool:
        """What has happened since it was counted last: each minute once, when all of it should have come. Whether there is more
        of it in minutes that are yet to be counted."""
        waiting = [one for one in documents if is_counting(one)]
        if not waiting:
            return False
        until = self._windows.now() - SETTLING
        since = min(int(one["ignored"].get("countedTo", until)) for one in waiting)
        first = until - HOUR + SETTLING if hour.first is None else hour.first
        if since < first - 1:  # nobody has looked for so long
            hour = self._windows.load(max(since + 1, self._windows.now() - WEEK), self._windows.now())
            if hour.scope != "all" or hour.complete_from is not None:
                return True
        later = False
        for one in waiting:
            ignored = one["ignored"]
            counted, points = int(ignored.get("countedTo", until)), hour.trends.get(one["_id"], {})
            left = ignored["left"] - after_decision(points, ignored, until, counted=counted)
            later = later or (left > 0 and any(minute > until for minute in points))
            if until <= counted:
                continue
            known = {"ignored.countedTo": counted}
            if left <= 0:
                self._unignore(database, one, known, f"{ignored['more']} more")
                continue
            query = {"_id": one["_id"], "ignored.at": ignored["at"], **known}
            fields = {"ignored.left": left, "ignored.countedTo": until}
            database[ERROR_GROUPS].update_one(query, {"$set": fields})
        return later

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._windows.clock(), UTC)


def _by_hour(window: Window) -> dict[str, dict[int, int]]:
    """By the middle of each hour, which takes less room."""
    found: dict[str, dict[int, int]] = {}
    for fingerprint, points in window.trends.items():
        hours = found[fingerprint] = {}
        for minute, count in points.items():
            middle = minute // HOUR * HOUR + HOUR // 2
            hours[middle] = hours.get(middle, 0) + count
    return found


def _going_on(before: Escalation, found: Escalation) -> Escalation:
    """Measured by what began it, until its days predict more than that."""
    told = found if found.bound > before.bound else before
    return Escalation(before.since, found.seen, told.expected, told.bound, HOUR, told.days)


def _written(found: Escalation, now: datetime) -> dict[str, Any]:
    return {**found.to_document(), "lookedAt": now}


def _ended(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"$unset": {"escalation": "", **({} if _watched(document) else {"watched": ""})}}


def _watched(document: Mapping[str, Any]) -> bool:
    return is_counting(document) or is_timed(document) or lacks_history(document)


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a kind."""
    return {
        "fingerprint": document["_id"],
        "message": document["title"],
        **{name: document.get(name, "") for name in ("headline", "place", "code", "category")},
        "releases": sorted(document.get("releases", ())),
    }
