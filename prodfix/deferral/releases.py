"""The marks of writes that are known to be applied, until they are removed from the documents that remember them.

A mark (:mod:`prodfix.deferral.guards`) stays until nobody can try its write again. Who has applied a write says so here, and
once a document has ``ENOUGH`` such marks of this process they are removed together, beside the requests. What is rarely
written keeps its last marks. A write whose ID other requests may bring leaves its status in MongoDB first, where each looks
before it tries such a one. A try whose answer was lost may still be on its way at the server: its mark stays for ``GRACE``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson
import pymongo
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from pymongo.synchronous.database import Database

from prodfix.deferral import guards
from prodfix.deferral.guards import Document
from prodfix.deferral.operation_status import OperationStatus, publish
from prodfix.deferral.writes import Step, Update, Write, copyable
from prodfix.process.per_process import in_each_process
from prodfix.process.tracing import untraced
from prodfix.slotted import mutable

ENOUGH = 20  # marks of one document that are removed together
GRACE = 10.0  # seconds in which a try whose answer was lost ends at the server: twice the longest limit of a command
LOOKED = 2.0  # seconds between a copy's look for the status and its try
MOST = 5000  # documents of which this process knows; of others the marks stay
LONGEST = 500  # marks of one document
AT_ONCE = 50  # documents of one command
STATUSES = 200  # of one command
LIMIT = 1.5  # seconds of one command
LAST = 3  # marks of one document that are worth a command when the process ends


@mutable
class _Mark:
    """``due``: when it may be removed, in the clock's seconds; None until its ``status`` is in MongoDB: ``grace`` later then."""

    text: str
    grace: float
    due: float | None = None
    status: OperationStatus | None = None


class Releases:
    """One for each process. ``settled`` costs no command; ``work`` is called in the background."""

    def __init__(self, database: Callable[[], Database[Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._marks: OrderedDict[Document, list[_Mark]] = OrderedDict()
        self._full: set[Document] = set()
        self._suspects: dict[Document, float] = {}
        in_each_process(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def settled(
        self,
        write: Write,
        steps: Sequence[Step],
        *,
        lost: bool,
        owner: Callable[[Write], str | None] = lambda write: write.owner,
    ) -> None:
        """All steps are applied, and nobody will try them again. ``lost``: the answer to one of its tries never came."""
        now, status = self._clock(), None
        grace = GRACE if lost else 0.0
        if copyable(write):
            grace = max(grace, LOOKED)
            status = OperationStatus(
                write.id, write.operation, "applied", None, 1, write.created, time.time(), owner(write)
            )
        for number, step in enumerate(steps):
            if isinstance(step, Update):
                mark = _Mark(guards.mark_of(write.id, number), grace, None if status else now + grace, status)
                self._add((step.collection, bson.encode(guards.document_of(step))), mark)

    def _add(self, document: Document, mark: _Mark) -> None:
        with self._lock:
            marks = self._marks.setdefault(document, [])
            self._marks.move_to_end(document)
            marks.append(mark)
            del marks[:-LONGEST]
            if len(marks) >= ENOUGH:
                self._full.add(document)
            if len(self._marks) > MOST:
                self._full.discard(self._marks.popitem(last=False)[0])

    @property
    def pending(self) -> bool:
        """Whether there may be something to remove."""
        return bool(self._full)

    def work(self) -> None:
        """Remove what may be removed. Raises what MongoDB says; what was not removed then is tried again."""
        with untraced():  # on the application's client, and nothing that it has asked for
            while self._full:
                self._tell()
                if not self._forget(ENOUGH):
                    return

    def close(self) -> None:
        """Before the process ends: remove the marks that would stay for good. Never raises."""
        with self._lock:
            self._full = {document for document, marks in self._marks.items() if len(marks) >= LAST}
        with untraced(), contextlib.suppress(PyMongoError):
            self._forget(LAST)

    def _tell(self) -> None:
        """Leave the statuses that are needed, and give whoever has looked for one before the time to try."""
        with self._lock:
            unpublished = [mark for document in self._full for mark in self._marks[document] if mark.due is None][
                :STATUSES
            ]
        statuses = {mark.status.id: mark.status for mark in unpublished if mark.status is not None}
        if statuses:
            publish(self._database(), [*statuses.values()])
        for mark in unpublished:
            mark.due = self._clock() + mark.grace

    def _forget(self, least: int) -> bool:
        """Whether any marks were removed: of documents with at ``least`` as many that may be."""
        ready = self._ready(least)
        if not ready:
            return False
        try:
            self._send(ready)
        except PyMongoError as error:
            if error.timeout and not isinstance(error, ServerSelectionTimeoutError):
                self._suspect(ready)
            raise
        with self._lock:
            for document, removed in ready.items():
                self._suspects.pop(document, None)
                gone = set(map(id, removed))
                left = [mark for mark in self._marks.get(document, []) if id(mark) not in gone]
                self._marks[document] = left
                if not left:
                    del self._marks[document]
                if len(left) < ENOUGH:
                    self._full.discard(document)
        return True

    def _send(self, ready: Mapping[Document, Sequence[_Mark]]) -> None:
        with pymongo.timeout(LIMIT):
            guards.forget(
                self._database(), {document: [mark.text for mark in marks] for document, marks in ready.items()}
            )

    def _suspect(self, ready: Mapping[Document, Sequence[_Mark]]) -> None:
        """One document may be stuck, and is not to keep the others waiting: each is asked alone, and that one rarely."""
        rest = self._clock() + (GRACE if len(ready) == 1 else 0.0)
        self._suspects |= dict.fromkeys(ready, rest)
        while len(self._suspects) > MOST:
            self._suspects.pop(next(iter(self._suspects)))

    def _ready(self, least: int) -> dict[Document, list[_Mark]]:
        now, ready, alone = self._clock(), dict[Document, list[_Mark]](), dict[Document, list[_Mark]]()
        with self._lock:
            for document in self._full:
                due = [mark for mark in self._marks[document] if mark.due is not None and mark.due <= now]
                if len(due) < least:
                    continue
                if document not in self._suspects:
                    ready[document] = due
                elif self._suspects[document] <= now:
                    alone = {document: due}
                if len(ready) >= AT_ONCE:
                    break
        return ready or alone
