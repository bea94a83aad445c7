"""Whether somebody waits for the database: this worker's requests, the other workers', and nobody who is no more."""

from __future__ import annotations

import pytest

from prodfix.deferral.activity import LIVE, LOOK, Activity
from prodfix.instance.heartbeat import Heartbeat


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asked(at: float) -> Heartbeat:
    return Heartbeat("other", 1000.0, asked=at)


def test_a_request_that_asks_the_database_is_live_for_a_while(clock: Clock) -> None:
    activity = Activity(clock=clock)
    assert (activity.live(), activity.idle_seconds, activity.asked) == (False, None, None)
    activity.touch()
    assert (activity.live(), activity.idle_seconds, activity.asked) == (True, 0, 1000.0)
    clock.now += LIVE * 0.9
    assert activity.live()
    clock.now += LIVE * 0.2
    assert (activity.live(), activity.idle_seconds) == (False, pytest.approx(LIVE * 1.1))


def test_a_command_that_the_listeners_saw_counts_as_well(clock: Clock) -> None:
    activity = Activity(clock=clock, observed=lambda: 999.5)
    assert (activity.live(), activity.idle_seconds) == (True, 0.5)
    clock.now += LIVE
    assert not activity.live()


def test_what_another_worker_serves_is_seen_within_a_second_and_forgotten_soon(clock: Clock) -> None:
    others = [asked(0.0)]  # who has asked for nothing yet
    activity = Activity(lambda: others, clock=clock)
    assert not activity.live()
    others[:] = [asked(clock.now)]
    assert not activity.live(), "it has just looked"
    clock.now += LOOK
    assert activity.live()
    clock.now += LIVE + LOOK
    assert not activity.live()


def test_while_nobody_can_say_what_the_others_do_there_is_no_hurry(clock: Clock) -> None:
    assert Activity(lambda: None, clock=clock).live()
    assert not Activity(list, clock=clock).live(), "the control: there are no others"
