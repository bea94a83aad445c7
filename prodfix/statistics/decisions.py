"""What admins have decided of a kind of error, as it stands in the group's document, and what state that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen
from prodfix.sound_fields import FieldTypes, sound

GroupState = Literal["open", "resolved", "regressed", "ignored", "unknown"]

GROUP_TYPES: FieldTypes = {
    **dict.fromkeys(("firstSeen", "lastSeen", "resolvedAt", "regressedAt"), datetime),
    **dict.fromkeys(("title", "category", "headline", "place", "code", "owner", "link", "resolvedBy"), str),
    **dict.fromkeys(("releases", "resolvedReleases"), list),
}
"""Of a group's document."""

FADING = timedelta(minutes=30)  # after which an escalation that nobody has confirmed again is over


@frozen
class Ignored(Serializable):
    """That nobody wants to hear of it."""

    by: str
    at: datetime
    until: Annotated[datetime | None, Description("null: for ever, or until one of the others")] = None
    more: Annotated[int | None, Description("Until so many more of it have happened")] = None
    left: Annotated[int | None, Description("How many of `more` are left, as it was counted last")] = None
    escalates: Annotated[bool, Description("Until it escalates")] = False


@frozen
class Note(Serializable):
    """What an admin has written of it, redacted."""

    text: str
    by: str
    at: datetime


@frozen
class Escalation(Serializable):
    """That a kind happens more often than its last days predict, and how that was decided."""

    since: datetime
    seen: Annotated[int, Description("How often within the last `minutes`, when it was looked last")]
    expected: Annotated[float, Description("How often its last `days` predict within so many minutes")]
    bound: Annotated[int, Description("More than that is told as an escalation")]
    minutes: int
    days: float


@frozen
class Decision:
    """All that is decided of one kind. ``status`` is unknown while MongoDB cannot tell; what is resolved is not ignored."""

    status: GroupState = "unknown"
    resolved_by: str | None = None
    resolved_at: datetime | None = None
    ignored: Ignored | None = None
    note: Note | None = None
    owner: str | None = None
    link: str | None = None
    escalation: Escalation | None = None


UNKNOWN = Decision()
OPEN = Decision("open")


def decision_of(document: Mapping[str, Any], now: datetime | None = None) -> Decision:
    """What the group's document says at ``now``. What was to be ignored until something that has happened is open again."""
    now, document = now or datetime.now(UTC), sound(document, GROUP_TYPES)
    escalation = escalation_of(document, now)
    ignored = _part(Ignored, document.get("ignored"))
    if ignored is not None and _over(ignored, escalation, now):
        ignored = None
    return Decision(
        status=_status(document, ignored),
        resolved_by=document.get("resolvedBy"),
        resolved_at=document.get("resolvedAt"),
        ignored=ignored,
        note=_part(Note, document.get("note")),
        owner=document.get("owner"),
        link=document.get("link"),
        escalation=escalation,
    )


def escalation_of(document: Mapping[str, Any], now: datetime) -> Escalation | None:
    """The escalation that goes on, if one does: it is confirmed again and again, or it has faded."""
    told = document.get("escalation")
    looked = told.get("lookedAt") if isinstance(told, Mapping) else None
    if not isinstance(looked, datetime) or now - looked > FADING:
        return None
    found: Escalation | None = _part(Escalation, told)
    return found


def _over(ignored: Ignored, escalation: Escalation | None, now: datetime) -> bool:
    if ignored.until is not None and ignored.until <= now:
        return True
    if ignored.left is not None and ignored.left <= 0:
        return True
    return ignored.escalates and escalation is not None and escalation.since > ignored.at


def _status(document: Mapping[str, Any], ignored: Ignored | None) -> GroupState:
    if ignored is not None:
        return "ignored"
    if document.get("resolvedAt") is None:
        return "open"
    return "regressed" if document.get("regressedAt") else "resolved"


def _part(kind: Any, told: Any) -> Any:
    """A part of the document; None if another release has written something else there."""
    if not isinstance(told, Mapping):
        return None
    try:
        return kind.from_json(told)
    except TypeError:
        return None
