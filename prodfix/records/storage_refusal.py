"""A database that answers and takes nothing more: it is full, over its quota, read-only, or its user may not write.

Then our own writing stops, first of all: what the application writes must not fail for what we store of it. It is said once, and
tried again at growing intervals. What waits meanwhile stays in the journals, which are bounded.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pymongo.errors import BulkWriteError, PyMongoError

from prodfix.classification.server_replies import server_code
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

FIRST, LONGEST = 10.0, 600.0  # seconds until the next try

CODES: Mapping[int, str] = {
    13: "NOT_AUTHORIZED",
    20: "READ_ONLY",  # IllegalOperation, of a server in its read-only mode
    371: "WRITES_BLOCKED",  # UserWritesBlocked: by an operator, or by the server's own threshold of its disk
    8000: "OVER_QUOTA",  # AtlasError: what Atlas says of a cluster that is over its space quota, and of what it forbids
    14031: "DISK_FULL",  # OutOfDiskSpace
}
_NO_SPACE = ("no space left on device", "not enough disk space", "disk full", "enospc")


@frozen
class StorageStatus(Serializable):
    """How what is ours is stored. ``refused``: why the database takes nothing of it, if that is so."""

    refused: Annotated[str | None, Description("A code, such as `DISK_FULL`: our own writing has stopped")] = None
    since: datetime | None = None
    lost_since: Annotated[
        datetime | None, Description("Since when the database of `DIAGNOSTICS_URI` does not answer, if it does not")
    ] = None
    waiting: Annotated[int, Description("Records that wait for MongoDB")] = 0
    thinned: Annotated[
        int, Description("Records that are kept for a while only, as there are enough of their kind")
    ] = 0
    sampled_kinds: int = 0
    kept: Annotated[int | None, Description("Records in MongoDB, when they were last counted")] = None
    counted_at: datetime | None = None
    bytes: Annotated[int | None, Description("Of all that is ours in MongoDB, with its indexes")] = None
    max_bytes: Annotated[int | None, Description("Which it may have")] = None
    unbounded: Annotated[str | None, Description("Why the bound cannot be kept")] = None


def refused(error: BaseException) -> str | None:
    """A code, if the database answers and takes nothing more; None for any other error."""
    if isinstance(error, BulkWriteError):
        failures = [*error.details.get("writeErrors", ()), *error.details.get("writeConcernErrors", ())]
        return next((reason for one in failures if (reason := _reason(one.get("code"), one.get("errmsg")))), None)
    if not isinstance(error, PyMongoError):
        return None
    details = getattr(error, "details", None)
    return _reason(server_code(error), details.get("errmsg") if isinstance(details, Mapping) else None)


def _reason(code: Any, text: Any) -> str | None:
    if isinstance(code, int) and code in CODES:
        return CODES[code]
    # Of a file system's own error the server passes on the text, under whatever code.
    said = str(text).lower()
    return "DISK_FULL" if any(words in said for words in _NO_SPACE) else None


class StorageRefusal:
    """``report`` is told the reason when it begins, and None when it is over."""

    def __init__(self, report: Callable[[str | None], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._next, self._pause = 0.0, FIRST
        self.reason: str | None = None
        self.since: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether it is too early for another try."""
        return self.reason is not None and self._clock() < self._next

    def noticed(self, error: BaseException) -> bool:
        """Whether ``error`` is one; then it waits from now on."""
        reason = refused(error)
        if reason is None:
            return False
        self.hold(reason)
        return True

    def hold(self, reason: str) -> None:
        """Stop for this reason, or go on to wait, for longer."""
        told, self.reason = self.reason, reason
        self.since = self.since or datetime.now(UTC)
        # Not all workers in the same second.
        self._next = self._clock() + self._pause * random.uniform(0.8, 1.0)
        self._pause = min(LONGEST, self._pause * 2)
        if told != reason:
            self._report(reason)

    def over(self) -> None:
        """Something was stored."""
        if self.reason is not None:
            self.reason = self.since = None
            self._pause = FIRST
            self._report(None)
