"""``flask prodfix deferred``: what waits and what was put aside, and what an admin may do about it.

It reads the journals of all workers, and orders what is to be done: only its owner writes a worker's file. ``drain`` takes
what dead workers have left, when no service runs that would.
"""

from __future__ import annotations

import getpass
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import orjson
from flask.cli import AppGroup

from prodfix.cli.named_settings import named
from prodfix.deferral.admin import Command
from prodfix.deferral.backlog import BACKLOG_STATES, MOST, BacklogState
from prodfix.deferral.rescue import Occupied, Rescue, Rescued
from prodfix.errors import DatabaseNotConfigured, JournalUnavailable, NotFound
from prodfix.logs.sinks import Console
from prodfix.serialization import iso, to_json
from prodfix.services import Services, current_prodfix

STDERR = 2
LOOK = 0.2  # seconds between two looks at what is left
OBEYED = 10.0  # seconds in which a worker carries an order out, if there is one

Answer = TypeVar("Answer")

deferred = AppGroup("deferred", help="Writes that wait on disk, and those that were put aside.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@deferred.command("list")
@click.option("--state", type=click.Choice(BACKLOG_STATES), help="Only those in this state.")
@click.option("--operation", help="Only writes of this operation.")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(0, 1_000_000), default=0)
@_as_json
def show_list(state: BacklogState | None, operation: str | None, limit: int, offset: int, as_json: bool) -> None:
    """Counts and entries, oldest first."""
    backlog = current_prodfix.deferral.backlog
    counts = _asked(backlog.counts)
    page = _asked(lambda: backlog.page(state=state, operation=operation, limit=limit, offset=offset))
    if as_json:
        _json({**counts.to_json(), "entries": to_json(page.entries), "more": page.more})
        return
    oldest = f", the oldest for {counts.oldest_seconds:.0f} s" if counts.oldest_seconds is not None else ""
    click.echo(f"{counts.waiting} waiting{oldest}; {counts.dead} failed; {counts.bytes} bytes")
    if counts.note:
        click.echo(counts.note)
    for entry in page.entries:
        reason = f"  {entry.reason} ({entry.attempts} tries)" if entry.reason else ""
        click.echo(f"{entry.operation_id}  {entry.status:<7}  {iso(entry.created_at)}  {entry.operation}{reason}")
    if page.more:
        click.echo(f"... more: --offset {offset + limit}")


@deferred.command("show")
@click.argument("identity")
@_as_json
def show(identity: str, as_json: bool) -> None:
    """One entry: names and types of its arguments, never a value."""
    entry = _asked(lambda: current_prodfix.deferral.backlog.show(identity)).to_json()
    if as_json:
        _json(entry)
        return
    for name, value in entry.items():
        click.echo(f"{name + ':':<13} {orjson.dumps(value).decode() if isinstance(value, (dict, list)) else value}")


def _order(command: Command, identity: str, as_json: bool) -> None:
    """Order it, and wait until a worker has done it."""
    services = current_prodfix
    known = {order.at for order in _asked(lambda: services.deferral.backlog.orders(identity))}
    _asked(lambda: services.deferral.backlog.order(command, identity, f"command line ({getpass.getuser()})"[:100]))
    end = time.monotonic() + OBEYED
    while time.monotonic() < end:
        done = [order for order in _asked(lambda: services.deferral.backlog.orders(identity)) if order.at not in known]
        if done:
            _json(done[0].to_json()) if as_json else click.echo(f"{identity} {done[0].result}")
            return
        time.sleep(LOOK)
    told = "ordered, but no worker has done it yet: does the service run, with this STATE_DIR?"
    raise click.ClickException(named(told))


@deferred.command("replay")
@click.argument("identity")
@_as_json
def replay(identity: str, as_json: bool) -> None:
    """Try a write again that was put aside, or one that waits at once."""
    _order("replay", identity, as_json)


@deferred.command("discard")
@click.argument("identity")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_as_json
def discard(identity: str, yes: bool, as_json: bool) -> None:
    """Give a write up, for good. Its owner is told that it failed."""
    if not yes:
        click.confirm(f"{identity} was accepted from a client. Discard it?", abort=True, err=True)
    _order("discard", identity, as_json)


