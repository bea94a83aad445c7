"""``python -m benchmarks full``: measures everything, and writes ``REPORT.md`` with its plots."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import beside, callgrind, growth, journal, plots, profiles, stalls, tables
from benchmarks.canned import canned_server
from benchmarks.environment import described
from benchmarks.measuring import Plan, measure
from benchmarks.rows import ROWS, Figure
from benchmarks.team import ROOT, WorkerDied

LAST = ROOT / "var" / "bench" / "last.json"
GUEST = LAST.with_name("guest.json")  # the last answer of benchmarks.guest
WRITES = ((1_000, 12.0, 8.0), (5_000, 25.0, 10.0))  # a second; hold and aim of their p99 in ms
STALL_ROUNDS, STALL_SECONDS = 3, 5.0  # of each kind of sink
MOST_WRITES = (20_000, 12_000.0, 20_000.0)  # offered a second; hold and aim of how many are acknowledged

INTRODUCTION = """\
# What prodfix costs

Written by `make bench` (`python -m benchmarks full`); do not edit it. `make bench-quick` prints the first table.

A figure is a ratio within one run wherever it can be. **Instructions** are counted by callgrind: they repeat within a hundredth
and do not depend on the machine's load. **p10** is the 10th percentile of CPU time over rounds in which all variants, each in a
process of its own, take turns in random order. **A/A** is the same ratio of something with itself: what it is away from 1.00 is
noise, and a difference that is smaller says nothing. A server that answers at once from memory stands in for MongoDB, so that
the client's cost shows: beside a real one every ratio is smaller. Other libraries send to nobody, which is in their favour.
"""


def write(options: argparse.Namespace, console: Any, bar: Callable[[str, int], Any]) -> int:
    """Measure and write. The raw figures stay in var/bench/last.json, also those of a run that was ended early."""
    if not options.again:
        count = 3 if options.small else max(2, options.rounds)
        python = None if options.no_peers else beside.environment(console.print)
        LAST.parent.mkdir(parents=True, exist_ok=True)
        with canned_server() as uri:
            for result in _measured(uri, bar, count, python, small=options.small):
                LAST.write_text(json.dumps(result, indent=1, ensure_ascii=False))
    result = json.loads(LAST.read_text())
    if GUEST.exists():
        result["guest"] = json.loads(GUEST.read_text())
    console.print(f"{render(result, options.out)}: measured in {result['seconds']} s")
    return 0


def _measured(
    uri: str, bar: Callable[[str, int], Any], count: int, python: str | None, *, small: bool
) -> Iterator[dict[str, Any]]:
    """What is known after each step."""
    begun = time.monotonic()
    plan = Plan(ROWS, count, instructions=callgrind.missing() is None)
    result: dict[str, Any] = {"environment": described(), "rounds": count, "beside": [], "memory": {}, "left out": []}
    result |= {"curves": [], "profiles": []}

    def known(figures: Iterable[Figure]) -> dict[str, Any]:
        told = {"figures": [figure.to_json() for figure in figures], "load after": described()["load"]}
        return result | told | {"seconds": round(time.monotonic() - begun)}

    with bar("all rows", plan.steps) as tick:
        figures = measure(plan, uri, tick)
    yield known(figures)
    if python is not None:
        result["peers"] = _versions_of(python)
        for _ in _measure_beside(uri, bar, count, python, result, 1 if small else 99):
            yield known(figures)
    for curve in growth.measure(uri, bar, python=python, small=small):
        result["curves"].append(curve.to_json())
        yield known(figures)
    figures += [*_served(result["curves"]), *_writes(1.0 if small else 4.0, bar)]
    yield known(figures)
    rounds = 1 if small else STALL_ROUNDS
    with bar("stalled sinks", rounds * len(stalls.KINDS)) as tick:
        figures += stalls.figures(uri, rounds, 2.0 if small else STALL_SECONDS, tick)
    yield known(figures)
    result["profiles"] = _profiles(uri, plan.rows, figures, bar, 50 if small else 400)
    yield known(figures)


def _measure_beside(
    uri: str, bar: Callable[[str, int], Any], count: int, python: str, result: dict[str, Any], most: int
) -> Iterator[None]:
    """Adds to ``result``, group by group. ``most``: of how many variants instructions are counted."""
    for group, ours, works in (
        ("commands", beside.COMMANDS, ("find", "insert")),
        ("requests", beside.REQUESTS, ("ping", "boom", "twice")),
    ):
        variants = (*ours, *beside.PEERS)
        steps = count + (0 if callgrind.missing() else 1 + min(most, len(variants)))
        with bar(f"beside others: {group}", steps) as tick:
            found, memory, failed = beside.measure(uri, group, variants, works, count, tick, python, most)
        result["beside"] += [each.to_json() for each in found]
        result["memory"][group] = memory
        result["left out"] += failed
        yield


def _versions_of(python: str) -> dict[str, str]:
    names = ("opentelemetry-sdk", "sentry-sdk", "structlog", "loguru", "prometheus_client", "elastic-apm")
    folder = next((Path(python).parent.parent / "lib").glob("python*/site-packages"))
    found = {each.metadata["Name"]: each.version for each in metadata.distributions(path=[str(folder)])}
    lowered = {name.lower().replace("_", "-"): version for name, version in found.items()}
    return {name: lowered.get(name.replace("_", "-"), "?") for name in names}


def _served(curves: Sequence[dict[str, Any]]) -> Iterable[Figure]:
    """Row 6, from the curve of connections."""
    series = next(curve["series"] for curve in curves if curve["name"] == "connections")
    points = {name: dict(map(tuple, found)) for name, found in series.items()}
    for size in (1, 64):
        if size in points["served"]:
            bare, again, ours = (points[name][size] for name in ("bare", "bare again", "served"))
            what = "a request under gunicorn with its access log, to bare with its own"
            yield Figure("6", f"{size} connections", what, "CPU", ours / bare, "x", again / bare, 1.15, 1.05)


def _writes(seconds: float, bar: Callable[[str, int], Any]) -> Iterable[Figure]:
    """Row 14: deferred writes of two workers, on disk with fsync."""
    what = "a deferred write, on disk with fsync"
    with bar("deferred writes", 3) as tick:
        for rate, hold, aim in WRITES:
            took = sorted(value for worker in journal.instance(rate, seconds) for value in worker["took"])
            yield Figure("14", f"p99 at {rate:,}/s", what, "wall", took[int(len(took) * 0.99)], "ms", None, hold, aim)
            tick()
        rate, hold, aim = MOST_WRITES
        workers = journal.instance(rate, seconds)
        most = sum(len(worker["took"]) for worker in workers) / max(worker["seconds"] for worker in workers)
        # More is better here: as a share of what is wanted.
        yield Figure(
            "14",
            f"{hold:,.0f}/s, to what is reached ({most:,.0f}/s)",
            what,
            "wall",
            hold / most,
            "x",
            None,
            1.0,
            hold / aim,
        )
        tick()


def _profiles(
    uri: str, rows: Sequence[Any], figures: Iterable[Figure], bar: Callable[[str, int], Any], times: int
) -> list[dict[str, Any]]:
    """Of each work whose figure misses its hold, once."""
    missed = {(figure.row, figure.part) for figure in figures if figure.verdict == "missed"}
    works = {
        (part.ours, row.gevent): None
        for row in rows
        for part in row.parts
        if (row.number, part.name) in missed and row.by not in ("start", "memory")
    }
    found = []
    with bar("profiles", len(works)) as tick:
        for work, gevent in works:
            try:
                lines = profiles.profile(uri, work, times, gevent=gevent)
            except WorkerDied as error:
                found.append({"work": work, "text": str(error)})
            else:
                found.append({"work": work, "text": profiles.shown(lines)})
            tick()
    return found


# -- writing ----------------------------------------------------------------------------------------------------------------


def render(result: dict[str, Any], out: Path) -> Path:
    """Write the report of ``result`` and its plots into ``out``; the report's path."""
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION, _machine(result), _rows(result["figures"])]
    if result["beside"]:
        parts.append(_beside(result, folder))
    if "guest" in result:
        parts.append(guest_table(result["guest"]))
    parts += [_growth(result["curves"], folder), _missed(result["profiles"])]
    report = out / "REPORT.md"
    report.write_text("\n".join(parts))
    return report


