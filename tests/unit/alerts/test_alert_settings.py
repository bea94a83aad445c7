"""What the settings say of alerts: rules, routes and hours of quiet."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from prodfix import Settings
from prodfix.alert_settings import ALL_RULES, alert_route, alert_rules, next_morning, quiet_hours
from prodfix.checked_record import ValidationError

CANARY = "canary7f3a"


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("all", ALL_RULES),
        ("", ALL_RULES),
        ("none", frozenset()),
        ("new_kind, error_rate", {"new_kind", "error_rate"}),
        ("NEW_KIND memory", {"new_kind", "memory"}),
        ("-regression", ALL_RULES - {"regression"}),
        ("-regression,-memory", ALL_RULES - {"regression", "memory"}),
    ],
)
def test_rules_are_those_that_are_named_or_all_but_those(text: str, rules: frozenset[str]) -> None:
    assert alert_rules(text) == rules


@pytest.mark.parametrize("text", ["nosuch", "new_kind,-memory", "-nosuch", "all,memory", "--memory"])
def test_what_names_no_rule_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"there are: database_lost, .*memory$|not both"):
        alert_rules(text)


@pytest.mark.parametrize(
    ("url", "kept", "rules"),
    [
        ("slack://a/b/c", "slack://a/b/c", ALL_RULES),
        ("slack://a/b?rules=new_kind,error_rate", "slack://a/b", {"new_kind", "error_rate"}),
        ("slack://a?x=1&rules=-memory&y=%2C", "slack://a?x=1&y=%2C", ALL_RULES - {"memory"}),
        ("mailto://h?to=a@x,b@x&rules=new_kind%2Cmemory", "mailto://h?to=a@x,b@x", {"new_kind", "memory"}),
        ("slack://a?overrules=1", "slack://a?overrules=1", ALL_RULES),
    ],
)
def test_a_url_may_be_for_some_rules_and_apprise_gets_nothing_of_it(url: str, kept: str, rules: frozenset[str]) -> None:
    found = alert_route(url)
    assert (found.url, found.rules) == (kept, rules)


def test_a_rule_that_there_is_not_is_an_error_that_shows_no_url() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(alert_urls=SecretStr(f"json://a json://u:{CANARY}@h?rules=nosuch"))
    told = str(raised.value.problems)
    assert "number 2 names a rule that there is not; there are: database_lost" in told
    assert CANARY not in told
    with pytest.raises(ValidationError):
        Settings(alert_rules="nosuch")


def test_the_settings_have_channels_with_their_rules() -> None:
    settings = Settings(alert_urls=SecretStr("json://a?rules=memory hooks://b"), alert_rules="-regression")
    assert settings.alert_channels == ("json://a", "hooks://b")
    assert [route.rules for route in settings.alert_routes] == [{"memory"}, ALL_RULES]
    assert settings.rules_on == ALL_RULES - {"regression"}
    assert (Settings().rules_on, Settings().quiet_hours) == (ALL_RULES, None)


def test_hooks_and_pagers_need_no_apprise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Settings(alert_urls=SecretStr("hooks://a pagerduty://k opsgenie://k")).alert_channels != ()
    with pytest.raises(ValidationError):
        Settings(alert_urls=SecretStr("hooks://a slack://b"))


def test_a_secret_that_is_short_signs_nothing() -> None:
    with pytest.raises(ValidationError):
        Settings(alert_hook_secret=SecretStr("short"))
    assert Settings(alert_hook_secret=SecretStr("")).alert_hook_secret is None


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("hours", "moment", "zone", "quiet"),
    [
        ("22:00-07:00 Europe/Berlin", "2026-01-05 21:59", "Europe/Berlin", False),
        ("22:00-07:00 Europe/Berlin", "2026-01-05 22:00", "Europe/Berlin", True),
        ("22:00-07:00 Europe/Berlin", "2026-01-06 06:59", "Europe/Berlin", True),
        ("22:00-07:00 Europe/Berlin", "2026-01-06 07:00", "Europe/Berlin", False),
        ("22:00-07:00 Europe/Berlin", "2026-07-06 05:30", "UTC", False),
        ("22:00-07:00 Europe/Berlin", "2026-01-06 05:30", "UTC", True),
        ("12:00-13:30", "2026-01-06 13:29", "UTC", True),
        ("12:00-13:30", "2026-01-06 13:30", "UTC", False),
    ],
)
def test_it_is_quiet_by_the_clocks_of_the_zone(hours: str, moment: str, zone: str, quiet: bool) -> None:
    found = quiet_hours(hours)
    assert found is not None
    assert found.now(at(moment, zone)) is quiet


@pytest.mark.parametrize(
    ("moment", "morning"),
    [
        ("2026-01-05 23:00", "2026-01-06 07:00"),
        ("2026-01-06 06:59", "2026-01-06 07:00"),
        ("2026-01-06 07:00", "2026-01-07 07:00"),
        ("2026-03-28 23:00", "2026-03-29 07:00"),  # an hour is left out that night
        ("2026-10-24 23:00", "2026-10-25 07:00"),  # and one comes twice
    ],
)
def test_morning_is_when_the_hours_of_quiet_end(moment: str, morning: str) -> None:
    zone = "Europe/Berlin"
    assert next_morning(at(moment, zone), quiet_hours(f"22:00-07:00 {zone}")) == at(morning, zone)
    assert next_morning(at("2026-01-05 23:00", "UTC"), None) == at("2026-01-06 07:00", "UTC")


@pytest.mark.parametrize(
    "text", ["22-7", "22:00-24:00", "22:00-07:00 Nowhere/Place", "22:00-22:00", "07:00", "a", "1:00-2:00 ../x"]
)
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hours|minute|time zone"):
        quiet_hours(text)


def test_hours_are_shown_as_they_are_written() -> None:
    assert str(quiet_hours("22:00 - 7:05 Europe/Berlin")) == "22:00-07:05 Europe/Berlin"
    assert str(quiet_hours("22:00-07:00")) == "22:00-07:00 UTC"
