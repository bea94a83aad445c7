"""Whether the database answers, how the pool is, and what happened to the connection.

A pinger asks over a connection of its own, in turn with those of the other workers (:mod:`prodfix.connection.ping_turns`), and
everything else reads what was found: so a health answer never waits for a database, and an exhausted pool of the application
does not look like a dead server. The driver's heartbeat and topology events tell why; they alone would lie, as a hung server
stays "connected" for tens of seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from prodfix.classification.classifier import classify
from prodfix.classification.server_replies import server_code
from prodfix.connection.heartbeats import Heartbeats, Topology
from prodfix.connection.pool import Counts, PoolCounter, summed
from prodfix.connection.status import (
    ConnectionEvent,
    ConnectionState,
    ConnectionStatus,
    HealthCheckResult,
    NetworkConditions,
    ServerPool,
    details,
    environment,
)
from prodfix.driver.listening import EventListener
from prodfix.errors import DatabaseRefused, DatabaseUnavailable, ErrorCategory
from prodfix.instance.heartbeat import PingReport
from prodfix.process.loops import interpreter_ends
from prodfix.signals import connection_changed
from prodfix.slotted import mutable

LOSSES = 100  # that are remembered
RECENT = 1.0  # seconds in which it counts that a sibling waits for its answer
FIRST_PING = 2.0  # seconds for a ping over a connection that is to be made first, with TLS and a password
HYSTERESIS = 2  # answers of one kind in a row before a change becomes an event; the health answer has none


@mutable
class _Seen:
    """What the pings said so far. Moments are monotonic seconds."""

    pings: int = 0
    begun: float | None = None
    asking: bool = False
    late: float = 0.0
    awaited: float | None = None
    awaited_at: float = 0.0
    waits: bool = False
    failures: int = 0
    successes: int = 0
    last_good: float | None = None
    connected_since: float | None = None
    latency_ms: float | None = None
    last_error: str | None = None
    refused: bool = False
    cause: str | None = None
    misconfigured: bool = False
    own: PingReport = field(default_factory=PingReport)
    announced: ConnectionState | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=LOSSES))


class ConnectionMonitor:
    """Pings, and tells what it knows. One object for each application; its numbers are this process's.

    ``interval`` and ``max_age`` in seconds: how often it pings, and how old the last good ping of a healthy database is.
    ``on_attempt`` is told of each ping of its own that failed: its number since the last good one, and the error's type; those
    of siblings are counted too. ``on_answer`` is told of the last one that failed, by its own ping that has found the return.
    ``last_command`` is
    when the application's last command succeeded, in the clock's seconds. ``pool``, a listener, counts the connections of
    clients that have it; ``pools`` has the numbers of other ones. ``ask`` is called before it tells of its health: it may
    ping where no pinger runs.
    """

    def __init__(
        self,
        client: Callable[[], MongoClient[Any]],
        *,
        interval: float = 1.0,
        max_age: float = 1.8,
        on_event: Callable[[ConnectionEvent], None] = lambda event: None,
        on_attempt: Callable[[int, str], None] = lambda attempt, error: None,
        on_answer: Callable[[int, str], None] = lambda attempt, error: None,
        last_command: Callable[[], float | None] = lambda: None,
        pool: PoolCounter | None = None,
        pools: Callable[[], Counts] = list,
        ask: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self.interval, self.max_age = interval, max_age
        self._first_limit = max(self.limit, FIRST_PING)
        self._on_event, self._on_attempt, self._on_answer = on_event, on_attempt, on_answer
        self._last_command = last_command
        self._clock, self._ask = clock, ask
        self.pool, self._unheard = pool or PoolCounter(), pools
        self._wake: Callable[[], None] = lambda: None
        self._heartbeats = Heartbeats(clock=clock, on_failure=lambda: self._wake())  # noqa: PLW0108 - it is given later
        self._topology = Topology()
        self._seen = _Seen()

    @property
    def watchers(self) -> tuple[EventListener, ...]:
        """Listeners for the client that pings."""
        return (self._heartbeats, self._topology)

    # -- reading: never waits ---------------------------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        last = self._seen.last_good
        return last is not None and self._clock() - last <= self.max_age

    @property
    def looked(self) -> bool:
        return self._seen.pings > 0

    @property
    def down(self) -> bool:
        """Known to be down: pings fail or hang, and no command of the application has succeeded since the last one began.

        A ping may be slow where the application's commands are not, and must not be what ends them. A pinger that is late
        itself says nothing, and neither does a first ping that is not over: it makes its connection first.
        """
        seen = self._seen
        # What is mostly so comes first: every command asks.
        if seen.failures == 0 and not seen.waits:
            return False
        begun = seen.begun if seen.failures else self._hanging()
        if begun is None or self.healthy:
            return False
        life = self._last_command()
        return life is None or life < begun

    def _hanging(self) -> float | None:
        """When the ping began whose answer is waited for in vain: one of ours, or of a sibling's."""
        seen, now, patience = self._seen, self._clock(), self._patience
        if seen.asking and seen.begun is not None and now - seen.begun >= patience:
            return seen.begun
        if seen.awaited is not None and now - seen.awaited_at < RECENT and now - seen.awaited >= patience:
            return seen.awaited
        return None

    @property
    def _patience(self) -> float:
        """Seconds after which a ping hangs. The first one may be beyond its limit then: that is none for a look-up of names.
        In a process that waits for its CPU an answer waits too, about as long as the ping has."""
        return min(self.limit, self._usual + self._seen.late) if self.looked else self._first_limit

    @property
    def _usual(self) -> float:
        return self.limit / 2

    @property
    def limit(self) -> float:
        """Seconds for one ping, but for the first one."""
        return max(self.max_age - self.interval, self.interval)

    def gate(self) -> None:
        """Raise :class:`prodfix.errors.DatabaseUnavailable` while the database is known to be down, and its subclass
        :class:`prodfix.errors.DatabaseRefused` while it is our credentials or settings that keep it away."""
        if self.down:
            raise (DatabaseRefused if self._seen.misconfigured else DatabaseUnavailable)(cause=self._why())

    def _why(self) -> str:
        """The type of what the last ping met, or that one is waited for: the limit and not how long, as it becomes a title."""
        limit = self._usual if self.looked else self._first_limit
        return self._seen.cause or f"no answer to a ping within {limit * 1000:.0f} ms"

    def health(self) -> HealthCheckResult:
        self._ask()
        seen = self._seen
        return HealthCheckResult(
            self.healthy, seen.latency_ms, seen.pings > 0, seen.last_good is not None, self.status()
        )

    def status(self) -> ConnectionStatus:
        seen, pool = self._seen, summed(self._pools())
        healthy, waiting = self.healthy, max(0, pool["waiting"])
        available = max(0, pool["capacity"] - pool["out"])
        uptime = self._clock() - seen.connected_since if healthy and seen.connected_since is not None else 0.0
        return ConnectionStatus(
            state=self._state(healthy),
            uptime=round(uptime, 1),
            last_error=seen.last_error,
            reconnect_attempts=0 if healthy else max(seen.failures, self._heartbeats.failed_in_a_row),
            pool_size=max(0, pool["total"]),
            available_connections=available,
            checked_out=max(0, pool["out"]),
            waiting=waiting,
            capacity=pool["capacity"],
            pool_exhausted=waiting > 0 and available == 0,
        )

    def servers(self) -> tuple[ServerPool, ...]:
        """The pools of the application's clients, by server."""
        return tuple(_server(address, counts) for address, counts in self._pools())

    def _pools(self) -> Counts:
        return [*self.pool.servers(), *self._unheard()]

    def _state(self, healthy: bool) -> ConnectionState:
        if healthy:
            return "connected"
        if self._seen.refused:
            return "error"
        return "reconnecting" if self._seen.last_good is not None else "disconnected"

    @property
    def round_trip(self) -> float | None:
        """What the last good ping took, in seconds."""
        latency = self._seen.latency_ms
        return None if latency is None else latency / 1000

    def losses(self, seconds: float) -> int:
        """How often the connection was lost in the last ``seconds``."""
        now = self._clock()
        return sum(now - at < seconds for at in self._seen.losses)

    def network(self) -> NetworkConditions:
        beats = self._heartbeats
        return NetworkConditions(self._topology.summary, beats.round_trip_ms, beats.last_error, beats.failed_in_a_row)

    # -- pinging: in a background greenlet or thread ------------------------------------------------------------------------

    def allow(self, seconds: float) -> None:
        """From now on let a ping take so long: for who asks once, over a connection that is to be made first."""
        self.max_age = self.interval + seconds
        self._first_limit = self.limit

    @property
    def own(self) -> PingReport:
        """What the pings of this worker found, without those that it has heard of."""
        return self._seen.own

    def attend(self, wake: Callable[[], None]) -> None:
        """Say whom to wake when there is a reason to ask before it is time: it never waits."""
        self._wake = wake

    @property
    def doubted(self) -> bool:
        """Whether the driver has lost a connection of this worker since its own last ping, which was good."""
        failed, own = self._heartbeats.failed_at, self._seen.own
        return failed is not None and own.good and failed > own.begun

    def ping(self, *, known: bool = False, late: float = 0.0) -> None:
        """Ask once, within a limit, and remember the answer. Never raises. ``known``: a sibling has found that it answers.
        ``late``: seconds since it was to be asked."""
        seen = self._seen
        seen.late = late
        begun = seen.begun = self._clock()
        seen.asking = seen.waits = True
        try:
            with pymongo.timeout(self.limit if self.looked else self._first_limit):
                self._client().admin.command("ping")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is the answer
            if not interpreter_ends():  # else it says nothing of the database: the driver can begin no thread any more
                seen.own = _failure(error, begun, self._clock(), seen.failures + 1)
                self._on_attempt(seen.own.failures, seen.own.error)
                self._failed(seen.own)
        else:
            ended = self._clock()
            seen.own = PingReport(begun, begun, ended, good=True, latency_ms=round((ended - begun) * 1000, 2))
            if seen.failures and not known:
                self._on_answer(seen.failures, seen.last_error or "")
            self._succeeded(seen.own)
        finally:
            seen.asking = False
            seen.waits = seen.awaited is not None

    def hear(self, report: PingReport) -> None:
        """Take what a sibling's ping found for the answer to one of ours."""
        seen = self._seen
        if not seen.asking:
            seen.begun = report.since
        (self._succeeded if report.good else self._failed)(report)

    def overhear(self, begun: float | None) -> None:
        """A sibling waits since ``begun`` for its answer; None if none does."""
        seen = self._seen
        seen.awaited, seen.awaited_at = begun, self._clock()
        seen.waits = seen.asking or begun is not None

    def _succeeded(self, report: PingReport) -> None:
        seen = self._seen
        if not self.healthy or seen.connected_since is None:
            seen.connected_since = self._clock()
        seen.pings += 1
        seen.successes += 1
        seen.failures = 0
        seen.last_good, seen.latency_ms, seen.refused = report.ended, report.latency_ms, False
        seen.cause, seen.misconfigured = None, False
        if seen.successes >= HYSTERESIS:
            self._announce("connected")

    def _failed(self, report: PingReport) -> None:
        seen = self._seen
        seen.pings += 1
        seen.failures = max(seen.failures + 1, report.failures)
        seen.successes = 0
        seen.last_error, seen.cause = report.error, report.cause
        seen.misconfigured, seen.refused = report.misconfigured, report.refused
        if seen.failures >= HYSTERESIS and not self.healthy:
            if seen.announced == "connected":
                seen.losses.append(self._clock())
                self._announce("disconnected")
            self._announce(self._state(False))

    def _announce(self, state: ConnectionState) -> None:
        if self._seen.announced == state:
            return
        self._seen.announced = state
        event = ConnectionEvent(datetime.now(UTC), state, details(self.status(), self.network()), environment())
        self._on_event(event)
        connection_changed.send(self, event=event)


def _failure(error: Exception, begun: float, ended: float, failures: int) -> PingReport:
    """What is told of a ping that has failed: types and codes."""
    code, kind, meaning = server_code(error), type(error).__name__, classify(error)
    lasting = meaning.category is ErrorCategory.DATABASE_CONNECTION or isinstance(error, ConfigurationError)
    refused = isinstance(error, (OperationFailure, ConfigurationError)) and not getattr(error, "timeout", False)
    return PingReport(
        begun,
        begun,
        ended,
        failures=failures,
        error=f"{kind} (code {code})" if code else kind,
        cause=kind,
        refused=refused or not isinstance(error, PyMongoError),
        misconfigured=lasting and not meaning.transient,
    )


def _server(address: Any, counts: Mapping[str, int]) -> ServerPool:
    return ServerPool(
        address=":".join(str(part) for part in address) if isinstance(address, tuple) else str(address),
        pool_size=counts["total"],
        available_connections=max(0, counts["capacity"] - counts["out"]),
        checked_out=counts["out"],
        waiting=counts["waiting"],
    )
