"""Of which kinds of errors an engine lets people hear."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from prodfix.engine.engine_kinds import EngineKinds
from prodfix.incidents.outages import Outage
from prodfix.serialization import iso_of

START = 1_800_000_000.0


def none() -> Mock:
    """No outages."""
    return Mock(between=Mock(return_value=[]))


@pytest.mark.parametrize("event", ["new_kind", "escalating"])
@pytest.mark.parametrize(("category", "told"), [("unknown", 1), ("client", 0), ("validation", 0)])
def test_what_clients_are_to_blame_for_is_logged_and_alerts_nobody(event: str, category: str, told: int) -> None:
    alerts, reports, parts = Mock(), Mock(), [Mock() for _ in range(5)]
    made: Any = EngineKinds(
        *parts, lookup=Mock(), reports=lambda: reports, alerts=lambda: alerts, outages=none(), kept=False
    )
    group = {"fingerprint": "f", "message": "NOT_FOUND (NotFound)", "category": category, "releases": []}
    (made.groups.on_new_kind if event == "new_kind" else made.groups.on_escalation)(group)
    assert (reports.new_kind if event == "new_kind" else reports.escalation).call_count == 1
    assert alerts.happened.call_count == told


@pytest.mark.parametrize(("category", "told"), [("unknown", 1), ("client", 0)])
def test_in_the_first_hour_a_new_kind_is_no_line_and_no_signal_but_may_be_an_alert(category: str, told: int) -> None:
    alerts, reports, parts = Mock(), Mock(), [Mock() for _ in range(5)]
    made: Any = EngineKinds(
        *parts, lookup=Mock(), reports=lambda: reports, alerts=lambda: alerts, outages=none(), kept=False
    )
    made.groups.on_early_kind({"fingerprint": "f", "message": "m", "category": category, "releases": []})
    assert reports.new_kind.call_count == 0
    assert [call.args[1]["early"] for call in alerts.happened.call_args_list] == [True] * told


@pytest.mark.parametrize(
    ("numbers", "told"), [({"unknown": 3, "timeout": 2, "client": 70}, [5]), ({"client": 70, "validation": 2}, [])]
)
def test_of_kinds_that_are_not_told_apart_clients_errors_do_not_count(numbers: dict[str, int], told: list[int]) -> None:
    alerts, parts = Mock(), [Mock() for _ in range(5)]
    made: Any = EngineKinds(*parts, lookup=Mock(), reports=Mock(), alerts=lambda: alerts, outages=none(), kept=False)
    made.groups.on_further_kinds(numbers)
    assert [call.args[0] for call in alerts.further_kinds.call_args_list] == told


@pytest.mark.parametrize("event", ["new_kind", "early_kind", "regression"])
@pytest.mark.parametrize(
    ("category", "code", "at", "consequence"),
    [
        ("database_connection", "DATABASE_UNAVAILABLE", START + 5, True),
        ("timeout", "TIMEOUT", START + 5, True),
        ("timeout", "INTERNAL_ERROR", START + 5, False),  # of a call to somebody else
        ("unknown", "INTERNAL_ERROR", START + 5, False),  # while it was away, and not by that
        ("database_connection", "DATABASE_UNAVAILABLE", START + 61, False),
        ("database_connection", "DATABASE_UNAVAILABLE", START - 1, False),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_consequences_of_an_outage_that_is_told_alert_nobody_beside_it(
    event: str, category: str, code: str, at: float, consequence: bool, on: bool
) -> None:
    outages = Mock(between=Mock(return_value=[Outage("i1", START, START + 60)]))
    alerts, reports, parts = Mock(), Mock(), [Mock() for _ in range(5)]
    alerts.routing.on = {"database_lost"} if on else set()
    made: Any = EngineKinds(
        *parts, lookup=Mock(), reports=lambda: reports, alerts=lambda: alerts, outages=outages, kept=False
    )
    group = {"fingerprint": "f", "message": "m", "category": category, "code": code, "releases": [], "at": iso_of(at)}
    getattr(made.groups, f"on_{event}")(group)
    assert alerts.happened.call_count == (0 if consequence and on else 1)
    line = {"new_kind": reports.new_kind, "regression": reports.regression, "early_kind": None}[event]
    if line is not None:
        assert line.call_args.args[0] == group | ({"incident": "i1"} if consequence else {}), "the log has it"
