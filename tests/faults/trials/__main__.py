"""The command ``python -m tests.faults.trials``. Its exit code is 1 if a promise was broken."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tests.faults.trials import __doc__ as description
from tests.faults.trials import report
from tests.faults.trials.plan import KINDS, Fault
from tests.faults.trials.run import Round, play, rounds

# Which views break which promise. What `forgetful` accepts has no status either.
CONTROLS = {"lost": "forgetful", "doubled": "twice", "half": "half", "status": "forgetful", "outcome": "early"}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}")
    summary = report.Summary()
    end = time.monotonic() + 60 * options.minutes
    careless = sorted({CONTROLS[promise] for promise in options.control})
    all_rounds = list(
        rounds(
            seed=seed,
            count=options.rounds,
            faults=options.faults,
            writes=options.writes,
            kinds=options.only or KINDS,
            instances=options.instances,
            until=end,
            careless=careless,
        )
    )
    try:
        _play_all(all_rounds, summary, options, end)
    finally:  # also when one of them could not be played to its end
        report.show(summary, Console(width=None if sys.stdout.isatty() else 160))
        if options.json:
            report.write(summary, options.json)
    return _code(summary, options.control)


def _play_all(all_rounds: Sequence[Round], summary: report.Summary, options: argparse.Namespace, end: float) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=sum(one.count for one in all_rounds))
        for number, one in enumerate(all_rounds, 1):
            if time.monotonic() > end:
                break
            _play(one, summary, options, _telling(progress, task, number, one, summary))


def _telling(
    progress: Progress, task: TaskID, number: int, one: Round, summary: report.Summary
) -> Callable[[Fault, int], None]:
    before = summary.total["acknowledged"]

    def tell(fault: Fault, acknowledged: int) -> None:
        text = f"round {number}, {before + acknowledged} acknowledged: {fault.kind}"
        progress.update(task, advance=fault.number < one.count, description=text)

    return tell


def _play(one: Round, summary: report.Summary, options: argparse.Namespace, tell: Callable[[Fault, int], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome = play(one, Path(folder), tell)
    summary.add(outcome)
    if options.history:
        with options.history.open("a") as file:
            file.writelines(f"{line}\n" for line in outcome.history.json_lines())


def _code(summary: report.Summary, control: Sequence[str]) -> int:
    if not control:
        return int(summary.broken)
    silent = [promise for promise in control if not summary.total[promise]]
    print(f"not reported: {', '.join(silent)}" if silent else "the controls were reported, as they should be")
    return int(bool(silent))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.trials", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=24, help="deployments, one after another (default 24)")
    parser.add_argument("--faults", type=int, default=1200, help="faults, of all rounds (default 1200)")
    parser.add_argument(
        "--writes", type=int, default=100_000, help="acknowledged writes, of all rounds (default 100000)"
    )
    parser.add_argument("--minutes", type=float, default=120, help="no fault begins after these (default 120)")
    parser.add_argument("--seed", type=int, help="to have the same faults again; each round adds one")
    parser.add_argument("--instances", type=int, choices=(1, 2), help="of the application (default: in turn)")
    parser.add_argument(
        "--only",
        action="append",
        choices=KINDS,
        metavar="KIND",
        help=f"one kind of fault, or several: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        choices=sorted(CONTROLS),
        help="let some requests go to a view that breaks this promise: it must be reported",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report as JSON")
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="each request, answer and fault, one JSON line each"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
