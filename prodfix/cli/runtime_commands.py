"""``flask --app wsgi prodfix stacks`` and ``log-level``: what the workers do now, and how much they say."""

from __future__ import annotations

from typing import get_args

import click
from flask.cli import with_appcontext

from prodfix.cli.audit import audit, command_user
from prodfix.cli.named_settings import named
from prodfix.cli.read_only import as_json_option, brief_time, console, echo_json, looking, table, words
from prodfix.errors import ValidationFailed
from prodfix.workers.log_levels import LONGEST, LogLevelsReport, UsualLevel
from prodfix.workers.worker_stacks import StacksReport


@click.command("stacks")
@as_json_option
@with_appcontext
def stacks(as_json: bool) -> None:
    """Where all greenlets and threads stand.

    Files, lines and functions of all workers of this host, and no value. Each answers for itself, within some seconds; one
    that does not is blocked or stopped, and the exit code is 1.
    """
    by = command_user()
    with looking(ask_database=False, audited=True) as services:
        found = services.runtime.stacks()
        audit(services, "stacks", by, result="answered")
    if as_json:
        echo_json(found)
    else:
        _draw(found)
    if found.silent:
        raise click.exceptions.Exit(1)


def _draw(found: StacksReport) -> None:
    if not found.workers and not found.silent:
        click.echo(named("workers: none has said anything in STATE_DIR for ten seconds"))
    for one in found.workers:
        click.echo(f"worker {one.worker}: {one.greenlets} greenlets, {one.threads} threads")
        for stack in one.stacks:
            click.echo(f"\n  {stack.count} {stack.kind}{'s' if stack.count != 1 else ''}")
            for place in stack.places:
                click.echo(f"    {words(place).plain}")
        if one.dropped:
            click.echo(f"\n  {one.dropped} more are counted and not shown")
        click.echo()
    for worker in found.silent:
        click.echo(f"worker {worker} does not answer: it is blocked, or stopped")


@click.command("log-level")
@click.argument("logger", required=False)
@click.argument("level", required=False, type=click.Choice(get_args(UsualLevel)))
@click.option("--minutes", type=click.IntRange(1, LONGEST), default=15, show_default=True, help="Then it ends.")
@as_json_option
@with_appcontext
def log_level(logger: str | None, level: UsualLevel | None, minutes: int, as_json: bool) -> None:
    """Let a logger say more for a while.

    LOGGER is its name, or root; LEVEL is debug, info, warn or error, and usual takes it back. All workers of this host follow
    within two seconds. Without a name: which loggers have another level now.
    """
    if logger is not None and level is None:
        raise click.UsageError("a logger needs a LEVEL: debug, info, warn, error, or usual")
    by = command_user()
    with looking(ask_database=False, audited=logger is not None) as services:
        if logger is None or level is None:
            found = services.runtime.log_levels.read()
        else:
            result = "refused"
            try:
                found = services.runtime.log_levels.set(logger, level, minutes=minutes, by=by)
                result = "changed"
            except ValidationFailed as error:
                told = "; ".join(f"{problem.field} {problem.message}" for problem in error.problems)
                raise click.ClickException(told) from None
            finally:
                facts = {"loggerName": logger[:100], "loggerLevel": level, "minutes": minutes}
                audit(services, "log-level", by, result=result, **facts)
    echo_json(found) if as_json else _tell(found)


def _tell(found: LogLevelsReport) -> None:
    if not found.levels:
        click.echo("all loggers have their usual levels")
        return
    drawn = table("logger", "level", "until (UTC)", "by", ids=("logger",), prose=("by",))
    for one in found.levels:
        drawn.add_row(words(one.logger), words(one.level), words(brief_time(one.until)), words(one.by))
    console().print(drawn)
