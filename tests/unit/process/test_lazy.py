"""What is made when it is first needed is made once, however many need it first."""

from __future__ import annotations

import os
import threading
from functools import cached_property
from typing import Any

import pytest

from prodfix.process.lazy import Lazy, made_once, memoized

THREADS = 8


class Parts(Lazy):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def make(self, name: str) -> object:
        self.made.append(name)
        threading.Event().wait(0.02)  # others come meanwhile
        return object()

    @made_once
    def low(self) -> object:
        return self.make("low")

    @made_once
    def high(self) -> Any:
        return self.make("high"), self.low


class Twice(Parts):
    @cached_property
    def low(self) -> object:
        return self.make("low")


@pytest.mark.parametrize(("kind", "once"), [(Parts, True), (Twice, False)])
def test_threads_that_come_together_have_the_same_one(kind: type[Parts], once: bool) -> None:
    parts, found = kind(), []
    together = threading.Barrier(THREADS)

    def ask() -> None:
        together.wait(10)
        found.append(parts.low)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(set(map(id, found))) == 1, len(parts.made) == 1) == (once, once), "the control makes several"


def test_parts_may_need_each_other() -> None:
    parts = Parts()
    assert parts.high[1] is parts.low
    assert parts.made == ["high", "low"]
    assert isinstance(Parts.low, cached_property)


def test_what_is_being_made_in_a_parent_does_not_lock_its_child() -> None:
    parts, begun, release = Parts(), threading.Event(), threading.Event()

    def make(name: str) -> object:
        begun.set()
        release.wait(10)
        return name

    parts.make = make  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: parts.low)
    thread.start()
    assert begun.wait(10)
    if (child := os.fork()) == 0:
        parts.make = lambda name: name  # type: ignore[method-assign]
        os._exit(0 if parts.low == "low" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    thread.join(10)


@pytest.mark.parametrize(("how", "times"), [(memoized, 1), (cached_property, 1), (property, 2)])
def test_what_is_memoized_is_made_once_for_each_instance_as_functools_does_it(how: Any, times: int) -> None:
    class Odd:
        made = 0

        @how
        def one(self) -> int:
            """Says how often it was made."""
            self.made += 1
            return self.made

    first, second = Odd(), Odd()
    assert [(first.one, first.one), (second.one,)] == [(1, times), (1,)]
    assert (Odd.one.__doc__, isinstance(Odd.one, how)) == ("Says how often it was made.", True)
    first.__dict__.pop("one", None)
    assert first.one == times + 1, "what was forgotten is made anew"
