"""The metrics of an instance: what its workers have counted, and how they are now, as families that any format can show.

All of it comes from the journals and the workers' states in them, so every worker says the same, whatever the database does.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal
from prodfix.metrics import families
from prodfix.metrics.admission import Admission, Verdict
from prodfix.metrics.counted import counted_families
from prodfix.metrics.exposition import negotiated, rendered
from prodfix.metrics.families import MetricFamily, MetricSample
from prodfix.metrics.gauges import WAITING, Present, deferred_of, gauge_families
from prodfix.metrics.tallies import Key, Marks, Series, Tallies, joined
from prodfix.metrics.totals import ALL, Sums, TotalsJournal, by_text
from prodfix.process.per_process import in_each_process
from prodfix.records.records import ErrorRecord
from prodfix.slotted import frozen
from prodfix.version import VERSION
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers, or_none

OWN = 1.0  # seconds for what this worker has in memory, of a disk that fails
FOLDING = 30.0  # seconds between two looks for what dead boots have left

Counted = Callable[[], Mapping[str, int]]


@frozen
class MetricSources:
    """What the figures are made of. ``counted``: what other parts of this process have counted since it began, by the names of
    :data:`prodfix.metrics.counted.COUNTS`. ``firing``: alerts that fire, by kind. ``state``: this worker; ``configured``:
    there is a database; ``memory_limit`` in MiB; ``gather`` makes known what nobody does beside requests."""

    counted: Counted
    firing: Callable[[], Mapping[str, int]]
    state: Callable[[], WorkerState]
    memory_limit: Callable[[], float | None] = lambda: None
    configured: Callable[[], bool] = lambda: True
    gather: Callable[[], None] = lambda: None
    release: str = ""


class Metrics:
    """Of one engine. ``tallies`` is what requests and commands count into; :meth:`flush` makes it known to the other workers."""

    def __init__(
        self,
        journal: Journal,
        workers: Workers,
        sources: MetricSources,
        admission: Admission,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._workers, self._sources, self._clock = journal, workers, sources, clock
        self._admission = admission
        self.tallies = Tallies()
        self._totals = TotalsJournal(journal, self._living, clock=clock)
        self._limit: tuple[float | None] | None = None
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._base: dict[str, int] = {}
        self._last: Mapping[str, Mapping[str, Series]] = {}
        self._fold_at = 0.0
        self._totals.forget()

    # -- this worker ----------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make known what was counted since the last time. Raises ``JournalUnavailable`` and ``TimeoutError``; nothing is
        forgotten then."""
        with self._lock:
            if self._totals.begins():
                self._leave()
            tables, marks = self._now()
            self._totals.write(tables, marks)
            self._last = tables
            if self._clock() >= self._fold_at:
                self._fold_at = self._clock() + FOLDING
                with suppress(JournalUnavailable):  # of a journal that cannot be read: it is summed up later
                    self._totals.fold()

    def _leave(self) -> None:
        """What stands under the name of an earlier boot counts there, and here no more."""
        self.tallies.subtract({name: table for name, table in self._last.items() if name != "counts"})
        for name, series in self._last.get("counts", {}).items():
            self._base[name] = self._base.get(name, 0) + series[0]
        self._last = {}

    def _now(self) -> tuple[dict[str, dict[str, Series]], dict[str, Marks]]:
        """Copies of what this process has counted."""
        own: dict[Key, Series] = {
            (name,): [max(0, count - self._base.get(name, 0))] for name, count in self._sources.counted().items()
        }
        tables = by_text({**self.tallies.tables, "counts": own})
        return tables, {joined(key): marks for key, marks in self.tallies.marked().items()}

    def _living(self) -> Mapping[int, str]:
        return {state.pid: state.worker for state in self._workers.read()}

    def recorded(self, record: ErrorRecord) -> None:
        """Count an error that was recorded."""
        self.tallies.error(record.meaning.category.value, record.meaning.code)

    # -- what is told ---------------------------------------------------------------------------------------------------------

    def judge(self, authorization: str | None) -> Verdict:
        """Whether who sends this header may have them now; it is counted."""
        verdict = self._admission.judge(authorization)
        self.tallies.scrape(verdict)
        return verdict

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """All families, in the format that this header asks for, and its content type."""
        kind = negotiated(accept)
        return rendered(self.families(), kind), kind

    def families(self) -> list[MetricFamily]:
        """Of the whole instance, the same from every worker. Counters never fall: while a journal cannot be read they are left
        out, and that is said. Never raises for a disk that fails."""
        self._sources.gather()
        shared = self._journal.failure is None
        found = or_none(lambda: self._journal.read_each([(ALL, ()), *WAITING]))
        totals = found[0].rows if found is not None and (found[0].complete or not shared) else None
        if totals is None and not shared:
            totals = or_none(lambda: self._journal.read_own(ALL, limit=OWN))
        sums = None
        if totals is not None:
            sums = Sums()
            sums.add_parts(totals)
        deferred = deferred_of(*(reading.rows for reading in found[1:])) if found is not None else None
        return self._shown(
            sums, self._workers.read(), shared=shared, deferred=deferred, firing=or_none(self._sources.firing)
        )

    def own_families(self) -> list[MetricFamily]:
        """Of this process alone, from its memory; it waits for nothing. Counters are since it began."""
        return self._shown(Sums.of(*self._now()), [self._sources.state()], shared=self._journal.failure is None)

    def _shown(
        self,
        sums: Sums | None,
        workers: Sequence[WorkerState],
        *,
        shared: bool,
        deferred: Mapping[str, float] | None = None,
        firing: Mapping[str, int] | None = None,
    ) -> list[MetricFamily]:
        if self._limit is None:
            self._limit = (self._sources.memory_limit(),)
        present = Present(
            workers,
            deferred=deferred,
            firing=firing,
            memory_limit=self._limit[0],
            configured=self._sources.configured(),
        )
        flags = [
            families.WHOLE.of([MetricSample((), float(sums is not None))]),
            families.SHARED.of([MetricSample((), float(shared))]),
        ]
        counted = counted_families(sums) if sums is not None else []
        return [self._build(), *counted, *flags, *gauge_families(present)]

    def _build(self) -> MetricFamily:
        labels = (
            ("python", platform.python_version()),
            ("release", self._sources.release),
            ("version", VERSION),
        )
        return families.BUILD.of([MetricSample(labels, 1.0)])
