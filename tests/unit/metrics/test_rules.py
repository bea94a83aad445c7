"""The alert rules and the dashboard that we give along: each expression is evaluated over scrapes, and each rule is shown firing
and silent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
import yaml

from prodfix.alerts.conditions import SEVERITIES
from prodfix.connection.status import ConnectionStatus, NetworkConditions, ProcessEnvironment
from prodfix.logs.sinks import SinksStatus, SinkStatus
from prodfix.metrics.families import CATALOGUE
from prodfix.metrics.tallies import Tallies
from prodfix.process.memory import MemoryUse
from prodfix.recovery.breaker import BreakerState, BreakerStatus
from prodfix.recovery.budget import BudgetStatus
from prodfix.recovery.recovery import RecoveryStatus
from prodfix.workers.worker_state import JournalStatus, WorkerState
from tests.support import REPOSITORY
from tests.support.metered import Metered, rendered
from tests.support.promql import evaluate, series_of
from tests.support.scrapes import Scrape

RULES = REPOSITORY / "deploy" / "prometheus" / "prodfix.rules.yaml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "prodfix.json"
TARGET = frozenset({("job", "notes"), ("instance", "notes:9100")})  # which Prometheus adds to each series


def rules() -> dict[str, Mapping[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def of_target(scrape: Scrape) -> Scrape:
    return Scrape(scrape.at, {(name, labels | TARGET): value for (name, labels), value in scrape.values.items()})


class State(NamedTuple):
    """What an instance is like, and what happens in each of the two minutes after the first of three scrapes: of a series that is
    new in the last one Prometheus knows no increase."""

    workers: Sequence[WorkerState]
    count: Callable[[Tallies], Any] = lambda tallies: None
    counts: Mapping[str, int] = {}
    more: Mapping[str, Any] = {}

    def scrapes(self) -> list[Scrape]:
        def after(minutes: int) -> Callable[[Tallies], None]:
            def count(tallies: Tallies) -> None:
                traffic()(tallies)
                for _ in range(minutes):
                    traffic()(tallies)
                    self.count(tallies)

            return count

        return [
            of_target(
                rendered(
                    minutes * 60.0,
                    self.workers,
                    count=after(minutes),
                    counts={name: minutes * count for name, count in self.counts.items()},
                    **self.more,
                )
            )
            for minutes in range(3)
        ]


def worker(**values: Any) -> WorkerState:
    connection = ConnectionStatus(
        state="connected", uptime=9, pool_size=4, available_connections=3, checked_out=1, capacity=10
    )
    given: dict[str, Any] = {
        "connection": connection,
        "network": NetworkConditions(round_trip_ms=1.5),
        "breaker": BreakerStatus(),
        "recovery": RecoveryStatus(budget=BudgetStatus(window_allows=3)),
        "logs": SinksStatus(0, (SinkStatus("console"),)),
        "environment": ProcessEnvironment(memory=MemoryUse(80.0, 20.0, 90.0)),
    }
    return WorkerState(**(given | values))


def traffic(status: int = 200, times: int = 30, micros: int = 20_000) -> Callable[[Tallies], None]:
    def count(tallies: Tallies) -> None:
        for _ in range(times):
            tallies.request("GET", "/notes", status, micros)
            tallies.command("find", "notes", micros // 10)

    return count


def commands(micros: int, error: str = "") -> Callable[[Tallies], None]:
    def count(tallies: Tallies) -> None:
        for _ in range(20):
            tallies.command("aggregate", "notes", micros, error)

    return count


COUNTED = {"retries_refused": 0, "records_dropped": 0, "log_lines_dropped:console": 0}
QUIET = {
    "deferred": {"waiting": 0, "dead": 0, "bytes": 0, "oldest_seconds": 0.0},
    "firing": dict.fromkeys(SEVERITIES, 0),
}
WELL = State([worker(), worker()], lambda tallies: None, COUNTED, QUIET | {"memory_limit": 512.0})


def one(**values: Any) -> Sequence[WorkerState]:
    return [worker(), worker(**values)]


def waiting(**values: float) -> Mapping[str, Any]:
    return WELL.more | {"deferred": {**QUIET["deferred"], **values}}


def scraped(scrape: Scrape, **values: float) -> Scrape:
    """With other values of these gauges."""
    return Scrape(scrape.at, {key: values.get(key[0], value) for key, value in scrape.values.items()})


def refused(times: int) -> Callable[[Tallies], None]:
    return lambda tallies: [tallies.scrape("refused") for _ in range(times)] and None


def first_refused(state: State) -> list[Scrape]:
    """A counter that is not there yet does not increase: the first scrape has one refusal."""
    before = of_target(rendered(0, WELL.workers, count=refused(1), **WELL.more))
    return [before, of_target(rendered(60, WELL.workers, count=refused(8), **WELL.more))]


EXHAUSTED = ConnectionStatus(
    state="connected", pool_size=10, checked_out=10, capacity=10, waiting=3, pool_exhausted=True
)
FULL = ConnectionStatus(state="connected", pool_size=10, checked_out=10, capacity=10)
FIRING: dict[str, State] = {
    "ProdfixDatabaseDown": WELL._replace(workers=one(connection=ConnectionStatus(state="reconnecting"))),
    "ProdfixBreakerOpen": WELL._replace(workers=one(breaker=BreakerStatus(BreakerState.OPEN))),
    "ProdfixIncidentOpen": WELL._replace(workers=one(incidents=("database_lost",))),
    "ProdfixRequestsFail": WELL._replace(count=traffic(503, 10)),
    "ProdfixRequestsSlow": WELL._replace(count=traffic(200, 30, 4_000_000)),
    "ProdfixCommandsSlow": WELL._replace(count=commands(3_000_000)),
    "ProdfixCommandsFail": WELL._replace(count=commands(1_000, "112")),
    "ProdfixPoolExhausted": WELL._replace(workers=[worker(connection=EXHAUSTED), worker(connection=FULL)]),
    "ProdfixRetryBudgetSpent": WELL._replace(counts=COUNTED | {"retries_refused": 4}),
    "ProdfixDeadLetters": WELL._replace(more=waiting(dead=1)),
    "ProdfixDeferredOld": WELL._replace(more=waiting(waiting=3, oldest_seconds=1_000.0)),
    "ProdfixAlertFires": WELL._replace(more=WELL.more | {"firing": dict(QUIET["firing"]) | {"memory": 1}}),
    "ProdfixLogLinesLost": WELL._replace(counts=COUNTED | {"log_lines_dropped:console": 7}),
    "ProdfixRecordsLost": WELL._replace(counts=COUNTED | {"records_dropped": 1}),
    "ProdfixJournalFails": WELL._replace(workers=one(journal=JournalStatus(failing="OSError 28"))),
    "ProdfixMemoryHigh": WELL._replace(more=WELL.more | {"memory_limit": 150.0}),
    "ProdfixLoopBlocked": WELL._replace(workers=one(loop_lag_ms=800.0)),
}
# Not of a worker's state: nobody answers; a journal that cannot be read; strangers.
OTHERS: dict[str, list[Scrape]] = {
    "ProdfixAbsent": [Scrape(0, {}), Scrape(60, {})],
    "ProdfixMetricsIncomplete": [
        scraped(
            Scrape(60, {("prodfix_metrics_complete", TARGET): 1.0, ("prodfix_metrics_shared", TARGET): 1.0}),
            prodfix_metrics_complete=0.0,
        )
    ],
    "ProdfixScrapesRefused": first_refused(WELL),
}


def firing(scrapes: Sequence[Scrape]) -> set[str]:
    return {name for name, rule in rules().items() if evaluate(rule["expr"], scrapes)}


@pytest.mark.parametrize("name", sorted(rules()))
def test_each_rule_fires_when_it_is_meant_to(name: str) -> None:
    scrapes = FIRING[name].scrapes() if name in FIRING else OTHERS[name]
    assert name in firing(scrapes)
    if name in FIRING:
        assert firing(scrapes) == {name}, "no other rule is meant by that"


def test_no_rule_fires_while_all_is_well() -> None:
    assert firing(WELL.scrapes()) == set()


def test_a_failed_request_or_two_of_a_service_that_nobody_asks_is_no_alert() -> None:
    idle = WELL._replace(count=traffic(503, 1))
    first, *_, last = idle.scrapes()
    assert firing([first, last._replace(at=600.0)]) == set()


def test_rules_are_as_prometheus_takes_them() -> None:
    groups = yaml.safe_load(RULES.read_text())
    assert set(groups) == {"groups"}
    for group in groups["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
            assert re.fullmatch("Prodfix[A-Za-z]+", rule["alert"])
            assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert set(rule["annotations"]) == {"summary", "description"}
            _check_labels_of(rule)
    assert len(rules()) == sum(len(group["rules"]) for group in groups["groups"]), "a name is there twice"


def _check_labels_of(rule: Mapping[str, Any]) -> None:
    """A text that shows a label which the expression has summed away would show nothing."""
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in rule["expr"]


# -- the dashboard ------------------------------------------------------------------------------------------------------------


def panels() -> list[Mapping[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str, str]]:
    """Title, expression and legend, with what Grafana puts in place of its variables."""
    put = {"$__rate_interval": "5m", "$job": ".+", "$instance": ".+"}
    found = []
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, text in put.items():
                expression = expression.replace(variable, text)
            found.append((panel["title"], expression, target["legendFormat"]))
    return found


@pytest.fixture
def lively(journal: Any) -> list[Scrape]:
    """Two real scrapes of one worker, a minute apart."""
    meter, found = Metered(journal), []
    meter.metrics._sources = type(meter.metrics._sources)(
        counted=lambda: meter.counts, firing=lambda: {"memory": 0}, state=worker, memory_limit=lambda: 512.0
    )
    meter.metrics._workers._state = worker
    for at in (0.0, 60.0):
        traffic()(meter.tallies)
        traffic(503, 1)(meter.tallies)
        commands(1_000, "112")(meter.tallies)
        meter.tallies.scrape("refused")
        meter.tallies.error("database_timeout", "DATABASE_TIMEOUT")
        meter.counts["log_lines_dropped:console"] = int(at)
        meter.metrics.flush()
        found.append(of_target(meter.scrape()._replace(at=at)))
    return found


def test_each_panel_shows_something_of_a_real_scrape(lively: list[Scrape]) -> None:
    empty = [title for title, expression, _ in expressions() if not evaluate(expression, lively)]
    assert empty == []


def test_a_legend_shows_labels_that_its_series_have(lively: list[Scrape]) -> None:
    for title, expression, legend in expressions():
        found = evaluate(expression, lively)
        assert isinstance(found, dict)
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            assert any(label in dict(labels) for labels in found), (title, label)


def test_whatever_they_ask_for_there_is(lively: list[Scrape]) -> None:
    there = {name for name, _ in lively[-1].values}
    asked = {name for _, expression, _ in expressions() for name in series_of(expression)}
    asked |= {name for rule in rules().values() for name in series_of(rule["expr"])}
    assert asked - there == set()
    assert "nothing_such" not in there


def test_all_that_is_told_is_on_the_dashboard_or_in_a_rule() -> None:
    asked = {name for _, expression, _ in expressions() for name in series_of(expression)}
    asked |= {name for rule in rules().values() for name in series_of(rule["expr"])}
    untold = [name for name in CATALOGUE if not any(one.startswith(name) for one in asked)]
    assert untold == ["prodfix_build"], "which is for joining"


def test_the_dashboard_is_as_grafana_takes_it() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(?!__)(\w+)", DASHBOARD.read_text())) <= names
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for panel in panels():
        assert panel["description"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
