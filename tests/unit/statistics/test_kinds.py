"""What kinds of errors are called, known to all workers while MongoDB is down, and whom they met."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prodfix.statistics import kinds as module
from prodfix.statistics.closed_hours import ERROR_DAYS
from prodfix.statistics.group_list import GroupFilter
from prodfix.statistics.group_summary import KindWords, rising, trend_of, words_of_title
from prodfix.statistics.groups import ERROR_GROUPS, GroupSummary
from prodfix.statistics.kinds import words_of
from prodfix.statistics.packing import packed, unpacked
from tests.support.counting_worker import HOUR, Clock, Worker, kind

SHOWN = KindWords("KeyError: 'price'", "shop/views.py:show", "INTERNAL_ERROR")


def found(worker: Worker, fingerprint: str = "f1", time_range: Any = "24h", **asked: Any) -> GroupSummary | None:
    groups, _ = worker.groups.page(worker.statistics.read(time_range).window, GroupFilter(**asked))
    return next((one for one in groups if one.fingerprint == fingerprint), None)


def told(worker: Worker, fingerprint: str = "f1", **asked: Any) -> GroupSummary:
    group = found(worker, fingerprint, **asked)
    assert group is not None
    return group


@pytest.mark.parametrize(
    ("error_type", "summary", "place", "words"),
    [
        ("KeyError", "KeyError: price", "shop/views.py:show", SHOWN),
        ("ValueError", "ValueError: no such\n  thing <- KeyError: x", "", ("ValueError: no such thing", "")),
        ("OperationFailure", "OperationFailure (code 13)", "a.py:f", ("OperationFailure (code 13)", "a.py:f")),
        ("ValidationError", "Note is not valid", "Note", ("ValidationError: Note is not valid", "")),
        ("Response", "answered with 503", "a middleware", ("answered with 503", "")),
        ("E", "E: " + "x" * 500, "", (("E: " + "x" * 500)[:200], "")),
    ],
)
def test_the_words_of_an_error(error_type: str, summary: str, place: str, words: tuple[str, ...]) -> None:
    assert words_of(error_type, summary, "INTERNAL_ERROR", place)[:2] == words[:2]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("INTERNAL_ERROR (KeyError) in a/b.py:f", ("KeyError", "a/b.py:f", "INTERNAL_ERROR")),
        ("NOT_FOUND (NotFound)", ("NotFound", "", "NOT_FOUND")),
        ("something else", ("something else", "", "")),
        ("", ("", "", "")),
    ],
)
def test_a_title_tells_what_was_counted_before_there_were_words(title: str, words: tuple[str, ...]) -> None:
    assert words_of_title(title) == words


def test_every_worker_of_the_instance_knows_them_while_mongodb_is_down(make_worker: Callable[..., Worker]) -> None:
    one, other = make_worker(), make_worker()
    one.error()
    one.counters.kinds.see("f1", lambda: SHOWN)
    one.journal.settle(limit=5)
    for worker in (one, other):
        group = told(worker)
        assert (group.headline, group.place, group.code) == SHOWN


def test_the_first_ones_words_stay(make_worker: Callable[..., Worker], clock: Clock, database: Any) -> None:
    one, other = make_worker(database), make_worker(database)
    one.error()
    one.counters.kinds.see("f1", lambda: SHOWN)
    clock.now += 1
    other.error()
    other.counters.kinds.see("f1", lambda: KindWords("KeyError: 'name'", "", ""))
    other.journal.settle(limit=5)
    assert {told(worker).headline for worker in (one, other)} == {SHOWN.headline}
    one.store()
    assert database[ERROR_GROUPS].find_one({"_id": "f1"})["headline"] == SHOWN.headline
    assert {told(worker).headline for worker in (one, other)} == {SHOWN.headline}


def test_a_group_of_an_older_release_gets_them(worker: Worker, database: Any) -> None:
    worker.database = database
    worker.error()
    worker.store()
    assert "headline" not in database[ERROR_GROUPS].find_one({"_id": "f1"})
    worker.counters.kinds.see("f1", lambda: SHOWN)
    worker.journal.settle(limit=5)
    worker.groups._known.clear()  # as of a worker that has begun
    worker.error()
    worker.store()
    assert told(worker).headline == SHOWN.headline


def test_they_come_home_from_a_dead_worker_the_first_ones(make_worker: Callable[..., Worker], clock: Clock) -> None:
    dead, heir = make_worker(), make_worker()
    dead.error()
    dead.counters.kinds.see("f1", lambda: SHOWN)
    clock.now += 1
    heir.counters.kinds.see("f1", lambda: KindWords("later", "", ""))
    for worker in (dead, heir):
        worker.journal.settle(limit=5)
    dead.end()
    assert heir.journal.adopt() == 1
    assert told(heir).headline == SHOWN.headline


def test_what_is_kept_of_them_is_bounded(worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(9):
        clock.now += module.REMEMBERED + 1
        worker.counters.kinds.see(f"f{number}", lambda: SHOWN)
        worker.journal.settle(limit=5)
    rows = worker.journal.read("SELECT fingerprint FROM kinds")
    assert sorted(rows) == [("f6",), ("f7",), ("f8",)]
    clock.now += module.KEPT_FOR + 1
    worker.counters.kinds.see("new", lambda: SHOWN)
    worker.journal.settle(limit=5)
    assert worker.journal.read("SELECT fingerprint FROM kinds") == [("new",)]


# -- whom it met ------------------------------------------------------------------------------------------------------


def test_users_are_counted_once_over_workers_minutes_and_hours(
    make_instance: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    one, other = make_instance(database), make_instance(database)
    clock.now -= 3 * HOUR
    for number in range(6):
        one.error(user=f"u{number}")
        other.error(user=f"u{number + 3}", device="desktop")
        clock.now += 30 * 60
    for worker in (one, other):
        worker.minutes.finish()
        worker.store()
    one.minutes.hours.look(database)
    for worker in (one, other):
        group = told(worker, time_range="24h")
        assert (group.count, group.users, group.users_exact) == (12, 9, True)


def test_without_users_nobody_knows(worker: Worker) -> None:
    worker.error(times=3)
    assert (told(worker).users, told(worker).users_exact) == (None, False)


def test_many_users_are_an_estimate(worker: Worker) -> None:
    for number in range(500):
        worker.counters.error(kind("f1"), f"user {number}")
    worker.journal.settle(limit=5)
    group = told(worker)
    assert group.users is not None
    assert 250 < group.users < 1000
    assert not group.users_exact


def test_no_id_stands_in_what_is_counted(worker: Worker, database: Any) -> None:
    worker.database = database
    worker.error(user="ann@example.org")
    worker.store()
    rows = worker.journal.read("SELECT errors FROM minutes")
    assert b"title of f1" in rows[0][0]
    assert all(b"ann" not in row[0] for row in rows)


# -- when it happened -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_range", ["1h", "24h", "7d"])
def test_a_trend_has_all_that_was_counted(
    worker: Worker, clock: Clock, database: Any, time_range: Any, open_journal: Any
) -> None:
    worker.database = database
    clock.now -= 5 * HOUR
    for number in range(5):
        worker.error(times=number + 1)
        worker.minutes.finish()
        worker.store()
        worker.minutes.hours.look(database)
        clock.now += HOUR
    clock.now -= HOUR / 2
    worker.minutes.hours._close_at = 0.0
    worker.minutes.hours.look(database)
    group = told(worker, time_range=time_range)
    assert (sum(group.trend), len(group.trend)) == (group.count, 24)
    assert group.count == {"1h": 5, "24h": 15, "7d": 15}[time_range]
    if time_range == "24h":
        assert [count for count in group.trend if count] == [1, 2, 3, 4, 5]


def test_a_day_of_an_older_release_is_made_anew(
    make_instance: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    worker = make_instance(database)
    clock.now -= clock.now % (24 * HOUR) + 20 * HOUR
    worker.error(times=3)
    worker.minutes.finish()
    worker.store()
    clock.now += 40 * HOUR
    worker.minutes.hours.look(database)
    (made,) = database[ERROR_DAYS].find()
    content = unpacked(made["counts"])
    del content["trends"]
    old = {"_id": made["_id"], "timestamp": made["timestamp"], "hours": made["hours"], "counts": packed(content)}
    database[ERROR_DAYS].replace_one({"_id": made["_id"]}, old)
    assert sum(told(make_instance(database), time_range="7d").trend) == 3
    again = make_instance(database)
    again.minutes.hours.look(database)
    assert list(database[ERROR_DAYS].find()) == [made]


def test_steps_are_equal_and_nothing_falls_out() -> None:
    assert trend_of({0: 1, 59: 2, 30: 3}, 0, 59) == [1, *[0] * 11, 3, *[0] * 10, 2]
    assert trend_of({-5: 1, 99: 1}, 0, 59) == [1, *[0] * 22, 1]
    assert sum(trend_of(dict.fromkeys(range(60), 7), 0, 59)) == 420


def test_what_rises_most_is_known() -> None:
    flat, risen, fallen = [5] * 24, [5] * 18 + [20] * 6, [20] * 18 + [5] * 6
    assert rising(risen) > rising(flat) == 0 > rising(fallen)
