"""Alerts as a whole: one beginning and one end for each incident, over workers, instances, outages and kills at every step."""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import ServerSelectionTimeoutError

from prodfix.alerts import agreement, instance_comparison, leader_state, shared_database
from prodfix.alerts.agreement import ALERT_CLAIMS, STALE
from prodfix.alerts.conditions import JournalUse
from prodfix.alerts.event_rows import NEWS
from prodfix.alerts.leader import READING_TRIES
from prodfix.alerts.leader_state import LOCK, LeaderState
from prodfix.alerts.messages import moment
from prodfix.alerts.service import Alerts
from prodfix.journal.journal import Journal
from prodfix.workers.worker_state import AlertsState
from tests.support.alert_instances import CHANNELS, Instance, step_claims, step_files
from tests.support.counting_worker import Clock

LOST, BACK = "[critical] The database does not answer", "[over] The database answers again"
RATE, CALM = "[error] Far more requests fail than before", "[over] No more requests fail than before"
DEAD, NONE_DEAD = "[error] Deferred writes became dead letters", "[over] No dead letter is left"
MORE = f"{DEAD}: more of them"
START = 1_800_000_000.0

Make = Callable[..., Instance]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(START)
    # The server's is another one, and runs as fast.
    monkeypatch.setattr(agreement, "server_time", lambda database: clock.now + 1234.5)
    return clock


def together(instances: list[Instance], turns: int, seconds: float = 2.0) -> None:
    for _ in range(turns):
        for number, one in enumerate(instances):
            one.turn(0.0 if number else seconds)


def over(instances: list[Instance]) -> list[str]:
    return [title for one in instances for title in one.titles]


# -- one instance, whose journal decides ------------------------------------------------------------------------------------


def test_a_loss_and_its_end_are_told_once_in_each_channel(make: Make, database: Any) -> None:
    one = make()
    one.turns(3)
    assert one.titles == []
    one.sees("database_lost")
    one.turns(5)
    assert [one.programs.titles(channel) for channel in CHANNELS] == [[LOST], [LOST]]
    one.well()
    one.turns(2)
    assert one.titles == [LOST], "it waits until MongoDB can be asked whether another instance has told it"
    one.database = database
    one.turns(5)
    assert [one.programs.titles(channel) for channel in CHANNELS] == [[LOST, BACK], [LOST, BACK]]


def test_the_channels_are_told_by_name_and_never_by_their_urls(make: Make) -> None:
    one = make()
    one.turns(1)
    folder = one.journal.folder
    assert list(leader_state.read(folder).routes) == list(CHANNELS)
    assert "canary" not in (folder / leader_state.FILE).read_text()
    one.kill()
    again = make(channels={})
    again.turns(1)
    assert leader_state.read(folder).routes == {}, "who leads now has none"


def test_what_concerns_this_instance_alone_needs_no_database(make: Make) -> None:
    one = make()
    one.backlog = JournalUse(2, 0.0)
    one.turns(4)
    one.backlog = JournalUse(0, 0.0)
    one.turns(4)
    assert one.titles == [DEAD, NONE_DEAD]


def test_what_can_not_be_told_is_neither_begun_nor_ended(make: Make) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    one.backlog = None
    one.turns(10)
    assert one.titles == [DEAD]


def test_more_dead_letters_are_told_after_the_cool_down(make: Make) -> None:
    one = make(cool_down=600.0)
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    one.backlog = JournalUse(3, 0.0)
    one.turns(10)
    assert one.titles == [DEAD]
    one.turn(600.0)
    one.turns(3)
    assert one.titles == [DEAD, MORE]
    assert "put aside: 3" in one.programs.arrived[-1]["body"]


def test_what_comes_back_while_it_cools_down_is_told_only_if_it_stays(make: Make) -> None:
    one = make(cool_down=600.0)
    for _ in range(3):
        one.backlog = JournalUse(1, 0.0)
        one.turns(4)
        one.backlog = JournalUse(0, 0.0)
        one.turns(4)
    assert one.titles == [DEAD, NONE_DEAD]
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    one.turn(600.0)
    one.turns(2)
    assert one.titles == [DEAD, NONE_DEAD, DEAD]


