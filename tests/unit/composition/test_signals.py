"""The signals, with names that do not clash and receivers that are not kept alive."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from blinker import Signal

from prodfix import signals

SIGNALS = [value for value in vars(signals).values() if isinstance(value, Signal)]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_a_receiver_is_told_until_it_is_gone(signal: Any) -> None:
    heard: list[Any] = []

    class Receiver:
        def hear(self, sender: Any, **facts: Any) -> None:
            heard.append((sender, facts))

    receiver = Receiver()
    signal.connect(receiver.hear)
    signal.send("sender", record=1)
    assert heard == [("sender", {"record": 1})]
    del receiver
    gc.collect()
    signal.send("sender", record=2)
    assert len(heard) == 1


def test_the_names_begin_with_the_librarys() -> None:
    names = [signal.name for signal in SIGNALS]
    assert len(names) >= 3
    assert all(name.startswith("prodfix.") for name in names)
    assert len(set(names)) == len(names)
