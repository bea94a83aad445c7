"""Which instance tells, agreed upon in MongoDB: for each condition that several instances see a short list of what was told.

Each entry of the list is a document whose ``_id`` is the condition and the next number: who inserts it tells, and of several
that try the others meet a duplicate key, look again, and find that it is told. Each names its notification, whose ID was
chosen and kept on disk before: made again, by the same leader or by the next one after a kill, it is found to be its own.
Beside them each instance that sees the condition has a document of its own, which says when it saw it last.

======================================== =====================================================================
what happened                            what is left, and who goes on
======================================== =====================================================================
killed before the claim                  the leader's file owes it: the next leader claims
killed after it, or its answer was lost  the same file: the entry is found to be its own
killed after the notification was made   it waits in the file: the next leader delivers it
over before it could be told             the claim is withdrawn
an instance is gone for good             it holds nothing after a minute: another one tells the end, within five
MongoDB is down                          each instance decides for itself; ends are brought together afterwards
======================================== =====================================================================

Moments are the server's (the ``localTime`` of ``hello``): clocks of instances may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.slotted import frozen

ALERT_CLAIMS = "alert_claims"
HOUR = "last hour"  # the condition whose entries are all notifications of an hour
MUTES = "muted"  # the condition of what admins do not want to hear of (prodfix.alerts.mutes)
STALE = 60.0  # seconds after which an instance that was not heard of holds nothing
KEPT = 10  # entries of a condition
TRIES = 8  # against others who are faster
PERIOD = 3600.0


class Verdict(Enum):
    TELL = auto()
    """It is this instance's to tell."""
    SILENT = auto()
    """Another one has told it, or will."""
    WAIT = auto()
    """It was told too short a time ago, or nobody can say now."""


class Contended(Exception):
    """Others were always faster."""


@frozen
class AgreedEntry:
    """``notification`` told a beginning or an end, at ``at``; ``begun_at`` is when its beginning was told."""

    part: Literal["begin", "end"]
    notification: str
    at: float
    begun_at: float


@frozen
class Agreed:
    """What all instances know of one condition: ``entries``, the newest first, and when each instance saw it last."""

    entries: tuple[AgreedEntry, ...] = ()
    holders: Mapping[str, float] = field(default_factory=dict)
    number: int = 0

    @property
    def last(self) -> AgreedEntry | None:
        return self.entries[0] if self.entries else None

    @property
    def open(self) -> AgreedEntry | None:
        """The beginning that was told and is not over."""
        return self.last if self.last is not None and self.last.part == "begin" else None

    def lasts(self, begin: str) -> bool:
        """Whether what ``begin`` has told is not over."""
        return self.open is not None and self.open.notification == begin

    def others(self, instance: str, now: float) -> set[str]:
        """The other instances that see it."""
        return {name for name, at in self.holders.items() if name != instance and now - at < STALE}


Decision = tuple[AgreedEntry | None, Verdict]
"""The entry to add, if one is, and the verdict once it is added."""


# -- what is to become of the list: nothing here reads or writes ----------------------------------------------------------


def begun(agreed: Agreed, notification: str, instance: str, now: float, cool_down: float) -> Decision:
    """``notification`` is to tell the beginning."""
    new, last = AgreedEntry("begin", notification, now, now), agreed.last
    if last is None:
        return new, Verdict.TELL
    if agreed.lasts(notification):
        return None, Verdict.TELL
    cooling = 0 <= now - last.begun_at < cool_down
    if agreed.open and (cooling or agreed.others(instance, now)):
        return None, Verdict.SILENT
    return (None, Verdict.WAIT) if cooling else (new, Verdict.TELL)


def ended(agreed: Agreed, notification: str, instance: str, now: float, *, begin: str) -> Decision:
    """``notification`` is to tell the end of what ``begin`` has told, under a claim."""
    if agreed.last is None or _told(agreed, notification):
        return None, Verdict.TELL
    if not agreed.lasts(begin) or agreed.others(instance, now):
        return None, Verdict.SILENT
    return AgreedEntry("end", notification, now, agreed.last.begun_at), Verdict.TELL