def test_without_channels_every_change_is_logged_all_the_same(make: Make) -> None:
    one = make(channels={})
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    one.backlog = JournalUse(0, 0.0)
    one.turns(4)
    assert [(severity, message, facts["alarm"], facts["state"]) for severity, message, facts in one.told] == [
        ("error", DEAD, "dead_letters@a", "firing"),
        ("info", NONE_DEAD, "dead_letters@a", "over"),
    ]
    assert one.programs.arrived == []


@pytest.mark.parametrize("channels", [CHANNELS, {}])
@pytest.mark.parametrize("cause", ["database_lost", "error_rate", "dead_letters"])
def test_what_returns_is_logged_and_shown_since_it_returned(
    make: Make, clock: Clock, cause: str, channels: dict[str, str]
) -> None:
    one = make(channels=channels, cool_down=1800.0)
    shown = []
    for _ in range(3):
        one.sees(*([cause] if cause != "dead_letters" else []))
        one.backlog = JournalUse(int(cause == "dead_letters"), 0.0)
        begun = moment(clock.now + 2)
        one.turns(3)
        (alarm,) = one.alerts.read().to_json()["alarms"]
        shown.append((alarm["since"], begun))
        one.well()
        one.backlog = JournalUse(0, 0.0)
        one.turns(3)
        clock.now += 60
    assert [since for since, _ in shown] == [begun for _, begun in shown]
    assert [facts["since"] for _, _, facts in one.told if facts.get("state") == "firing"] == [
        begun for _, begun in shown
    ]


def test_an_hour_has_no_more_than_so_many_and_the_next_says_how_many_were_held_back(make: Make, clock: Clock) -> None:
    one = make(most=2)
    one.backlog = JournalUse(1, 0.0)
    one.turns(3)
    one.backlog = JournalUse(0, 0.0)
    one.turns(3)
    one.sees(losses=3)
    one.turns(30)
    assert one.titles == [DEAD, NONE_DEAD]
    assert one.alerts.read().to_json()["heldBack"] == 1
    assert one.alerts.read().to_json()["alarms"][0]["told"] == "not yet"
    one.turn(3600.0)
    one.turns(2)
    assert one.titles[2:] == ["[error] The connection to the database fails again and again"]
    assert "not sent before" not in one.programs.arrived[-1]["body"], "the only one that was held back is this one"


def test_what_was_held_back_for_good_is_mentioned(make: Make) -> None:
    one = make(most=1)
    one.backlog = JournalUse(1, 0.0)
    one.turns(3)
    one.sees(losses=3)
    one.turns(3)
    one.well()
    one.turns(3)
    one.turn(3600.0)
    one.sees("error_rate")
    one.turns(3)
    assert one.titles == [DEAD, RATE]
    assert "not sent before this one: 1 (ALERT_MAX_PER_HOUR is 1)" in one.programs.arrived[-1]["body"]
    one.well()
    one.turns(3)
    one.turn(3600.0)
    assert one.titles == [DEAD, RATE, CALM]
    assert "not sent before" not in one.programs.arrived[-1]["body"], "once"


def test_a_resolved_error_that_is_back_is_told_by_the_sender_whichever_worker_was_told(
    make: Make, open_journal: Any
) -> None:
    one = make()
    one.turn()
    other = Journal(one.folder)
    other.open()
    told = one.another(other)
    group = {"fingerprint": "f00d", "message": "INTERNAL_ERROR (ValueError) in notes.create", "releases": ["v2"]}
    told.happened("regression", group)
    one.turns(5)
    assert one.titles == ["[error] A resolved error is back: INTERNAL_ERROR (ValueError) in notes.create"]
    body = one.programs.arrived[-1]["body"]
    assert "error: INTERNAL_ERROR (ValueError) in notes.create\nreleases: v2\nfingerprint: f00d\n" in body
    other.close()
    one.journal.adopt()
    one.turns(5)
    assert len(one.titles) == 1
    one.clock.now += 1
    one.alerts.happened("regression", group)
    one.turns(3)
    assert len(one.titles) == 2, "resolved again, and back again"


