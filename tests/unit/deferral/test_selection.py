"""Which writes go next while some documents do not answer: in order, and without looking at all the others again and again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prodfix.deferral.selection import AGAIN, PAGE, Selection
from prodfix.deferral.stuck import MOST, Stuck
from prodfix.deferral.waiting import LONGEST_WAIT, Entry, Kind
from prodfix.deferral.writes import Write

STUCK, FREE = ("books", b"stuck"), ("books", b"free")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rows:
    """What waits, as the journal would give it; and how much of it was looked at."""

    def __init__(self) -> None:
        self.rows: list[Entry] = []
        self.held: list[str] = []
        self.looked = 0

    def add(self, *documents: tuple[str, bytes], key: str = "", tried: float | None = None) -> Entry:
        position = len(self.rows) + 1
        write = Write("note", {}, id=f"w{position}")
        entry = Entry(position, write, b"", key or write.id, 0, tried, documents=documents)
        self.rows.append(entry)
        return entry

    def next(self, kind: Kind, after: int, most: int) -> list[Entry]:
        wanted = [row for row in self.rows if row.position > after and (kind == "all" or row.tried is not None)]
        self.looked += len(wanted[:most])
        return wanted[:most]

    def hold(self, entries: Sequence[Entry]) -> None:
        self.held += [entry.write.id for entry in entries]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def stuck(clock: Clock) -> Stuck:
    return Stuck(clock)


@pytest.fixture
def selection(rows: Rows, stuck: Stuck, clock: Clock) -> Selection:
    return Selection(rows, stuck, lambda entry: True, clock=clock)  # type: ignore[arg-type]


def positions(entries: Sequence[Entry]) -> list[int]:
    return [entry.position for entry in entries]


def test_while_nothing_is_stuck_they_come_in_order_and_no_more_are_looked_at(rows: Rows, selection: Selection) -> None:
    for _ in range(50):
        rows.add(FREE)
    assert positions(selection.next(20)) == list(range(1, 21))
    assert rows.looked == 20


def test_what_touches_a_stuck_document_is_passed_over_and_told_once(
    rows: Rows, selection: Selection, stuck: Stuck
) -> None:
    for number in range(10):
        rows.add(STUCK if number % 2 else FREE)
    stuck.found([STUCK], 5.0)
    for _ in range(3):
        assert positions(selection.next(20)) in ([1, 3, 5, 7, 9], [])
    assert sorted(rows.held) == ["w10", "w2", "w4", "w6", "w8"]


def test_nobody_overtakes_one_with_its_key_that_is_passed_over(rows: Rows, selection: Selection, stuck: Stuck) -> None:
    rows.add(STUCK, key="a")
    rows.add(FREE, key="a")
    rows.add(FREE, key="b")
    stuck.found([STUCK], 5.0)
    assert positions(selection.next(20)) == [3]


def test_thousands_that_are_passed_over_are_looked_at_once_and_not_in_each_batch(
    rows: Rows, selection: Selection, stuck: Stuck, clock: Clock
) -> None:
    for _ in range(2000):
        rows.add(STUCK)
    free = [rows.add(FREE) for _ in range(60)]
    stuck.found([STUCK], 60.0)
    for batch in range(3):
        assert selection.next(20) == free[batch * 20 : (batch + 1) * 20]
    assert rows.looked <= 2000 + 4 * PAGE
    before = rows.looked
    for _ in range(100):
        assert selection.next(20) == []
    assert rows.looked == before
    clock.now += AGAIN + 1  # in case that what holds them is not among those that were tried
    selection.next(20)
    assert rows.looked > before


def test_once_its_time_is_over_one_asks_and_the_others_follow_when_that_is_applied(
    rows: Rows, selection: Selection, stuck: Stuck, clock: Clock
) -> None:
    asker = rows.add(STUCK, tried=1.0)
    for _ in range(5):
        rows.add(STUCK)
    stuck.found([STUCK], 5.0)
    assert selection.next(20) == []
    clock.now += 5.0
    for _ in range(2):
        assert selection.next(20) == [asker]
    rows.rows.remove(asker)
    stuck.answered([STUCK])
    assert positions(selection.next(20)) == [2, 3, 4, 5, 6]


def test_a_clock_that_is_put_back_keeps_no_document_stuck(stuck: Stuck, clock: Clock) -> None:
    stuck.found([STUCK], 5.0)
    assert stuck.waits([STUCK])
    clock.now -= 2 * LONGEST_WAIT
    assert not stuck.waits([STUCK])


def test_it_knows_of_so_many_stuck_documents(stuck: Stuck) -> None:
    stuck.found([("books", b"%d" % number) for number in range(MOST + 5)], 5.0)
    assert not stuck.known([("books", b"4")])
    assert stuck.known([("books", b"5"), FREE])
