"""``flask prodfix alerts``: whether alerts arrive, and what the service has told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
from flask.cli import AppGroup
from rich.text import Text

from prodfix.alerts import delivery, messages
from prodfix.alerts.alerts_report import ChannelDelivery, FiringAlert, SentAlert
from prodfix.alerts.delivery import REASONS
from prodfix.alerts.leader_state import FILE
from prodfix.alerts.notifications import DeliveryResult
from prodfix.cli.named_settings import named
from prodfix.cli.read_only import as_json_option, console, echo_json, looking, short_time, table, words
from prodfix.services import Services

_TRIAL = "test"

alerts = AppGroup("alerts", help="Alerts: try the channels, see what was sent.")


@alerts.command("test")
@as_json_option
def test(as_json: bool) -> None:
    """Send a test alert to each URL of ALERT_URLS; exit code 1 if one did not arrive."""
    with looking(ask_database=False) as services:
        rows = _tried(services)
    if as_json:
        echo_json({"channels": rows})
    else:
        drawn = table("channel", "delivered", "what to do")
        for row in rows:
            delivered = words("yes", "green") if row["delivered"] else words("no", "bold red")
            drawn.add_row(words(row["channel"]), delivered, words(row["advice"]))
        console().print(drawn)
    if not all(row["delivered"] for row in rows):
        raise click.exceptions.Exit(1)


def _tried(services: Services) -> list[dict[str, Any]]:
    channels = delivery.channels(services.settings.alert_channels)
    if not channels:
        raise click.ClickException(named("ALERT_URLS is not set: nobody would be told of anything"))
    title, body = messages.trial(services.alerts.origin, time.time())
    jobs = [
        {
            "notification": _TRIAL,
            "channel": name,
            "url": url,
            "part": _TRIAL,
            "severity": "info",
            "title": title,
            "body": body,
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
    """What is wrong now, and the last alerts with what became of them, from the file of the worker that leads."""
    with looking(ask_database=False) as services:
        found = services.alerts.read()
    if as_json:
        echo_json(found)
        return
    counts = f"{found.sent} delivered, {found.failed} given up, {found.held_back} held back"
    channels = ", ".join(found.channels) or named("none (ALERT_URLS is not set)")
    click.echo(f"channels: {channels}; {counts}")
    if not found.complete:
        told = f"{FILE} of STATE_DIR/journal cannot be read: what the service knows of alerts is not known here"
        click.echo(named(told))
    _draw_alarms(found.alarms)
    _draw_alerts(found.alerts)


def _draw_alarms(alarms: Sequence[FiringAlert]) -> None:
    if not alarms:
        click.echo("nothing is wrong that there is a rule for")
        return
    drawn = table("since", "severity", "what is wrong", "told")
    for alarm in alarms:
        drawn.add_row(words(short_time(alarm.since)), words(alarm.severity), words(alarm.title), words(alarm.told))
    console().print(drawn)


def _draw_alerts(alerts: Sequence[SentAlert]) -> None:
    if not alerts:
        return
    drawn = table("sent", "title", "channels")
    for alert in alerts:
        drawn.add_row(words(short_time(alert.at)), words(alert.title), Text("\n").join(_deliveries(alert.channels)))
    console().print(drawn)


def _deliveries(channels: Sequence[ChannelDelivery]) -> Iterator[Text]:
    for one in channels:
        yield words(f"{one.channel} {one.state}" + (f" ({one.reason})" if one.reason else ""))
