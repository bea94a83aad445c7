"""Which instance tells, decided in MongoDB: one document of ``alert_claims`` for each condition that several instances see.

A document is changed as a whole, and only as it was seen: whoever is second looks again (an update of one document is atomic;
a ``$$NOW`` in its condition, or an upsert by a pipeline, is not the same on every server). What is to become of it is decided
by functions that know no database. Each claim has the ID of its alert, chosen and kept in the journal before: made again, by
the same sender or by the next one after a kill, it is the same claim.

======================================== =====================================================================
what happened                            what is left, and who goes on
======================================== =====================================================================
killed before the claim                  the journal's row wants it: the next sender claims
killed after it                          the same row: the claim is found to be its own
the claim's answer was lost              the same
killed after the alert was put down      the alert waits in the journal: the next sender delivers it
over before it could be told             the claim is withdrawn
an instance is gone for good             it holds nothing after a minute: another one tells the end
MongoDB is down                          each instance's own journal decides; ends are brought together afterwards
======================================== =====================================================================

Moments are the server's (the ``localTime`` of ``hello``): clocks of instances may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, TypeVar

from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

ALERT_CLAIMS = "alert_claims"
HOUR = "last hour"  # the _id of the document that counts
STALE = 60.0  # seconds after which an instance that was not heard of holds nothing
ENDED = 5  # episodes that are remembered
TRIES = 8  # against others who are faster
PERIOD = 3600.0

Decided = TypeVar("Decided")


class Answer(Enum):
    TELL = auto()
    """It is this instance's to tell."""
    SILENT = auto()
    """Another one has told it, or will."""
    COOLING = auto()
    """It was told too short a time ago."""
    LOST = auto()
    """What was held is over."""


Decision = Callable[["Shared | None"], "tuple[Shared | None, Answer]"]


class Contended(Exception):
    """Others were always faster."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An episode that is over, and the alert that told its end."""

    begin: float
    end: float
    alert: str


