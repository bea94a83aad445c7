"""What this instance compares with the others, every 15 seconds: what it still sees, what those have left that are gone, and
what admins have decided of kinds of errors."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from pymongo.synchronous.database import Database

from prodfix.alert_settings import AlertKind
from prodfix.alerts import agreement, kind_events
from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import EVENTS, SHARED, Findings
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.mutes import Mute, mutes_of
from prodfix.alerts.shared_database import SharedDatabase

COMPARE_PERIOD = 15.0  # seconds between two comparisons of what this instance sees with what all have agreed upon
FOLLOWED = 150.0  # seconds after its end in which what others have left of the same is looked for with each comparison
REST = (120.0, 240.0)  # seconds between two looks for it otherwise


class Comparison:
    """Of ``instance``, by the rules that are ``on``."""

    def __init__(self, shared: SharedDatabase, *, instance: str, on: frozenset[AlertKind]) -> None:
        self._shared, self._instance, self._on = shared, instance, on
        self._compared_at = self._look_at = self._events_at = 0.0
        self.heard: list[Mute] = []
        """What other instances have muted, as a comparison has found it."""

    def compare(self, state: LeaderState, findings: Findings, now: float) -> None:
        """Tell the other instances what this one still sees, and end what those have left that are gone."""
        database = self._shared.at(now)
        if database is None or 0 <= now - self._compared_at < COMPARE_PERIOD:
            return
        self._compared_at = now
        left: list[Alert] = []
        for kind in sorted(SHARED & self._on):
            alert = state.alerts.get(kind) or Alert(kind, kind)
            if alert.firing and alert.owed is None and alert.notified in ("claimed", "joined"):
                self._shared.ask(now, partial(self._still_there, alert), database, claims=False)
            elif not (alert.firing or alert.owed or kind in findings.found or kind in findings.unknown):
                left.append(alert)
        if left and self._is_time_to_look(left, now):
            self._shared.ask(now, partial(self._adopt, state, left, now), database, claims=False)

    def _is_time_to_look(self, alerts: list[Alert], now: float) -> bool:
        """Whether another instance may have left something, or nobody has looked for long."""
        if any(alert.until is not None and 0 <= now - alert.until < FOLLOWED for alert in alerts):
            return True
        if now < self._look_at <= now + REST[1]:
            return False
        self._look_at = now + random.uniform(*REST)
        return True

    def _still_there(self, alert: Alert, database: Database[Any]) -> bool:
        agreement.hold(database, alert.key, self._instance, agreement.server_time(database))
        if not agreement.look(database, alert.key).lasts(alert.shared):
            alert.begin_anew()
        return True

    def _adopt(self, state: LeaderState, alerts: list[Alert], now: float, database: Database[Any]) -> bool:
        muted: list[dict[str, Any]] = []
        found = agreement.look_all(database, [alert.key for alert in alerts], muted)
        self.heard = mutes_of(muted)
        there = [(alert, agreed) for alert in alerts if (agreed := found[alert.key]).open is not None]
        at = agreement.server_time(database) if there else 0.0
        for alert, agreed in there:
            if agreed.others("", at):
                self._look_at = now  # until it is over, or is left behind
            elif agreed.open is not None:
                alert.adopt(agreed.open.notification, min(now, now - at + agreed.open.at), now)
                state.alerts[alert.key] = alert
        return True

    def settle_events(self, state: LeaderState, now: float) -> list[Alert]:
        """The events of which an admin has decided since, or that nobody finds any more: of those that were told here the ends
        are owed now, and what was not told stands no longer among what is wrong."""
        there = [
            alert
            for alert in state.alerts.values()
            if alert.kind in self._on & EVENTS.keys()
            and alert.owed is None
            and (alert.notified is not None or alert.wrong)
        ]
        database = self._shared.at(now) if there else None
        if database is None or 0 <= now - self._events_at < COMPARE_PERIOD:
            return []
        self._events_at = now
        members = {fingerprint for alert in there for fingerprint in alert.members}
        known = (
            self._shared.ask(now, lambda database: kind_events.decisions(database, members), database, claims=False)
            or {}
        )
        over = [alert for alert in there if kind_events.over(alert, known)]
        for alert in over:
            alert.decide(now)
        return over
