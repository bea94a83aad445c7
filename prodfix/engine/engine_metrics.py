"""What an engine has of metrics, where an application asks for them: nothing of it is loaded else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prodfix.engine.engine_instance import EngineInstance
from prodfix.logs.logs import Logs
from prodfix.process.lazy import Lazy, made_once
from prodfix.settings import Settings
from prodfix.workers.worker_state import WorkerState

if TYPE_CHECKING:
    from prodfix.metrics.instance_metrics import Metrics
    from prodfix.metrics.otel_metrics import OtelMetrics
    from prodfix.metrics.port import MetricsPort


class EngineMetrics(Lazy):
    """``state``: how this worker is; ``configured``: there is a database; ``gather`` makes known what nobody does beside
    requests. ``logs`` is asked for when something is told."""

    def __init__(
        self,
        settings: Settings,
        instance: EngineInstance,
        *,
        state: Callable[[], WorkerState],
        configured: Callable[[], bool],
        gather: Callable[[], None],
        logs: Callable[[], Logs],
    ) -> None:
        super().__init__()
        self.settings, self._instance = settings, instance
        self._state, self._configured, self._gather, self._logs = state, configured, gather, logs

    @made_once
    def own(self) -> Metrics | None:
        """None where nobody asked for them: nothing of it is loaded then."""
        if not self.settings.collects_metrics:
            return None
        from prodfix.metrics.sources import made

        return made(
            self.settings,
            self._instance.journal,
            self._instance.workers,
            state=self._state,
            configured=self._configured,
            gather=self._gather,
        )

    @made_once
    def port(self) -> MetricsPort | None:
        """None where the metrics have none."""
        if self.own is None or self.settings.metrics_port is None:
            return None
        from prodfix.metrics.sources import port_of

        return port_of(
            self.settings,
            self.own,
            taken=lambda: any(worker.serves_metrics for worker in self._instance.workers.read()),
            tell=lambda severity, message, facts: self._logs().event(severity, "audit", message, "auth", facts=facts),
        )

    @made_once
    def otel(self) -> OtelMetrics | None:
        """None where OpenTelemetry is to have no metrics: nothing of it is loaded then."""
        if self.own is None or "metrics" not in self.settings.opentelemetry:
            return None
        from prodfix.metrics.otel_metrics import OtelMetrics

        return OtelMetrics(self.own.own_families)
