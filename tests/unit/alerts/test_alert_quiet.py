"""What alerts send to MongoDB: nothing while all is well, and never more than a write of a document in ten seconds."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymongo import monitoring

from prodfix.alerts import instance_comparison, policy
from prodfix.alerts.agreement import ALERT_CLAIMS
from prodfix.alerts.instance_comparison import Comparison
from tests.support.alert_instances import Instance
from tests.support.counting_worker import Clock

START = 1_800_000_000.0
INSTANCES = 50
WRITES = frozenset({"update", "insert", "delete", "findAndModify"})


class Asked(monitoring.CommandListener):
    """Commands by name, and when each document was written."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.names: Counter[str] = Counter()
        self.written: dict[str, list[float]] = defaultdict(list)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names[event.command_name] += 1
        for update in event.command.get("updates", ()):
            self.written[update["q"]["_id"]].append(self._clock.now)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    @property
    def writes(self) -> int:
        return sum(number for name, number in self.names.items() if name in WRITES)

    def pauses(self) -> list[float]:
        return [after - before for times in self.written.values() for before, after in pairwise(times)]


@pytest.fixture
def asked(clock: Clock) -> Asked:
    return Asked(clock)


@pytest.fixture
def fleet(tmp_path: Path, clock: Clock, connect: Callable[..., Any], asked: Asked) -> Iterator[Callable[[int], Any]]:
    database = connect(event_listeners=[asked]).get_default_database()
    made: list[Instance] = []

    def instances(number: int, **options: Any) -> list[Instance]:
        made.extend(Instance(f"i{one}", tmp_path, clock, database, **options) for one in range(number))
        return made

    yield instances
    for one in made:
        one.kill()


def turns(instances: list[Instance], number: int) -> None:
    for _ in range(number):
        for place, one in enumerate(instances):
            one.turn(0.0 if place else 2.0)


def test_while_all_is_well_nothing_is_written_and_a_question_is_asked_once_in_two_minutes_at_most(
    fleet: Callable[..., list[Instance]], asked: Asked
) -> None:
    instances = fleet(1)
    turns(instances, 600)
    assert asked.writes == 0
    assert 0 < sum(asked.names.values()) <= 1200 / instance_comparison.REST[0] + 1


def test_what_each_comparison_asked_was_more(
    fleet: Callable[..., list[Instance]], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setattr(Comparison, "_is_time_to_look", lambda *_: True)
    turns(fleet(1), 600)
    assert sum(asked.names.values()) > 70


def test_fifty_instances_that_see_the_same_write_no_document_twice_in_ten_seconds(
    fleet: Callable[..., list[Instance]], asked: Asked, clock: Clock
) -> None:
    instances = fleet(INSTANCES)
    turns(instances, 2)
    for one in instances:
        one.sees("error_rate")
    turns(instances, 18)
    for one in instances:
        one.well()
    turns(instances, 7)
    assert min(asked.pauses()) >= policy.RETRY
    titles = [title for one in instances for title in one.titles]
    assert len(titles) == 2, "one of all has told the beginning, and one the end"
    begun = time.monotonic()
    instances[0].alerts.read()
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(("retry", "least"), [(policy.RETRY, policy.RETRY), (0.0, 2.0)])
def test_what_is_held_back_is_claimed_again_after_ten_seconds(
    fleet: Callable[..., list[Instance]],
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    retry: float,
    least: float,
) -> None:
    """The second case is the control: tried with each look."""
    monkeypatch.setattr(policy, "RETRY", retry)
    (one,) = fleet(1, most=0)
    one.sees("error_rate")
    turns([one], 60)
    assert one.titles == []
    assert min(asked.pauses()) == pytest.approx(least)
    assert asked.written[f"error_rate@{one.name}"] != []
    assert one.database[ALERT_CLAIMS].count_documents({"number": {"$exists": True}}) == 1
