"""Alerts of one worker: the one that leads looks, decides and delivers; all answer from what it has written.

``look`` is called every :data:`LOOK` seconds by a loop of each worker, and ``deliver`` every :data:`DELIVER` seconds by another
one. Whoever has the lock leads; the others try for it. Nothing here blocks the hub: files, locks and the program that delivers
are left to native threads.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pymongo.synchronous.database import Database

from prodfix.alerts import delivery, leader_state, messages, notifications
from prodfix.alerts.alert import Alert, Change
from prodfix.alerts.alerts_report import AlertsReport, reported
from prodfix.alerts.conditions import Findings, conditions, kind_of
from prodfix.alerts.delivery import REASONS, Send
from prodfix.alerts.leader import DISK_LIMIT, Leader
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.notifications import DeliveryResult, DeliveryState, Notification
from prodfix.alerts.policy import Policy, Report
from prodfix.alerts.situation import Observer
from prodfix.errors import Severity
from prodfix.journal.journal import Journal
from prodfix.process import memory
from prodfix.process.native import Pool
from prodfix.settings import Settings
from prodfix.workers.worker_state import AlertsState
from prodfix.workers.workers import Workers

LOOK = 2.0  # seconds
DELIVER = 0.5  # seconds
REST = 3 * LOOK  # seconds in which a leader that has failed leaves the lock to others
MOST_ALERTS = 500  # resolved errors that are back are kinds of their own
NEWS = 3600.0  # seconds in which such an error is told by the worker that saw it

_REGRESSED = (
    "INSERT INTO regressions (fingerprint, at, entry) VALUES (?, ?, ?) ON CONFLICT (fingerprint)"
    " DO UPDATE SET at = excluded.at, entry = excluded.entry"
)
_REGRESSIONS = "SELECT fingerprint, at, entry FROM regressions WHERE at > ? ORDER BY at LIMIT 1000"


def made(
    settings: Settings,
    journal: Journal,
    workers: Workers,
    answering: Callable[[], Database[Any] | None],
    *,
    link: Callable[[], str],
    rates: Callable[[], Mapping[str, Any]],
    report: Report,
) -> Alerts:
    """The alerts of an application. ``link`` leads to its diagnostics; ``rates`` tells the failed requests that are compared."""
    channels = delivery.channels(settings.alert_channels)
    origin = messages.Origin(settings.instance, settings.release, link)
    observer = Observer(
        journal,
        workers,
        instance=settings.instance,
        max_entries=settings.deferred_max_entries,
        max_bytes=settings.deferred_max_bytes,
        memory_limit=lambda: memory.limit(settings.memory_limit_mb),
        rates=rates,
    )
    policy = Policy(
        answering,
        origin=origin,
        channels=channels,
        cool_down=settings.alert_cooldown_minutes * 60.0,
        most=settings.alert_max_per_hour,
        report=report,
    )
    return Alerts(journal, observer, policy, origin=origin, channels=channels, report=report)


class Alerts:
    """The alerts of one worker. ``channels`` are URLs by their public names; without any, alerts are only logged."""

    def __init__(
        self,
        journal: Journal,
        observer: Observer,
        policy: Policy,
        *,
        origin: messages.Origin,
        channels: Mapping[str, str],
        report: Report,
        send: Send = delivery.send,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self.observer, self._policy, self._clock = journal, observer, policy, clock
        self._channels, self._report = channels, report
        self.origin = origin
        self._send = send
        self._leader = Leader(journal.folder)
        self._lock = threading.Lock()
        self._delivering = False
        self._sender: Pool | None = None
        self._rest_until = 0.0
        self._unread: str | None = None

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
        findings = conditions(self.observer.situation(self._leader.failure or self._unread))
        self._see(state, findings, now)
        self._see_regressions(state, now)
        self._leader.save(now)  # before anything is claimed: whoever goes on after a kill claims the same
        if self._channels:
            self._policy.notify(state, now)
            self._policy.compare(state, findings, now)
            self._leader.save(now)

    def _begin(self) -> None:
        if self._leader.begin():
            self._delivering, self._sender = False, Pool(1)
        elif self._sender is None:
            self._sender = Pool(1)

    def _take_over(self, state: LeaderState, now: float) -> None:
        """Go on where the leader before has stopped: it was killed perhaps, and its program has come to its end since."""
        self._record(state, delivery.results(self._leader.results()), now)
        if not self._delivering:
            notifications.try_again(state.notifications)
        if self._channels:
            self._policy.notify(state, now)
        self._leader.save(now)

    def _see(self, state: LeaderState, findings: Findings, now: float) -> None:
        for key in findings.found:
            state.alerts.setdefault(key, Alert(key, kind_of(key)))
        for key, alert in state.alerts.items():
            if key in findings.unknown or alert.kind == "regression":
                continue
            change = alert.see(findings.found.get(key), now)
            if change is not None:
                self._log(alert, change)

    def _log(self, alert: Alert, change: Change) -> None:
        firing = change == "firing"
        title = messages.title(alert.kind, "begin" if firing else "end", alert.severity)
        facts = {
            "alarm": alert.key,
            "state": change,
            "since": messages.moment(alert.since),
            "until": messages.moment(alert.until) if alert.until is not None else None,
            **alert.facts,
        }
        self._report(alert.severity if firing else Severity.INFO, title, facts)

    # -- resolved errors that are back: seen by one worker of all, told by another ----------------------------------------------

    def regressed(self, group: Mapping[str, Any]) -> None:
        """A resolved kind of error is back: seen by this worker, and to be told by the leader."""
        entry = {"fingerprint": group["fingerprint"], "error": group["message"], "releases": group["releases"]}
        now = self._clock()
        self._journal.offer(
            [
                ("DELETE FROM regressions WHERE at < ?", (now - NEWS,)),
                (_REGRESSED, (group["fingerprint"], now, orjson.dumps(entry))),
            ],
            limit=DISK_LIMIT,
        )

    def _see_regressions(self, state: LeaderState, now: float) -> None:
        alerts = state.alerts
        for fingerprint, at, entry in self._regressions(now):
            key = f"regression:{fingerprint}"
            if key not in alerts and len(alerts) >= MOST_ALERTS:
                continue  # the log has them all
            alert = alerts.setdefault(key, Alert(key, "regression"))
            if alert.happen(orjson.loads(entry), at):
                self._log(alert, "firing")
                if not self._channels:
                    alert.give_up()

    def _regressions(self, now: float) -> list[tuple[Any, ...]]:
        try:
            rows = self._journal.read(_REGRESSIONS, (now - NEWS,))
        except (OSError, sqlite3.Error) as error:  # a TimeoutError is one
            self._unread = type(error).__name__
            return []
        self._unread = None
        return sorted(rows, key=lambda row: float(row[1]))

    # -- delivering -------------------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Send what is due, if this worker leads; returns when the program that sends has ended."""
        with self._lock:
            self._begin()
            state = self._leader.state
            jobs = self._due(state, self._clock()) if state is not None else []
            if state is None or not jobs:
                return
            # The program writes into the lock's file, and so holds the lock; else into one without a name.
            file = delivery.nameless() if self._leader.lock.file is None else os.dup(self._leader.lock.file)
            self._delivering = True
        try:
            results = self._sent(jobs, file)
        finally:
            self._delivering = False
        with self._lock:
            if self._leader.state is state:  # else the lock was lost: the next leader reads the results from its file
                self._record(state, results, self._clock())
                self._leader.save(self._clock())

    def _due(self, state: LeaderState, now: float) -> list[delivery.Job]:
        due = notifications.due(state.notifications, now, self._channels)[: delivery.MOST]
        for one, channel in due:
            one.channels[channel].begin()
        if due:
            self._leader.save(now)  # before it is sent: whoever goes on after a kill looks for the results
        return [delivery.job(one, channel, self._channels[channel]) for one, channel in due]

    def _sent(self, jobs: list[delivery.Job], file: int) -> list[DeliveryResult]:
        try:
            assert self._sender is not None, "deliver has begun"
            written = self._sender.run(delivery.run, jobs, file, self._send)
        except Exception as error:  # noqa: BLE001 - that it could not be run must not keep the next one from running
            self._report(Severity.ERROR, "the delivery program could not be run", {"error": type(error).__name__})
            return delivery.with_missing(jobs, (), "not_started")
        return delivery.with_missing(jobs, delivery.results(written), "no_result")

    def _record(self, state: LeaderState, results: list[DeliveryResult], now: float) -> None:
        for one, result, became in notifications.record(state.notifications, results, now):
            state.totals.sent += became == "delivered"
            state.totals.failed += became == "failed"
            self._log_delivery(one, result, became)

    def _log_delivery(self, one: Notification, result: DeliveryResult, state: DeliveryState) -> None:
        facts: dict[str, Any] = {"alert": one.id, "key": one.key, "channel": result.channel, "state": state}
        if state == "delivered":
            self._report(Severity.INFO, "an alert was delivered", facts)
            return
        facts |= {"reason": result.reason, "advice": REASONS.get(result.reason or "", "")}
        given_up = state == "failed"
        message = "an alert was not delivered, and is given up" if given_up else "an alert was not delivered yet"
        self._report(Severity.ERROR if given_up else Severity.WARN, message, facts)

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
        try:
            state = self._journal.aside(leader_state.read, self._journal.folder)
        except (OSError, ValueError):
            complete = False
        return reported(state, self.observer.workers.read(), channels=self._channels, complete=complete)
