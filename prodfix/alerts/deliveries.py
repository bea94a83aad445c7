"""Which deliveries are due, what sends them, and what becomes of them: on record and in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prodfix.alerts import delivery, notifications
from prodfix.alerts.delivery import REASONS, Job, Send
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import Report
from prodfix.alerts.notifications import DeliveryResult, DeliveryState, Notification
from prodfix.errors import Severity
from prodfix.process.native import Pool


class Deliveries:
    """``channels`` are the URLs by name; ``secret`` signs web hooks."""

    def __init__(self, channels: Mapping[str, str], secret: str | None, report: Report, send: Send) -> None:
        self._channels, self._secret, self._report, self._send = channels, secret, report, send

    def begin(self, state: LeaderState, now: float) -> list[Job]:
        """Those that are due; it is noted in ``state`` that they are being sent."""
        due = notifications.due(state.notifications, now, self._channels)[: delivery.MOST]
        for one, channel in due:
            one.channels[channel].begin()
        return [delivery.job(one, channel, self._channels[channel], self._secret) for one, channel in due]

    def send(self, jobs: Sequence[Job], file: int, sender: Pool) -> list[DeliveryResult]:
        """Send them, in a thread of ``sender``; returns when the program that sends has ended. Its results are in ``file``."""
        try:
            written = sender.run(delivery.run, jobs, file, self._send)
        except Exception as error:  # noqa: BLE001 - that it could not be run must not keep the next one from running
            self._report(Severity.ERROR, "the delivery program could not be run", {"error": type(error).__name__})
            return delivery.with_missing(jobs, (), "not_started")
        return delivery.with_missing(jobs, delivery.results(written), "no_result")

    def record(self, state: LeaderState, results: Sequence[DeliveryResult], now: float) -> None:
        """Note what became of them, and log it."""
        for one, result, became in notifications.record(state.notifications, results, now):
            state.totals.sent += became == "delivered"
            state.totals.failed += became == "failed"
            self._log(one, result, became)

    def _log(self, one: Notification, result: DeliveryResult, state: DeliveryState) -> None:
        facts: dict[str, Any] = {"alert": one.id, "key": one.key, "channel": result.channel, "state": state}
        if state == "delivered":
            self._report(Severity.INFO, "an alert was delivered", facts)
            return
        facts |= {"reason": result.reason, "advice": REASONS.get(result.reason or "", "")}
        given_up = state == "failed"
        message = "an alert was not delivered, and is given up" if given_up else "an alert was not delivered yet"
        self._report(Severity.ERROR if given_up else Severity.WARN, message, facts)
