"""One alarm: whether its condition is there, since when, and what is still to be told of it. It knows no clock, disk or network.

::

    ok ── seen in two looks in a row ──> firing ── not seen in two looks in a row ──> ok
          want = begin                             want = end, if the beginning was told

What has its own hysteresis (``Condition.certain``) needs one look. ``want`` stays until it is told: a cool-down, the most
alerts of an hour, or a MongoDB that does not answer may keep it waiting, and what is over before its beginning was told is
told not at all. What comes back before its end was told, or its claim withdrawn, is the same episode, since a new moment.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prodfix.alerts.rules import SEVERITIES, SHARED, Condition, Kind
from prodfix.errors import Severity

LOOKS = 2  # in a row, until something is believed

Want = Literal["begin", "more", "end", "withdraw"]
Told = Literal["journal", "claim", "joined"]
Change = Literal["firing", "over"]


@dataclass(slots=True)
class Alarm:
    """Times are seconds since the epoch.

    ``episode``: this time that it fires; the IDs of its alerts begin with it. ``told``: by whose word its beginning was told:
    this instance's ``journal``, its ``claim`` in MongoDB, or that of another instance, which it has ``joined``; None if it was
    not. ``since``: when it came last; ``begun``: when its episode did. ``told_at``: when a beginning was told last, which the
    cool-down counts from. ``shared``: the alert under which all instances know it.
    """

    key: str
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)
    firing: bool = False
    since: float = 0.0
    begun: float = 0.0
    until: float | None = None
    episode: str = ""
    want: Want | None = None
    told: Told | None = None
    told_at: float | None = None
    told_level: int = 0
    level: int = 0
    certain: bool = False
    shared: str = ""
    held: bool = False
    revision: int = 0
    _looks: int = 0
    _first: float = 0.0
    _last_level: int = 0

    @property
    def severity(self) -> Severity:
        return SEVERITIES[self.kind]

    @property
    def alert(self) -> str:
        """The ID of the alert that is wanted: the same one, whoever goes on where another has stopped."""
        return f"{self.episode}:{self.want}:{self.level}" if self.want == "more" else f"{self.episode}:{self.want}"

    def see(self, condition: Condition | None, now: float) -> Change | None:
        """One look; what has changed by it."""
        if condition is not None:
            self._measure(condition)
        if (condition is not None) is self.firing:
            self._looks = 0
            return None
        if self._looks == 0:
            self._first = now
        self._looks += 1
        if self._looks < (1 if self.certain else LOOKS):
            return None
        self._looks = 0
        self.revision += 1
        if condition is not None:
            self._begin()
            return "firing"
        self._end()
        return "over"

    def happen(self, facts: Mapping[str, Any], at: float) -> bool:
        """Something that happens and does not last; whether it is news."""
        if self.since >= at:
            return False
        self.since, self.facts = at, dict(facts)
        self._new_episode()
        self.revision += 1
        return True

    def _measure(self, condition: Condition) -> None:
        self.facts, self.certain = dict(condition.facts), condition.certain
        # A row that moves between two files is there twice for a moment: what both looks have seen is there.
        level, self._last_level = min(condition.level, self._last_level), condition.level
        if self.firing and self.told is not None and self.want in (None, "more"):
            want: Want | None = "more" if level > self.told_level else None
            if (want, level) != (self.want, self.level):
                self.want, self.level, self.held = want, level, False
                self.revision += 1

    def _begin(self) -> None:
        self.firing, self.until, self.level = True, None, self._last_level
        self.since = self._first
        if self.want == "end":
            self.want = None
        elif self.want == "withdraw":
            self.want, self.begun = "begin", self.since
        else:
            self._new_episode()

    def _new_episode(self) -> None:
        self.begun = self.since
        self.episode, self.want = secrets.token_hex(8), "begin"
        self.told, self.shared, self.told_level, self.held = None, "", 0, False

    def _end(self) -> None:
        self.firing, self.until, self.held = False, max(self._first, self.since), False  # a clock may be set back
        if self.told is not None:
            self.want = "end"
        else:
            # It may be claimed, by a try whose answer was lost, or by a sender that was killed.
            self.want = "withdraw" if self.want == "begin" and self.kind in SHARED else None

    # -- what became of what was wanted -----------------------------------------------------------------------------------

    def cooling(self, now: float, cool_down: float) -> bool:
        """Whether a beginning was told too short a time ago. A clock that was turned back keeps nobody waiting."""
        return self.told_at is not None and 0 <= now - self.told_at < cool_down

    def done(self, told: Told | None, now: float) -> None:
        """What was wanted is told, here or elsewhere; an end, or a beginning that was withdrawn, leaves nothing."""
        if self.want in ("begin", "more"):
            self.told, self.told_at, self.told_level = told, now, self.level
        else:
            self.told, self.shared = None, ""
        self.want, self.held = None, False
        self.revision += 1

    def give_up(self) -> None:
        """It is too late to tell it."""
        self.want, self.held = None, False
        self.revision += 1

    def orphaned(self, shared: str, since: float, now: float) -> None:
        """Another instance's, which is gone: its end is left to this one."""
        self.since, self.until = since, max(now, since)
        self._new_episode()
        self.want, self.told, self.shared = "end", "joined", shared
        self.revision += 1

    def forget(self) -> None:
        """Others have ended it while this instance was not heard of: it begins anew."""
        self._new_episode()
        self.revision += 1

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _KEPT}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Alarm:
        known = {name: entry[name] for name in _KEPT if name in entry}
        return cls(**{"begun": known.get("since", 0.0)} | known)


_KEPT = tuple(name for name in Alarm.__slots__ if not name.startswith("_"))
