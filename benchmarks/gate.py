"""What keeps the figures: instructions of the gated rows may not grow by more than 3 % over those in ``figures.json``.

Instructions are counted, so the machine's load and speed do not matter; versions do. There are kept figures for some sets of
versions (``gate --keep`` with the interpreter of each), and where none is of this one the gate says so and fails nothing.
Gated is the ratio to what is beneath, counted in the same run, so that nothing is blamed on us which only Python costs.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import callgrind
from benchmarks.rows import Figure

KEPT = Path(__file__).with_name("figures.json")
MOST = 1.03  # of the kept figure
PACKAGES = ("Flask", "Werkzeug", "pymongo", "gevent", "greenlet", "loguru", "orjson", "blinker", "pydantic", "ddsketch")


@dataclass(frozen=True, slots=True)
class Change:
    """One gated figure beside the kept one."""

    name: str
    kept: float
    now: float

    @property
    def growth(self) -> float:
        """1.0: none."""
        return self.now / self.kept

    @property
    def too_much(self) -> bool:
        return self.growth > MOST

    def __str__(self) -> str:
        return f"{self.name}: x {self.now:.4f}, kept x {self.kept:.4f} ({(self.growth - 1) * 100:+.1f} %)"


def versions() -> dict[str, str]:
    """What the count of instructions depends on."""
    python = f"{platform.python_version()} ({platform.python_compiler()})"
    libc = " ".join(platform.libc_ver())
    return {"python": python, "libc": libc, **{name: version(name) for name in PACKAGES}}


def names(figures: Iterable[Figure]) -> dict[str, Figure]:
    """The figures by ``row part``."""
    return {f"{figure.row} {figure.part}".strip(): figure for figure in figures}


def load(path: Path = KEPT) -> list[dict[str, Any]]:
    """What is kept: one entry for each set of versions."""
    return json.loads(path.read_text())["environments"] if path.exists() else []


def kept_for(entries: Iterable[Mapping[str, Any]], here: Mapping[str, str]) -> Mapping[str, float] | None:
    """The figures that were kept with these versions."""
    return next((entry["ratios"] for entry in entries if entry["versions"] == here), None)


def differences(entries: Sequence[Mapping[str, Any]], here: Mapping[str, str]) -> str:
    """Which versions are others, in the entry that is nearest."""
    if not entries:
        return "nothing is kept yet"

    def others(entry: Mapping[str, Any]) -> list[str]:
        kept = entry["versions"]
        return [
            f"{name} {kept.get(name)} -> {here.get(name)}"
            for name in {**kept, **here}
            if kept.get(name) != here.get(name)
        ]

    return ", ".join(min((others(entry) for entry in entries), key=len))


def compare(kept: Mapping[str, float], figures: Iterable[Figure]) -> list[Change]:
    """Raises ``KeyError`` for a row of which nothing is kept: it was never measured, and would never fail."""
    return [Change(name, kept[name], figure.value) for name, figure in names(figures).items()]


def lesser(changes: Iterable[Change], again: Iterable[Change]) -> list[Change]:
    """Of what was counted again the lesser one: load only adds."""
    second = {change.name: change for change in again}
    return [min(change, second.get(change.name, change), key=lambda each: each.now) for change in changes]


def store(figures: Iterable[Figure], here: Mapping[str, str], path: Path = KEPT) -> None:
    """Keep these figures for these versions; those for others stay."""
    found = names(figures)
    entry = {
        "versions": dict(here),
        "valgrind": callgrind.version(),
        "ratios": {name: round(figure.value, 4) for name, figure in found.items()},
        "instructions": {
            work: round(count) for figure in found.values() for work, count in sorted(figure.taken.items())
        },
    }
    entries = [other for other in load(path) if other["versions"] != entry["versions"]]
    entries = sorted([*entries, entry], key=lambda each: each["versions"]["python"])
    path.write_text(json.dumps({"environments": entries}, indent=2) + "\n")


def verdict(changes: Sequence[Change]) -> tuple[bool, str]:
    """Whether it is passed, and what to say."""
    grown = [change for change in changes if change.too_much]
    lines = [f"{'GREW  ' if change.too_much else 'ok    '}{change}" for change in changes]
    if grown:
        lines.append(
            f"{len(grown)} of {len(changes)} figures cost {(MOST - 1) * 100:.0f} % more instructions than was kept. Look for what"
            " each call does now that it did not do before (python -m benchmarks profile WORK shows where they go)."
            " If the cost is worth it, say so in the commit that keeps it: python -m benchmarks gate --keep"
        )
    elif all(change.growth < 2 - MOST for change in changes):
        lines.append("All cost less: keep that with python -m benchmarks gate --keep")
    return not grown, "\n".join(lines)
