"""What this worker tells its siblings of itself: that it lives, what its pings found, and how it is when that has changed."""

from __future__ import annotations

import hashlib
import secrets
import time

import orjson

from prodfix.engine.engine import Engine
from prodfix.instance.heartbeat import KEY, Heartbeat, PingReport
from prodfix.journal.batch import Unwritten, write_together
from prodfix.process.breather import give_way
from prodfix.process.lazy import Lazy, made_once
from prodfix.redaction.redactor import redact_uri
from prodfix.redaction.rules import MASK
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import lasting

REFRESH = 300.0  # seconds after which a state is written again though nothing in it has changed
SETTLING = 12.0  # seconds after the last sign of work in which it is looked each second how this worker is
SETTLED = 5.0  # seconds between two looks after that: each costs as much as a ping
GREW = 8.0  # MiB by which memory must differ from what was written


class Pulse(Lazy):
    """Of one engine in one process. ``begun``: when its background work began, in the monotonic clock's seconds; ``lag_ms``: by
    how much that was late when it last woke up."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        super().__init__()
        self.begun = self.lag_ms = 0.0

    def _renew(self) -> None:
        super()._renew()
        self._written: tuple[WorkerState, float, int] | None = None
        self._signs: object = None
        self._worked_at = self._looked_at = -SETTLING

    def begin(self) -> None:
        """The background work begins now."""
        self.begun = time.monotonic()

    def woke(self, late: float) -> None:
        """Its background work woke up so many seconds late: what a blocked hub looks like from inside."""
        self.lag_ms = round(late * 1000, 2)

    @made_once
    def database_key(self) -> bytes:
        """The same in workers that ask the same database: what one finds is true for the others. Without any secret, which each
        worker tries out by itself; a URI of which nobody can say where it leads is nobody else's."""
        settings, place = self._engine.settings, redact_uri(self._engine.uri or "")
        known = f"{place} {settings.health_ping_interval_ms} {settings.health_max_age_ms}"
        unknown = secrets.token_hex(8) if place.endswith(f"://{MASK}") or place == MASK else ""
        return hashlib.blake2b(f"{known} {unknown}".encode(), digest_size=KEY).digest().replace(b"\0", b"\1")

    def beat(self, ping: PingReport | None = None) -> list[PingReport]:
        """Tell the others that this worker lives, and what its pings found; what theirs found of the same database."""
        engine, database = self._engine, self.database_key
        own = Heartbeat(
            engine.journal.boot,
            time.monotonic(),
            self.begun,
            engine.activity.asked or 0.0,
            self.lag_ms,
            engine.monitor.network().round_trip_ms or 0.0,
            engine.journal.version(),
            database,
            ping,
        )
        return [one.ping for one in engine.presence.exchange(own) if one.ping is not None and one.database == database]

    def tell(self, uptime: float) -> None:
        """Write how this worker is, if that is another thing than what was written. Raises ``JournalUnavailable``."""
        write_together(self._engine.journal.write, self.unwritten(uptime))

    def unwritten(self, uptime: float) -> Unwritten | None:
        """The same, to be written by the caller."""
        engine, now = self._engine, time.monotonic()
        if self._rests(now):
            return None
        state = engine.state(uptime=uptime, lag_ms=self.lag_ms)
        give_way()
        if engine.presence.failure is None and self._written is not None:
            written, at, version = self._written
            if version == engine.journal.version("status") and now - at < REFRESH and not _differ(state, written):
                return None
        give_way()
        entry = orjson.dumps(state.to_json())
        upsert = "INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)"

        def written_now() -> None:
            self._written = (state, now, engine.journal.version("status"))

        return Unwritten([(upsert, (engine.journal.boot, time.time(), entry))], written_now)

    def _rests(self, now: float) -> bool:
        """Whether nothing has happened here for a while, and the last look was not long ago."""
        engine = self._engine
        failures = (engine.journal.failure, engine.presence.failure)
        signs = (engine.journal.version(), engine.activity.asked, *failures)
        if signs != self._signs or any(failures) or not engine.monitor.healthy:
            self._signs, self._worked_at = signs, now
        if now - self._worked_at >= SETTLING and now - self._looked_at < SETTLED:
            return True
        self._looked_at = now
        return False


def _differ(state: WorkerState, written: WorkerState) -> bool:
    """Whether somebody who reads what was written would be told something else."""
    now, then = state.environment.memory, written.environment.memory
    grew = now is not None and then is not None and abs((now.resident_mb or 0.0) - (then.resident_mb or 0.0)) > GREW
    return grew or lasting(state) != lasting(written)
