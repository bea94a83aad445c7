"""``flask --app wsgi prodfix health``: the database as it is seen from here, and as each live worker sees it."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from prodfix.cli.named_settings import named
from prodfix.cli.read_only import as_json_option, console, echo_json, looking, ping, table, words
from prodfix.connection.status import ConnectionState
from prodfix.serialization import Serializable
from prodfix.services import Services
from prodfix.slotted import frozen
from prodfix.workers.worker_state import WorkerState


@frozen
class PoolUse(Serializable):
    """Connections of one worker."""

    pool_size: int
    available_connections: int
    checked_out: int
    waiting: int
    capacity: int


@frozen
class WorkerHealth(Serializable):
    """One live worker, as it sees the database. ``journal`` is why its journal fails, if it does."""

    worker: str
    pid: int
    state: ConnectionState
    uptime: float
    last_error: str | None
    pool: PoolUse
    breaker: str | None
    journal: str | None
    memory_mb: float | None
    loop_lag_ms: float


@frozen
class DatabaseHealth(Serializable):
    """The database as it is seen from here."""

    connected: bool
    latency_ms: float | None
    error: str | None


@frozen
class HealthReport(Serializable):
    """Whether all of them reach it."""

    healthy: bool
    database: DatabaseHealth
    workers: tuple[WorkerHealth, ...]


@click.command("health")
@as_json_option
@with_appcontext
def health(as_json: bool) -> None:
    """Ping the database, and ask the workers.

    What those of this host say; exit code 1 if it, or one of them, is not healthy.
    """
    with looking() as services:
        answer = _asked(services)
    if as_json:
        echo_json(answer)
    else:
        _draw(answer)
    if not answer.healthy:
        raise click.exceptions.Exit(1)


def _asked(services: Services) -> HealthReport:
    if not services.database.clients.configured:
        ping(services)  # what is wrong is that there is no URI
    result = services.database.monitor.health()
    workers = tuple(_worker(state) for state in services.runtime.workers.read())
    database = DatabaseHealth(
        result.healthy,
        result.latency_ms if result.healthy else None,
        None if result.healthy else result.details.last_error,
    )
    connected = all(worker.state == "connected" for worker in workers)
    return HealthReport(result.healthy and connected, database, workers)


def _worker(told: WorkerState) -> WorkerHealth:
    connection, memory = told.connection, told.environment.memory
    return WorkerHealth(
        worker=told.worker,
        pid=told.pid,
        state=connection.state,
        uptime=connection.uptime,
        last_error=connection.last_error,
        pool=PoolUse(
            connection.pool_size,
            connection.available_connections,
            connection.checked_out,
            connection.waiting,
            connection.capacity,
        ),
        breaker=told.breaker.state if told.breaker is not None else None,
        journal=told.journal.failing,
        memory_mb=memory.peak_mb if memory is not None else None,
        loop_lag_ms=told.loop_lag_ms,
    )


def _draw(answer: HealthReport) -> None:
    database = answer.database
    if database.connected:
        click.echo(f"database: connected, {database.latency_ms:g} ms")
    else:
        click.echo(f"database: not connected ({database.error})")
    if not answer.workers:
        click.echo(named("workers: none has said anything in STATE_DIR for ten seconds"))
        return
    drawn = table(
        *("worker", "state", "last error", "pool", "breaker", "journal", "memory", "loop lag"),
        ids=("worker",),
        lines=("pool",),
        prose=("last error",),
        spare=("loop lag", "memory", "pool"),
    )
    for worker in answer.workers:
        pool = worker.pool
        waiting = f", {pool.waiting} wait" if pool.waiting else ""
        drawn.add_row(
            words(worker.worker),
            words(worker.state, "green" if worker.state == "connected" else "bold red"),
            words(worker.last_error if worker.state != "connected" else None),
            words(f"{pool.checked_out} of {pool.capacity} in use{waiting}"),
            words(worker.breaker),
            words(worker.journal or "ok"),
            words("" if worker.memory_mb is None else f"{worker.memory_mb:g} MB"),
            words(f"{worker.loop_lag_ms:g} ms"),
        )
    console().print(drawn)
