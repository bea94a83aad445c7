"""How fast the way back goes: at its rate while nobody asks, in small steps with rests while somebody does."""

from __future__ import annotations

import pytest

from prodfix.deferral.pace import COMMAND, LEAST, Pace

BATCH = 20


def test_while_nobody_asks_batches_are_whole_and_only_the_rate_holds_them_back() -> None:
    pace = Pace(largest=BATCH, rate=100.0)
    assert pace.size() == BATCH
    pace.command(1.0)
    assert pace.pause(BATCH, 0.05) == pytest.approx(BATCH / 100 - 0.05)
    assert pace.pause(BATCH, 5.0) == 0


def test_while_somebody_asks_each_batch_is_followed_by_a_rest_as_long_as_itself() -> None:
    pace = Pace(lambda: True, largest=BATCH)
    assert pace.size() == LEAST
    assert pace.pause(LEAST, 0.3) == 0.3
    slow = Pace(lambda: True, largest=BATCH, rate=10.0)
    assert slow.size() == LEAST
    assert slow.pause(LEAST, 0.01) == pytest.approx(LEAST / 10 - 0.01), "the rate counts all the same"


def test_batches_grow_while_their_commands_are_quick_and_are_halved_when_one_is_not() -> None:
    pace = Pace(lambda: True, largest=BATCH)
    sizes = []
    for took in [COMMAND / 2] * 30 + [COMMAND * 2] * 6:
        sizes.append(pace.size())
        pace.command(took / 3)
        pace.command(took)
        pace.pause(sizes[-1], took)
    assert sizes[: BATCH - LEAST + 1] == list(range(LEAST, BATCH + 1))
    assert max(sizes) == BATCH
    assert sizes[30:] == [BATCH, BATCH // 2, BATCH // 4, BATCH // 8, LEAST, LEAST]


def test_what_was_learned_stays_while_nobody_asks() -> None:
    live = True
    pace = Pace(lambda: live, largest=BATCH)
    for _ in range(3):
        pace.size()
        pace.command(COMMAND / 2)
        pace.pause(1, 0.001)
    live = False
    assert pace.size() == BATCH
    pace.command(1.0)
    assert pace.pause(BATCH, 1.0) == 0
    live = True
    assert pace.size() == LEAST + 3
