"""``flask --app wsgi prodfix errors``: what fails, one kind of it, each of it as it comes; and how errors are classified."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, get_args

import click
import orjson
from rich.table import Table
from rich.text import Text

from prodfix.classification.table import entries
from prodfix.cli.fitted_table import FittedTable
from prodfix.cli.interrupts import until_interrupted
from prodfix.cli.kind_table import kind_lines, kind_table
from prodfix.cli.read_only import as_json_option, brief_time, console, echo_json, looking, short_time, table, words
from prodfix.cli.suggesting import SuggestingGroup
from prodfix.cli.triage_commands import TRIAGE
from prodfix.errors import ErrorCategory
from prodfix.logs.sinks import Console as Stderr
from prodfix.records.records import ErrorSummary
from prodfix.records.wanted_records import Place
from prodfix.serialization import to_json
from prodfix.services import Services, current_prodfix
from prodfix.statistics.decisions import GroupState
from prodfix.statistics.group_list import GROUP_SORTS, GroupFilter, GroupSort
from prodfix.statistics.statistics import TIME_RANGES, Coverage, TimeRange

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
_NARROW = 100  # below them a name may have a line of its own
LATE = 5.0  # seconds in which a record of another instance may still arrive behind newer ones
SEEN = 10_000  # records that `tail --follow` remembers

range_option = click.option(
    "--range",
    "time_range",
    type=click.Choice(TIME_RANGES),
    default="1h",
    show_default=True,
    help="The last hour, day or week.",
)
category_option = click.option(
    "--category", type=click.Choice([str(one) for one in ErrorCategory]), help="Only this one."
)

errors = SuggestingGroup("errors", help="What fails, and what is done about it.")
for decision in TRIAGE:
    errors.add_command(decision)


@errors.command("top")
@range_option
@category_option
@click.option("--status", type=click.Choice(get_args(GroupState)), help="Only kinds in this state.")
@click.option("--q", help="Words of headline, place, route or code.")
@click.option("--sort", type=click.Choice(GROUP_SORTS), default="most", show_default=True)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@as_json_option
def top(
    time_range: TimeRange,
    category: str | None,
    status: GroupState | None,
    q: str | None,
    sort: GroupSort,
    limit: int,
    as_json: bool,
) -> None:
    """The kinds of errors, with their trend."""
    with looking() as services:
        read = services.requests.statistics.read(time_range)
        found, total = services.errors.groups.page(
            read.window, GroupFilter(status=status, category=category, q=q), sort=sort, limit=limit
        )
        statistics = read.statistics()
    if as_json:
        echo_json({"groups": to_json(found), "total": total, **read.coverage().to_json()})
        return
    rates = statistics.requests.rates
    failed = f", {rates.error_rate:.2%} of {rates.requests} requests failed" if rates.error_rate is not None else ""
    click.echo(f"{statistics.total_errors} errors in {time_range}{failed}{_scope(statistics.coverage)}")
    shown = console()
    shown.print(kind_table(found, shown.width))
    if statistics.coverage.others:
        click.echo(statistics.coverage.others)
    if any(group.status == "unknown" for group in found):
        click.echo("Which of them are resolved or ignored cannot be told now: MongoDB does not answer.")
    if total > len(found):
        click.echo(f"... and {total - len(found)} more kinds: --limit")


@errors.command("show")
@click.argument("fingerprint")
@range_option
@as_json_option
def show(fingerprint: str, time_range: TimeRange, as_json: bool) -> None:
    """One kind of error, with its newest records."""
    with looking() as services:
        window = services.requests.statistics.read(time_range).window
        group = services.errors.groups.find(fingerprint, window)
        if group is None:
            raise click.ClickException(f"no kind of error has this fingerprint in {time_range} (--range 7d for a week)")
        records = services.errors.lookup.errors(fingerprint=fingerprint, limit=10).summaries
        kept = services.errors.lookup.kept(fingerprint)
    if as_json:
        echo_json({**group.to_json(), "kept": kept, "records": to_json(records)})
        return
    for line in kind_lines(group):
        click.echo(line)
    if kept is not None and kept < group.count:
        click.echo(f"{kept:,} of {group.count:,} records are kept: the first, the newest and a sample of the others")
    if records:
        console().print(_table_of(records))


@errors.command("tail")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@category_option
@click.option("--limit", "-n", type=click.IntRange(1, 200), default=20, show_default=True)
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between two looks."
)
@click.option("--json", "as_json", is_flag=True, help="Print each as one line of JSON.")
def tail(follow: bool, category: str | None, limit: int, interval: float, as_json: bool) -> None:
    """The newest errors, oldest first.

    Each on a line with its request's ID.
    """
    found = False
    with looking() as services, until_interrupted() as interrupted:
        for record in _tailed(services, category, limit, interval if follow else None, interrupted):
            line = orjson.dumps(record.to_json()).decode() if as_json else _line(record)
            click.echo(line)
            found = True
    if not found and not follow:
        click.echo("no record is kept; what clients are to blame for (4xx) is counted only: errors top", err=True)


def _tailed(
    services: Services, category: str | None, limit: int, interval: float | None, ended: Callable[[], bool]
) -> Iterator[ErrorSummary]:
    """The newest, and then, every ``interval`` seconds, what is new. What comes late is not missed."""
    seen: dict[Place, None] = {}
    newest = services.errors.lookup.errors(category=category, limit=limit).records
    while True:
        for record in reversed(newest):
            place = Place.of(record)
            if place not in seen:
                seen[place] = None
                yield ErrorSummary.of(record)
        while len(seen) > SEEN:
            del seen[next(iter(seen))]
        if interval is None:
            return
        time.sleep(interval)
        if ended():
            return
        services.database.monitor.ping()
        begin = max(seen).at - timedelta(seconds=LATE) if seen else None
        newest = _all(services, begin, category, seen)


def _all(
    services: Services, begin: datetime | None, category: str | None, seen: Mapping[Place, None]
) -> list[dict[str, Any]]:
    """Every record since ``begin``, as far as the first page on which nothing is new."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while len(found) < SEEN:
        page = services.errors.lookup.errors(begin=begin, category=category, after=after, limit=200)
        found += page.records
        after = page.next
        if after is None or all(Place.of(record) in seen for record in page.records):
            break
    return found


