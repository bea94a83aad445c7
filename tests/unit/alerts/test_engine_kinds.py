"""Of which kinds of errors an engine lets people hear."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from prodfix.engine.engine_kinds import EngineKinds


@pytest.mark.parametrize("event", ["new_kind", "escalating"])
@pytest.mark.parametrize(("category", "told"), [("unknown", 1), ("client", 0), ("validation", 0)])
def test_what_clients_are_to_blame_for_is_logged_and_alerts_nobody(event: str, category: str, told: int) -> None:
    alerts, reports, parts = Mock(), Mock(), [Mock() for _ in range(5)]
    made: Any = EngineKinds(*parts, lookup=Mock(), reports=lambda: reports, alerts=lambda: alerts, kept=False)
    group = {"fingerprint": "f", "message": "NOT_FOUND (NotFound)", "category": category, "releases": []}
    (made.groups.on_new_kind if event == "new_kind" else made.groups.on_escalation)(group)
    assert (reports.new_kind if event == "new_kind" else reports.escalation).call_count == 1
    assert alerts.happened.call_count == told


@pytest.mark.parametrize(("category", "told"), [("unknown", 1), ("client", 0)])
def test_in_the_first_hour_a_new_kind_is_no_line_and_no_signal_but_may_be_an_alert(category: str, told: int) -> None:
    alerts, reports, parts = Mock(), Mock(), [Mock() for _ in range(5)]
    made: Any = EngineKinds(*parts, lookup=Mock(), reports=lambda: reports, alerts=lambda: alerts, kept=False)
    made.groups.on_early_kind({"fingerprint": "f", "message": "m", "category": category, "releases": []})
    assert reports.new_kind.call_count == 0
    assert [call.args[1]["early"] for call in alerts.happened.call_args_list] == [True] * told


@pytest.mark.parametrize(
    ("numbers", "told"), [({"unknown": 3, "timeout": 2, "client": 70}, [5]), ({"client": 70, "validation": 2}, [])]
)
def test_of_kinds_that_are_not_told_apart_clients_errors_do_not_count(numbers: dict[str, int], told: list[int]) -> None:
    alerts, parts = Mock(), [Mock() for _ in range(5)]
    made: Any = EngineKinds(*parts, lookup=Mock(), reports=Mock(), alerts=lambda: alerts, kept=False)
    made.groups.on_further_kinds(numbers)
    assert [call.args[0] for call in alerts.further_kinds.call_args_list] == told
