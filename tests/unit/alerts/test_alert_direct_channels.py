"""What web hooks, PagerDuty and Opsgenie get: facts and a key, by which the end closes what the beginning has opened."""

from __future__ import annotations

import ast
import hashlib
import hmac
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.ports import free_port
from prodfix.alert_settings import DIRECT
from prodfix.alerts import delivery, direct_channels, hook_events
from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import SEVERITIES
from prodfix.alerts.messages import Origin
from prodfix.alerts.notifications import DeliveryResult
from tests.support.pagers import Pager

CANARY = "canary7f3a"
SECRET = "a-secret-of-the-hook"
ORIGIN = Origin("web-1", "v7", lambda: "https://example.org/diagnostics", "example.org")
SINCE = 1_800_000_000.0


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as made:
        yield made


def event(part: Any = "begin", **facts: Any) -> dict[str, Any]:
    one = Alert("dead_letters@web-1", "dead_letters", facts or {"dead": 3}, since=SINCE, started=SINCE)
    one.until = SINCE + 60 if part == "end" else None
    return hook_events.event_of(one, part, ORIGIN)


def job(url: str, part: str = "begin", **more: Any) -> dict[str, Any]:
    whole = {"notification": f"e:{part}", "channel": "one #1", "url": url, "part": part, "severity": "error"}
    return (
        whole
        | {
            "title": "[error] Title (web-1)",
            "body": "the text",
            "secret": None,
            **({} if "event" in more else {"event": event(part)}),
        }
        | more
    )


def send(*jobs: dict[str, Any]) -> list[str | None]:
    file = os.memfd_create("results", os.MFD_CLOEXEC)
    try:
        delivery.send(jobs, file, limit=20.0)
        found = delivery.results(os.pread(file, 1_000_000, 0))
    finally:
        os.close(file)
    results: list[DeliveryResult] = delivery.with_missing(jobs, found, "no_result")
    return [result.reason for result in sorted(results, key=lambda result: result.channel)]


def test_a_web_hook_gets_facts_and_a_key(pager: Pager) -> None:
    assert send(job(pager.hook), job(pager.hook, "end")) == [None, None]
    begun, ended = (one.body for one in pager.posted)
    assert begun == {
        "alarm": "dead_letters",
        "state": "firing",
        "severity": "error",
        "since": "2027-01-15T08:00:00.000Z",
        "first": None,
        "until": None,
        "url": "https://example.org/diagnostics/page/deferred?state=failed",
        "facts": {"dead": 3},
        "dedupKey": "example.org/dead_letters@web-1",
        "instance": "web-1",
        "release": "v7",
        "id": "e:begin",
        "title": "[error] Title (web-1)",
    }
    assert (ended["state"], ended["until"]) == ("resolved", "2027-01-15T08:01:00.000Z")
    assert ended["dedupKey"] == begun["dedupKey"]
    assert pager.posted[0].path == "/alerts"
    assert "x-prodfix-signature" not in pager.posted[0].headers


