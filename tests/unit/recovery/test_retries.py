"""Trying again: so often, with such waits, and never past the deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryError, retry, stop_after_attempt

from prodfix.recovery.retries import retrying
from prodfix.request import deadlines


class Lost(Exception):
    """Worth another try."""


class Work:
    """Fails ``failures`` times; notes each wait, and how it was announced."""

    def __init__(self, failures: int = 99, error: type[Exception] = Lost) -> None:
        self.failures, self.error = failures, error
        self.tries = 0
        self.waits: list[float] = []
        self.notes: list[tuple[int, float, str]] = []

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error(f"try {self.tries}")
        return "done"

    def run(self, retries: int = 3, base: float = 1.0, sleep: Callable[[float], None] | None = None) -> str:
        controller = retrying(
            retries=retries,
            base=base,
            transient=lambda error: isinstance(error, Lost),
            on_retry=lambda one: self.notes.append((one.attempt, one.delay, str(one.error))),
            sleep=sleep or self.waits.append,
        )
        return str(controller(self))


@given(failures=st.integers(0, 8), retries=st.integers(0, 8))
def test_tries_are_one_and_the_retries(failures: int, retries: int) -> None:
    work = Work(failures)
    if failures > retries:
        with pytest.raises(Lost, match=f"try {retries + 1}"):
            work.run(retries)
    else:
        assert work.run(retries) == "done"
    assert work.tries == 1 + min(failures, retries)
    assert len(work.waits) == len(work.notes) == work.tries - 1


def test_waits_double_within_their_jitter_up_to_16_seconds() -> None:
    with pytest.raises(Lost):
        (work := Work()).run(7)
    assert work.waits == pytest.approx([1, 2, 4, 8, 16, 16, 16], rel=0.1)


def test_each_wait_is_told_before_it_begins() -> None:
    work = Work(2)
    order: list[Any] = []
    work.run(sleep=lambda seconds: order.append((len(work.notes), seconds)))
    assert [(attempt, text) for attempt, _, text in work.notes] == [(1, "try 1"), (2, "try 2")]
    assert order == [(1, work.notes[0][1]), (2, work.notes[1][1])]


def test_what_is_not_transient_is_tried_once() -> None:
    with pytest.raises(KeyError):
        (work := Work(error=KeyError)).run()
    assert (work.tries, work.waits) == (1, [])


def test_the_error_at_the_end_is_the_operations_own() -> None:
    with pytest.raises(Lost, match="try 4"):
        Work().run()
    naive = retry(stop=stop_after_attempt(2), sleep=lambda seconds: None)(Work())
    with pytest.raises(RetryError):
        naive()


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """A deadline of ten seconds and a sleep that spends from it."""

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(deadlines, "time", clock)
    token = deadlines.start(10)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    yield sleep
    deadlines.stop(token)


def test_a_wait_that_the_deadline_does_not_leave_is_not_begun(spend: Callable[[float], None]) -> None:
    with pytest.raises(Lost, match="try 4"):
        Work().run(20, sleep=spend)
    left = deadlines.remaining()
    assert left is not None
    assert 0 < left < 8.8


def test_without_looking_at_the_deadline_it_would_be_passed(spend: Callable[[float], None]) -> None:
    for attempt in range(1, 8):
        spend(deadlines.backoff(attempt, 1.0))
    assert deadlines.remaining() == 0
