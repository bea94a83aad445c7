"""What nobody is told of: rules that are off or go elsewhere, what is muted, and the hours of quiet; with a control for each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from prodfix.alert_settings import ALL_RULES, quiet_hours
from prodfix.alerts import leader_state, mutes
from prodfix.alerts.agreement import ALERT_CLAIMS
from prodfix.alerts.conditions import JournalUse
from prodfix.alerts.leader_state import MOST_HELD
from prodfix.alerts.mutes import EVER, Mute, Mutes, muted_until
from prodfix.alerts.policy import MUTED, RETRY
from prodfix.statistics.groups import ERROR_GROUPS
from tests.support.alert_instances import CHANNELS, Instance
from tests.support.counting_worker import Clock

START = 1_800_000_000.0  # 08:00 in UTC
DEAD, NONE_DEAD = "[error] Deferred writes became dead letters", "[over] No dead letter is left"
LOST, BACK = "[critical] The database does not answer", "[over] The database answers again"
REGRESSION = {"fingerprint": "f00d", "message": "INTERNAL_ERROR (ValueError)", "releases": ["v2"]}
HOURS = quiet_hours("07:30-09:00")

Make = Callable[..., Instance]


def dead(one: Instance, number: int = 1, turns: int = 4) -> None:
    one.backlog = JournalUse(number, 0.0)
    one.turns(turns)


def told(one: Instance) -> list[str]:
    return [alarm["told"] for alarm in one.alerts.read().to_json()["alarms"]]


# -- rules and routes -------------------------------------------------------------------------------------------------------


def test_a_channel_hears_of_its_rules_alone(make: Make, database: Any) -> None:
    one = make(routes={"mailto #1": frozenset({"memory"})})
    dead(one)
    dead(one, 0)
    assert [one.programs.titles(channel) for channel in CHANNELS] == [[], [DEAD, NONE_DEAD]]


def test_what_no_channel_hears_of_is_shown_and_waits_for_nobody(make: Make) -> None:
    one = make(routes=dict.fromkeys(CHANNELS, frozenset({"memory"})))
    one.alerts.happened("regression", REGRESSION)
    dead(one)
    assert (one.titles, told(one)) == ([], ["no channels", "no channels"])
    assert one.alerts.read().to_json()["heldBack"] == 0


def test_a_rule_that_is_off_is_neither_told_nor_shown_and_not_over(make: Make) -> None:
    one = make()
    dead(one)
    one.kill()
    one._options["on"] = ALL_RULES - {"dead_letters"}
    one.start()
    dead(one, 0)
    assert (one.titles, told(one)) == ([DEAD], []), "nobody looks any more: that is no end"
    one.kill()
    one._options["on"] = ALL_RULES
    one.start()
    dead(one, 0)
    assert one.titles == [DEAD, NONE_DEAD], "the control: now somebody looks again"


def test_the_report_says_of_each_rule_whether_it_is_on_and_who_hears_of_it(make: Make) -> None:
    one = make(on=ALL_RULES - {"memory"}, routes={"mailto #1": frozenset({"new_kind"})})
    one.alerts.mute("new_kind", "ann")
    rules = {rule["rule"]: (rule["state"], rule["channels"]) for rule in one.alerts.read().to_json()["rules"]}
    assert rules["memory"] == ("off", [])
    assert rules["new_kind"] == ("muted", ["mailto #1", "json #2"])
    assert rules["dead_letters"] == ("on", ["json #2"])
    assert set(rules) == ALL_RULES


# -- mutes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["dead_letters", "all"])
def test_what_is_muted_is_told_once_the_mute_ends_if_it_is_still_there(make: Make, rule: Any) -> None:
    one = make()
    one.alerts.mute(rule, "ann")
    dead(one)
    assert (one.titles, told(one)) == ([], ["muted"])
    assert one.alerts.read().to_json()["muted"] == 1
    one.turn(3600.0)
    one.turns(2)
    assert one.titles == [DEAD]


def test_what_is_over_meanwhile_is_told_not_at_all(make: Make) -> None:
    one = make()
    one.alerts.mute("dead_letters", "ann")
    dead(one)
    dead(one, 0)
    one.turn(3600.0)
    one.turns(3)
    assert one.titles == []


def test_the_end_of_what_was_told_before_is_told(make: Make) -> None:
    one = make()
    dead(one)
    one.alerts.mute("all", "ann")
    dead(one, 0)
    assert one.titles == [DEAD, NONE_DEAD], "a pager calls people for what it has open"


@pytest.mark.parametrize("end", ["over", "unmuted"])
def test_of_events_that_are_muted_one_summary_tells_when_the_mute_ends(make: Make, end: str) -> None:
    one = make(routes={"mailto #1": frozenset({"memory"})})
    one.alerts.mute("all", "ann")
    one.alerts.happened("regression", REGRESSION)
    one.alerts.happened("new_kind", {**REGRESSION, "fingerprint": "cafe"})
    one.turns(3)
    assert one.titles == [], "the control: they are muted"
    one.kill()
    one.start()
    one.turn(600.0)
    assert one.titles == [], "and nothing else ends it"
    if end == "unmuted":
        one.alerts.unmute("all", "ann")
    one.turn(1.0 if end == "unmuted" else 3000.0)
    one.turns(3)
    assert one.programs.titles("json #2") == ["[summary] 2 while muted"]
    assert one.programs.titles("mailto #1") == [], "as of any alert"
    body = one.programs.arrived[-1]["body"]
    assert body.startswith("2 alerts were held back while muted; the mute has ended.\n")
    assert "[error] A resolved error is back: INTERNAL_ERROR (ValueError)\n" in body
    one.alerts.happened("regression", REGRESSION)
    one.turns(3)
    assert one.programs.titles("json #2")[1:] == ["[error] A resolved error is back: INTERNAL_ERROR (ValueError)"]


def test_of_a_mute_that_goes_on_nothing_is_told_when_another_one_ends(make: Make) -> None:
    one = make()
    one.alerts.mute("regression", "ann", span="ever")
    one.alerts.mute("new_kind", "ann")
    one.alerts.happened("regression", REGRESSION)
    one.alerts.happened("new_kind", {**REGRESSION, "fingerprint": "cafe"})
    one.turns(3)
    one.turn(3600.0)
    one.turns(3)
    assert one.titles == ["[summary] 1 while muted"]
    one.turn(8 * 24 * 3600.0)
    one.alerts.unmute("regression", "ann")
    one.turns(3)
    assert one.titles == ["[summary] 1 while muted"], "what is older than a week is no news"


def test_what_an_admin_has_decided_meanwhile_is_not_in_the_summary(make: Make, database: Any, clock: Clock) -> None:
    one = make(database=database)
    one.alerts.mute("all", "ann")
    for name in ("f00d", "cafe"):
        group = {"_id": name, "title": "t", "category": "unknown", "releases": [], "firstSeen": datetime.now(UTC)}
        database[ERROR_GROUPS].insert_one(group)
        one.alerts.happened("regression", {**REGRESSION, "fingerprint": name})
    one.turns(3)
    decided = {"resolvedAt": datetime.fromtimestamp(clock.now + 1, UTC)}
    database[ERROR_GROUPS].update_one({"_id": "f00d"}, {"$set": decided})
    one.turn(60.0)
    one.turns(2)
    one.alerts.unmute("all", "ann")
    one.turn(60.0)
    one.turns(3)
    assert one.titles == ["[summary] 1 while muted"]


def test_a_storm_while_muted_is_bounded_and_counted(make: Make) -> None:
    one = make()
    one.alerts.mute("regression", "ann")
    for number in range(MOST_HELD + 7):
        one.alerts.happened("regression", {**REGRESSION, "fingerprint": f"{number:x}"})
    one.turns(3)
    assert len(leader_state.read(one.folder).muted) == MOST_HELD
    one.alerts.unmute("regression", "ann")
    one.turns(3)
    assert one.titles == [f"[summary] {MOST_HELD + 7} while muted"]


def test_another_rule_is_told_all_the_same(make: Make) -> None:
    one = make()
    one.alerts.mute("memory", "ann")
    dead(one)
    assert one.titles == [DEAD]


def test_a_mute_is_taken_back_and_outlives_whoever_leads(make: Make) -> None:
    one = make()
    one.alerts.mute("dead_letters", "ann", span="ever")
    one.kill()
    one.start()
    dead(one)
    assert one.titles == []
    (muted,) = one.alerts.read().to_json()["mutes"]
    assert (muted["rule"], muted["until"], muted["by"], muted["everywhere"]) == ("dead_letters", None, "ann", False)
    assert one.alerts.unmute("dead_letters", "bob") == []
    one.turns(2)
    assert one.titles == [DEAD]
    assert [facts for _, message, facts in one.told if message.startswith("alerts are")] == [
        {"rule": "dead_letters", "until": None, "by": "ann"},
        {"rule": "dead_letters", "until": None, "by": "bob"},
    ]


def test_until_morning_is_until_the_hours_of_quiet_end(make: Make) -> None:
    one = make(quiet=HOURS)
    (muted,) = one.alerts.mute("memory", "ann", span="morning")
    assert muted.to_json()["until"] == "2027-01-15T09:00:00.000Z"


def test_a_mute_holds_in_every_instance_before_it_tells_anything(make: Make, database: Any) -> None:
    first, second = make("a", database), make("b", database)
    first.alerts.mute("dead_letters", "ann", span="ever")
    first.turn()
    second.turns(2)
    assert first.alerts.read().mutes[0].everywhere
    dead(second)
    assert second.titles == []
    assert [one.by for one in second.alerts.read().mutes] == ["ann"]
    second.turn(RETRY)
    second.alerts.unmute("dead_letters", "bob")
    second.turns(3)
    assert second.titles == [DEAD]
    dead(first)
    first.turn(MUTED)
    first.turns(2)
    assert (first.titles, first.alerts.read().mutes) == ([DEAD], ()), "the later order wins, whoever gave it"


def test_what_was_muted_while_mongodb_was_away_reaches_the_others_afterwards(make: Make, database: Any) -> None:
    first, second = make("a"), make("b", database)
    first.alerts.mute("dead_letters", "ann", span="ever")
    dead(first)
    assert (first.titles, first.alerts.read().mutes[0].everywhere) == ([], False)
    assert database[ALERT_CLAIMS].count_documents({}) == 0
    first.database = database
    first.turns(2)
    dead(second)
    assert second.titles == []
    assert first.alerts.read().mutes[0].everywhere


def test_a_file_that_is_damaged_mutes_nobody(make: Make) -> None:
    one = make()
    one.alerts.mute("all", "ann")
    (one.folder / mutes.FILE).write_bytes(b"[{")
    dead(one)
    assert one.titles == [DEAD]


def test_of_two_orders_the_later_one_counts_whatever_comes_first(tmp_path: Path) -> None:
    earlier, later = Mute("memory", EVER, "ann", 10.0), Mute("memory", 0.0, "bob", 20.0)
    for number, (one, other) in enumerate([(earlier, later), (later, earlier)]):
        file = Mutes(tmp_path / str(number))
        file.merge([one])
        assert file.merge([other]) == {"memory": later}
        assert muted_until(file.read(), "memory", 15.0) is None
    later_release = [{"rule": "later", "until": 1.0, "by": "x", "at": 1.0, "stored": True}]
    (tmp_path / "0" / mutes.FILE).write_bytes(orjson.dumps(later_release))
    assert file.read() == {"memory": later}
    assert Mutes(tmp_path / "0").read() == {}


# -- hours of quiet -----------------------------------------------------------------------------------------------------------


def test_what_is_over_by_then_is_told_in_one_summary_after_the_hours_of_quiet(make: Make) -> None:
    one = make(quiet=HOURS)
    for _ in range(2):
        dead(one)
        dead(one, 0)
    one.alerts.happened("regression", REGRESSION)
    one.turns(3)
    assert one.titles == []
    one.turn(3600.0)
    one.turns(3)
    assert one.titles == ["[summary] 3 in the hours of quiet"]
    body = one.programs.arrived[-1]["body"]
    assert body.count(DEAD) == 2
    assert " until 2027-01-15T08:00:" in body
    one.turn(600.0)
    assert len(one.titles) == 1


def test_what_is_still_there_after_them_is_told_by_itself(make: Make) -> None:
    one = make(quiet=HOURS)
    dead(one)
    assert (one.titles, told(one)) == ([], ["hours of quiet"])
    one.turn(3600.0)
    one.turns(2)
    assert one.titles == [DEAD]


def test_critical_alerts_pass(make: Make, database: Any) -> None:
    one = make(quiet=HOURS)
    one.sees("database_lost")
    one.turns(3)
    one.well()
    one.database = database
    one.turns(4)
    assert one.titles == [LOST, BACK]


def test_an_end_passes_too(make: Make, clock: Clock) -> None:
    clock.now = START - 3600.0
    one = make(quiet=HOURS)
    dead(one)
    clock.now = START
    dead(one, 0)
    assert one.titles == [DEAD, NONE_DEAD]


def test_a_pager_gets_no_summary(make: Make) -> None:
    one = make(quiet=HOURS, channels={"pagerduty #1": "pagerduty://k", "json #2": "json://b"})
    dead(one)
    dead(one, 0)
    one.turn(3600.0)
    one.turns(2)
    assert [one.programs.titles(name) for name in ("pagerduty #1", "json #2")] == [
        [],
        ["[summary] 1 in the hours of quiet"],
    ]


def test_the_report_says_that_it_is_quiet(make: Make, clock: Clock) -> None:
    one = make(quiet=HOURS)
    quiet = {"hours": "07:30-09:00 UTC", "now": True, "ends": "2027-01-15T09:00:00.000Z"}
    assert one.alerts.read().to_json()["quiet"] == quiet
    clock.now += 7200.0
    assert one.alerts.read().to_json()["quiet"]["now"] is False
    assert make("b").alerts.read().to_json()["quiet"] is None