@deferred.command("salvage")
@click.argument("file")
@click.option("--apply", "apply", is_flag=True, help="Hand over to a worker what nobody else has.")
@_as_json
def salvage(file: str, apply: bool, as_json: bool) -> None:
    """What is whole in a damaged journal: FILE is a path, or a name in STATE_DIR/journal. Changes nothing without --apply."""
    services = current_prodfix
    rescue = Rescue(services.runtime.journal, services.deferral.status)
    try:
        path = rescue.find(file)
    except NotFound:
        raise click.ClickException("there is no such file") from None
    services.database.monitor.ping()
    try:
        by = f"command line ({getpass.getuser()})"[:100]
        found = _asked(lambda: rescue.hand_over(path, by) if apply else rescue.look(path))
    except Occupied:
        raise click.ClickException("its worker lives, and looks after it itself") from None
    finally:
        services.database.clients.close()
    taken = found.handed is not None and _within(OBEYED, lambda: rescue.taken(str(found.handed)))
    if as_json:
        _json({**found.report().to_json(), "taken": taken})
        return
    _tell(found, applied=apply, taken=taken)


def _tell(found: Rescued, *, applied: bool, taken: bool) -> None:
    told = found.salvaged
    click.echo(f"whole rows: {_counted(told.found)}")
    click.echo(f"gone: {'' if told.certain else 'at least '}{_counted(told.lost)}")
    for identity in told.operations[:MOST]:
        click.echo(f"  {identity}")
    if not found.asked:
        click.echo("MongoDB does not answer: it may know of some of them that they are applied")
    click.echo(f"nobody else has: {found.waiting} waiting, {found.dead} failed")
    if taken:
        click.echo("a worker has taken them")
    elif found.handed is not None:
        click.echo("handed over; no worker has taken them yet: the next one will, or `flask prodfix deferred drain`")
    elif not applied and found.waiting + found.dead:
        click.echo("--apply hands them over")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {table}" for table, count in counts.items()) or "none"


def _within(limit: float, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK)
    return True


@deferred.command("drain")
@click.option("--timeout", type=click.IntRange(1, 86_400), default=300, show_default=True, help="Seconds.")
@_as_json
def drain(timeout: int, as_json: bool) -> None:
    """Apply what dead workers have left, and wait until living ones have applied theirs."""
    services = current_prodfix
    services.logs.sinks.replace(Console(STDERR))
    _asked(lambda: services.database.clients.uri)
    services.database.monitor.ping()
    if not services.database.monitor.healthy:
        services.database.clients.close()
        raise click.ClickException("the database does not answer: nothing was drained")
    before = _left(services)
    end = time.monotonic() + timeout
    services.runtime.journal.open()
    try:
        _asked(services.runtime.journal.adopt)
        with click.progressbar(
            length=before, label="deferred writes", show_pos=True, hidden=as_json, file=sys.stderr
        ) as bar:
            left = _drain(services, end, before, bar.update)
    finally:
        services.database.clients.close()
        services.runtime.journal.close()
    for damage in services.runtime.journal.damages():
        services.tell_of_damage(damage.report())
    counts = _asked(services.deferral.backlog.counts)
    result = {"before": before, "waiting": left, "dead": counts.dead}
    _json(result) if as_json else click.echo(f"{before - left} done, {left} waiting, {counts.dead} failed in all")
    if left:
        raise click.exceptions.Exit(1)


def _left(services: Services) -> int:
    """How many wait that can be drained by this version."""
    counts = _asked(services.deferral.backlog.counts)
    return (counts.waiting or 0) - counts.other_versions


def _drain(services: Services, end: float, before: int, progress: Callable[[int], None]) -> int:
    """How many still wait when none do, or the time is over. ``progress`` is told how many more are done."""
    shown = 0

    def look(_: int = 0) -> int:
        nonlocal shown
        left = _left(services)
        done = max(shown, before - left)
        progress(done - shown)
        shown = done
        return left

    while True:
        services.database.monitor.ping()
        if services.database.monitor.healthy:
            _asked(lambda: services.deferral.drainer.drain(look))
        left = look()
        if not left or time.monotonic() > end:
            return left
        time.sleep(LOOK)


def _json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _asked(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except NotFound:
        raise click.ClickException("no such write waits or was put aside on this instance") from None
    except DatabaseNotConfigured:
        raise click.ClickException(named("MONGODB_URI is not set")) from None
    except (JournalUnavailable, TimeoutError, OSError, sqlite3.Error) as error:
        raise click.ClickException(named(f"STATE_DIR cannot be used: {type(error).__name__}")) from None
