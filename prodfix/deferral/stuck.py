"""Documents that do not answer now: a transaction whose client has gone may hold them at the server for a minute.

What touches such a document waits, and nothing else does. When its time is over one write asks, by itself; once that is
applied the others follow. Which documents those are is known in memory only: another process finds out by one command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prodfix.deferral.guards import Document
from prodfix.deferral.waiting import LONGEST_WAIT

MOST = 10_000  # documents; of more than so many the oldest are asked again


class Stuck:
    """``version`` changes whenever fewer documents may be stuck than before. ``clock`` is that of the rows which rest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[Document, float] = {}
        self._asked: set[Document] = set()
        self.version = 0

    def __bool__(self) -> bool:
        return bool(self._until)

    def found(self, documents: Iterable[Document], seconds: float) -> None:
        """These are not to be asked for so long."""
        for document in documents:
            self._until.pop(document, None)
            self._until[document] = self._clock() + seconds
        while len(self._until) > MOST:
            self._until.pop(next(iter(self._until)))

    def answered(self, documents: Iterable[Document]) -> None:
        """A write of these is applied."""
        if not self._until:
            return
        for document in documents:
            self.version += self._until.pop(document, None) is not None

    def known(self, documents: Iterable[Document]) -> bool:
        """Whether one of these is stuck, or has not answered since it was."""
        return bool(self._until) and any(document in self._until for document in documents)

    def waits(self, documents: Iterable[Document]) -> bool:
        """Whether one of these is not to be asked now."""
        return bool(self._until) and any(self._rests(document) for document in documents)

    def begin(self) -> None:
        """A new batch: each document whose time is over may be asked once in it."""
        self._asked.clear()

    def lets(self, documents: Iterable[Document]) -> bool:
        """Whether a write of these may be tried in this batch."""
        if not self._until:
            return True
        known = [document for document in documents if document in self._until]
        if any(document in self._asked or self._rests(document) for document in known):
            return False
        self._asked.update(known)
        return True

    def _rests(self, document: Document) -> bool:
        now = self._clock()
        return (
            now < self._until.get(document, 0.0) < now + 2 * LONGEST_WAIT
        )  # a clock that was put back keeps nobody waiting
