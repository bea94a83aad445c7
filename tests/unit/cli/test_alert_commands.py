"""``flask prodfix alerts``: a test that tells what to do, and what the service has told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from flask import Flask
from loguru import logger
from pydantic import SecretStr

from config.ports import free_port
from prodfix.alert_settings import ALL_RULES, alert_route
from prodfix.alerts import leader_state
from prodfix.alerts.alert_routing import Routing
from prodfix.alerts.alerts_report import AlertsReport, ChannelDelivery, FiringAlert, SentAlert
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.service import Alerts
from prodfix.blueprints import diagnostics
from prodfix.cli import alert_commands as module
from prodfix.cli.read_only import brief_time
from prodfix.errors import Severity
from tests.support.pagers import Pager
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
    assert f"{brief_time(moment)}  error     A [log] cannot be written  by this instance" in shown
    assert f"{brief_time(moment)}  [error] A log cannot be written  json #1 waiting (timeout)" in shown
    assert orjson.loads(run("list", "--json").stdout) == found.to_json()
    assert "cannot be read" not in shown
    monkeypatch.setattr(Alerts, "read", lambda self: replace(found, complete=False, alarms=(), alerts=()))
    assert run("list").output.splitlines()[1].startswith("alerts.json of PRODFIX_STATE_DIR/journal cannot be read")


def test_a_rule_is_muted_and_unmuted(run: Callable[..., Result]) -> None:
    done = run("mute", "new_kind", "--for", "ever")
    assert done.exit_code == 0, done.output
    assert "muted: new_kind until it is unmuted, by command line (" in done.output
    assert "; other instances hear of it " in done.output
    assert "do not know" not in done.output
    assert done.stderr == "", "the result alone: the audit has the rest"
    assert "muted: new_kind" in run("list").output
    (mute,) = orjson.loads(run("mute", "all", "--json").stdout)["mutes"][1:]
    assert (mute["rule"], mute["until"] is None) == ("all", False)
    assert "muted: new_kind" in run("unmute", "all").output
    assert run("unmute", "new_kind").output == "nothing is muted\n"


def test_what_is_muted_by_command_is_audited(run: Callable[..., Result], tmp_path: Any) -> None:
    run("mute", "memory")
    lines = [orjson.loads(line) for path in tmp_path.rglob("auth.log") for line in path.read_text().splitlines()]
    (line,) = [line for line in lines if line["endpoint"] == "alerts mute"]
    assert (line["rule"], line["span"], line["result"], line["method"]) == ("memory", "1h", "changed", "CLI")


def test_rules_are_listed_with_who_hears_of_them(run: Callable[..., Result]) -> None:
    shown = run("rules", urls="hooks://a?rules=memory", alert_rules="-log_sink").output.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in shown[1:]}
    assert rows["memory"] == ["on", "critical", "hooks", "#1"]
    assert rows["new_kind"] == ["on", "error", "nobody"]
    assert rows["log_sink"] == ["off", "error", "nobody"]
    assert len(orjson.loads(run("rules", "--json").stdout)["rules"]) == 14


def test_a_test_reaches_hooks_and_pagers_and_leaves_nothing_open(run: Callable[..., Result]) -> None:
    with Pager() as pager:
        urls = f"{pager.hook} pagerduty://KEY?api={pager.api} opsgenie://KEY?api={pager.api}"
        done = run("test", urls=urls, alert_hook_secret=SecretStr("s" * 16))
        assert done.exit_code == 0, done.output
        (hooked,) = [one for one in pager.posted if one.path == "/alerts"]
        assert (hooked.body["alarm"], hooked.body["state"]) == ("test", "test")
        assert "x-prodfix-signature" in hooked.headers
        assert (pager.opened, pager.incidents) == (2, {}), "a pager that was tried calls nobody"


def test_a_kind_that_is_back_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"fingerprint": "f00d", "error": "KeyError"}
    since, told = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC), "A resolved error is back"
    module._draw_alarms([FiringAlert("f00d", "regression", Severity.ERROR, told, since, facts, "muted")])
    assert "A resolved error is back: KeyError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("memry", "there is no rule 'memry'. Did you mean memory?"),
        ("qqq", "there is no rule 'qqq'. `flask prodfix alerts rules` lists them; `all` is each of them."),
    ],
)
@pytest.mark.parametrize("command", ["mute", "unmute"])
def test_of_a_rule_that_is_misspelt_it_says_which_was_meant(
    run: Callable[..., Result], command: str, word: str, told: str
) -> None:
    done = run(command, word)
    assert done.exit_code == 2
    assert done.stderr.rstrip().endswith(told)
    assert "dead_letters" not in done.output, "the list of all is long"


def test_a_command_without_the_urls_tells_the_channels_of_the_workers(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    assert "channels: none (PRODFIX_ALERT_URLS is not set)" in run("list").output, "the control: nobody has led yet"
    folder = tmp_path / "var" / "journal"
    folder.mkdir(parents=True)
    leading = Routing.made(
        [alert_route(f"hooks://{CANARY}@a?rules=memory"), alert_route("mailto://b")], ALL_RULES, None
    )
    leader_state.write(folder, leader_state.encode(LeaderState(routes=leading.told())))
    assert CANARY not in (folder / leader_state.FILE).read_text()
    assert run("list").output.startswith("channels: hooks #1, mailto #2; 0 delivered")
    rows = {line.split()[0]: line.split()[3:] for line in run("rules").output.splitlines()[1:]}
    assert rows["memory"] == ["hooks", "#1,", "mailto", "#2"]
    assert rows["new_kind"] == ["mailto", "#2"]
    tried = run("test")
    assert tried.exit_code == 1
    assert "the workers have hooks #1, mailto #2: set it here" in tried.output
    assert run("list", urls="json://c").output.startswith("channels: json #1;"), "its own are those that it would use"


def test_on_its_terminal_a_command_has_its_result_alone(serve: Callable[..., Any]) -> None:
    app, said = serve(), []
    handler = logger.add(said.append)
    try:
        services = app.extensions["prodfix"]
        done = app.test_cli_runner().invoke(args=["prodfix", "alerts", "mute", "memory"])
        assert done.exit_code == 0, done.output
        assert said == []
        services.logs.warn_only(False)
        services.alerts.unmute("memory", "ann")
        assert "alerts are not muted any more" in str(said), "the control: a worker says it"
    finally:
        logger.remove(handler)
