"""Claims on alerts: of many instances one tells, each claim can be made again, and nobody holds what it no longer sees."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from prodfix.alerts import claims
from prodfix.alerts.claims import ALERT_CLAIMS, ENDED, HOUR, PERIOD, STALE, Answer, Contended, Ended, Shared

COOL_DOWN = 1800.0
NOW = 1_800_000_000.0
TELL, SILENT, COOLING, LOST = Answer.TELL, Answer.SILENT, Answer.COOLING, Answer.LOST


def begun(
    shared: Shared | None, instance: str = "a", now: float = NOW, alert: str = ""
) -> tuple[Shared | None, Answer]:
    return claims.begun(shared, alert or f"{instance}:begin", instance, now, COOL_DOWN)


def told(instance: str = "a", now: float = NOW) -> Shared:
    shared, answer = begun(None, instance, now)
    assert answer is TELL
    assert shared is not None
    return shared


def after(shared: Shared, made: tuple[Shared | None, Answer]) -> tuple[Shared, Answer]:
    return made[0] or shared, made[1]


# -- what is decided ------------------------------------------------------------------------------------------------------


def test_the_first_tells_and_those_who_see_it_too_do_not() -> None:
    shared, answer = after(told("a"), begun(told("a"), "b", NOW + 5))
    assert answer is SILENT
    assert shared.alert == "a:begin"
    assert shared.holders == {"a": NOW, "b": NOW + 5}


def test_the_same_claim_is_the_same_claim() -> None:
    assert begun(told("a"), "a", NOW + 5)[1] is TELL
    assert begun(told("a"), "a", NOW + 5, alert="another")[1] is SILENT, "the control: another one is not"


def test_it_is_over_when_the_last_one_no_longer_sees_it() -> None:
    shared, _ = after(told("a"), begun(told("a"), "b", NOW + 5))
    end = partial(claims.ended, begin="a:begin", now=NOW + 10)
    shared, answer = after(shared, end(shared, "a:end", "a"))
    assert (answer, shared.firing, set(shared.holders)) == (SILENT, True, {"b"})
    shared, answer = after(shared, end(shared, "b:end", "b"))
    assert (answer, shared.firing) == (TELL, False)
    assert end(shared, "b:end", "b") == (None, TELL), "its answer was lost"
    assert end(shared, "c:end", "c") == (None, SILENT)


def test_who_is_not_heard_of_holds_nothing() -> None:
    shared, _ = after(told("a"), begun(told("a"), "b", NOW + 5))
    for now, answer in ((NOW + 4 + STALE, SILENT), (NOW + 5 + STALE, TELL)):
        assert claims.ended(shared, "a:end", "a", now, begin="a:begin")[1] is answer


def test_holding_keeps_it_and_who_comes_too_late_is_told() -> None:
    shared, _ = after(told("a"), begun(told("a"), "b", NOW + 5))
    for seconds in range(20, 200, 20):
        shared, answer = after(shared, claims.held(shared, "a:begin", "b", NOW + seconds))
        assert answer is SILENT
    assert set(shared.holders) == {"b"}, "a was not heard of"
    shared, _ = after(shared, claims.ended(shared, "b:end", "b", NOW + 200, begin="a:begin"))
    assert claims.held(shared, "a:begin", "a", NOW + 201) == (None, LOST)


def test_what_ended_a_moment_ago_cools_down_for_all() -> None:
    shared, _ = after(told("a"), claims.ended(told("a"), "a:end", "a", NOW + 10, begin="a:begin"))
    assert begun(shared, "b", NOW + COOL_DOWN - 1) == (None, COOLING)
    again, answer = begun(shared, "b", NOW + COOL_DOWN)
    assert (answer, again and again.alert) == (TELL, "b:begin")


def test_what_an_instance_left_that_is_gone_is_joined_while_it_cools_down_and_told_anew_afterwards() -> None:
    assert begun(told("a"), "b", NOW + 10 * STALE)[1] is SILENT
    assert begun(told("a"), "b", NOW + COOL_DOWN)[1] is TELL


def test_a_server_clock_that_was_turned_back_silences_nobody() -> None:
    shared = Shared(False, "a:begin", NOW + 1e6, {})
    assert begun(shared, "b")[1] is TELL


def test_ends_of_one_outage_are_brought_together() -> None:
    first, answer = claims.merged(None, "a:end", "a", NOW, since=NOW - 60)
    assert answer is TELL
    assert first is not None
    assert claims.merged(first, "a:end", "a", NOW + 1, since=NOW - 60) == (None, TELL), "the same claim"
    assert claims.merged(first, "b:end", "b", NOW + 5, since=NOW - 50) == (None, SILENT)


def test_an_outage_after_it_or_much_longer_than_it_is_one_of_its_own() -> None:
    first, _ = claims.merged(None, "a:end", "a", NOW, since=NOW - 60)
    assert claims.merged(first, "a2:end", "a", NOW + 30, since=NOW + 1)[1] is TELL
    assert claims.merged(first, "b:end", "b", NOW + STALE, since=NOW - 60)[1] is TELL


def test_an_end_waits_for_an_instance_that_still_sees_it() -> None:
    shared, answer = after(told("b"), claims.merged(told("b"), "a:end", "a", NOW + 5, since=NOW - 60))
    assert (answer, shared.firing) == (SILENT, True)


def test_a_withdrawn_claim_leaves_nothing_unless_another_holds_it() -> None:
    shared, _ = after(told("a"), claims.withdrawn(told("a"), "a:begin", "a", NOW + 1))
    assert not shared.firing
    both, _ = after(told("a"), begun(told("a"), "b", NOW + 1))
    left, _ = after(both, claims.withdrawn(both, "a:begin", "a", NOW + 2))
    assert (left.firing, set(left.holders)) == (True, {"b"})
    assert claims.withdrawn(told("a"), "b:begin", "b", NOW + 1)[0] is None


def test_no_more_than_so_many_in_an_hour() -> None:
    sent: dict[str, float] = {}
    for number in range(3):
        changed, fits = claims.admitted(sent, f"m{number}", NOW + number, 3)
        assert fits
        sent = changed or sent
    assert claims.admitted(sent, "m0", NOW + 5, 3) == (None, True), "the same one"
    assert claims.admitted(sent, "m3", NOW + PERIOD - 1, 3) == (None, False)
    changed, fits = claims.admitted(sent, "m3", NOW + PERIOD, 3)
    assert (fits, set(changed or ())) == (True, {"m1", "m2", "m3"})


@given(st.lists(st.floats(0, 10_000), max_size=60), st.integers(1, 5))
def test_in_no_hour_are_there_more(moments: list[float], most: int) -> None:
    sent: dict[str, float] = {}
    told_at: list[float] = []
    for number, at in enumerate(sorted(moments)):
        changed, fits = claims.admitted(sent, str(number), at, most)
        sent = changed or sent
        told_at += [at] if fits else []
    assert all(sum(at <= other < at + PERIOD for other in told_at) <= most for at in told_at)
    assert len(sent) <= most


EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 100)), max_size=40)


@given(EVENTS)
def test_over_three_instances_beginnings_and_ends_take_turns(events: list[tuple[str, bool, float]]) -> None:
    """Each instance sees it or not, says so every time, and dies or is silent for as long as it likes."""
    shared: Shared | None = None
    holding: dict[str, str] = {}
    told_parts: list[str] = []
    now = NOW
    for number, (instance, sees, pause) in enumerate(events):
        now += pause
        if sees and instance not in holding:
            made, answer = claims.begun(shared, f"{number}:begin", instance, now, 0.0)
            shared = made or shared
            assert shared is not None
            if answer in (TELL, SILENT):
                holding[instance] = shared.alert
            told_parts += ["begin"] if answer is TELL else []
        elif sees:
            made, answer = claims.held(shared, holding[instance], instance, now)
            shared = made or shared
            if answer is LOST:
                del holding[instance]
        elif instance in holding:
            made, answer = claims.ended(shared, f"{number}:end", instance, now, begin=holding.pop(instance))
            shared = made or shared
            told_parts += ["end"] if answer is TELL else []
    # What nobody was heard of holding begins anew where the cool-down is over, here at once: two beginnings, no two ends.
    assert "end end" not in " ".join(told_parts)
    assert told_parts[:1] != ["end"]
    assert shared is None or len(shared.ended) <= ENDED


# -- in MongoDB -------------------------------------------------------------------------------------------------------------


def claim(database: Any, instance: str, key: str = "error_rate") -> Answer:
    return claims.claim(database, key, partial(begun, instance=instance, now=NOW))[0]


def test_a_document_holds_all_that_is_known(database: Any) -> None:
    whole = Shared(True, "a:begin", NOW, {"a.b$c": NOW + 1.5}, (Ended(NOW - 9, NOW - 5, "x:end"),))
    claims.claim(database, "k", lambda shared: (whole, TELL))
    (document,) = database[ALERT_CLAIMS].find()
    assert Shared.from_document(document) == whole
    assert (document["_id"], document["revision"]) == ("k", 1)
    assert claims.firing(database) == {"k": whole}


@pytest.mark.parametrize("there", [False, True])
def test_of_eight_at_the_same_moment_one_tells(connect: Callable[..., Any], database: Any, there: bool) -> None:
    others = [connect().get_default_database() for _ in range(8)]
    for number in range(10):
        key = f"k{number}"
        if there:
            over = Shared(False, "old:begin", NOW - 2 * COOL_DOWN, {})
            claims.claim(database, key, lambda shared, over=over: (over, TELL))
        start = threading.Barrier(len(others))

        def compete(given: tuple[int, Any], start: threading.Barrier = start, key: str = key) -> Answer:
            start.wait()
            return claim(given[1], f"i{given[0]}", key)

        with ThreadPoolExecutor(len(others)) as pool:
            answers = list(pool.map(compete, enumerate(others)))
        assert sorted(answer.name for answer in answers) == ["SILENT"] * 7 + ["TELL"]
        assert len(claims.firing(database)[key].holders) == 8


def test_of_eight_that_end_at_the_same_moment_one_tells(connect: Callable[..., Any], database: Any) -> None:
    others = [connect().get_default_database() for _ in range(8)]
    for number in range(8):
        claim(database, f"i{number}")
    start = threading.Barrier(len(others))

    def compete(given: tuple[int, Any]) -> Answer:
        start.wait()
        instance = f"i{given[0]}"
        end = partial(claims.ended, alert=f"{instance}:end", instance=instance, now=NOW + 1, begin="i0:begin")
        return claims.claim(given[1], "error_rate", end)[0]

    with ThreadPoolExecutor(len(others)) as pool:
        answers = list(pool.map(compete, enumerate(others)))
    assert sorted(answer.name for answer in answers) == ["SILENT"] * 7 + ["TELL"]


def test_looking_first_and_writing_then_would_let_several_tell(
    connect: Callable[..., Any], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: without the revision in the condition the race is lost.
    start = threading.Barrier(4)

    def careless(database: Any, key: str, decide: Any) -> Any:
        seen = database[ALERT_CLAIMS].find_one({"_id": key})
        start.wait()
        wanted, answer = decide(seen)
        database[ALERT_CLAIMS].replace_one({"_id": key}, wanted, upsert=True)
        return answer

    monkeypatch.setattr(claims, "_change", careless)
    others = [connect().get_default_database() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda given: claim(given[1], f"i{given[0]}"), enumerate(others)))
    assert answers.count(TELL) == 4


def test_the_hour_is_counted_over_all_that_come_at_once(connect: Callable[..., Any], database: Any) -> None:
    others = [connect().get_default_database() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [(others[number % 4], f"m{number}") for number in range(12)]
        fits = list(pool.map(lambda job: _admitted(job[0], job[1], 5), jobs))
    assert sum(fits) == 5
    assert len(database[ALERT_CLAIMS].find_one({"_id": HOUR})["sent"]) == 5


def _admitted(database: Any, alert: str, most: int) -> bool:
    while True:
        try:
            return claims.admit(database, alert, NOW, most)
        except Contended:
            continue


def test_who_is_always_too_late_says_so(database: Any) -> None:
    claim(database, "a")

    def slow(shared: Shared | None) -> tuple[Shared | None, Answer]:
        database[ALERT_CLAIMS].update_one({"_id": "error_rate"}, {"$inc": {"revision": 1}})
        return shared, TELL

    with pytest.raises(Contended):
        claims.claim(database, "error_rate", slow)


@pytest.mark.parametrize("command", ["find", "insert", "update"])
def test_what_mongodb_says_is_raised(database: Any, fail: Any, command: str) -> None:
    if command == "update":
        claim(database, "a")
    fail(command, closeConnection=True)
    with pytest.raises(AutoReconnect):
        claim(database, "b")


def test_the_drivers_second_try_of_a_claim_changes_nothing(
    connect: Callable[..., Any], fail: Any, commands: Any
) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    fail("insert", times=1, closeConnection=True)
    assert claim(database, "a") is TELL
    fail("update", times=1, closeConnection=True)
    assert claim(database, "b") is SILENT
    assert (commands.names.count("insert"), commands.names.count("update")) == (2, 2), "each was sent twice"
    assert set(claims.firing(database)["error_rate"].holders) == {"a", "b"}


def test_the_clock_is_the_servers(database: Any) -> None:
    assert abs(claims.server_time(database) - datetime.now(UTC).timestamp()) < 5
