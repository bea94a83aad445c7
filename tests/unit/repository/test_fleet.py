"""What the benchmark of many workers makes and shows: fleets of any size must answer the same."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import scale
from benchmarks.fleet import Fleet, events, kinds_of, minutes_of
from prodfix.journal.journal import Journal
from prodfix.statistics.statistics import Statistics
from prodfix.statistics.windows import Windows

NOW = 4_102_444_800.0 + 50 * 3600 + 1234  # some hours into 2100-01-03: nothing of it is old enough to expire


def made(database: Any, workers: int, instances: int) -> Fleet:
    fleet, chance, kinds = Fleet(database, workers=workers, instances=instances, now=NOW), random.Random(3), kinds_of(9)
    for minute in minutes_of(NOW, 3):
        fleet.pass_minute(minute, events(minute, kinds, 7, 20, random.Random(minute)), chance)
    fleet.end(4)
    return fleet


def test_fleets_of_the_same_errors_answer_the_same_and_what_was_made(
    connect: Callable[..., Any], database: Any
) -> None:
    other = database.client[database.name + "_2"]
    try:
        fleets = [made(database, 6, 3), made(other, 1, 1)]
        assert fleets[0].totals == fleets[1].totals
        for time_range in ("1h", "24h", "7d"):
            answers = []
            for fleet in fleets:
                windows = Windows(Journal(Path("nowhere")), lambda fleet=fleet: fleet.database, clock=lambda: NOW)
                answer = Statistics(windows).read(time_range)
                wanted = sum(count for minute, count in fleet.totals.items() if answer.first <= minute <= answer.last)
                assert (answer.counts.total_errors, answer.window.scope) == (wanted, "all")
                assert wanted > 0
                found = answer.statistics().to_json()
                found.pop("workers")
                answers.append(found)
            assert answers[0] == answers[1]
    finally:
        other.client.drop_database(other.name)


def figure(fleet: str, answer: str, time_range: str, first: float, total: int = 7) -> scale.Figure:
    return scale.Figure(fleet, answer, time_range, first, first / 2, first / 4, 3, total, 7)


@pytest.mark.parametrize("total", [7, 5])
def test_what_is_shown_says_the_ratio_and_which_total_is_wrong(total: int) -> None:
    figures = [
        figure("many", "reading", "7d", 1.5, total),
        figure("two", "reading", "7d", 1.0),
        figure("two", "statistics", "1h", 0.1),
        figure("forty", "statistics", "1h", 0.2),
    ]
    console = Console(width=140, record=True, file=io.StringIO())
    scale.show(figures, console)
    shown = console.export_text()
    assert "7 days, many workers to two: 1.50, computed 1.50" in shown
    assert "1 h of 40 workers: 0.200 s" in shown
    assert ("and not 7" in shown) is (total == 5)
