"""The metrics through OpenTelemetry's metrics API, for those who push them: ``OPENTELEMETRY=metrics``.

Each worker has its own figures, from its memory, and the SDK of each sends them under a ``service.instance.id`` of its own: a sum
over these is the instance's, and a worker that starts again is another one, whose counters begin at 0. One worker that sent the
totals of all would have to be agreed upon, and be replaced when it dies; two of them for a moment would be counted twice.

Histograms come as the sum and the number of what they have seen, since what is observed from outside has no distribution in this
API; the instrumentation of Flask has one of its own. Loaded only where somebody has asked for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from prodfix.metrics.families import CATALOGUE, CONVENTIONS, Distribution, Labels, MetricFamily
from prodfix.process.per_process import in_each_process

FRESH = 0.5  # seconds: all instruments are asked one after another, and have one look in common
_UNITS = {"seconds": "s", "bytes": "By"}

Families = Callable[[], Sequence[MetricFamily]]


class OtelMetrics:
    """Of one engine: ``families`` are those of this process. ``begin`` and ``close`` may be called again and again."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._kept: Sequence[MetricFamily] | None = None

    def begin(self) -> None:
        """From now on the SDK has the figures, whenever it asks."""
        self._kept = None
        _instruments.add(self)

    def close(self) -> None:
        """The figures stay what they are now, for the last time that the SDK asks."""
        if self._kept is None:
            self._kept = self._families()

    def families(self) -> Sequence[MetricFamily]:
        return self._families() if self._kept is None else self._kept


class _Instruments:
    """The process's, one for each metric: two engines of a process have them in common, and what they count is added up."""

    def __init__(self) -> None:
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._sources: list[OtelMetrics] = []
        self._made = False
        self._seen: dict[str, dict[Labels, float | Distribution]] = {}
        self._seen_at = -FRESH

    def add(self, source: OtelMetrics) -> None:
        if source not in self._sources:
            self._sources.append(source)
        if not self._made:
            self._made = True
            self._make()

    def _make(self) -> None:
        meter = get_meter("prodfix", _version())
        for family in CATALOGUE.values():
            name, unit = otel_name(family), _UNITS.get(family.unit, "1")
            if family.kind == "histogram":
                counts = self._observing(family, lambda value: sum(value.counts))
                totals = self._observing(family, lambda value: value.total)
                text = "How many there were of: "
                meter.create_observable_counter(f"{name}.count", [counts], unit="1", description=text + family.help)
                meter.create_observable_counter(f"{name}.sum", [totals], unit=unit, description=family.help)
            elif family.kind == "counter":
                meter.create_observable_counter(name, [self._observing(family)], unit=unit, description=family.help)
            else:
                meter.create_observable_gauge(name, [self._observing(family)], unit=unit, description=family.help)

    def _observing(
        self, family: MetricFamily, read: Callable[[Any], float] = float
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            found = self._look().get(family.name, {})
            return [Observation(read(value), attributes_of(labels)) for labels, value in found.items()]

        return observe

    def _look(self) -> Mapping[str, Mapping[Labels, float | Distribution]]:
        now = time.monotonic()
        if now - self._seen_at >= FRESH:
            self._seen, self._seen_at = _added(source.families() for source in self._sources), now
        return self._seen


def otel_name(family: MetricFamily) -> str:
    """``prodfix_database_ping_seconds`` -> ``prodfix.database_ping``: units are no part of a name there. What conventions have
    as a histogram has a name of ours, as it is none here."""
    known = CONVENTIONS.get(family.name)
    if known is not None:
        return f"prodfix.{known}"
    return "prodfix." + family.name.removeprefix("prodfix_").removesuffix(f"_{family.unit}")


def attributes_of(labels: Labels) -> dict[str, str]:
    """Labels by the names of the conventions, and ``prodfix.`` before the rest."""
    return {CONVENTIONS.get(name) or f"prodfix.{name}": value for name, value in labels}


def _added(parts: Iterable[Sequence[MetricFamily]]) -> dict[str, dict[Labels, float | Distribution]]:
    """By metric and labels; of what several tell counters and histograms are added up, and of the rest the last counts."""
    found: dict[str, dict[Labels, float | Distribution]] = {}
    for families in parts:
        for family in families:
            series = found.setdefault(family.name, {})
            for labels, value in family.samples:
                before = series.get(labels)
                series[labels] = value if before is None or family.kind in ("gauge", "info") else _sum(before, value)
    return found


def _sum(one: float | Distribution, other: float | Distribution) -> float | Distribution:
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        counts = [mine + theirs for mine, theirs in zip(one.counts, other.counts, strict=True)]
        return Distribution(counts, one.total + other.total)
    assert not isinstance(one, Distribution)
    assert not isinstance(other, Distribution)
    return one + other


def _version() -> str:
    try:
        return version("prodfix")
    except PackageNotFoundError:  # it runs from its sources
        return ""


_instruments = _Instruments()
