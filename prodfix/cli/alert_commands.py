"""``flask prodfix alerts``: whether alerts arrive, and what the service has told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from prodfix.alerts import delivery, hook_events, messages
from prodfix.alerts.alert_routing import channel_names
from prodfix.alerts.alerts_report import AlertsReport, ChannelDelivery, FiringAlert, SentAlert
from prodfix.alerts.delivery import REASONS
from prodfix.alerts.leader_state import FILE
from prodfix.alerts.mutes import MUTE_RULES, MUTE_SPANS, MutedRule, MuteRule, MuteSpan
from prodfix.alerts.notifications import DeliveryResult
from prodfix.cli.audit import audit, command_user
from prodfix.cli.named_settings import named
from prodfix.cli.read_only import as_json_option, brief_time, console, echo_json, looking, short_time, table, words
from prodfix.cli.suggesting import SuggestingGroup, suggestion
from prodfix.errors import JournalUnavailable
from prodfix.services import Services

_TRIAL = "test"

if TYPE_CHECKING:
    _Parameter = click.ParamType[str]
else:
    _Parameter = click.ParamType  # which says its type since click 8.2

alerts = SuggestingGroup("alerts", help="Try channels, see alerts, mute rules.")


@alerts.command("test")
@as_json_option
def test(as_json: bool) -> None:
    """Send a test alert to each channel.

    To each URL of ALERT_URLS; exit code 1 if one did not arrive.
    """
    with looking(ask_database=False) as services:
        rows = _tried(services)
    if as_json:
        echo_json({"channels": rows})
    else:
        drawn = table("channel", "delivered", "what to do", prose=("channel",))
        for row in rows:
            delivered = words("yes", "green") if row["delivered"] else words("no", "bold red")
            drawn.add_row(words(row["channel"]), delivered, words(row["advice"]))
        console().print(drawn)
    if not all(row["delivered"] for row in rows):
        raise click.exceptions.Exit(1)


def _tried(services: Services) -> list[dict[str, Any]]:
    channels = channel_names(services.settings.alert_channels)
    if not channels:
        if told := services.alerts.read().channels:
            where = f"the workers have {', '.join(told)}: set it here to what it is for them"
            raise click.ClickException(named(f"ALERT_URLS is not set here, and nothing can be sent; {where}"))
        raise click.ClickException(named("ALERT_URLS is not set: nobody would be told of anything"))
    now, secret = time.time(), services.settings.alert_hook_secret
    title, body = messages.trial(services.alerts.origin, now)
    jobs = [
        {
            "notification": _TRIAL,
            "channel": name,
            "url": url,
            "part": _TRIAL,
            "severity": "info",
            "title": title,
            "body": body,
            "event": hook_events.trial_event(services.alerts.origin, now),
            "secret": secret.get_secret_value() if secret is not None else None,
        }
        for name, url in channels.items()
    ]
    return [
        {
            "channel": result.channel,
            "delivered": result.ok,
            "reason": result.reason,
            "advice": REASONS.get(result.reason, result.reason) if result.reason else "",
        }
        for result in sorted(_sent(jobs), key=lambda result: list(channels).index(result.channel))
    ]


def _sent(jobs: list[dict[str, Any]]) -> list[DeliveryResult]:
    try:
        written = delivery.run(jobs, delivery.nameless(), delivery.send)
    except OSError:
        return delivery.with_missing(jobs, (), "not_started")
    return delivery.with_missing(jobs, delivery.results(written), "no_result")


@alerts.command("list")
@as_json_option
def show_list(as_json: bool) -> None:
    """What is wrong now, and the last alerts.

    With what became of them, from the file of the worker that leads.
    """
    with looking(ask_database=False) as services:
        found, elsewhere = services.alerts.read(), services.alerts.elsewhere()
    if as_json:
        echo_json(found)
        return
    counts = f"{found.sent} delivered, {found.failed} given up, {found.held_back} held back"
    counts += f", {found.muted} muted" if found.muted else ""
    channels = ", ".join(found.channels) or named("none (ALERT_URLS is not set)")
    click.echo(f"channels: {channels}; {counts}")
    if not found.complete:
        told = f"{FILE} of STATE_DIR/journal cannot be read: what the service knows of alerts is not known here"
        click.echo(named(told))
    _tell_silence(found, elsewhere)
    _draw_alarms(found.alarms)
    _draw_alerts(found.alerts)


def _tell_silence(found: AlertsReport, elsewhere: str) -> None:
    for one in found.mutes:
        click.echo(_shown_mute(one, elsewhere))
    if found.quiet is not None and found.quiet.now:
        click.echo(f"hours of quiet until {short_time(found.quiet.ends)}: only critical alerts are told")


def _shown_mute(one: MutedRule, elsewhere: str) -> str:
    until = f"until {short_time(one.until)}" if one.until is not None else "until it is unmuted"
    others = "" if one.everywhere else f"; other instances hear of it {elsewhere}"
    return f"muted: {one.rule} {until}, by {one.by}{others}"


def _draw_alarms(alarms: Sequence[FiringAlert]) -> None:
    if not alarms:
        click.echo("nothing is wrong that there is a rule for")
        return
    drawn = table("since", "severity", "what is wrong", "told", lines=("since",), prose=("what is wrong",))
    for alarm in alarms:
        again = " (again)" if alarm.first is not None else ""
        kind = f": {alarm.facts['error']}" if alarm.facts.get("error") and "fingerprint" in alarm.facts else ""
        drawn.add_row(
            words(brief_time(alarm.since) + again), words(alarm.severity), words(alarm.title + kind), words(alarm.told)
        )
    console().print(drawn)


def _draw_alerts(alerts: Sequence[SentAlert]) -> None:
    if not alerts:
        return
    drawn = table("sent", "title", "channels", lines=("sent",), prose=("title",))
    for alert in alerts:
        drawn.add_row(words(brief_time(alert.at)), words(alert.title), Text("\n").join(_deliveries(alert.channels)))
    console().print(drawn)


def _deliveries(channels: Sequence[ChannelDelivery]) -> Iterator[Text]:
    for one in channels:
        yield words(f"{one.channel} {one.state}" + (f" ({one.reason})" if one.reason else ""))


# -- rules --------------------------------------------------------------------------------------------------------------------


@alerts.command("rules")
@as_json_option
def show_rules(as_json: bool) -> None:
    """What is looked for, and who hears of it."""
    with looking(ask_database=False) as services:
        found, elsewhere = services.alerts.read(), services.alerts.elsewhere()
    if as_json:
        echo_json({"rules": found.rules, "mutes": found.mutes, "quiet": found.quiet})
        return
    drawn = table("rule", "state", "severity", "channels")
    for one in found.rules:
        until = f" until {short_time(one.muted_until)}" if one.muted_until is not None else ""
        drawn.add_row(
            words(one.rule), words(one.state + until), words(one.severity), words(", ".join(one.channels) or "nobody")
        )
    console().print(drawn)
    _tell_silence(found, elsewhere)


class _Rule(_Parameter):
    """A rule or ``all``; of a misspelt one it says which was meant, as the list of all is long."""

    name = "rule"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in MUTE_RULES:
            meant = (
                suggestion(str(value), MUTE_RULES) or " `flask prodfix alerts rules` lists them; `all` is each of them."
            )
            self.fail(f"there is no rule {str(value)[:40]!r}.{meant}", param, ctx)
        return str(value)


rule_argument = click.argument("rule", type=_Rule())


@alerts.command("mute")
@rule_argument
@click.option("--for", "span", type=click.Choice(MUTE_SPANS), default="1h", show_default=True)
@as_json_option
def mute(rule: MuteRule, span: MuteSpan, as_json: bool) -> None:
    """Let nobody hear of a rule, or of all.

    `alerts rules` lists them; `all` is each of them.
    """
    _changed("mute", rule, as_json, lambda services, by: services.alerts.mute(rule, by, span=span), span=span)


@alerts.command("unmute")
@rule_argument
@as_json_option
def unmute(rule: MuteRule, as_json: bool) -> None:
    """Take that back."""
    _changed("unmute", rule, as_json, lambda services, by: services.alerts.unmute(rule, by))


def _changed(
    name: str, rule: MuteRule, as_json: bool, change: Callable[[Services, str], list[MutedRule]], **facts: str
) -> None:
    by = command_user()
    with looking(ask_database=False, audited=True) as services:
        result = "failed"
        try:
            mutes, elsewhere = change(services, by), services.alerts.elsewhere()
            result = "changed"
        except JournalUnavailable as error:
            raise click.ClickException(named(f"STATE_DIR cannot be written: {error}")) from None
        finally:
            audit(services, f"alerts {name}", by, rule=rule, result=result, **facts)
    if as_json:
        echo_json({"mutes": mutes})
        return
    for line in [_shown_mute(one, elsewhere) for one in mutes] or ["nothing is muted"]:
        click.echo(line)
