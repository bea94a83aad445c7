"""``flask --app wsgi prodfix incidents``: when the database was lost, or many requests failed, and what that has cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import click
from flask.cli import with_appcontext

from prodfix.cli.read_only import as_json_option, brief_time, console, echo_json, looking, table, words
from prodfix.incidents.incident_log import Incident, IncidentState
from prodfix.incidents.observed import IncidentCause
from prodfix.serialization import to_json

_COUNTED = ("failed", "retried", "deferred", "replayed")


@click.command("incidents")
@click.option("--cause", type=click.Choice(get_args(IncidentCause)), help="Only those with this one.")
@click.option("--status", type=click.Choice(get_args(IncidentState)), help="Only those that last, or are over.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@as_json_option
@with_appcontext
def incidents(cause: IncidentCause | None, status: IncidentState | None, limit: int, as_json: bool) -> None:
    """Outages and jumps of the error rate.

    Newest first, over all instances; while MongoDB is away those of this one.
    """
    with looking() as services:
        page = services.errors.incident_log.read(cause=cause, status=status, limit=limit)
    if as_json:
        echo_json({"scope": page.scope, "incidents": to_json(page.incidents), "more": page.more})
        return
    if not page.incidents:
        click.echo("no incident is known")
        return
    _draw(page.incidents)
    if page.more:
        click.echo("... and more: --limit")


def _draw(found: Sequence[Incident]) -> None:
    drawn = table(
        *("incident", "from (UTC)", "seconds", "cause", "status", *_COUNTED),
        ids=("incident",),
        numbers=("seconds", *_COUNTED),
        lines=("from (UTC)",),
        spare=("retried", "replayed", "deferred", "failed", "status"),
    )
    for one in found:
        drawn.add_row(
            words(one.id),
            words(brief_time(one.from_)),
            words(f"{one.seconds:.0f}"),
            words(one.cause),
            words(one.status, "bold red" if one.status == "open" else ""),
            *(words(getattr(one, name)) for name in _COUNTED),
        )
    console().print(drawn)
