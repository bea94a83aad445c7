"""Alerts of one worker: the one that leads looks, decides and delivers; all answer from what it has written.

``look`` is called every :data:`LOOK` seconds by a loop of each worker, and ``deliver`` every :data:`DELIVER` seconds by another
one. Whoever has the lock leads; the others try for it. Nothing here blocks the hub: files, locks and the program that delivers
are left to native threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from pymongo.synchronous.database import Database

from prodfix.alert_settings import AlertKind
from prodfix.alerts import delivery, leader_state, messages, notifications
from prodfix.alerts.alert import Alert, Change
from prodfix.alerts.alert_routing import Routing
from prodfix.alerts.alerts_report import AlertsReport, heard_elsewhere, reported
from prodfix.alerts.conditions import EVENTS, Findings, conditions, kind_of
from prodfix.alerts.deliveries import Deliveries
from prodfix.alerts.delivery import Send
from prodfix.alerts.event_rows import EventRows
from prodfix.alerts.leader import DISK_LIMIT, Leader
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import Report
from prodfix.alerts.mutes import EVER, MutedRule, MuteMap, MuteRule, Mutes, MuteSpan, muted_rules, order, until_of
from prodfix.alerts.policy import Policy
from prodfix.alerts.situation import Observer
from prodfix.errors import JournalUnavailable, Severity
from prodfix.journal.journal import Journal
from prodfix.process import memory
from prodfix.process.breather import give_way
from prodfix.process.native import Pool
from prodfix.process.per_process import in_each_process
from prodfix.settings import Settings
from prodfix.workers.worker_state import AlertsState
from prodfix.workers.workers import Workers

LOOK = 2.0  # seconds
DELIVER = 0.5  # seconds
REST = 3 * LOOK  # seconds in which a leader that has failed leaves the lock to others


def made(
    settings: Settings,
    journal: Journal,
    workers: Workers,
    answering: Callable[[], Database[Any] | None],
    *,
    link: Callable[[], str],
    rates: Callable[[], Mapping[str, Any]],
    report: Report,
    version: Callable[[], object | None] = lambda: None,
) -> Alerts:
    """The alerts of an application. ``link`` leads to its diagnostics; ``rates`` tells the failed requests that are compared;
    ``version`` is another one whenever a journal has changed, None while nobody can say."""
    routing = Routing.made(settings.alert_routes, settings.rules_on, settings.quiet_hours)
    service = urlsplit(settings.address).hostname or f"prodfix-{settings.app_env}"
    origin = messages.Origin(settings.instance, settings.release, link, service)
    secret = settings.alert_hook_secret
    observer = Observer(
        journal,
        workers,
        instance=settings.instance,
        max_entries=settings.deferred_max_entries,
        max_bytes=settings.deferred_max_bytes,
        memory_limit=lambda: memory.limit(settings.memory_limit_mb),
        rates=rates,
        version=version,
    )
    policy = Policy(
        answering,
        origin=origin,
        routing=routing,
        cool_down=settings.alert_cooldown_minutes * 60.0,
        most=settings.alert_max_per_hour,
        report=report,
    )
    return Alerts(
        journal,
        observer,
        policy,
        origin=origin,
        routing=routing,
        report=report,
        secret=secret.get_secret_value() if secret is not None else None,
        version=version,
    )


class Alerts:
    """The alerts of one worker. Without any channel of ``routing`` alerts are only logged. ``secret`` signs web hooks."""

    def __init__(
        self,
        journal: Journal,
        observer: Observer,
        policy: Policy,
        *,
        origin: messages.Origin,
        routing: Routing,
        report: Report,
        secret: str | None = None,
        send: Send = delivery.send,
        version: Callable[[], object | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self.observer, self._policy, self._clock = journal, observer, policy, clock
        self._channels, self._report = routing.channels, report
        self.routing = routing
        self._mutes = Mutes(journal.folder)
        self.origin = origin
        self._deliveries = Deliveries(routing.channels, secret, report, send)
        self._leader = Leader(journal.folder)
        in_each_process(self._renew)
        self._delivering = False
        self._sender: Pool | None = None
        self._rest_until = 0.0
        self._events = EventRows(journal, version)

    def _renew(self) -> None:
        self._lock = threading.Lock()  # a parent's, that it forked in the middle of a look with, would never be free

    # -- looking --------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look once: lead if nobody does; if so, see what is wrong and decide what is told."""
        with self._lock:
            self._begin()
            if time.monotonic() < self._rest_until:
                return
            try:
                self._look(self._clock())
            except Exception:
                # Not known to be possible. But who cannot look must not keep the others from it.
                self._leader.stand_down()
                self._rest_until = time.monotonic() + REST
                raise

    def _look(self, now: float) -> None:
        led = self._leader.state is not None
        if (damage := self._leader.lead()) is not None:
            message = "the file of the alerts is damaged: what was told before is not known"
            self._report(Severity.ERROR, message, {"error": type(damage).__name__})
        state = self._leader.state
        if state is None:
            return
        if not led:
            self._take_over(state, now)
        disk = self._leader.failure or self._events.unread
        situation = self.observer.situation(now, disk)
        give_way()
        findings = conditions(situation, self.routing.on)
        self._see(state, findings, now)
        give_way()
        self._see_events(state, now)
        state.routes = self.routing.told()
        self._leader.save(now)  # before anything is claimed: whoever goes on after a kill claims the same
        mutes = self._leader.mutes()
        if heard := self._policy.share_mutes(state, mutes, now):
            mutes = self._leader.mutes(heard)
        if self._channels:
            self._policy.notify(state, now, mutes)
            self._policy.comparison.compare(state, findings, now)
        for alert in self._policy.comparison.settle_events(state, now):
            self._log(alert, "over")
        self._leader.save(now)

    def _begin(self) -> None:
        if self._leader.begin():
            self._delivering, self._sender = False, Pool(1)
        elif self._sender is None:
            self._sender = Pool(1)

    def _take_over(self, state: LeaderState, now: float) -> None:
        """Go on where the leader before has stopped: it was killed perhaps, and its program has come to its end since."""
        self._events.forget()
        self._deliveries.record(state, delivery.results(self._leader.results()), now)
        if not self._delivering:
            notifications.try_again(state.notifications)
        if self._channels:
            self._policy.notify(state, now, self._leader.mutes())
        self._leader.save(now)

    def _see(self, state: LeaderState, findings: Findings, now: float) -> None:
        for key in findings.found:
            state.alerts.setdefault(key, Alert(key, kind_of(key)))
        for key, alert in state.alerts.items():
            if key in findings.unknown or alert.kind in EVENTS:
                continue
            change = alert.see(findings.found.get(key), now)
            if change == "over" and alert.silenced == "quiet" and alert.notified is None:
                state.hold_quiet(alert)
            if change is not None:
                self._log(alert, change)

    def _log(self, alert: Alert, change: Change) -> None:
        firing = change == "firing"
        kinds = len(alert.members) or 1
        part: messages.AlertPart = "begin" if firing else "end"
        title = messages.title(alert.kind, part, alert.severity, kinds=kinds, more="more" in alert.facts)
        facts = {
            "alarm": alert.key,
            "state": change,
            "since": messages.moment(alert.since),
            "until": messages.moment(alert.until) if alert.until is not None else None,
            **({"first": messages.moment(alert.started)} if alert.again else {}),
            **alert.facts,
        }
        self._report(alert.severity if firing else Severity.INFO, title, facts)

    # -- events of kinds of errors: seen by one worker of all, told by another --------------------------------------------------

    def happened(self, kind: AlertKind, group: Mapping[str, Any]) -> None:
        """A kind of error is new, escalates, or is back though it was resolved: seen by this worker, and to be told by the
        leader."""
        if kind in self.routing.on:
            self._events.put(kind, group, self._clock())

    def further_kinds(self, number: int) -> None:
        """Beside new kinds so many are not told apart: whoever is told of those hears of that."""
        if "new_kind" in self.routing.on:
            self._events.put_further(number, self._clock())

    def _see_events(self, state: LeaderState, now: float) -> None:
        for alert in self._events.see(state, self.routing.on, now):
            self._log(alert, "firing")
            if not self._channels:
                alert.give_up()

    # -- delivering -------------------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Send what is due, if this worker leads; returns when the program that sends has ended."""
        with self._lock:
            self._begin()
            state = self._leader.state
            jobs = self._deliveries.begin(state, self._clock()) if state is not None else []
            if jobs:
                # Before it is sent: whoever goes on after a kill looks for the results.
                self._leader.save(self._clock())
            if state is None or not jobs:
                return
            # The program writes into the lock's file, and so holds the lock; else into one without a name.
            file = delivery.nameless() if self._leader.lock.file is None else os.dup(self._leader.lock.file)
            self._delivering = True
        try:
            assert self._sender is not None, "deliver has begun"
            results = self._deliveries.send(jobs, file, self._sender)
        finally:
            self._delivering = False
        with self._lock:
            if self._leader.state is state:  # else the lock was lost: the next leader reads the results from its file
                self._deliveries.record(state, results, self._clock())
                self._leader.save(self._clock())

    def close(self) -> None:
        """Let another worker lead. A program that still runs ends by itself, and holds the lock until then."""
        if self._lock.acquire(timeout=DISK_LIMIT):  # else the end of the process does
            try:
                self._leader.close()
                if self._sender is not None and not self._delivering:
                    self._sender.close()
                    self._sender = None
            finally:
                self._lock.release()

    # -- reading: the same in every worker --------------------------------------------------------------------------------------

    def state(self) -> AlertsState:
        """For this worker's state, which all workers read."""
        return AlertsState(sender=self._leader.state is not None)

    def read(self) -> AlertsReport:
        """What is wrong now, and the last alerts with what became of them: from the leader's file, so that all workers say the
        same. Never raises: what the file does not tell is left out, and said to be."""
        state, complete = LeaderState(), True
        mutes: MuteMap = {}
        try:
            state = self._journal.aside(leader_state.read, self._journal.folder)
            mutes = self._journal.aside(self._mutes.read)
        except (OSError, ValueError):
            complete = False
        now, routing = self._clock(), self.routing.as_told(state.routes)
        return reported(state, self.observer.workers.read(), routing=routing, mutes=mutes, now=now, complete=complete)

    # -- muting: by whoever is asked, for all instances --------------------------------------------------------------------------

    def mute(self, rule: MuteRule, by: str, *, span: MuteSpan = "1h", until: float | None = None) -> list[MutedRule]:
        """Let nobody hear of ``rule`` (``all``: of any) for a while, or ``until`` a moment in seconds since the epoch; what is
        muted then. Raises :class:`prodfix.errors.JournalUnavailable` if the disk fails."""
        now = self._clock()
        end = until_of(span, now, self.routing.quiet) if until is None else min(until, EVER)
        return self._order(rule, end, by)

    def unmute(self, rule: MuteRule, by: str) -> list[MutedRule]:
        """Take that back; of ``all`` only what was muted as all. Raises the same."""
        return self._order(rule, 0.0, by)

    def elsewhere(self) -> str:
        """When other instances hear of what was ordered here."""
        return heard_elsewhere(self.observer.workers.read())

    def _order(self, rule: MuteRule, until: float, by: str) -> list[MutedRule]:
        one = order(rule, until, by, self._clock)
        try:
            found = self._journal.aside(self._mutes.merge, [one])
        except OSError as error:  # a TimeoutError is one
            raise JournalUnavailable(type(error).__name__) from error
        message = "alerts are muted" if until else "alerts are not muted any more"
        ends = messages.moment(until) if 0.0 < until < EVER else None
        self._report(Severity.INFO, message, {"rule": rule, "until": ends, "by": by})
        return muted_rules(found, self._clock())
