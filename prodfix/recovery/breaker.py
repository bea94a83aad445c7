"""The circuit breaker of one process: closed, open, half-open.

Two things open it. The pinger, which asks the database from outside: what it knows to be down is not asked by requests,
and its next good ping closes it; as does a ping with more patience, one at a time, as a database that is slow to answer
is not down. And the operations themselves, when they fail while pings are good, as they do when a
server answers but cannot work: then one operation at a time tries, and closes it if it succeeds.

No library: pybreaker 1.4 holds one lock around each call, so that all operations of a process would run one after
another (measured: ten of 100 ms take 1.0 s), and its breaker half-opens by time alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import pymongo
from pymongo import errors as mongo

from prodfix.classification import wrappers
from prodfix.classification.server_replies import server_code
from prodfix.driver import csot
from prodfix.errors import DatabaseUnavailable
from prodfix.process.per_process import in_each_process
from prodfix.recovery.sliding_counts import SlidingCounts
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

SECONDS = 10.0  # over which shares are counted
SHARE, ENOUGH = 0.5, 20  # failures' share that opens it, and of how many operations at least
SHORTEST, LONGEST = 1.0, 8.0  # seconds from opening to the first probe, and between probes that go on failing
PROBE_LIMIT = 2.0  # seconds for an operation that probes
LEAST = (
    1.0  # seconds that an operation had, for its timeout to say something of the database: a client may ask for less
)
PATIENCE = 5.0  # seconds for a ping that looks whether the database is only slow
TRUST = 7.0  # seconds for which such an answer counts: until there can be another
# MaxTimeMSExpired, NetworkTimeout, NetworkInterfaceExceededTimeLimit, ExceededTimeLimit
_TIMEOUT_CODES = frozenset({50, 89, 202, 262})

Result = TypeVar("Result")


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Cause(StrEnum):
    """What opened it."""

    PINGS = "pings"
    OPERATIONS = "operations"


@frozen
class BreakerStatus(Serializable):
    """How a breaker is, since when, and why. Counts are since the process began, or over the last ``window_seconds``."""

    state: BreakerState = BreakerState.CLOSED
    since: datetime | None = None
    cause: Cause | None = None
    opened: int = 0
    refused: int = 0
    probes: int = 0
    failures_in_a_row: int = 0
    window_seconds: float = SECONDS
    window_operations: int = 0
    window_failures: int = 0


Change = Callable[[BreakerState, BreakerState, dict[str, Any]], None]


def _failed(error: Exception) -> bool | None:
    """Whether ``error`` says that the database does not work; ``None`` for what says nothing about it.

    A database that refuses has answered. What never reached it says nothing: our own pool was full, a document was none, or
    the pinger knew already. A service that keeps keys for client-side encryption is not the database.
    """
    error = _meant(error)
    if isinstance(error, (mongo.WaitQueueTimeoutError, DatabaseUnavailable)):
        return None
    if isinstance(error, (mongo.ConnectionFailure, mongo.ExecutionTimeout)):
        return True
    return server_code(error) in _TIMEOUT_CODES if isinstance(error, mongo.OperationFailure) else None


def _brief(left: float | None) -> bool:
    """Whether an operation has so few seconds that its timeout says nothing of the database."""
    return left is not None and left < LEAST


def _timed_out(error: Exception) -> bool:
    error = _meant(error)
    return bool(getattr(error, "timeout", False)) or server_code(error) in _TIMEOUT_CODES


def _meant(error: Exception) -> Exception:
    """What the driver wraps when a command could not be encrypted, or its reply not be decrypted."""
    if not isinstance(error, mongo.EncryptionError) or wrappers.of_key_service(error.cause):
        return error
    return error.cause


class Breaker:
    """``gate`` is asked before a server is selected, ``call`` is around each operation, ``look`` follows each ping.

    ``down``: whether the pinger finds the database down. ``failures``: operations in a row that open it; 0 leaves
    it to the pinger alone.
    """

    def __init__(
        self,
        down: Callable[[], bool],
        *,
        failures: int = 10,
        refuse: Callable[[], None] = lambda: None,
        on_change: Change = lambda before, after, facts: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pinger_says_down = down
        self.failures = failures
        self._refuse = refuse
        self.on_change = on_change
        self._clock = clock
        in_each_process(self._begin)

    def _begin(self) -> None:
        """A forked process begins anew: what its parent counted, and the probe that it sent, are not its own."""
        self._lock = threading.Lock()
        self._window = SlidingCounts(SECONDS, self._clock)
        self._in_a_row = 0
        self._open = self._probing = self._told_down = False
        self._wait, self._probe_at = SHORTEST, 0.0
        self._trusted_until = 0.0
        self._since = datetime.now(UTC)
        self.opened = self.refused = self.probes = 0
        self._told = BreakerState.CLOSED

    def _down(self) -> bool:
        return self._pinger_says_down() and self._clock() >= self._trusted_until

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> BreakerState:
        if self._down():
            return BreakerState.OPEN
        if not self._open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing or self._clock() >= self._probe_at else BreakerState.OPEN

    def status(self) -> BreakerStatus:
        """How it is now."""
        with self._lock:
            operations, failures = self._window.sums()
            state = self.state
            cause = Cause.PINGS if self._down() else Cause.OPERATIONS
            return BreakerStatus(
                state=state,
                since=self._since,
                cause=None if state is BreakerState.CLOSED else cause,
                opened=self.opened,
                refused=self.refused,
                probes=self.probes,
                failures_in_a_row=self._in_a_row,
                window_operations=operations,
                window_failures=failures,
            )

    # -- around operations ----------------------------------------------------------------------------------------------

    def gate(self) -> None:
        """Raise :class:`prodfix.errors.DatabaseUnavailable` while the pinger knows the database to be down."""
        if self._pinger_says_down() and self._down():
            with self._lock:
                self.refused += 1
            self._refuse()  # with the reason, which the pinger knows
            raise DatabaseUnavailable

    def call(self, operation: Callable[[], Result]) -> Result:
        """The result of ``operation``; what it raises counts.

        Raises :class:`prodfix.errors.DatabaseUnavailable` while operations have opened the breaker, and while another one
        probes. A probe has ``PROBE_LIMIT`` seconds at most.
        """
        begun = self._clock()
        if self._open and self._enter_open(_brief(csot.remaining())):
            return self._probe(operation)
        try:
            result = operation()
        except Exception as error:
            self._fail(error, begun)
            raise
        # Without the lock, as nothing of it can change the state.
        self._in_a_row = 0
        self._window.add(1, at=begun)
        return result

    def _fail(self, error: Exception, begun: float) -> None:
        left = csot.remaining()
        brief = left is not None and _brief(left + self._clock() - begun)
        self._leave(False, None if brief and _timed_out(error) else _failed(error))

    def _probe(self, operation: Callable[[], Result]) -> Result:
        failed: bool | None = True  # a probe that a deadline cuts has failed
        try:
            self._tell()
            with pymongo.timeout(PROBE_LIMIT):
                result = operation()
            failed = False
            return result
        except Exception as error:
            failed = _failed(error)
            raise
        finally:
            self._leave(True, failed)

    def _enter_open(self, brief: bool) -> bool:
        """Whether this operation is the probe, which one that is ``brief`` cannot be."""
        with self._lock:
            if not self._open:
                return False
            if brief or self._probing or self._clock() < self._probe_at:
                self.refused += 1
                raise DatabaseUnavailable("operations fail")
            self._probing = True
            self.probes += 1
        return True

    def _leave(self, probe: bool, failed: bool | None) -> None:
        opens = False
        with self._lock:
            if failed is not None:
                self._window.add(1, int(failed))
                self._in_a_row = self._in_a_row + 1 if failed else 0
            if probe:
                self._end_probe(failed)
            elif failed and not self._open and not self._down() and self._too_many():
                opens = self._open = True
                self.opened += 1
                self._wait = SHORTEST
                self._probe_at = self._clock() + self._wait
        if probe or opens:  # what the pinger finds is told by the pinger, and not by a request with its ID
            self._tell()

    def _end_probe(self, failed: bool | None) -> None:
        self._probing = False
        if failed is False:
            self._close()
        elif failed:
            self._wait = min(self._wait * 2, LONGEST)
            self._probe_at = self._clock() + self._wait

    def _close(self) -> None:
        # What failed while everything failed says nothing about now.
        self._open, self._in_a_row = False, 0
        self._window.clear()

    def _too_many(self) -> bool:
        if not self.failures:
            return False
        operations, failures = self._window.sums()
        return self._in_a_row >= self.failures or (operations >= ENOUGH and failures >= operations * SHARE)

    # -- beside requests ---------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Tell of a change that the pinger has found. Called after each ping; never raises what ``on_change`` does not."""
        with self._lock:
            down = self._down()
            if down and not self._told_down:
                self.opened += 1
            elif self._told_down and not down:
                self._close()  # the ping was the probe
            self._told_down = down
        self._tell()

    def ask(self, patiently: Callable[[], object]) -> None:
        """While the pinger finds the database down, see whether it is only slow. Called by one background loop; never raises."""
        if not self._pinger_says_down():
            return
        try:
            patiently()
        except Exception:  # noqa: BLE001 - whatever goes wrong is the answer
            self._trusted_until = 0.0
        else:
            self._trusted_until = self._clock() + TRUST
        self.look()

    def _tell(self) -> None:
        with self._lock:
            state = self.state
            before, self._told = self._told, state
            if state is before:
                return
            self._since = datetime.now(UTC)
        self.on_change(before, state, self.status().to_json())
