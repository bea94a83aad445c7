"""Where the figures come from: the parts of an engine that have something to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prodfix.alerts import leader_state
from prodfix.errors import Severity
from prodfix.journal.journal import Journal
from prodfix.metrics.admission import Admission
from prodfix.metrics.counted import LINES
from prodfix.metrics.instance_metrics import Metrics, MetricSources
from prodfix.metrics.port import MetricsPort
from prodfix.process import memory
from prodfix.settings import Settings
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers


def made(
    settings: Settings,
    journal: Journal,
    workers: Workers,
    *,
    state: Callable[[], WorkerState],
    configured: Callable[[], bool],
    gather: Callable[[], None],
) -> Metrics:
    """The metrics of an engine. ``state``: this worker now; ``configured``: there is a database; ``gather`` makes known what
    nobody does beside requests."""
    sources = MetricSources(
        counted=lambda: counts_of(state()),
        firing=lambda: _firing(journal),
        state=state,
        memory_limit=lambda: memory.limit(settings.memory_limit_mb),
        configured=configured,
        gather=gather,
        release=settings.release,
    )
    return Metrics(journal, workers, sources, admission_of(settings))


def admission_of(settings: Settings) -> Admission:
    """Whoever has the token, if there is one."""
    token = settings.metrics_token
    return Admission(None if token is None else token.get_secret_value())


def port_of(
    settings: Settings,
    metrics: Metrics,
    *,
    taken: Callable[[], bool],
    tell: Callable[[Severity, str, Mapping[str, Any]], None],
) -> MetricsPort | None:
    """The port, where there is one. ``taken``: whether a worker of the instance has it; ``tell`` writes a line of
    what was refused, or of what keeps all from having it."""
    if settings.metrics_port is None:
        return None
    return MetricsPort(
        settings.metrics_host,
        settings.metrics_port,
        judge=metrics.judge,
        render=metrics.render,
        refused=lambda address: tell(Severity.WARN, "metrics were refused", {"ip": address, "status": 401}),
        taken=taken,
        tell=lambda reason: tell(Severity.ERROR, "METRICS_PORT cannot be served", {"error": reason}),
    )


def counts_of(state: WorkerState) -> Mapping[str, int]:
    """What a worker has counted since its process began, under the names of :data:`prodfix.metrics.counted.COUNTS`."""
    budget, breaker = state.recovery.budget, state.breaker
    counts = {
        "recovered": state.recovery.recovered,
        "deferred_refused": state.deferred_refused,
        "lines_suppressed": state.suppressed,
        "records_dropped": state.dropped,
    }
    if budget is not None:
        counts |= {
            "retries": budget.retries,
            "first_tries": budget.tries,
            "retries_refused": budget.refused_by_budget,
        }
    if breaker is not None:
        counts |= {"breaker_opened": breaker.opened, "breaker_refused": breaker.refused}
    return counts | {f"{LINES}{sink.name}": sink.lost + sink.dropped for sink in state.logs.sinks}


def _firing(journal: Journal) -> Mapping[str, int]:
    """Raises ``OSError`` for a file that is not as it was written, too: nobody knows then."""
    try:
        return journal.aside(leader_state.firing, journal.folder)
    except ValueError as error:
        raise OSError("the file of the alerts is damaged") from error
