"""What became of it: a table by kind of fault, the histories of what went wrong, and all of it as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.trials.history import History, Request
from tests.faults.trials.oracle import PROMISES, Violation
from tests.faults.trials.run import Outcome

SHOWN = 5  # violations of each promise with their histories
BEFORE = "before the first"
_COUNTED = ("faults", "acknowledged", "deferred", "errors", "unanswered")


@dataclass(slots=True)
class Summary:
    """Sums over all rounds. A request belongs to the last fault that had begun when it was answered."""

    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    violations: list[tuple[int, History, Violation]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        history = outcome.history
        self.missing |= outcome.missing
        for fault in history.faults:
            self._of(fault.kind)["faults"] += 1
        for request in history.requests:
            self._count(history, request)
        for violation in outcome.verdict.violations:
            self._of(_kind(history, violation.at))[violation.promise] += 1
            self.violations.append((history.seed, history, violation))
        self.rounds.append(_round(outcome))

    def _count(self, history: History, request: Request) -> None:
        row = self._of(_kind(history, request.ended))
        if request.action != "read":
            row["acknowledged"] += request.acknowledged
            row["keyed"] += request.acknowledged and request.key is not None
        row["deferred"] += request.accepted is not None
        row["errors"] += sum(attempt.status is not None and attempt.status >= 400 for attempt in request.attempts)
        row["unanswered"] += sum(attempt.status is None for attempt in request.attempts)

    def _of(self, kind: str) -> Counter[str]:
        return self.by_kind.setdefault(kind, Counter())

    @property
    def total(self) -> Counter[str]:
        return sum(self.by_kind.values(), Counter())

    @property
    def broken(self) -> bool:
        return bool(self.violations) or any(row["settledAfter"] is None for row in self.rounds)

    def __str__(self) -> str:
        total = self.total
        settled = [row["settledAfter"] for row in self.rounds]
        longest = "never" if None in settled else f"{max(settled, default=0.0):.1f} s at most"
        found = ", ".join(f"{total[promise]} {promise}" for promise in PROMISES)
        return (
            f"{len(self.rounds)} rounds, {total['faults']} faults, {total['acknowledged']} acknowledged ({total['keyed']} with"
            f" a key, {total['deferred']} deferred): {found}; all applied {longest} after the last fault"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "total": dict(self.total),
            "byKind": {kind: dict(counts) for kind, counts in sorted(self.by_kind.items())},
            "rounds": self.rounds,
            "notProduced": self.missing,
            "violations": [
                {"seed": seed, "promise": one.promise, "fault": _told(history, one.at), "lines": one.lines()}
                for seed, history, one in self.violations
            ],
        }


def _kind(history: History, moment: float) -> str:
    fault = history.fault_at(moment)
    return fault.kind if fault is not None else BEFORE


def _told(history: History, moment: float) -> str:
    fault = history.fault_at(moment)
    return f"{fault.at:.3f} s: {fault.told}" if fault is not None else BEFORE


def _round(outcome: Outcome) -> dict[str, Any]:
    history = outcome.history
    found = Counter(violation.promise for violation in outcome.verdict.violations)
    writes = [request for request in history.requests if request.action != "read"]
    return {
        "seed": history.seed,
        "instances": history.instances,
        "faults": [fault.told for fault in history.faults],
        "acknowledged": sum(request.acknowledged for request in writes),
        "exposed": outcome.verdict.exposed,
        "settledAfter": history.settled,
        **{promise: found[promise] for promise in PROMISES},
    }


def show(summary: Summary, console: Console) -> None:
    table = Table(title="Trials", title_justify="left")
    table.add_column("fault")
    for name in (*_COUNTED, *PROMISES):
        table.add_column(name, justify="right")
    for kind, counts in sorted(summary.by_kind.items()):
        table.add_row(kind, *_cells(counts))
    table.add_section()
    table.add_row("all", *_cells(summary.total))
    console.print(table)
    for kind, reason in summary.missing.items():
        console.print(f"not produced: {kind} ({reason})", highlight=False)
    for line in _histories(summary.violations):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(str(summary), highlight=False, soft_wrap=True)


def _cells(counts: Counter[str]) -> list[str]:
    return [str(counts[name]) for name in _COUNTED] + [
        f"[bold red]{counts[name]}[/]" if counts[name] else "0" for name in PROMISES
    ]


def _histories(violations: Sequence[tuple[int, History, Violation]]) -> Iterable[str]:
    shown: Counter[str] = Counter()
    for seed, history, violation in violations:
        shown[violation.promise] += 1
        if shown[violation.promise] <= SHOWN:
            head, *lines = violation.lines()
            yield f"[seed {seed}] {head}"
            yield from (f"    {line}" for line in lines)
            yield f"    the fault before: {_told(history, violation.at)}"
    for promise, count in shown.items():
        if count > SHOWN:
            yield f"and {count - SHOWN} more {promise}"


def write(summary: Summary, path: Path) -> None:
    path.write_text(json.dumps(summary.to_json(), indent=2) + "\n")
