"""Whether what is owed is told by this instance and now, and the notification that tells it.

What several instances see is claimed in MongoDB (:mod:`prodfix.alerts.agreement`); while that does not answer, or refuses, each
instance decides for itself. What concerns one instance is decided by what its own leader knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import pymongo
from pymongo.synchronous.database import Database

from prodfix.alerts import agreement, messages
from prodfix.alerts.agreement import Agreed, Contended, Decision, Verdict
from prodfix.alerts.alert import Alert, Notified
from prodfix.alerts.conditions import SHARED, Findings
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.notifications import Delivery, Notification
from prodfix.errors import UNANSWERED, Severity

LIMIT = 3.0  # seconds for one claim
REFUSALS = 3  # claims in a row that fail, until this instance goes on alone
ALONE = 60.0  # seconds
COMPARE_PERIOD = 15.0  # seconds between two comparisons of what this instance sees with what all have agreed upon
LATEST_EVENT = 3600.0  # seconds after which an event that could not be told is no news

Report = Callable[[Severity, str, Mapping[str, Any]], None]
Answer = TypeVar("Answer")


class Policy:
    """``answering`` is the database while it answers. ``cool_down`` is in seconds; ``most`` notifications in an hour."""

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        origin: messages.Origin,
        channels: Mapping[str, str],
        cool_down: float,
        most: int,
        report: Report,
    ) -> None:
        self._answering, self._report = answering, report
        self._origin, self._channels = origin, channels
        self._cool_down, self._most = cool_down, most
        self._refusals = 0
        self._alone_since: float | None = None
        self._compared_at = 0.0

    def notify(self, state: LeaderState, now: float) -> None:
        """Make the notifications that are owed and may be made now."""
        for alert in sorted(state.alerts.values(), key=lambda alert: (alert.since, alert.key)):
            if alert.owed in ("begin", "more") and alert.cooling(now, self._cool_down):
                self._drop_old_event(alert, now)
            elif alert.owed is not None:
                self._notify(state, alert, now)

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
        if alert.kind == "regression" and now - alert.since > LATEST_EVENT:
            alert.give_up()

    # -- whose it is --------------------------------------------------------------------------------------------------------

    def _decide(self, alert: Alert, now: float) -> tuple[Verdict, Notified | None, str]:
        """The verdict, by whose word it is told then, and under which notification all instances know it."""
        if alert.kind not in SHARED:
            return Verdict.TELL, "alone", ""
        database = self._shared(now)
        if database is None:
            return self._alone(alert, now), "alone", ""
        return self._ask(now, partial(self._claim, alert, now), database) or (Verdict.WAIT, None, "")

    def _alone(self, alert: Alert, now: float) -> Verdict:
        """Without MongoDB. What was claimed there ends there, unless it refuses claims."""
        if alert.owed == "begin":
            return Verdict.TELL
        if self._refused(now):
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
        database = self._shared(now)
        return self._ask(now, partial(self._admit, alert), database) if database is not None else Verdict.TELL

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
        body = messages.body(
            alert.kind,
            part,
            alert.facts,
            self._origin,
            severity=alert.severity,
            since=alert.since,
            until=alert.until,
            held=max(0, state.totals.untold - alert.held),
            most=self._most,
        )
        title = messages.subject(alert.kind, part, alert.severity, self._origin)
        known = (alert.notification, alert.key, alert.kind, part, str(alert.severity), title, body, now)
        one = Notification(*known, {name: Delivery() for name in self._channels})
        state.notifications[one.id] = one
        state.totals.untold = 0

    # -- what others must know, and what they have left -----------------------------------------------------------------------

    def compare(self, state: LeaderState, findings: Findings, now: float) -> None:
        """Tell the other instances what this one still sees, and end what those have left that are gone."""
        database = self._shared(now)
        if database is None or 0 <= now - self._compared_at < COMPARE_PERIOD:
            return
        self._compared_at = now
        for kind in sorted(SHARED):
            alert = state.alerts.get(kind) or Alert(kind, kind)
            if alert.firing and alert.owed is None and alert.notified in ("claimed", "joined"):
                self._ask(now, partial(self._still_there, alert), database, claims=False)
            elif not (alert.firing or alert.owed or kind in findings.found or kind in findings.unknown):
                self._ask(now, partial(self._adopt, state, alert, now), database, claims=False)

    def _still_there(self, alert: Alert, database: Database[Any]) -> bool:
        agreement.hold(database, alert.key, self._origin.instance, agreement.server_time(database))
        if not agreement.look(database, alert.key).lasts(alert.shared):
            alert.begin_anew()
        return True

    @staticmethod
    def _adopt(state: LeaderState, alert: Alert, now: float, database: Database[Any]) -> bool:
        at, agreed = agreement.server_time(database), agreement.look(database, alert.key)
        if agreed.open is not None and not agreed.others("", at):
            alert.adopt(agreed.open.notification, min(now, now - at + agreed.open.at), now)
            state.alerts[alert.key] = alert
        return True

    # -- MongoDB --------------------------------------------------------------------------------------------------------------

    def _shared(self, now: float) -> Database[Any] | None:
        database = self._answering()
        if database is None:
            self._refusals, self._alone_since = 0, None  # it is away, and has not refused anything
        return None if self._refused(now) else database

    def _refused(self, now: float) -> bool:
        return self._alone_since is not None and 0 <= now - self._alone_since < ALONE

    def _ask(
        self, now: float, work: Callable[[Database[Any]], Answer], database: Database[Any], *, claims: bool = True
    ) -> Answer | None:
        """The answer of ``work``; None if MongoDB gave none. Whose ``claims`` are refused in a row goes on alone for a while."""
        try:
            with pymongo.timeout(LIMIT):
                answer = work(database)
        except Contended:
            return None
        except UNANSWERED as error:
            self._refusals += claims
            if self._refusals >= REFUSALS:
                self._refusals, self._alone_since = 0, now
                facts = {"error": type(error).__name__, "seconds": ALONE}
                self._report(Severity.WARN, "alerts are not agreed upon with other instances", facts)
            return None
        if claims:
            self._refusals = 0
        return answer
