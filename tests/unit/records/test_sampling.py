"""Of each kind the first, the newest and a sample stay, whatever comes; and what is sent stays small."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import bson
import pytest

from prodfix.records import sampling as module
from prodfix.records.sampling import Sampling, level, thinned
from tests.support.counting_worker import Clock

KEEP = 20


@pytest.fixture
def sampling(clock: Clock) -> Sampling:
    return Sampling(KEEP, clock=clock)


def flood(sampling: Sampling, count: int, kind: str = "k") -> list[bson.ObjectId]:
    """The records of it that are sent."""
    made = [bson.ObjectId() for _ in range(count)]
    return [identity for identity in made if sampling.admits(kind, identity)]


def test_half_of_all_ids_have_each_level() -> None:
    levels = Counter(level(bson.ObjectId()) for _ in range(16_000))
    for number in range(5):
        share = levels[number] / 16_000
        assert 0.5 ** (number + 1) * 0.8 < share < 0.5 ** (number + 1) * 1.2


def test_of_a_flood_few_are_sent_and_the_first_and_the_last_of_them(sampling: Sampling, clock: Clock) -> None:
    made = [bson.ObjectId() for _ in range(100_000)]
    sent = [identity for identity in made if sampling.admits("k", identity)]
    clock.now += 10
    (last,) = sampling.lasts()
    assert sent[0] == made[0]
    assert last in (made[-1], made[-2], made[-3]), "the newest that was not sent"
    # Twice as many make one level more: KEEP / 2 for each of the 13 or so.
    assert KEEP < len(sent) < KEEP * 15
    assert sampling.thinned == len(made) - len(sent)
    assert sampling.lasts() == []


def test_what_is_rare_is_sent_all_the_same_after_a_flood(sampling: Sampling, clock: Clock) -> None:
    flood(sampling, 50_000)
    assert len(flood(sampling, 10)) <= 1
    sent = 0
    for _ in range(10):
        clock.now += module.PULSE
        sent += len(flood(sampling, 1))
    assert sent == 10


def test_levels_of_a_flood_that_is_over_go_away(sampling: Sampling, clock: Clock) -> None:
    flood(sampling, 50_000)
    before = sampling.kinds
    for _ in range(20):
        clock.now += module.FORGOTTEN
        flood(sampling, 1)
        sampling.lasts()
        sampling.forget()
    assert (before, sampling.kinds) == (1, 0)


def test_each_of_many_kinds_has_its_first(sampling: Sampling) -> None:
    kinds = [f"{number:016x}" for number in range(5_000)]
    assert all(sampling.admits(kind, bson.ObjectId()) for kind in kinds)


def test_of_more_kinds_than_are_told_apart_a_sample_is_sent(
    sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KINDS", 100)
    sent = sum(sampling.admits(f"{number:016x}", bson.ObjectId()) for number in range(50_000))
    assert 100 < sent < 100 + KEEP * 15
    assert len(sampling._kinds) == 100


def test_while_too_many_wait_only_new_kinds_are_sent(sampling: Sampling, clock: Clock) -> None:
    flood(sampling, 1)
    sampling.crowded = True
    clock.now += 2 * module.PULSE
    assert flood(sampling, 100) == []
    assert len(flood(sampling, 100, "new")) == 1
    assert sampling.lasts() == []
    sampling.crowded = False
    assert flood(sampling, 5) != []


def test_what_all_workers_have_found_holds_here(sampling: Sampling) -> None:
    flood(sampling, 1)
    sampling.agree({"k": 32, "other": 32}, 0)
    assert (flood(sampling, 500), len(flood(sampling, 500, "other"))) == ([], 1)
    assert len(flood(sampling, 15, "free")) == 15
    sampling.agree({}, 32)
    assert flood(sampling, 500, "free") == []


def test_a_kind_that_is_back_after_long_is_new(sampling: Sampling, clock: Clock) -> None:
    flood(sampling, 50_000)
    clock.now += module.PULSE
    sampling.lasts()
    clock.now += module.FORGOTTEN + 1
    sampling.forget()
    assert len(flood(sampling, 10)) == 10


def test_threads_that_meet_new_kinds_disturb_nobody(sampling: Sampling, switching: None) -> None:
    ended = threading.Event()

    def meet() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            sampling.admits(f"{number % 4_000:016x}", bson.ObjectId())

    threads = [threading.Thread(target=meet) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(300):
            sampling.agree({f"{turn:016x}": 1}, 0)
            sampling.lasts()
            sampling.forget()
            assert sampling.kinds >= 0
    finally:
        ended.set()
        for thread in threads:
            thread.join()


# -- what is thinned where it is stored ---------------------------------------------------------------------------------------


def documents(count: int) -> list[dict[str, Any]]:
    return [{"_id": bson.ObjectId(), "timestamp": datetime.now(UTC)} for _ in range(count)]


@pytest.mark.parametrize("count", [21, 50, 1_000, 20_000])
@pytest.mark.parametrize("keep", [2, 4, 20])
def test_the_first_the_newest_and_a_sample_stay(count: int, keep: int) -> None:
    found = documents(count)
    chosen, least = thinned(found, keep)
    gone = set(chosen)
    left = [one["_id"] for one in found if one["_id"] not in gone]
    newest = max(1, keep // 4)
    assert len(left) <= keep
    assert left[0] == found[0]["_id"]
    assert left[-newest:] == [one["_id"] for one in found[-newest:]]
    assert all(level(identity) >= least for identity in left[1:-newest])


def test_whoever_thins_keeps_the_same_ones() -> None:
    found = documents(2_000)
    once, least = thinned(found, 20)
    before, low = thinned(found, 200)
    half = set(before)
    left = [one for one in found if one["_id"] not in half]
    again, high = thinned(left, 20, at_least=low)
    kept_at_once = {one["_id"] for one in found} - set(once)
    kept_twice = {one["_id"] for one in found} - half - set(again)
    assert kept_at_once == kept_twice
    assert high == least


def test_what_is_few_stays() -> None:
    assert thinned(documents(20), 20)[0] == []
    assert thinned(documents(1), 4)[0] == []
    assert thinned([], 4) == ([], 0)
