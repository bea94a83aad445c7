"""Trying again what may succeed now, and keeping on disk what may succeed later (the seed's Error Recovery Service)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from prodfix.classifier import Classifier
from prodfix.context import current_context
from prodfix.deferred import Deferred
from prodfix.errors import DatabaseUnavailable, JournalUnavailable, Outcome
from prodfix.retries import Note, retrying
from prodfix.writes import Write, WriteResult

Result = TypeVar("Result")


class Recovery:
    """``run`` tries an operation again inside the request's deadline; ``write`` does so, and then defers.

    ``retries`` (``MAX_RETRY_ATTEMPTS``) is the number of tries after the first, ``base`` the first delay in seconds.
    """

    def __init__(
        self,
        classifier: Classifier,
        deferred: Deferred,
        *,
        retries: int,
        base: float,
        enabled: bool = True,
        on_retry: Note = lambda attempt, delay, error: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._classifier = classifier
        self._deferred = deferred
        self.retries, self.base, self.enabled = retries, base, enabled
        self._on_retry = on_retry
        self._sleep = sleep

    def run(self, operation: Callable[[], Result], *, idempotent: bool = False) -> Result:
        """The result of ``operation``; after a transient error it is called again, at most ``retries`` times.

        Something that is not ``idempotent`` is called again only if the error says that it was not applied. Raises the
        last error, unchanged.
        """
        try:
            return operation()
        except Exception as error:
            if not self.enabled or not self._worth(error, idempotent):
                raise
            return self._again(operation, error, idempotent)

    def write(self, write: Write) -> WriteResult:
        """Apply ``write`` now, or keep it on disk to be applied when the database is back.

        Raises the database's error when the write cannot be deferred, and
        :class:`prodfix.errors.JournalUnavailable` when it should be and the disk refused it, and it is certain that
        the database has not applied it.
        """
        tries = _Tries(self._deferred, self._classifier, write)
        try:
            if self._deferred.atomic(write):
                tries()  # the transaction is tried again inside, as the driver's labels say
            else:
                self.run(tries, idempotent=True)
        except Exception as error:
            if not self._deferred.enabled or not self._lost(error):
                raise
            self._keep(write, error, tries.since)
            return WriteResult("deferred", write.id, self._deferred.durability)
        return WriteResult("applied", write.id, None)

    def _keep(self, write: Write, error: Exception, since: float | None) -> None:
        try:
            self._deferred.put(write, tried=since)
        except JournalUnavailable as refused:
            # The disk knows nothing of what the database may have done with a try whose answer was lost.
            if since is None:
                raise
            raise error from refused

    def _again(self, operation: Callable[[], Result], first: Exception, idempotent: bool) -> Result:
        failed = iter((first,))  # tenacity counts the try that was made already

        def attempt() -> Result:
            for error in failed:
                raise error
            return operation()

        controller = retrying(
            retries=self.retries,
            base=self.base,
            transient=lambda error: self._worth(error, idempotent),
            on_retry=self._note,
            sleep=self._sleep,
        )
        result = controller(attempt)
        context = current_context()
        if context is not None:
            context.notes.recovered = True
        return result

    def _note(self, attempt: int, delay: float, error: BaseException) -> None:
        context = current_context()
        if context is not None:
            context.notes.retries = attempt
        self._on_retry(attempt, delay, error)

    def _worth(self, error: BaseException, idempotent: bool) -> bool:
        # A database that is known to be down is asked again by the pinger, not by every request that waits.
        if isinstance(error, DatabaseUnavailable):
            return False
        meaning = self._classifier.classify(error)
        return meaning.transient and (idempotent or meaning.outcome is Outcome.NOT_APPLIED)

    def _lost(self, error: BaseException) -> bool:
        return self._classifier.classify(error).retryable


class _Tries:
    """The tries of one write. ``since`` is when the first began that may have been applied, None while none may."""

    def __init__(self, deferred: Deferred, classifier: Classifier, write: Write) -> None:
        self._deferred, self._classifier, self._write = deferred, classifier, write
        self.since: float | None = None

    def __call__(self) -> None:
        begun = time.time()
        try:
            self._deferred.apply(self._write, since=self.since)
        except Exception as error:
            if self.since is None and self._classifier.classify(error).outcome is not Outcome.NOT_APPLIED:
                self.since = begun
            raise
