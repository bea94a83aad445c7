"""The way back: what waits in this worker's file is applied, in order, gently, and each exactly once.

A batch is marked on disk as tried, applied with one command for each collection, and forgotten. What a command leaves in
doubt is applied again one by one, which changes nothing that is applied already. What a worker was trying when it died goes
first, before the documents forget it. A failing write waits longer each time
and holds back only those with its order key; one that can never succeed becomes a dead letter. A lost connection says
nothing about a write, and ends the drain.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
import orjson

from prodfix.classification.classifier import Classifier
from prodfix.classification.places import unreadable
from prodfix.deadlines import backoff
from prodfix.deferral import guards
from prodfix.deferral.deferred import Deferred
from prodfix.deferral.pace import Pace
from prodfix.deferral.writes import Step, Write
from prodfix.errors import ConcurrentModification, ErrorCategory, PartlyApplied, Severity, Uncertain, chain
from prodfix.journal.journal import Journal, Statement
from prodfix.journal.turn import Turn

BATCH = 20  # of two workers less than what a document remembers for sure
FIRST = 10.0  # seconds after the connection's return in which nothing of ours is written before a backlog
JITTER = 0.5  # seconds after the connection's return within which the workers of all instances begin
LONGEST_WAIT = 60.0  # seconds between two tries
INTERRUPTED = 2.0  # seconds until a write is tried again whose connection was lost
QUICK = 0.05  # seconds in which no document forgets a write: some 2,000 others would have to follow each second

EXPIRED, UNCERTAIN, UNKNOWN_OPERATION = "EXPIRED", "UNCERTAIN", "UNKNOWN_OPERATION"

# What rests until later than anything can, since the clock was put back, does not rest.
_NEXT = """
SELECT id, operation, key, entry, attempts, created, tried FROM writes AS mine
WHERE NOT (not_before > ?1 AND not_before < ?2) AND id NOT IN settled
AND NOT EXISTS (SELECT 1 FROM writes AS other WHERE other.key = mine.key
AND other.position < mine.position AND other.not_before > ?1 AND other.not_before < ?2)
{tried} ORDER BY position LIMIT ?3
"""
_UNTRIED = _NEXT.format(tried="")
# Never before an older one with its key.
_TRIED = _NEXT.format(
    tried="AND tried IS NOT NULL AND NOT EXISTS (SELECT 1 FROM writes AS older WHERE older.key = mine.key"
    " AND older.position < mine.position AND older.tried IS NULL)"
)
_COLUMNS = "id, operation, key, entry, attempts, created, tried"


@dataclass(slots=True)
class _Entry:
    """One row of the file, and what this drain has made of it."""

    write: Write
    raw: bytes
    key: str
    attempts: int
    tried: float | None
    steps: Sequence[Step] = field(default=())
    doubtful: bool = False


class Drainer:
    """Applies what waits. One for each process; :meth:`tick` is called often, :meth:`drain` does the work.

    ``max_age`` in seconds; ``rate`` and ``live``: see :class:`prodfix.deferral.pace.Pace`.
    """

    def __init__(
        self,
        deferred: Deferred,
        journal: Journal,
        classifier: Classifier,
        *,
        max_attempts: int,
        max_age: float,
        rate: float,
        base: float = 1.0,
        live: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._deferred, self._journal, self._classifier = deferred, journal, classifier
        self._max_attempts, self._max_age, self._base = max_attempts, max_age, base
        self._pace = Pace(live, Turn(journal), largest=BATCH, rate=rate, sleep=sleep)
        self._clock = clock
        self._begin_at: float | None = None
        self._back: float | None = None
        self._alone: set[str] = set()
        self.stopped = False

    def tick(self, healthy: bool) -> int:
        """Drain if the database answers, from a random moment after its return on; the number applied."""
        if not healthy:
            self._begin_at = self._back = None
            return 0
        if self._begin_at is None:
            self._back = time.monotonic()
            self._begin_at = self._clock() + random.uniform(0, JITTER)
        if 0 < self._begin_at - self._clock() <= JITTER:  # later than that means that the clock was put back
            return 0
        self._begin_at = 0.0
        applied = self.drain()
        self._back = -math.inf
        return applied

    @property
    def first(self) -> bool:
        """Whether what users wrote waits for a connection that has just returned: what is written about them can wait longer."""
        return not self.stopped and (self._back is None or time.monotonic() - self._back < FIRST)

    def drain(self, on_batch: Callable[[int], object] = lambda applied: None) -> int:
        """Apply what may be applied now; the number applied. ``on_batch`` is told of each batch's number.

        Ends when nothing is left that may be tried now, or the connection is lost. Raises
        :class:`prodfix.errors.JournalUnavailable` and ``TimeoutError`` if the disk fails.
        """
        self._bury_old()
        applied = 0
        while not self.stopped and (rows := self._next(self._pace.size())):
            if self._adopt():
                continue
            with self._pace.batch(len(rows)):
                done, connected = self._apply_batch([_entry(row) for row in rows])
            applied += done
            on_batch(done)
            if not connected:
                break
        return applied

    def _next(self, most: int) -> list[tuple[Any, ...]]:
        now = self._clock()
        values = (now, now + 2 * LONGEST_WAIT, most)
        return self._journal.read_own(_TRIED, values) or self._journal.read_own(_UNTRIED, values)

    def _adopt(self) -> bool:
        """Whether a worker has died meanwhile: what it was trying, to documents that we write too, is ours now and goes first."""
        adopted = self._journal.adopt() > 0
        if adopted:
            self._deferred.recount()
        return adopted

    # -- one batch ----------------------------------------------------------------------------------------------------

    def _apply_batch(self, entries: list[_Entry]) -> tuple[int, bool]:
        """How many were applied, and whether the connection lasted."""
        entries = [entry for entry in entries if self._prepare(entry)]
        now = self._clock()
        marks: list[Statement] = [
            ("UPDATE writes SET tried = coalesce(tried, ?) WHERE id = ?", (now, entry.write.id)) for entry in entries
        ]
        # On disk before it is tried: who finds it after a crash must know that it may be applied.
        self._journal.write(marks, durable=True, reserve=True, settles=())
        together = _of_different_keys(entry for entry in entries if entry.write.id not in self._alone)
        if len(together) == 1:
            together = []
        begun = time.monotonic()
        try:
            self._apply_together(together)
        except Exception:  # noqa: BLE001 - the driver's, or BSON's, which ends a whole command for one document
            # Whose fault it is will show: each of them is now applied alone, and the next time too.
            self._alone = {entry.write.id for entry in together}
            for entry in together:
                entry.doubtful = True
        finished = [entry for entry in together if not entry.doubtful]
        known = {entry.write.id for entry in finished}
        others = [entry for entry in entries if entry.write.id not in known]
        applied, connected = self._apply_alone(others, lambda: time.monotonic() - begun < QUICK, now)
        if connected:
            self._alone = set()
        self._forget(finished + applied)
        return len(finished) + len(applied), connected

    def _prepare(self, entry: _Entry) -> bool:
        try:
            entry.steps = self._deferred.steps(entry.write)
        except Exception as error:  # noqa: BLE001 - whatever an operation raises, it is this write that cannot be applied
            unknown = isinstance(error, KeyError) and not self._known(entry.write.operation)
            self._bury(entry, UNKNOWN_OPERATION if unknown else self._classifier.classify(error).code, error)
            return False
        return True

    def _known(self, operation: str) -> bool:
        try:
            self._deferred.operation(operation)
        except (KeyError, ValueError):
            return False
        return True

    def _apply_together(self, entries: Sequence[_Entry]) -> None:
        """The first step of all, then the second of those that are not in doubt ... Raises what ends a command."""
        for number in range(max((len(entry.steps) for entry in entries), default=0)):
            waiting = [entry for entry in entries if number < len(entry.steps) and not entry.doubtful]
            for collection in dict.fromkeys(entry.steps[number].collection for entry in waiting):
                theirs = [entry for entry in waiting if entry.steps[number].collection == collection]
                steps = [(entry.steps[number], entry.write.id, number, entry.tried) for entry in theirs]
                with self._pace.command():
                    doubtful = guards.apply_many(self._deferred.database(), collection, steps)
                for place in doubtful:
                    theirs[place].doubtful = True

    def _apply_alone(
        self, entries: Sequence[_Entry], quick: Callable[[], bool], begun: float
    ) -> tuple[list[_Entry], bool]:
        applied: list[_Entry] = []
        held: set[str] = set()
        for entry in entries:
            if entry.key in held:
                continue
            since = entry.tried
            if since is None and entry.doubtful and not quick():
                since = begun
            try:
                self._deferred.replay(entry.write, entry.steps, since=since)
            except Exception as error:  # noqa: BLE001 - poison never blocks the rest
                held.add(entry.key)
                if not self._failed(entry, error):
                    return applied, False
            else:
                applied.append(entry)
        return applied, True

    # -- what becomes of a write ---------------------------------------------------------------------------------------

    def _failed(self, entry: _Entry, error: Exception) -> bool:
        """Let it wait, or bury it; False if the connection is lost."""
        meaning = self._classifier.classify(error)
        if meaning.category is ErrorCategory.DATABASE_CONNECTION:
            # The database is away again, or refuses us. That says nothing about this write, except that others go first.
            self._wait(entry, entry.attempts, INTERRUPTED, meaning.code)
            return False
        # Somebody else was at the same document: that says nothing about this write.
        attempts = entry.attempts + (not meaning.contended)
        # A reply that could not be read is no verdict on it either: whether it was applied shows at the next try.
        if (meaning.transient or unreadable(error)) and attempts < self._max_attempts:
            delay = backoff(max(attempts, 1), self._base, longest=LONGEST_WAIT)
            self._wait(entry, attempts, delay, meaning.code)
        else:
            entry.attempts = attempts
            self._bury(entry, UNCERTAIN if isinstance(error, Uncertain) else meaning.code, error)
        return True

    def _wait(self, entry: _Entry, attempts: int, delay: float, reason: str) -> None:
        update = "UPDATE writes SET attempts = ?, not_before = ?, reason = ?, told = 0 WHERE id = ?"
        row = (attempts, self._clock() + delay, reason, entry.write.id)
        self._journal.write([(update, row)], to_disk=True, reserve=True)

    def _bury(self, entry: _Entry, reason: str, error: Exception | None = None) -> None:
        facts = _facts(error)
        bury = f"INSERT OR REPLACE INTO dead SELECT {_COLUMNS}, ?, ?, ?, 0 FROM writes WHERE id = ?"  # noqa: S608 - constants
        identity = entry.write.id
        self._journal.write(
            [
                (bury, (reason, orjson.dumps(facts).decode(), self._clock(), identity)),
                ("UPDATE dead SET attempts = ? WHERE id = ?", (entry.attempts, identity)),
                ("DELETE FROM writes WHERE id = ?", (identity,)),
            ],
            durable=True,
            reserve=True,
        )
        self._deferred.count("dead")
        self._deferred.report(
            Severity.ERROR,
            "a deferred write cannot be applied",
            {
                "requestId": entry.write.request_id,
                "category": self._classifier.classify(error).category if error else ErrorCategory.DATABASE_QUERY,
                "operationId": identity,
                "operation": entry.write.operation,
                "reason": reason,
                **facts,
            },
        )

    def _bury_old(self) -> None:
        query = f"SELECT {_COLUMNS} FROM writes WHERE created < ? AND id NOT IN settled LIMIT ?"  # noqa: S608 - constants
        while rows := self._journal.read_own(query, (self._clock() - self._max_age, BATCH)):
            for row in rows:
                self._bury(_entry(row), EXPIRED)

    def _forget(self, entries: Sequence[_Entry]) -> None:
        """In one transaction with the trace of it; while the disk has no room, as soon as it has."""
        if not entries:
            return
        keep = (
            "INSERT OR REPLACE INTO ended (id, operation, owner, state, attempts, created, at)"
            " VALUES (?, ?, ?, 'applied', ?, ?, ?)"
        )
        now = self._clock()
        statements: list[Statement] = []
        for entry in entries:
            write = entry.write
            row = (write.id, write.operation, write.owner, entry.attempts + 1, write.created, now)
            statements += [
                ("DELETE FROM writes WHERE id = ?", (write.id,)),
                (keep, row),
            ]  # it takes the room that is left
        done = [entry.write.id for entry in entries]
        self._journal.write(statements, to_disk=True, reserve=True, settles=done)
        self._deferred.recount()


def _entry(row: Sequence[Any]) -> _Entry:
    identity, operation, key, raw, attempts, created, tried = row
    try:
        content: Mapping[str, Any] = bson.decode(raw, codec_options=bson.CodecOptions(tz_aware=True))
    except bson.errors.BSONError:
        content, operation = {}, ""  # it will be put aside, as nobody knows the operation
    arguments, request_id, owner = content.get("arguments", {}), content.get("requestId"), content.get("owner")
    return _Entry(Write(operation, arguments, identity, request_id, owner, created), raw, key, attempts, tried)


def _of_different_keys(entries: Iterable[_Entry]) -> list[_Entry]:
    first: dict[str, _Entry] = {}
    for entry in entries:
        first.setdefault(entry.key, entry)
    return list(first.values())


def _facts(error: Exception | None) -> dict[str, Any]:
    """What may be told of an error: its type, and the versions that did not meet. Never its text."""
    if error is None:
        return {}
    moved = next((one for one in chain(error) if isinstance(one, ConcurrentModification)), None)
    versions = {"expectedVersion": moved.expected, "foundVersion": moved.found} if moved is not None else {}
    cause = error.__cause__ if isinstance(error, PartlyApplied) and error.__cause__ is not None else error
    return {"error": type(cause).__name__, "partlyApplied": isinstance(error, PartlyApplied), **versions}
