"""What runs beside the requests of one process: the pinger, the writers, and what tells the other workers of this one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import orjson
import pymongo

from prodfix.alerts.service import DELIVER, LOOK
from prodfix.errors import Severity
from prodfix.process.loops import Loop, stop_all
from prodfix.process.per_process import in_each_process
from prodfix.process.tracing import untraced
from prodfix.recovery.breaker import PATIENCE
from prodfix.services import Services
from prodfix.statistics.rates import BEFORE, RECENT, jumped

TICK = 1.0  # seconds between two batches to MongoDB, and between two states of a worker
RATE_PERIOD = 10.0  # seconds between two looks at the share of failed requests
STORM_PERIOD = 10.0  # seconds between two summaries of errors that were not logged one by one
FOLD_PERIOD = 3600.0
ABORT_PERIOD = 0.2  # seconds between two looks for transactions that were cut off
DRAIN_PERIOD = 0.25  # seconds between two looks for deferred writes
LOG_PERIOD = 30.0  # seconds between two lines of the monitor (the seed's period)
LAST = 3.0  # seconds for each of the last things that a worker does


class Background:
    """The loops of one process, and what must be done when they begin and when they end."""

    def __init__(self) -> None:
        in_each_process(self._begin)
        self._loops: list[Loop] = []
        self._warm = False
        self._disk_failure: str | None = None
        self.lag_ms = 0.0
        self._begun = 0.0
        self._serving: Callable[[], bool] = lambda: True

    def _begin(self) -> None:
        self.running = self.held = False
        self._starting = threading.Lock()

    @property
    def uptime(self) -> float:
        """Seconds since it began in this process."""
        return time.monotonic() - self._begun if self.running else 0.0

    def serving(self) -> bool:
        """Whether this worker still takes requests, or drains, as far as the server has said how to know it."""
        return self._serving()

    def start(self, services: Services, serving: Callable[[], bool] | None = None) -> None:
        """Open what this process needs, once. Called by the server's hook, which knows ``serving``, or by the first request."""
        with self._starting:
            self._serving = serving or self._serving
            if self.running or self.held:
                return
            services.runtime.journal.open()
            if services.logs.owning:
                services.runtime.uncaught.attach()
            told = (services.loop_failed, services.loop_recovered)
            # The loops of a parent process are not ours: after a fork only their records are left.
            self._loops = [
                Loop("state", lambda: self._state(services), TICK, *told),
                Loop("rates", lambda: self._watch_rate(services), RATE_PERIOD, *told, delay=RATE_PERIOD),
                Loop("storms", services.errors.log.tell_of_storms, STORM_PERIOD, *told, delay=STORM_PERIOD),
                Loop("alerts", services.alerts.look, LOOK, *told, delay=LOOK),
                Loop("delivery", services.alerts.deliver, DELIVER, *told, delay=LOOK),
            ]
            if not services.database.clients.configured:
                days = services.settings.error_retention_days
                self._loops.append(Loop("fold", lambda: self._fold(services, days), FOLD_PERIOD, *told))
            else:
                self._loops += [
                    Loop("pinger", lambda: self._ping(services), services.database.monitor.interval, *told),
                    Loop("probe", lambda: self._probe(services), TICK, *told),
                    Loop("writer", lambda: self._write(services), TICK, *told),
                    Loop("aborts", services.database.transactions.aborts.work, ABORT_PERIOD, *told),
                    Loop("drainer", lambda: self._drain(services), DRAIN_PERIOD, *told),
                    Loop("monitor", lambda: self._tell(services), LOG_PERIOD, *told, delay=LOG_PERIOD),
                ]
            self.running, self._warm = True, False
            self._begun = time.monotonic()
            services.deferral.drainer.resume()
            if services.database.clients.configured:
                services.database.transactions.aborts.attend()
            for loop in self._loops:
                loop.start()

    def hold(self) -> None:
        """Begin nothing in this process, whatever it is asked: it looks at the application, and is none of its workers."""
        self.held = True

    def stop(self, services: Services) -> None:
        """Stop the loops, store once more what waits, and close files and clients. Safe to call twice."""
        with self._starting:
            if not self.running:
                return
            self.running = False
            services.deferral.drainer.stop()
            stop_all(self._loops)
            services.alerts.close()
            services.runtime.uncaught.detach()
            services.errors.log.tell_of_storms()
            last: tuple[tuple[str, Callable[[], None]], ...] = (
                ("last counts", services.requests.counters.flush),
                ("last incident", services.errors.incidents.flush),
                ("last aborts", services.database.transactions.aborts.finish),
                ("last write", lambda: self._write(services)),
                ("last marks", lambda: self._release(services)),
            )
            for name, work in last:
                try:
                    # The pinger has stopped, so nobody learns any more that the database has gone, and all would wait for it.
                    with pymongo.timeout(LAST):
                        work()
                except Exception as error:  # noqa: BLE001 - the rest must be closed all the same; the journal keeps it
                    services.loop_failed(name, error)
            services.database.clients.close()
            services.runtime.journal.close()
            services.logs.sinks.close()

    def _ping(self, services: Services) -> None:
        before = services.database.monitor.healthy
        services.database.monitor.ping()
        services.database.breaker.look()
        if services.database.monitor.healthy != before:
            self._put_state(services)  # the other workers' reports need not be a second late with it

    def _probe(self, services: Services) -> None:
        def patiently() -> None:
            with pymongo.timeout(PATIENCE):
                services.database.clients.watch.admin.command("ping")

        services.database.breaker.ask(patiently)

    def _state(self, services: Services) -> None:
        self._tell_of_disk(services)
        self._put_state(services)
        services.requests.counters.flush()
        services.errors.incidents.flush()
        services.queries.statistics.store()
        services.deferral.admin.obey()
        services.runtime.journal.tidy()
        # Waking up late is what a blocked hub looks like from inside.
        begun = time.monotonic()
        time.sleep(0.01)
        self.lag_ms = max(0.0, round((time.monotonic() - begun) * 1000 - 10.0, 2))

    def _watch_rate(self, services: Services) -> None:
        incidents = services.errors.incidents
        if "database_lost" in incidents.open:
            return  # what fails now is that incident: nothing else begins, and what had begun is not over
        jumping = "error_rate" in incidents.open
        jump = jumped(
            services.requests.windows.recent(RECENT + BEFORE), services.requests.windows.now(), jumping=jumping
        )
        if jumping and not jump:
            incidents.end("error_rate")
        elif jump and (jumping or not incidents.within("database_lost", (RECENT + 1) * 60)):
            incidents.begin("error_rate")

    def _tell_of_disk(self, services: Services) -> None:
        failure = services.runtime.journal.failure
        if failure != self._disk_failure:
            self._disk_failure = failure
            severity, message = (Severity.WARN, "fails") if failure else (Severity.INFO, "works again")
            services.logs.event(severity, "background", f"journal {message}", facts={"failing": failure})

        for damage in services.runtime.journal.damages():
            services.tell_of_damage(damage.report())

    def _put_state(self, services: Services) -> None:
        entry = orjson.dumps(services.state().to_json())
        upsert = "INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)"
        services.runtime.journal.write([(upsert, (services.runtime.journal.boot, time.time(), entry))])

    def _write(self, services: Services) -> None:
        if services.database.clients.configured and services.database.monitor.healthy:
            if services.logs.served and not self._warm:
                with untraced():
                    # It fills the pool before the first request needs it.
                    services.database.clients.application.admin.command("ping")
                    services.documents.prepare()
                self._warm = True
            if services.deferral.drainer.first:
                return
            services.errors.storage.tick()
            services.errors.incident_log.store(services.database.clients.own_db)
            services.requests.idempotency.work()
            services.deferral.queue.recount()
            services.deferral.status.store()
            services.queries.advisor.work()
            services.diagnostics.selftest.sweep()
        else:
            self._adopt(services)

    def _adopt(self, services: Services) -> None:
        services.errors.storage.adopt()
        services.deferral.queue.recount()

    def _drain(self, services: Services) -> None:
        applied = services.deferral.drainer.tick(services.database.monitor.healthy)
        if applied:
            services.errors.incidents.count("replayed", applied)

    def _release(self, services: Services) -> None:
        if services.database.clients.configured and services.database.monitor.healthy:
            services.deferral.queue.releases.close()

    def _fold(self, services: Services, days: int) -> None:
        self._adopt(services)
        services.requests.minutes.fold(days)

    def _tell(self, services: Services) -> None:
        status = services.database.monitor.status()
        services.logs.event(Severity.INFO, "connection-status", f"connection {status.state}", facts=status.to_json())
