"""prodfix beside other libraries, in one run and in one environment, which has all of them."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import p10
from benchmarks.team import ROOT, Member, Taken, Tick, WorkerDied, rounds

FOLDER = ROOT / "var" / "bench-peers"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
COMMANDS = ("empty", "listener", "extension", "served", "off", "sampled", "debug")
REQUESTS = ("extension", "served", "held")
PEERS = ("prometheus", "opentelemetry", "sentry", "sentry traced", "elastic", "structlog", "loguru", "loguru untuned")


@dataclass(frozen=True, slots=True)
class Beside:
    """What one variant costs at one work: the ratio to bare of p10, quartiles of the pairs' ratios, microseconds added."""

    group: str
    variant: str
    work: str
    ratio: float
    low: float
    high: float
    added: float

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
    uri: str, group: str, variants: Iterable[str], works: Iterable[str], count: int, tick: Tick, python: str
) -> tuple[list[Beside], dict[str, float], list[str]]:
    """The costs, the memory of each worker, and who could not be measured. ``group``: ``commands`` or ``requests``."""
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
        found = list(costs(group, rounds(members, wanted, count, tick), "caller" if options else "cpu"))
        memory = {member.name: member.ask("memory") for member in members}
    finally:
        for member in members:
            member.close()
    return found, memory, failed


def costs(group: str, taken: Taken, clock: str) -> Iterable[Beside]:
    """Each work beside that of ``bare`` in the same round."""
    for name, values in taken.items():
        variant, _, work = name.partition("/")
        bare = [each[clock] for each in taken[f"bare/{work}"]]
        ours = [each[clock] for each in values]
        pairs = [one / other for one, other in zip(ours, bare, strict=True)]
        low, _, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
        if variant != "bare":
            yield Beside(group, variant, work, p10(ours) / p10(bare), low, high, p10(ours) - p10(bare))
