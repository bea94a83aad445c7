"""``flask --app wsgi prodfix errors``: the table of errors."""

from __future__ import annotations

import json
import os
from typing import Any

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prodfix.classification.table import entries
from prodfix.logs.sinks import Console as Stderr
from prodfix.services import current_prodfix

_TITLES = {
    "type": "Exception types (the most derived class that has a row decides)",
    "code": "MongoDB's error codes (they decide before the type of a driver's error)",
    "label": "Labels of the driver and the server",
    "status": "HTTP statuses",
}
_RETRIES = (("transient", "now"), ("retryable", "client"))
_LEGEND = "retry: now = prodfix may try again by itself; client = the answer asks the client to"
STDERR = 2
_WIDE = 130  # columns; below them the category stands under the code


errors = AppGroup("errors", help="How errors are classified.")


@errors.command("table")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
@click.option("--kind", type=click.Choice(list(_TITLES)), help="Only one of the four tables.")
def table(as_json: bool, kind: str | None) -> None:
    """Print what each error means, the application's own rows among them (marked with *)."""
    current_prodfix.logs.sinks.replace(Stderr(STDERR))
    rows = [row for row in entries(current_prodfix.classifier) if kind in (None, row["kind"])]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=_WIDE)  # a file or a pipe has no width of its own
    for name, title in _TITLES.items():
        if kind in (None, name):
            shown = [row for row in rows if row["kind"] == name]
            console.print(f"\n{title}\n", style="bold", markup=False)
            console.print(_drawn(shown, wide=console.width >= _WIDE))
    console.print(f"\n{_LEGEND}", markup=False)


def _drawn(rows: list[dict[str, Any]], *, wide: bool) -> Table:
    drawn = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="underline")
    for header in ("", "name", "status", "code", *(("category",) if wide else ()), "severity", "retry", "outcome"):
        drawn.add_column(header, no_wrap=header != "name", overflow="fold")
    for row in rows:
        key, name = str(row["key"]), row["name"]
        if row["own"]:
            name += " *"
        if "note" in row:
            name += f"\n  {row['note']}"
        code, category = row.get("code", ""), row.get("category", "")
        cells = [code, category] if wide else [f"{code}\n{category}" if code else ""]
        retry = " ".join(word for column, word in _RETRIES if row.get(column))
        cells = [str(row.get("status", "")), *cells, row.get("severity", ""), retry, row.get("outcome") or ""]
        drawn.add_row("" if key == row["name"] else key, *map(Text, (name, *cells)))
    return drawn
