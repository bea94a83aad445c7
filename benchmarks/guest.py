"""``python -m benchmarks.guest``: what prodfix takes from the database that it is a guest of, two builds side by side.

Each build is served by gunicorn with gevent workers, before an embedded server of its own, behind a proxy that counts what
passes by command and collection. What is left without the driver's own (hello and what belongs to it) and without the
application's collection is ours. "Bytes" are those of the messages that reach the server. CPU is that of the workers
(utime + stime of /proc/PID/stat).

The last row compares the application's p99 with itself without our loops that store beside requests. Three instances (with
them, without, and once more without as the control) take turns in random order, because a machine's noise is larger than what
is looked for; the interval is the 95 % one of a bootstrap over turns.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.builds import WORKING_TREE, NoSuchBuild, builds, name_of
from benchmarks.environment import described
from benchmarks.guest_parts import FLEETS, Bench
from benchmarks.report import GUEST
from benchmarks.tables import number
from benchmarks.team import Tick

TODAY = "7eb0a35"  # before the issue of the quiet guest
PARTS = ("idle", "busy", "latency", "cost")
DEFAULT = PARTS[:3]
MOST_WORKERS = 32  # that are started on one machine
SETTLE = 15.0  # seconds after the start, or of load, that are not counted


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was made is removed
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        Console(stderr=True).print(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
        return 2
    revisions = {"today": options.today, "now": options.now}
    if options.only:
        revisions = {options.only: revisions[options.only]}
    try:
        answer = _measured(options, revisions)
    except NoSuchBuild as error:
        Console(stderr=True).print(str(error), markup=False)
        return 2
    GUEST.parent.mkdir(parents=True, exist_ok=True)
    GUEST.write_text(json.dumps(answer, indent=1, ensure_ascii=False))
    if options.json == "-":
        json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
        return 0
    if options.json:
        Path(options.json).write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
    Console(width=None if sys.stdout.isatty() else 150).print(_table(answer["rows"], answer["builds"]))
    return 0


def _measured(options: argparse.Namespace, revisions: Mapping[str, str]) -> dict[str, Any]:
    begun, os.environ["PYTHONDONTWRITEBYTECODE"] = time.monotonic(), "1"
    with builds(*revisions.values()) as trees, _bar(options) as tick:
        bench = Bench(dict(zip(revisions, trees, strict=True)), options, tick)
        for part in PARTS:
            if part in options.parts:
                getattr(bench, part)()
    return {
        "environment": described(),
        "builds": {name: name_of(revision) for name, revision in revisions.items()},
        "seconds": round(time.monotonic() - begun),
        "rows": [{**asdict(row), "verdict": row.verdict} for row in bench.rows],
        "details": bench.details,
    }


@contextmanager
def _bar(options: argparse.Namespace) -> Iterator[Tick]:
    """About as many steps as seconds."""
    turns = 5 if not options.only else 3 if options.only == "now" else 2
    seconds = {
        "idle": 2 * (options.settle + options.idle),
        "busy": options.settle + options.busy,
        "latency": turns * (options.rounds + 1) * options.turn,
        "cost": len(options.fleets) * (options.settle + options.busy),
    }
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("a guest", total=sum(seconds[part] for part in options.parts))
        yield lambda: bar.advance(task)


def _table(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Table:
    table = Table(title=", ".join(f"{name}: {commit}" for name, commit in names.items()), title_justify="left")
    table.add_column("what")
    for title in ("today", "now", "A/A", "95 %", "at most", ""):
        table.add_column(title, justify="right" if title else "left")
    for row in rows:
        low, high = row["interval"] or (None, None)
        table.add_row(
            row["what"],
            number(row["today"], row["unit"]),
            number(row["now"], row["unit"]),
            number(row["control"]),
            f"{low:.2f} to {high:.2f}" if low is not None else "",
            number(row["most"]),
            row["verdict"],
        )
    return table


def _fleet(text: str) -> tuple[int, int]:
    instances, _, workers = text.partition("x")
    if not (instances.isdecimal() and workers.isdecimal() and 0 < int(instances) * int(workers) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(
            f"write 2x8 for two instances of eight workers; {MOST_WORKERS} workers at most"
        )
    return int(instances), int(workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guest", description=__doc__)
    parser.add_argument(
        "--today", default=TODAY, metavar="REVISION", help=f"the build to compare with (default {TODAY})"
    )
    parser.add_argument(
        "--now", default=WORKING_TREE, metavar="REVISION", help="the build that is measured (default: the working tree)"
    )
    parser.add_argument("--only", choices=("today", "now"), help="one of them alone")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=list(DEFAULT),
        metavar="PART",
        help=f"of {' '.join(PARTS)} (default {' '.join(DEFAULT)})",
    )
    parser.add_argument(
        "--idle", type=float, default=40.0, help="seconds that are counted without requests (default 40)"
    )
    parser.add_argument("--busy", type=float, default=60.0, help="seconds that are counted with requests (default 60)")
    parser.add_argument("--settle", type=float, default=SETTLE, help=f"seconds before them (default {SETTLE:.0f})")
    parser.add_argument(
        "--rounds", type=int, default=8, help="turns of each instance whose p99 is compared (default 8)"
    )
    parser.add_argument("--turn", type=float, default=10.0, help="seconds of a turn (default 10)")
    parser.add_argument(
        "--fleets",
        nargs="+",
        type=_fleet,
        default=list(FLEETS),
        metavar="NxM",
        help="instances of so many workers on one database, of the part cost (default 1x2 1x8 2x8)",
    )
    parser.add_argument("--json", metavar="FILE", help="write all of it there too; - is stdout, in place of the table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
