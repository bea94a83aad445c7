"""What nobody is to hear of now: what no channel has a rule for, what is muted, and what the hours of quiet hold back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from prodfix.alerts import hook_events, messages
from prodfix.alerts.alert import Alert, Silence
from prodfix.alerts.alert_routing import Routing, rings
from prodfix.alerts.conditions import EVENTS
from prodfix.alerts.kind_events import EARLY_PAUSE
from prodfix.alerts.leader_state import KEPT_EVENTS, LeaderState
from prodfix.alerts.messages import HeldBy, Origin
from prodfix.alerts.mutes import MuteMap, muted_until
from prodfix.alerts.notifications import Delivery, Notification
from prodfix.errors import Severity


class Silences:
    """``routing`` says which channels hear of what."""

    def __init__(self, routing: Routing, origin: Origin) -> None:
        self._routing, self._origin = routing, origin

    def keeps(self, state: LeaderState, alert: Alert, now: float, mutes: MuteMap) -> bool:
        """Whether the beginning that is owed must not be told now. Of an event that is muted a summary tells."""
        if not self._routing.of(alert.kind):
            if alert.kind in EVENTS:
                alert.give_up()
            return True
        why = self._why(alert, now, mutes)
        if why == "muted" and alert.silenced != "muted":
            state.totals.muted += 1
        alert.silenced = why
        if why == "muted" and alert.kind in EVENTS:
            if alert.owed == "begin":
                state.hold_muted(alert)
            alert.give_up()
        return why != "" or now < alert.due <= now + EARLY_PAUSE  # it gathers others

    def _why(self, alert: Alert, now: float, mutes: MuteMap) -> Silence:
        if muted_until(mutes, alert.kind, now) is not None:
            return "muted"
        return "quiet" if alert.severity is not Severity.CRITICAL and self._routing.quiet_at(now) else ""

    def sum_up(self, state: LeaderState, now: float, mutes: MuteMap) -> None:
        """After the hours of quiet, tell what they have held back: what is over, and what only happened. The rest is told by
        itself. After a mute tell what happened meanwhile."""
        if self._routing.quiet_at(now):
            return
        for alert in state.alerts.values():
            if alert.kind in EVENTS and alert.silenced == "quiet" and alert.owed == "begin":
                state.hold_quiet(alert)
                alert.give_up()
        held, dropped = state.quiet, state.quiet_dropped
        state.quiet, state.quiet_dropped = [], 0
        self._tell(state, held, dropped, "quiet", now)
        waiting = [one for one in state.muted if muted_until(mutes, one["kind"], now) is not None]
        if len(waiting) < len(state.muted):
            ended = [one for one in state.muted if one not in waiting and self._is_news(state, one, now)]
            dropped = 0 if waiting else state.muted_dropped
            state.muted, state.muted_dropped = waiting, state.muted_dropped - dropped
            self._tell(state, ended, dropped, "muted", now)

    @staticmethod
    def _is_news(state: LeaderState, one: Mapping[str, Any], now: float) -> bool:
        """Whether it is not too long ago, and nobody is known to have decided of it since."""
        alert = state.alerts.get(one["key"])
        over = alert is not None and alert.until is not None and alert.until >= one["since"]
        return not over and now - float(one["since"]) < KEPT_EVENTS

    def _tell(self, state: LeaderState, held: Sequence[dict[str, Any]], dropped: int, why: HeldBy, now: float) -> None:
        held = sorted(held, key=lambda one: float(one["since"]))
        channels = self._channels({one["kind"] for one in held})
        if held and channels:
            title, body = messages.summary(held, dropped, why, self._origin)
            one = Notification(
                f"{secrets.token_hex(8)}:summary",
                key="summary",
                kind="summary",
                part="summary",
                severity=str(Severity.INFO),
                title=title,
                body=body,
                at=now,
                channels={name: Delivery() for name in channels},
                event=hook_events.summary_event(held, dropped, why, self._origin),
            )
            state.notifications[one.id] = one

    def _channels(self, kinds: set[str]) -> list[str]:
        """Those that hear of any of ``kinds``, and call nobody."""
        heard = {name for kind in self._routing.on if kind in kinds for name in self._routing.of(kind)}
        return [name for name in self._routing.channels if name in heard and not rings(name)]
