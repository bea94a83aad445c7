"""What an error reporter is, and how it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from prodfix.records.records import ErrorRecord
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen


class ErrorReporter(Protocol):
    """Tells another service of one record. Its ``name`` stands in the diagnostics.

    It is called by one greenlet or thread of a worker, beside requests, one record after the other, and may wait for some
    seconds. What it raises is counted; the same record comes up to three times, so that a service should know it again by
    ``record.id``. Everything that a record's forms hold (``to_document()``, ``summary``) is redacted.

    A reporter may have a ``close(limit)``, which is called when the worker ends and has so many seconds.
    """

    @property
    def name(self) -> str: ...

    def report(self, record: ErrorRecord) -> None: ...


class ReporterFailed(Exception):
    """A reporter could not tell its service. The text is a reason in one word or two: no answer and no address."""


class StandsBack(Exception):
    """The application tells this service itself: a second reporter would make a second event of each error."""


@frozen
class ReporterStatus(Serializable):
    """One reporter of a worker, since the worker began."""

    name: str = ""
    failing: Annotated[str | None, Description("Why the last report failed, if it did")] = None
    note: str | None = None
    sent: int = 0
    failed: Annotated[int, Description("Errors that were given up after three tries")] = 0
    dropped: Annotated[int, Description("Errors that found too many others waiting")] = 0
    waiting: int = 0


def over_workers(found: Sequence[ReporterStatus]) -> list[ReporterStatus]:
    """Of each name one: why it fails in one of the workers, if it does, and the sums."""
    names = dict.fromkeys(status.name for status in found)
    return [_together(name, [status for status in found if status.name == name]) for name in names]


def _together(name: str, parts: Sequence[ReporterStatus]) -> ReporterStatus:
    return ReporterStatus(
        name,
        next((part.failing for part in parts if part.failing), None),
        next((part.note for part in parts if part.note), None),
        sent=sum(part.sent for part in parts),
        failed=sum(part.failed for part in parts),
        dropped=sum(part.dropped for part in parts),
        waiting=sum(part.waiting for part in parts),
    )
