"""The level of a logger for a while: in all workers, in those that come later, and no longer than it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from prodfix.errors import ValidationFailed
from prodfix.journal.journal import Journal
from prodfix.workers.log_levels import FOLDER, LONGEST, MOST, LogLevels


class Worker:
    def __init__(self, journal: Journal, now: list[float]) -> None:
        self.followed: list[Mapping[str, str]] = []
        self.told = 0
        self.levels = LogLevels(journal, follow=self.followed.append, tell_all=self._tell, clock=lambda: now[0])

    def _tell(self) -> None:
        self.told += 1


@pytest.fixture
def now() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def make(open_journal: Callable[..., Journal], now: list[float]) -> Callable[[], Worker]:
    return lambda: Worker(open_journal(), now)


def test_all_workers_follow_and_those_that_come_later(make: Callable[[], Worker]) -> None:
    first, second = make(), make()
    first.levels.set("shop.orders", "debug", minutes=15, by="ann")
    assert first.told == 1
    for worker in (first, second, make()):
        worker.levels.look()
        worker.levels.look()
        assert worker.followed == [{"shop.orders": "debug"}]
    (told,) = second.levels.read().levels
    assert (told.logger, told.level, told.by) == ("shop.orders", "debug", "ann")


def test_it_ends_by_itself(make: Callable[[], Worker], now: list[float]) -> None:
    worker = make()
    worker.levels.set("shop.orders", "debug", minutes=15, by="ann")
    worker.levels.set("shop.prices", "error", minutes=20, by="ann")
    worker.levels.look()
    now[0] += 15 * 60 - 1
    worker.levels.tick()
    assert len(worker.followed) == 1  # the control
    now[0] += 1
    worker.levels.tick()
    assert worker.followed[1:] == [{"shop.prices": "error"}]
    now[0] += 3600
    worker.levels.tick()
    assert worker.followed[2:] == [{}]
    assert worker.levels.read().levels == []


def test_it_is_taken_back(make: Callable[[], Worker]) -> None:
    worker = make()
    worker.levels.set("root", "warn", minutes=15, by="ann")
    worker.levels.look()
    assert worker.levels.set("root", "usual", minutes=15, by="ben").levels == []
    worker.levels.look()
    assert worker.followed == [{"root": "warn"}, {}]


@pytest.mark.parametrize(
    ("logger", "level", "minutes", "field"),
    [
        ("pymongo", "debug", 15, "level"),
        ("pymongo.command", "debug", 15, "level"),
        ("", "info", 15, "logger"),
        ("a\nb", "info", 15, "logger"),
        ("../etc", "info", 15, "logger"),
        ("a" * 101, "info", 15, "logger"),
        ("a", "info", 0, "minutes"),
        ("a", "info", LONGEST + 1, "minutes"),
    ],
)
def test_what_must_not_be_is_refused(
    make: Callable[[], Worker], logger: str, level: Any, minutes: int, field: str
) -> None:
    worker = make()
    with pytest.raises(ValidationFailed) as refused:
        worker.levels.set(logger, level, minutes=minutes, by="ann")
    assert [problem.field for problem in refused.value.problems] == [field]
    assert worker.told == 0
    worker.levels.set("pymongo.command", "info", minutes=15, by="ann")  # the control
    worker.levels.set("pymongoish", "debug", minutes=15, by="ann")


def test_there_are_so_many_and_no_more(make: Callable[[], Worker]) -> None:
    worker = make()
    for number in range(MOST):
        worker.levels.set(f"a{number}", "info", minutes=1, by="ann")
    with pytest.raises(ValidationFailed):
        worker.levels.set("b", "info", minutes=1, by="ann")
    worker.levels.set("a0", "debug", minutes=1, by="ann")
    assert len(worker.levels.read().levels) == MOST


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"logger": 5}', b'{"logger":"a","by":"b","level":"loud","until":9e12}', b"\xff" * 9000],
)
def test_a_file_that_is_none_of_ours_changes_nothing(
    make: Callable[[], Worker], journal: Journal, content: bytes
) -> None:
    worker = make()
    (journal.folder / FOLDER).mkdir(exist_ok=True)
    (journal.folder / FOLDER / "x.json").write_bytes(content)
    worker.levels.look()
    assert worker.followed == []
