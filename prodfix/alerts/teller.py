"""Whether what an alarm wants is told by this instance, and the alert that tells it.

What several instances see is claimed in MongoDB (:mod:`prodfix.alerts.claims`); while that does not answer, or refuses, each
instance decides for itself. What concerns one instance is decided by its own journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar

import pymongo
from pymongo.synchronous.database import Database

from prodfix.alerts import claims, texts
from prodfix.alerts.alarms import Alarm, Told
from prodfix.alerts.claims import Answer, Contended
from prodfix.alerts.ledger import Ledger
from prodfix.alerts.outbox import Alert, Delivery
from prodfix.alerts.rules import SHARED, Findings
from prodfix.errors import UNANSWERED, Severity

LIMIT = 3.0  # seconds for one claim
REFUSALS = 3  # claims in a row that fail, until this instance goes on alone
ALONE = 60.0  # seconds
HELD_PERIOD = 15.0  # seconds between two tellings that this instance still sees it
ORPHAN_PERIOD = 30.0  # seconds between two looks for what instances left that are gone
LATEST_EVENT = 3600.0  # seconds after which an event that could not be told is no news

Report = Callable[[Severity, str, Mapping[str, Any]], None]
Verdict = Literal["tell", "silent", "wait"]
Given = TypeVar("Given")


class Teller:
    """Decides and writes alerts into the ledger's outbox. ``cool_down`` is in seconds, ``most`` in an hour."""

    def __init__(
        self,
        ledger: Ledger,
        answering: Callable[[], Database[Any] | None],
        *,
        origin: texts.Origin,
        channels: Mapping[str, str],
        cool_down: float,
        most: int,
        report: Report,
    ) -> None:
        self._ledger, self._answering, self._report = ledger, answering, report
        self._origin, self._channels = origin, channels
        self._cool_down, self._most = cool_down, most
        self._refusals = 0
        self._alone_since: float | None = None
        self._held_at = self._orphans_at = 0.0

    def tell(self, now: float) -> None:
        """Tell what is wanted and may be told now."""
        for alarm in sorted(self._ledger.alarms.values(), key=lambda alarm: (alarm.since, alarm.key)):
            if alarm.want in ("begin", "more") and alarm.cooling(now, self._cool_down):
                self._drop_old_event(alarm, now)
            elif alarm.want is not None:
                self._tell(alarm, now)

    def _tell(self, alarm: Alarm, now: float) -> None:
        verdict, told, shared = self._decide(alarm, now)
        if verdict == "silent":
            alarm.shared = shared
            alarm.done(told, now)
        elif verdict == "tell":
            fits = self._fits(alarm, now)
            if fits:
                alarm.shared = shared
                self._put(alarm, now)
                alarm.done(told, now)
            elif fits is False:
                self._hold_back(alarm, now)

    def _drop_old_event(self, alarm: Alarm, now: float) -> None:
        if alarm.kind == "regression" and now - alarm.since > LATEST_EVENT:
            alarm.give_up()

    # -- whose it is --------------------------------------------------------------------------------------------------------

    def _decide(self, alarm: Alarm, now: float) -> tuple[Verdict, Told | None, str]:
        if alarm.kind not in SHARED:
            return "tell", "journal", ""
        database = self._shared(now)
        if database is None:
            return self._alone(alarm, now)
        found = self._ask(now, partial(self._claim, alarm, now), database)
        return found if found is not None else ("wait", None, "")

    def _alone(self, alarm: Alarm, now: float) -> tuple[Verdict, Told | None, str]:
        """Without MongoDB. What was claimed there ends there, unless it refuses claims."""
        if alarm.want == "begin":
            return "tell", "journal", ""
        refused = self._refused(now)
        if alarm.want == "withdraw":
            return ("silent" if refused else "wait"), None, ""
        # That the database is back can only be untrue while it does not answer.
        own = alarm.told == "journal" and alarm.kind != "database_lost"
        return ("tell" if own or refused else "wait"), None, ""

    def _claim(self, alarm: Alarm, now: float, database: Database[Any]) -> tuple[Verdict, Told | None, str]:
        at = claims.server_time(database)
        instance, alert = self._origin.instance, alarm.alert
        if alarm.want == "begin":
            decide = partial(claims.begun, alert=alert, instance=instance, now=at, cool_down=self._cool_down)
            answer, shared = claims.claim(database, alarm.key, decide)
            if answer is Answer.COOLING and shared is not None:
                alarm.told_at = min(now, now - at + shared.told_at)
                return "wait", None, ""
            if answer is Answer.TELL:
                return "tell", "claim", alert
            return "silent", "joined", shared.alert if shared is not None else ""
        if alarm.want == "withdraw":
            begin = f"{alarm.episode}:begin"
            claims.claim(database, alarm.key, partial(claims.withdrawn, alert=begin, instance=instance, now=at))
            return "silent", None, ""
        if alarm.told == "journal":
            decide = partial(claims.merged, alert=alert, instance=instance, now=at, since=alarm.begun + at - now)
        else:
            decide = partial(claims.ended, alert=alert, instance=instance, now=at, begin=alarm.shared)
        answer, _ = claims.claim(database, alarm.key, decide)
        return ("tell" if answer is Answer.TELL else "silent"), None, ""

    # -- whether there is room in this hour -----------------------------------------------------------------------------------

    def _fits(self, alarm: Alarm, now: float) -> bool | None:
        """None if that cannot be told now."""
        outbox, alert = self._ledger.outbox, alarm.alert
        if alert in outbox.alerts:
            return True
        if outbox.sent_since(now - claims.PERIOD) >= self._most:
            return False
        database = self._shared(now)
        if database is None:
            return True
        return self._ask(now, partial(self._admit, alert), database)

    def _admit(self, alert: str, database: Database[Any]) -> bool:
        return claims.admit(database, alert, claims.server_time(database), self._most)

    def _hold_back(self, alarm: Alarm, now: float) -> None:
        if not alarm.held:
            alarm.held = True
            alarm.revision += 1
            self._ledger.totals.held += 1
            self._ledger.totals.untold += 1
            facts = {"key": alarm.key, "part": alarm.want, "mostInAnHour": self._most}
            self._report(Severity.WARN, "an alert is held back", facts)
        self._drop_old_event(alarm, now)

    def _put(self, alarm: Alarm, now: float) -> None:
        part: texts.Part = "end" if alarm.want == "end" else "more" if alarm.want == "more" else "begin"
        totals = self._ledger.totals
        text = texts.body(
            alarm.kind,
            part,
            alarm.facts,
            self._origin,
            severity=alarm.severity,
            since=alarm.since,
            until=alarm.until,
            held=max(0, totals.untold - alarm.held),
            most=self._most,
        )
        title = texts.subject(alarm.kind, part, alarm.severity, self._origin)
        deliveries = {name: Delivery() for name in self._channels}
        alert = Alert(alarm.alert, alarm.key, alarm.kind, part, str(alarm.severity), title, text, now, deliveries)
        self._ledger.outbox.put(alert)
        totals.untold = 0

    # -- what others must know, and what they have left -----------------------------------------------------------------------

    def hold(self, findings: Findings, now: float) -> None:
        """Tell the other instances what this one still sees, and end what those have left that are gone."""
        database = self._shared(now)
        if database is None:
            return
        if not 0 <= now - self._held_at < HELD_PERIOD:
            self._held_at = now
            for alarm in self._ledger.alarms.values():
                if alarm.firing and alarm.want is None and alarm.told in ("claim", "joined"):
                    self._ask(now, partial(self._still_there, alarm), database)
        if not 0 <= now - self._orphans_at < ORPHAN_PERIOD:
            self._orphans_at = now
            refusals = self._refusals
            self._ask(now, partial(self._adopt, findings, now), database)
            self._refusals = max(refusals, self._refusals)  # it only reads, which may be allowed where claims are not

    def _still_there(self, alarm: Alarm, database: Database[Any]) -> bool:
        at = claims.server_time(database)
        decide = partial(claims.held, alert=alarm.shared, instance=self._origin.instance, now=at)
        answer, _ = claims.claim(database, alarm.key, decide)
        if answer is Answer.LOST:
            alarm.forget()
        return True

    def _adopt(self, findings: Findings, now: float, database: Database[Any]) -> bool:
        at = claims.server_time(database)
        for key, shared in claims.firing(database).items():
            kind = next((kind for kind in SHARED if kind == key), None)
            alarm = self._ledger.alarms.get(key)
            busy = alarm is not None and (alarm.firing or alarm.want is not None)
            if kind is None or busy or key in findings.found or key in findings.unknown or shared.others("", at):
                continue
            alarm = self._ledger.alarms.setdefault(key, Alarm(key, kind))
            alarm.orphaned(shared.alert, min(now, now - at + shared.told_at), now)
        return True

    # -- MongoDB --------------------------------------------------------------------------------------------------------------

    def _shared(self, now: float) -> Database[Any] | None:
        database = self._answering()
        if database is None:
            self._refusals, self._alone_since = 0, None  # it is away, and has not refused anything
        return None if self._refused(now) else database

    def _refused(self, now: float) -> bool:
        return self._alone_since is not None and 0 <= now - self._alone_since < ALONE

    def _ask(self, now: float, work: Callable[[Database[Any]], Given], database: Database[Any]) -> Given | None:
        """The answer of ``work``; None if MongoDB gave none. Who is refused again and again goes on alone for a while."""
        try:
            with pymongo.timeout(LIMIT):
                answer = work(database)
        except Contended:
            return None
        except UNANSWERED as error:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                self._refusals, self._alone_since = 0, now
                facts = {"error": type(error).__name__, "seconds": ALONE}
                self._report(Severity.WARN, "alerts are not agreed upon with other instances", facts)
            return None
        self._refusals = 0
        return answer
