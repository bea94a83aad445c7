"""Whether what is owed is told by this instance and now, and the notification that tells it.

What several instances see is claimed in MongoDB (:mod:`prodfix.alerts.agreement`); while that does not answer, or refuses, each
instance decides for itself. What concerns one instance is decided by what its own leader knows.

Before that: what no channel hears of (:mod:`prodfix.alerts.alert_routing`), what an admin has muted
(:mod:`prodfix.alerts.mutes`) and what the hours of quiet hold back is not told, and not claimed. What is muted is told if it
is still there when the mute ends, and of events one summary tells then; of the hours of quiet that tells what is over by then,
too. Critical alerts pass them. An end passes all of these: nobody is called for it, and what a pager has open it calls people
for.

Whoever leads is told by a lock on the disk, so nothing is sent to MongoDB to lead. An instance that sees something tells so
every 15 seconds, in a document of its own; what cannot be told yet is tried again after ten. One that sees nothing asks once in
some minutes whether another one has left something behind, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pymongo.synchronous.database import Database

from prodfix.alerts import agreement, hook_events, kind_events, messages
from prodfix.alerts.agreement import Agreed, Decision, Verdict
from prodfix.alerts.alert import Alert, Notified
from prodfix.alerts.alert_routing import Routing
from prodfix.alerts.conditions import EVENTS, SHARED
from prodfix.alerts.instance_comparison import Comparison
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import Report
from prodfix.alerts.mutes import Mute, MuteMap, muted_until, store_mute, stored_mutes
from prodfix.alerts.notifications import Delivery, Notification
from prodfix.alerts.shared_database import SharedDatabase
from prodfix.alerts.silence import Silences
from prodfix.errors import Severity

RETRY = 10.0  # seconds until what could not be told is tried again
MUTED = 60.0  # seconds until it is looked whether what is muted here was unmuted elsewhere
LATEST_EVENT = 3600.0  # seconds after which an event that could not be told is no news


class Policy:
    """``answering`` is the database while it answers. ``cool_down`` is in seconds; ``most`` notifications in an hour."""

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        origin: messages.Origin,
        routing: Routing,
        cool_down: float,
        most: int,
        report: Report,
    ) -> None:
        self._report = report
        self._shared = SharedDatabase(answering, report)
        self.comparison = Comparison(self._shared, instance=origin.instance, on=routing.on)
        self._origin, self._routing = origin, routing
        self._silences = Silences(routing, origin)
        self._cool_down, self._most = cool_down, most
        self._mutes_at = 0.0
        self._tried: dict[str, float] = {}  # notifications that could not be told, and when that was found

    def notify(self, state: LeaderState, now: float, mutes: MuteMap) -> None:
        """Make the notifications that are owed and may be made now."""
        self._silences.sum_up(state, now, mutes)
        for alert in sorted(state.alerts.values(), key=lambda alert: (alert.since, alert.key)):
            if alert.owed in ("begin", "more") and self._silences.keeps(state, alert, now, mutes):
                continue
            if alert.owed in ("begin", "more") and alert.cooling(now, self._cool_down):
                self._drop_old_event(alert, now)
            elif alert.owed is not None and not 0 <= now - self._tried.get(alert.notification, now + 1) < RETRY:
                self._notify(state, alert, now)
        owed = {alert.notification for alert in state.alerts.values() if alert.owed is not None}
        self._tried = {notification: at for notification, at in self._tried.items() if notification in owed}

    def _notify(self, state: LeaderState, alert: Alert, now: float) -> None:
        verdict, notified, shared = self._decide(alert, now)
        if verdict is Verdict.SILENT:
            alert.settle(notified, now, shared)
        elif verdict is Verdict.TELL:
            fits = self._fits(state, alert, now)
            if fits is Verdict.TELL:
                self._put(state, alert, now)
                alert.settle(notified, now, shared)
            elif fits is Verdict.WAIT:
                self._hold_back(state, alert, now)

    def _drop_old_event(self, alert: Alert, now: float) -> None:
        if alert.kind in EVENTS and now - alert.since > LATEST_EVENT:
            alert.give_up()

    # -- what admins have muted, here and elsewhere ---------------------------------------------------------------------------

    def share_mutes(self, state: LeaderState, known: MuteMap, now: float) -> list[Mute]:
        """Tell the other instances what was muted here; what they have decided, if anything is to be told."""
        heard, self.comparison.heard = self.comparison.heard, []
        unsaid = [one for one in known.values() if not one.stored]
        owed = [alert for alert in state.alerts.values() if alert.owed in ("begin", "more")]
        telling = any(muted_until(known, alert.kind, now) is None for alert in owed)
        database = self._shared.at(now) if unsaid or owed else None
        if database is None or 0 <= now - self._mutes_at < (RETRY if unsaid or telling else MUTED):
            return heard
        self._mutes_at = now
        return heard + (self._shared.ask(now, partial(_exchanged, unsaid), database, claims=False) or [])

    # -- whose it is --------------------------------------------------------------------------------------------------------

    def _decide(self, alert: Alert, now: float) -> tuple[Verdict, Notified | None, str]:
        """The verdict, by whose word it is told then, and under which notification all instances know it."""
        database = self._shared.at(now) if alert.kind in SHARED or alert.kind in EVENTS else None
        if alert.kind in EVENTS and alert.owed == "begin" and database is not None:
            wanted = self._shared.ask(now, partial(self._is_wanted, alert), database)
            verdict = Verdict.WAIT if wanted is None else Verdict.TELL if wanted else Verdict.SILENT
            return verdict, "alone" if wanted else None, ""
        if alert.kind not in SHARED:
            return Verdict.TELL, "alone", ""
        if database is None:
            return self._alone(alert, now), "alone", ""
        decided = self._shared.ask(now, partial(self._claim, alert, now), database)
        if decided is None:
            return Verdict.WAIT, None, ""
        self._tried[alert.notification] = now  # told or silent, it is owed no more
        return decided

    @staticmethod
    def _is_wanted(alert: Alert, database: Database[Any]) -> bool:
        """Whether nobody has decided of it meanwhile."""
        known = kind_events.decisions(database, alert.members)
        return not (kind_events.unheard(alert, known) or kind_events.decided(alert, known))

    def _alone(self, alert: Alert, now: float) -> Verdict:
        """Without MongoDB. What was claimed there ends there, unless it refuses claims."""
        if alert.owed == "begin":
            return Verdict.TELL
        if self._shared.refuses(now):
            return Verdict.SILENT if alert.owed == "withdraw" else Verdict.TELL
        # That the database is back can only be untrue while it does not answer.
        alone = alert.notified == "alone" and alert.kind != "database_lost"
        return Verdict.TELL if alone else Verdict.WAIT

    def _claim(self, alert: Alert, now: float, database: Database[Any]) -> tuple[Verdict, Notified | None, str]:
        at, key, instance = agreement.server_time(database), alert.key, self._origin.instance
        mine: dict[str, Any] = {"notification": alert.notification, "instance": instance, "now": at}
        if alert.owed == "begin":
            agreement.hold(database, key, instance, at)
            begun = partial(agreement.begun, **mine, cool_down=self._cool_down)
            verdict, last = agreement.claim(database, key, begun)
            if verdict is Verdict.WAIT and last is not None:
                alert.notified_at = min(now, now - at + last.begun_at)
            shared = last.notification if last is not None else ""
            return verdict, "claimed" if verdict is Verdict.TELL else "joined", shared
        agreement.release(database, key, instance)
        verdict, _ = agreement.claim(database, key, partial(self._ended, alert, mine, at - now))
        return (Verdict.SILENT if alert.owed == "withdraw" else verdict), None, ""

    @staticmethod
    def _ended(alert: Alert, mine: dict[str, Any], ahead: float, agreed: Agreed) -> Decision:
        """``ahead``: seconds by which the server's clock is."""
        if alert.notified == "alone":
            return agreement.merged(agreed, **mine, since=alert.started + ahead)
        return agreement.ended(agreed, **mine, begin=alert.shared or f"{alert.episode}:begin")

    # -- whether there is room in this hour -----------------------------------------------------------------------------------

    def _fits(self, state: LeaderState, alert: Alert, now: float) -> Verdict | None:
        """None if that cannot be told now."""
        if sum(one.at > now - agreement.PERIOD for one in state.notifications.values()) >= self._most:
            return Verdict.WAIT
        database = self._shared.at(now)
        return self._shared.ask(now, partial(self._admit, alert), database) if database is not None else Verdict.TELL

    def _admit(self, alert: Alert, database: Database[Any]) -> Verdict:
        now = agreement.server_time(database)
        decide = partial(agreement.admitted, notification=alert.notification, now=now, most=self._most)
        return agreement.claim(database, agreement.HOUR, decide, kept=max(self._most, agreement.KEPT))[0]

    def _hold_back(self, state: LeaderState, alert: Alert, now: float) -> None:
        if not alert.held:
            alert.held = True
            state.totals.held += 1
            state.totals.untold += 1
            facts = {"key": alert.key, "part": alert.owed, "mostInAnHour": self._most}
            self._report(Severity.WARN, "an alert is held back", facts)
        self._drop_old_event(alert, now)

    def _put(self, state: LeaderState, alert: Alert, now: float) -> None:
        part: messages.AlertPart = "end" if alert.owed == "end" else "more" if alert.owed == "more" else "begin"
        if alert.kind == "new_kind" and part == "begin":
            state.gathered_at = now
        channels = {name: Delivery() for name in self._routing.of(alert.kind)}
        if not channels:
            return  # of an end whose beginning was told before the settings were others
        body = messages.body(
            alert.kind,
            part,
            alert.facts,
            self._origin,
            severity=alert.severity,
            since=alert.since,
            first=alert.started,
            until=alert.until,
            held=max(0, state.totals.untold - alert.held),
            most=self._most,
        )
        title = messages.subject(alert.kind, part, alert.severity, self._origin, alert.facts)
        known = (alert.notification, alert.key, alert.kind, part, str(alert.severity), title, body, now)
        one = Notification(*known, channels, hook_events.event_of(alert, part, self._origin))
        state.notifications[one.id] = one
        state.totals.untold = 0


def _exchanged(unsaid: list[Mute], database: Database[Any]) -> list[Mute]:
    for one in unsaid:
        store_mute(database, one)
    return stored_mutes(database)
