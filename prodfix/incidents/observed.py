"""From the loss of the database, or a jump of the error rate, to its end: what this worker sees of it.

Its part of an incident goes into its journal in absolute totals. :mod:`prodfix.incidents.folding` makes one part of them for
the instance, and one record of all instances.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Literal

import orjson

from prodfix.journal.batch import Unwritten, write_together
from prodfix.journal.journal import Journal, Statement
from prodfix.process.per_process import in_each_process
from prodfix.serialization import Serializable
from prodfix.slotted import frozen, mutable

IncidentCause = Literal["database_lost", "error_rate"]
COUNTED = ("failed", "retried", "recovered", "deferred", "replayed", "dead")
Ended = Literal["replayed", "dead"]
"""What becomes of a write that was deferred during an incident, mostly after its end."""

GAP = 10.0  # seconds between two parts of one incident at most: not all workers notice at once
NOTICED = 5.0  # seconds before an incident in which its first failures were
SPREAD = 1.0  # seconds by which workers may differ on when the database has come back
EARLIER = 8  # incidents before the last one, of which a worker's part may still change
FOLLOWED = 600.0  # seconds after its end in which drained writes still belong to it
JUMP = 0.5  # seconds by which two clocks may differ between two looks: one that is slewed loses 0.5 ms a second (adjtime(3))

_UPSERT = (
    "INSERT INTO incidents (id, revision, entry) VALUES (?, ?, ?) ON CONFLICT (id)"
    " DO UPDATE SET revision = excluded.revision, entry = excluded.entry WHERE excluded.revision > revision"
)


@frozen
class IncidentPart(Serializable):
    """What one worker has seen of an incident, in its journal. Times are seconds since the epoch."""

    id: str
    cause: IncidentCause
    begin: float
    end: float
    instance: str = ""
    release: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    moved: bool = False
    open: bool = False

    @property
    def boot(self) -> str:
        return self.id.partition(":")[0]


@mutable
class WorkerPart:
    """What one worker has seen of an incident. Times are seconds since the epoch; ``end`` is the last moment that was seen, and
    ``seen`` the same one by the monotonic clock, by which it lasts. ``moved``: the wall clock was set meanwhile, and the
    beginning with it."""

    id: str
    cause: IncidentCause
    begin: float
    end: float
    open: bool
    instance: str
    release: str
    seen: float
    moved: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    revision: int = 1
    written: int = 0
    earliest: float = math.inf
    latest: float = -math.inf

    def __post_init__(self) -> None:
        self._extend()

    def _extend(self) -> None:
        """By the wall clock as it was then, which is what a write that was kept meanwhile tells."""
        self.earliest, self.latest = min(self.earliest, self.begin), max(self.latest, self.end)

    def covers(self, kept: float) -> bool:
        """Whether a write that was deferred then was so during this incident."""
        early, late = (NOTICED, SPREAD) if self.cause == "database_lost" else (0.0, 0.0)
        return self.earliest - early <= kept and (self.open or kept <= self.latest + late)

    def touch(self, now: float, seen: float) -> None:
        """It is still there, or is over now. It never lasts longer or shorter than it did because a clock was set."""
        jump = (now - self.end) - (seen - self.seen)
        if abs(jump) > JUMP:
            self.begin, self.moved = round(self.begin + jump, 3), True
        self.end, self.seen = max(now, self.begin), seen
        self._extend()
        self.revision += 1

    def entry(self) -> IncidentPart:
        return IncidentPart(
            self.id,
            self.cause,
            self.begin,
            self.end,
            self.instance,
            self.release,
            dict(self.counts),
            self.moved,
            self.open,
        )


class Incidents:
    """Counts for this worker. ``instance`` and ``release`` say which one it is. ``clock`` says when, ``monotonic`` how long."""

    def __init__(
        self,
        journal: Journal,
        *,
        instance: str,
        release: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._clock, self._monotonic = journal, clock, monotonic
        self._instance, self._release = instance, release
        self._parts: dict[IncidentCause, WorkerPart] = {}
        self._past: deque[WorkerPart] = deque(maxlen=EARLIER)  # closed, and not the last of their cause
        self._early: deque[tuple[float, str]] = deque(maxlen=1000)
        in_each_process(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()  # a parent's, that another thread held, would never be free

    def begin(self, cause: IncidentCause) -> None:
        """An incident begins, or is still there."""
        with self._lock:
            part, (now, seen) = self._parts.get(cause), self._now()
            if part is not None and seen - part.seen < GAP:
                part.open = True
            elif part is None or not part.open:
                if part is not None:
                    self._past.append(part)
                part = self._parts[cause] = self._made(cause, now, seen)
            part.touch(now, seen)

    def _made(self, cause: IncidentCause, now: float, seen: float) -> WorkerPart:
        # Requests notice a loss before it is certain.
        early = [(at, name) for at, name in self._early if seen - at < NOTICED] if cause == "database_lost" else []
        begin = round(now - seen + min([seen, *(at for at, _ in early)]), 3)
        identity = f"{self._journal.boot}:{cause}:{int(now * 1000)}"
        part = WorkerPart(identity, cause, begin, now, True, self._instance, self._release, seen)
        part.counts.update(name for _, name in early)
        return part

    def _now(self) -> tuple[float, float]:
        """By both clocks."""
        return round(self._clock(), 3), self._monotonic()

    def end(self, cause: IncidentCause) -> None:
        """It is over."""
        with self._lock:
            part = self._parts.get(cause)
            if part is not None and part.open:
                part.open = False
                part.touch(*self._now())

    def failed(self, *, database: bool) -> None:
        """A request was answered with 5xx; ``database``: because that was not reached, or did not answer in time."""
        if not database and not self._parts:  # as most
            return
        with self._lock:
            if database:
                self._count("failed", "database_lost")
                self._note("failed")
            self._count("failed", "error_rate")

    def count(self, name: str, number: int = 1) -> None:
        """Count one of :data:`COUNTED` that happens now, in whatever incident is open."""
        with self._lock:
            for cause in self._parts:
                self._count(name, cause, number)
            self._note(name)

    def ended(self, name: Ended, kept: Sequence[float]) -> None:
        """Count what became of writes that were deferred at ``kept`` (seconds since the epoch): in the incidents that were there
        then, until :data:`FOLLOWED` after their end, and in no other."""
        if not kept or not self._parts:  # as mostly
            return
        with self._lock:
            for part in self._all():
                if part.open or self._monotonic() - part.seen < FOLLOWED:
                    _add(part, name, sum(map(part.covers, kept)))

    def _all(self) -> Iterator[WorkerPart]:
        yield from self._past
        yield from self._parts.values()

    def _note(self, name: str) -> None:
        """Remember what may be the first sign of an incident that is not certain yet."""
        if "database_lost" not in self.open:
            self._early.append((self._monotonic(), name))

    def _count(self, name: str, cause: IncidentCause, number: int = 1) -> None:
        part = self._parts.get(cause)
        if part is not None and part.open:
            _add(part, name, number)

    @property
    def open(self) -> frozenset[IncidentCause]:
        return frozenset(cause for cause, part in self._parts.items() if part.open)

    def within(self, cause: IncidentCause, seconds: float) -> bool:
        """Whether it lasts, or ended no longer ago than that."""
        part = self._parts.get(cause)
        return part is not None and (part.open or self._monotonic() - part.seen < seconds)

    def flush(self) -> None:
        """Make this worker's parts known to the others. Raises ``JournalUnavailable``."""
        write_together(self._journal.write, self.unwritten())

    def unwritten(self) -> Unwritten | None:
        """The same, to be written by the caller."""
        with self._lock:
            for part in self._parts.values():
                if part.open:
                    part.touch(*self._now())
            changed = [(part, part.revision) for part in self._all() if part.revision > part.written]
            statements: list[Statement] = [
                (_UPSERT, (part.id, revision, orjson.dumps(part.entry().to_json()))) for part, revision in changed
            ]

        def written() -> None:
            for part, revision in changed:
                part.written = revision

        return Unwritten(statements, written) if statements else None


def _add(part: WorkerPart, name: str, number: int) -> None:
    if number:
        part.counts[name] += number
        part.revision += 1
