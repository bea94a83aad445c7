"""What instances agree upon: of many one tells, each claim can be made again, and nobody holds what it no longer sees."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from prodfix.alerts import agreement
from prodfix.alerts.agreement import (
    ALERT_CLAIMS,
    HOUR,
    KEPT,
    PERIOD,
    STALE,
    Agreed,
    AgreedEntry,
    Contended,
    Decision,
    Verdict,
)

COOL_DOWN = 1800.0
NOW = 1_800_000_000.0
TELL, SILENT, WAIT = Verdict.TELL, Verdict.SILENT, Verdict.WAIT


def begun(agreed: Agreed, instance: str = "a", now: float = NOW, notification: str = "") -> Decision:
    return agreement.begun(agreed, notification or f"{instance}:begin", instance, now, COOL_DOWN)


def after(agreed: Agreed, made: Decision) -> tuple[Agreed, Verdict]:
    """What is known when it is added."""
    entry, verdict = made
    entries = (entry, *agreed.entries)[:KEPT] if entry is not None else agreed.entries
    return replace(agreed, entries=entries), verdict


def seen(agreed: Agreed, **moments: float | None) -> Agreed:
    """Instances say when they saw it last, or that they do not (None)."""
    known = {**agreed.holders, **moments}
    return replace(agreed, holders={name: at for name, at in known.items() if at is not None})


def told(instance: str = "a", now: float = NOW) -> Agreed:
    agreed, verdict = after(Agreed(), begun(Agreed(), instance, now))
    assert verdict is TELL
    return seen(agreed, **{instance: now})


NOTHING = Agreed()

# -- what is decided ------------------------------------------------------------------------------------------------------


def test_the_first_tells_and_those_who_see_it_too_do_not() -> None:
    assert begun(told("a"), "b", NOW + 5) == (None, SILENT)
    assert begun(told("a"), "b", NOW + COOL_DOWN)[1] is TELL, "the control: nobody holds it any more"


def test_the_same_claim_is_the_same_claim() -> None:
    assert begun(told("a"), "a", NOW + 5) == (None, TELL)
    assert begun(told("a"), "a", NOW + 5, notification="another")[1] is SILENT, "the control: another one is not"


def test_it_is_over_when_the_last_one_no_longer_sees_it() -> None:
    both = seen(told("a"), b=NOW + 5)
    end = partial(agreement.ended, begin="a:begin", now=NOW + 10)
    assert end(seen(both, a=None), "a:end", "a") == (None, SILENT)
    over, verdict = after(both, end(seen(both, a=None, b=None), "b:end", "b"))
    assert (verdict, over.open) == (TELL, None)
    assert end(over, "b:end", "b") == (None, TELL), "its answer was lost"
    assert end(over, "c:end", "c") == (None, SILENT)


def test_who_is_not_heard_of_holds_nothing() -> None:
    both = seen(told("a"), b=NOW + 5)
    for now, verdict in ((NOW + 4 + STALE, SILENT), (NOW + 5 + STALE, TELL)):
        assert agreement.ended(both, "a:end", "a", now, begin="a:begin")[1] is verdict


def test_who_comes_too_late_is_told() -> None:
    assert told("a").lasts("a:begin")
    over, _ = after(told("a"), agreement.ended(told("a"), "b:end", "b", NOW + 200, begin="a:begin"))
    assert not over.lasts("a:begin")
    assert not NOTHING.lasts("a:begin")


def test_what_ended_a_moment_ago_cools_down_for_all() -> None:
    over, _ = after(told("a"), agreement.ended(told("a"), "a:end", "a", NOW + 10, begin="a:begin"))
    assert begun(over, "b", NOW + COOL_DOWN - 1) == (None, WAIT)
    again, verdict = after(over, begun(over, "b", NOW + COOL_DOWN))
    assert (verdict, again.open and again.open.notification) == (TELL, "b:begin")


def test_what_an_instance_left_that_is_gone_is_joined_while_it_cools_down_and_told_anew_afterwards() -> None:
    assert begun(told("a"), "b", NOW + 10 * STALE)[1] is SILENT
    assert begun(told("a"), "b", NOW + COOL_DOWN)[1] is TELL


def test_a_server_clock_that_was_turned_back_silences_nobody() -> None:
    over = Agreed((AgreedEntry("end", "a:end", NOW + 1e6, NOW + 1e6),))
    assert begun(over, "b")[1] is TELL


def test_ends_of_one_outage_are_brought_together() -> None:
    first, verdict = after(NOTHING, agreement.merged(NOTHING, "a:end", "a", NOW, since=NOW - 60))
    assert verdict is TELL
    assert agreement.merged(first, "a:end", "a", NOW + 1, since=NOW - 60) == (None, TELL), "the same claim"
    assert agreement.merged(first, "b:end", "b", NOW + 5, since=NOW - 50) == (None, SILENT)


def test_an_outage_after_it_or_much_longer_than_it_is_one_of_its_own() -> None:
    first, _ = after(NOTHING, agreement.merged(NOTHING, "a:end", "a", NOW, since=NOW - 60))
    assert agreement.merged(first, "a2:end", "a", NOW + 30, since=NOW + 1)[1] is TELL
    assert agreement.merged(first, "b:end", "b", NOW + STALE, since=NOW - 60)[1] is TELL


def test_an_end_waits_for_an_instance_that_still_sees_it() -> None:
    assert agreement.merged(told("b"), "a:end", "a", NOW + 5, since=NOW - 60) == (None, SILENT)
    assert agreement.merged(seen(told("b"), b=None), "a:end", "a", NOW + 5, since=NOW - 60)[1] is TELL, "the control"


def test_what_was_told_alone_cools_down_for_those_who_come_after_it() -> None:
    over, _ = after(NOTHING, agreement.merged(NOTHING, "a:end", "a", NOW, since=NOW - 60))
    assert begun(over, "b", NOW - 60 + COOL_DOWN - 1)[1] is WAIT
    assert begun(over, "b", NOW - 60 + COOL_DOWN)[1] is TELL


def test_no_more_than_so_many_in_an_hour() -> None:
    sent = NOTHING
    for number in range(3):
        sent, verdict = after(sent, agreement.admitted(sent, f"m{number}", NOW + number, 3))
        assert verdict is TELL
    assert agreement.admitted(sent, "m0", NOW + 5, 3) == (None, TELL), "the same one"
    assert agreement.admitted(sent, "m3", NOW + PERIOD - 1, 3) == (None, WAIT)
    assert agreement.admitted(sent, "m3", NOW + PERIOD, 3)[1] is TELL


@given(st.lists(st.floats(0, 10_000), max_size=60), st.integers(1, 5))
def test_in_no_hour_are_there_more(moments: list[float], most: int) -> None:
    sent = NOTHING
    told_at: list[float] = []
    for number, at in enumerate(sorted(moments)):
        sent, verdict = after(sent, agreement.admitted(sent, str(number), at, most))
        told_at += [at] if verdict is TELL else []
    assert all(sum(at <= other < at + PERIOD for other in told_at) <= most for at in told_at)


EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 100)), max_size=40)


@given(EVENTS)
def test_over_three_instances_beginnings_and_ends_take_turns(events: list[tuple[str, bool, float]]) -> None:
    """Each instance sees it or not, says so every time, and dies or is silent for as long as it likes."""
    agreed = NOTHING
    holding: dict[str, str] = {}
    told_parts: list[str] = []
    now = NOW
    for number, (instance, sees, pause) in enumerate(events):
        now += pause
        if sees:
            agreed = seen(agreed, **{instance: now})
        if sees and instance not in holding:
            agreed, verdict = after(agreed, agreement.begun(agreed, f"{number}:begin", instance, now, 0.0))
            assert agreed.open is not None
            holding[instance] = agreed.open.notification
            told_parts += ["begin"] if verdict is TELL else []
        elif sees:
            if not agreed.lasts(holding[instance]):
                del holding[instance]
        elif instance in holding:
            agreed = seen(agreed, **{instance: None})
            made = agreement.ended(agreed, f"{number}:end", instance, now, begin=holding.pop(instance))
            agreed, verdict = after(agreed, made)
            told_parts += ["end"] if verdict is TELL else []
    # What nobody was heard of holding begins anew where the cool-down is over, here at once: two beginnings, no two ends.
    assert "end end" not in " ".join(told_parts)
    assert told_parts[:1] != ["end"]


# -- in MongoDB -------------------------------------------------------------------------------------------------------------


def claim(database: Any, instance: str, condition: str = "error_rate", now: float = NOW) -> Verdict:
    """As the leader of ``instance`` does it."""
    agreement.hold(database, condition, instance, now)
    return agreement.claim(database, condition, partial(begun, instance=instance, now=now))[0]


def finish(database: Any, instance: str, begin: str, condition: str = "error_rate", now: float = NOW + 1) -> Verdict:
    agreement.release(database, condition, instance)
    given = {"notification": f"{instance}:end", "instance": instance, "now": now}
    return agreement.claim(database, condition, partial(agreement.ended, **given, begin=begin))[0]


def test_documents_hold_all_that_is_known(database: Any) -> None:
    entry = AgreedEntry("begin", "a:begin", NOW + 1.5, NOW)
    assert agreement.add(database, "k", 1, entry, KEPT)
    agreement.hold(database, "k", "a.b$c", NOW + 2)
    assert agreement.look(database, "k") == Agreed((entry,), {"a.b$c": NOW + 2}, 1)
    assert agreement.look(database, "other") == NOTHING
    assert sorted(one["_id"] for one in database[ALERT_CLAIMS].find()) == ["k#1", "k@a.b$c"]
    agreement.release(database, "k", "a.b$c")
    assert agreement.look(database, "k").holders == {}


def at_once(connect: Callable[..., Any], number: int, work: Callable[[Any, int], Verdict]) -> list[str]:
    """What ``number`` clients get that do it at the same moment."""
    others = [connect().get_default_database() for _ in range(number)]
    start = threading.Barrier(number)

    def compete(given: tuple[int, Any]) -> Verdict:
        start.wait()
        return work(given[1], given[0])

    with ThreadPoolExecutor(number) as pool:
        return sorted(verdict.name for verdict in pool.map(compete, enumerate(others)))


@pytest.mark.parametrize("there", [False, True])
def test_of_eight_at_the_same_moment_one_tells(connect: Callable[..., Any], database: Any, there: bool) -> None:
    for number in range(10):
        key = f"k{number}"
        if there:
            long_ago = NOW - 2 * COOL_DOWN
            agreement.add(database, key, 1, AgreedEntry("end", "old:end", long_ago, long_ago), KEPT)
        verdicts = at_once(connect, 8, lambda client, i, key=key: claim(client, f"i{i}", key))  # type: ignore[misc]
        assert verdicts == ["SILENT"] * 7 + ["TELL"]
        agreed = agreement.look(database, key)
        assert (len(agreed.holders), len(agreed.entries)) == (8, 1 + there)


def test_of_eight_that_end_at_the_same_moment_one_tells(connect: Callable[..., Any], database: Any) -> None:
    for _ in range(5):
        for number in range(8):
            claim(database, f"i{number}")
        verdicts = at_once(connect, 8, lambda client, number: finish(client, f"i{number}", "i0:begin"))
        assert verdicts == ["SILENT"] * 7 + ["TELL"]
        assert agreement.look(database, "error_rate").open is None
        database[ALERT_CLAIMS].delete_many({})


def test_looking_at_the_others_before_letting_go_would_leave_it_open(database: Any) -> None:
    # The control: each of two sees the other one, and neither tells.
    for name in "ab":
        claim(database, name)
    looks = {name: agreement.look(database, "error_rate") for name in "ab"}
    end = partial(agreement.ended, now=NOW + 1, begin="a:begin")
    assert {end(looks[name], f"{name}:end", name)[1] for name in "ab"} == {SILENT}
    assert [finish(database, name, "a:begin") for name in "ab"] == [SILENT, TELL]


def test_looking_first_and_writing_then_would_let_several_tell(
    connect: Callable[..., Any], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: without numbers the race is lost.
    start = threading.Barrier(4)

    def careless(database: Any, condition: str, number: int, entry: AgreedEntry, kept: int) -> bool:
        start.wait()
        database[ALERT_CLAIMS].insert_one({"condition": condition, "notification": entry.notification})
        return True

    monkeypatch.setattr(agreement, "add", careless)
    assert at_once(connect, 4, lambda client, number: claim(client, f"i{number}")) == ["TELL"] * 4


def test_the_hour_is_counted_over_all_that_come_at_once(connect: Callable[..., Any], database: Any) -> None:
    def admit(client: Any, number: int) -> Verdict:
        while True:
            decide = partial(agreement.admitted, notification=f"m{number}", now=NOW, most=5)
            try:
                return agreement.claim(client, HOUR, decide)[0]
            except Contended:
                continue

    assert at_once(connect, 12, admit) == ["TELL"] * 5 + ["WAIT"] * 7
    assert len(agreement.look(database, HOUR).entries) == 5


def test_what_is_kept_is_bounded_and_counts_on(database: Any) -> None:
    for number in range(1, 30):
        agreement.hold(database, "k", f"i{number}", NOW + number * STALE)
        agreement.add(database, "k", number, AgreedEntry("end", str(number), NOW + number * STALE, NOW), KEPT)
    agreed = agreement.look(database, "k")
    assert [entry.notification for entry in agreed.entries] == [str(number) for number in range(29, 29 - KEPT, -1)]
    assert (agreed.number, set(agreed.holders)) == (29, {"i28", "i29"}), "of those who are gone nothing is left"


def test_who_is_always_too_late_says_so(database: Any) -> None:
    def slow(agreed: Agreed) -> Decision:
        agreement.add(database, "k", agreed.number + 1, AgreedEntry("end", "x", NOW, NOW), KEPT)
        return AgreedEntry("end", "y", NOW, NOW), TELL

    with pytest.raises(Contended):
        agreement.claim(database, "k", slow)


@pytest.mark.parametrize("command", ["find", "insert", "update", "delete"])
def test_what_mongodb_says_is_raised(database: Any, fail: Any, command: str) -> None:
    fail(command, closeConnection=True)
    with pytest.raises(AutoReconnect):
        finish(database, "b", "") if command == "delete" else claim(database, "b")


def test_the_drivers_second_try_of_a_claim_changes_nothing(
    connect: Callable[..., Any], fail: Any, commands: Any
) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    fail("insert", times=1, closeConnection=True)
    assert claim(database, "a") is TELL
    fail("update", times=1, closeConnection=True)
    assert claim(database, "b") is SILENT
    assert (commands.names.count("insert"), commands.names.count("update")) == (2, 3), "each was sent twice"
    agreed = agreement.look(database, "error_rate")
    assert (len(agreed.entries), set(agreed.holders)) == (1, {"a", "b"})


def test_the_clock_is_the_servers(database: Any) -> None:
    assert abs(agreement.server_time(database) - datetime.now(UTC).timestamp()) < 5
