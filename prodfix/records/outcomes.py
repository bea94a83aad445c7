"""What became of the writes of a request that ends with an error: one law for every answer and record.

An outcome is the request's, over all that it wrote, and not the last operation's. With an interceptor on the client, or our
own client, the commands of the request tell it (:class:`prodfix.request.effects.Effects`). Where nobody sees them only the
operation that failed is known, and what the request did before it is not.
"""

from __future__ import annotations

from prodfix.classification.classifications import Classification
from prodfix.errors import Outcome
from prodfix.operations.operation import DatabaseOperation
from prodfix.request.context import RequestContext
from prodfix.slotted import frozen

_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@frozen
class Ending:
    """How a request ended. ``operation`` is the database operation that failed, if it was one; ``seen``: somebody sees the
    commands of its client; ``halfway``: the driver's call that failed may have applied a part; ``claimed``: the application's
    own row tells the outcome; ``certain``: the error knows the outcome from the database's state."""

    meaning: Classification
    operation: DatabaseOperation | None
    context: RequestContext | None
    seen: bool = False
    halfway: bool = False
    claimed: bool = False
    certain: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """``None`` for what was no write."""
        ledger = self.context.notes.ledger if self.context is not None else None
        if ledger is not None and ledger.declared is not None:
            return ledger.declared
        if self.claimed and self.meaning.outcome is not None:
            return self.meaning.outcome
        verdict = ledger.verdict if ledger is not None else None
        if self.operation is None:
            return self._without_operation(verdict)
        if verdict is None:
            return self._of_operation(self.operation)
        # Something was applied, and then a part of one call of the driver's, or what nobody sees.
        partly = self.halfway or self.certain or (not self.seen and self._own is Outcome.UNKNOWN)
        return Outcome.UNKNOWN if partly else verdict

    @property
    def _own(self) -> Outcome | None:
        return self.meaning.outcome if self.operation is not None and self.operation.writes else None

    @property
    def _writing(self) -> bool:
        return self.context is not None and self.context.method in _WRITING

    def _without_operation(self, verdict: Outcome | None) -> Outcome | None:
        """The view's own error, a deadline, what `abort` says. What an application refuses, or says may come again, it
        says knowing what it did."""
        if self.meaning.status < 500 or self.meaning.code.startswith("HTTP_"):
            return None
        if verdict is None and self.meaning.retryable and self._writing and not self.seen:
            return Outcome.UNKNOWN
        return verdict

    def _of_operation(self, operation: DatabaseOperation) -> Outcome | None:
        """Of the request's writes none is known to have had an effect."""
        if self.certain:
            return self.meaning.outcome if operation.writes else None
        if self.seen:
            return Outcome.NOT_APPLIED if operation.writes or self._writing else None
        if not operation.writes:
            return Outcome.UNKNOWN if self._writing else None
        earlier = self._writing and self.meaning.status >= 500  # something else may have been written before
        doubtful = self.meaning.outcome is Outcome.NOT_APPLIED and (earlier or self.halfway)
        return Outcome.UNKNOWN if doubtful else self.meaning.outcome
