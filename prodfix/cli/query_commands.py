"""``flask --app wsgi prodfix queries``: what the application asks its database, and which index would help."""

from __future__ import annotations

from collections.abc import Sequence

import click
from flask.cli import with_appcontext

from prodfix.cli.read_only import as_json_option, console, echo_json, looking, table, words
from prodfix.queries.advice import QueryAdvice
from prodfix.queries.query_statistics import QUERY_SORTS, QueryFigures, QuerySort


@click.command("queries")
@click.option("--sort", type=click.Choice(QUERY_SORTS), default="total", show_default=True, help="Largest first.")
@click.option("--operation", help="Only this one: find, aggregate, insert ...")
@click.option("--collection", help="Only commands on it.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@as_json_option
@with_appcontext
def queries(sort: QuerySort, operation: str | None, collection: str | None, limit: int, as_json: bool) -> None:
    """Each kind of command, with advice.

    Over the live workers of this host; the advice is for slow ones.
    """
    with looking() as services:
        found = services.queries.statistics.read(sort, operation=operation, collection=collection, limit=limit)
    if as_json:
        echo_json(found)
        return
    click.echo(f"{found.total} kinds of commands, by {sort}; {found.workers} workers")
    _draw(found.queries)


def _draw(found: Sequence[QueryFigures]) -> None:
    numbers = ("count", "failed", "total", "p50", "p95", "p99")
    drawn = table(*("command", *numbers, "advice"), numbers=numbers, prose=("command",), spare=("p50", "p99", "total"))
    for one in found:
        fields = f" {{{', '.join(one.fields)}}}" if one.fields else ""
        drawn.add_row(
            words(f"{one.operation} {one.collection or ''}{fields}"),
            words(one.count),
            words(one.errors or ""),
            *(words(_millis(value)) for value in (one.total_ms, one.p50_ms, one.p95_ms, one.p99_ms)),
            words("; ".join(map(_advice, one.advice))),
        )
    console().print(drawn)


def _millis(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms"


def _advice(advice: QueryAdvice) -> str:
    index = ", ".join(f"{field}: {direction}" for field, direction in advice.index)
    return f"{advice.plan}, an index on {{{index}}} would serve it" if index else advice.plan
