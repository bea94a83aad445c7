"""Whether somebody waits for the database: this worker's requests, the other workers', and nobody who is no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from prodfix.deferral.activity import FRESH, LIVE, LOOK, Activity
from prodfix.journal.journal import Journal


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tell(journal: Journal, idle: float | None, *, ago: float = 0.0) -> None:
    """As a worker does once a second."""
    row = (journal.boot, time.time() - ago, orjson.dumps({"idleSeconds": idle}))
    journal.write([("INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)", row)])


def test_a_request_that_asks_the_database_is_live_for_a_while(journal: Journal, clock: Clock) -> None:
    activity = Activity(journal, clock=clock)
    assert (activity.live(), activity.idle_seconds) == (False, None)
    activity.touch()
    assert (activity.live(), activity.idle_seconds) == (True, 0)
    clock.now += LIVE * 0.9
    assert activity.live()
    clock.now += LIVE * 0.2
    assert (activity.live(), activity.idle_seconds) == (False, pytest.approx(LIVE * 1.1))


def test_a_command_that_the_listeners_saw_counts_as_well(journal: Journal, clock: Clock) -> None:
    activity = Activity(journal, clock=clock, observed=lambda: 999.5)
    assert (activity.live(), activity.idle_seconds) == (True, 0.5)
    clock.now += LIVE
    assert not activity.live()


def test_what_another_worker_serves_is_seen_within_a_second(
    journal: Journal, open_journal: Callable[[], Journal], clock: Clock
) -> None:
    other, activity = open_journal(), Activity(journal, clock=clock)
    tell(other, None)
    assert not activity.live()
    tell(other, LIVE / 2)
    assert not activity.live(), "it has just looked"
    clock.now += LOOK
    assert activity.live()
    tell(other, LIVE * 2)
    clock.now += LOOK
    assert not activity.live()


def test_one_that_is_no_more_serves_nobody(journal: Journal, open_journal: Callable[[], Journal], clock: Clock) -> None:
    tell(open_journal(), 0.1, ago=FRESH + 1)
    assert not Activity(journal, clock=clock).live()


def test_what_it_has_told_itself_is_no_news(journal: Journal, clock: Clock) -> None:
    tell(journal, 0.1)
    assert not Activity(journal, clock=clock).live()


def test_a_disk_that_does_not_answer_is_no_reason_to_hurry(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(journal, "read", read)
    assert Activity(journal, clock=clock).live()


@pytest.mark.parametrize(
    "entry", [b'{"idleSeconds": "0"}', b"[]", b"null", b"{broken", b"\xff", b"{}", b'{"idleSeconds": []}']
)
def test_what_a_sibling_of_another_release_has_written_is_no_request(
    journal: Journal, open_journal: Callable[[], Journal], entry: bytes
) -> None:
    other = open_journal()
    insert = "INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)"
    other.write([(insert, (other.boot, time.time(), entry))])
    assert not Activity(journal).live()
    tell(other, 0.0)
    assert Activity(journal).live(), "the control"
