"""prodfix beside other libraries, in one run and in one environment, which has all of them."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import callgrind
from benchmarks.measuring import COUNTED, p10
from benchmarks.team import ROOT, Member, Taken, Tick, WorkerDied, rounds

FOLDER = ROOT / "var" / "bench-peers"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
COMMANDS = ("empty", "listener", "extension", "served", "off", "sampled", "debug")
REQUESTS = ("extension", "served", "held")
PEERS = ("prometheus", "opentelemetry", "sentry", "sentry traced", "elastic", "structlog", "loguru", "loguru untuned")


@dataclass(frozen=True, slots=True)
class Beside:
    """What one variant costs at one work, to bare: the ratio of p10, quartiles of the pairs' ratios, microseconds added, and
    the ratio of instructions of the thread that does it."""

    group: str
    variant: str
    work: str
    ratio: float
    low: float
    high: float
    added: float
    instructions: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def environment(say: Callable[[str], object]) -> str:
    """The interpreter of an environment with the peers, made if it is missing or its requirements have changed."""
    stamp = FOLDER / "installed.txt"
    wanted = sys.version + REQUIREMENTS.read_text() + (ROOT / "requirements.txt").read_text()
    python = FOLDER / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"Making {FOLDER.relative_to(ROOT)} with other libraries")
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    return str(python)


def measure(
    uri: str, group: str, variants: Sequence[str], works: Sequence[str], count: int, tick: Tick, python: str, most: int
) -> tuple[list[Beside], dict[str, float], list[str]]:
    """The costs, the memory of each worker, and who could not be measured. ``group``: ``commands`` or ``requests``. Ticks once
    for each round and each variant that is counted: ``bare`` and ``most`` others."""
    options = ["--gevent"] if group == "requests" else []
    members, failed = [], []
    for name in ("bare", "bare", *variants):
        member = Member(uri, [name], *options, python=python)
        try:
            member.ready()
        except WorkerDied as error:
            failed.append(str(error))
            member.close()
        else:
            members.append(member)
    try:
        wanted = {f"{member.name}/{work}" for member in members for work in works}
        taken = rounds(members, wanted, count, tick)
        memory = {member.name: member.ask("memory") for member in members}
    finally:
        for member in members:
            member.close()
    names = list(dict.fromkeys(member.name for member in members))
    counts = {} if callgrind.missing() else counted(uri, names[: 1 + most], works, options, tick, python)
    return list(costs(group, taken, "caller" if options else "cpu", counts)), memory, failed


def counted(
    uri: str, variants: Iterable[str], works: Sequence[str], options: Sequence[str], tick: Tick, python: str
) -> dict[str, float]:
    """Instructions of one piece of each ``variant/work``. Each variant in a process of its own, two at a time."""

    def count(name: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            before = callgrind.command(Path(folder))
            with (
                contextlib.suppress(WorkerDied),  # which it did not when it was timed
                Member(uri, [name], "--counted", *options, python=python, before=before) as member,
            ):
                for label in (f"{name}/{work}" for work in works):
                    member.ask("count", work=label, times=COUNTED, label=label)
            tick()
            return {label: found / COUNTED for label, found in callgrind.read(Path(folder)).items()}

    with ThreadPoolExecutor(2) as pool:
        return {label: found for one in pool.map(count, variants) for label, found in one.items()}


def costs(group: str, taken: Taken, clock: str, counts: Mapping[str, float]) -> Iterable[Beside]:
    """Each work beside that of ``bare`` in the same round."""
    for name, values in taken.items():
        variant, _, work = name.partition("/")
        bare = [each[clock] for each in taken[f"bare/{work}"]]
        ours = [each[clock] for each in values]
        pairs = [one / other for one, other in zip(ours, bare, strict=True)]
        low, _, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
        instructions = counts[name] / counts[f"bare/{work}"] if {name, f"bare/{work}"} <= counts.keys() else None
        if variant != "bare":
            ratio, added = p10(ours) / p10(bare), p10(ours) - p10(bare)
            yield Beside(group, variant, work, ratio, low, high, added, instructions)
