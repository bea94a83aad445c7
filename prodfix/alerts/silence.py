"""What nobody is to hear of now: what no channel has a rule for, what is muted, and what the hours of quiet hold back."""

from __future__ import annotations

import secrets

from prodfix.alerts import hook_events, messages
from prodfix.alerts.alert import Alert, Silence
from prodfix.alerts.alert_routing import Routing, rings
from prodfix.alerts.conditions import EVENTS
from prodfix.alerts.kind_events import EARLY_PAUSE
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import Origin
from prodfix.alerts.mutes import MuteMap, muted_until
from prodfix.alerts.notifications import Delivery, Notification
from prodfix.errors import Severity


class Silences:
    """``routing`` says which channels hear of what."""

    def __init__(self, routing: Routing, origin: Origin) -> None:
        self._routing, self._origin = routing, origin

    def keeps(self, state: LeaderState, alert: Alert, now: float, mutes: MuteMap) -> bool:
        """Whether the beginning that is owed must not be told now. An event that nobody wants to hear of is given up."""
        if not self._routing.of(alert.kind):
            if alert.kind in EVENTS:
                alert.give_up()
            return True
        why = self._why(alert, now, mutes)
        if why == "muted" and alert.silenced != "muted":
            state.totals.muted += 1
        alert.silenced = why
        if why == "muted" and alert.kind in EVENTS:
            alert.give_up()
        return why != "" or now < alert.due <= now + EARLY_PAUSE  # it gathers others

    def _why(self, alert: Alert, now: float, mutes: MuteMap) -> Silence:
        if muted_until(mutes, alert.kind, now) is not None:
            return "muted"
        return "quiet" if alert.severity is not Severity.CRITICAL and self._routing.quiet_at(now) else ""

    def sum_up(self, state: LeaderState, now: float) -> None:
        """After the hours of quiet, tell what they have held back: what is over, and what only happened. The rest is told by
        itself."""
        if self._routing.quiet_at(now):
            return
        for alert in state.alerts.values():
            if alert.kind in EVENTS and alert.silenced == "quiet" and alert.owed == "begin":
                state.hold_quiet(alert)
                alert.give_up()
        held, dropped = sorted(state.quiet, key=lambda one: float(one["since"])), state.quiet_dropped
        state.quiet, state.quiet_dropped = [], 0
        channels = self._channels({one["kind"] for one in held})
        if held and channels:
            title, body = messages.summary(held, dropped, self._origin)
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
                event=hook_events.summary_event(held, dropped, held[0]["since"], self._origin),
            )
            state.notifications[one.id] = one

    def _channels(self, kinds: set[str]) -> list[str]:
        """Those that hear of any of ``kinds``, and call nobody."""
        heard = {name for kind in self._routing.on if kind in kinds for name in self._routing.of(kind)}
        return [name for name in self._routing.channels if name in heard and not rings(name)]
