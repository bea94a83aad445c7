"""One alert: whether its condition is there, since when, and what is still owed to those who are told of it.

::

    resolved ── seen ──> pending ── seen again ──> firing ── missed in two looks in a row ──> resolved
                                                   owed = begin                              owed = end, if its beginning was told

What has its own hysteresis (``Condition.certain``) needs one look. ``owed`` stays until it is settled: a cool-down, the most
notifications of an hour, or a MongoDB that does not answer may keep it waiting, and what is over before its beginning was told
is told not at all. What comes back before its end was told, or its claim withdrawn, is the same episode, since a new moment:
``since`` is its newest beginning, ``started`` the first one that was not over for who is told, and the text says both. What is
an event is told when it happens, and is over when an admin has decided of it.
It knows no clock, disk or network.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from prodfix.alert_settings import AlertKind
from prodfix.alerts.conditions import LASTING, SEVERITIES, SHARED, Condition
from prodfix.errors import Severity
from prodfix.slotted import mutable

LOOKS = 2  # in a row, until something is believed

AlertState = Literal["pending", "firing", "resolved"]
Owed = Literal["begin", "more", "end", "withdraw"]
Notified = Literal["alone", "claimed", "joined"]
Change = Literal["firing", "over"]
Silence = Literal["", "quiet", "muted"]
MOST_MEMBERS = 2_000  # kinds of errors that one alert counts: as many as an hour of counts tells apart
NAMED = 5  # of them that it names


@mutable
class Alert:
    """Times are seconds since the epoch.

    ``episode``: this time that it fires; the IDs of its notifications begin with it. ``notified``: by whose word its beginning
    was told: this instance's ``alone``, its claim in MongoDB (``claimed``), or that of another instance, which it has
    ``joined``; None if it was not. ``since``: when it came last; ``started``: when its episode did. ``notified_at``: when a
    beginning was told last, which the cool-down counts from. ``shared``: the notification under which all instances know it.
    ``due``: when an event that gathers others is told. ``silenced``: why the beginning of this episode was not told at once.
    ``members``: the kinds of errors, by fingerprint, that an event is of.
    """

    key: str
    kind: AlertKind
    facts: dict[str, Any] = field(default_factory=dict)
    firing: bool = False
    since: float = 0.0
    started: float = 0.0
    until: float | None = None
    episode: str = ""
    owed: Owed | None = None
    notified: Notified | None = None
    notified_at: float | None = None
    notified_level: int = 0
    level: int = 0
    certain: bool = False
    shared: str = ""
    held: bool = False
    looks: int = 0
    """In a row that say otherwise; the first of them was at ``turned``."""
    turned: float = 0.0
    last_level: int = 0
    due: float = 0.0
    silenced: Silence = ""
    members: list[str] = field(default_factory=list)

    @property
    def again(self) -> bool:
        """Whether it has come back before its end was told."""
        return self.since > self.started

    @property
    def wrong(self) -> bool:
        """Whether it is there now, as far as anybody has found."""
        return self.firing or (self.kind in LASTING and self.until is None and self.since > 0)

    @property
    def state(self) -> AlertState:
        return "firing" if self.firing else "pending" if self.looks else "resolved"

    @property
    def severity(self) -> Severity:
        return SEVERITIES[self.kind]

    @property
    def notification(self) -> str:
        """The ID of what is owed: the same one, whoever goes on where another leader has stopped."""
        return f"{self.episode}:{self.owed}:{self.level}" if self.owed == "more" else f"{self.episode}:{self.owed}"

    def see(self, condition: Condition | None, now: float) -> Change | None:
        """One look; what has changed by it."""
        if condition is not None:
            self._measure(condition)
        if (condition is not None) is self.firing:
            self.looks = 0
            return None
        if self.looks == 0:
            known = condition.since if condition is not None else None
            # It cannot have come before it was over last.
            self.turned = now if known is None else min(max(known, self.until or known), now)
        self.looks += 1
        if self.looks < (1 if self.certain else LOOKS):
            return None
        self.looks = 0
        if condition is not None:
            self._fire()
            return "firing"
        self._resolve()
        return "over"

    def happen(self, facts: Mapping[str, Any], at: float) -> bool:
        """Something that happens and does not last; whether it is news."""
        if self.since >= at:
            return False
        self.since, self.facts = at, dict(facts)
        self._new_episode()
        self.until, self.due, self.members = None, 0.0, [str(facts.get("fingerprint", ""))]
        return True

    def join(self, facts: Mapping[str, Any], at: float) -> None:
        """Another kind of error of the same sort, until this one is told: it counts them and names the first few."""
        if self.full:
            return
        self.members.append(str(facts.get("fingerprint", "")))
        named = [*self.facts.get("errors", [self.facts.get("error")]), facts.get("error")][:NAMED]
        self.facts |= {"kinds": len(self.members), "errors": named}
        self.since = self.started = min(self.since, at)
        if len(self.members) == MOST_MEMBERS:  # who comes now, until it is told, is not counted
            self.facts["more"] = "not counted"

    def add_further(self, number: int) -> None:
        """Beside the kinds that it counts so many are not told apart. Whoever has heard of those alone is told that once."""
        before = self.facts.get("further", 0)
        if self.full or number <= before:
            return
        self.facts |= {"further": number, "more": f"about {number:,}, not told apart"}
        if not before and self.owed is None and self.notified is not None:
            self.owed, self.level, self.held = "more", self.notified_level + 1, False

    @property
    def full(self) -> bool:
        """Whether it counts no more kinds: then there are at least so many."""
        return len(self.members) >= MOST_MEMBERS

    def covers(self, at: float) -> bool:
        """Whether who has heard of it has heard of all that was new then, as it says that there are more than it counts."""
        return self.full and self.notified_at is not None and at <= self.notified_at

    def decide(self, now: float) -> bool:
        """An admin has decided of all that the event is of; whether anybody is to hear of that."""
        self.until, told = max(now, self.since), self.notified is not None
        self.owed = "end" if told else None
        return told

    def _measure(self, condition: Condition) -> None:
        self.certain = condition.certain
        # A row that moves between two files is there twice for a moment: what both looks have seen is there.
        level, self.last_level = min(condition.level, self.last_level), condition.level
        if self.firing and self.notified is not None and self.owed in (None, "more"):
            owed: Owed | None = "more" if level > self.notified_level else None
            if (owed, level) != (self.owed, self.level):
                self.owed, self.level, self.held = owed, level, False
        if not self.firing or self.owed is not None:  # else all was told, and the file need not change with each look
            self.facts = dict(condition.facts)

    def _fire(self) -> None:
        self.firing, self.until, self.level = True, None, self.last_level
        self.since = self.turned
        if self.owed == "end":
            self.owed = None
        elif self.owed == "withdraw":
            self.owed, self.started = "begin", self.since
        else:
            self._new_episode()

    def _new_episode(self) -> None:
        self.started = self.since
        self.episode, self.owed = secrets.token_hex(8), "begin"
        self.notified, self.shared, self.notified_level, self.held = None, "", 0, False
        self.silenced = ""

    def _resolve(self) -> None:
        self.firing, self.until, self.held = False, max(self.turned, self.since), False  # a clock may be set back
        if self.notified is not None:
            self.owed = "end"
        else:
            # It may be claimed, by a try whose answer was lost, or by a leader that was killed.
            self.owed = "withdraw" if self.owed == "begin" and self.kind in SHARED else None

    # -- what became of what was owed -------------------------------------------------------------------------------------

    def cooling(self, now: float, cool_down: float) -> bool:
        """Whether a beginning was told too short a time ago. A clock that was turned back keeps nobody waiting."""
        return self.notified_at is not None and 0 <= now - self.notified_at < cool_down

    def settle(self, notified: Notified | None, now: float, shared: str = "") -> None:
        """What was owed is told, here or elsewhere; an end, or a beginning that was withdrawn, leaves nothing."""
        if self.owed in ("begin", "more"):
            self.notified, self.notified_at, self.notified_level, self.shared = notified, now, self.level, shared
        else:
            self.notified, self.shared = None, ""
        self.owed, self.held = None, False

    def give_up(self) -> None:
        """It is too late to tell it."""
        self.owed, self.held = None, False

    def adopt(self, shared: str, since: float, now: float) -> None:
        """Another instance's, which is gone: its end is left to this one."""
        self.since, self.until = since, max(now, since)
        self._new_episode()
        self.owed, self.notified, self.shared = "end", "joined", shared

    def begin_anew(self) -> None:
        """Others have ended it while this instance was not heard of."""
        self._new_episode()
