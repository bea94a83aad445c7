"""What runs beside the requests of one process: the pinger, the writers, and what tells the other workers of this one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import orjson
import pymongo

from prodfix.alerts.service import DELIVER, LOOK
from prodfix.engine import Engine
from prodfix.errors import Severity
from prodfix.process.loops import Lane, Loop, lanes, stop_all
from prodfix.process.per_process import in_each_process
from prodfix.process.tracing import untraced
from prodfix.recovery.breaker import PATIENCE
from prodfix.statistics.rates import BEFORE, RECENT, jumped

TICK = 1.0  # seconds between two batches to MongoDB, and between two states of a worker
RATE_PERIOD = 10.0  # seconds between two looks at the share of failed requests
STORM_PERIOD = 10.0  # seconds between two summaries of errors that were not logged one by one
FOLD_PERIOD = 3600.0
ABORT_PERIOD = 0.2  # seconds between two looks for transactions that were cut off
DRAIN_PERIOD = 0.25  # seconds between two looks for deferred writes
LOG_PERIOD = 30.0  # seconds between two lines of the monitor (the seed's period)
LAST = 3.0  # seconds for each of the last things that a worker does
LINGER = 1.0  # seconds without an application after which this ends


class Background:
    """The loops of one engine in one process, and what must be done when they begin and when they end.

    They end by themselves once the engine has no application any more.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        in_each_process(self._begin)
        self._lanes: list[Lane] = []
        self._warm = False
        self._disk_failure: str | None = None
        self.lag_ms = 0.0
        self._begun = 0.0
        self._lonely: float | None = None
        self._heard: frozenset[str] = frozenset()
        self._serving: Callable[[], bool] = lambda: True

    def _begin(self) -> None:
        self.running = False
        self._starting = threading.Lock()

    @property
    def held(self) -> bool:
        return self._engine.held

    @property
    def uptime(self) -> float:
        """Seconds since it began in this process."""
        return time.monotonic() - self._begun if self.running else 0.0

    def serving(self) -> bool:
        """Whether this worker still takes requests, or drains, as far as the server has said how to know it."""
        return self._serving()

    def start(self, serving: Callable[[], bool] | None = None, *, testing: bool = False) -> None:
        """Open what this process needs, once. Called by the server's hook, which knows ``serving``, or by the first request.

        ``testing``: begin nothing that runs beside requests; what is counted and recorded stays in memory.
        """
        with self._starting:
            self._serving = serving or self._serving
            if self.running or self.held:
                return
            engine = self._engine
            self._warm, self._lonely = False, None
            self._begun = time.monotonic()
            if testing:
                engine.hush()
            # Other first requests wait here until there is a place for what they count and record.
            engine.journal.open(in_memory=testing)
            self.running = True
            if testing:
                return
            if engine.logs.owning:
                engine.uncaught.attach()
            # The loops of a parent process are not ours: after a fork only their records are left.
            self._lanes = lanes(self._groups())
            engine.drainer.resume()
            if engine.clients.configured:
                engine.transactions.aborts.attend()
            for lane in self._lanes:
                lane.start()

    def _groups(self) -> list[list[Loop]]:
        """What runs. Threads are dear: those of one group have one together where there is no gevent, and wait for each other."""
        engine = self._engine
        told = (self._loop_failed, self._loop_recovered)
        upkeep = [
            Loop("state", self._state, TICK, *told),
            Loop("rates", self._watch_rate, RATE_PERIOD, *told, delay=RATE_PERIOD),
            Loop("storms", self._tell_of_storms, STORM_PERIOD, *told, delay=STORM_PERIOD),
            Loop("alerts", engine.alerts.look, LOOK, *told, delay=LOOK),
        ]
        groups = [upkeep]
        if engine.settings.alert_channels:
            groups.append([Loop("delivery", engine.alerts.deliver, DELIVER, *told, delay=LOOK)])
        if not engine.clients.configured:
            upkeep.append(Loop("fold", self._fold, FOLD_PERIOD, *told))
            return groups
        upkeep.append(Loop("monitor", self._tell, LOG_PERIOD, *told, delay=LOG_PERIOD))
        groups.append([Loop("pinger", self._ping, engine.monitor.interval, *told)])
        groups.append(
            [
                Loop("drainer", self._drain, DRAIN_PERIOD, *told),
                Loop("aborts", engine.transactions.aborts.work, ABORT_PERIOD, *told),
                Loop("writer", self._write, TICK, *told),
                Loop("probe", self._probe, TICK, *told),
            ]
        )
        return groups

    def hold(self) -> None:
        """Begin nothing in this process, whatever it is asked: it looks at the application, and is none of its workers."""
        self._engine.hold()

    def stop(self, *, brief: bool = False) -> None:
        """Stop the loops, store once more what waits, and close files and clients. Safe to call twice.

        ``brief``: the interpreter ends, and nothing new can begin. What waits for MongoDB stays in the journal, for the next
        worker of the instance.
        """
        with self._starting:
            if self.running:
                self._stop(brief=brief)

    def _stop(self, *, brief: bool) -> None:
        engine = self._engine
        self.running = False
        engine.drainer.stop()
        stop_all(self._lanes)
        self._lanes = []
        if not engine.quiet:
            engine.alerts.close()
            engine.uncaught.detach()
            self._tell_of_storms()
            self._last(brief=brief)
        engine.clients.close()
        engine.journal.close()
        engine.logs.sinks.close()

    def _last(self, *, brief: bool) -> None:
        engine = self._engine
        here: tuple[tuple[str, Callable[[], None]], ...] = (
            ("last counts", engine.counters.flush),
            ("last incident", engine.incidents.flush),
        )
        there: tuple[tuple[str, Callable[[], None]], ...] = (
            ("last aborts", engine.transactions.aborts.finish),
            ("last write", self._write),
            ("last marks", self._release),
        )
        for name, work in here if brief else (*here, *there):
            try:
                # The pinger has stopped, so nobody learns any more that the database has gone, and all would wait for it.
                with pymongo.timeout(LAST):
                    work()
            except Exception as error:  # noqa: BLE001 - the rest must be closed all the same; the journal keeps it
                self._loop_failed(name, error)

    # -- the loops ------------------------------------------------------------------------------------------------------------

    def _loop_failed(self, name: str, error: Exception) -> None:
        """Tell that a background loop failed this time."""
        meaning = self._engine.classifier.classify(error)
        facts = {"error": type(error).__name__, "code": meaning.code}
        self._engine.logs.event(Severity.WARN, "background", f"{name} failed", facts=facts)

    def _loop_recovered(self, name: str) -> None:
        """Tell that a background loop that failed succeeds again."""
        self._engine.logs.event(Severity.INFO, "background", f"{name} works again")

    def _end_if_lonely(self) -> None:
        """Without an application this comes to its end; a while later, as whoever makes one after the other goes on with this."""
        if self._engine.tenants:
            self._lonely = None
        elif self._lonely is None:
            self._lonely = time.monotonic()
        elif time.monotonic() - self._lonely >= LINGER:
            # Not from within a loop, which would wait for itself.
            threading.Thread(target=self._end, name="prodfix-end", daemon=True).start()

    def _end(self) -> None:
        if not self._engine.tenants:
            self.stop()

    def _tell_of_storms(self) -> None:
        for tenant in self._engine.tenants:
            if tenant.error_log is not None:
                tenant.error_log.tell_of_storms()

    def _ping(self) -> None:
        before = self._engine.monitor.healthy
        self._engine.monitor.ping()
        self._engine.breaker.look()
        if self._engine.monitor.healthy != before:
            self._put_state()  # the other workers' reports need not be a second late with it

    def _probe(self) -> None:
        def patiently() -> None:
            with pymongo.timeout(PATIENCE):
                self._engine.clients.watch.admin.command("ping")

        self._engine.breaker.ask(patiently)

    def _state(self) -> None:
        self._end_if_lonely()
        if self._engine.logs.owning:
            self._engine.uncaught.tell_left()
        self._tell_of_disk()
        self._put_state()
        self._engine.counters.flush()
        self._engine.incidents.flush()
        self._store_queries()
        self._engine.orders.obey()
        self._engine.journal.tidy()
        # Waking up late is what a blocked hub looks like from inside.
        begun = time.monotonic()
        time.sleep(0.01)
        self.lag_ms = max(0.0, round((time.monotonic() - begun) * 1000 - 10.0, 2))

    def _store_queries(self) -> None:
        statistics = [tenant.query_statistics for tenant in self._engine.tenants]
        for one in statistics:
            one.store()
        now = frozenset(one.worker for one in statistics)
        if gone := self._heard - now:
            self._engine.journal.write([("DELETE FROM queries WHERE worker = ?", (worker,)) for worker in gone])
        self._heard = now

    def _watch_rate(self) -> None:
        incidents = self._engine.incidents
        if "database_lost" in incidents.open:
            return  # what fails now is that incident: nothing else begins, and what had begun is not over
        jumping = "error_rate" in incidents.open
        jump = jumped(self._engine.windows.recent(RECENT + BEFORE), self._engine.windows.now(), jumping=jumping)
        if jumping and not jump:
            incidents.end("error_rate")
        elif jump and (jumping or not incidents.within("database_lost", (RECENT + 1) * 60)):
            incidents.begin("error_rate")

    def _tell_of_disk(self) -> None:
        failure = self._engine.journal.failure
        if failure != self._disk_failure:
            self._disk_failure = failure
            severity, message = (Severity.WARN, "fails") if failure else (Severity.INFO, "works again")
            self._engine.logs.event(severity, "background", f"journal {message}", facts={"failing": failure})

        for damage in self._engine.journal.damages():
            self._engine.reports.damage(damage.report())

    def _put_state(self) -> None:
        entry = orjson.dumps(self._engine.state(uptime=self.uptime, lag_ms=self.lag_ms).to_json())
        upsert = "INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)"
        self._engine.journal.write([(upsert, (self._engine.journal.boot, time.time(), entry))])

    def _write(self) -> None:
        if self._engine.clients.configured and self._engine.monitor.healthy:
            if self._engine.logs.served and not self._warm:
                with untraced():
                    # It fills the pool before the first request needs it.
                    self._engine.clients.application.admin.command("ping")
                    for tenant in self._engine.tenants:
                        if tenant.documents is not None:
                            tenant.documents.prepare()
                self._warm = True
            if self._engine.drainer.first:
                return
            self._engine.storage.tick()
            self._engine.incident_log.store(self._engine.clients.own_db)
            self._engine.idempotency.work()
            self._engine.deferred.recount()
            self._engine.statuses.store()
            self._engine.advisor.work()
            self._engine.selftest.sweep()
        else:
            self._adopt()

    def _adopt(self) -> None:
        self._engine.storage.adopt()
        self._engine.deferred.recount()

    def _drain(self) -> None:
        applied = self._engine.drainer.tick(self._engine.monitor.healthy)
        if applied:
            self._engine.incidents.count("replayed", applied)

    def _release(self) -> None:
        if self._engine.clients.configured and self._engine.monitor.healthy:
            self._engine.deferred.releases.close()

    def _fold(self) -> None:
        self._adopt()
        self._engine.minutes.fold(self._engine.settings.error_retention_days)

    def _tell(self) -> None:
        status = self._engine.monitor.status()
        self._engine.logs.event(
            Severity.INFO, "connection-status", f"connection {status.state}", facts=status.to_json()
        )
