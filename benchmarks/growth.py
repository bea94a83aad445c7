"""How a cost grows: with a document's fields and depth, with kinds of errors, with connections and with what waits on disk.

Each curve ends early when its time is over; what was not reached is left out of it, and said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.connections import served
from benchmarks.setups import DEPTHS, FIELDS
from benchmarks.team import Member, Tick, rounds

KINDS = (1_000, 10_000, 100_000, 1_000_000)
ENTRIES = (10, 100, 1_000, 10_000, 100_000)
CONNECTIONS = (1, 8, 64, 256, 1_000)
CHUNK = 2_000  # pieces of work between two looks at the clock
LIMIT = 240.0  # seconds of one curve
OBSERVERS = ("opentelemetry", "sentry", "sentry traced")

Points = list[tuple[float, float]]


@dataclass(slots=True)
class Curve:
    """``series``: points by name. ``along`` and ``unit`` say what x and y are."""

    name: str
    title: str
    along: str
    unit: str
    series: dict[str, Points] = field(default_factory=dict)
    note: str = ""

    def add(self, name: str, x: float, y: float) -> None:
        self.series.setdefault(name, []).append((x, y))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def documents(uri: str, count: int, tick: Tick, python: str | None) -> list[Curve]:
    """Fields and depth: what a listener does with one command, without a network."""
    wide = Curve("fields", "One insert of a document of so many fields, as the listener sees it", "fields", "µs CPU")
    deep = Curve("depth", "One insert of a document of so many levels, as the listener sees it", "levels", "µs CPU")
    members = [Member(uri, ["parts"], python=python)]
    members += [Member(uri, [name], python=python) for name in OBSERVERS if python is not None]
    try:
        kinds = {"parts": ("normal", "slow", "failed")}
        for curve, sizes, stem in ((wide, FIELDS, ""), (deep, DEPTHS, "deep ")):
            for size in sizes:
                asked = {
                    f"{member.name}/{kind} {stem}{size}"
                    for member in members
                    for kind in kinds.get(member.name, ("normal",))
                }
                for work, taken in rounds(members, asked, count).items():
                    setup, _, kind = work.partition("/")
                    name = f"prodfix, {kind.split()[0]}" if setup == "parts" else setup
                    curve.add(name, size, min(each["cpu"] for each in taken))
                tick()
    finally:
        for member in members:
            member.close()
    return [wide, deep]


def _reach(member: Member, work: str, done: int, wanted: int, end: float) -> tuple[int, dict[str, float]]:
    """Do a work until it was done ``wanted`` times, or its time is over; how often it was done, and what the last ones took."""
    taken: dict[str, float] = {}
    while done < wanted and time.monotonic() < end:
        step = min(CHUNK, wanted - done)
        taken = member.ask("time", work=work, times=step)
        done += step
    return done, taken


def errors(uri: str, sizes: Sequence[int], tick: Tick) -> list[Curve]:
    """Errors of which no two are alike."""
    cpu = Curve("errors", "Counting one more error of a kind that was never seen", "kinds so far", "µs CPU")
    memory = Curve("errors-memory", "Memory of the process that has counted them", "kinds so far", "MB")
    done, end = 0, time.monotonic() + LIMIT
    with Member(uri, ["kinds"]) as member:
        member.ask("time", work="kinds/error", times=100)
        memory.add("prodfix", 1, member.ask("memory"))
        for size in sizes:
            done, taken = _reach(member, "kinds/kind", done, size, end)
            if done < size:
                cpu.note = memory.note = f"Ended at {done:,} kinds: its time was over."
                break
            cpu.add("prodfix", size, taken["cpu"])
            memory.add("prodfix", size, member.ask("memory"))
            tick()
    return [cpu, memory]


def waiting(uri: str, sizes: Sequence[int], tick: Tick) -> list[Curve]:
    """Deferred writes that wait in the journal."""
    cpu = Curve("journal", "A deferred write, and asking how many wait, beside so many that wait", "entries", "µs CPU")
    memory = Curve("journal-memory", "Memory of the process that keeps them", "entries", "MB")
    done, end = 0, time.monotonic() + LIMIT
    with Member(uri, ["backlog"], "--gevent") as member:
        for size in sizes:
            done, _ = _reach(member, "backlog/fill", done, size, end)
            if done < size:
                cpu.note = memory.note = f"Ended at {done:,} entries: its time was over."
                break
            cpu.add("put", size, min(member.ask("time", work="backlog/put", times=20)["cpu"] for _ in range(3)))
            cpu.add(
                "how many wait", size, min(member.ask("time", work="backlog/look", times=5)["cpu"] for _ in range(3))
            )
            memory.add("prodfix", size, member.ask("memory"))
            done += 60
            tick()
    return [cpu, memory]


def connections(uri: str, sizes: Sequence[int], requests: int, tick: Tick) -> list[Curve]:
    """Under gunicorn: CPU of a request. ``bare again`` is the control."""
    cpu = Curve("connections", "One request to /ping under gunicorn, access log included", "connections", "µs CPU")
    slow = Curve("connections-p99", "How long 99 of 100 of these take at most", "connections", "ms")
    for name in ("bare", "served", "bare again"):
        with served(name.removesuffix(" again"), uri) as host:
            for size in sizes:
                seen = host.cost(size, max(requests, 2 * size))
                if seen["bad"]:
                    cpu.note += f"{name}, {size} connections: {seen['bad']:.0f} answers were no 200. "
                cpu.add(name, size, seen["cpu"])
                slow.add(name, size, seen["p99"])
                tick()
    return [cpu, slow]


def measure(uri: str, bar: Callable[[str, int], Any], *, python: str | None, small: bool) -> Iterable[Curve]:
    """All curves; ``small``: a trial of them."""
    cut = 3 if small else None
    with bar("growth: documents", len(FIELDS) + len(DEPTHS)) as tick:
        yield from documents(uri, 2 if small else 7, tick, python)
    with bar("growth: kinds of errors", len(KINDS[:cut])) as tick:
        yield from errors(uri, KINDS[: 2 if small else None], tick)
    with bar("growth: the journal", len(ENTRIES[:cut])) as tick:
        yield from waiting(uri, ENTRIES[:cut], tick)
    with bar("growth: connections", 3 * len(CONNECTIONS[:cut])) as tick:
        yield from connections(uri, CONNECTIONS[:cut], 300 if small else 4_000, tick)
