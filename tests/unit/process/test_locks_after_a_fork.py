"""Locks that a thread holds as the process forks: of its child nobody would ever let go of them."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prodfix.deferral.releases import Releases
from prodfix.incidents.observed import Incidents
from prodfix.journal.journal import Journal
from prodfix.metrics.admission import Admission
from prodfix.operations.command_stats import CommandStats
from prodfix.recovery.turns import Turns
from prodfix.statistics.storms import Storms
from tests.support import REPOSITORY
from tests.support.processes import in_child

LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "allocate_lock"}
# Made by who uses them, in the process that does; the last one is of a command that forks nothing.
MADE_AFTER_THE_FORK = {"_Threads", "Gathering", "Lane", "Launch"}


def nowhere() -> Any:
    raise AssertionError


KEPT: dict[str, Callable[[], Any]] = {
    "admission": lambda: Admission(None),
    "incidents": lambda: Incidents(Journal(Path("nowhere")), instance=""),
    "kinds of commands": CommandStats,
    "marks": lambda: Releases(nowhere),
    "storms": lambda: Storms(burst=1, rate=1.0),
    "turns": Turns,
}


@pytest.mark.parametrize("name", KEPT)
def test_what_another_thread_holds_is_free_in_the_child(name: str) -> None:
    kept = KEPT[name]()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with kept._lock:
            entered.set()
            leave.wait(10)

    def free() -> bool:
        return not kept._lock.locked()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert entered.wait(10)
        assert in_child(free)
        assert not free()  # the control
    finally:
        leave.set()
        thread.join(10)


def test_a_turn_that_a_parent_has_is_nobodys_in_its_child() -> None:
    turns = Turns()

    def child() -> list[bool]:
        with turns.turn("place", 10) as mine:
            return [mine, turns.taken("place")]

    with turns.turn("place", 10):
        assert in_child(child) == [True, True]
        assert turns.taken("place")  # the control


def test_who_forks_within_its_turn_leaves_it_in_both() -> None:
    turns = Turns()

    def child() -> bool:
        turn.__exit__(None, None, None)
        return turns.taken("place")

    turn = turns.turn("place", 10)
    turn.__enter__()
    assert in_child(child) is False
    assert turns.taken("place")
    turn.__exit__(None, None, None)
    assert not turns.taken("place")


def made_once(tree: ast.AST, name: str = "") -> Iterator[str]:
    """The classes whose ``__init__`` makes a lock, and the names that are bound to one as their file is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from made_once(node, node.name)
        elif not isinstance(node, ast.FunctionDef) or node.name == "__init__":
            calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
            if any((one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "")) in LOCKS for one in calls):
                yield name or "import"


def test_each_lock_that_an_object_has_from_its_beginning_is_made_anew_in_a_child() -> None:
    found = {
        name
        for path in (REPOSITORY / "prodfix").rglob("*.py")
        if path.name != "apprise_program.py"  # it runs in a process of its own
        for name in made_once(ast.parse(path.read_text()))
    }
    assert found == MADE_AFTER_THE_FORK


@pytest.mark.parametrize("lock", ["threading.Lock()", "threading.RLock()", "allocate_lock()"])
def test_the_control_such_a_lock_is_found(lock: str) -> None:
    kept = f"class Kept:\n    def __init__(self):\n        self._lock = {lock}\n"
    anew = f"class Anew:\n    def _begin(self):\n        self._lock = {lock}\n"
    assert list(made_once(ast.parse(f"_lock = {lock}\n{kept}{anew}"))) == ["import", "Kept"]
