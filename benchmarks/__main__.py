"""``python -m benchmarks``: what prodfix costs, as ratios within one run.

quick (the default) prints one table, in under 3 minutes on a quiet machine. full measures peers and growth beside it, and
writes benchmarks/REPORT.md. gate compares instruction counts with the kept ones. profile shows what a piece of work spends
its time on. Beside each figure stands its control (A/A), the same ratio of something with itself: what it is away from 1.00
is noise.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import callgrind, gate, tables
from benchmarks.canned import canned_server
from benchmarks.environment import described
from benchmarks.measuring import Plan, measure
from benchmarks.rows import GATED, ROWS, chosen
from benchmarks.team import Tick

console = Console(stderr=True)
FAILED, NOT_MEASURED = 1, 0


@contextmanager
def progress(title: str, steps: int) -> Iterator[Tick]:
    """A bar on stderr that a tick moves."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=steps)
        yield lambda: bar.advance(task)


def main() -> int:
    options = _parser().parse_args(
        sys.argv[1:] if sys.argv[1:2] and not sys.argv[1].startswith("-") else _with_default()
    )
    return int(options.run(options))


def _with_default() -> list[str]:
    asked = sys.argv[1:]
    return asked if asked[:1] in (["-h"], ["--help"]) else ["quick", *asked]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    numbers = [row.number for row in ROWS]

    quick = commands.add_parser("quick", help="one table of all rows", description="One table of all rows.")
    quick.add_argument(
        "--rows", nargs="+", metavar="ROW", default=numbers, help=f"of {' '.join(numbers)} (default all)"
    )
    quick.add_argument("--rounds", type=int, default=20, help="of what is timed (default 20)")
    quick.add_argument("--json", metavar="FILE", help="write the figures there too; - is stdout, in place of the table")
    quick.add_argument("--no-valgrind", action="store_true", help="time what would be counted")
    quick.set_defaults(run=_quick)

    full = commands.add_parser(
        "full", help="peers and growth too; writes benchmarks/REPORT.md", description=_full.__doc__
    )
    full.add_argument("--rounds", type=int, default=25, help="of what is timed (default 25)")
    full.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of REPORT.md and its plots")
    full.add_argument("--no-peers", action="store_true", help="without an environment for other libraries")
    full.add_argument("--small", action="store_true", help="a trial of all of it with small counts: no figures to keep")
    full.add_argument(
        "--again", action="store_true", help="measure nothing: write the report of the last run once more"
    )
    full.set_defaults(run=_full)

    keeper = commands.add_parser("gate", help="fail if a gated row grew by 3 %%", description=gate.__doc__)
    keeper.add_argument("--keep", action="store_true", help="keep what is measured now")
    keeper.set_defaults(run=_gate)

    profile = commands.add_parser(
        "profile", help="what a piece of work spends its time on", description=_profile.__doc__
    )
    profile.add_argument("work", help="setup/work: served/find, served/boom, extension/ping, 'parts/slow 10' ...")
    profile.add_argument("--times", type=int, default=500, help="(default 500)")
    profile.add_argument("--plain", action="store_true", help="in plain threads, without gevent")
    profile.set_defaults(run=_profile)
    return parser


def _quick(options: argparse.Namespace) -> int:
    reason = callgrind.missing()
    try:
        rows = chosen(options.rows)
    except ValueError as error:
        console.print(str(error))
        return 2
    plan = Plan(rows, max(2, options.rounds), instructions=reason is None and not options.no_valgrind)
    begun = time.monotonic()
    with canned_server() as uri, progress("measuring", plan.steps) as tick:
        figures = measure(plan, uri, tick)
    answer = {"environment": described(), "figures": [figure.to_json() for figure in figures]}
    if options.json == "-":
        json.dump(answer, sys.stdout, indent=2, ensure_ascii=False)
        return 0
    if options.json:
        Path(options.json).write_text(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    out = Console(width=None if sys.stdout.isatty() else 160)
    out.print(tables.terminal(figures, f"What prodfix costs ({time.monotonic() - begun:.0f} s)"))
    if reason is not None:
        out.print(f"Timed instead of counted: {reason}.")
    return 0


def _full(options: argparse.Namespace) -> int:
    """Everything: all rows, peers in an environment of their own (var/bench-peers), growth curves and profiles, written to
    benchmarks/REPORT.md with plots. Takes a quarter of an hour on a quiet machine."""
    from benchmarks.report import write

    return write(options, console, progress)


def _gate(options: argparse.Namespace) -> int:
    if reason := callgrind.missing():
        console.print(f"SKIPPED: {reason}. Nothing was measured.")
        return NOT_MEASURED
    here, entries = gate.versions(), gate.load()
    kept = gate.kept_for(entries, here)
    if kept is None and not options.keep:
        console.print(f"SKIPPED: nothing is kept for these versions ({gate.differences(entries, here)}).")
        console.print("On a commit whose cost is right, keep it: python -m benchmarks gate --keep")
        return NOT_MEASURED
    plan = Plan(chosen(GATED))
    with canned_server() as uri, progress("counting instructions", plan.steps) as tick:
        figures = measure(plan, uri, tick)
    if options.keep:
        gate.store(figures, here)
        print(f"Kept {len(figures)} figures in {gate.KEPT.name}.")
        return 0
    assert kept is not None
    changes = gate.compare(kept, figures)
    grown = sorted({change.name.partition(" ")[0] for change in changes if change.too_much})
    if grown:
        # An error waits for the journal's thread, and how often the hub looks meanwhile depends on the machine's load.
        plan = Plan(chosen(grown))
        with canned_server() as uri, progress("counting once more what grew", plan.steps) as tick:
            changes = gate.lesser(changes, gate.compare(kept, measure(plan, uri, tick)))
    passed, text = gate.verdict(changes)
    print(text)
    return 0 if passed else FAILED


def _profile(options: argparse.Namespace) -> int:
    """Functions by their own time (cProfile): a share is trustworthy, the time itself is not."""
    from benchmarks.profiles import profile, shown

    with canned_server() as uri:
        rows = profile(uri, options.work, options.times, gevent=not options.plain)
    print(shown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
