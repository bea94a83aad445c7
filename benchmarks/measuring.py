"""The ways of measuring, each for all rows that need it in one go."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import callgrind
from benchmarks.rows import Figure, Part, Row, again_of, instructions_of
from benchmarks.team import ROOT, Member, Taken, Tick, rounds

COUNTED = 60  # pieces of work whose instructions are counted
RARE_HEARTBEATS = "heartbeatFrequencyMS=600000"
REQUESTS = 2_000  # before a worker's memory is looked at
STARTS = 7  # of a process that imports


@dataclass(slots=True)
class Plan:
    """What some rows need: works to count or to time, without and with gevent, and the rest."""

    rows: Sequence[Row]
    count: int = 20  # rounds
    instructions: bool = True
    python: str | None = None
    works: dict[bool, set[str]] = field(default_factory=dict)

    def by(self, *kinds: str) -> list[Row]:
        """Rows by instructions are timed where instructions cannot be counted."""
        kinds = (*kinds, "instructions") if "cpu" in kinds and not self.instructions else kinds
        return [row for row in self.rows if row.by in kinds]

    @property
    def steps(self) -> int:
        """How often :func:`measure` ticks."""
        counted = sum(len(_counted_works(rows)) for rows in _by_gevent(self.by("instructions")).values())
        timed = sum(self.count for rows in _by_gevent(self.by("cpu", "caller", "least")).values() if rows)
        return counted * self.instructions + timed + len(self.by("memory")) * 2 + len(self.by("start")) * STARTS


def _by_gevent(rows: Iterable[Row]) -> dict[bool, list[Row]]:
    rows = list(rows)
    return {gevent: [row for row in rows if row.gevent is gevent] for gevent in (False, True)}


def measure(plan: Plan, uri: str, tick: Tick) -> list[Figure]:
    """The figures of all rows, in their order."""
    figures: list[Figure] = []
    if plan.instructions:
        rows = plan.by("instructions")
        figures += instructions_of(rows, counted(uri, rows, tick))
    for gevent, rows in _by_gevent(plan.by("cpu", "caller", "least")).items():
        if rows:
            taken = timed(uri, rows, plan.count, tick, gevent=gevent)
            figures += timed_figures(rows, taken)
    for row in plan.by("memory"):
        figures += memory(uri, row, tick)
    for row in plan.by("start"):
        figures += starts(row, tick)
    order = [row.number for row in plan.rows]
    return sorted(figures, key=lambda figure: order.index(figure.row))


# -- instructions ---------------------------------------------------------------------------------------------------------


def _counted_works(rows: Iterable[Row]) -> list[str]:
    """Each of them twice: the lesser count is the figure, and the other one the control."""
    works = sorted({work for row in rows for work in row.works})
    return works + [again_of(work) for work in works]


def counted(uri: str, rows: Sequence[Row], tick: Tick) -> dict[str, float]:
    """Instructions of one piece of each work. Both processes, without and with gevent, run at once.

    The driver looks at the server no more: how often it would depends on the machine's speed, and under gevent it would be
    counted with whatever runs then.
    """
    uri += f"&{RARE_HEARTBEATS}"
    with ExitStack() as stack:
        folders: list[Path] = []
        orders: list[tuple[Member, list[str]]] = []
        for gevent, some in _by_gevent(rows).items():
            if not some:
                continue
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folders.append(folder)
            works = _counted_works(some)
            setups = sorted({work.partition("/")[0] for work in works if " again/" not in work})
            options = ["--counted", "--gevent"] if gevent else ["--counted"]
            here = callgrind.environment()
            member = Member(uri, setups, *options, before=callgrind.command(folder), environment=here)
            stack.callback(member.close)
            orders.append((member, works))
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda order: _count_all(order[0], order[1], tick), orders))
        counts = {name: count for folder in folders for name, count in callgrind.read(folder).items()}
    return {label: count / COUNTED for label, count in counts.items()}


def _count_all(member: Member, works: Sequence[str], tick: Tick) -> None:
    for work in works:
        member.ask("count", work=work.replace(" again/", "/"), times=COUNTED, label=work)
        tick()


# -- time -----------------------------------------------------------------------------------------------------------------


def timed(uri: str, rows: Sequence[Row], count: int, tick: Tick, *, gevent: bool) -> Taken:
    """What each work took in each round: a worker for each setup, and one more ``bare`` as the control."""
    works = {work for row in rows for work in row.works}
    setups = sorted({work.partition("/")[0] for work in works})
    controls = sorted({part.base.partition("/")[0] for row in rows for part in row.parts if part.base})
    with ExitStack() as stack:
        members = [Member(uri, [name], *(["--gevent"] if gevent else [])) for name in setups + controls]
        for member in members:
            stack.callback(member.close)
        return rounds(members, works, count, tick)


def p10(values: Sequence[float]) -> float:
    """The 10th percentile: the steadiest figure on a shared machine."""
    return statistics.quantiles(values, n=10, method="inclusive")[0] if len(values) > 1 else values[0]


def timed_figures(rows: Iterable[Row], taken: Taken) -> Iterator[Figure]:
    for row in rows:
        for part in row.parts:
            yield (_least if row.by == "least" else _ratio)(row, part, taken)


def _ratio(row: Row, part: Part, taken: Taken) -> Figure:
    clock = "caller" if row.by == "caller" or row.gevent else "cpu"
    ours, base, again = (
        [each[clock] for each in taken.get(work, ())] for work in (part.ours, part.base, again_of(part.base))
    )
    quartiles = (
        statistics.quantiles([one / other for one, other in zip(ours, base, strict=True)], n=4)
        if len(ours) > 1
        else [0.0] * 3
    )
    return Figure(
        row.number,
        part.name,
        row.what,
        f"{clock} p10",
        p10(ours) / p10(base),
        "x",
        p10(again) / p10(base) if again else None,
        part.hold,
        part.aim,
        (quartiles[0], quartiles[2]),
        {part.ours: p10(ours), part.base: p10(base)},
    )


def _least(row: Row, part: Part, taken: Taken) -> Figure:
    """The least of the rounds; the control is the least of every second round over that of the others."""
    values = [each["cpu"] for each in taken[part.ours]]
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    control = min(values[::2]) / min(values[1::2]) if len(values) > 1 else None
    spread = (quartiles[0], quartiles[2])
    return Figure(row.number, part.name, row.what, "least CPU", min(values), "µs", control, part.hold, part.aim, spread)


# -- memory and imports ---------------------------------------------------------------------------------------------------


def memory(uri: str, row: Row, tick: Tick) -> Iterator[Figure]:
    """Megabytes of each setup's worker over a bare one's, after requests and errors."""
    for part in row.parts:
        setups = [work.partition("/")[0] for work in (part.ours, part.base, part.base)]
        values = []
        for setup in setups:
            with Member(uri, [setup], "--gevent") as member:
                member.ask("time", work=f"{setup}/ping", times=REQUESTS)
                member.ask("time", work=f"{setup}/boom", times=50)
                values.append(member.ask("memory"))
        ours, base, again = values
        taken = {part.ours: ours, part.base: base}
        yield Figure(
            row.number, part.name, row.what, "PSS", ours - base, "MB", again / base, part.hold, part.aim, None, taken
        )
        tick()
        tick()


_BASE = "import flask, pymongo"
_STARTS = {
    "base": _BASE,
    "base again": _BASE,
    "import prodfix": f"{_BASE}, prodfix",
    "create_app": f"{_BASE}; from prodfix import create_app, Settings, ProdFix, current_prodfix",
}


def starts(row: Row, tick: Tick) -> Iterator[Figure]:
    """CPU and memory of a process that imports, over one that imports Flask and PyMongo."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in _STARTS}
    for _ in range(STARTS):
        for name, code in _STARTS.items():
            taken[name].append(_started(code))
        tick()
    cpu = {name: min(value for value, _ in values) for name, values in taken.items()}
    size = {name: min(value for _, value in values) for name, values in taken.items()}
    for part in row.parts:
        name = part.ours.removesuffix(" MB")
        if part.ours.endswith(" MB"):
            value, unit, control = size[name] - size["base"], "MB", size["base again"] / size["base"]
        else:
            value, unit, control = cpu[name] / cpu["base"], "x", cpu["base again"] / cpu["base"]
        yield Figure(row.number, part.name, row.what, "least CPU", value, unit, control, part.hold, part.aim)


def _started(code: str) -> tuple[float, float]:
    """CPU seconds and megabytes (peak) of a process that runs ``code``."""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code!r} ended with {process.returncode}")
    return _cpu(used), used.ru_maxrss / 1024


def _cpu(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime
