"""What the writes of one request came to, over all of its commands: nothing, something, or nobody can tell.

The last operation alone does not tell it: an insert that was applied stays when the read after it fails, and a bulk write is
several commands. So each command that writes is followed from the moment it is sent. Until its reply is there it may have
been applied; what its reply says then holds. Whoever sends a command again under the same key, as the driver does with a
retryable write, asks about the same write: a reply that says it is applied settles the tries before it, too, and one that
refuses it does not. What a transaction writes is nothing until its commit is sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prodfix.errors import Outcome

MOST = 256  # writes, and transactions, that are told apart while they are in doubt; further ones are in doubt for good
_FURTHER = object()

_auxiliary: ContextVar[bool] = ContextVar("prodfix_auxiliary", default=False)


@contextmanager
def auxiliary_writes() -> Iterator[None]:
    """Writes within are not what the request is for (audit entries, sessions, caches, counters of visits): they are no part
    of its ``outcome``, and no reason against sending it again."""
    token = _auxiliary.set(True)
    try:
        yield
    finally:
        _auxiliary.reset(token)


class Effects:
    """The ledger of one request, or of one background greenlet that asked for one."""

    __slots__ = ("_applied", "_applied_at", "_clock", "_dirty", "_doubtful", "_sent", "declared")

    def __init__(self) -> None:
        self._clock = 0  # counts writes, to tell those that came after a mark
        self._sent: dict[Hashable, int] = {}
        self._doubtful: dict[Hashable, int] = {}
        self._dirty: dict[Hashable, None] = {}
        self._applied: Hashable = None
        self._applied_at = 0
        self.declared: Outcome | None = None
        """What the application says, which may know better."""

    # -- told by who sees the commands ------------------------------------------------------------------------------------

    def sent(self, key: Hashable) -> None:
        """A write leaves for the server. ``key`` is the same for each try of it."""
        if _auxiliary.get():
            return
        self._clock += 1
        if key in self._sent:  # the try before was cut
            self._doubt(key, self._sent[key])
        if len(self._sent) >= MOST:
            self._doubt(_FURTHER, self._clock)
            return
        self._sent[key] = self._clock

    def applied(self, key: Hashable) -> None:
        """The reply says that it took effect."""
        at = self._sent.pop(key, None)
        if at is not None:
            self._doubtful.pop(key, None)
            self._applied, self._applied_at = key, at

    def met_nothing(self, key: Hashable) -> None:
        """The reply says that there was nothing to change."""
        if self._sent.pop(key, None) is not None:
            self._doubtful.pop(key, None)

    def refused(self, key: Hashable) -> None:
        """The reply refuses it as a whole. What an earlier command of the same driver's call has applied stays, and then
        nobody can tell of the call."""
        at = self._sent.pop(key, None)
        if at is not None and key == self._applied:
            self._doubt(key, at)

    def doubtful(self, key: Hashable) -> None:
        """There is no reply, or one that does not tell, or it was applied in part."""
        at = self._sent.pop(key, None)
        if at is not None:
            self._doubt(key, at)

    def _doubt(self, key: Hashable, at: int) -> None:
        self._doubtful.setdefault(key if len(self._doubtful) < MOST else _FURTHER, at)

    # -- transactions -----------------------------------------------------------------------------------------------------

    def wrote_within(self, transaction: Hashable) -> None:
        """A write of a transaction: it has no effect before the commit."""
        if not _auxiliary.get() and len(self._dirty) <= MOST:
            self._dirty[transaction] = None

    def committing(self, transaction: Hashable) -> None:
        """The commit leaves for the server."""
        if transaction in self._dirty or len(self._dirty) > MOST:
            self.sent(transaction)

    # -- asked when something failed -------------------------------------------------------------------------------------------

    @property
    def verdict(self) -> Outcome | None:
        """``UNKNOWN`` with any write in doubt, else ``APPLIED`` with any applied; ``None``: there is nothing of the request in
        the database."""
        if self._sent or self._doubtful:
            return Outcome.UNKNOWN
        return Outcome.APPLIED if self._applied_at else None

    @property
    def outcome(self) -> Outcome | None:
        """What the application says, or else the verdict."""
        return self.declared or self.verdict

    def mark(self) -> int:
        """A moment, for :meth:`touched` and :meth:`settle`."""
        return self._clock

    def touched(self, mark: int) -> bool:
        """Whether a write that was sent since then was applied, or may have been."""
        return self._applied_at > mark or any(
            at > mark for doubts in (self._sent, self._doubtful) for at in doubts.values()
        )

    def settle(self, mark: int) -> None:
        """Something that may be done twice without harm has succeeded in the end: its earlier tries are in doubt no more."""
        for doubts in (self._sent, self._doubtful):
            for key in [key for key, at in doubts.items() if at > mark]:
                self._applied, self._applied_at = key, doubts.pop(key)

    def in_doubt(self) -> None:
        """A write was accepted and is applied later, or one that nobody sees may have been applied."""
        self._clock += 1
        self._doubt(_FURTHER, self._clock)
