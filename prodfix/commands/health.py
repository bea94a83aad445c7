"""``flask --app wsgi prodfix health``: the database as it is seen from here, and as each live worker sees it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
import orjson
from flask.cli import with_appcontext
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prodfix.doctor.examined import only_look
from prodfix.logs.sinks import Console as Stderr
from prodfix.services import Services, current_prodfix

STDERR = 2
PATIENCE = 5.0  # seconds for the ping, which has to make a connection first
WIDTH = 120
_POOL = ("poolSize", "availableConnections", "checkedOut", "waiting", "capacity")


@click.command("health")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_appcontext
def health(as_json: bool) -> None:
    """Ping the database, and show what the workers of this host say; exit code 1 if it, or one of them, is not healthy."""
    services = current_prodfix
    services.logs.sinks.replace(Stderr(STDERR))
    only_look(services)
    try:
        answer = _asked(services)
    finally:
        services.clients.close()
    if as_json:
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        _draw(answer)
    if not answer["healthy"]:
        raise click.exceptions.Exit(1)


def _asked(services: Services) -> dict[str, Any]:
    monitor = services.monitor
    monitor.max_age = monitor.interval + PATIENCE
    # The second one goes over a connection that is there, as a worker's do.
    monitor.ping()
    if monitor.healthy:
        monitor.ping()
    result = monitor.health()
    workers = [_worker(worker) for worker in services.diagnostics.workers.read()]
    return {
        "healthy": result.healthy and all(worker["state"] == "connected" for worker in workers),
        "database": {
            "connected": result.healthy,
            "latencyMs": result.latency_ms if result.healthy else None,
            "error": None if result.healthy else result.details.last_error,
        },
        "workers": workers,
    }


def _worker(told: Mapping[str, Any]) -> dict[str, Any]:
    connection = told["connection"]
    return {
        "worker": told["worker"],
        "pid": told["pid"],
        "state": connection["state"],
        "uptime": connection["uptime"],
        "lastError": connection["lastError"],
        "pool": {name: connection[name] for name in _POOL},
        "breaker": told["breaker"]["state"],
        "journal": told["journal"]["failing"],
        "memoryMb": told["memory"]["peakMb"],
        "loopLagMs": told["loopLagMs"],
    }


def _draw(answer: Mapping[str, Any]) -> None:
    database = answer["database"]
    if database["connected"]:
        click.echo(f"database: connected, {database['latencyMs']:g} ms")
    else:
        click.echo(f"database: not connected ({database['error']})")
    if not answer["workers"]:
        click.echo("workers: none has said anything in STATE_DIR for ten seconds")
        return
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=WIDTH)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")
    for header in ("worker", "state", "last error", "pool", "breaker", "journal", "memory", "loop lag"):
        table.add_column(header, overflow="fold")
    for worker in answer["workers"]:
        pool = worker["pool"]
        waiting = f", {pool['waiting']} wait" if pool["waiting"] else ""
        cells = [
            worker["worker"],
            Text(worker["state"], style="green" if worker["state"] == "connected" else "bold red"),
            worker["lastError"] or "",
            f"{pool['checkedOut']} of {pool['capacity']} in use{waiting}",
            worker["breaker"],
            worker["journal"] or "ok",
            f"{worker['memoryMb']:g} MB",
            f"{worker['loopLagMs']:g} ms",
        ]
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    console.print(table)
