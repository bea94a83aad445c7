"""Transactions that ended here without their answer, and are perhaps still open at the server.

Until it is aborted such a transaction holds its locks, for a minute by default (``transactionLifetimeLimitSeconds``), and every
write to the same documents waits. So what was cut off (its connection was lost, its deadline passed, its greenlet was killed)
is aborted in the background, and its request waits for nothing.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

import pymongo
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.synchronous.client_session import ClientSession

from prodfix.classification.server_replies import server_code
from prodfix.driver.session_transactions import abort, aborted, in_doubt
from prodfix.operations.operation import TRANSACTION_OVER
from prodfix.process.per_process import in_each_process
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

MOST = 200  # transactions that wait to be aborted
BRIEF = 0.4  # seconds for an abort that its caller waits for
LIMIT = 1.0  # seconds for one in the background, and for its other way
LIFETIME = 60.0  # seconds after which the server has aborted it by itself

Kill = Callable[[Mapping[str, Any]], object]


@frozen
class AbortCounts(Serializable):
    """Transactions that were ``handed`` over. ``aborted`` ones were open, ``over`` were not any more, of ``killed`` only the
    session's end is known, and ``dropped`` ones are left to the server's own limit."""

    handed: int = 0
    aborted: int = 0
    over: int = 0
    killed: int = 0
    dropped: int = 0
    waiting: int = 0


class Aborts:
    """Aborts what is :meth:`put` here, as soon as :meth:`work` is called by a background loop.

    ``kill`` ends a session at the server, all that it has open included (``killSessions``): for when the session's own way,
    through the application's pool and breaker, does not lead there.
    """

    def __init__(self, kill: Kill, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kill, self._clock = kill, clock
        self._waiting: deque[tuple[float, ClientSession]] = deque()
        self._counts: Counter[str] = Counter()
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._attended = False
        self._wake: Callable[[], None] = lambda: None

    def attend(self, wake: Callable[[], None] = lambda: None) -> None:
        """Say that :meth:`work` is called from now on, in this process: now and then, and soon after ``wake`` was called."""
        self._waiting.clear()  # a parent's
        self._attended, self._wake = True, wake

    def now(self, session: ClientSession) -> None:
        """Abort at once a transaction whose server has just answered; in the background if that takes long. In a context of its
        own: once the request's time is over, nothing would be sent within it. Raises nothing of the driver's."""
        if not is_open(session):
            session.end_session()
            return
        try:
            Context().run(_abort, session, BRIEF)
        except PyMongoError:
            self.put(session)
        except BaseException:  # a deadline that cuts it
            self.put(session)
            raise

    def put(self, session: ClientSession) -> None:
        """Abort the transaction in the background, and end its session, which is nobody else's any more. Never raises, and waits
        for nothing, unless there is no background in this process: then it is tried once, briefly."""
        if not is_open(session):
            session.end_session()  # sends nothing
            return
        self._counts["handed"] += 1
        if not self._attended:
            if not Context().run(self._end, session, BRIEF):
                self._counts["dropped"] += 1
        elif len(self._waiting) < MOST:
            self._waiting.append((self._clock(), session))
            self._wake()
        else:
            self._counts["dropped"] += 1

    def work(self) -> bool:
        """Try each that waits; what cannot be reached is tried again the next time, for as long as it may be open. Whether some
        wait still."""
        self._work(self._clock() + LIFETIME, LIMIT)
        return bool(self._waiting)

    def finish(self, limit: float = 1.0) -> None:
        """Try for ``limit`` seconds what still waits: this process is about to end."""
        self._attended = False
        self._work(self._clock() + limit, min(limit, LIMIT))
        self._counts["dropped"] += len(self._waiting)
        self._waiting.clear()

    def counts(self) -> AbortCounts:
        """Since this process began."""
        return AbortCounts(**self._counts, waiting=len(self._waiting))

    def _work(self, end: float, limit: float) -> None:
        for _ in range(len(self._waiting)):
            if self._clock() >= end:
                return
            since, session = self._waiting.popleft()
            if self._clock() - since >= LIFETIME:
                self._counts["dropped"] += 1
            elif not self._end(session, limit):
                self._waiting.append((since, session))
                return  # the others would not get there either

    def _end(self, session: ClientSession, limit: float) -> bool:
        """Whether the transaction is open no more."""
        try:
            how = "aborted" if _abort(session, limit) else "over"
        except PyMongoError:
            try:
                with pymongo.timeout(limit):
                    self._kill(session.session_id)
            except PyMongoError:
                return False
            how = "killed"
        self._counts[how] += 1
        return True


def is_open(session: ClientSession) -> bool:
    """Whether a command of the session's transaction was sent, and no abort since. A commit that was answered ended it, but that
    is for the caller to know."""
    return not session.has_ended and in_doubt(session)


def answered(error: BaseException) -> bool:
    """Whether ``error`` leaves the way to the server open: what the server says, or the application, and no lost connection, no
    time that was over, no cut."""
    if not isinstance(error, Exception):
        return False
    return not isinstance(error, ConnectionFailure) and not getattr(error, "timeout", False)


def _abort(session: ClientSession, limit: float) -> bool:
    """Abort the session's transaction and end the session; False if the server knew it no more."""
    found = True
    try:
        with pymongo.timeout(limit):
            abort(session)
    except OperationFailure as error:
        if server_code(error) not in TRANSACTION_OVER:
            raise
        found = False
    aborted(session)
    session.end_session()
    return found
