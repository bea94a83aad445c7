"""One alert: believed after two looks, told once, not told anew while it cools down, and not over before it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import SEVERITIES, AlertKind, Condition
from prodfix.alerts.leader_state import LeaderState, decode, encode

COOL_DOWN = 1800.0


def seen(level: int = 0, *, certain: bool = False, **facts: Any) -> Condition:
    return Condition(facts, level, certain)


def alert() -> Alert:
    return Alert("dead_letters@a", "dead_letters")


def kept(one: Alert) -> Alert:
    """As the next leader has it."""
    return decode(encode(LeaderState({one.key: one}))).alerts[one.key]


def looks(one: Alert, what: str, *, begin: float = 0.0, condition: Condition | None = None) -> str:
    """What each look changed: ``x`` is one that sees it, ``.`` one that does not; ``F`` fired, ``O`` over, ``-`` nothing."""
    shown = ""
    for number, look in enumerate(what):
        change = one.see((condition or seen()) if look == "x" else None, begin + number)
        shown += {"firing": "F", "over": "O", None: "-"}[change]
    return shown


def test_two_looks_in_a_row_are_believed() -> None:
    one = alert()
    assert looks(one, "x.x.xx.x.xx..xx") == "-----F------O-F"


def test_what_has_waited_already_is_believed_at_once() -> None:
    one = alert()
    assert looks(one, "x.x.", condition=seen(certain=True)) == "FOFO"


def test_it_is_there_since_the_first_look_that_saw_it_and_over_since_the_first_that_did_not() -> None:
    one = alert()
    looks(one, "xxxx..", begin=100.0)
    assert (one.since, one.until) == (100.0, 104.0)


def test_a_beginning_is_wanted_and_an_end_only_if_it_was_told() -> None:
    one = alert()
    looks(one, "xx")
    assert one.owed == "begin"
    looks(one, "..")
    assert one.owed is None, "nobody has heard of it"
    looks(one, "xx")
    first = one.notification
    one.settle("alone", 5.0)
    assert one.owed is None
    looks(one, "..")
    assert (one.owed, one.notification) == ("end", first.replace(":begin", ":end"))
    one.settle(None, 9.0)
    assert (one.owed, one.notified) == (None, None)


def test_a_claim_that_may_have_been_made_is_withdrawn() -> None:
    one = Alert("error_rate", "error_rate")
    looks(one, "xx..")
    assert one.owed == "withdraw"
    one.settle(None, 9.0)
    assert one.owed is None


def test_what_comes_back_before_its_claim_was_withdrawn_is_the_same_claim() -> None:
    one = Alert("error_rate", "error_rate")
    looks(one, "xx")
    claimed = one.notification
    looks(one, "..xx", begin=10.0)
    assert (one.owed, one.notification) == ("begin", claimed)
    assert one.firing


def test_what_comes_back_before_its_end_was_told_is_the_same_episode_since_a_new_moment() -> None:
    one = alert()
    looks(one, "xx")
    one.settle("alone", 1.0)
    episode = one.episode
    looks(one, "..xx", begin=10.0)
    assert (one.owed, one.notified, one.episode) == (None, "alone", episode)
    assert (one.since, one.started) == (12.0, 0.0)
    looks(one, "..", begin=20.0)
    assert one.owed == "end"


@pytest.mark.parametrize("kind", sorted(SEVERITIES))
@pytest.mark.parametrize("told", [True, False])
def test_whatever_returns_is_there_since_it_returned(kind: AlertKind, told: bool) -> None:
    one = Alert(kind, kind)
    for begin in (0.0, 1000.0, 2000.0, 3000.0):
        looks(one, "xx", begin=begin)
        assert one.since == begin
        assert kept(one).since == begin
        if told and one.owed is not None:
            one.settle("alone", begin + 2)
        looks(one, "..", begin=begin + 500)
        assert one.until == begin + 500
        if told and begin != 1000.0:
            one.settle(None, begin + 502)  # else its end is still wanted when it is back


def test_nothing_is_over_before_it_began_whatever_the_clock_is_set_to() -> None:
    one = alert()
    looks(one, "xx", begin=5000.0)
    looks(one, "..", begin=1000.0)
    assert (one.since, one.until) == (5000.0, 5000.0)
    one.adopt("e:begin", 5000.0, 1000.0)
    assert one.until == 5000.0


def test_it_cools_down_from_its_telling_whatever_the_clock_does() -> None:
    one = alert()
    assert not one.cooling(0.0, COOL_DOWN)
    looks(one, "xx")
    one.settle("alone", 100.0)
    assert [one.cooling(at, COOL_DOWN) for at in (100.0, 100 + COOL_DOWN - 1, 100 + COOL_DOWN, 99.0)] == [
        True,
        True,
        False,
        False,
    ]


def test_more_of_it_is_wanted_once_two_looks_have_seen_it() -> None:
    one = alert()
    looks(one, "xx", condition=seen(3))
    assert one.level == 3
    one.settle("alone", 2.0)
    one.see(seen(5), 3.0)
    assert one.owed is None, "a row that moves is counted twice for a moment"
    one.see(seen(3), 4.0)
    assert one.owed is None
    for at in (5.0, 6.0):
        one.see(seen(4), at)
    assert (one.owed, one.level) == ("more", 4)
    assert one.notification.endswith(":more:4")
    one.settle("alone", 7.0)
    assert (one.notified_level, one.owed) == (4, None)
    for at in (8.0, 9.0):
        one.see(seen(2), at)
    assert one.owed is None


def test_fewer_of_it_take_the_wish_back() -> None:
    one = alert()
    looks(one, "xx", condition=seen(1))
    one.settle("alone", 2.0)
    looks(one, "xx", condition=seen(2))
    assert one.owed == "more"
    looks(one, "xx", condition=seen(1))
    assert one.owed is None


def test_an_event_is_news_once() -> None:
    one = Alert("regression:f", "regression")
    assert one.happen({"fingerprint": "f"}, 5.0)
    assert (one.owed, one.firing) == ("begin", False)
    assert not one.happen({"fingerprint": "f"}, 5.0)
    one.settle("alone", 6.0)
    assert one.happen({"fingerprint": "f"}, 7.0)


def test_the_next_leader_knows_all_that_the_last_one_wrote() -> None:
    one = alert()
    looks(one, "xx", condition=seen(2, dead=2))
    one.settle("claimed", 3.0, "e:begin")
    looks(one, "x.", condition=seen(5, dead=5))
    assert kept(one) == one
    assert (one.notified, one.shared, one.facts, one.looks) == ("claimed", "e:begin", {"dead": 2}, 1)


def test_it_is_pending_until_it_is_believed_and_fires_until_it_is_resolved() -> None:
    one = alert()
    states = []
    for look in ".x.xx.x..":
        looks(one, look)
        states.append(one.state)
    assert " ".join(states) == "resolved pending resolved pending firing firing firing firing resolved"


def test_what_is_told_keeps_its_facts_and_what_is_owed_has_the_newest() -> None:
    one = alert()
    for dead in (1, 2, 3):
        one.see(seen(1, dead=dead), float(dead))
    assert (one.owed, one.facts) == ("begin", {"dead": 3})
    one.settle("alone", 4.0)
    one.see(seen(1, dead=9), 5.0)
    assert one.facts == {"dead": 3}, "so the file need not be written with each look"
    looks(one, "xx", condition=seen(2, dead=12))
    assert (one.owed, one.facts) == ("more", {"dead": 12})


STEPS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(STEPS, st.booleans())
def test_beginnings_and_ends_take_turns_whatever_is_seen_and_told(steps: list[tuple[bool, bool]], shared: bool) -> None:
    one = Alert("error_rate", "error_rate") if shared else alert()
    told: list[str] = []
    ids: list[str] = []
    for at, (sees, tells) in enumerate(steps):
        change = one.see(seen() if sees else None, float(at))
        assert change is None or (change == "firing") is one.firing
        if tells and one.owed is not None:
            if one.owed in ("begin", "end"):
                told.append(one.owed)
                ids.append(one.notification)
            one.settle("alone", float(at))
    assert told == ["begin", "end"] * (len(told) // 2) + ["begin"] * (len(told) % 2)
    assert len(ids) == len(set(ids))
