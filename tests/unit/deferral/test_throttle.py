"""How fast the way back goes: at its rate while nobody asks, in small steps with rests while somebody does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prodfix.deferral import throttle as module
from prodfix.deferral.throttle import COMMAND, LATELY, LEAST, LONGEST_REST, REST, STEPS, Throttle

LARGEST = 20


class Lock:
    """Counts how often it was taken, and whether it is taken now."""

    taken_now, count = False, 0

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        self.taken_now, self.count = True, self.count + 1
        yield True
        self.taken_now = False


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def lock() -> Lock:
    return Lock()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def make(lock: Lock, slept: list[float], clock: Clock) -> Callable[..., Throttle]:
    return lambda live, **options: Throttle(live, lock, largest=LARGEST, sleep=slept.append, **options)  # type: ignore[arg-type]


def send(throttle: Throttle, clock: Clock, *took: float) -> int:
    """A batch whose commands take so long; its size."""
    size = throttle.size()
    with throttle.batch(size):
        for seconds in took:
            with throttle.command():
                clock.now += seconds
    return size


def test_while_nobody_asks_batches_are_whole_and_only_the_rate_holds_them_back(
    make: Any, clock: Clock, lock: Lock, slept: list[float]
) -> None:
    throttle = make(lambda: False, rate=100.0)
    assert [send(throttle, clock, 0.05), send(throttle, clock, 5.0)] == [LARGEST] * 2
    assert slept == [pytest.approx(LARGEST / 100 - 0.05), 0]
    assert lock.count == 0


def test_while_somebody_asks_each_batch_waits_for_its_lock_and_is_followed_by_a_rest(
    make: Any, clock: Clock, lock: Lock, slept: list[float]
) -> None:
    throttle = make(lambda: True)
    assert send(throttle, clock, 0.01, 0.02) == LEAST
    assert (slept, lock.count) == ([pytest.approx(0.03 * REST)], 1)
    send(throttle, clock, 60.0)
    assert slept[1] == LONGEST_REST
    slow = make(lambda: True, rate=10.0)
    send(slow, clock, 0.001)
    assert slept[2] == pytest.approx(LEAST / 10 - 0.001), "the rate counts all the same"


def test_the_lock_is_given_back_before_the_rest(make: Any, clock: Clock, lock: Lock) -> None:
    during: list[bool] = []
    throttle = Throttle(lambda: True, lock, largest=LARGEST, sleep=lambda _: during.append(lock.taken_now))  # type: ignore[arg-type]
    throttle.size()
    with throttle.batch(1):
        during.append(lock.taken_now)
    assert during == [True, False]


def test_after_a_failure_nobody_rests(make: Any, clock: Clock, slept: list[float]) -> None:
    throttle = make(lambda: True)
    throttle.size()
    with pytest.raises(ZeroDivisionError), throttle.batch(1):
        raise ZeroDivisionError
    assert slept == []


def test_batches_grow_while_their_commands_are_quick_and_are_halved_when_all_of_the_last_are_not(
    make: Any, clock: Clock
) -> None:
    throttle = make(lambda: True)
    quick, slow = COMMAND / 20, COMMAND * 2
    sizes = [
        send(throttle, clock, took / 3, took) for took in [quick] * 30 + [slow] * (LATELY - 1) + [quick] + [slow] * 8
    ]
    assert sizes[: LARGEST - LEAST + 1] == list(range(LEAST, LARGEST + 1))
    assert max(sizes) == LARGEST
    # What is slow once, or a few times, has had to wait for something else.
    assert sizes[30 : 30 + 2 * LATELY] == [LARGEST] * 2 * LATELY
    assert sizes[30 + 2 * LATELY :] == [10, 5, LEAST, LEAST]


def test_on_a_slower_server_quick_is_what_steps_usually_cost_there(make: Any, clock: Clock) -> None:
    throttle = make(lambda: True)
    sizes = []
    for _ in range(3 * LARGEST):
        size = throttle.size()
        sizes.append(size)
        with throttle.batch(size), throttle.command(size):
            clock.now += size * COMMAND  # each step as long as a whole command elsewhere
    assert STEPS <= max(sizes) <= STEPS + LATELY


@pytest.mark.parametrize("network", [0.0, 0.02, 0.2])
def test_what_the_network_takes_neither_makes_batches_small_nor_rests_long(
    make: Any, clock: Clock, slept: list[float], network: float
) -> None:
    pings = iter([network * 3, network, network * 2] + [network * 5] * 100)
    throttle = make(lambda: True, round_trip=lambda: next(pings))
    sizes = [send(throttle, clock, network + COMMAND / 2, network + COMMAND / 2) for _ in range(LARGEST + 5)]
    assert sizes[-1] == LARGEST
    assert slept[-1] == pytest.approx(COMMAND * REST)
    # The control: as long as nobody knows of the network, it is taken for the server.
    blind = make(lambda: True)
    for _ in range(LARGEST + 5):
        size = send(blind, clock, network + COMMAND / 2, network + COMMAND / 2)
    assert (size, slept[-1]) == (LARGEST, pytest.approx(COMMAND * REST)) or slept[-1] > REST * network


def test_what_a_batch_does_besides_its_commands_is_no_load_of_the_server(
    make: Any, clock: Clock, slept: list[float]
) -> None:
    throttle = make(lambda: True)
    throttle.size()
    with throttle.batch(1):
        clock.now += 0.5  # its journal
        with throttle.command():
            clock.now += 0.01
    assert slept == [pytest.approx(0.01 * REST)]


def test_what_was_learned_stays_while_nobody_asks(make: Any, clock: Clock) -> None:
    live = True
    throttle = make(lambda: live)
    for _ in range(3):
        send(throttle, clock, COMMAND / 2)
    live = False
    assert send(throttle, clock, 1.0) == LARGEST
    live = True
    assert send(throttle, clock) == LEAST + 3
