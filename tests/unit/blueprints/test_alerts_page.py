"""The page of alerts and what the API has for it: who hears of what, and mutes that hold in all workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from prodfix.alert_settings import ALL_RULES
from prodfix.alerts import leader_state
from prodfix.alerts.alert import Alert
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.mutes import Mutes
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.workers.workers import Workers

PAGE = f"{PREFIX}/page/alerts"


@pytest.fixture
def app(adopt: Callable[..., Flask]) -> Callable[..., Flask]:
    def make(**values: Any) -> Flask:
        host = Flask("host")
        host.register_blueprint(diagnostics.blueprint)
        return adopt(host, **({"diagnostics_auth_required": False} | values))

    return make


def csrf(text: str) -> str:
    return text.partition('name="csrf" value="')[2].partition('"')[0]


def test_without_a_channel_it_says_what_to_do(app: Callable[..., Flask]) -> None:
    text = app().test_client().get(PAGE).text
    assert "<strong>Nobody is told when something is wrong.</strong> Set <code>PRODFIX_ALERT_URLS</code>" in text
    assert "<code>flask prodfix alerts test</code>" in text
    assert "nobody hears of it" not in text, "which it has said already, of all rules"
    assert "Nothing is wrong that a rule looks for." in text


def test_a_rule_without_a_channel_says_so(app: Callable[..., Flask]) -> None:
    text = app(alert_urls=SecretStr("pagerduty://k?rules=memory")).test_client().get(PAGE).text
    assert text.count("nobody hears of it") == len(ALL_RULES) - 1
    assert text.count("critical · pagerduty #1") == 1


def test_a_kind_that_is_back_or_escalates_leads_to_its_page(
    app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = app()
    facts = {"fingerprint": "f00d", "error": "KeyError: <b>"}
    known = Alert("regression:f00d", "regression", facts, since=1_800_000_000.0, members=["f00d"])
    monkeypatch.setattr(leader_state, "read", lambda folder: LeaderState({known.key: known}))
    text = host.test_client().get(PAGE).text
    assert f'<a href="{PREFIX}/page/groups/f00d?timeRange=7d">KeyError: &lt;b&gt;</a> since' in text
    assert "Nothing is wrong that a rule looks for." not in text
    assert host.test_client().get(f"{PREFIX}/alerts").json["alarms"][0]["facts"] == facts


def test_with_one_there_are_no_alerts_yet(app: Callable[..., Flask]) -> None:
    urls = SecretStr("hooks://a pagerduty://k?rules=memory")
    text = app(alert_urls=urls, alert_rules="-log_sink", alert_quiet_hours="22:00-07:00").test_client().get(PAGE).text
    assert "No alerts yet. They go to hooks #1, pagerduty #2" in text
    assert "critical · hooks #1, pagerduty #2" in text
    assert "switched off by PRODFIX_ALERT_RULES" in text, "it is a host's"
    assert "Hours of quiet: 22:00-07:00 UTC." in text
    assert text.count("<h1") == 1


def test_a_rule_is_muted_and_unmuted_by_its_buttons(app: Callable[..., Flask]) -> None:
    client = app(alert_urls=SecretStr("hooks://a")).test_client()
    form = {"csrf": csrf(client.get(PAGE).text), "rule": "new_kind", "span": "ever"}
    answer = client.post(f"{PAGE}/mute", data=form)
    assert (answer.status_code, answer.location) == (303, f"{PAGE}?done=mute")
    text = client.get(answer.location).text
    assert "Muted in this instance; others hear of it when MongoDB answers again." in text
    assert "until unmuted, in this instance (others hear of it when MongoDB answers again)" in text
    (mute,) = client.get(f"{PREFIX}/alerts").json["mutes"]
    assert (mute["rule"], mute["until"], mute["by"], mute["everywhere"]) == ("new_kind", None, "anybody", False)
    answer = client.post(f"{PAGE}/unmute", data={"csrf": form["csrf"], "rule": "new_kind"})
    assert "Not muted any more in this instance; others hear of it" in client.get(answer.location).text
    assert client.get(f"{PREFIX}/alerts").json["mutes"] == []


def test_all_are_muted_for_an_hour_and_the_page_says_so(app: Callable[..., Flask]) -> None:
    client = app(alert_urls=SecretStr("hooks://a")).test_client()
    client.post(f"{PAGE}/mute", data={"csrf": csrf(client.get(PAGE).text), "rule": "all"})
    text = client.get(PAGE).text
    assert "<strong>All alerts are muted</strong> until" in text
    assert "Other instances do not know yet" in text
    assert ">Mute …" not in text


def test_what_is_said_of_a_mute_is_what_the_api_says_of_it(
    app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = app(alert_urls=SecretStr("hooks://a"))
    client, alerts = made.test_client(), made.extensions["prodfix"].alerts
    client.post(f"{PAGE}/mute", data={"csrf": csrf(client.get(PAGE).text), "rule": "memory"})
    (worker,) = alerts.observer.workers.read()
    connected = replace(worker, connection=replace(worker.connection, state="connected"))
    for workers, told in (([worker, connected], "within seconds"), ([], "once a worker of this one runs")):
        monkeypatch.setattr(Workers, "read", lambda self, found=workers, **options: found)
        assert f"Muted in this instance; others hear of it {told}." in client.get(f"{PAGE}?done=mute").text
    monkeypatch.undo()
    mutes = Mutes(made.extensions["prodfix"].runtime.journal.folder)
    mutes.merge([replace(one, stored=True) for one in mutes.read().values()])
    assert client.get(f"{PREFIX}/alerts").json["mutes"][0]["everywhere"] is True
    text = client.get(f"{PAGE}?done=mute").text
    assert "Muted in all instances." in text
    assert "others hear of it" not in text


@pytest.mark.parametrize("form", [{"rule": "nosuch"}, {}, {"rule": "all", "span": "2h"}, {"rule": "all", "more": "x"}])
def test_a_form_that_is_none_changes_nothing(app: Callable[..., Flask], form: dict[str, str]) -> None:
    client = app().test_client()
    assert client.post(f"{PAGE}/mute", data={"csrf": csrf(client.get(PAGE).text), **form}).status_code == 422
    assert client.post(f"{PAGE}/nosuch", data={"csrf": csrf(client.get(PAGE).text)}).status_code == 404
    assert client.post(f"{PAGE}/mute", data={"rule": "all"}).status_code == 403, "without the form's token"
    assert client.get(f"{PREFIX}/alerts").json["mutes"] == []


def test_the_api_mutes_for_a_span_or_until_a_moment(app: Callable[..., Flask]) -> None:
    client = app().test_client()
    answer = client.post(f"{PREFIX}/alerts/mute", json={"rule": "memory", "until": "2100-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json["mutes"][0]["until"]) == (200, "2100-01-01T00:00:00.000Z")
    answer = client.post(f"{PREFIX}/alerts/mute", json={"rule": "new_kind", "for": "morning"})
    assert [one["rule"] for one in answer.json["mutes"]] == ["new_kind", "memory"]
    states = {one["rule"]: one["state"] for one in client.get(f"{PREFIX}/alerts").json["rules"]}
    assert [rule for rule, state in states.items() if state == "muted"] == ["new_kind", "memory"]
    assert client.post(f"{PREFIX}/alerts/unmute", json={"rule": "memory"}).json["mutes"][0]["rule"] == "new_kind"


@pytest.mark.parametrize(
    "body", [{"rule": "all", "until": "2001-01-01T00:00:00Z"}, {"rule": "x"}, {"rule": "all", "for": "2h"}, {}]
)
def test_what_the_api_cannot_read_it_refuses(app: Callable[..., Flask], body: dict[str, str]) -> None:
    assert app().test_client().post(f"{PREFIX}/alerts/mute", json=body).status_code == 422


def test_another_worker_says_the_same(app: Callable[..., Flask], adopt: Callable[..., Flask]) -> None:
    first, second = app(), app()
    first.test_client().post(f"{PREFIX}/alerts/mute", json={"rule": "all"})
    assert [one["rule"] for one in second.test_client().get(f"{PREFIX}/alerts").json["mutes"]] == ["all"]
