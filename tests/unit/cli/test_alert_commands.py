"""``flask prodfix alerts``: a test that tells what to do, and what the service has told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from click.testing import Result
from flask import Flask
from pydantic import SecretStr

from config.ports import free_port
from prodfix.alerts.alerts_report import AlertsReport, ChannelDelivery, FiringAlert, SentAlert
from prodfix.alerts.service import Alerts
from prodfix.blueprints import diagnostics
from prodfix.cli import alert_commands as module
from prodfix.errors import Severity
from tests.support.receivers import MailServer, WebHook

CANARY = "canary7f3a"


@pytest.fixture
def run(adopt: Callable[..., Flask]) -> Callable[..., Result]:
    def invoke(*arguments: str, urls: str = "", **values: Any) -> Result:
        host = Flask("host")
        host.register_blueprint(diagnostics.blueprint)
        app = adopt(host, alert_urls=SecretStr(urls) if urls else None, **values)
        result: Result = app.test_cli_runner(env={"COLUMNS": None}).invoke(args=["prodfix", "alerts", *arguments])
        return result

    return invoke


def test_a_test_arrives_in_each_channel(run: Callable[..., Result], mail: MailServer, hook: WebHook) -> None:
    urls = f"{mail.url} {hook.url}"
    done = run("test", urls=urls, public_url="https://example.org", render_instance_id="web-1")
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.output.splitlines()[1:3]] == [["mailto", "#1", "yes"], ["json", "#2", "yes"]]
    for receiver in (mail, hook):
        (told,) = receiver.told
        assert told.title == "[test] Alerts arrive (web-1)"
        assert "details: https://example.org/api/v1/diagnostics" in told.text


def test_one_that_does_not_arrive_is_told_with_what_to_do_and_without_its_url(
    run: Callable[..., Result], mail: MailServer, hook: WebHook
) -> None:
    hook.status = 401
    secret = f"json://user:{CANARY}@127.0.0.1:{hook.port}/{CANARY}"
    urls = f"{mail.url} {secret} json://127.0.0.1:{free_port()}"
    shown = run("test", urls=urls)
    assert shown.exit_code == 1
    assert (
        "json #2    no         the receiver refuses who asks: check user, password or token in the URL" in shown.output
    )
    assert "json #3    no         the receiver cannot be reached" in shown.output
    told = run("test", "--json", urls=urls)
    assert told.exit_code == 1
    assert [(one["channel"], one["delivered"], one["reason"]) for one in orjson.loads(told.stdout)["channels"]] == [
        ("mailto #1", True, None),
        ("json #2", False, "credentials"),
        ("json #3", False, "unreachable"),
    ]
    assert CANARY not in shown.output + told.output
    assert hook.asked == 2


def test_without_urls_it_says_so(run: Callable[..., Result]) -> None:
    done = run("test")
    assert (done.exit_code, done.output) == (
        1,
        "Error: PRODFIX_ALERT_URLS is not set: nobody would be told of anything\n",
    )


def test_a_courier_that_cannot_start_is_told(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(module.delivery, "send", fail)
    done = run("test", "--json", urls="json://127.0.0.1/")
    assert (done.exit_code, orjson.loads(done.stdout)["channels"][0]["reason"]) == (1, "not_started")


def test_the_list_shows_what_is_wrong_and_what_was_sent(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("list").output == (
        "channels: none (PRODFIX_ALERT_URLS is not set); 0 delivered, 0 given up, 0 held back\n"
        "nothing is wrong that there is a rule for\n"
    )
    moment = datetime(2027, 1, 2, 3, 4, 5, 678_000, UTC)
    delivery = ChannelDelivery("json #1", "waiting", 1, "timeout", None)
    told, sent = "A [log] cannot be written", "[error] A log cannot be written"
    found = AlertsReport(
        scope="instance",
        complete=True,
        channels=("json #1",),
        sender=None,
        alarms=(FiringAlert("log_sink@a", "log_sink", Severity.ERROR, told, moment, {}, "by this instance"),),
        alerts=(SentAlert("e:begin", "log_sink@a", "log_sink", "begin", Severity.ERROR, sent, moment, (delivery,)),),
        sent=1,
        failed=2,
        held_back=3,
    )
    monkeypatch.setattr(Alerts, "read", lambda self: found)
    shown = run("list").output
    assert shown.splitlines()[0] == "channels: json #1; 1 delivered, 2 given up, 3 held back"
    assert "2027-01-02 03:04:05  error     A [log] cannot be written  by this instance" in shown
    assert "2027-01-02 03:04:05  [error] A log cannot be written  json #1 waiting (timeout)" in shown
    assert orjson.loads(run("list", "--json").stdout) == found.to_json()
    assert "cannot be read" not in shown
    monkeypatch.setattr(Alerts, "read", lambda self: replace(found, complete=False, alarms=(), alerts=()))
    assert run("list").output.splitlines()[1].startswith("alerts.json of PRODFIX_STATE_DIR/journal cannot be read")
