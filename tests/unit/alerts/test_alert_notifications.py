"""Notifications: each channel gets each alert once, one that fails is tried again for an hour, and nothing is sent for ever."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prodfix.alerts import notifications
from prodfix.alerts.alert_routing import Routing
from prodfix.alerts.alerts_report import AlertsReport, reported
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.notifications import KEPT, LATE, LIFE, Delivery, DeliveryResult, Notification, Notifications

NOW = 1_800_000_000.0
CHANNELS = {"mailto #1": "mailto://a", "json #2": "json://b"}


def notification(identity: str = "e:begin", at: float = NOW) -> Notification:
    deliveries = {name: Delivery() for name in CHANNELS}
    part: Any = identity.partition(":")[2]
    return Notification(identity, "database_lost", "database_lost", part, "critical", "title", "body", at, deliveries)


def these(*given: Notification) -> Notifications:
    return {one.id: one for one in given}


def due(box: Notifications, now: float = NOW) -> list[tuple[str, str]]:
    return [(one.id, channel) for one, channel in notifications.due(box, now, CHANNELS)]


def send(box: Notifications, now: float, *failing: str) -> list[tuple[str, str]]:
    """Send what is due; what was tried."""
    tried = notifications.due(box, now, CHANNELS)
    for one, channel in tried:
        one.channels[channel].begin()
    results = [
        DeliveryResult(one.id, name, name not in failing, "timeout" if name in failing else None) for one, name in tried
    ]
    notifications.record(box, results, now)
    return [(one.id, channel) for one, channel in tried]


def shown(box: Notifications) -> AlertsReport:
    return reported(LeaderState({}, box), [], routing=Routing(CHANNELS), mutes={}, now=NOW, complete=True)


def states(box: Notifications, identity: str = "e:begin") -> list[str]:
    return [delivery.state for delivery in box[identity].channels.values()]


def test_each_channel_gets_it_once() -> None:
    box = these(notification())
    assert send(box, NOW) == [("e:begin", "mailto #1"), ("e:begin", "json #2")]
    assert (send(box, NOW + 1), states(box)) == ([], ["delivered", "delivered"])


def test_one_that_fails_is_tried_again_and_the_other_left_alone() -> None:
    box = these(notification())
    tries = [second for second in range(0, int(LIFE) + 120, 10) if send(box, NOW + second, "json #2")]
    assert [seconds // 60 for seconds in tries] == [0, 1, 3, 7, 15, 31, 60]
    assert states(box) == ["delivered", "failed"]
    assert box["e:begin"].channels["json #2"].attempts == 7
    assert box["e:begin"].channels["mailto #1"].attempts == 1


def test_one_that_works_again_has_it_and_shows_no_reason() -> None:
    box = these(notification())
    send(box, NOW, "json #2")
    told = shown(box).to_json()["alerts"][0]["channels"][1]
    assert (told["state"], told["reason"], told["attempts"]) == ("waiting", "timeout", 1)
    assert told["nextTryAt"] == "2027-01-15T08:01:00.000Z"
    send(box, NOW + 60)
    assert shown(box).to_json()["alerts"][0]["channels"][1] == {
        "channel": "json #2",
        "state": "delivered",
        "attempts": 2,
        "reason": None,
        "nextTryAt": None,
    }


def test_what_is_being_sent_is_not_due() -> None:
    box = these(notification())
    box["e:begin"].channels["json #2"].begin()
    assert due(box) == [("e:begin", "mailto #1")]
    notifications.try_again(box)
    assert len(due(box)) == 2


def test_an_end_waits_for_its_beginning_in_each_channel() -> None:
    box = these(notification("e:begin"), notification("e:end", NOW + 5), notification("f:begin", NOW + 6))
    assert send(box, NOW + 10, "json #2") == [
        ("e:begin", "mailto #1"),
        ("e:begin", "json #2"),
        ("f:begin", "mailto #1"),
        ("f:begin", "json #2"),
    ]
    assert due(box, NOW + 10) == [("e:end", "mailto #1")]


def test_a_result_counts_once_and_only_for_what_waits() -> None:
    box = these(notification())
    box["e:begin"].channels["json #2"].begin()
    result = DeliveryResult("e:begin", "json #2", True)
    assert [state for _, _, state in notifications.record(box, [result, result], NOW)] == ["delivered"]
    assert (
        notifications.record(
            box, [DeliveryResult("e:begin", "json #2", False, "timeout"), DeliveryResult("x", "json #2", True)], NOW
        )
        == []
    )
    box["e:begin"].channels["mailto #1"].begin()
    failure = DeliveryResult("e:begin", "mailto #1", False, "timeout")
    assert [state for _, _, state in notifications.record(box, [failure, failure], NOW)] == ["waiting"]
    assert notifications.record(box, [failure], NOW + 30) == [], (
        "the results of a try are read twice where a sender follows itself"
    )
    assert due(box, NOW + 60) == [("e:begin", "mailto #1")]


def test_a_channel_that_was_removed_is_given_up() -> None:
    box = these(notification())
    assert [name for _, name in notifications.due(box, NOW, {"json #2": "json://b"})] == ["json #2"]
    assert states(box) == ["failed", "waiting"]
    assert shown(box).to_json()["alerts"][0]["channels"][0]["reason"] == "removed"


def test_what_is_too_old_to_be_news_is_given_up() -> None:
    box = these(notification())
    assert due(box, NOW + LATE) != []
    assert due(box, NOW + LATE + 1) == []
    assert states(box) == ["failed", "failed"]


def test_a_clock_that_was_turned_back_puts_nothing_off() -> None:
    box = these(notification())
    send(box, NOW, "json #2")
    assert due(box, NOW - 10) == []
    assert due(box, NOW - LIFE) == [("e:begin", "json #2")]


def test_the_newest_are_kept_and_whatever_may_still_be_sent() -> None:
    box = these(*(notification(f"{number}:begin", NOW + number) for number in range(KEPT + 20)))
    for now, left in ((NOW + LATE, KEPT + 20), (NOW + LATE + 10.5, KEPT + 9), (NOW + 2 * LATE, KEPT)):
        notifications.prune(box, now)
        assert len(box) == left
    alerts = shown(box).alerts
    assert (len(alerts), alerts[0].id) == (KEPT, f"{KEPT + 19}:begin")


TRIES = st.lists(st.tuples(st.floats(0, 900), st.sets(st.sampled_from(sorted(CHANNELS)))), min_size=1, max_size=60)


@given(TRIES)
def test_whatever_fails_it_comes_to_an_end_and_arrives_at_most_once(tries: list[tuple[float, set[str]]]) -> None:
    box = these(notification("e:begin"), notification("e:end", NOW + 1))
    arrived: list[tuple[str, str]] = []
    now = NOW + 1
    for pause, failing in tries:
        now += pause
        arrived += [one for one in send(box, now, *failing) if one[1] not in failing]
    assert len(arrived) == len(set(arrived))
    for channel in CHANNELS:
        assert [part for part, name in arrived if name == channel] in ([], ["e:begin"], ["e:end"], ["e:begin", "e:end"])
    left: dict[str, Any] = {one.id: one.waiting for one in box.values()}
    for second in (LATE, LATE + 100, LATE + 200):
        send(box, NOW + second + 1000, *CHANNELS)
    assert all(not one.waiting for one in box.values()), left