def _machine(result: dict[str, Any]) -> str:
    here = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in result.get("peers", {}).items())
    lines = [
        f"Machine: {here['machine']}. Load before {here['load'][0]}, after {result['load after'][0]}.",
        f"Versions: {versions}; {here['valgrind'] or 'no valgrind'}.",
        *([f"Beside: {peers}."] if peers else []),
        f"{result['rounds']} rounds; {result['seconds']} s in all.",
    ]
    return "\n".join(f"{line}  " for line in lines) + "\n"


def _rows(figures: Iterable[dict[str, Any]]) -> str:
    lines = []
    for figure in sorted(figures, key=lambda each: _order(each["row"])):
        what = f"{figure['what']}: {figure['part']}" if figure["part"] else figure["what"]
        spread = "–".join(tables.number(value) for value in figure["spread"] or ())
        value = tables.number(figure["value"], figure["unit"])
        control, hold, aim = (tables.number(figure[name]) for name in ("control", "hold", "aim"))
        lines.append((figure["row"], what, figure["by"], value, spread, control, hold, aim, figure["verdict"]))
    titles = ("row", "what", "by", "figure", "quartiles", "A/A", "hold", "aim", "")
    return f"## Held or not\n\n{tables.markdown(titles, lines)}\n"


def guest_table(answer: dict[str, Any]) -> str:
    """What ``python -m benchmarks.guest`` has found last."""
    lines = []
    for row in answer["rows"]:
        today, now = (tables.number(row[build], row["unit"]) for build in ("today", "now"))
        low, high = row["interval"] or (None, None)
        spread = f"{low:.2f}–{high:.2f}" if low is not None else ""
        lines.append(
            (row["what"], today, now, tables.number(row["control"]), spread, tables.number(row["most"]), row["verdict"])
        )
    compared = ", ".join(f"{name} {commit}" for name, commit in answer["builds"].items())
    titles = ("what", "today", "now", "A/A", "95 %", "at most", "")
    told = f"`python -m benchmarks.guest`: {compared}; load {answer['environment']['load'][0]}, {answer['seconds']} s in all."
    return f"## A guest in the database\n\n{told}\n\n{tables.markdown(titles, lines)}\n"