def merged(agreed: Agreed, notification: str, instance: str, now: float, *, since: float) -> Decision:
    """``notification`` is to tell the end of what this instance has told alone since ``since``, while MongoDB was down.

    All instances lost it together, and each has told so. The first that is back tells so for all that follow within
    :data:`STALE` seconds; who is back later has had an outage of its own.
    """
    if _told(agreed, notification):
        return None, Verdict.TELL
    ends = [entry.at for entry in agreed.entries if entry.part == "end"]
    if any(since <= at and now - at < STALE for at in ends) or (agreed.open and agreed.others(instance, now)):
        return None, Verdict.SILENT
    begun_at = max(agreed.last.begun_at, since) if agreed.last else since
    return AgreedEntry("end", notification, now, begun_at), Verdict.TELL


def admitted(agreed: Agreed, notification: str, now: float, most: int) -> Decision:
    """``notification`` is to be one of at most ``most`` in any hour."""
    if _told(agreed, notification):
        return None, Verdict.TELL
    if len(agreed.entries) >= most and 0 <= now - agreed.entries[most - 1].at < PERIOD:
        return None, Verdict.WAIT
    return AgreedEntry("begin", notification, now, now), Verdict.TELL


def _told(agreed: Agreed, notification: str) -> bool:
    return any(entry.notification == notification for entry in agreed.entries)


# -- the documents: all of these raise what MongoDB says ------------------------------------------------------------------


def claim(
    database: Database[Any], condition: str, decide: Callable[[Agreed], Decision], *, kept: int = KEPT
) -> tuple[Verdict, AgreedEntry | None]:
    """Add to the list what ``decide`` says; the verdict, and the newest entry then. Raises :class:`Contended`."""
    for _ in range(TRIES):
        agreed = look(database, condition)
        entry, verdict = decide(agreed)
        if entry is None:
            return verdict, agreed.last
        if add(database, condition, agreed.number + 1, entry, kept):
            return verdict, entry
    raise Contended


def look(database: Database[Any], condition: str) -> Agreed:
    return look_all(database, [condition])[condition]


def look_all(
    database: Database[Any], conditions: Collection[str], muted: list[dict[str, Any]] | None = None
) -> dict[str, Agreed]:
    """Several with one question; ``muted`` gets what is muted by the same one."""
    wanted = [*conditions] if muted is None else [*conditions, MUTES]
    found = list(database[ALERT_CLAIMS].find({"condition": {"$in": wanted}}))
    if muted is not None:
        muted += [each for each in found if each["condition"] == MUTES]
    return {one: _agreed([each for each in found if each["condition"] == one]) for one in conditions}


def _agreed(found: list[dict[str, Any]]) -> Agreed:
    entries = sorted((one for one in found if "number" in one), key=lambda one: -one["number"])
    return Agreed(
        tuple(AgreedEntry(e["part"], e["notification"], _seconds(e["at"]), _seconds(e["begunAt"])) for e in entries),
        {one["instance"]: _seconds(one["at"]) for one in found if "instance" in one},
        entries[0]["number"] if entries else 0,
    )


def add(database: Database[Any], condition: str, number: int, entry: AgreedEntry, kept: int) -> bool:
    """Whether it is the ``number``-th entry now: False if another one was faster, or the driver has sent it twice."""
    moments = {"at": _moment(entry.at), "begunAt": _moment(entry.begun_at)}
    told = {"part": entry.part, "notification": entry.notification, **moments}
    documents = database[ALERT_CLAIMS]
    try:
        documents.insert_one({"_id": f"{condition}#{number}", "condition": condition, "number": number, **told})
    except DuplicateKeyError:
        return False
    gone = {"instance": {"$exists": True}, "at": {"$lt": _moment(entry.at - STALE)}}
    documents.delete_many({"condition": condition, "$or": [{"number": {"$lte": number - kept}}, gone]})
    return True


def hold(database: Database[Any], condition: str, instance: str, now: float) -> None:
    """Tell the others that ``instance`` sees it."""
    identity = {"_id": f"{condition}@{instance}"}
    seen = {"condition": condition, "instance": instance, "at": _moment(now)}
    database[ALERT_CLAIMS].replace_one(identity, seen, upsert=True)


def release(database: Database[Any], condition: str, instance: str) -> None:
    """Tell them that it does not any more: before it looks whether others do, so that one of them ends it."""
    database[ALERT_CLAIMS].delete_one({"_id": f"{condition}@{instance}"})


def server_time(database: Database[Any]) -> float:
    """The server's clock, in seconds since the epoch."""
    return _seconds(database.client.admin.command("hello")["localTime"])


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
