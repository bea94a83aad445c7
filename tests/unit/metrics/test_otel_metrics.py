"""The metrics through OpenTelemetry's API, read by the real SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from prodfix.journal.journal import Journal
from prodfix.metrics import otel_metrics
from prodfix.metrics.families import CATALOGUE, Distribution, MetricFamily, MetricSample
from prodfix.metrics.otel_metrics import OtelMetrics, otel_name
from tests.support.metered import Metered

ASKED = CATALOGUE["prodfix_errors"]


class Pushed:
    """What an SDK would send of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        monkeypatch.setattr(otel_metrics, "get_meter", self.provider.get_meter)
        monkeypatch.setattr(otel_metrics, "_instruments", otel_metrics._Instruments())
        monkeypatch.setattr(otel_metrics, "FRESH", 0.0)

    def read(self) -> dict[str, dict[tuple[tuple[str, Any], ...], float]]:
        """By metric and attributes."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: {tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points}
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def kinds(self) -> dict[str, tuple[str, str]]:
        """The kind and the unit of each."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: (type(metric.data).__name__, metric.unit)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> Pushed:
    return Pushed(monkeypatch)


def errors(count: float) -> list[MetricFamily]:
    return [ASKED.of([MetricSample((("category", "network"), ("code", "X")), count)])]


def test_each_metric_is_there_under_its_own_name_with_its_kind_and_unit(pushed: Pushed, journal: Journal) -> None:
    worker = Metered(journal)
    worker.tallies.error("network", "BROKEN")
    worker.tallies.request("GET", "/a/<b>", 200, 2_500_000, "0" * 32)
    OtelMetrics(worker.metrics.own_families).begin()
    found, kinds = pushed.read(), pushed.kinds()
    assert found["prodfix.errors"] == {(("prodfix.category", "network"), ("prodfix.code", "BROKEN")): 1}
    asked = (("http.request.method", "GET"), ("http.response.status_code", "200"), ("http.route", "/a/<b>"))
    assert found["prodfix.http.server.request.duration.count"] == {asked: 1}
    assert found["prodfix.http.server.request.duration.sum"] == {asked: 2.5}
    assert kinds["prodfix.errors"] == ("Sum", "1")
    assert kinds["prodfix.http.server.request.duration.sum"] == ("Sum", "s")
    assert kinds["prodfix.workers"] == ("Gauge", "1")
    told = {family.name for family in worker.metrics.own_families() if family.samples}
    names = {otel_name(CATALOGUE[name]) for name in told}
    assert {name.removesuffix(".count").removesuffix(".sum") for name in found} == names


def test_no_two_metrics_have_one_name() -> None:
    names = [otel_name(family) for family in CATALOGUE.values()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("prodfix.") for name in names)


def test_what_it_counts_grows_and_stays_once_the_worker_has_ended(pushed: Pushed) -> None:
    count = 1.0
    source = OtelMetrics(lambda: errors(count))
    source.begin()
    series = (("prodfix.category", "network"), ("prodfix.code", "X"))
    assert pushed.read()["prodfix.errors"][series] == 1
    count = 5.0
    source.close()
    count = 0.0  # what is asked after the end knows nothing any more
    assert pushed.read()["prodfix.errors"][series] == 5
    source.close()
    assert pushed.read()["prodfix.errors"][series] == 5
    source.begin()
    assert pushed.read()["prodfix.errors"][series] == 0


def test_two_engines_of_a_process_are_added_up_and_make_no_instrument_twice(
    pushed: Pushed, caplog: pytest.LogCaptureFixture
) -> None:
    duration = CATALOGUE["http_server_request_duration_seconds"]
    timed = [duration.of([MetricSample((), Distribution([1, 2], 0.5))])]
    gauge = [CATALOGUE["prodfix_workers"].of([MetricSample((), 1.0)])]
    for _ in range(2):
        source = OtelMetrics(lambda: [*errors(2.0), *timed, *gauge])
        source.begin()
        source.begin()
    found = pushed.read()
    assert list(found["prodfix.errors"].values()) == [4]
    assert found["prodfix.http.server.request.duration.count"] == {(): 6}
    assert found["prodfix.http.server.request.duration.sum"] == {(): 1.0}
    assert found["prodfix.workers"] == {(): 1}
    assert not caplog.records  # the SDK warns of an instrument that is there already


def test_one_look_serves_all_instruments(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel_metrics, "FRESH", 60.0)
    looks: list[int] = []

    def look() -> list[MetricFamily]:
        looks.append(1)
        return errors(1.0)

    OtelMetrics(look).begin()
    assert pushed.read()
    assert len(looks) == 1


LOADED = """
    import sys
    from pathlib import Path
    from prodfix import Settings
    from flask import Flask
    from prodfix import ProdFix
    app = Flask("host")
    folder = Path(sys.argv[1])
    prodfix = ProdFix(app, settings=Settings(state_dir=folder, log_dir=folder / "log", opentelemetry=sys.argv[2]))
    prodfix.services.logs.sinks.mute()
    prodfix.services.start()
    print("prodfix.metrics" in sys.modules, "opentelemetry.metrics" in sys.modules)
    prodfix.services.close()
"""


@pytest.mark.parametrize(("signals", "loaded"), [("traces", "False False"), ("metrics", "True True")])
def test_nothing_is_counted_or_loaded_before_somebody_asks(
    python: Callable[..., str], tmp_path: Any, signals: str, loaded: str
) -> None:
    assert python(LOADED, tmp_path, signals).strip() == loaded
