"""Turns: in the order of coming, one at a time, and without anybody who waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from prodfix.recovery.turns import Turns


@pytest.fixture
def turns() -> Turns:
    return Turns()


def test_who_comes_first_has_the_turn_at_once(turns: Turns) -> None:
    assert not turns.taken("a")
    with turns.turn("a", 1) as mine:
        assert mine
        assert turns.taken("a")
        assert not turns.taken("b")
    assert not turns.taken("a")


def test_they_come_one_after_another_in_their_order(turns: Turns, until: Callable[..., Any]) -> None:
    order: list[int] = []
    inside = [0]

    def work(number: int) -> None:
        with turns.turn("a", 10) as mine:
            assert mine
            inside[0] += 1
            assert inside[0] == 1
            order.append(number)
            inside[0] -= 1

    threads = []
    with turns.turn("a", 1):
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            until(lambda: len(turns._waiting["a"]) == len(threads))
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4, 5]
    assert turns._waiting == {}


def test_who_has_waited_long_enough_goes_without(turns: Turns) -> None:
    with turns.turn("a", 1):
        begun = time.monotonic()
        with turns.turn("a", 0.05) as mine:
            assert not mine
        assert time.monotonic() - begun < 5
        assert turns.taken("a"), "it is still the other's"
    assert not turns.taken("a")


def test_an_error_inside_hands_the_turn_on(turns: Turns) -> None:
    with pytest.raises(ValueError), turns.turn("a", 1):
        raise ValueError
    assert not turns.taken("a")


def test_who_is_cut_while_waiting_keeps_nobody_waiting(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(BaseException):
        pass

    def wait(self: Any, limit: float | None = None) -> bool:
        raise Cut

    with turns.turn("a", 1):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Event, "wait", wait)
            with pytest.raises(Cut), turns.turn("a", 1):
                pass
        assert not turns._waiting["a"]
    assert not turns.taken("a")


def test_who_is_cut_at_the_moment_of_being_called_hands_the_turn_on(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    first = turns.turn("a", 1)
    first.__enter__()

    def wait(self: Any, limit: float | None = None) -> bool:
        first.__exit__(None, None, None)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", wait)
        with pytest.raises(Cut), turns.turn("a", 1):
            pass
    assert not turns.taken("a")
