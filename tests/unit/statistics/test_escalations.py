"""Kinds that happen more often than their last days predict: told once, with figures, and over by itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from prodfix.statistics import escalations as module
from prodfix.statistics.groups import ERROR_GROUPS, GroupSummary
from prodfix.statistics.predictions import CHANCE, DAY, LEAST, Usual, chernoff, garwood, usual_of
from tests.support.counting_worker import HOUR, Clock, Worker, kind

WEEK = 7 * DAY
NOON = 60 * 24 * 20_000 + 12 * 60  # a minute


# -- what is predicted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "limit"), [(0, 2.996), (1, 4.744), (2, 6.296), (5, 10.513), (10, 16.962), (50, 63.287), (100, 118.079)]
)
def test_the_upper_limit_is_garwoods(count: int, limit: float) -> None:
    """Half the 95th percentile of chi-squared with 2 (count + 1) degrees of freedom, as its tables have it."""
    assert garwood(count) == pytest.approx(limit, rel=0.02)


@pytest.mark.parametrize("mean", [0.0, 0.01, 0.3, 1, 7, 40, 900])
def test_what_exceeds_the_bound_is_as_rare_as_that(mean: float) -> None:
    bound = chernoff(mean)
    above = -math.expm1(math.log(_below(mean, bound))) if mean else 0.0
    assert above <= CHANCE
    assert bound <= mean + 6.5 * math.sqrt(mean) + 25, "and not out of reach"


def _below(mean: float, most: int) -> float:
    """P(X <= most)."""
    return min(1.0, sum(math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) for count in range(most + 1)))


def points(last: int, each: Callable[[int], int]) -> dict[int, int]:
    """Of each hour of the week before ``last``, by its number, 0 the latest."""
    return {last - 30 - 60 * number: count for number in range(168) if (count := each(number))}


@pytest.mark.parametrize(
    ("each", "low", "high"),
    [
        (lambda hour: 0, LEAST - 1, LEAST + 2),
        (lambda hour: 1 if hour == 50 else 0, LEAST - 1, LEAST + 2),
        (lambda hour: 10, 30, 60),
        (lambda hour: 100 if hour % 24 in (3, 4) else 5, 150, 230),  # as each night
        (lambda hour: 100_000 if hour == 60 else 1, 600, 1_200),  # one bad day
    ],
)
def test_bounds(each: Callable[[int], int], low: int, high: int) -> None:
    assert low <= usual_of(points(NOON, each), NOON, WEEK).bound <= high


def test_the_second_of_the_days_predicts_and_not_the_first() -> None:
    one = usual_of(points(NOON, lambda hour: 500 if hour == 30 else 0), NOON, WEEK)
    two = usual_of(points(NOON, lambda hour: 500 if hour in (30, 80) else 0), NOON, WEEK)
    assert one.expected < 5
    assert two.expected == 500


def test_only_the_days_that_it_has_been_there_count() -> None:
    known = points(NOON, lambda hour: 10 if hour < 20 else 0)
    assert usual_of(known, NOON, 20 * 60).expected == 10
    assert usual_of(known, NOON, WEEK).expected == pytest.approx(200 / 168)


def test_chance_alone_is_no_escalation() -> None:
    chance = random.Random(3)
    for mean in (0.05, 0.5, 3, 30):
        told = 0
        for _ in range(40):
            each = [sum(chance.random() < mean / 200 for _ in range(200)) for _ in range(168)]
            usual = usual_of(points(NOON, each.__getitem__), NOON, WEEK)
            told += sum(sum(chance.random() < mean / 200 for _ in range(200)) > usual.bound for _ in range(20))
        assert told == 0


def test_a_bound_is_never_below_what_is_few() -> None:
    assert Usual(0, 168.0, ()).bound == LEAST - 1


# -- what is decided --------------------------------------------------------------------------------------------------


@pytest.fixture
def old(worker: Worker, clock: Clock, database: Any) -> Worker:
    """A kind that is five days old, and happens twice a day."""
    worker.database = database
    clock.now -= 5 * 24 * HOUR
    for _ in range(10):
        worker.error(times=1)
        worker.error("traffic")
        worker.minutes.finish()
        worker.store()
        worker.minutes.hours._close_at = 0.0
        worker.minutes.hours.look(database)
        clock.now += 12 * HOUR
    return worker


def look(worker: Worker) -> bool:
    worker.error("traffic")
    worker.store()
    worker.escalations._due_at = 0.0  # a look that took long is followed by a longer rest
    return worker.escalations.look(worker.database)


def shown(worker: Worker, fingerprint: str = "f1") -> GroupSummary:
    found = worker.groups.find(fingerprint, worker.statistics.read("24h").window)
    assert found is not None
    return found


def test_it_is_told_once_with_its_figures_and_ends_by_itself(
    old: Worker, clock: Clock, make_instance: Callable[..., Worker]
) -> None:
    other = make_instance(old.database)
    old.error(times=5)
    look(old)
    assert (shown(old).badges, old.escalated) == ([], [])  # the control: few are no escalation
    old.error(times=60)
    assert look(old)
    look(other)
    group = shown(other)
    assert group.escalation is not None
    assert group.badges == ["escalating"]
    assert (group.escalation.seen, group.escalation.minutes, group.escalation.days) == (65, 60, 5.0)
    assert group.escalation.expected == 1
    assert LEAST <= group.escalation.bound < 30
    (told,) = old.escalated
    assert (told["fingerprint"], told["message"], told["escalation"]["seen"]) == ("f1", "title of f1", 65)
    clock.now += 30 * 60
    old.error(times=20)
    look(other), look(old)
    assert shown(old).escalation is not None
    assert shown(old).escalation.seen == 85  # type: ignore[union-attr]
    clock.now += 70 * 60
    look(old)
    assert shown(old).badges == []
    assert len(old.escalated) + len(other.escalated) == 1
    clock.now += 60
    old.error(times=90)
    look(old)
    assert len(old.escalated) == 2, "another one"


@pytest.mark.parametrize(
    ("category", "away", "escalates"),
    [("database_connection", 60.0, False), ("database_connection", -600.0, True), ("unknown", 60.0, True)],
)
def test_what_fails_because_the_database_is_away_is_no_escalation(
    old: Worker, clock: Clock, category: str, away: float, escalates: bool
) -> None:
    """``away``: seconds until the end of an outage that began a minute before that."""
    old.database[ERROR_GROUPS].update_one({"_id": "f1"}, {"$set": {"category": category, "code": "C"}})
    outage = (clock.now + away - 120, clock.now + away)
    old.escalations._outages = lambda begin, end: [outage]
    old.error(times=65)
    look(old)
    assert len(old.escalated) == int(escalates)


def test_what_is_new_does_not_escalate(worker: Worker, database: Any) -> None:
    worker.database = database
    worker.error(times=500)
    look(worker)
    assert shown(worker).badges == ["new"]


def test_who_stores_nothing_does_not_look_and_of_two_one_does(old: Worker, make_instance: Any) -> None:
    other = make_instance(old.database)
    for worker in (old, other):
        worker.escalations._period = 60.0
    assert look(old)
    assert not old.escalations.look(old.database)
    assert not look(other), "somebody has looked"


def test_an_escalation_that_nobody_confirms_fades(old: Worker, clock: Clock) -> None:
    old.error(times=60)
    look(old)
    document = old.database[ERROR_GROUPS].find_one({"_id": "f1"})
    moment = document["escalation"]["lookedAt"]
    assert module.escalation_of(document, moment + module.FADING) is not None
    assert module.escalation_of(document, moment + 2 * module.FADING) is None
    clock.now += 3 * HOUR
    look(old)
    assert "escalation" not in old.database[ERROR_GROUPS].find_one({"_id": "f1"})


# -- ignored until ----------------------------------------------------------------------------------------------------


def ignore(worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch, **until: Any) -> None:
    """By the clock of the test."""
    monkeypatch.setattr("prodfix.statistics.triage._now", lambda: datetime.fromtimestamp(clock.now, UTC))
    assert worker.triage.ignore("f1", worker.statistics.read("7d").window, by="ann", **until)


def test_what_is_ignored_until_it_escalates_is_open_then_and_stays_so(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore(old, clock, monkeypatch, escalates=True)
    clock.now += 60
    old.error(times=5)
    look(old)
    assert shown(old).status == "ignored"
    old.error(times=60)
    look(old)
    assert (shown(old).status, shown(old).badges, len(old.escalated)) == ("open", ["escalating"], 1)
    clock.now += 2 * HOUR
    look(old)
    assert (shown(old).status, shown(old).badges) == ("open", [])


@pytest.mark.parametrize("until", [{}, {"more": 1000}, {"until": 24 * HOUR}])
def test_what_is_ignored_otherwise_is_not_judged(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch, until: dict[str, Any]
) -> None:
    old.error(times=60)
    look(old)
    assert shown(old).badges == ["escalating"], "the control"
    if "until" in until:
        until = {"until": datetime.fromtimestamp(clock.now + until["until"], UTC)}
    ignore(old, clock, monkeypatch, **until)
    assert shown(old).badges == [], "at once"
    for _ in range(3):
        clock.now += 60
        old.error(times=60)
        look(old)
    assert (shown(old).status, shown(old).badges, len(old.escalated)) == ("ignored", [], 1)


def test_a_young_kind_escalates_by_what_was_before_it_was_ignored_and_what_came_since(
    worker: Worker, clock: Clock, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.database = database
    clock.now += 10
    worker.error(times=16)
    look(worker)
    clock.now += 20
    ignore(worker, clock, monkeypatch, escalates=True)
    for seconds, times in ((5, 3), (30, 3), (60, 3), (60, 0)):
        clock.now += seconds
        worker.error(times=times)
        look(worker)
    assert (shown(worker).status, shown(worker).badges, worker.escalated) == ("ignored", ["new"], [])
    usual = database[ERROR_GROUPS].find_one({"_id": "f1"})["ignored"]["usual"]
    assert usual["expected"] == 16
    worker.error(times=usual["bound"] - 9)
    look(worker)
    assert shown(worker).status == "ignored", "no more than the bound since then"
    worker.error()
    look(worker)
    assert (shown(worker).status, shown(worker).badges) == ("open", ["new", "escalating"])
    (told,) = worker.escalated
    assert (told["escalation"]["seen"], told["escalation"]["expected"]) == (usual["bound"] + 1, 16)
    clock.now += 10 * 60
    look(worker)
    assert shown(worker).badges == ["new", "escalating"], "it goes on by what began it"
    clock.now += HOUR
    look(worker)
    assert (shown(worker).badges, len(worker.escalated)) == (["new"], 1)


def test_what_was_usual_before_is_told_by_the_minute(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in an hour that has been closed since."""
    clock.now = clock.now // HOUR * HOUR + 50 * 60
    old.error(times=7)
    old.store()
    clock.now += 30 * 60
    old.error("traffic")
    old.minutes.finish()
    old.store()
    old.minutes.hours._close_at = 0.0
    old.minutes.hours.look(old.database)
    old.error(times=4)
    ignore(old, clock, monkeypatch, escalates=True)
    old.error(times=8)
    look(old)
    usual = old.database[ERROR_GROUPS].find_one({"_id": "f1"})["ignored"]["usual"]
    assert (usual["expected"], usual["days"]) == (11, pytest.approx(5, abs=0.1))


