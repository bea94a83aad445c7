"""The outbox: each channel gets each alert once, one that fails is tried again for an hour, and nothing is sent for ever."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from prodfix.alerts.dispatch import Result
from prodfix.alerts.outbox import KEPT, LIFE, PRUNE, UPSERT, YOUNG, Alert, Delivery, Outbox
from prodfix.journal.journal import Journal

NOW = 1_800_000_000.0
CHANNELS = {"mailto #1": "mailto://a", "json #2": "json://b"}


def alert(identity: str = "e:begin", at: float = NOW) -> Alert:
    deliveries = {name: Delivery() for name in CHANNELS}
    part = identity.partition(":")[2]
    return Alert(identity, "database_lost", "database_lost", part, "critical", "title", "body", at, deliveries)


def outbox(*alerts: Alert) -> Outbox:
    box = Outbox()
    for one in alerts:
        box.put(one)
    return box


def due(box: Outbox, now: float = NOW) -> list[tuple[str, str]]:
    return [(one.id, channel) for one, channel in box.due(now, CHANNELS)]


def send(box: Outbox, now: float, *failing: str) -> list[tuple[str, str]]:
    """Send what is due; what was tried."""
    tried = box.due(now, CHANNELS)
    for one, channel in tried:
        box.begin(one, channel)
    results = [Result(one.id, name, name not in failing, "timeout" if name in failing else None) for one, name in tried]
    box.record(results, now)
    return [(one.id, channel) for one, channel in tried]


def states(box: Outbox, identity: str = "e:begin") -> list[str]:
    return [delivery.state for delivery in box.alerts[identity].channels.values()]


def test_each_channel_gets_it_once() -> None:
    box = outbox(alert())
    assert send(box, NOW) == [("e:begin", "mailto #1"), ("e:begin", "json #2")]
    assert (send(box, NOW + 1), states(box)) == ([], ["delivered", "delivered"])


def test_one_that_fails_is_tried_again_and_the_other_left_alone() -> None:
    box = outbox(alert())
    tries = [second for second in range(0, int(LIFE) + 120, 10) if send(box, NOW + second, "json #2")]
    assert [seconds // 60 for seconds in tries] == [0, 1, 3, 7, 15, 31, 60]
    assert states(box) == ["delivered", "failed"]
    assert box.alerts["e:begin"].channels["json #2"].attempts == 7
    assert box.alerts["e:begin"].channels["mailto #1"].attempts == 1


def test_one_that_works_again_has_it_and_shows_no_reason() -> None:
    box = outbox(alert())
    send(box, NOW, "json #2")
    shown = box.shown()[0]["channels"][1]
    assert (shown["state"], shown["reason"], shown["attempts"]) == ("waiting", "timeout", 1)
    assert shown["nextTryAt"] == "2027-01-15T08:01:00.000Z"
    send(box, NOW + 60)
    assert box.shown()[0]["channels"][1] == {
        "channel": "json #2",
        "state": "delivered",
        "attempts": 2,
        "reason": None,
        "nextTryAt": None,
    }


def test_what_is_being_sent_is_not_due() -> None:
    box = outbox(alert())
    box.begin(box.alerts["e:begin"], "json #2")
    assert due(box) == [("e:begin", "mailto #1")]
    assert box.unsettled() == [("e:begin", "json #2")]
    box.again()
    assert len(due(box)) == 2


def test_an_end_waits_for_its_beginning_in_each_channel() -> None:
    box = outbox(alert("e:begin"), alert("e:end", NOW + 5), alert("f:begin", NOW + 6))
    assert send(box, NOW + 10, "json #2") == [
        ("e:begin", "mailto #1"),
        ("e:begin", "json #2"),
        ("f:begin", "mailto #1"),
        ("f:begin", "json #2"),
    ]
    assert due(box, NOW + 10) == [("e:end", "mailto #1")]


def test_a_result_counts_once_and_only_for_what_waits() -> None:
    box = outbox(alert())
    box.begin(box.alerts["e:begin"], "json #2")
    result = Result("e:begin", "json #2", True)
    assert [state for _, _, state in box.record([result, result], NOW)] == ["delivered"]
    assert box.record([Result("e:begin", "json #2", False, "timeout"), Result("x", "json #2", True)], NOW) == []
    box.begin(box.alerts["e:begin"], "mailto #1")
    failure = Result("e:begin", "mailto #1", False, "timeout")
    assert [state for _, _, state in box.record([failure, failure], NOW)] == ["waiting"]
    assert box.record([failure], NOW + 30) == [], "the results of a try are read twice where a sender follows itself"
    assert due(box, NOW + 60) == [("e:begin", "mailto #1")]


def test_a_channel_that_was_removed_is_given_up() -> None:
    box = outbox(alert())
    assert [name for _, name in box.due(NOW, {"json #2": "json://b"})] == ["json #2"]
    assert states(box) == ["failed", "waiting"]
    assert box.shown()[0]["channels"][0]["reason"] == "removed"


def test_what_is_too_old_to_be_news_is_given_up() -> None:
    box = outbox(alert())
    assert due(box, NOW + YOUNG) != []
    assert due(box, NOW + YOUNG + 1) == []
    assert states(box) == ["failed", "failed"]


def test_a_clock_that_was_turned_back_puts_nothing_off() -> None:
    box = outbox(alert())
    send(box, NOW, "json #2")
    assert due(box, NOW - 10) == []
    assert due(box, NOW - LIFE) == [("e:begin", "json #2")]


def test_the_same_alert_is_put_once() -> None:
    box = outbox(alert())
    send(box, NOW)
    box.put(alert())
    assert due(box) == []


def test_the_highest_revision_of_several_files_counts() -> None:
    box = outbox(alert())
    first = box.statements()[0][1]
    send(box, NOW)
    second = box.statements()[0][1]
    for rows in ([first, second], [second, first]):
        found = Outbox.of([(row[1], row[3]) for row in rows])
        assert found.alerts == box.alerts
        assert found.statements() == []


def test_only_what_has_changed_is_written() -> None:
    box = outbox(alert(), alert("f:begin", NOW + 1))
    assert len(box.statements()) == 2
    box.saved()
    box.begin(box.alerts["e:begin"], "json #2")
    assert [row[0] for _, row in box.statements()] == ["e:begin"]


def test_the_newest_are_kept_and_whatever_is_young(journal: Journal) -> None:
    alerts = [alert(f"{number}:begin", NOW + number) for number in range(KEPT + 20)]
    box = outbox(*alerts)
    journal.write(box.statements())
    for now, left in ((NOW + YOUNG, KEPT + 20), (NOW + YOUNG + 10.5, KEPT + 9), (NOW + 2 * YOUNG, KEPT)):
        box.forget(now)
        journal.write([(PRUNE, (now - YOUNG,))])
        (counted,) = journal.read("SELECT count(*) FROM alerts")
        assert (len(box.alerts), counted[0]) == (left, left)
    assert len(box.shown()) == KEPT
    assert box.shown()[0]["id"] == f"{KEPT + 19}:begin"


def test_a_lower_revision_does_not_replace_a_higher_one(journal: Journal) -> None:
    for revision in (2, 1):
        journal.write([(UPSERT, ("e", revision, NOW, orjson.dumps(revision)))])
    assert journal.read("SELECT revision, entry FROM alerts") == [(2, b"2")]


TRIES = st.lists(st.tuples(st.floats(0, 900), st.sets(st.sampled_from(sorted(CHANNELS)))), min_size=1, max_size=60)


@given(TRIES)
def test_whatever_fails_it_comes_to_an_end_and_arrives_at_most_once(tries: list[tuple[float, set[str]]]) -> None:
    box = outbox(alert("e:begin"), alert("e:end", NOW + 1))
    arrived: list[tuple[str, str]] = []
    now = NOW + 1
    for pause, failing in tries:
        now += pause
        arrived += [one for one in send(box, now, *failing) if one[1] not in failing]
    assert len(arrived) == len(set(arrived))
    for channel in CHANNELS:
        assert [part for part, name in arrived if name == channel] in ([], ["e:begin"], ["e:end"], ["e:begin", "e:end"])
    left: dict[str, Any] = {one.id: one.waiting for one in box.alerts.values()}
    for second in (YOUNG, YOUNG + 100, YOUNG + 200):
        send(box, NOW + second + 1000, *CHANNELS)
    assert all(not one.waiting for one in box.alerts.values()), left
