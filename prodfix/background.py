"""What runs beside the requests of one process: the pinger, the writers, and what tells the other workers of this one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pymongo

from prodfix.alerts.service import DELIVER, LOOK
from prodfix.connection.ping_turns import PingTurns
from prodfix.engine.engine import Engine
from prodfix.errors import Severity
from prodfix.journal.batch import Unwritten, write_together
from prodfix.journal.news import News
from prodfix.journal.upkeep import LOOKED_AT
from prodfix.process.breather import give_way
from prodfix.process.loops import Lane, Loop, lanes, stop_all
from prodfix.process.per_process import in_each_process
from prodfix.pulse import Pulse
from prodfix.recovery.breaker import PATIENCE
from prodfix.statistics.rates import BEFORE, RECENT, jumped
from prodfix.writer import Writer

TICK = 1.0  # seconds between two batches to MongoDB, and between two looks at the state of a worker
TENDING = 5.0  # seconds between two looks at a file in which what is looked at has not changed
RATE_PERIOD = 10.0  # seconds between two looks at the share of failed requests
STORM_PERIOD = 10.0  # seconds between two summaries of errors that were not logged one by one
FOLD_PERIOD = 3600.0
ABORT_PERIOD, NO_ABORTS = 0.2, 2.0  # seconds between two tries to end what was cut off, and two looks without any
NO_PROBE = 2.0  # seconds between two looks whether there is something to probe, which a change of the pings tells too
DRAIN_PERIOD, NO_DRAIN = 0.25, 1.0  # the same of deferred writes
REPORT_PERIOD = 0.5  # seconds between two looks for errors that a tracker is to be told of
WARM, WARMING = (
    3.0,
    0.1,
)  # seconds after which a worker that has begun prepares what it may be asked for, and between two steps
DAY = 86_400.0
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
        self._writer = Writer(engine)
        self._disk_failure: str | None = None
        self._pulse = Pulse(engine)
        self._turns = PingTurns(engine.monitor, self._pulse.beat)
        self._lonely: float | None = None
        self._heard: frozenset[str] = frozenset()
        self._serving: Callable[[], bool] = lambda: True

    def _begin(self) -> None:
        self.running = False
        self._starting = threading.Lock()
        self._tended = News(lambda: self._engine.journal.version(*LOOKED_AT), rest=TENDING)
        self._waiting: tuple[Loop, ...] = ()
        self._warming = self._engine.tenants.warming()
        self._obeyed: int | None = None
        self._healthy = False

    @property
    def held(self) -> bool:
        return self._engine.held

    @property
    def uptime(self) -> float:
        """Seconds since it began in this process."""
        return time.monotonic() - self._pulse.begun if self.running else 0.0

    @property
    def lag_ms(self) -> float:
        """By how much this was late when it last woke up."""
        return self._pulse.lag_ms

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
            self._lonely = None
            self._pulse.begin()
            if testing:
                engine.hush()
            # Other first requests wait here until there is a place for what they count and record.
            engine.journal.open(in_memory=testing)
            self.running = True
            if testing:
                return
            engine.presence.open()
            if engine.logs.owning:
                engine.uncaught.attach()
            # The loops of a parent process are not ours: after a fork only their records are left.
            self._lanes = lanes(self._groups())
            engine.deferral.drainer.resume()
            for lane in self._lanes:
                lane.start()
            if engine.metrics.otel is not None:
                engine.metrics.otel.begin()

    def _groups(self) -> list[list[Loop]]:
        """What runs. Threads are dear: those of one group have one together where there is no gevent, and wait for each other."""
        engine = self._engine
        told = (self._loop_failed, self._loop_recovered)
        self._looking = Loop("state", self._state, TICK, *told, aligned=True)
        upkeep = [
            self._looking,
            Loop("rates", self._watch_rate, RATE_PERIOD, *told, delay=RATE_PERIOD, aligned=True),
            Loop("storms", self._tell_of_storms, STORM_PERIOD, *told, delay=STORM_PERIOD, aligned=True),
            Loop("alerts", engine.alerts.look, LOOK, *told, delay=LOOK, aligned=True),
            Loop("warming", self._warm, WARMING, *told, delay=WARM),
        ]
        groups = [upkeep]
        if engine.settings.alert_channels:
            groups.append([Loop("delivery", engine.alerts.deliver, DELIVER, *told, delay=LOOK)])
        groups += [
            [Loop(f"reporter {queue.name}", queue.work, REPORT_PERIOD, *told)] for queue in engine.reporting.queues
        ]
        if engine.metrics.port is not None:
            groups.append([Loop("metrics port", engine.metrics.port.look, TICK, *told)])
        if engine.databases.apart:
            groups.append([Loop("diagnostics", self._writer.write_apart, TICK, *told)])
        if not engine.clients.configured:
            if not engine.databases.apart:
                upkeep.append(Loop("fold", self._writer.fold, FOLD_PERIOD, *told))
            return groups
        upkeep.append(Loop("monitor", self._tell, LOG_PERIOD, *told, delay=LOG_PERIOD))
        pinger = Loop("pinger", self._ping, engine.monitor.interval, *told)
        engine.monitor.attend(pinger.wake)
        groups.append([pinger])
        aborts = Loop("aborts", self._abort, ABORT_PERIOD, *told, aligned=True)
        engine.transactions.aborts.attend(aborts.wake)
        self._waiting = (
            Loop("drainer", self._drain, DRAIN_PERIOD, *told, aligned=True),
            Loop("writer", self._writer.write, TICK, *told, aligned=True),
            Loop("probe", self._probe, TICK, *told, aligned=True),
        )
        groups.append([*self._waiting, aborts])
        return groups

    def _warm(self) -> float | None:
        """One step; when there are no more, nothing for ever."""
        return DAY if next(self._warming, DAY) is DAY else None

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
        engine.deferral.drainer.stop()
        if engine.metrics.port is not None:
            engine.metrics.port.close()
        if engine.metrics.otel is not None:
            engine.metrics.otel.close()
        stop_all(self._lanes)
        self._lanes = []
        if not engine.quiet:
            engine.alerts.close()
            engine.uncaught.detach()
            self._tell_of_storms()
            self._last(brief=brief)
            if not brief:
                engine.reporting.close(LAST)
            engine.minutes.close()
        engine.clients.close()
        engine.presence.close()
        engine.journal.close()
        engine.logs.sinks.close()

    def _last(self, *, brief: bool) -> None:
        engine = self._engine
        engine.minutes.finish()
        here: tuple[tuple[str, Callable[[], None]], ...] = (
            ("last counts", engine.counters.flush),
            ("last metrics", self._flush_metrics),
            ("last incident", engine.incidents.flush),
        )
        there: tuple[tuple[str, Callable[[], None]], ...] = (
            ("last aborts", engine.transactions.aborts.finish),
            ("last write", self._writer.write_all),
            ("last marks", self._writer.release),
            ("last parts", self._writer.finish_incidents),
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

    def _ping(self) -> float:
        pause = self._turns.tick()
        self._engine.breaker.look()
        healthy = self._engine.monitor.healthy
        # As it was after the last ping: mostly it ends between two, when the last good one is too old.
        if healthy != self._healthy:
            self._healthy = healthy
            for loop in self._waiting:
                loop.wake()
            self._pulse.tell(self.uptime)  # the other workers' reports need not be a second late with it
        return pause

    def _probe(self) -> float:
        def patiently() -> None:
            with pymongo.timeout(PATIENCE):
                self._engine.clients.watch.admin.command("ping")

        self._engine.breaker.ask(patiently)
        return TICK if self._engine.monitor.down else NO_PROBE

    def _state(self) -> None:
        self._pulse.woke(self._looking.late)
        self._end_if_lonely()
        if self._engine.logs.owning:
            self._engine.uncaught.tell_left()
        if not self._engine.clients.configured:
            self._pulse.beat()  # else the pinger does
        give_way()
        if not self.running:
            return  # this process was forked while its parent's loop waited here; it begins loops of its own
        self._tell_of_disk()
        write_together(self._engine.journal.write, *self._unwritten())
        self._flush_metrics()
        self._obey()
        self._tend()

    def _unwritten(self) -> Iterator[Unwritten | None]:
        """What the other workers are to know of this one. Requests have their turn between two parts of it."""
        yield self._pulse.unwritten(self.uptime)
        give_way()
        yield self._engine.counters.unwritten()
        give_way()
        yield self._engine.incidents.unwritten()
        for tenant in self._engine.tenants:
            yield tenant.query_statistics.unwritten()
            give_way()
        yield self._unheard()

    def _obey(self) -> None:
        """Look for commands of admins, if their folder has changed or had some at the last look, or nobody can say."""
        changed, orders = self._engine.presence.changed, self._engine.deferral.orders
        if changed is None or changed != self._obeyed or orders.left:
            orders.obey()
            self._engine.instance.asks.look()
            self._engine.instance.log_levels.look()
            self._obeyed = changed
        self._engine.instance.log_levels.tick()

    def _tend(self) -> None:
        found = self._tended.begin()
        if found is not None or self._engine.journal.suspect:
            self._engine.journal.tidy()
            if found is not None:
                self._tended.done(found)

    def _flush_metrics(self) -> None:
        if self._engine.metrics.own is not None:
            self._engine.metrics.own.flush()

    def _unheard(self) -> Unwritten | None:
        """The commands of applications that are gone from this process."""
        now = frozenset(tenant.query_statistics.worker for tenant in self._engine.tenants)
        gone = self._heard - now
        self._heard |= now  # until it is written that the others are gone

        def written() -> None:
            self._heard -= gone

        rows = [("DELETE FROM queries WHERE worker = ?", (worker,)) for worker in gone]
        return Unwritten(rows, written) if rows else None

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

    def _drain(self) -> float:
        drainer = self._engine.deferral.drainer
        drainer.tick(self._engine.monitor.healthy)
        return NO_DRAIN if drainer.idle else DRAIN_PERIOD

    def _abort(self) -> float:
        return ABORT_PERIOD if self._engine.transactions.aborts.work() else NO_ABORTS

    def _tell(self) -> None:
        status = self._engine.monitor.status()
        self._engine.logs.event(
            Severity.INFO, "connection-status", f"connection {status.state}", facts=status.to_json()
        )
