"""The rows of the table: what is compared with what, and how much it may cost.

A figure is a ratio within one run wherever it can be: a slow machine counts in both of its parts. Its control is the same
ratio of something with itself, and tells what a difference is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

By = Literal["instructions", "cpu", "caller", "least", "start", "memory"]
AGAIN = " again"
NOISE = 0.1  # of a control, beyond which a figure says nothing


@dataclass(frozen=True, slots=True)
class Part:
    """One figure of a row: ``ours`` over ``base`` (``setup/work``), or ``ours`` alone in microseconds or megabytes."""

    name: str
    ours: str
    base: str = ""
    hold: float | None = None
    aim: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """``by``: instructions, CPU of the process or of the calling thread (p10 of rounds, as a ratio), the least of microseconds,
    or what importing and memory take. ``gevent``: under which it is measured, as it is served."""

    number: str
    what: str
    by: By
    parts: tuple[Part, ...]
    gevent: bool = False

    @property
    def works(self) -> set[str]:
        """What must be measured, controls included."""
        return {work for part in self.parts for work in (part.ours, part.base) if work}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. ``control``: its A/A ratio; ``spread``: the quartiles, where there were rounds."""

    row: str
    part: str
    what: str
    by: str
    value: float
    unit: str
    control: float | None
    hold: float | None
    aim: float | None
    spread: tuple[float, float] | None = None
    taken: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether it is held; or that the machine was so restless that the same differed from itself by more than a tenth."""
        if self.hold is None:
            return ""
        if self.control is not None and not 1 - NOISE <= self.control <= 1 + NOISE:
            return "noise"
        if self.aim is not None and self.value <= self.aim:
            return "aim"
        return "held" if self.value <= self.hold else "missed"

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "part": self.part,
            "what": self.what,
            "by": self.by,
            "value": round(self.value, 4),
            "unit": self.unit,
            "control": None if self.control is None else round(self.control, 4),
            "hold": self.hold,
            "aim": self.aim,
            "verdict": self.verdict,
            "spread": None if self.spread is None else [round(value, 4) for value in self.spread],
            "taken": {name: round(value, 1) for name, value in self.taken.items()},
        }


def _over(ours: str, base: str, works: Iterable[tuple[str, float, float]]) -> tuple[Part, ...]:
    return tuple(Part(work, f"{ours}/{work}", f"{base}/{work}", hold, aim) for work, hold, aim in works)


_SIZES = ("10", "1000", "100000")

ROWS: tuple[Row, ...] = (
    Row(
        "1",
        "a command of the served client, to an empty listener",
        "instructions",
        _over("served", "empty", (("find", 1.10, 1.05), ("insert", 1.10, 1.05))),
    ),
    Row(
        "1b",
        "the listener alone, to an empty one",
        "instructions",
        _over("listener", "empty", (("find", 1.02, 1.005), ("insert", 1.03, 1.005))),
    ),
    Row(
        "1c",
        "the served client with ENABLE_QUERY_LOGGING=false, to an empty listener",
        "instructions",
        _over("off", "empty", (("find", 1.03, 1.00), ("insert", 1.03, 1.00))),
    ),
    Row(
        "1m",
        "a command of the served client with METRICS_TOKEN, to one without",
        "instructions",
        _over("metered", "served", (("find", 1.03, 1.01), ("insert", 1.03, 1.01))),
    ),
    Row(
        "2",
        "a command of the served client, to a bare one",
        "cpu",
        _over("served", "bare", (("find", 1.30, 1.20), ("insert", 1.35, 1.20))),
    ),
    Row(
        "3",
        "every command logged (QUERY_LOG_SAMPLE=1), to a bare client",
        "cpu",
        _over("sampled", "bare", (("find", 1.7, 1.4), ("insert", 2.3, 1.6))),
    ),
    Row(
        "4",
        "a slow or failed command of so many fields",
        "least",
        tuple(
            Part(f"{kind} {size}", f"parts/{kind} {size}", "", 100.0, 40.0)
            for kind in ("slow", "failed")
            for size in _SIZES
        ),
    ),
    Row(
        "5",
        "a request that does nothing, to bare Flask",
        "instructions",
        (
            Part("served", "served/ping", "bare/ping", 1.30, 1.15),
            Part("extension", "extension/ping", "bare/ping", 1.20, 1.10),
        ),
        gevent=True,
    ),
    Row(
        "5m",
        "a request that does nothing with METRICS_TOKEN, to one without",
        "instructions",
        (Part("", "metered/ping", "served/ping", 1.05, 1.02),),
        gevent=True,
    ),
    Row(
        "5t",
        "the same in time",
        "caller",
        (
            Part("served", "served/ping", "bare/ping", 1.30, 1.15),
            Part("extension", "extension/ping", "bare/ping", 1.20, 1.10),
        ),
        gevent=True,
    ),
    Row(
        "6i",
        "a request through gunicorn's worker with its access log, to bare with its own; without the kernel's part",
        "instructions",
        (Part("", "served/wire", "bare/wire", 1.15, 1.05),),
        gevent=True,
    ),
    Row(
        "7",
        "an error with all that belongs to it, to the same answer unlogged",
        "instructions",
        (
            Part("own exception", "served/boom", "bare/boom", 2.5, 1.8),
            Part("DuplicateKeyError", "served/twice", "bare/twice", 1.7, 1.4),
        ),
        gevent=True,
    ),
    Row(
        "7t",
        "the same in time of the thread that answers",
        "caller",
        (
            Part("own exception", "served/boom", "bare/boom", 2.5, 1.8),
            Part("DuplicateKeyError", "served/twice", "bare/twice", 1.7, 1.4),
        ),
        gevent=True,
    ),
    Row(
        "8",
        "the same kind again, while it is told no more",
        "instructions",
        (
            Part("own exception", "held/boom", "bare/boom", 1.5, 1.15),
            Part("DuplicateKeyError", "held/twice", "bare/twice", 1.3, 1.15),
        ),
        gevent=True,
    ),
    Row(
        "9",
        "an error that is counted and logged only, to the same answer unlogged",
        "caller",
        (
            Part("DuplicateKeyError", "served/twice", "bare/twice", 1.5, 1.3),
            Part("422", "served/refused", "bare/refused", 1.5, 1.3),
        ),
        gevent=True,
    ),
    Row(
        "10",
        "importing, over flask and pymongo",
        "start",
        (
            Part("import prodfix", "import prodfix", "", 1.4, 1.2),
            Part("create_app", "create_app", "", 1.4, 1.2),
            Part("create_app, MB", "create_app MB", "", 7.0, 4.0),
        ),
    ),
    Row(
        "11",
        "memory of a worker over a bare one, after 2,000 requests",
        "memory",
        (Part("served", "served/ping", "bare/ping", 9.0, 5.0),),
        gevent=True,
    ),
    Row(
        "12",
        "the device of an agent that is not known",
        "least",
        (Part("", "parts/device", "", 100.0, 20.0),),
    ),
    Row(
        "13",
        "the retry wrapper and the breaker on success, together",
        "least",
        (Part("", "parts/retry and breaker", "", 1.0, 0.4),),
    ),
    Row(
        "14",
        "a scrape of 8 workers with 200 routes and 500 kinds of commands",
        "least",
        (Part("", "scrape/scrape", "", 20_000.0, 10_000.0),),
    ),
)
GATED = ("1", "1b", "1c", "5", "7")


def chosen(numbers: Iterable[str]) -> list[Row]:
    """The rows of these numbers, in their order. Raises ``ValueError`` for one that there is not."""
    wanted = set(numbers)
    if unknown := wanted - {row.number for row in ROWS}:
        raise ValueError(
            f"there is no row {', '.join(sorted(unknown))}: there are {', '.join(row.number for row in ROWS)}"
        )
    return [row for row in ROWS if row.number in wanted]


def instructions_of(rows: Iterable[Row], counts: dict[str, float]) -> Iterator[Figure]:
    """The figures of rows by instructions, of what one piece of each work takes: the lesser of two counts. The control is one
    count of the base over the other."""
    for row in rows:
        for part in row.parts:
            taken = {work: min(counts[work], counts[again_of(work)]) for work in (part.ours, part.base)}
            yield Figure(
                row.number,
                part.name,
                row.what,
                "instructions",
                taken[part.ours] / taken[part.base],
                "x",
                counts[again_of(part.base)] / counts[part.base],
                part.hold,
                part.aim,
                taken=taken,
            )


def again_of(work: str) -> str:
    """The name of the control of ``work``: ``bare again/find``."""
    setup, _, kind = work.partition("/")
    return f"{setup}{AGAIN}/{kind}"