# -- one sender ---------------------------------------------------------------------------------------------------------------


def test_of_the_workers_one_sends_and_all_say_the_same(make: Make) -> None:
    one = make()
    journals = [Journal(one.folder) for _ in range(3)]
    for journal in journals:
        journal.open()
    others = [one.another(journal) for journal in journals]
    one.backlog = JournalUse(1, 0.0)
    for _ in range(5):
        one.turn()
        for alerts in others:
            alerts.look()
            alerts.deliver()
    assert one.titles == [DEAD]
    answers = [alerts.read().to_json() for alerts in (one.alerts, *others)]
    assert [answer["sender"] for answer in answers] == [None] * 4, "these workers' states do not say"
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["sent"], answers[0]["alarms"][0]["key"]) == (2, "dead_letters@a")
    one.alerts.close()
    one.clock.now += 2
    for alerts in others:
        alerts.look()
    assert [alerts.state().sender for alerts in others] == [True, False, False]
    for alerts, journal in zip(others, journals, strict=True):
        alerts.close()
        journal.close()


def test_a_disk_that_hangs_leaves_the_sender_what_it_is(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)
    one.turns(2)

    def hang(*arguments: Any, **options: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(one.journal, "read", hang)
    monkeypatch.setattr(leader_state, "write", hang)
    one.turns(4)
    assert one.alerts.state().sender
    assert one.titles == [DEAD, "[critical] The journal cannot be written"]
    monkeypatch.undo()
    one.turns(4)
    assert one.titles[2:] == ["[over] The journal is written again"]


def test_a_sender_that_cannot_look_leaves_it_to_another(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make()
    one.turn()
    journal = Journal(one.folder)
    journal.open()
    other = one.another(journal)
    monkeypatch.setattr(one.alerts.observer, "situation", lambda now, disk: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.turn()
    for alerts in (one.alerts, other):
        alerts.look()
    assert [alerts.state().sender for alerts in (one.alerts, other)] == [False, True]
    other.close()
    journal.close()


def test_a_child_of_the_sender_is_none(make: Make) -> None:
    one = make()
    one.turn()
    assert one.alerts.state().sender
    # As after a fork: the child has copies of all descriptors, and another PID.
    inherited = os.dup(one.alerts._leader.lock.file or 0)
    one.alerts._leader._pid = 1
    one.alerts._begin()
    assert (one.alerts.state(), one.alerts._leader.lock.held) == (AlertsState(), False)
    other = one.another(one.journal)
    other.look()
    assert other.state() == AlertsState(sender=False), "the parent's own descriptor has the lock still"
    os.close(inherited)
    other.look()
    assert other.state().sender
    other.close()


def test_a_row_of_a_later_version_is_left_alone(make: Make) -> None:
    one = make()
    later = {"key": "x@a", "kind": "later", "firing": True, "owed": "begin"}
    state = {"alerts": {"x@a": later}, "totals": {"sent": 4, "later": 5}, "later": {}}
    crc = zlib.crc32(orjson.dumps(state))
    (one.folder / leader_state.FILE).write_bytes(orjson.dumps({"crc": crc, "state": state}))
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    assert (one.titles, one.alerts.read().to_json()["sent"]) == ([DEAD], 6)


def test_a_sender_that_cannot_read_what_was_before_waits_a_little(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    one.kill()
    one.start()
    read = leader_state.read
    fails = iter([True] * 2)

    def flaky(*arguments: Any, **options: Any) -> Any:
        if next(fails, False):
            raise TimeoutError
        return read(*arguments, **options)

    monkeypatch.setattr(leader_state, "read", flaky)
    one.turns(6)
    assert one.titles == [DEAD], "the next sender knows that it was told"


# -- kills --------------------------------------------------------------------------------------------------------------------

KILLS = 250  # at least as many as there are steps


def killed_at_each_step(make: Make, play: Callable[[Instance], None], **options: Any) -> list[list[str]]:
    """What arrives, for a kill at each step of ``play``, until there is no such step."""
    found = []
    for at in range(1, KILLS):
        one = make(f"i{at}", **options)
        one.steps.at = at
        play(one)
        found.append(one.titles)
        assert one.programs.titles("mailto #1") == one.titles
        if one.steps.at is not None:
            return found
    raise AssertionError(f"more than {KILLS} steps")


def test_a_sender_that_is_killed_at_any_step_tells_nothing_twice_and_forgets_nothing(
    make: Make, stepped_files: None
) -> None:
    def play(one: Instance) -> None:
        one.turns(2)
        one.backlog = JournalUse(1, 0.0)
        one.turns(6)
        one.backlog = JournalUse(0, 0.0)
        one.turns(6)

    found = killed_at_each_step(make, play)
    assert len(found) > 40
    assert found == [[DEAD, NONE_DEAD]] * len(found)


@pytest.fixture
def stepped_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each change of the leader's file is a step."""
    step_files(monkeypatch)


@pytest.fixture
def stepped_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    step_claims(monkeypatch)


def test_the_same_with_claims(make: Make, database: Any, stepped_claims: None) -> None:
    def play(one: Instance) -> None:
        database[ALERT_CLAIMS].delete_many({})
        one.turns(2)
        one.sees("error_rate")
        one.turns(6)
        one.well()
        one.turns(6)

    found = killed_at_each_step(make, play, database=database)
    assert len(found) > 25
    assert found == [[RATE, CALM]] * len(found)


def test_without_the_row_that_is_written_first_a_kill_would_be_told_twice(
    make: Make, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: alerts that the next leader does not know of.
    monkeypatch.setattr(leader_state, "read", lambda folder: LeaderState())

    def play(one: Instance) -> None:
        one.backlog = JournalUse(1, 0.0)
        one.turns(6)
        one.kill()
        one.start()
        one.turns(6)

    one = make()
    play(one)
    assert one.titles == [DEAD, DEAD]


def test_an_end_that_comes_while_nobody_sends_is_told_by_the_next(make: Make, database: Any) -> None:
    one = make(database=database)
    one.sees("error_rate")
    one.turns(3)
    one.kill()
    one.clock.now += 3600
    one.well()
    one.start()
    one.turns(4)
    assert one.titles == [RATE, CALM]


def test_the_same_while_mongodb_is_down_and_once_it_is_back(
    make: Make, database: Any, stepped_files: None, stepped_claims: None
) -> None:
    def play(one: Instance) -> None:
        database[ALERT_CLAIMS].delete_many({})
        one.sees("database_lost")
        one.turns(4)
        one.database = database
        one.well()
        one.turns(5)

    found = killed_at_each_step(make, play)
    assert len(found) > 40
    assert found == [[LOST, BACK]] * len(found)


# -- the leader's file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["removed", "torn", "replaced"])
def test_a_file_that_is_damaged_is_told_to_be_and_breaks_neither_an_answer_nor_the_next_leader(
    make: Make, harm: str
) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    path = one.folder / leader_state.FILE
    whole = one.alerts.read().to_json()
    assert (whole["complete"], len(whole["alarms"])) == (True, 1)
    one.kill()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if harm == "torn" else b"\0" * 8192)
    one.start()
    answer = one.alerts.read().to_json()
    assert (answer["complete"], answer["alarms"], answer["sent"]) == (False, [], 0)
    one.turns(4)
    answer = one.alerts.read().to_json()
    assert (answer["complete"], [alarm["key"] for alarm in answer["alarms"]]) == (True, ["dead_letters@a"])
    told = [message for severity, message, _ in one.told if severity == "error" and "damaged" in message]
    assert len(told) == (harm != "removed")


def test_a_file_that_is_damaged_while_somebody_leads_is_written_again(make: Make) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)
    one.turns(4)
    before, path = one.alerts.read(), one.folder / leader_state.FILE
    for harm in (path.unlink, lambda: path.write_bytes(b"{")):
        harm()
        assert not one.alerts.read().complete
        one.turn()
        assert one.alerts.read() == before
    assert one.titles == [DEAD]


def test_where_nothing_can_be_kept_alerts_go_out_all_the_same_and_answers_say_what_they_do_not_know(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("no folder")
    one = make()
    other = one.another(one.journal)
    one.sees("database_lost")
    for _ in range(READING_TRIES + 4):
        one.turn()
        other.look()
        other.deliver()
    assert [alerts.state().sender for alerts in (one.alerts, other)] == [True, False]
    assert sorted(one.titles) == sorted([LOST, "[critical] The journal cannot be written"])
    assert one.programs.titles("mailto #1") == one.titles
    assert [alerts.read().complete for alerts in (one.alerts, other)] == [False, False]
    (tmp_path / "a").unlink()
    one.turns(4)
    assert one.titles[2:] == ["[over] The journal is written again"]
    assert (one.alerts.read().complete, one.alerts.read().sent) == (True, 6)
    other.close()


def test_a_leader_that_has_lost_its_lock_while_it_delivers_leaves_the_file_to_the_next(make: Make) -> None:
    one = make()
    one.turn()
    other = one.another(one.journal)
    send = one.alerts._deliveries._send

    def slow(jobs: Any, stdout: int) -> None:
        (one.folder / LOCK).unlink()
        one.alerts.look()  # it takes the file that is made anew, and lets another one have it
        one.alerts._leader.lock.release()
        other.look()
        one.alerts.look()
        send(jobs, stdout)

    one.alerts._deliveries._send = slow
    one.backlog = JournalUse(1, 0.0)
    one.turns(2)
    assert [alerts.state().sender for alerts in (one.alerts, other)] == [False, True]
    (waiting,) = one.alerts.read().alerts
    assert {channel.state for channel in waiting.channels} == {"waiting"}, "as the other one knows it"
    other.close()


def test_what_is_no_news_any_more_is_not_told_and_goes_with_the_next(make: Make, clock: Clock) -> None:
    one = make()
    one.turn()
    for fingerprint, pause in (("old", NEWS + 1), ("new", 0.0)):
        one.alerts.happened("regression", {"fingerprint": fingerprint, "message": fingerprint, "releases": []})
        clock.now += pause
    one.turns(4)
    assert ["error: new" in job["body"] for job in one.programs.arrived] == [True, True]
    assert one.journal.read("SELECT fingerprint FROM regressions") == [("new",)]


# -- several instances --------------------------------------------------------------------------------------------------------


def test_two_instances_that_see_it_tell_it_once_and_the_last_one_tells_its_end(make: Make, database: Any) -> None:
    both = [make("a", database), make("b", database)]
    for one in both:
        one.sees("error_rate")
    together(both, 5)
    assert over(both) == [RATE]
    assert {one.alerts.read().to_json()["alarms"][0]["told"] for one in both} == {
        "by this instance",
        "by another instance",
    }
    both[0].well()
    together(both, 60)
    assert over(both) == [RATE], "the other one still sees it"
    both[1].well()
    together(both, 5)
    assert sorted(over(both)) == sorted([RATE, CALM])
    assert both[1].titles[-1] == CALM


def test_while_mongodb_is_down_each_tells_and_one_tells_that_it_is_back(make: Make, database: Any) -> None:
    three = [make(name) for name in "abc"]
    for one in three:
        one.sees("database_lost")
    together(three, 10)
    assert over(three) == [LOST] * 3
    for one in three:
        one.database = database
        one.well()
        together(three, 2)
    together(three, 10)
    assert sorted(over(three)) == sorted([LOST] * 3 + [BACK])


def test_an_instance_that_comes_back_much_later_says_so(make: Make, database: Any) -> None:
    both = [make("a"), make("b")]
    for one in both:
        one.sees("database_lost")
    together(both, 3)
    both[0].database = database
    both[0].well()
    together(both, 3)
    together(both, 1, STALE)
    both[1].database = database
    both[1].well()
    together(both, 3)
    assert [one.titles for one in both] == [[LOST, BACK]] * 2


def test_the_end_of_what_an_instance_left_that_is_gone_is_told_by_another(make: Make, database: Any) -> None:
    gone, other = make("gone", database), make("b", database)
    gone.sees("error_rate")
    together([gone, other], 4)
    assert over([gone, other]) == [RATE]
    gone.kill()
    other.turns(int(STALE / 2) - 4)
    assert other.titles == []
    assert other.alerts._leader.state is not None
    assert other.alerts._leader.state.alerts == {}, "it is not this one's yet"
    other.turns(int((instance_comparison.REST[1] + instance_comparison.COMPARE_PERIOD) / 2))
    assert other.titles == [CALM]
    gone.start()  # for the fixture to end


def test_an_instance_that_was_not_heard_of_for_too_long_begins_anew(make: Make, database: Any) -> None:
    late, other = make("late", database), make("b", database)
    late.sees("error_rate")
    together([late, other], 4)
    other.turns(int((instance_comparison.REST[1] + STALE) / 2))
    assert over([late, other]) == [RATE, CALM]
    late.turns(10)
    assert over([late, other]) == [RATE, RATE, CALM]
    late.well()
    late.turns(4)
    assert late.titles == [RATE, RATE, CALM]


def test_the_cool_down_is_that_of_all_instances(make: Make, database: Any) -> None:
    both = [make("a", database, cool_down=600.0), make("b", database, cool_down=600.0)]
    for one in both:
        one.sees("error_rate")
        together(both, 4)
        one.well()
        together(both, 4)
    assert over(both) == [RATE, CALM]
    both[1].sees("error_rate")
    together(both, 2, 300.0)
    together(both, 3)
    assert over(both) == [RATE, CALM, RATE]


def test_the_hour_is_that_of_all_instances(make: Make, database: Any) -> None:
    both = [make("a", database, most=3), make("b", database, most=3)]
    for one in both:
        one.backlog = JournalUse(1, 0.0)
        together([one], 3)
        one.backlog = JournalUse(0, 0.0)
        together([one], 3)
    assert over(both) == [DEAD, NONE_DEAD, DEAD]
    assert [one.alerts.read().to_json()["heldBack"] for one in both] == [0, 1]
    together(both, 1, 3600.0)
    together(both, 2)
    assert over(both) == [DEAD, NONE_DEAD, DEAD, NONE_DEAD]


def test_who_is_refused_by_mongodb_goes_on_alone(make: Make, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise ServerSelectionTimeoutError("canary.example.org")

    monkeypatch.setattr(agreement, "look_all", refuse)
    one = make(database=database)
    one.sees("error_rate")
    one.turns(3)
    assert one.titles == []
    one.turns(shared_database.REFUSALS)
    assert one.titles == [RATE]
    one.well()
    one.turns(4)
    assert one.titles == [RATE, CALM]
    refused = [facts for severity, message, facts in one.told if "agreed" in message]
    assert refused[0] == {"error": "ServerSelectionTimeoutError", "seconds": shared_database.ALONE}


def test_an_outage_is_no_refusal(make: Make, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise ServerSelectionTimeoutError("it is about to be down")

    one = make(database=database)
    with monkeypatch.context() as patch:
        patch.setattr(agreement, "look_all", refuse)
        one.sees("database_lost")
        one.turns(shared_database.REFUSALS + 1)
    assert one.titles == [LOST]
    one.database = None
    one.turns(2)
    one.database = database
    one.well()
    one.turns(3)
    assert one.titles == [LOST, BACK]
    assert [entry.part for entry in agreement.look(database, "database_lost").entries] == ["end"], "it is claimed"


def test_a_claim_whose_answer_was_lost_and_that_is_over_is_withdrawn(
    make: Make, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = agreement.add

    def lost(*arguments: Any) -> Any:
        add(*arguments)
        raise ServerSelectionTimeoutError("lost")

    one = make(database=database)
    one.sees("error_rate")
    monkeypatch.setattr(agreement, "add", lost)
    one.turns(2)
    assert agreement.look(database, "error_rate").open
    monkeypatch.setattr(agreement, "add", add)
    one.alerts._policy._shared._answering = lambda: None
    one.well()
    one.turns(2)
    one.alerts._policy._shared._answering = lambda: database
    one.turns(2)
    assert (one.titles, agreement.look(database, "error_rate").open) == ([], None)


def test_every_alarm_of_the_diagnostics_is_in_the_answer(make: Make, clock: Clock) -> None:
    one = make()
    one.sees(losses=4)
    one.turns(3)
    answer = one.alerts.read().to_json()
    assert (answer["scope"], answer["complete"], answer["channels"]) == ("instance", True, list(CHANNELS))
    (alarm,) = answer["alarms"]
    assert alarm["since"].startswith("2027-01-15T08:00:02")
    assert (alarm["severity"], alarm["kind"], alarm["facts"]) == (
        "error",
        "connection_failures",
        {"losses": 4, "minutes": 15},
    )
    (alert,) = answer["alerts"]
    assert [(one["channel"], one["state"]) for one in alert["channels"]] == [(name, "delivered") for name in CHANNELS]
    assert (answer["sent"], answer["failed"], answer["heldBack"]) == (2, 0, 0)


def test_a_process_that_only_asks_reads_the_same_and_becomes_no_sender(make: Make) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)
    one.turns(3)
    asking: Alerts = one.another(Journal(one.folder))
    assert asking.read() == one.alerts.read()
    assert asking.state() == AlertsState(sender=False)


def test_a_courier_that_breaks_is_told_and_tried_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make()
    one.backlog = JournalUse(1, 0.0)

    def broken(jobs: Any, stdout: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(one.alerts._deliveries, "_send", broken)
    one.turns(3)
    shown = one.alerts.read().to_json()["alerts"][0]["channels"]
    assert [(channel["state"], channel["reason"], channel["attempts"]) for channel in shown] == [
        ("waiting", "not_started", 1)
    ] * 2
    assert ("error", "the delivery program could not be run", {"error": "ZeroDivisionError"}) in one.told
    monkeypatch.undo()
    one.turn(60.0)
    assert one.titles == [DEAD]


def test_a_channel_that_works_again_has_it_once(make: Make) -> None:
    one = make()
    one.programs.failing["json #2"] = "timeout"
    one.backlog = JournalUse(1, 0.0)
    one.turns(3)
    one.programs.failing.clear()
    one.turns(3)
    assert one.titles == []
    one.turn(60.0)
    one.turns(3, 60.0)
    assert (one.titles, one.programs.tried["json #2"]) == ([DEAD], 2)
    answer = one.alerts.read().to_json()
    assert (answer["sent"], answer["failed"]) == (2, 0)


def test_a_channel_that_refuses_for_an_hour_is_given_up_and_counted(make: Make) -> None:
    one = make()
    one.programs.failing["json #2"] = "credentials"
    one.backlog = JournalUse(1, 0.0)
    one.turns(70, 60.0)
    assert (one.programs.tried["mailto #1"], one.programs.tried["json #2"]) == (1, 7)
    answer = one.alerts.read().to_json()
    assert (answer["sent"], answer["failed"]) == (1, 1)
    told = [(severity, message) for severity, message, facts in one.told if facts.get("channel") == "json #2"]
    assert told == [("warn", "an alert was not delivered yet")] * 6 + [
        ("error", "an alert was not delivered, and is given up")
    ]
    assert one.told[-1][2]["advice"].startswith("the receiver refuses who asks")


INCIDENTS = st.lists(st.tuples(st.integers(4, 7), st.integers(4, 7)), min_size=1, max_size=3)
KILLED = st.tuples(st.integers(1, 100), st.integers(1, 100))


@hypothesis.settings(max_examples=30)
@given(INCIDENTS, KILLED)
def test_whoever_is_killed_when_two_instances_tell_each_incident_once(
    make: Make,
    database: Any,
    stepped_files: None,
    stepped_claims: None,
    incidents: list[tuple[int, int]],
    killed: tuple[int, int],
) -> None:
    database[ALERT_CLAIMS].delete_many({})
    both = [make(f"{name}{secrets.token_hex(4)}", database) for name in "ab"]
    for one, at in zip(both, killed, strict=True):
        one.steps.at = at
    together(both, 2)
    for lasting, pausing in incidents:
        for one in both:
            one.sees("error_rate")
        together(both, lasting)
        for one in both:
            one.well()
        together(both, pausing)
    assert sorted(over(both)) == sorted([RATE, CALM] * len(incidents))
