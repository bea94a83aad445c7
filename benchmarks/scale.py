"""``python -m benchmarks.scale``: what an answer costs with many workers of many instances, against two workers.

Seven days of a service are made twice on the embedded server, by the code that stores them and with the same errors and
requests: of 400 workers of 50 instances, and of two workers of one. Then the statistics, the kinds of errors and the first page
are asked for, as served, over one hour, a day and a week: the first answer of a worker, and later ones. Each total is compared
with what was made. Documents are those that one reader got from the database.

It takes some minutes, and a GB of the disk; ``--small`` tries it with a tenth.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from pymongo import DESCENDING, MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.fleet import Event, Fleet, events, kinds_of, minutes_of
from prodfix.journal.journal import Journal
from prodfix.statistics.groups import Groups
from prodfix.statistics.instance_hours import ERROR_MINUTES
from prodfix.statistics.known_groups import MOST
from prodfix.statistics.statistics import TIME_RANGES, Statistics
from prodfix.statistics.windows import Windows
from tests.support.served import Served
from tests.support.servers import DatabaseServer

LIMIT = 1.0  # seconds for an answer
LEAST_LIMIT = 0.3  # seconds for the hour of 40 workers
RATIO = 2.0  # of the week with many workers to that with two
LOADS = 5  # later answers of which the median is told
ANSWERS = {
    "statistics": "/api/v1/diagnostics/errors?timeRange={}",
    "groups": "/api/v1/diagnostics/errors/groups?timeRange={}",
    "list": "/api/v1/diagnostics/page/groups?errors=all&timeRange={}",
    "first page": "/api/v1/diagnostics/page/overview?timeRange={}",
}


class Plan(NamedTuple):
    """What is made: ``errors`` of a day, ``requests`` of a minute."""

    workers: int = 400
    instances: int = 50
    errors: int = 1_000_000
    kinds: int = 500
    requests: int = 4_000
    days: int = 7


class Figure(NamedTuple):
    """Of one fleet and one window: seconds, those of them that the reader itself computed, the documents of one answer, and
    what the total should be."""

    fleet: str
    answer: str
    time_range: str
    first: float
    computed: float
    later: float
    documents: int
    total: int
    right: int


class Documents(CommandListener):
    """Counts what comes."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: CommandStartedEvent) -> None: ...

    def succeeded(self, event: CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {})
        self.count += len(cursor.get("firstBatch", cursor.get("nextBatch", ())))

    def failed(self, event: CommandFailedEvent) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan()
    parser.add_argument("--workers", type=int, default=plan.workers, help=f"of all instances (default {plan.workers})")
    parser.add_argument("--instances", type=int, default=plan.instances, help=f"default {plan.instances}")
    parser.add_argument("--errors", type=int, default=plan.errors, help=f"of a day (default {plan.errors:,})")
    parser.add_argument("--kinds", type=int, default=plan.kinds, help=f"of errors (default {plan.kinds})")
    parser.add_argument("--small", action="store_true", help="a tenth of the workers, instances and errors")
    options = parser.parse_args()
    share = 10 if options.small else 1
    chosen = Plan(
        options.workers // share,
        options.instances // share,
        options.errors // share,
        options.kinds,
        plan.requests // share,
    )
    if min(chosen) < 1 or chosen.instances > chosen.workers:
        parser.error("there must be something of everything, and a worker for each instance")
    figures = measure(chosen)
    show(figures, Console(width=140))
    if any(one.total != one.right for one in figures):
        raise SystemExit("a total is wrong")


def measure(plan: Plan) -> list[Figure]:
    """Make the fleets, and ask."""
    with tempfile.TemporaryDirectory() as folder, DatabaseServer(Path(folder) / "data", ttl_sweep=86_400) as server:
        client: MongoClient[Any] = MongoClient(server.uri, tz_aware=True)
        now = time.time()
        shapes = {"many": (plan.workers, plan.instances), "two": (2, 1), "forty": (40, 20)}
        fleets = {
            name: Fleet(_emptied(client, name), workers=workers, instances=instances, now=now)
            for name, (workers, instances) in shapes.items()
        }
        _make(fleets, plan, now)
        found = []
        for name, fleet in fleets.items():
            ranges: Sequence[str] = TIME_RANGES if name != "forty" else ("1h",)
            uri = f"{server.uri}{name}"
            found += _alone(name, uri, fleet, ranges)
            found += _as_served(name, uri, fleet, ranges, Path(folder) / name)
        client.close()
        return found


def _emptied(client: MongoClient[Any], name: str) -> Any:
    client[name][ERROR_MINUTES].create_index([("timestamp", DESCENDING)])
    return client[name]


