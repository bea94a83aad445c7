"""``flask --app wsgi prodfix health``: the database as it is seen from here, and as each live worker sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from flask.cli import with_appcontext

from prodfix.commands.looking import as_json_option, console, echo_json, looking, ping, table, words
from prodfix.services import Services

_POOL = ("poolSize", "availableConnections", "checkedOut", "waiting", "capacity")


@click.command("health")
@as_json_option
@with_appcontext
def health(as_json: bool) -> None:
    """Ping the database, and show what the workers of this host say; exit code 1 if it, or one of them, is not healthy."""
    with looking() as services:
        answer = _asked(services)
    if as_json:
        echo_json(answer)
    else:
        _draw(answer)
    if not answer["healthy"]:
        raise click.exceptions.Exit(1)


def _asked(services: Services) -> dict[str, Any]:
    if not services.database.clients.configured:
        ping(services)  # what is wrong is that there is no URI
    result = services.database.monitor.health()
    workers = [_worker(worker) for worker in services.runtime.workers.read()]
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
    drawn = table("worker", "state", "last error", "pool", "breaker", "journal", "memory", "loop lag")
    for worker in answer["workers"]:
        pool = worker["pool"]
        waiting = f", {pool['waiting']} wait" if pool["waiting"] else ""
        drawn.add_row(
            words(worker["worker"]),
            words(worker["state"], "green" if worker["state"] == "connected" else "bold red"),
            words(worker["lastError"]),
            words(f"{pool['checkedOut']} of {pool['capacity']} in use{waiting}"),
            words(worker["breaker"]),
            words(worker["journal"] or "ok"),
            words(f"{worker['memoryMb']:g} MB"),
            words(f"{worker['loopLagMs']:g} ms"),
        )
    console().print(drawn)
