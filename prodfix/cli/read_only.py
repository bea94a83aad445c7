"""How a command looks at the application: what the journals of this host hold, and MongoDB if it answers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prodfix.cli.audit import FILE as AUDITS
from prodfix.cli.fitted_table import FittedTable
from prodfix.cli.named_settings import named
from prodfix.errors import JournalUnavailable
from prodfix.logs.files import FILES
from prodfix.logs.sinks import Console as Stderr
from prodfix.serialization import iso, to_json
from prodfix.services import Services, current_prodfix

STDERR = 2
PATIENCE = 5.0  # seconds for the ping and for the first command, which have to make a connection first
DOUBT = 1.0  # instead, if the workers of this host have lost it: they ask twice a second
YEAR = timedelta(days=300)  # less than one: what is older is told with its year
WIDTH = 130  # columns of what goes into a file or a pipe

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


class _Nowhere:
    """A sink that keeps nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, data: bytes) -> None: ...


def only_look(services: Services, *, audited: bool = False) -> None:
    """Let this process ask the application without becoming one of its workers: no background work, no journal of its
    own, nothing in the log files (but in the one of audits, if it is ``audited``), no word of a connection that only this
    process has, and on the terminal nothing but the result, and warnings."""
    services.runtime.background.hold()
    services.logs.warn_only()
    for name in FILES if not audited else (name for name in FILES if name != AUDITS):
        services.logs.sinks.replace(_Nowhere(f"{name}.log"))


@contextmanager
def looking(*, ask_database: bool = True, audited: bool = False) -> Iterator[Services]:
    """The application's services, to be asked. That MongoDB does not answer is told on stderr, and is no reason to end;
    ``ask_database`` is false for what the journals know alone; ``audited``: what is done within is written down."""
    services = current_prodfix
    services.logs.sinks.replace(Stderr(STDERR))
    services.database.readable.allow(PATIENCE)
    services.database.diagnostics.allow(PATIENCE)
    only_look(services, audited=audited)
    try:
        if ask_database and services.database.clients.configured and not ping(services):
            told = "MongoDB does not answer: this is what the workers of this host know (STATE_DIR)."
            click.echo(named(told), err=True)
        yield services
    except (JournalUnavailable, TimeoutError, sqlite3.Error) as error:
        raise click.ClickException(named(f"STATE_DIR cannot be read: {type(error).__name__}")) from None
    finally:
        services.database.clients.close()
        if audited:
            services.logs.sinks.flush()


def ping(services: Services) -> bool:
    """Ask MongoDB whether it answers. The second time over a connection that is there, as a worker's is."""
    monitor = services.database.monitor
    workers = services.runtime.workers.read()
    lost = bool(workers) and not any(worker.connection.state == "connected" for worker in workers)
    monitor.allow(DOUBT if lost else PATIENCE)
    monitor.ping()
    if monitor.healthy:
        monitor.ping()
    return monitor.healthy


def echo_json(value: Any) -> None:
    """An answer of a service, or what is made of some."""
    click.echo(orjson.dumps(to_json(value), option=orjson.OPT_INDENT_2, default=str).decode())


def console() -> Console:
    """As wide as the terminal; a file or a pipe has no width of its own."""
    made = Console(highlight=False, markup=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(highlight=False, markup=False, width=WIDTH)
    return made


def show(drawn: Table) -> None:
    """Print it. What goes into a file or a pipe has no blanks at the ends of its lines."""
    made = console()
    if made.is_terminal:
        made.print(drawn)
        return
    with made.capture() as captured:
        made.print(drawn)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def table(*headers: str, **which: Sequence[str]) -> FittedTable:
    """An empty table. ``which`` of the headers are what, by the names of :class:`FittedTable`: what is in the columns ``ids`` is
    never cut or folded, so that it can be copied from the narrowest terminal; they come first."""
    return FittedTable(headers, **which)


def words(value: Any, style: str = "") -> Text:
    """A cell. Whatever a message holds, nothing in it moves the terminal's cursor or turns its text round."""
    text = "" if value is None else str(value)
    return Text("".join(one if one.isprintable() else ascii(one)[1:-1] for one in text), style=style)


def short_time(moment: datetime | str | None) -> str:
    """ISO 8601 in UTC without the date's ``T`` and the fraction."""
    moment = iso(moment) if isinstance(moment, datetime) else moment
    return f"{moment[:10]} {moment[11:19]}" if moment else ""


def brief_time(moment: datetime | str | None) -> str:
    """The same without the year, where nobody takes it for another one: for a table."""
    told = short_time(moment)
    return told if told[:10] < iso(datetime.now(UTC) - YEAR)[:10] else told[5:]
