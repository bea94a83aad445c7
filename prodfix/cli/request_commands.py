"""``flask --app wsgi prodfix request``: all that is known of one request, from its ID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from flask.cli import with_appcontext

from prodfix.cli.read_only import as_json_option, console, echo_json, looking, short_time, table, words
from prodfix.deferral.operation_status import OperationAnswer
from prodfix.diagnostics.requests import RequestReport
from prodfix.errors import NotKnownNow
from prodfix.records.records import RecoveryAttempts
from prodfix.request.notes import SentCommand


@click.command("request")
@click.argument("request_id")
@as_json_option
@with_appcontext
def request(request_id: str, as_json: bool) -> None:
    """All that is known of one request.

    Its errors, its commands, what was tried again, its deferred writes and its incident; exit code 1 if nothing is known.
    """
    with looking() as services:
        try:
            found = services.diagnostics.requests.find(request_id)
        except NotKnownNow:
            raise click.ClickException("this host does not know it, and MongoDB cannot be asked now") from None
        sampled = services.diagnostics.requests.sampled() if found is None else 0
    if found is None:
        kinds = "kinds" if sampled != 1 else "kind"
        others = (
            f"; of {sampled} {kinds} of errors only a sample is kept, and it may be one of the others"
            if sampled
            else ""
        )
        raise click.ClickException(
            "nothing is known of this request: one that went well leaves no record, client errors are counted only,"
            f" and records are kept for ERROR_RETENTION_DAYS{others}"
        )
    if as_json:
        echo_json(found)
    else:
        _draw(found)


def _draw(found: RequestReport) -> None:
    outcome = f", the write: {found.outcome}" if found.outcome else ""
    recovery = found.recovery or RecoveryAttempts()
    retries = f"{recovery.attempts} by prodfix, {recovery.driver_retries} by the driver"
    asked, client = found.context, found.client
    facts = {
        "answered": f"{found.status} {found.code}{outcome}" if found.code else "without an error",
        "when": f"{short_time(found.timestamp)} UTC",
        "endpoint": f"{asked.method} {asked.endpoint}",
        "user": asked.user_id,
        "device": f"{asked.device_type} ({client})" if client else asked.device_type,
        "app": asked.app_version,
        "trace": asked.trace_id,
        "retries": retries,
    }
    for name, value in facts.items():
        if value is not None:
            click.echo(f"{name + ':':<10} {words(value).plain}")
    for one in found.deferred:
        reason = f" ({one.reason})" if isinstance(one, OperationAnswer) and one.reason else ""
        click.echo(f"deferred:  {words(one.operation_id).plain} {one.status}{reason}")
    for incident in found.incidents:
        end = "not over yet" if incident.status == "open" else f"to {short_time(incident.to)} UTC"
        click.echo(f"incident:  {incident.cause}, {short_time(incident.from_)} UTC {end}")
    if found.thinned:
        click.echo(
            "thinned:   there are enough errors of its kind: MongoDB keeps no record of it, and this host a while only"
        )
    if found.missing:
        click.echo(f"missing:   MongoDB cannot be asked now, and may know more: {', '.join(found.missing)}")
    for error in found.errors:
        _draw_error(error)
    if found.commands:
        click.echo()
        _draw_commands(found.commands)


def _draw_commands(commands: Sequence[SentCommand]) -> None:
    drawn = table("command", "collection", "took", "result", numbers=("took",), prose=("collection",))
    for command in commands:
        result = words("failed", "bold red") if command.failed else words("ok")
        took = words("" if command.duration_ms is None else f"{command.duration_ms:.1f} ms")
        drawn.add_row(words(command.operation), words(command.collection), took, result)
    console().print(drawn)


def _draw_error(error: Mapping[str, Any]) -> None:
    click.echo(
        f"\n{short_time(error['timestamp'])} {error['severity']} {error['code']}: {words(error['message']).plain}"
    )
    database = error["database"]
    if database:
        took = f" after {database['durationMs']:.0f} ms" if database.get("durationMs") is not None else ""
        place = f" on {words(database['collection']).plain}" if database["collection"] else ""
        click.echo(f"  {words(database['operation']).plain}{place}{took}")
    for line in str(error.get("stack") or "").splitlines():
        click.echo(f"  {words(line).plain}")
    click.echo(f"  fingerprint {error['fingerprint']} (prodfix errors show)")