def test_a_web_hook_is_signed_with_the_secret_and_can_have_a_password(pager: Pager) -> None:
    url = f"hook://ann:pa%40ss@127.0.0.1:{pager.port}/x?y=1"
    assert send(job(url, secret=SECRET)) == [None]
    (one,) = pager.posted
    at, signature = (part.partition("=")[2] for part in one.headers["x-prodfix-signature"].split(","))
    wanted = hmac.new(SECRET.encode(), at.encode() + b"." + one.raw, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(signature, wanted)
    assert signature != hmac.new(SECRET.encode(), at.encode() + b"." + one.raw[:-1], hashlib.sha256).hexdigest()
    assert (one.path, one.headers["authorization"]) == ("/x?y=1", "Basic YW5uOnBhQHNz")


@pytest.mark.parametrize("url", ["pagerduty://KEY?api={api}", "pagerduty://KEY@APIKEY/source/part?api={api}&x=1"])
def test_pagerduty_has_one_incident_from_the_beginning_to_the_end(pager: Pager, url: str) -> None:
    where = url.format(api=pager.api)
    assert send(job(where), job(where)) == [None]
    (body,) = pager.incidents.values()
    assert (pager.opened, pager.posted[0].path) == (1, "/v2/enqueue")
    assert body["routing_key"] == "KEY"
    assert body["dedup_key"] == "example.org/dead_letters@web-1"
    assert body["payload"]["severity"] == "error"
    assert body["payload"]["custom_details"] == {"dead": 3}
    assert body["links"] == [{"href": event()["url"], "text": "Diagnostics"}]
    assert send(job(where, "end")) == [None]
    assert pager.incidents == {}


def test_without_a_key_each_of_them_would_be_an_incident_of_its_own(pager: Pager) -> None:
    """The control."""
    where = f"pagerduty://KEY?api={pager.api}"
    for key in ("one", "two"):
        assert send(job(where, event=event() | {"dedupKey": key})) == [None]
    assert pager.opened == 2
    assert send(job(where, "end", event=event("end") | {"dedupKey": "three"})) == [None]
    assert len(pager.incidents) == 2


def test_opsgenie_closes_by_the_alias(pager: Pager) -> None:
    where = f"opsgenie://KEY/#ops/@ann/*nights?api={pager.api}&priority=2&tags=a,b"
    assert send(job(where)) == [None]
    (body,) = pager.incidents.values()
    assert pager.posted[0].headers["authorization"] == "GenieKey KEY"
    assert (body["alias"], body["priority"], body["tags"]) == ("example.org/dead_letters@web-1", "P2", ["a", "b"])
    assert body["details"] == {"dead": "3", "url": event()["url"]}
    assert body["responders"] == [
        {"type": "team", "name": "ops"},
        {"type": "user", "username": "ann"},
        {"type": "schedule", "name": "nights"},
    ]
    assert send(job(where, "end")) == [None]
    assert pager.incidents == {}
    assert pager.posted[1].path == "/v2/alerts/example.org%2Fdead_letters%40web-1/close?identifierType=alias"
    pager.status = 404
    assert send(job(where, "end")) == [None], "somebody has closed it already"


@pytest.mark.parametrize("url", ["pagerduty://KEY?api={api}", "opsgenie://KEY?api={api}"])
def test_a_trial_leaves_nothing_open(pager: Pager, url: str) -> None:
    trial = hook_events.trial_event(ORIGIN, SINCE)
    assert send(job(url.format(api=pager.api), "test", event=trial)) == [None]
    assert (pager.opened, pager.incidents) == (1, {})


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "credentials"),
        (403, "credentials"),
        (404, "not_found"),
        (429, "rate_limited"),
        (400, "refused"),
        (503, "server_error"),
        *((status, "redirected") for status in (301, 302, 303, 307, 308)),
    ],
)
def test_what_is_answered_is_told_in_one_word(pager: Pager, status: int, reason: str) -> None:
    pager.status = status
    urls = [pager.hook, f"pagerduty://KEY?api={pager.api}", f"opsgenie://KEY?api={pager.api}"]
    assert send(*(job(url, channel=url[:4]) for url in urls)) == [reason] * 3
    assert pager.posted == []


def test_what_cannot_be_reached_or_understood_is_told(pager: Pager) -> None:
    urls = [
        f"hook://127.0.0.1:{free_port()}/",
        f"hooks://127.0.0.1:{pager.port}/",
        "hook://:80",
        "hook://a:port/",
        "pagerduty://?x=1",
        "opsgenie:///#team",
        "pagerduty://KEY?api=file:///etc/passwd",
    ]
    found = send(*(job(url, channel=f"one #{number}") for number, url in enumerate(urls)))
    assert found == ["unreachable", "tls", *["not_a_url"] * 5]


def test_one_that_never_answers_holds_nobody_up(pager: Pager) -> None:
    with Pager() as other:
        pager.released.clear()
        assert send(job(pager.hook, channel="1"), job(other.hook, channel="2")) == ["timeout", None]


def test_apprise_gets_no_event_and_no_secret() -> None:
    from prodfix.alerts.notifications import Notification

    one = Notification("e:begin", "memory@a", "memory", "begin", "critical", "t", "b", SINCE, {}, event())
    assert {"event", "secret"}.isdisjoint(delivery.job(one, "json #1", "json://a", SECRET))
    assert delivery.job(one, "hooks #2", "hooks://a", SECRET)["secret"] == SECRET


def test_secrets_in_facts_are_redacted() -> None:
    found = event(reason=f"mongodb://u:{CANARY}@{CANARY}.example.org/x password={CANARY}")
    assert CANARY not in str(found)


def test_the_schemes_are_those_that_the_settings_know() -> None:
    assert set(direct_channels.SCHEMES) == DIRECT


def test_every_kind_has_a_link_and_a_key_of_its_own() -> None:
    made = [Alert(kind, kind, {"fingerprint": "f00d"}, since=SINCE) for kind in SEVERITIES]
    found = [hook_events.event_of(one, "begin", ORIGIN) for one in made]
    assert len({one["dedupKey"] for one in found}) == len(found)
    assert all(one["url"].startswith("https://example.org/diagnostics") for one in found)
    assert {one["url"] for one in found if one["alarm"] in ("new_kind", "escalating", "regression")} == {
        "https://example.org/diagnostics/page/groups/f00d?timeRange=7d"
    }


def test_what_sends_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(direct_channels.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