def _make(fleets: dict[str, Fleet], plan: Plan, now: float) -> None:
    chance, kinds = random.Random(15), kinds_of(plan.kinds)
    minutes = list(minutes_of(now, 48))
    with Progress() as progress:
        task = progress.add_task("minutes of the last two days", total=len(minutes))
        for minute in minutes:
            happened: list[Event] = events(minute, kinds, plan.errors // 1440, plan.requests, chance)
            for name, fleet in fleets.items():
                if name != "forty" or minute > minutes[-1] - 75:
                    fleet.pass_minute(minute, happened, chance)
            progress.advance(task)
        task = progress.add_task("days before them", total=len(fleets))
        for name, fleet in fleets.items():
            fleet.end(plan.days if name != "forty" else 1)
            progress.advance(task)


def _alone(name: str, uri: str, fleet: Fleet, ranges: Sequence[str]) -> list[Figure]:
    """One reader in this process, with what it gets from the database; the driver's events are counted beside."""
    found, documents = [], Documents()
    with MongoClient[Any](uri, tz_aware=True, event_listeners=[documents]) as client:
        database = client.get_default_database()
        for time_range in ranges:
            read = Statistics(Windows(Journal(Path("nowhere")), lambda: database))
            begun = time.thread_time()
            first, answer = _timed(lambda: read.read(time_range))  # noqa: B023 - it is called at once
            computed = time.thread_time() - begun
            documents.count = 0
            later, answer = _timed(lambda: read.read(time_range), LOADS)  # noqa: B023
            count, right = documents.count // LOADS, _between(fleet, answer.first, answer.last)
            total = answer.counts.total_errors if answer.window.scope == "all" else -1
            found.append(Figure(name, "reading", time_range, first, computed, later, count, total, right))
            documents.count = 0
            groups = Groups(lambda: database)
            first, (page, _) = _timed(lambda: groups.page(answer.window, limit=50))  # noqa: B023
            count = documents.count
            later, _ = _timed(lambda: groups.page(answer.window, limit=50), LOADS)  # noqa: B023
            shown = sum(one.count for one in page)
            most = sorted(_by_kind(answer), reverse=True)[:50]
            found.append(Figure(name, "page of groups", time_range, first, 0.0, later, count, shown, sum(most)))
            documents.count, begun = 0, time.thread_time()
            first, listed = _timed(lambda: _listed(groups, answer.window))  # noqa: B023
            computed, count = time.thread_time() - begun, documents.count
            later, listed = _timed(lambda: _listed(groups, answer.window), LOADS)  # noqa: B023
            right = sum(sorted(_by_kind(answer), reverse=True)[:MOST])
            found.append(Figure(name, "list of kinds", time_range, first, computed, later, count, listed, right))
    return found


def _listed(groups: Groups, window: Any) -> int:
    """What the page of the list does: count all kinds by their state, and tell fifty. How many errors all of them have."""
    chosen = groups.chosen(window, sort="newest")
    groups.summaries(chosen[:50], window)
    return sum(one.count for one in chosen)


def _by_kind(answer: Any) -> list[int]:
    return list(answer.counts.errors_by(3).values())


def _as_served(name: str, uri: str, fleet: Fleet, ranges: Sequence[str], folder: Path) -> list[Figure]:
    """The answers of one worker over HTTP, that of the week first."""
    found = []
    with Served(folder, uri, workers=1, DIAGNOSTICS_RATE_LIMIT="100000/minute") as served:
        for time_range, (answer, path) in itertools.product(reversed(ranges), ANSWERS.items()):
            address, headers = path.format(time_range), served.bearer()
            first, got = _timed(lambda: served.get(address, headers))  # noqa: B023 - it is called at once
            later, got = _timed(lambda: served.get(address, headers), LOADS)  # noqa: B023
            if got.status != HTTPStatus.OK:
                raise RuntimeError(f"{address} answered {got.status}")
            body = got.body if isinstance(got.body, dict) else {}
            total = right = 0
            if "totalErrors" in body:
                first_minute, last_minute = (_minute(body[name]) for name in ("windowFrom", "windowTo"))
                right = _between(fleet, first_minute, last_minute - 1)
                total = body["totalErrors"] if body["scope"] == "all" and not body["partial"] else -1
            found.append(Figure(name, answer, time_range, first, 0.0, later, 0, total, right))
    return found


def _minute(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() // 60)


def _between(fleet: Fleet, first: int, last: int) -> int:
    return sum(count for minute, count in fleet.totals.items() if first <= minute <= last)


def _timed(work: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        result = work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took), result


def show(figures: Sequence[Figure], console: Console) -> None:
    """One row for each answer and window, many workers beside two."""
    table = Table("answer", "window", "workers", "first s", "computed s", "later s", "documents", "total", "to two")
    two = {(one.answer, one.time_range): one for one in figures if one.fleet == "two"}
    for one in figures:
        base = two[one.answer, one.time_range]
        total = f"{one.total:,}" + ("" if one.total == one.right else f" and not {one.right:,}")
        values = (f"{one.first:.3f}", f"{one.computed:.3f}" if one.computed else "", f"{one.later:.3f}")
        ratio = f"{one.first / base.first:.2f}, then {one.later / base.later:.2f}" if one.fleet == "many" else ""
        table.add_row(one.answer, one.time_range, one.fleet, *values, str(one.documents or ""), total, ratio)
    console.print(table)
    week, base = (_of(figures, fleet, "reading", "7d") for fleet in ("many", "two"))
    hour = _of(figures, "forty", "statistics", "1h")
    computed = week.computed / base.computed
    console.print(
        f"7 days, many workers to two: {week.first / base.first:.2f}, computed {computed:.2f} (at most {RATIO})"
    )
    console.print(f"1 h of 40 workers: {hour.first:.3f} s, then {hour.later:.3f} s (at most {LEAST_LIMIT})")
    slowest = max(figures, key=lambda one: one.first)
    told = f"{slowest.answer} over {slowest.time_range}, {slowest.fleet}"
    console.print(f"the slowest answer: {slowest.first:.3f} s (at most {LIMIT}), {told}")


def _of(figures: Sequence[Figure], *wanted: str) -> Figure:
    return next(one for one in figures if (one.fleet, one.answer, one.time_range) == wanted)


if __name__ == "__main__":
    main()
