"""Trying again what may succeed now, and keeping on disk what may succeed later (the seed's Error Recovery Service)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field
from typing import Annotated, Any, TypeVar

import pymongo
from pymongo import MongoClient

from prodfix.classification.classifications import UNAVAILABLE, Classification
from prodfix.classification.classifier import Classifier
from prodfix.classification.places import unreadable
from prodfix.deferral.queue import DeferredQueue
from prodfix.deferral.writes import Write, WriteResult
from prodfix.errors import DatabaseUnavailable, DeadlineExceeded, ErrorCategory, JournalUnavailable, Outcome
from prodfix.operations.frames import driver_call
from prodfix.recovery import conflicts
from prodfix.recovery.budget import BudgetStatus, RetryBudget
from prodfix.recovery.conflicts import ConflictCounts, Conflicts
from prodfix.recovery.results import read
from prodfix.recovery.retries import Hook, RetryDetails, fits, retrying
from prodfix.request import deadlines
from prodfix.request.context import current_context, current_effects
from prodfix.serialization import INLINE, Serializable
from prodfix.slotted import frozen

Result = TypeVar("Result")


@frozen
class RecoveryStatus(Serializable):
    """Whether operations are tried again, and how many that has saved since the process began."""

    enabled: bool = True
    recovered: int = 0
    conflicts: ConflictCounts = field(default_factory=ConflictCounts)
    budget: Annotated[BudgetStatus | None, INLINE] = None


class Recovery:
    """``run`` tries an operation again inside the request's deadline; ``write`` does so, and then defers.

    ``retries`` (``MAX_RETRY_ATTEMPTS``) is the number of tries after the first, ``mobile_retries`` how many more a mobile
    device's request has when the connection is lost, ``base`` the first delay in seconds. The hooks are told of each delay before
    it, of each operation that a retry has saved, and of each write that waits now. ``applied`` knows of a write by its ID
    whether it was applied from the journal already; ``sees`` tells of a client whether its commands are seen: of another one's,
    nobody knows what else an operation has done.
    """

    def __init__(
        self,
        classifier: Classifier,
        deferred: DeferredQueue,
        *,
        retries: int,
        base: float,
        mobile_retries: int = 0,
        enabled: bool = True,
        budget: RetryBudget | None = None,
        conflicts: Conflicts | None = None,
        on_retry: Hook = lambda details: None,
        on_recovered: Hook = lambda details: None,
        on_deferred: Hook = lambda details: None,
        applied: Callable[[str], bool] = lambda identity: False,
        sees: Callable[[MongoClient[Any] | None], bool] = lambda client: True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._classifier = classifier
        self._deferred = deferred
        self.retries, self.base, self.enabled = retries, base, enabled
        self.mobile_retries = mobile_retries
        self._budget = budget
        self.conflicts = conflicts or Conflicts(sleep=sleep)
        self._on_retry = on_retry
        self._on_recovered, self._on_deferred = on_recovered, on_deferred
        self._applied, self.sees = applied, sees
        self._sleep = sleep
        self.recovered = 0

    def run(self, operation: Callable[[], Result], *, idempotent: bool = False, limit: float | None = None) -> Result:
        """The result of ``operation``; after a transient error it is called again, at most ``retries`` times.

        Something that is not ``idempotent`` is called again only if nothing of it was applied: neither the write that has failed,
        nor another one of the same call. After a timeout there is one more try, with a longer limit. Write conflicts are no
        errors of the database, and have short waits and a limit of their own (:mod:`prodfix.recovery.conflicts`). ``limit``:
        seconds for the first try; without it each try of what is idempotent has a share of the request's deadline, so that
        one which hangs leaves room for another. Raises the last error, unchanged, and ``TypeError`` for a result that is
        still to be read (:mod:`prodfix.recovery.results`).
        """
        if self._budget is not None:
            self._budget.tried()
        begun = current_effects().mark()
        try:
            result = _within(self._first_seconds(idempotent, limit), operation)
        except Exception as error:
            tries = _Tries(self, self._classifier, idempotent, limit, begun)
            tries.fail(error)
            if not self.enabled or not tries.going_on(error):
                raise
            first = error
        else:
            return read(result)
        # Outside of the block: a later error would get this one as its context, and it should be what the operation raised.
        return read(self._further(tries, operation, first))

    def _first_seconds(self, idempotent: bool, limit: float | None) -> float | None:
        left = deadlines.database_remaining()
        if left is None:
            return limit
        if limit is not None:
            return min(limit, left)
        return self.share(left, 1) if idempotent and self.retries else None

    def share(self, left: float, made: int) -> float | None:
        """Seconds for the try of that number, after which another may follow: a third of what is left; ``None``: all of it."""
        return left / 3 if self.enabled and fits(made, self.base, left * 2 / 3) else None

    def status(self) -> RecoveryStatus:
        """What it has done since this process began."""
        budget = self._budget.status() if self._budget is not None else None
        return RecoveryStatus(self.enabled, self.recovered, self.conflicts.counts(), budget)

    def write(self, write: Write) -> WriteResult:
        """Apply ``write`` now, or keep it on disk to be applied when the database is back.

        Raises the database's error when the write cannot be deferred, and
        :class:`prodfix.errors.JournalUnavailable` when it should be and the disk refused it, and it is certain that
        the database has not applied it.
        """
        if _copied() and self._applied(write.id):
            return WriteResult("applied", write.id, None)
        tries = _Applications(self._deferred, self._classifier, write)
        effects = current_effects()
        begun = effects.mark()
        try:
            # The driver's waits may be half a second late: what is kept for the journal must not be theirs.
            with deadlines.Enforced(deadlines.database_remaining(), DeadlineExceeded):
                if self._deferred.atomic(write):
                    tries()  # the transaction is tried again inside, as the driver's labels say
                else:
                    self.run(tries, idempotent=True)
        except Exception as error:
            if isinstance(error, DeadlineExceeded) and self._deferred.atomic(write) and conflicts.fresh():
                raise conflicts.without_end(error) from error
            if not self._deferred.enabled or not self._lost(error, tries.since):
                raise
            self._keep(write, error, tries.since)
            effects.in_doubt()  # until it is applied
            self._on_deferred(RetryDetails(tries.made, error, write=write))
            return WriteResult("deferred", write.id, self._deferred.durability)
        effects.settle(begun)
        return WriteResult("applied", write.id, None)

    def _keep(self, write: Write, error: Exception, since: float | None) -> None:
        try:
            with deadlines.shield():
                self._deferred.put(write, tried=since)
        except JournalUnavailable as refused:
            # The disk knows nothing of what the database may have done with a try whose answer was lost.
            if since is None:
                raise
            raise error from refused

    def _further(self, tries: _Tries, operation: Callable[[], Result], failed: Exception) -> Result:
        """The result of tries after the first, which has ended with ``failed``."""
        if tries.contended:
            try:
                return tries.after_conflict(operation, failed)
            except Exception as error:
                if not tries.worth(error):
                    raise
                failed = error
        return self._again(tries, operation, failed)

    def _again(self, tries: _Tries, operation: Callable[[], Result], first: Exception) -> Result:
        failed = iter((first,))  # tenacity counts the try that was made already
        last: BaseException = first

        def attempt() -> Result:
            for error in failed:
                raise error
            return tries.attempt(operation)

        def note(details: RetryDetails) -> None:
            nonlocal last
            last = details.error
            self._note(details)

        controller = retrying(
            retries=tries.most,
            base=self.base,
            transient=tries.worth,
            on_retry=note,
            allowed=self._budget.take if self._budget is not None else lambda: True,
            sleep=self._sleep,
        )
        result = controller(attempt)
        tries.settle()
        self.recovered += 1
        context = current_context()
        if context is not None:
            context.notes.recovered = True
        self._on_recovered(RetryDetails(tries.made, last))
        return result

    def _note(self, details: RetryDetails) -> None:
        context = current_context()
        if context is not None:
            context.notes.retries += 1
        self._on_retry(details)

    def _lost(self, error: BaseException, since: float | None) -> bool:
        """Whether the write should wait for the database, as also one does whose reply nobody can read. A conflict is none of its
        outages; but what may be applied in part must be finished."""
        meaning = self._classifier.classify(error)
        return (meaning.retryable or unreadable(error)) and (since is not None or not meaning.contended)


class _Tries:
    """The tries of one operation whose first has failed: how many there were, whether another is worth it, and how long it may
    take. ``begun``: the ledger's mark before the first."""

    __slots__ = (
        "_begun",
        "_classifier",
        "_effects",
        "_idempotent",
        "_left",
        "_limit",
        "_meaning",
        "_recovery",
        "_timeouts",
        "made",
        "most",
    )

    def __init__(
        self, recovery: Recovery, classifier: Classifier, idempotent: bool, limit: float | None, begun: int
    ) -> None:
        self._recovery, self._classifier = recovery, classifier
        self._idempotent, self._limit = idempotent, limit
        self._meaning: Classification | None = None
        self.made, self._timeouts = 1, 0
        self._effects, self._begun = current_effects(), begun
        self._left = recovery.conflicts.tries()
        context = current_context()
        # Without retries at all, a mobile device has none either.
        extra = recovery.mobile_retries if recovery.retries and context is not None and context.looks_mobile else 0
        self.most = recovery.retries + extra

    @property
    def contended(self) -> bool:
        """Whether the last one has met a conflict."""
        return self._meaning is not None and self._meaning.contended

    def attempt(self, operation: Callable[[], Result]) -> Result:
        """Another one, and those after the conflicts that it meets."""
        self.made += 1
        return self._recovery.conflicts.through(lambda: self._once(operation), self._left, worth=self._repeatable)

    def after_conflict(self, operation: Callable[[], Result], met: Exception) -> Result:
        """Those after a conflict that the last one has met."""
        failed = iter((met,))

        def once() -> Result:
            for error in failed:
                raise error
            return self._once(operation)

        return self._recovery.conflicts.through(once, self._left, worth=self._repeatable)

    def _once(self, operation: Callable[[], Result]) -> Result:
        try:
            return _within(self._seconds(), operation)
        except Exception as error:
            self.fail(error)
            raise

    def fail(self, error: Exception) -> None:
        """One has ended with ``error``."""
        self._meaning = self._classifier.classify(error)
        self._timeouts += self._meaning.category is ErrorCategory.TIMEOUT
        if self._meaning.outcome is Outcome.UNKNOWN:
            self._doubt(error)

    def _doubt(self, error: Exception) -> None:
        """Note a write whose commands nobody sees: a later try may end with an error that says nothing of this one."""
        call = driver_call(error)
        if call is not None and call.operation.writes and not self._recovery.sees(call.client):
            self._effects.in_doubt()

    def _seconds(self) -> float | None:
        own = self._limit * 2**self._timeouts if self._limit is not None else None
        left = deadlines.database_remaining()
        if left is None:
            return own
        return min(own, left) if own is not None else self._share(left)

    def _share(self, left: float) -> float | None:
        """A third while another try may follow, all of it for the last: so that a query that was too slow for the first has
        more time in the second. What is not idempotent is not tried again after a timeout, and has all at once."""
        last = not self._idempotent or self._timeouts or self.made > self.most
        return None if last else self._recovery.share(left, self.made)

    def going_on(self, error: Exception) -> bool:
        """Whether there is another one after ``error``, a conflict's or one that is worth it."""
        return self.worth(error) or (self.contended and self._repeatable(error))

    def worth(self, error: BaseException) -> bool:
        """Whether ``error``, with which the last try has ended, is worth another one, if there is one left."""
        meaning = self._meaning
        # A database that is known to be down is asked again by the pinger, not by every request that waits.
        if meaning is None or not meaning.transient or meaning.contended or _known_down(error):
            return False
        if not self._repeatable(error):
            return False
        if meaning.category is ErrorCategory.TIMEOUT and self._timeouts > 1:
            return False
        return self.made <= self._recovery.retries or meaning.code == UNAVAILABLE.code

    def _repeatable(self, error: BaseException) -> bool:
        """Whether it may be called again: it is idempotent, or nothing of the tries so far can have been applied."""
        if self._idempotent:
            return True
        applied = self._meaning is None or self._meaning.outcome is not Outcome.NOT_APPLIED
        if applied or self._effects.touched(self._begun):
            return False
        call = driver_call(error)
        return call is None or (not call.halfway and self._recovery.sees(call.client))

    def settle(self) -> None:
        """It has succeeded in the end: what is idempotent was applied once, whatever became of the tries before."""
        if self._idempotent:
            self._effects.settle(self._begun)


def _within(seconds: float | None, operation: Callable[[], Result]) -> Result:
    if seconds is None:
        return operation()
    with pymongo.timeout(max(seconds, 0.001)):  # never 0: the driver takes that for no limit
        return operation()


def _known_down(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DatabaseUnavailable):
        cause = cause.__cause__
    return cause is not None


def _copied() -> bool:
    """Whether the request may be a copy of one that came while nobody could remember it."""
    context = current_context()
    return context is not None and context.notes.keyed


class _Applications:
    """The tries of one write. ``since`` is when the first began that may have been applied, None while none may."""

    def __init__(self, deferred: DeferredQueue, classifier: Classifier, write: Write) -> None:
        self._deferred, self._classifier, self._write = deferred, classifier, write
        self.since: float | None = None
        self.made = 0

    def __call__(self) -> None:
        self.made += 1
        begun, effects = time.time(), current_effects()
        mark = effects.mark()
        try:
            self._deferred.apply(self._write, since=self.since)
        except BaseException as error:  # a deadline that cuts it, too
            doubtful = self._classifier.classify(error).outcome is not Outcome.NOT_APPLIED or effects.touched(mark)
            if self.since is None and doubtful:
                self.since = begun
            raise
