"""One kind of error as it is shown: what it is called, how often it happened and when, whom it met, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from prodfix.patterns import compiled_later
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen, mutable
from prodfix.statistics.affected import affected
from prodfix.statistics.counts import ErrorKey, Seen
from prodfix.statistics.decisions import UNKNOWN, Decision, Escalation, GroupState, Ignored, Note

STEPS = 24  # of a trend
NEW = timedelta(hours=24)  # since it was first seen

Badge = Literal["new", "regression", "escalating"]

_TITLE = compiled_later(r"(?s)(\S+) \((.*?)\)(?: in (.+))?")


class KindWords(NamedTuple):
    """What people read of a kind: all of it is redacted."""

    headline: str
    place: str
    code: str


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
    ignored: Ignored | None = None
    note: Note | None = None
    owner: str | None = None
    link: Annotated[str | None, Description("Of an issue elsewhere")] = None
    headline: Annotated[str, Description("Its type and its words, redacted: those of the first one that was seen")] = ""
    place: Annotated[str, Description("File and function of the application's innermost own frame, or empty")] = ""
    code: str = ""
    trend: Annotated[list[int], Description("24 counts of equal steps of the window, oldest first")] = field(
        default_factory=lambda: [0] * STEPS
    )
    users: Annotated[int | None, Description("How many users it met within the window; null: nobody was known")] = None
    users_exact: Annotated[bool, Description("Whether that is a count; else it is an estimate, within some 20 %")] = (
        False
    )
    badges: list[Badge] = field(default_factory=list)
    escalation: Escalation | None = None
    pending: Annotated[
        bool, Description("Something that was decided is kept on this instance's disk, and waits for MongoDB")
    ] = False


@mutable
class Group:
    """The same while it is put together. ``first`` is what MongoDB knows of its first moment, ``new`` whether that is news;
    ``sketches`` are of the users whom it met, joined when somebody asks for them."""

    fingerprint: str
    title: str
    category: str
    seen: Seen
    devices: dict[str, int] = field(default_factory=dict)
    endpoints: dict[str, int] = field(default_factory=dict)
    trend: list[int] = field(default_factory=lambda: [0] * STEPS)
    decision: Decision = UNKNOWN
    first: float | None = None
    new: bool = False
    words: KindWords | None = None
    pending: bool = False
    sketches: list[str] = field(default_factory=list)

    def add(self, key: ErrorKey, seen: Seen) -> None:
        self.seen.add_but_users(seen)
        if seen.users:
            self.sketches.append(seen.users)
        for counts, name in ((self.devices, key.device), (self.endpoints, key.endpoint)):
            counts[name] = counts.get(name, 0) + seen.count

    @property
    def first_seen(self) -> float:
        return min(self.seen.first, self.first or self.seen.first)

    def told(self) -> KindWords:
        """Its words; of what was counted before there were any, what its title says."""
        return self.words or words_of_title(self.title)

    def affected(self) -> tuple[int | None, bool]:
        """How many users it met, and whether that is exact; None if nobody knows."""
        found = affected("".join(self.sketches))
        return (None, False) if found is None else found

    @property
    def status(self) -> GroupState:
        return self.decision.status

    @property
    def count(self) -> int:
        return self.seen.count

    @property
    def badges(self) -> list[Badge]:
        found: list[Badge] = ["new"] if self.new else []
        if self.decision.status == "regressed":
            found.append("regression")
        if self.decision.escalation is not None:
            found.append("escalating")
        return found

    def summary(self) -> GroupSummary:
        decision, words = self.decision, self.told()
        users, exact = self.affected()
        return GroupSummary(
            fingerprint=self.fingerprint,
            message=self.title,
            headline=words.headline,
            place=words.place,
            code=words.code,
            category=self.category,
            count=self.count,
            trend=list(self.trend),
            users=users,
            users_exact=exact,
            first_seen=moment(self.first_seen),
            last_seen=moment(self.seen.last),
            releases=sorted(self.seen.releases),
            devices=self.devices,
            endpoints=self.endpoints,
            badges=self.badges,
            status=decision.status,
            resolved_by=decision.resolved_by,
            resolved_at=decision.resolved_at,
            ignored=decision.ignored,
            note=decision.note,
            owner=decision.owner,
            link=decision.link,
            escalation=decision.escalation,
            pending=self.pending,
        )


def words_of_title(title: str) -> KindWords:
    """What a title of the form ``CODE (Type) in file:function`` says."""
    found = _TITLE.fullmatch(title)
    if found is None:
        return KindWords(title, "", "")
    return KindWords(found[2], found[3] or "", found[1])


def trend_of(points: Mapping[int, int], first: int, last: int, steps: int = STEPS) -> list[int]:
    """Counts by minute as those of equal steps from ``first`` to ``last`` (minutes, inclusive). What lies before or after is
    counted in the step that is next to it, so that their sum is that of the points."""
    trend, length = [0] * steps, last - first + 1
    for minute, count in points.items():
        if minute < first:
            trend[0] += count
        elif minute > last:
            trend[-1] += count
        else:
            trend[(minute - first) * steps // length] += count
    return trend


def rising(trend: Sequence[int]) -> float:
    """By which trends are sorted: how far the last quarter lies above what those before it predict, in standard deviations of
    a Poisson distribution."""
    quarter = len(trend) // 4 or 1
    recent, before = sum(trend[-quarter:]), sum(trend[:-quarter]) * quarter / max(1, len(trend) - quarter)
    return float((recent - before) / (before + 1) ** 0.5)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
