"""One alarm: believed after two looks, told once, not told anew while it cools down, and not over before it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.alerts.alarms import Alarm
from prodfix.alerts.rules import SEVERITIES, Condition, Kind

COOL_DOWN = 1800.0


def seen(level: int = 0, *, certain: bool = False, **facts: Any) -> Condition:
    return Condition("dead_letters", "dead_letters@a", facts, level, certain)


def alarm() -> Alarm:
    return Alarm("dead_letters@a", "dead_letters")


def looks(one: Alarm, what: str, *, begin: float = 0.0, condition: Condition | None = None) -> str:
    """What each look changed: ``x`` is one that sees it, ``.`` one that does not; ``F`` fired, ``O`` over, ``-`` nothing."""
    shown = ""
    for number, look in enumerate(what):
        change = one.see((condition or seen()) if look == "x" else None, begin + number)
        shown += {"firing": "F", "over": "O", None: "-"}[change]
    return shown


def test_two_looks_in_a_row_are_believed() -> None:
    one = alarm()
    assert looks(one, "x.x.xx.x.xx..xx") == "-----F------O-F"


def test_what_has_waited_already_is_believed_at_once() -> None:
    one = alarm()
    assert looks(one, "x.x.", condition=seen(certain=True)) == "FOFO"


def test_it_is_there_since_the_first_look_that_saw_it_and_over_since_the_first_that_did_not() -> None:
    one = alarm()
    looks(one, "xxxx..", begin=100.0)
    assert (one.since, one.until) == (100.0, 104.0)


def test_a_beginning_is_wanted_and_an_end_only_if_it_was_told() -> None:
    one = alarm()
    looks(one, "xx")
    assert one.want == "begin"
    looks(one, "..")
    assert one.want is None, "nobody has heard of it"
    looks(one, "xx")
    first = one.alert
    one.done("journal", 5.0)
    assert one.want is None
    looks(one, "..")
    assert (one.want, one.alert) == ("end", first.replace(":begin", ":end"))
    one.done(None, 9.0)
    assert (one.want, one.told) == (None, None)


def test_a_claim_that_may_have_been_made_is_withdrawn() -> None:
    one = Alarm("error_rate", "error_rate")
    looks(one, "xx..")
    assert one.want == "withdraw"
    one.done(None, 9.0)
    assert one.want is None


def test_what_comes_back_before_its_claim_was_withdrawn_is_the_same_claim() -> None:
    one = Alarm("error_rate", "error_rate")
    looks(one, "xx")
    claimed = one.alert
    looks(one, "..xx", begin=10.0)
    assert (one.want, one.alert) == ("begin", claimed)
    assert one.firing


def test_what_comes_back_before_its_end_was_told_is_the_same_episode_since_a_new_moment() -> None:
    one = alarm()
    looks(one, "xx")
    one.done("journal", 1.0)
    episode = one.episode
    looks(one, "..xx", begin=10.0)
    assert (one.want, one.told, one.episode) == (None, "journal", episode)
    assert (one.since, one.begun) == (12.0, 0.0)
    looks(one, "..", begin=20.0)
    assert one.want == "end"


@pytest.mark.parametrize("kind", sorted(SEVERITIES))
@pytest.mark.parametrize("told", [True, False])
def test_whatever_returns_is_there_since_it_returned(kind: Kind, told: bool) -> None:
    one = Alarm(kind, kind)
    for begin in (0.0, 1000.0, 2000.0, 3000.0):
        looks(one, "xx", begin=begin)
        assert one.since == begin
        assert Alarm.from_json(one.to_json()).since == begin
        if told and one.want is not None:
            one.done("journal", begin + 2)
        looks(one, "..", begin=begin + 500)
        assert one.until == begin + 500
        if told and begin != 1000.0:
            one.done(None, begin + 502)  # else its end is still wanted when it is back


def test_nothing_is_over_before_it_began_whatever_the_clock_is_set_to() -> None:
    one = alarm()
    looks(one, "xx", begin=5000.0)
    looks(one, "..", begin=1000.0)
    assert (one.since, one.until) == (5000.0, 5000.0)
    one.orphaned("e:begin", 5000.0, 1000.0)
    assert one.until == 5000.0


def test_a_row_of_an_earlier_version_began_when_it_says() -> None:
    earlier = {name: value for name, value in alarm().to_json().items() if name != "begun"} | {"since": 7.0}
    assert Alarm.from_json(earlier).begun == 7.0


def test_it_cools_down_from_its_telling_whatever_the_clock_does() -> None:
    one = alarm()
    assert not one.cooling(0.0, COOL_DOWN)
    looks(one, "xx")
    one.done("journal", 100.0)
    assert [one.cooling(at, COOL_DOWN) for at in (100.0, 100 + COOL_DOWN - 1, 100 + COOL_DOWN, 99.0)] == [
        True,
        True,
        False,
        False,
    ]


def test_more_of_it_is_wanted_once_two_looks_have_seen_it() -> None:
    one = alarm()
    looks(one, "xx", condition=seen(3))
    assert one.level == 3
    one.done("journal", 2.0)
    one.see(seen(5), 3.0)
    assert one.want is None, "a row that moves is counted twice for a moment"
    one.see(seen(3), 4.0)
    assert one.want is None
    for at in (5.0, 6.0):
        one.see(seen(4), at)
    assert (one.want, one.level) == ("more", 4)
    assert one.alert.endswith(":more:4")
    one.done("journal", 7.0)
    assert (one.told_level, one.want) == (4, None)
    for at in (8.0, 9.0):
        one.see(seen(2), at)
    assert one.want is None


def test_fewer_of_it_take_the_wish_back() -> None:
    one = alarm()
    looks(one, "xx", condition=seen(1))
    one.done("journal", 2.0)
    looks(one, "xx", condition=seen(2))
    assert one.want == "more"
    looks(one, "xx", condition=seen(1))
    assert one.want is None


def test_an_event_is_news_once() -> None:
    one = Alarm("regression:f", "regression")
    assert one.happen({"fingerprint": "f"}, 5.0)
    assert (one.want, one.firing) == ("begin", False)
    assert not one.happen({"fingerprint": "f"}, 5.0)
    one.done("journal", 6.0)
    assert one.happen({"fingerprint": "f"}, 7.0)


def test_the_next_sender_knows_all_that_the_last_one_wrote() -> None:
    one = alarm()
    looks(one, "xx", condition=seen(2, dead=2))
    one.done("claim", 3.0)
    one.shared = "e:begin"
    other = Alarm.from_json(one.to_json())
    assert other == Alarm.from_json(other.to_json())
    assert (other.alert, other.told, other.shared, other.facts) == (one.alert, "claim", "e:begin", {"dead": 2})


def test_a_row_of_a_later_version_with_more_in_it_is_read() -> None:
    assert Alarm.from_json(alarm().to_json() | {"colour": "red"}).key == "dead_letters@a"


STEPS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(STEPS, st.booleans())
def test_beginnings_and_ends_take_turns_whatever_is_seen_and_told(steps: list[tuple[bool, bool]], shared: bool) -> None:
    one = Alarm("error_rate", "error_rate") if shared else alarm()
    told: list[str] = []
    ids: list[str] = []
    for at, (sees, tells) in enumerate(steps):
        change = one.see(seen() if sees else None, float(at))
        assert change is None or (change == "firing") is one.firing
        if tells and one.want is not None:
            if one.want in ("begin", "end"):
                told.append(one.want)
                ids.append(one.alert)
            one.done("journal", float(at))
    assert told == ["begin", "end"] * (len(told) // 2) + ["begin"] * (len(told) % 2)
    assert len(ids) == len(set(ids))
