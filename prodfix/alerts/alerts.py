"""Alerts: one sender on each instance looks, decides and sends; every worker can tell what it did.

``look`` is called every :data:`LOOK` seconds by a loop of each worker, and ``deliver`` every :data:`DELIVER` seconds by another
one. Whoever has the lock is the sender; the others try for it. Nothing here blocks the hub: files, locks and the courier's
process are left to native threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from prodfix.alerts import dispatch, texts
from prodfix.alerts.alarms import Alarm, Change
from prodfix.alerts.ledger import Ledger
from prodfix.alerts.messenger import Messenger, Send
from prodfix.alerts.rules import SEVERITIES, Findings, conditions
from prodfix.alerts.sender import SenderLock
from prodfix.alerts.situation import Observer
from prodfix.alerts.teller import Report, Teller
from prodfix.errors import Severity
from prodfix.journal.journal import Journal
from prodfix.native import Pool, Task

LOOK = 2.0  # seconds
DELIVER = 0.5  # seconds
DISK_LIMIT = 2.0  # seconds for a look at the lock
LOADING_TRIES = 5  # looks in which the disk may fail to tell what was before, until the sender begins from nothing
PRUNE_PERIOD = 60.0  # seconds
REST = 3 * LOOK  # seconds in which a sender that has failed leaves the lock to others
MOST_ALARMS = 500  # resolved errors that are back are kinds of their own


class Alerts:
    """The alerts of one worker. ``channels`` are URLs by their public names; without any, alarms are only logged."""

    def __init__(
        self,
        journal: Journal,
        observer: Observer,
        *,
        teller: Callable[[Ledger], Teller],
        origin: texts.Origin,
        channels: Mapping[str, str],
        report: Report,
        send: Send = dispatch.send,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self.observer, self._clock = journal, observer, clock
        self._channels, self._report = channels, report
        self.origin = origin
        self._ledger = Ledger(journal)
        self._teller = teller(self._ledger)
        self._sender = SenderLock(journal.folder)
        self._messenger = Messenger(self._ledger, self._sender, channels=channels, report=report, send=send)
        self._lock = threading.Lock()
        self._pid = 0
        self._pruned_at = self._rest_until = 0.0
        self._sending = False
        self._loading = 0

    # -- looking --------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look once: become the sender if there is none; if so, see what is wrong and tell what is to be told."""
        with self._lock:
            self._begin()
            if time.monotonic() < self._rest_until:
                return
            try:
                self._look(self._clock())
            except Exception:
                # Not known to be possible. But who cannot look must not keep the others from it.
                self._stand_down()
                self._rest_until = time.monotonic() + REST
                raise

    def _look(self, now: float) -> None:
        if not 0 <= now - self._pruned_at < PRUNE_PERIOD:
            self._pruned_at = now
            self._ledger.prune(now)
        if not self._has_turn(now):
            return
        findings = conditions(self.observer.situation(self._ledger.failure))
        self._see(findings, now)
        self._see_regressions(now)
        self._ledger.save(now)  # before anything is claimed: whoever goes on after a kill claims the same
        if self._channels:
            self._teller.tell(now)
            self._teller.hold(findings, now)
            self._ledger.save(now)

    def _begin(self) -> None:
        """What belongs to one process is made in the process that uses it."""
        if self._pid != os.getpid():
            self._stand_down()  # a parent's: its lock stays its own
            self._locksmith = Pool(1)
            self._taking: Task[bool] | None = None
            self._messenger.begin()
            self._pid = os.getpid()

    def _has_turn(self, now: float) -> bool:
        """Whether this worker is the sender, and knows what was before."""
        before, self._sending = self._sending, self._take()
        if not self._sending:
            self._ledger.clear()
            self._loading = 0
            return False
        if not before:
            self._loading = LOADING_TRIES
        if self._loading:
            self._loading -= 1
            loaded = self._ledger.load(now)
            if not loaded and self._loading:
                return False
            self._loading = 0
            self._take_over(now)
        return True

    def _take(self) -> bool:
        if self._taking is None:
            self._taking = self._locksmith.submit(self._sender.take)
        try:
            taken = self._taking.wait(DISK_LIMIT)
        except TimeoutError:
            return self._sending  # the disk hangs: a lock that is held stays held
        except BaseException:
            self._taking = None
            raise
        self._taking = None
        return taken

    def _take_over(self, now: float) -> None:
        """Go on where the sender before has stopped: it was killed perhaps, and its courier has come to its end since."""
        try:
            written = self._locksmith.run(self._sender.results, limit=DISK_LIMIT)
        except (OSError, TimeoutError):
            written = b""
        self._messenger.record(dispatch.results(written), now)
        if not self._messenger.busy:
            self._ledger.outbox.again()
        if self._channels:
            self._teller.tell(now)
        self._ledger.save(now)

    def _see(self, findings: Findings, now: float) -> None:
        alarms = self._ledger.alarms
        for key, condition in findings.found.items():
            alarms.setdefault(key, Alarm(key, condition.kind))
        for key, alarm in alarms.items():
            if key in findings.unknown or alarm.kind == "regression":
                continue
            change = alarm.see(findings.found.get(key), now)
            if change is not None:
                self._tell_log(alarm, change)

    def _see_regressions(self, now: float) -> None:
        for fingerprint, at, facts in self._ledger.regressions():
            key = f"regression:{fingerprint}"
            if key not in self._ledger.alarms and len(self._ledger.alarms) >= MOST_ALARMS:
                continue  # the log has them all
            alarm = self._ledger.alarms.setdefault(key, Alarm(key, "regression"))
            if alarm.happen(facts, at):
                self._tell_log(alarm, "firing")
                if not self._channels:
                    alarm.give_up()

    def _tell_log(self, alarm: Alarm, change: Change) -> None:
        firing = change == "firing"
        title = texts.title(alarm.kind, "begin" if firing else "end", alarm.severity)
        facts = {
            "alarm": alarm.key,
            "state": change,
            "since": texts.moment(alarm.since),
            "until": texts.moment(alarm.until) if alarm.until is not None else None,
            **alarm.facts,
        }
        self._report(alarm.severity if firing else Severity.INFO, title, facts)

    def regressed(self, group: Mapping[str, Any]) -> None:
        """A resolved kind of error is back: told to this worker, and to be told by the sender."""
        facts = {"fingerprint": group["fingerprint"], "error": group["message"], "releases": group["releases"]}
        self._ledger.put_regression(group["fingerprint"], facts, self._clock())

    # -- delivering -------------------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Send what is due, if this worker is the sender; returns when the courier has ended."""
        with self._lock:
            self._begin()
            sends = self._sending and not self._loading
            if not self._messenger.busy and not (sends and self._messenger.start(self._clock())):
                return
        results = self._messenger.wait()
        if results is not None:
            with self._lock:
                self._messenger.finish(results, self._clock())

    def close(self) -> None:
        """Let another worker be the sender. A courier that still runs ends by itself, and holds the lock until then."""
        if self._lock.acquire(timeout=DISK_LIMIT):  # else the end of the process does
            try:
                if self._pid == os.getpid():
                    self._stand_down()
            finally:
                self._lock.release()

    def _stand_down(self) -> None:
        self._sending = False
        self._sender.release()

    # -- reading: the same in every worker --------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """For this worker's state, which all workers read."""
        return {"sender": self._sending}

    def read(self) -> dict[str, Any]:
        """What is wrong now, and the last alerts with what became of them, for JSON: from the journals of the instance, so that
        all workers say the same.

        ``{"scope": "instance", "complete", "channels", "sender": {"worker", "pid"} | None, "sent", "failed", "heldBack",
        "alarms": [{"key", "kind", "severity", "title", "since", "facts", "told"}],
        "alerts": [{"id", "key", "kind", "part", "severity", "title", "at",
        "channels": [{"channel", "state", "attempts", "reason", "nextTryAt"}]}]}``; ``alarms`` are those that fire, the oldest
        first; ``alerts`` the newest first; ``complete`` is false if the disk did not tell all.
        """
        ledger = Ledger(self._journal)
        complete = ledger.load(self._clock())
        senders = [worker for worker in self.observer.workers.read() if worker.alerts.sender]
        firing = sorted((alarm for alarm in ledger.alarms.values() if alarm.firing), key=lambda alarm: alarm.since)
        return {
            "scope": "instance",
            "complete": complete,
            "channels": list(self._channels),
            "sender": {"worker": senders[0].worker, "pid": senders[0].pid} if senders else None,
            "alarms": [_shown(alarm, configured=bool(self._channels)) for alarm in firing],
            "alerts": ledger.outbox.shown(),
            "sent": ledger.totals.sent,
            "failed": ledger.totals.failed,
            "heldBack": ledger.totals.held,
        }


_TOLD = {"journal": "by this instance", "claim": "by this instance", "joined": "by another instance"}


def _shown(alarm: Alarm, *, configured: bool) -> dict[str, Any]:
    return {
        "key": alarm.key,
        "kind": alarm.kind,
        "severity": str(SEVERITIES[alarm.kind]),
        "title": texts.WORDS[alarm.kind].begin,
        "since": texts.moment(alarm.since),
        "facts": alarm.facts,
        "told": _TOLD.get(alarm.told or "", "not yet" if configured else "no channels"),
    }