def _line(record: ErrorSummary) -> str:
    database = record.database
    place = " ".join(part for part in (database.operation, database.collection) if part) if database else ""
    moment = short_time(record.timestamp)
    parts = (moment, record.request_id, record.status, record.code, record.endpoint, place, record.message)
    return words("  ".join(str(part) for part in parts if part)).plain


def _table_of(records: list[ErrorSummary]) -> FittedTable:
    drawn = table(
        *("request", "time (UTC)", "status", "endpoint", "device", "message"),
        ids=("request",),
        lines=("time (UTC)", "status"),
        prose=("message",),
        spare=("device", "endpoint", "status"),
    )
    for record in records:
        values = (record.status, record.endpoint, record.device_type, record.message)
        drawn.add_row(words(record.request_id), words(brief_time(record.timestamp)), *map(words, values))
    return drawn


def _scope(coverage: Coverage) -> str:
    whole = f"all since {short_time(coverage.complete_from)}" if coverage.complete_from else "no minute of it whole"
    part = f"; a part only, {whole}" if coverage.partial else ""
    where = "all instances" if coverage.scope == "all" else "this instance"
    return f" ({where}, since {short_time(coverage.window_from)} UTC{part})"


@errors.command("table")
@as_json_option
@click.option("--kind", type=click.Choice(list(_TITLES)), help="Only one of the four tables.")
def classification(as_json: bool, kind: str | None) -> None:
    """Print what each error means.

    The application's own rows among them (marked with *).
    """
    current_prodfix.logs.sinks.replace(Stderr(STDERR))
    rows = [row for row in entries(current_prodfix.classifier) if kind in (None, row["kind"])]
    if as_json:
        echo_json(rows)
        return
    shown = console()
    for name, title in _TITLES.items():
        if kind in (None, name):
            some = [row for row in rows if row["kind"] == name]
            shown.print(f"\n{title}\n", style="bold")
            shown.print(_drawn(some, width=shown.width))
    shown.print(f"\n{_LEGEND}")


def _drawn(rows: list[dict[str, Any]], *, width: int) -> Table | FittedTable:
    wide, narrow = width >= _WIDE, width < _NARROW
    headers = ("name", "status", "code", *(("category",) if wide else ()), "severity", "retry", "outcome")
    drawn: Table | FittedTable = table(*headers, ids=("name",))
    if not narrow:
        drawn = Table("", box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="underline")
        for header in headers:
            drawn.add_column(header, no_wrap=header != "name", overflow="fold")
    for row in rows:
        key, name = "" if row["key"] == row["name"] else str(row["key"]), row["name"]
        if row["own"]:
            name += " *"
        if "note" in row:
            name += f"\n  {row['note']}"
        code, category = row.get("code", ""), row.get("category", "")
        cells = [code, category] if wide else [f"{code}\n{category}" if code else ""]
        retry = " ".join(word for column, word in _RETRIES if row.get(column))
        cells = [str(row.get("status", "")), *cells, row.get("severity", ""), retry, row.get("outcome") or ""]
        first = (f"{key} {name}".lstrip(),) if narrow else (key, name)
        drawn.add_row(*map(Text, (*first, *cells)))
    return drawn
