"""Events of kinds of errors: many new ones are told together, and what an admin decides of them ends them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from prodfix.alert_settings import quiet_hours
from prodfix.alerts import alert, leader_state
from prodfix.alerts.instance_comparison import COMPARE_PERIOD
from prodfix.alerts.kind_events import EARLY_PAUSE, GATHERED, PAUSE
from prodfix.statistics.decisions import FADING
from prodfix.statistics.groups import ERROR_GROUPS
from tests.support.alert_instances import Instance
from tests.support.counting_worker import Clock

START = 1_800_000_000.0  # 08:00 in UTC
NEW, DONE = "[error] A new kind of error", "[over] The new kind of error is resolved or ignored"
ESCALATES, CALM = "[error] A kind of error escalates", "[over] The kind of error is calm again, resolved or ignored"
BACK = "[error] A resolved error is back"

Make = Callable[..., Instance]


@pytest.fixture
def make(make: Make, database: Any) -> Make:
    return partial(make, database=database)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def kind(number: int) -> dict[str, Any]:
    return {"fingerprint": f"{number:016x}", "message": f"KeyError: '{number}'", "releases": ["v2"]}


def of(title: str, number: int) -> str:
    """Of one kind of error a title says which."""
    return f"{title}: KeyError: '{number}'"


def stored(database: Any, number: int, **facts: Any) -> None:
    identity = {"_id": f"{number:016x}"}
    document = {"title": "t", "category": "unknown", "firstSeen": moment(START), "lastSeen": moment(START), **facts}
    database[ERROR_GROUPS].replace_one(identity, document, upsert=True)


def wait(one: Instance, seconds: float) -> None:
    one.turn(seconds)
    one.turns(2)


def test_a_new_kind_is_told_once_with_a_link_to_its_page(make: Make, database: Any) -> None:
    one = make()
    one.alerts.happened("new_kind", kind(1))
    one.turn()
    assert one.titles == [], "others may follow"
    wait(one, GATHERED)
    assert one.titles == [of(NEW, 1)]
    body = one.programs.arrived[-1]["body"]
    assert "error: KeyError: '1'\nreleases: v2\nfingerprint: 0000000000000001\n" in body
    assert "details: https://example.org/api/v1/diagnostics/page/groups/0000000000000001?timeRange=7d" in body
    wait(one, 600.0)
    one.kill()
    one.start()
    wait(one, 2.0)
    assert one.titles == [of(NEW, 1)], "the next leader reads the same row"


def test_many_new_kinds_are_one_alert_that_counts_them_and_names_the_first(make: Make, database: Any) -> None:
    one = make()
    for number in range(40):
        one.alerts.happened("new_kind", kind(number))
    one.turn()
    wait(one, GATHERED)
    assert one.titles == ["[error] 40 new kinds of errors"]
    body = one.programs.arrived[-1]["body"]
    assert "kinds of errors: 40\n" in body
    assert "fingerprint" not in body, "it would be that of the first"
    assert "the first of them: KeyError: '0', KeyError: '1', KeyError: '2', KeyError: '3', KeyError: '4'\n" in body
    assert "details: https://example.org/api/v1/diagnostics/page/groups?sort=newest" in body


def test_a_storm_of_new_kinds_is_told_once_with_one_number(make: Make, database: Any) -> None:
    one = make()
    for number in range(700):
        one.alerts.happened("new_kind", kind(number))
    one.turn()
    wait(one, GATHERED)
    wait(one, PAUSE)
    assert one.titles == ["[error] 700 new kinds of errors"]
    one.alerts.happened("new_kind", kind(700))
    one.turn()
    wait(one, GATHERED)
    assert one.titles[1:] == [of(NEW, 700)], "the control: what is new after it"


def test_of_more_than_one_alert_counts_it_says_that_there_are_more_and_no_second_one_comes(
    make: Make, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert, "MOST_MEMBERS", 20)
    one = make()
    for number in range(30):
        one.alerts.happened("new_kind", kind(number))
    one.turn()
    wait(one, GATHERED)
    wait(one, PAUSE)
    assert one.titles == ["[error] at least 20 new kinds of errors"]
    assert "kinds of errors: 20\nfurther kinds: not counted\n" in one.programs.arrived[-1]["body"]
    one.alerts.happened("new_kind", kind(30))
    one.turn()
    wait(one, GATHERED)
    assert one.titles[1:] == [of(NEW, 30)], "the control: what is new after it"


def test_kinds_that_are_not_told_apart_are_told_with_those_that_are(make: Make, database: Any) -> None:
    one = make()
    for number in range(30):
        one.alerts.happened("new_kind", kind(number))
    one.alerts.further_kinds(380)
    one.turn()
    one.alerts.further_kinds(400)
    one.turn()
    wait(one, GATHERED)
    assert one.titles == ["[error] at least 30 new kinds of errors"]
    assert "kinds of errors: 30\nfurther kinds: about 400, not told apart\n" in one.programs.arrived[-1]["body"]
    wait(one, PAUSE)
    one.kill()
    one.start()
    wait(one, 2.0)
    one.alerts.happened("new_kind", kind(31))
    one.turn()
    wait(one, GATHERED)
    assert one.titles[1:] == [of(NEW, 31)], "once; and the control: what is new after it has none"


def test_kinds_that_are_not_told_apart_and_come_later_are_told_after_it_and_once(make: Make, database: Any) -> None:
    one = make()
    for number in range(30):
        one.alerts.happened("new_kind", kind(number))
    one.turn()
    wait(one, GATHERED)
    for number in (100, 250, 400):
        one.alerts.further_kinds(number)
        wait(one, 10.0)
    assert one.titles == ["[error] 30 new kinds of errors", "[error] at least 30 new kinds of errors: more of them"]
    assert "further kinds: about 100, not told apart\n" in one.programs.arrived[-1]["body"]
    (alarm,) = [alarm for alarm in leader_state.read(one.folder).alerts.values() if alarm.kind == "new_kind"]
    assert alarm.facts["further"] == 400, "shown, where somebody looks"


def test_without_new_kinds_that_are_told_apart_there_is_nothing_to_add_to(make: Make, database: Any) -> None:
    one = make()
    one.alerts.further_kinds(400)
    wait(one, GATHERED)
    assert one.titles == []


def test_what_is_new_just_after_an_alert_gathers_for_longer(make: Make, database: Any) -> None:
    one = make()
    for number in range(30):
        one.alerts.happened("new_kind", kind(number))
        one.turn(4.0)
    assert one.titles == ["[error] 4 new kinds of errors"]
    wait(one, PAUSE)
    assert one.titles[1:] == ["[error] 26 new kinds of errors"]


@pytest.mark.parametrize("how", ["resolved", "ignored"])
def test_what_an_admin_decides_ends_it(make: Make, database: Any, clock: Clock, how: str) -> None:
    one = make()
    one.alerts.happened("new_kind", kind(1))
    one.turn()
    wait(one, GATHERED)
    stored(database, 1)
    wait(one, COMPARE_PERIOD)
    assert one.titles == [of(NEW, 1)], "nobody has decided of it"
    at = moment(clock.now)
    stored(database, 1, **({"resolvedAt": at} if how == "resolved" else {"ignored": {"by": "ann", "at": at}}))
    wait(one, COMPARE_PERIOD)
    assert one.titles == [of(NEW, 1), of(DONE, 1)]
    wait(one, COMPARE_PERIOD)
    assert one.titles == [of(NEW, 1), of(DONE, 1)]
    begun, ended = (job["notification"] for job in one.programs.arrived if job["channel"] == "json #2")
    assert begun.removesuffix(":begin") == ended.removesuffix(":end")


def test_in_the_first_hour_the_first_kind_is_told_at_once_and_the_others_together_half_an_hour_later(
    make: Make, database: Any
) -> None:
    one = make()
    one.alerts.happened("new_kind", kind(1) | {"early": True})
    one.turn()
    wait(one, GATHERED)
    assert one.titles == [of(NEW, 1)]
    for number in range(2, 40):
        one.alerts.happened("new_kind", kind(number) | {"early": True})
        one.turn(PAUSE / 8)
    assert len(one.titles) == 1
    wait(one, EARLY_PAUSE - 38 * PAUSE / 8)
    assert one.titles[1:] == ["[error] 38 new kinds of errors"]
    one.alerts.happened("new_kind", kind(40))  # the hour is over
    one.turns(2)
    wait(one, PAUSE)
    assert one.titles[2:] == [of(NEW, 40)], "the control"


def test_of_many_kinds_all_must_be_decided(make: Make, database: Any, clock: Clock) -> None:
    one = make()
    for number in (1, 2):
        one.alerts.happened("new_kind", kind(number))
    one.turn()
    wait(one, GATHERED)
    stored(database, 1, resolvedAt=moment(clock.now))
    wait(one, COMPARE_PERIOD)
    assert one.titles == ["[error] 2 new kinds of errors"]
    stored(database, 2, resolvedAt=moment(clock.now))
    wait(one, COMPARE_PERIOD)
    assert one.titles[1:] == [DONE]


def test_an_ignored_kind_alerts_nobody(make: Make, database: Any) -> None:
    ignored = {"by": "ann", "at": moment(START - 60)}
    for number, more in ((1, {}), (2, {"escalates": True})):
        stored(database, number, ignored=ignored | more, escalation={"since": moment(START)})
    one = make()
    for number in (1, 2):
        one.alerts.happened("escalating", kind(number))
    wait(one, 2.0)
    assert one.titles == [of(ESCALATES, 2)]
    assert "fingerprint: 0000000000000002" in one.programs.arrived[-1]["body"]


def test_an_escalation_says_how_it_was_decided_and_is_over_when_somebody_finds_so(
    make: Make, database: Any, clock: Clock
) -> None:
    one = make()
    figures = {"seen": 40, "expected": 2.5, "bound": 9, "minutes": 30, "days": 7.0}
    looked = {"since": moment(START), **figures, "lookedAt": moment(START)}
    stored(database, 1, escalation=looked)
    one.alerts.happened("escalating", kind(1) | {"escalation": figures})
    wait(one, 2.0)
    figures_told = "seen: 40\nwithin minutes: 30\nexpected: 2.5\nescalates above: 9\njudged by its last days: 7.0\n"
    assert figures_told in one.programs.arrived[-1]["body"]
    wait(one, 2 * FADING.total_seconds())
    assert one.titles == [of(ESCALATES, 1)], "nobody has looked: that is no end"
    stored(database, 1)
    wait(one, COMPARE_PERIOD)
    assert one.titles == [of(ESCALATES, 1), of(CALM, 1)]


def now_wrong(one: Instance) -> list[tuple[str, str]]:
    return [(alarm.kind, alarm.told) for alarm in one.alerts.read().alarms]


@pytest.mark.parametrize("how", ["told", "muted", "no channels"])
def test_what_is_back_or_escalates_is_wrong_now_until_it_is_over(
    make: Make, database: Any, clock: Clock, how: str
) -> None:
    one = make(**({"channels": {}} if how == "no channels" else {}))
    if how == "muted":
        one.alerts.mute("all", "ann", span="ever")
    told = {"told": "by this instance"}.get(how, how)
    stored(database, 1, escalation={"since": moment(START), "lookedAt": moment(START)})
    stored(database, 2, resolvedAt=moment(START - 60), regressedAt=moment(START))
    for event, number in (("escalating", 1), ("regression", 2), ("new_kind", 3)):
        one.alerts.happened(event, kind(number))
    wait(one, 60.0)
    assert now_wrong(one) == [("escalating", told), ("regression", told)]
    (first, _) = one.alerts.read().alarms
    assert (first.facts["error"], first.facts["fingerprint"]) == ("KeyError: '1'", f"{1:016x}")
    stored(database, 1)
    stored(database, 2, decided={"state": moment(clock.now)})
    wait(one, COMPARE_PERIOD)
    assert now_wrong(one) == []
    assert [facts["alarm"] for _, _, facts in one.told if facts.get("state") == "over"] == [
        f"escalating:{1:016x}",
        f"regression:{2:016x}",
    ]
    ends = [of(CALM, 1), of("[over] The error that was back is resolved, ignored or opened again", 2)]
    assert sorted(title for title in one.titles if "[over]" in title) == (sorted(ends) if how == "told" else [])


@pytest.mark.parametrize("how", ["resolved", "ignored", "opened"])
def test_what_was_ignored_until_something_is_told_when_it_has_come_until_an_admin_decides_anew(
    make: Make, database: Any, clock: Clock, how: str
) -> None:
    one = make()
    stored(database, 1, decided={"state": moment(START - 60)})
    one.alerts.happened("unignored", {**kind(1), "ignoredUntil": "9 more"})
    wait(one, 2 * COMPARE_PERIOD)
    begun = of("[error] An ignored kind of error is open again", 1)
    assert (one.titles, now_wrong(one)) == ([begun], [("unignored", "by this instance")]), "nobody has decided since"
    assert "error: KeyError: '1'\nignored until: 9 more\n" in one.programs.arrived[-1]["body"]
    facts: dict[str, Any] = {
        "resolved": {"resolvedAt": moment(clock.now)},
        "ignored": {"ignored": {"by": "ann", "at": moment(clock.now)}},
        "opened": {"decided": {"state": moment(clock.now)}},
    }[how]
    stored(database, 1, **facts)
    wait(one, COMPARE_PERIOD)
    assert one.titles[1:] == [of("[over] The kind of error that was ignored is decided of again", 1)]
    assert now_wrong(one) == []


def test_what_nobody_wanted_to_hear_of_is_not_wrong_now(make: Make, database: Any) -> None:
    stored(database, 1, ignored={"by": "ann", "at": moment(START - 60)}, regressedAt=moment(START))
    one = make()
    one.alerts.happened("regression", kind(1))
    wait(one, COMPARE_PERIOD)
    assert (one.titles, now_wrong(one)) == ([], [])


def test_without_a_rule_there_is_no_event(make: Make, database: Any) -> None:
    one = make(on=frozenset({"regression"}))
    one.alerts.happened("new_kind", kind(1))
    one.alerts.happened("regression", kind(2))
    one.turn()
    wait(one, GATHERED)
    assert one.titles == [of(BACK, 2)]


def test_what_happened_in_the_hours_of_quiet_is_one_summary(make: Make, database: Any, clock: Clock) -> None:
    one = make(quiet=quiet_hours("07:30-09:00"))
    one.alerts.happened("regression", kind(1))
    one.alerts.happened("escalating", kind(2))
    wait(one, 60.0)
    assert one.titles == []
    wait(one, 3600.0)
    assert one.titles == ["[summary] 2 in the hours of quiet"]
    body = one.programs.arrived[-1]["body"]
    assert f"{of(BACK, 1)}\n" in body
    assert "details: https://example.org/api/v1/diagnostics/page/alerts" in body
    wait(one, 60.0)
    assert len(one.titles) == 1
