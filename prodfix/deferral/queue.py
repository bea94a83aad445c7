"""The registered operations, the direct way of a write to the database, and its way to the disk.

What waits on disk is applied by :mod:`prodfix.deferral.drainer`; how a step is applied once stands in
:mod:`prodfix.deferral.guards`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import bson
from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.database import Database

from prodfix.deferral import guards
from prodfix.deferral.releases import Releases
from prodfix.deferral.writes import Operation, Step, Steps, Write, check, declared, is_identity, order_key
from prodfix.errors import JournalUnavailable, JournalUncertain, PartlyApplied, Severity, Uncertain, ValidationFailed
from prodfix.journal.journal import Journal
from prodfix.request.context import current_context
from prodfix.settings import Settings
from prodfix.slotted import mutable

ENTRY_VERSION = 2
RECOUNT = 30.0  # seconds after which what is on disk is counted again


class Transact(Protocol):
    """What runs a callback in a transaction; ``place``: what it is known to change."""

    def __call__(self, callback: Callable[[ClientSession], None], /, *, place: Hashable = None) -> None: ...


Ended = Literal["replayed", "dead"]
Report = Callable[[Severity, str, Mapping[str, Any]], None]


LONGEST_COPY = 86_400.0  # seconds in which a copy of a write may come: IDEMPOTENCY_TTL's default


@mutable
class _Room:
    """What this worker's file holds of writes, waiting and put aside, as counted at ``at``, and what came since."""

    entries: int = 0
    size: int = 0
    at: float = -RECOUNT


