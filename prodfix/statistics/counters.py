"""What this process counts, minute by minute, and how it reaches the journal, where all workers read it.

A minute's totals are absolute and belong to this boot of this worker, so that writing them again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prodfix.journal.batch import Unwritten, write_together
from prodfix.journal.journal import Journal, Statement
from prodfix.process.native import allocate_lock
from prodfix.process.per_process import in_each_process
from prodfix.statistics.affected import hash_of
from prodfix.statistics.counts import Counts, ErrorKey
from prodfix.statistics.kinds import Kinds
from prodfix.statistics.packing import json_of

KEYS = 300  # kinds of errors in one minute of one worker; further ones are counted together
FINISHED = 10  # past minutes that wait for the next flush

_UPSERT = (
    "INSERT INTO minutes (worker, minute, revision, errors, traffic) VALUES (?, ?, ?, ?, ?) ON CONFLICT (worker, minute)"
    " DO UPDATE SET revision = excluded.revision, errors = excluded.errors, traffic = excluded.traffic"
    " WHERE excluded.revision > revision"
)


class Counters:
    """Errors are known to all workers some milliseconds after they were counted, requests after a second: both are counted in
    memory, before they are answered."""

    def __init__(
        self,
        journal: Journal,
        *,
        release: str = "",
        users_key: bytes = b"",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._clock, self._users_key = journal, clock, users_key
        self.kinds = Kinds(journal, clock=clock)
        self._releases = frozenset([release] if release else [])
        in_each_process(self._begin)
        self._boot = ""
        self._minute = 0
        self._revision = 0
        self._written = self._known = 0
        self._returns = 0
        self._counts = Counts(KEYS)
        self._finished: list[tuple[Statement, int]] = []
        self.dropped = 0
        """Errors and requests of minutes that the journal has refused for too long, without those of an earlier total."""

        self._ask = journal.gather_from(self.pending)

    def _begin(self) -> None:
        # Nothing within waits, and gevent's takes longer than the counting. A native thread has it when it writes totals, and
        # may have had it in the parent at the moment of a fork.
        self._counting = allocate_lock()
        self._pending = False

    def error(self, key: ErrorKey, user: str | None = None) -> None:
        """Count one error, of the request of ``user`` if one is known. The journal asks soon for :meth:`pending`, so that all
        workers know it."""
        met = hash_of(user, self._users_key) if user else ""
        with self._counting:
            now = self._next_minute()
            self._counts.count_one(key, round(now, 3), self._releases, met)
            self._revision += 1
            self._pending = True
        self._ask()

    def pending(self) -> list[Statement]:
        """The statements that make the totals known to all workers, if an error was counted since it was last asked."""
        with self._counting:
            if not self._pending:
                return []
            self._pending = False
            self._next_minute()
            own = [self._row()] if self._revision > self._written else []
            return [row for row, _ in self._finished] + own

    def request(
        self, endpoint: str, device: str, micros: int, failed: bool, commands: int = 0, command_micros: int = 0
    ) -> None:
        """Count one answered request with the database's commands that it sent, in about two microseconds."""
        with self._counting:
            if self._boot != self._journal.boot or not 0 <= self._clock() - self._minute * 60 < 60:
                self._next_minute()
            self._counts.count_request(endpoint, device, micros, failed, commands, command_micros)
            self._revision += 1

    def flush(self) -> None:
        """Make known what was counted since the last time. Raises ``JournalUnavailable``; nothing is forgotten then."""
        write_together(self._journal.write, self.unwritten())

    def unwritten(self) -> Unwritten | None:
        """The same, to be written by the caller."""
        with self._counting:
            self._next_minute()
            finished, counts, revision, total = self._finished[:], self._counts, self._revision, self._total()
            statements = [row for row, _ in finished]
            if revision > self._written:
                statements.append(self._row())

        def written() -> None:
            with self._counting:
                self._finished = [row for row in self._finished if row not in finished]
                if counts is self._counts:
                    self._written, self._known = revision, total

        return Unwritten(statements, written) if statements else None

    def _next_minute(self) -> float:
        """The time; in a new minute everything begins at nothing."""
        now = self._clock()
        minute = int(now // 60)
        boot, self._boot = self._boot, self._journal.boot
        if boot and boot != self._boot:
            # After a fork, or another start: what was counted before has its place under the name that it had then.
            self._minute, self._revision, self._written, self._known = minute, 0, 0, 0
            self._counts, self._finished = Counts(KEYS), []
        if minute != self._minute:
            if self._revision > self._written:
                self._finish()
            # A clock that was set back counts a minute once more, beside the total that it has already.
            self._returns += minute < self._minute
            self._minute, self._revision, self._written, self._known = minute, 0, 0, 0
            self._counts = Counts(KEYS)
        return now

    def _total(self) -> int:
        return self._counts.total_errors + sum(traffic.requests for traffic in self._counts.devices.values())

    def _finish(self) -> None:
        self._finished.append((self._row(), self._total() - self._known))
        if len(self._finished) > FINISHED:
            self.dropped += self._finished.pop(0)[1]

    def _row(self) -> Statement:
        worker = self._journal.boot + "+" * self._returns
        errors, traffic = json_of(self._counts.error_rows()), json_of(self._counts.traffic_rows())
        return (_UPSERT, (worker, self._minute, self._revision, errors, traffic))
