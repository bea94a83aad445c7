"""``flask --app wsgi prodfix errors``: the table of errors."""

from __future__ import annotations

import json
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from prodfix.error_table import COLUMNS, entries
from prodfix.services import current_prodfix

_TITLES = {
    "type": "Exception types (the most derived class that has a row decides)",
    "code": "MongoDB's error codes (they decide before the type of a driver's error)",
    "label": "Labels of the driver and the server",
    "status": "HTTP statuses",
}
NARROWEST = 100  # columns; a terminal that is narrower wraps


@click.group("errors")
def errors() -> None:
    """How errors are classified."""


@errors.command("table")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
@click.option("--kind", type=click.Choice(list(_TITLES)), help="Only one of the four tables.")
def table(as_json: bool, kind: str | None) -> None:
    """Print what each error means, the application's own rows among them (marked with *)."""
    rows = [row for row in entries(current_prodfix.classifier) if kind in (None, row["kind"])]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    console = Console(highlight=False)
    if console.width < NARROWEST or not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, 140))
    for name, title in _TITLES.items():
        if kind in (None, name):
            console.print(_drawn(title, [row for row in rows if row["kind"] == name]))


def _drawn(title: str, rows: list[dict[str, Any]]) -> Table:
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("", "name", *COLUMNS):
        drawn.add_column(header, no_wrap=header != "name", overflow="fold")
    for row in rows:
        key = str(row["key"]) if row["key"] != row["name"] else ""
        name = f"{row['name']}{' *' if row['own'] else ''}"
        cells = [_shown(row.get(column)) for column in COLUMNS]
        drawn.add_row(key, f"{name}\n  {row['note']}" if "note" in row else name, *cells)
    return drawn


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)
