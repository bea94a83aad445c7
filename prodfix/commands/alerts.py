"""``flask prodfix alerts``: whether alerts arrive, and what the service has told."""

from __future__ import annotations

import os
import time
from typing import Any

import click
import orjson
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prodfix.alerts import dispatch, texts
from prodfix.alerts.dispatch import REASONS
from prodfix.logs.sinks import Console as Stderr
from prodfix.services import current_prodfix

STDERR = 2
_WIDE = 120  # columns, where nobody says how many there are
_TRIAL = "test"

alerts = AppGroup("alerts", help="Alerts: try the channels, see what was sent.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@alerts.command("test")
@_as_json
def test(as_json: bool) -> None:
    """Send a test alert to each URL of ALERT_URLS; exit code 1 if one did not arrive."""
    services = current_prodfix
    services.logs.sinks.replace(Stderr(STDERR))
    channels = dispatch.channels(services.settings.alert_channels)
    if not channels:
        raise click.ClickException("ALERT_URLS is not set: nobody would be told of anything")
    title, body = texts.trial(services.alerts.origin, time.time())
    jobs = [
        {"alert": _TRIAL, "channel": name, "url": url, "part": _TRIAL, "severity": "info", "title": title, "body": body}
        for name, url in channels.items()
    ]
    rows: list[dict[str, Any]] = [
        {"channel": result.channel, "delivered": result.ok, "reason": result.reason, "advice": _advice(result.reason)}
        for result in sorted(_sent(jobs), key=lambda result: list(channels).index(result.channel))
    ]
    if as_json:
        _json({"channels": rows})
    else:
        _draw(("channel", "delivered", "what to do"), [[r["channel"], _yes(r["delivered"]), r["advice"]] for r in rows])
    if not all(row["delivered"] for row in rows):
        raise click.exceptions.Exit(1)


def _sent(jobs: list[dict[str, Any]]) -> list[dispatch.Result]:
    file = os.memfd_create("prodfix-alerts-test", os.MFD_CLOEXEC)
    try:
        dispatch.send(jobs, file)
        found = dispatch.results(os.pread(file, os.fstat(file).st_size, 0))
    except OSError:
        return dispatch.missing(jobs, (), "not_started")
    finally:
        os.close(file)
    return [*found, *dispatch.missing(jobs, found, "no_result")]


@alerts.command("list")
@_as_json
def show_list(as_json: bool) -> None:
    """What is wrong now, and the last alerts with what became of them, from the journals of this instance."""
    services = current_prodfix
    services.logs.sinks.replace(Stderr(STDERR))
    found = services.alerts.read()
    if as_json:
        _json(found)
        return
    counts = f"{found['sent']} delivered, {found['failed']} given up, {found['heldBack']} held back"
    click.echo(f"channels: {', '.join(found['channels']) or 'none (ALERT_URLS is not set)'}; {counts}")
    if found["alarms"]:
        rows = [[alarm["since"], alarm["severity"], alarm["title"], alarm["told"]] for alarm in found["alarms"]]
        _draw(("since", "severity", "what is wrong", "told"), rows)
    else:
        click.echo("nothing is wrong that there is a rule for")
    if found["alerts"]:
        _draw(("sent", "title", "channels"), [[one["at"], one["title"], _deliveries(one)] for one in found["alerts"]])


def _deliveries(alert: dict[str, Any]) -> str:
    return "\n".join(
        f"{one['channel']} {one['state']}" + (f" ({one['reason']})" if one["reason"] else "")
        for one in alert["channels"]
    )


def _advice(reason: str | None) -> str:
    return REASONS.get(reason, reason) if reason else ""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _draw(headers: tuple[str, ...], rows: list[list[str]]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=_WIDE)  # a file or a pipe has no width of its own
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
