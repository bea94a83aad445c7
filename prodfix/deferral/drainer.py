"""The way back: what waits in this worker's file is applied, in order, gently, and each exactly once.

A batch is marked on disk as tried, applied with one command for each collection, and forgotten. What a command leaves in
doubt is applied again one by one, which changes nothing that is applied already; what a worker was trying when it died, or
lost its connection, goes first. Each command has a limit. A failing write waits longer each time and holds back those with its
order key, and those that replace values where it does; a document that does not answer, what touches it; nobody else.
What can never succeed becomes a dead letter. A lost connection says nothing about a write, and ends the drain.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from prodfix.classification.classifier import Classifier
from prodfix.classification.places import unreadable
from prodfix.deferral import guards
from prodfix.deferral.guards import Document
from prodfix.deferral.operation_status import known_as_applied
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.selection import Selection
from prodfix.deferral.stuck import Stuck
from prodfix.deferral.throttle import Throttle
from prodfix.deferral.waiting import LONGEST_WAIT, Entry, Waiting
from prodfix.deferral.writes import commutes, copyable
from prodfix.errors import ConcurrentModification, ErrorCategory, PartlyApplied, Severity, Uncertain, chain
from prodfix.journal.instance_lock import InstanceLock
from prodfix.journal.journal import Journal
from prodfix.journal.news import News
from prodfix.request.deadlines import backoff

BATCH = 40
FIRST = 10.0  # seconds after the connection's return in which nothing of ours is written before a backlog
REST = 10.0  # seconds until it is looked again whether something waits, though no row of it has changed
JITTER = 0.5  # seconds after the connection's return within which the workers of all instances begin
INTERRUPTED, LONGEST_INTERRUPTED = (
    0.25,
    10.0,
)  # seconds until a write is tried again whose connection was lost; doubled each time
STUCK, LONGEST_STUCK = 0.5, 5.0  # the same for one whose document did not answer
PATIENCE = 300.0  # seconds in which no such write is put aside: what holds a document is over after one minute
ROUND_TRIPS, SHORTEST, LONGEST = 50, 1.5, 5.0  # how long a command may take; shorter ones say nothing to the breaker

EXPIRED, UNCERTAIN, UNKNOWN_OPERATION = "EXPIRED", "UNCERTAIN", "UNKNOWN_OPERATION"


class Drainer:
    """Applies what waits. One for each process; :meth:`tick` is called often, :meth:`drain` does the work.

    ``max_age`` in seconds; ``rate``, ``live`` and ``round_trip``: see :class:`prodfix.deferral.throttle.Throttle`.
    """

    def __init__(
        self,
        deferred: DeferredQueue,
        journal: Journal,
        classifier: Classifier,
        *,
        max_attempts: int,
        max_age: float,
        rate: float,
        base: float = 1.0,
        live: Callable[[], bool] = lambda: False,
        round_trip: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._deferred, self._classifier = deferred, classifier
        self._waiting, self._stuck = Waiting(journal, clock), Stuck(clock)
        self._selection = Selection(self._waiting, self._stuck, self._prepare)
        self._max_attempts, self._max_age, self._base = max_attempts, max_age, base
        self._throttle = Throttle(
            live, InstanceLock(journal), largest=BATCH, rate=rate, round_trip=round_trip, sleep=sleep
        )
        self._clock = clock
        self._begin_at: float | None = None
        self._back: float | None = None
        self._alone: set[str] = set()
        self._interrupted: dict[str, int] = {}
        self._forgotten: list[Entry] = []
        self._stopped = False
        self._changes = News(lambda: journal.version("writes"), rest=REST)
        self.idle = False
        """Whether nothing waits, as far as this worker's journal has told."""

    def stop(self) -> None:
        """Begin no batch any more: this process comes to its end."""
        self._stopped = True

    def resume(self) -> None:
        self._stopped = False

    def tick(self, healthy: bool) -> int:
        """Drain if the database answers, from a random moment after its return on; the number applied."""
        if not healthy:
            self._begin_at = self._back = None
            self.idle = False
            return 0
        if self._begin_at is None:
            self._back = time.monotonic()
            self._begin_at = self._clock() + random.uniform(0, JITTER)
        if 0 < self._begin_at - self._clock() <= JITTER:  # later than that means that the clock was put back
            return 0
        self._begin_at = 0.0
        found = self._changes.begin()
        applied = 0 if found is None else self.drain()
        self._back = -math.inf
        self._release()
        self.idle = found is None or not self._waiting.any()
        if found is not None and self.idle:
            self._changes.done(found)
        return applied

    @property
    def first(self) -> bool:
        """Whether what users wrote waits for a connection that has just returned: what is written about them can wait longer."""
        return not self._stopped and (self._back is None or time.monotonic() - self._back < FIRST)

    def drain(self, on_batch: Callable[[int], object] = lambda applied: None) -> int:
        """Apply what may be applied now; the number applied. ``on_batch`` is told of each batch's number.

        Ends when nothing is left that may be tried now, or the connection is lost. Raises
        :class:`prodfix.errors.JournalUnavailable` and ``TimeoutError`` if the disk fails.
        """
        self._bury_old()
        applied = 0
        while not self._stopped and (entries := self._selection.next(self._throttle.size())):
            if self._adopt():
                continue
            with self._throttle.batch(len(entries)):
                done, connected = self._apply_batch(entries)
            applied += done
            on_batch(done)
            if not connected:
                break
        return applied

    # -- which go next ------------------------------------------------------------------------------------------------

    def _prepare(self, entry: Entry) -> bool:
        try:
            entry.steps = self._deferred.steps(entry.write)
        except Exception as error:  # noqa: BLE001 - whatever an operation raises, it is this write that cannot be applied
            unknown = isinstance(error, KeyError) and not self._known(entry.write.operation)
            self._bury(entry, UNKNOWN_OPERATION if unknown else self._classifier.classify(error).code, error)
            return False
        entry.documents = [guards.document(step, entry.write.id) for step in entry.steps]
        return True

    def _known(self, operation: str) -> bool:
        try:
            self._deferred.operation(operation)
        except (KeyError, ValueError):
            return False
        return True

    def _adopt(self) -> bool:
        """Whether a worker has died meanwhile: what it was trying is ours now, and goes first."""
        adopted = self._waiting.adopt() > 0
        if adopted:
            self._deferred.recount()
        return adopted

    # -- one batch ----------------------------------------------------------------------------------------------------

    def _apply_batch(self, entries: list[Entry]) -> tuple[int, bool]:
        """How many were applied, and whether the connection lasted."""
        self._mark([entry for entry in entries if entry.tried is None])
        now = self._clock()
        finished, connected = self._applied_by_copies(entries)
        left = _without(entries, finished)
        if connected:
            together = self._together(left)
            finished += together
            alone, connected = self._apply_alone(_without(left, together), now)
            finished += alone
            if connected:
                self._alone = set()
        self._forget(finished)
        if connected:
            self._release()
        return len(finished), connected

    def _mark(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._waiting.mark(entries)
        if not self._waiting.kept():
            return
        # That was an fsync: what was forgotten before it will not be found again, whatever happens.
        for entry in self._forgotten:
            lost = entry.tried is not None or entry.doubtful
            self._deferred.releases.settled(entry.write, entry.steps, lost=lost)
        self._forgotten = []

    def _applied_by_copies(self, entries: Sequence[Entry]) -> tuple[list[Entry], bool]:
        """Those that another request has brought too, and that are known to be applied; and whether the connection lasted."""
        copies = [entry for entry in entries if copyable(entry.write)]
        if not copies:
            return [], True
        try:
            with self._command():
                known = known_as_applied(self._deferred.database(), [entry.write.id for entry in copies])
        except Exception as error:  # noqa: BLE001 - the driver's: without it none of them may be tried
            self._failed(copies[0], error)
            return [], False
        return [entry for entry in copies if entry.write.id in known], True

    def _together(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that were applied, one of each key; the others are in doubt."""
        first: dict[str, Entry] = {}
        for entry in entries:
            if entry.write.id not in self._alone and not self._stuck.known(entry.documents):
                first.setdefault(entry.key, entry)
        together = list(first.values())
        if len(together) < 2:
            return []
        try:
            self._apply_together(together)
        except Exception:  # noqa: BLE001 - the driver's, or BSON's, which ends a whole command for one document
            # Whose fault it is will show: each of them is now applied alone, and the next time too.
            self._alone = {entry.write.id for entry in together}
            for entry in together:
                entry.doubtful = True
        return [entry for entry in together if not entry.doubtful]

    def _apply_together(self, entries: Sequence[Entry]) -> None:
        """The first step of all, then the second of those that are not in doubt ... Raises what ends a command."""
        for number in range(max(len(entry.steps) for entry in entries)):
            waiting = [entry for entry in entries if number < len(entry.steps) and not entry.doubtful]
            for collection in dict.fromkeys(entry.steps[number].collection for entry in waiting):
                theirs = [entry for entry in waiting if entry.steps[number].collection == collection]
                steps = [(entry.steps[number], entry.write.id, number, entry.tried) for entry in theirs]
                with self._command(len(steps)):
                    doubtful = guards.apply_many(self._deferred.database(), collection, steps)
                for place in doubtful:
                    theirs[place].doubtful = True

    def _apply_alone(self, entries: Sequence[Entry], begun: float) -> tuple[list[Entry], bool]:
        applied: list[Entry] = []
        held: set[str] = set()
        for entry in entries:
            if entry.key in held or self._stuck.waits(entry.documents):
                held.add(entry.key)
                continue
            try:
                self._apply_one(entry, begun if entry.doubtful and entry.tried is None else entry.tried)
            except Exception as error:  # noqa: BLE001 - poison never blocks the rest
                held.add(entry.key)
                entry.doubtful = True
                if not self._failed(entry, error):
                    return applied, False
            else:
                self._stuck.answered(entry.documents)
                applied.append(entry)
        return applied, True

    def _apply_one(self, entry: Entry, since: float | None) -> None:
        @contextlib.contextmanager
        def around(number: int) -> Iterator[None]:
            entry.at = number
            with self._command():
                yield

        self._deferred.apply_steps(entry.write, entry.steps, since=since, around=around)

    @contextlib.contextmanager
    def _command(self, steps: int = 1) -> Iterator[None]:
        """Around each command, which has a limit."""
        with self._throttle.command(steps), pymongo.timeout(self._limit):
            yield

    @property
    def _limit(self) -> float:
        return min(max(ROUND_TRIPS * self._throttle.network, SHORTEST), LONGEST)

    def _release(self) -> None:
        if not self._deferred.releases.pending:
            return
        # What was not removed is tried again; whether the connection is lost will show with the next write.
        with contextlib.suppress(PyMongoError), self._command():
            self._deferred.releases.work()

    # -- what becomes of a write ---------------------------------------------------------------------------------------

    def _failed(self, entry: Entry, error: Exception) -> bool:
        """Let it wait, or bury it; False if the connection is lost."""
        meaning = self._classifier.classify(error)
        late = meaning.category is ErrorCategory.TIMEOUT
        if meaning.category is ErrorCategory.DATABASE_CONNECTION or (late and not self._answers()):
            # The database is away again, or refuses us. That says nothing about this write, except that others go first.
            times = self._interrupted[entry.write.id] = self._interrupted.get(entry.write.id, 0) + 1
            self._waiting.rest(entry, backoff(times, INTERRUPTED, longest=LONGEST_INTERRUPTED), meaning.code)
            return False
        # Somebody else was at the same document: that says nothing about this write.
        entry.attempts += not meaning.contended
        # A reply that could not be read is no verdict on it either: whether it was applied shows at the next try.
        transient = meaning.transient or unreadable(error)
        if late and (entry.attempts < self._max_attempts or self._tried_for(entry) < PATIENCE):
            delay = backoff(max(entry.attempts, 1), STUCK, longest=LONGEST_STUCK)
            self._rest(entry, delay, meaning.code, entry.documents[entry.at])
        elif transient and entry.attempts < self._max_attempts:
            self._rest(entry, backoff(max(entry.attempts, 1), self._base, longest=LONGEST_WAIT), meaning.code)
        else:
            self._bury(entry, UNCERTAIN if isinstance(error, Uncertain) else meaning.code, error)
        return True

    def _answers(self) -> bool:
        """Whether the database does, where one of its documents did not."""
        try:
            with pymongo.timeout(self._limit):
                self._deferred.database().command("ping")
        except PyMongoError:
            return False
        return True

    def _tried_for(self, entry: Entry) -> float:
        return 0.0 if entry.tried is None else self._clock() - entry.tried

    def _rest(self, entry: Entry, delay: float, reason: str, *stuck: Document) -> None:
        """Nobody overtakes it where that would change what comes out, nor comes to a document that is stuck."""
        self._waiting.rest(entry, delay, reason)
        places = [number for number, step in enumerate(entry.steps) if not commutes(step)]
        self._stuck.found([*(entry.documents[number] for number in places), *stuck], delay)

    def _bury(self, entry: Entry, reason: str, error: Exception | None = None) -> None:
        facts = _facts(error) | self._states(entry, reason)
        self._waiting.bury(entry, reason, facts)
        self._stuck.answered(entry.documents)
        self._interrupted.pop(entry.write.id, None)
        self._deferred.ended("dead", _kept([entry]))
        self._deferred.report(
            Severity.ERROR,
            "a deferred write cannot be applied",
            {
                "requestId": entry.write.request_id,
                "category": self._classifier.classify(error).category if error else ErrorCategory.DATABASE_QUERY,
                "operationId": entry.write.id,
                "operation": entry.write.operation,
                "reason": reason,
                **facts,
            },
        )

    def _states(self, entry: Entry, reason: str) -> dict[str, Any]:
        """Of one that is in doubt, what is known of each of its steps."""
        if reason != UNCERTAIN:
            return {}
        try:
            with self._command():
                return {"steps": guards.states(self._deferred.database(), entry.steps, entry.write.id, entry.tried)}
        except PyMongoError:
            return {"steps": ["unknown"] * len(entry.steps)}

    def _bury_old(self) -> None:
        while entries := self._waiting.older_than(self._max_age, BATCH):
            for entry in entries:
                self._bury(entry, EXPIRED)

    def _forget(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._waiting.forget(entries)
        self._deferred.ended("replayed", _kept(entries))
        self._forgotten += entries
        for entry in entries:
            self._interrupted.pop(entry.write.id, None)
        self._deferred.recount()


def _without(entries: Iterable[Entry], those: Iterable[Entry]) -> list[Entry]:
    gone = {entry.position for entry in those}
    return [entry for entry in entries if entry.position not in gone]


def _kept(entries: Iterable[Entry]) -> list[float]:
    """When they were deferred. What an admin has ordered to be tried again is his, and belongs to no incident any more."""
    return [entry.kept for entry in entries if not entry.ordered]


def _facts(error: Exception | None) -> dict[str, Any]:
    """What may be told of an error: its type, and the versions that did not meet. Never its text."""
    if error is None:
        return {}
    moved = next((one for one in chain(error) if isinstance(one, ConcurrentModification)), None)
    versions = {"expectedVersion": moved.expected, "foundVersion": moved.found} if moved is not None else {}
    cause = error.__cause__ if isinstance(error, PartlyApplied) and error.__cause__ is not None else error
    return {"error": type(cause).__name__, "partlyApplied": isinstance(error, PartlyApplied), **versions}