def _order(number: str) -> tuple[int, str]:
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits), number[len(digits) :]


def _beside(result: dict[str, Any], folder: Path) -> str:
    found, text = result["beside"], ["## Beside other libraries\n"]
    words = {
        "commands": "Commands (CPU of the process)",
        "requests": "Requests and errors (CPU of the thread that answers)",
    }
    for group, title in words.items():
        some = [each for each in found if each["group"] == group]
        works = list(dict.fromkeys(each["work"] for each in some))
        chosen = {name: None for each in some if (name := each["variant"]) != "bare again"}
        by = {(each["variant"], each["work"]): each for each in some}
        values = {work: _plotted({name: by[name, work] for name in chosen if (name, work) in by}) for work in works}
        for work, series in values.items():
            name = f"beside-{work}.svg"
            shown = dict(sorted(series.items(), key=lambda item: item[1]))
            (folder / name).write_bytes(plots.bars(f"{_TOLD[work]}, times the bare one", shown))
        lines: list[tuple[str, ...]] = []
        for variant in ("bare again", *chosen):
            cells = [_cell(by.get((variant, work))) for work in works]
            memory = result["memory"][group]
            size = memory.get(variant) if group == "requests" else None  # all of these have Flask
            lines.append((variant, *cells, tables.number(size - memory["bare"], "MB") if size else ""))
        titles = ("", *(_TOLD[work] for work in works), "memory over bare")
        text += [f"### {title}\n", tables.markdown(titles, lines), ""]
        text += [f"![{_TOLD[work]}](pictures/beside-{work}.svg)" for work in works] + [""]
    text.append(_EXPLAINED)
    text += [f"Not measured: {reason}." for reason in result["left out"]]
    return "\n".join(text) + "\n"


_TOLD = {
    "find": "find_one",
    "insert": "insert_one",
    "ping": "a request that does nothing",
    "boom": "an own exception",
    "twice": "a DuplicateKeyError",
}
_EXPLAINED = """\
Each cell, to the bare one: **instructions** of the thread that does the work, where they could be counted (and in the plots) ·
CPU time (p10; quartiles of the rounds' pairs), microseconds added. *served* is the application of
`create_app`, *extension* is `ProdFix().init_app(app)`, *listener* is `QueryInterceptor()` alone, *off* has
`ENABLE_QUERY_LOGGING=false`, *sampled* logs every command, *debug* logs each twice, *held* has told of so many errors of the
kind that it tells of no more. *loguru* and *structlog* write a line for each command and each error; *loguru untuned* with the
values of variables. *sentry* records errors only, *sentry traced* and *elastic* 50 commands in each transaction.
"""


def _plotted(found: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """The ratios of instructions, or of time where not all were counted: one or the other."""
    counted = all(each["instructions"] is not None for each in found.values())
    return {name: each["instructions" if counted else "ratio"] for name, each in found.items()}


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    counted = "" if found["instructions"] is None else f"**{tables.number(found['instructions'])}** · "
    spread = f"{tables.number(found['low'])}–{tables.number(found['high'])}"
    return f"{counted}{tables.number(found['ratio'])} ({spread}), {found['added']:+,.0f} µs"


def _growth(curves: Iterable[dict[str, Any]], folder: Path) -> str:
    text = ["## Growth\n"]
    for curve in curves:
        series = {name: [(x, y) for x, y in points] for name, points in curve["series"].items()}
        name = f"growth-{curve['name']}.svg"
        (folder / name).write_bytes(plots.lines(curve["title"], curve["along"], curve["unit"], series))
        places = sorted({x for points in series.values() for x, _ in points})
        lines = [(variant, *(tables.number(dict(points).get(x)) for x in places)) for variant, points in series.items()]
        titles = (f"{curve['unit']}, {curve['along']}:", *(f"{x:,.0f}" for x in places))
        text += [
            f"### {curve['title']}\n",
            tables.markdown(titles, lines),
            "",
            f"![{curve['title']}](pictures/{name})",
            "",
        ]
        text += [curve["note"], ""] if curve["note"] else []
    return "\n".join(text)


def _missed(found: Iterable[dict[str, Any]]) -> str:
    text = ["## Where the time goes of what is not held\n", profiles.__doc__ or "", ""]
    text += [f"### {each['work']}\n\n{each['text']}\n" for each in found]
    return "\n".join(text)
