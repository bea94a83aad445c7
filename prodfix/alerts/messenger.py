"""What the sender has a courier deliver: what is due is given to one, and its results are written down."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from prodfix.alerts import dispatch
from prodfix.alerts.dispatch import REASONS, Result
from prodfix.alerts.ledger import Ledger
from prodfix.alerts.outbox import Alert, State
from prodfix.alerts.sender import SenderLock
from prodfix.alerts.teller import Report
from prodfix.errors import Severity
from prodfix.native import Pool, Task

PATIENCE = 5.0  # seconds beyond the courier's own limit

Send = Callable[..., None]


class Messenger:
    """One courier at a time. All but :meth:`wait` changes the ledger, and is called by one task at a time."""

    def __init__(
        self, ledger: Ledger, lock: SenderLock, *, channels: Mapping[str, str], report: Report, send: Send
    ) -> None:
        self._ledger, self._lock = ledger, lock
        self._channels, self._report, self._send = channels, report, send
        self.begin()

    def begin(self) -> None:
        """In a process that uses it."""
        self._pool: Pool | None = None
        self._delivering: Task[bytes] | None = None
        self._jobs: list[dict[str, Any]] = []

    @property
    def busy(self) -> bool:
        return self._delivering is not None

    def start(self, now: float) -> bool:
        """Give a courier what is due; whether anything is."""
        outbox = self._ledger.outbox
        due = outbox.due(now, self._channels)[: dispatch.MOST]
        for alert, channel in due:
            outbox.begin(alert, channel)
        self._ledger.save(now)  # before it is sent: whoever goes on after a kill looks for the results
        if due:
            self._pool = self._pool or Pool(1)
            self._jobs = [_job(alert, channel, self._channels[channel]) for alert, channel in due]
            self._delivering = self._pool.submit(self._run, self._jobs)
        return bool(due)

    def _run(self, jobs: list[dict[str, Any]]) -> bytes:
        """In a native thread. The courier writes into the lock's file, and so holds the lock; else into one without a name."""
        held = self._lock.descriptor
        file = os.dup(held) if held is not None else os.memfd_create("prodfix-alerts-results", os.MFD_CLOEXEC)
        try:
            os.ftruncate(file, 0)
            self._send(jobs, file)
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)

    def wait(self) -> list[Result] | None:
        """The results of the courier, when it has ended; None if it has not yet."""
        if self._delivering is None:
            return None
        try:
            found, reason = dispatch.results(self._delivering.wait(dispatch.LIMIT + PATIENCE)), "no_result"
        except TimeoutError:
            return None
        except Exception as error:  # noqa: BLE001 - that it could not be run must not keep the next one from running
            self._report(Severity.ERROR, "the courier could not be run", {"error": type(error).__name__})
            found, reason = [], "not_started"
        return [*found, *dispatch.missing(self._jobs, found, reason)]

    def finish(self, results: list[Result], now: float) -> None:
        """Write down what became of it. A sender that has lost its lock has no ledger any more: the next one reads the results
        from the lock's file."""
        self._delivering, self._jobs = None, []
        self.record(results, now)
        self._ledger.save(now)

    def record(self, results: list[Result], now: float) -> None:
        for alert, result, state in self._ledger.outbox.record(results, now):
            self._ledger.totals.sent += state == "delivered"
            self._ledger.totals.failed += state == "failed"
            self._tell(alert, result, state)

    def _tell(self, alert: Alert, result: Result, state: State) -> None:
        facts: dict[str, Any] = {"alert": alert.id, "key": alert.key, "channel": result.channel, "state": state}
        if state == "delivered":
            self._report(Severity.INFO, "an alert was delivered", facts)
            return
        facts |= {"reason": result.reason, "advice": REASONS.get(result.reason or "", "")}
        message = (
            "an alert was not delivered, and is given up" if state == "failed" else "an alert was not delivered yet"
        )
        self._report(Severity.ERROR if state == "failed" else Severity.WARN, message, facts)


def _job(alert: Alert, channel: str, url: str) -> dict[str, Any]:
    return {
        "alert": alert.id,
        "channel": channel,
        "url": url,
        "part": alert.part,
        "severity": alert.severity,
        "title": alert.title,
        "body": alert.body,
    }