def test_an_escalation_ends_though_nothing_more_happens(old: Worker, clock: Clock) -> None:
    old.error(times=60)
    look(old)
    assert shown(old).badges == ["escalating"]
    for _ in range(62):
        clock.now += 60
        old.escalations._due_at = 0.0
        old.escalations.look(old.database)
    assert "escalation" not in old.database[ERROR_GROUPS].find_one({"_id": "f1"}), "by which an alert ends"
    assert not old.escalations.look(old.database), "and nothing more is looked for"


def test_what_is_ignored_until_so_many_more_counts_each_once(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.error(times=4)
    ignore(old, clock, monkeypatch, more=9)
    lefts = []
    for times in (3, 0, 0, 0, 4, 0, 0, 0, 0):
        clock.now += 60
        if times:
            old.error(times=times)
        look(old)
        group = shown(old)
        lefts.append(group.ignored.left if group.ignored is not None else None)
    assert lefts == [9, 9, 6, 6, 6, 6, 2, 2, 2]
    assert old.unignored == [], "the control: two are left"
    clock.now += 5 * HOUR  # nobody looks for a while, and meanwhile it happens
    old.error(times=2)
    old.minutes.finish()
    old.store()
    clock.now += 4 * 60
    look(old)
    assert (shown(old).status, shown(old).ignored) == ("open", None)
    look(old)
    (told,) = old.unignored
    assert told == {
        **dict.fromkeys(("headline", "place", "code"), ""),
        "fingerprint": "f1",
        "message": "title of f1",
        "category": "unknown",
        "releases": ["v1"],
        "ignoredUntil": "9 more",
    }
    ignore(old, clock, monkeypatch, more=9)
    old.triage.reopen("f1")
    look(old)
    assert "watched" not in old.database[ERROR_GROUPS].find_one({"_id": "f1"})


def test_what_was_ignored_until_a_time_is_told_once_when_it_happens_after_it(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch, make_instance: Callable[..., Worker]
) -> None:
    other = make_instance(old.database)
    until = datetime.fromtimestamp(clock.now + 2 * HOUR, UTC)
    ignore(old, clock, monkeypatch, until=until)
    clock.now += 60
    old.error()
    look(old)
    clock.now += 2 * HOUR
    look(old)
    assert (shown(old).status, old.unignored) == ("open", []), "it has not happened since"
    clock.now += 60
    old.error()
    for worker in (old, other, old):
        look(worker)
    (told,) = old.unignored + other.unignored
    assert (told["fingerprint"], told["ignoredUntil"]) == (
        "f1",
        until.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    document = old.database[ERROR_GROUPS].find_one({"_id": "f1"})
    assert "ignored" not in document
    assert "watched" not in document


def test_what_does_not_come_back_within_a_week_of_that_time_is_watched_no_more(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore(old, clock, monkeypatch, until=datetime.fromtimestamp(clock.now + HOUR, UTC))
    look(old)
    assert old.database[ERROR_GROUPS].find_one({"_id": "f1"})["watched"], "the control"
    clock.now += 8 * 24 * HOUR
    look(old)
    assert "watched" not in old.database[ERROR_GROUPS].find_one({"_id": "f1"})
    assert old.unignored == []


def test_its_own_minute_counts_and_goes_on_though_nothing_more_is_stored(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six after four, five of six are enough: exact, and three minutes later at most."""

    def idle(seconds: float) -> bool:
        clock.now += seconds
        old.escalations._due_at = 0.0
        return old.escalations.look(old.database)

    clock.now = clock.now // 60 * 60 + 10
    old.error(times=4)
    ignore(old, clock, monkeypatch, more=9)
    clock.now += 1
    old.error(times=3)
    clock.now += 32
    old.error(times=3)
    look(old)
    assert shown(old).ignored.left == 9, "other instances may not have told all of it"  # type: ignore[union-attr]
    assert idle(60)
    assert idle(60)
    assert shown(old).ignored.left == 3  # type: ignore[union-attr]
    assert not idle(60), "all is counted, and nobody looks for nothing"
    old.error(times=3)
    look(old)
    assert idle(60)
    assert shown(old).status == "ignored", "its minute may still grow"
    assert idle(60)
    assert (shown(old).status, shown(old).ignored) == ("open", None)


def test_whoever_was_not_the_first_to_look_goes_on_if_the_other_one_is_gone(
    old: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch, make_instance: Callable[..., Worker]
) -> None:
    other = make_instance(old.database)
    for worker in (old, other):
        worker.escalations._period = 50.0
    ignore(old, clock, monkeypatch, more=2)
    clock.now += 60
    other.error(times=2)
    other.store()
    assert look(old)
    other.escalations._due_at = 0.0
    assert not other.escalations.look(other.database), "the control: somebody has looked"
    for _ in range(3):
        clock.now += 60
        other.escalations._due_at = 0.0
        other.escalations.look(other.database)
    assert shown(other).status == "open"


# -- new --------------------------------------------------------------------------------------------------------------


def test_a_new_kind_is_told_once_over_all_instances_and_not_in_the_first_hour(
    make_instance: Callable[..., Worker], clock: Clock, database: Any
) -> None:
    one, other = make_instance(database), make_instance(database)
    for worker in (one, other):
        worker.error()
        worker.store()
    assert one.new == other.new == [], "at first everything is new"
    assert [kind["fingerprint"] for kind in one.early + other.early] == ["f1"]
    clock.now += 2 * HOUR
    for worker in (one, other, one):
        worker.error("f2", category="timeout")
        worker.store()
    (told,) = one.new + other.new
    assert len(one.early + other.early) == 1
    assert {name: told[name] for name in ("fingerprint", "message", "headline", "category", "releases")} == {
        "fingerprint": "f2",
        "message": "title of f2",
        "headline": "title of f2",
        "category": "timeout",
        "releases": ["v1"],
    }


def test_of_new_kinds_it_is_told_how_many_more_there_are_that_are_not_told_apart(
    worker: Worker, clock: Clock, database: Any
) -> None:
    """700 in one minute of one worker: 300 are told apart."""
    worker.database = database
    worker.error()
    worker.store()
    clock.now = (clock.now + 2 * HOUR) // 60 * 60
    for number in range(300):
        worker.counters.error(kind(f"k{number}"))
    worker.journal.settle(limit=5)
    worker.store()
    assert (len(worker.new), worker.further) == (300, []), "the control: nothing is hidden yet"
    for number in range(300, 700):
        worker.counters.error(kind(f"k{number}"))
    worker.journal.settle(limit=5)
    worker.store()
    ((category, number),) = worker.further[-1].items()
    assert (len(worker.new), category) == (300, "unknown")
    assert 400 * 0.5 < number < 400 * 1.7, "an estimate, within 21 % mostly"
    said = len(worker.further)
    worker.counters.error(kind("k699"))
    worker.journal.settle(limit=5)
    worker.store()
    assert len(worker.further) == said, "a kind that was there already is none more"


def test_what_is_not_told_apart_beside_nothing_new_is_no_news(worker: Worker, clock: Clock, database: Any) -> None:
    worker.database = database
    clock.now = clock.now // 60 * 60
    for minute in range(2):
        for number in range(300):
            worker.counters.error(kind(f"k{number}"))
        if minute:
            worker.counters.error(kind("another"))
        worker.journal.settle(limit=5)
        worker.store()
        clock.now += 60
    assert worker.further == [], "it may be one that is known"
    for number in range(301):
        worker.counters.error(kind(f"n{number}"))
    worker.journal.settle(limit=5)
    worker.store()
    assert worker.further == [{"unknown": 1}], "the control: few are exact"
