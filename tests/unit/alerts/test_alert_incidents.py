"""What a pager makes of the alerts of several instances: one incident for all, closed by whoever tells the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from prodfix.alerts import hook_events
from prodfix.alerts.agreement import STALE
from prodfix.alerts.messages import Origin
from tests.support.alert_instances import Instance

CHANNELS = {"hook #1": "hook://hooks.example.org/alerts"}

Make = Callable[..., Instance]


@pytest.fixture
def make(make: Callable[..., Instance]) -> Callable[..., Instance]:
    return partial(make, channels=CHANNELS)


def turns(instances: list[Instance], number: int) -> None:
    for _ in range(number):
        for place, one in enumerate(instances):
            one.turn(0.0 if place else 2.0)


def incidents(instances: list[Instance]) -> tuple[int, set[str], int]:
    """How many a pager has opened, which are open, and how many notifications there were."""
    told = [(job["notification"], job["event"]) for one in instances for job in one.programs.arrived]
    opened, now = 0, set[str]()
    for _, event in sorted(told, key=lambda one: one[1]["state"]):  # firing, then resolved
        key = event["dedupKey"]
        if event["state"] == "resolved":
            now.discard(key)
        else:
            opened += key not in now
            now.add(key)
    return opened, now, len(told)


def lose_and_return(make: Make, database: Any) -> list[Instance]:
    instances = [make(name) for name in "abc"]
    for one in instances:
        one.sees("database_lost")
    turns(instances, 3)
    for one in instances:
        one.well()
        one.database = database
    turns(instances, int(STALE / 2))
    return instances


def test_three_instances_that_lost_the_database_alone_open_one_incident_and_one_closes_it(
    make: Make, database: Any
) -> None:
    assert incidents(lose_and_return(make, database)) == (1, set(), 4)


def test_with_a_key_of_each_notification_three_would_be_open_for_ever(
    make: Make, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    keys = iter(range(100))

    def other(key: str, origin: Origin) -> str:
        return f"{key}:{next(keys)}"

    monkeypatch.setattr(hook_events, "dedup_key", other)
    opened, left, told = incidents(lose_and_return(make, database))
    assert (opened, len(left), told) == (3, 3, 4)


def test_what_one_instance_has_told_another_one_closes_when_it_is_gone(make: Make, database: Any) -> None:
    first, second = make("a", database), make("b", database)
    for one in (first, second):
        one.sees("error_rate")
    turns([first, second], 3)
    assert incidents([first, second]) == (1, {"prodfix/error_rate"}, 1)
    second.well()
    turns([second], int(STALE / 2) + 200)  # the first one is gone for good
    assert incidents([first, second]) == (1, set(), 2)
