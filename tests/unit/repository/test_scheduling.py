"""Which process tests what."""

from __future__ import annotations

import pytest

from tests.support import REPOSITORY, imports
from tests.support.scheduling import FIRST, chosen, kind_of, number_of

MODULES = [
    "tests/unit/test_a.py",
    "tests/unit/room/test_b.py",
    "tests/properties/test_c.py",
    "tests/integration/test_d.py",
    "tests/browser/test_page.py",
    "tests/faults/test_alerts.py",
    f"tests/faults/{FIRST[0]}.py",
]


def taken(number: int) -> list[str]:
    """In what order one process alone would test them."""
    left, order = list(MODULES), []
    while left:
        order.append(chosen(number, left))
        left.remove(order[-1])
    return order


@pytest.mark.parametrize(
    ("number", "kinds"),
    [
        (0, ["faults"] * 2 + ["served"] * 2 + ["the rest"] * 3),
        (1, ["served"] * 2 + ["faults"] * 2 + ["the rest"] * 3),
        (2, ["the rest"] * 3 + ["served"] * 2 + ["faults"] * 2),
        (7, ["the rest"] * 3 + ["served"] * 2 + ["faults"] * 2),
    ],
)
def test_each_process_begins_with_its_own_and_helps_with_all(number: int, kinds: list[str]) -> None:
    order = taken(number)
    assert [kind_of(module) for module in order] == kinds
    assert sorted(order) == sorted(MODULES)


def test_what_is_judged_by_the_clock_or_takes_long_comes_first() -> None:
    assert taken(0)[0] == f"tests/faults/{FIRST[0]}.py"


def test_what_comes_first_is_there() -> None:
    assert {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")} >= set(FIRST)


def test_a_worker_of_xdist_has_its_number_in_its_name() -> None:
    assert [number_of("gw0"), number_of("gw12")] == [0, 12]


def test_each_process_imports_all_modules_and_begins_with_a_part_of_its_own() -> None:
    modules = imports.modules_of([REPOSITORY / "tests" / "unit", REPOSITORY / "tests" / "faults"], REPOSITORY)
    assert {"tests.unit.repository.test_scheduling", "tests.faults.test_health"} <= set(modules)
    assert not [name for name in modules if "test_" not in name], "what is no test is imported by those that need it"
    turns = [imports.in_turn(modules, number, 5) for number in range(5)]
    assert [sorted(turn) for turn in turns] == [sorted(modules)] * 5
    parts = [turn[: len(modules) // 5] for turn in turns]
    assert len({name for part in parts for name in part}) == 5 * (len(modules) // 5)
    assert [imports.in_turn([], 3, 5), imports.in_turn(["one"], 4, 5)] == [[], ["one"]]


def test_a_file_is_asked_for_alone_and_once() -> None:
    folder = REPOSITORY / "tests" / "unit" / "repository"
    name = "tests.unit.repository.test_scheduling"
    assert imports.modules_of([folder / "test_scheduling.py"] * 2, REPOSITORY) == [name]
    assert imports.modules_of([folder / "test_scheduling.py", folder], REPOSITORY).count(name) == 1