class DeferredQueue:
    """Operations by name, and how a write of one is applied or kept.

    ``max_entries`` and ``max_bytes`` bound what one worker keeps, dead letters included. ``transact`` runs a callback in a
    transaction; ``user`` names the verified user of the request that is served now; ``count`` is told of each that is
    ``deferred``, and ``ended`` of those that are ``replayed`` or ``dead``: when they were deferred, but for those that an admin
    has ordered to be tried again.
    """

    def __init__(
        self,
        journal: Journal,
        database: Callable[[], Database[Any]],
        *,
        enabled: bool,
        durable: bool,
        max_entries: int,
        max_bytes: int,
        transact: Transact | None = None,
        user: Callable[[], str | None] = lambda: None,
        report: Report = lambda severity, message, facts: None,
        count: Callable[[str], None] = lambda name: None,
        ended: Callable[[Ended, Sequence[float]], None] = lambda name, kept: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self.database = journal, database
        self.enabled = enabled
        self.durability: Literal["durable", "ephemeral"] = "durable" if durable else "ephemeral"
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._transact, self._user, self.report, self._clock = transact, user, report, clock
        self._count, self.ended = count, ended
        self._operations: dict[str, Operation] = {}
        self._unique: set[tuple[str, str]] = set()
        self._room = _Room()
        self.releases = Releases(lambda: self.database())  # noqa: PLW0108 - a test may give it another one
        """The marks of what is applied, until they are removed."""
        self.refused = 0
        """Writes that could not be kept: the journal was full, or its disk failed."""

    @classmethod
    def made(
        cls,
        settings: Settings,
        journal: Journal,
        database: Callable[[], Database[Any]],
        *,
        transact: Transact,
        user: Callable[[], str | None],
        report: Report,
        count: Callable[[str], None],
        ended: Callable[[Ended, Sequence[float]], None],
    ) -> DeferredQueue:
        """That of an application."""
        return cls(
            journal,
            database,
            enabled=settings.defers_writes,
            durable=settings.durable,
            max_entries=settings.deferred_max_entries,
            max_bytes=settings.deferred_max_bytes,
            transact=transact,
            user=user,
            report=report,
            count=count,
            ended=ended,
        )

    # -- operations ---------------------------------------------------------------------------------------------------

    def register(self, name: str, steps: Steps, *, atomic: bool = False) -> None:
        """Make ``name`` known. Raises ``ValueError`` if it is taken: a drain would run something else."""
        self.know([Operation(name, steps, atomic)])

    def know(self, operations: Iterable[Operation]) -> None:
        """Make declared operations known. Raises ``ValueError`` if another has the name."""
        for operation in operations:
            if self._operations.setdefault(operation.name, operation) is not operation:
                raise ValueError(f"the deferrable operation {operation.name!r} is registered twice")

    def unique(self, collection: str, field: str) -> None:
        """Tell that a unique index keeps ``field`` unique, so that an update may name its document by it."""
        self._unique.add((collection, field))

    def operation(self, name: str) -> Operation:
        """Raises ``KeyError`` if no plug-in has registered it."""
        found = self._operations.get(name) or declared(name)
        if found is None:
            raise KeyError(name)
        return self._operations.setdefault(name, found)

    def steps(self, write: Write) -> Sequence[Step]:
        """The steps of ``write``. Raises :class:`prodfix.errors.Unguarded`, ``KeyError``, and what the operation raises."""
        steps = list(self.operation(write.operation).steps(write.arguments))
        check(write.operation, steps, self._unique)
        return steps

    # -- to the database ----------------------------------------------------------------------------------------------

    def apply(self, write: Write, *, since: float | None = None) -> None:
        """Apply each step that is not applied yet, all of them in one transaction if the operation is ``atomic``.

        ``since``: when an earlier try may first have been applied. Raises as :func:`prodfix.deferral.guards.apply` does, as the
        cause of :class:`prodfix.errors.PartlyApplied` once a step was applied.
        """
        steps = self.steps(write)
        if not self.atomic(write) or self._transact is None:
            self.apply_steps(write, steps, since=since)
        else:
            self._apply_at_once(write, steps, self._transact, since)
        self.releases.settled(write, steps, lost=since is not None, owner=self._owner)

    def _apply_at_once(self, write: Write, steps: Sequence[Step], transact: Transact, since: float | None) -> None:
        def run(session: ClientSession) -> None:
            for number, step in enumerate(steps):
                guards.apply(self.database(), step, write.id, number, since=since, session=session)

        place = guards.place(steps)
        try:
            transact(run, place=place)
        except DuplicateKeyError as error:
            # Perhaps with ourselves: the answer to an earlier try's commit was lost.
            if guards.applied(self.database(), steps, write.id):
                return
            if guards.begun(self.database(), steps, write.id):
                # A drain stands between its steps, or a document has forgotten: what is missing follows, if that can be told.
                self.apply_steps(write, steps, since=time.time() - LONGEST_COPY)
            elif guards.outrun(error, steps):
                transact(run, place=place)  # the document is there now
            else:
                raise

    def atomic(self, write: Write) -> bool:
        """Whether the direct way is one transaction, which its own driver's labels say when to try again."""
        return self._transact is not None and self.operation(write.operation).atomic

    def apply_steps(
        self,
        write: Write,
        steps: Sequence[Step],
        *,
        since: float | None = None,
        around: Callable[[int], AbstractContextManager[object]] = lambda number: nullcontext(),
    ) -> None:
        """Apply the steps one by one, without a transaction, each ``around`` its number. Raises as :meth:`apply` does."""
        for number, step in enumerate(steps):
            try:
                with around(number):
                    guards.apply(self.database(), step, write.id, number, since=since)
            except Uncertain:
                with around(number):
                    states = guards.states(self.database(), steps, write.id, since)
                if states[number] != "applied":
                    raise
            except Exception as error:
                if number:
                    raise PartlyApplied(f"step {number + 1} of {write.operation}") from error
                raise

    # -- to the disk --------------------------------------------------------------------------------------------------

    def put(self, write: Write, *, tried: float | None = None) -> None:
        """Keep ``write`` on disk; returns after fsync. ``tried``: when the database may first have applied it.

        Raises :class:`prodfix.errors.JournalUnavailable` if it could not be kept, or the journal is full, and
        :class:`prodfix.errors.JournalUncertain` if that is not known;
        :class:`prodfix.errors.ValidationFailed` if BSON cannot hold it; :class:`prodfix.errors.Unguarded`.
        """
        entry = self._entry(write)
        key = order_key(write, self.operation(write.operation), self.steps(write))
        insert = (
            "INSERT OR IGNORE INTO writes (id, operation, key, entry, created, tried) SELECT ?1, ?2, ?3, ?4, ?5, ?6"
            " WHERE NOT EXISTS (SELECT 1 FROM ended WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM dead WHERE id = ?1)"
        )
        try:
            self._take_room(len(entry))
            row = (write.id, write.operation, key, entry, write.created, tried)
            self._journal.write([(insert, row)], durable=True)
        except (JournalUnavailable, TimeoutError) as error:
            self.refused += 1
            self.report(Severity.ERROR, "a write could not be kept", _facts(write, error=type(error).__name__))
            if not isinstance(error, JournalUnavailable):
                raise JournalUncertain("the disk did not answer in time") from error
            raise
        self._count("deferred")
        self.report(Severity.WARN, "a write waits on disk", _facts(write, durability=self.durability))

    def recount(self) -> None:
        """What is on disk has changed otherwise: count it again when it is next asked for."""
        self._room.at = -RECOUNT

    def _entry(self, write: Write) -> bytes:
        if not is_identity(write.id):
            raise ValidationFailed("the ID is no printable text of 8 to 100 characters without a slash")
        context = current_context()
        try:
            return bson.encode(
                {
                    "version": ENTRY_VERSION,
                    "operation": write.operation,
                    "arguments": dict(write.arguments),
                    "requestId": write.request_id or (context.request_id if context else None),
                    "owner": self._owner(write),
                    "kept": time.time(),
                }
            )
        except (bson.errors.BSONError, OverflowError, TypeError, UnicodeError) as error:
            raise ValidationFailed("the arguments do not fit into BSON") from error

    def _owner(self, write: Write) -> str | None:
        return write.owner if write.owner is not None else self._user()

    def _take_room(self, size: int) -> None:
        room = self._room
        if self._clock() - room.at >= RECOUNT:
            room.at = self._clock()  # before it waits for the disk: only one of many that come now is to count
            query = "SELECT count(*), total(length(entry)) FROM {}"
            before = room.entries, room.size
            rows = self._journal.read_own(query.format("writes")) + self._journal.read_own(query.format("dead"))
            room.entries += sum(row[0] for row in rows) - before[0]  # and what has come meanwhile
            room.size += int(sum(row[1] for row in rows)) - before[1]
        if room.entries >= self._max_entries or room.size + size > self._max_bytes:
            raise JournalUnavailable("the journal is full")
        room.entries, room.size = room.entries + 1, room.size + size


def _facts(write: Write, **more: Any) -> dict[str, Any]:
    context = current_context()
    request_id = write.request_id or (context.request_id if context else None)
    return {"operationId": write.id, "operation": write.operation, "writeRequestId": request_id, **more}