@dataclass(frozen=True, slots=True)
class Shared:
    """What all instances know of one condition. ``alert`` told its beginning, at ``told_at``; ``holders`` say when each
    instance saw it last."""

    firing: bool
    alert: str
    told_at: float
    holders: Mapping[str, float]
    ended: tuple[Ended, ...] = ()

    def others(self, instance: str, now: float) -> dict[str, float]:
        """The other instances that see it."""
        return {name: at for name, at in self.holders.items() if name != instance and now - at < STALE}

    def held(self, instance: str, now: float) -> Shared:
        return replace(self, holders=self.others(instance, now) | {instance: now})

    def over(self, episode: Ended) -> Shared:
        return replace(self, firing=False, holders={}, ended=(*self.ended, episode)[-ENDED:])

    def to_document(self) -> dict[str, Any]:
        return {
            "firing": self.firing,
            "alert": self.alert,
            "toldAt": _moment(self.told_at),
            # A list: an instance's name may hold what the name of a field may not.
            "holders": [{"instance": name, "seenAt": _moment(at)} for name, at in self.holders.items()],
            "ended": [{"from": _moment(e.begin), "to": _moment(e.end), "alert": e.alert} for e in self.ended],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Shared:
        return cls(
            document["firing"],
            document["alert"],
            _seconds(document["toldAt"]),
            {holder["instance"]: _seconds(holder["seenAt"]) for holder in document["holders"]},
            tuple(Ended(_seconds(e["from"]), _seconds(e["to"]), e["alert"]) for e in document["ended"]),
        )


# -- what is to become of a document: None leaves it alone ------------------------------------------------------------------


def begun(
    shared: Shared | None, alert: str, instance: str, now: float, cool_down: float
) -> tuple[Shared | None, Answer]:
    """``alert`` is to tell the beginning."""
    new = Shared(True, alert, now, {instance: now}, shared.ended if shared else ())
    if shared is None:
        return new, Answer.TELL
    if shared.firing and shared.alert == alert:
        return shared.held(instance, now), Answer.TELL
    cooling = 0 <= now - shared.told_at < cool_down
    if shared.firing and (cooling or shared.others("", now)):
        return shared.held(instance, now), Answer.SILENT
    return (None, Answer.COOLING) if cooling else (new, Answer.TELL)


def held(shared: Shared | None, alert: str, instance: str, now: float) -> tuple[Shared | None, Answer]:
    """``instance`` still sees what ``alert`` has told."""
    if shared is None or not shared.firing or shared.alert != alert:
        return None, Answer.LOST
    return shared.held(instance, now), Answer.SILENT


def ended(shared: Shared | None, alert: str, instance: str, now: float, *, begin: str) -> tuple[Shared | None, Answer]:
    """``alert`` is to tell the end of what was told by ``begin``, under a claim."""
    if shared is None or any(episode.alert == alert for episode in shared.ended):
        return None, Answer.TELL
    if not shared.firing or shared.alert != begin:
        return None, Answer.SILENT
    others = shared.others(instance, now)
    if others:
        return replace(shared, holders=others), Answer.SILENT
    return shared.over(Ended(shared.told_at, now, alert)), Answer.TELL


def merged(
    shared: Shared | None, alert: str, instance: str, now: float, *, since: float
) -> tuple[Shared | None, Answer]:
    """``alert`` is to tell the end of what this instance's own journal told since ``since``, while MongoDB was down.

    All instances lost it together, and each has told so. The first that is back tells so for all that follow within
    :data:`STALE` seconds; who is back later has had an outage of its own.
    """
    if shared is None:
        return Shared(False, "", since, {}, (Ended(since, now, alert),)), Answer.TELL
    for episode in shared.ended:
        if episode.alert == alert:
            return None, Answer.TELL
        if since <= episode.end and now - episode.end < STALE:
            return None, Answer.SILENT
    others = shared.others(instance, now) if shared.firing else {}
    if others:
        return replace(shared, holders=others), Answer.SILENT
    told_at = max(shared.told_at, since)
    return replace(shared.over(Ended(since, now, alert)), told_at=told_at), Answer.TELL


def withdrawn(shared: Shared | None, alert: str, instance: str, now: float) -> tuple[Shared | None, Answer]:
    """``alert`` was perhaps claimed, and will not be told."""
    if shared is None or not shared.firing or shared.alert != alert:
        return None, Answer.SILENT
    others = shared.others(instance, now)
    return replace(shared, firing=bool(others), holders=others), Answer.SILENT


def admitted(sent: Mapping[str, float], alert: str, now: float, most: int) -> tuple[dict[str, float] | None, bool]:
    """Whether ``alert`` is one of at most ``most`` in an hour; ``sent`` are the last ones and their moments."""
    recent = {name: at for name, at in sent.items() if 0 <= now - at < PERIOD}
    if alert in recent:
        return None, True
    return (recent | {alert: now}, True) if len(recent) < most else (None, False)


# -- the documents -------------------------------------------------------------------------------------------------------


def claim(database: Database[Any], key: str, decide: Decision) -> tuple[Answer, Shared | None]:
    """Change the document of ``key`` as ``decide`` says; the answer, and what all instances know now.

    Raises what MongoDB says, and :class:`Contended`.
    """

    def change(document: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, tuple[Answer, Shared | None]]:
        seen = Shared.from_document(document) if document else None
        shared, answer = decide(seen)
        return (shared.to_document() if shared else None), (answer, shared or seen)

    return _change(database, key, change)


def admit(database: Database[Any], alert: str, now: float, most: int) -> bool:
    """Whether there is room for ``alert`` in this hour, over all instances. Raises what MongoDB says, and :class:`Contended`."""

    def change(document: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, bool]:
        before = {one["alert"]: _seconds(one["at"]) for one in document["sent"]} if document else {}
        sent, fits = admitted(before, alert, now, most)
        if sent is None:
            return None, fits
        return {"sent": [{"alert": name, "at": _moment(at)} for name, at in sent.items()]}, fits

    return _change(database, HOUR, change)


def firing(database: Database[Any]) -> dict[str, Shared]:
    """What is told and not over, by key. Raises what MongoDB says."""
    return {found["_id"]: Shared.from_document(found) for found in database[ALERT_CLAIMS].find({"firing": True})}


def server_time(database: Database[Any]) -> float:
    """The server's clock, in seconds since the epoch. Raises what MongoDB says."""
    return _seconds(database.client.admin.command("hello")["localTime"])


def _change(
    database: Database[Any],
    key: str,
    decide: Callable[[Mapping[str, Any] | None], tuple[dict[str, Any] | None, Decided]],
) -> Decided:
    documents = database[ALERT_CLAIMS]
    for _ in range(TRIES):
        seen = documents.find_one({"_id": key})
        wanted, answer = decide(seen)
        if wanted is None:
            return answer
        if seen is None:
            try:
                documents.insert_one({"_id": key, "revision": 1, **wanted})
                return answer
            except DuplicateKeyError:
                continue  # another one was faster, or the driver has sent it twice: both show in the next look
        as_seen = {"_id": key, "revision": seen["revision"]}
        if documents.replace_one(as_seen, {"revision": seen["revision"] + 1, **wanted}).matched_count:
            return answer
    raise Contended


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
