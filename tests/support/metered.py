"""Workers of one instance with their metrics, without an application: what each counts, and what a scrape of it says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prodfix.journal.journal import Journal
from prodfix.metrics import exposition
from prodfix.metrics.admission import Admission
from prodfix.metrics.counted import counted_families
from prodfix.metrics.gauges import Present, gauge_families
from prodfix.metrics.instance_metrics import Metrics, MetricSources
from prodfix.metrics.tallies import Tallies
from prodfix.metrics.totals import Sums, by_text
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers
from tests.support.scrapes import Scrape, scrape


class Metered:
    """One worker. ``counts`` is what its other parts have counted; ``now`` its monotonic clock."""

    def __init__(self, journal: Journal, token: str | None = None) -> None:
        self.journal = journal
        self.counts: dict[str, int] = {}
        self.firing: Mapping[str, int] = {}
        self.now = 0.0
        state = lambda: WorkerState(worker=journal.boot, pid=os.getpid())  # noqa: E731
        sources = MetricSources(counted=lambda: self.counts, firing=lambda: self.firing, state=state)
        workers = Workers(journal, state=state)
        self.metrics = Metrics(journal, workers, sources, Admission(token), clock=lambda: self.now)

    @property
    def tallies(self) -> Tallies:
        return self.metrics.tallies

    def text(self, accept: str = exposition.OPENMETRICS) -> str:
        return self.metrics.render(accept)[0].decode()

    def scrape(self) -> Scrape:
        return scrape(self.text())


def rendered(
    at: float = 0.0,
    workers: Sequence[WorkerState] = (),
    *,
    count: Callable[[Tallies], Any] = lambda tallies: None,
    counts: Mapping[str, int] | None = None,
    deferred: Mapping[str, float] | None = None,
    firing: Mapping[str, int] | None = None,
    memory_limit: float | None = None,
) -> Scrape:
    """What a scrape would say of an instance that is so, and has counted what ``count`` and ``counts`` say."""
    tallies = Tallies()
    count(tallies)
    tables = {**tallies.tables, "counts": {(name,): [value] for name, value in (counts or {}).items()}}
    sums = Sums.of(by_text(tables), {})
    families = [
        *counted_families(sums),
        *gauge_families(Present(workers or [WorkerState()], deferred, firing, memory_limit)),
    ]
    return scrape(exposition.rendered(families, exposition.OPENMETRICS).decode(), at)
