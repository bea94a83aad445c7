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

from prodfix.cli.audit import audit, command_user
from prodfix.cli.deferred_alike import AlikeWrites, counted, order_alike
from prodfix.cli.named_settings import named
from prodfix.cli.suggesting import SuggestingGroup
from prodfix.deferral.admin import Command
from prodfix.deferral.backlog import MOST
from prodfix.deferral.backlog_groups import BACKLOG_STATES, BacklogState
from prodfix.deferral.rescue import Occupied, Rescue, Rescued
from prodfix.errors import DatabaseNotConfigured, JournalUnavailable, NotFound
from prodfix.logs.sinks import Console
from prodfix.serialization import iso, to_json
from prodfix.services import Services, current_prodfix

STDERR = 2
LOOK = 0.2  # seconds between two looks at what is left
OBEYED = 10.0  # seconds in which a worker carries an order out, if there is one

Answer = TypeVar("Answer")

deferred = SuggestingGroup("deferred", help="Writes that wait, or were put aside.")
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
    """One entry, without a value.

    With the names and types of its arguments.
    """
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


def _order_alike(command: Command, alike: AlikeWrites, as_json: bool) -> None:
    services, by = current_prodfix, command_user()
    done = _asked(lambda: order_alike(services, command, alike, by, hidden=as_json))
    facts = {"operation": alike.operation, "reason": alike.reason, "state": alike.state, "ordered": done.ordered}
    audit(services, f"deferred {command}", by, **facts)
    if as_json:
        _json({**alike._asdict(), **done._asdict()})
    else:
        click.echo(f"{done.ordered} ordered" + (f", {done.left} are not done yet" if done.left else ""))
    if done.left:
        raise click.ClickException(named("does the service run, with this STATE_DIR? Its workers do what is ordered"))


def _alike(identity: str | None, operation: str | None, reason: str | None, state: BacklogState) -> AlikeWrites | None:
    """What is asked: one write, or all that are alike. Raises ``UsageError`` for neither and for both."""
    if (identity is None) == (operation is None):
        raise click.UsageError("name one write by its ID, or with --operation all that are alike")
    if identity is not None and reason is not None:
        raise click.UsageError("--reason goes with --operation")
    return None if operation is None else AlikeWrites(operation, reason, state)


_operation = click.option("--operation", help="All writes of this operation.")
_reason = click.option("--reason", help="Only those for this reason.")
_state = click.option("--state", type=click.Choice(BACKLOG_STATES), default="failed", show_default=True)


@deferred.command("replay")
@click.argument("identity", required=False)
@_operation
@_reason
@_state
@_as_json
def replay(identity: str | None, operation: str | None, reason: str | None, state: BacklogState, as_json: bool) -> None:
    """Try a write again at once.

    One that was put aside, or one that waits; with --operation all that are alike.
    """
    alike = _alike(identity, operation, reason, state)
    if alike is None:
        _order("replay", str(identity), as_json)
    else:
        _order_alike("replay", alike, as_json)


@deferred.command("discard")
@click.argument("identity", required=False)
@_operation
@_reason
@_state
@click.option("--yes", is_flag=True, help="Do not ask.")
@_as_json
def discard(
    identity: str | None, operation: str | None, reason: str | None, state: BacklogState, yes: bool, as_json: bool
) -> None:
    """Give a write up, for good.

    Its owner is told that it failed. With --operation all that are alike.
    """
    alike = _alike(identity, operation, reason, state)
    if not yes:
        what = f"{identity} was" if alike is None else f"{_many(alike)} ({alike}) were"
        click.confirm(f"{what} accepted from a client. Discard?", abort=True, err=True)
    if alike is None:
        _order("discard", str(identity), as_json)
    else:
        _order_alike("discard", alike, as_json)


def _many(alike: AlikeWrites) -> str:
    services = current_prodfix
    count = _asked(lambda: counted(services, alike))
    return f"{count} {'write' if count == 1 else 'writes'}"


@deferred.command("salvage")
@click.argument("file")
@click.option("--apply", "apply", is_flag=True, help="Hand over to a worker what nobody else has.")
@_as_json
def salvage(file: str, apply: bool, as_json: bool) -> None:
    """What is whole in a damaged journal.

    FILE is a path, or a name in STATE_DIR/journal. Changes nothing without --apply.
    """
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
    """Apply what dead workers have left.

    And wait until living ones have applied theirs.
    """
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
