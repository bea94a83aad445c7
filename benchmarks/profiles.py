"""What a piece of work spends its CPU time on: functions by their own share, by cProfile in a worker, native threads included.

cProfile makes each call dearer, so that small functions that are called often seem larger than they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.tables import markdown
from benchmarks.team import ROOT, Member

SHOWN = 12  # functions of each kind


class Line(NamedTuple):
    """A function, how often one piece of work calls it, and its share of the time: its own, and with all that it calls."""

    place: str
    calls: float
    own: float
    below: float


def profile(uri: str, work: str, times: int, *, gevent: bool) -> list[Line]:
    """All functions."""
    setup = work.partition("/")[0]
    with Member(uri, [setup], *(["--gevent"] if gevent else [])) as member:
        rows = member.ask("profile", work=work, times=times)
    return [Line(f"{short(file)} {name}", *shares) for file, name, *shares in rows]


def short(file: str) -> str:
    """A file's path within the repository, or from its package on."""
    path = Path(file)
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return "/".join(path.parts[-2:])


def by_file(lines: Iterable[Line]) -> list[tuple[str, float]]:
    """The share of each file, the largest first."""
    shares: dict[str, float] = {}
    for line in lines:
        file = line.place.rpartition(" ")[0]
        shares[file] = shares.get(file, 0.0) + line.own
    return sorted(shares.items(), key=lambda item: -item[1])


def shown(lines: list[Line], most: int = SHOWN) -> str:
    """As a table: which of our functions have most below them, which functions take most themselves, and which files."""
    ours = [line for line in lines if line.place.startswith("prodfix/")]
    share = f"own share (prodfix: {sum(line.own for line in ours) * 100:.0f} %)"
    rows = [
        ("**ours, with what they call**", "", "", ""),
        *map(_row, sorted(ours, key=lambda line: -line.below)[:most]),
        ("**all, by themselves**", "", "", ""),
        *map(_row, sorted(lines, key=lambda line: -line.own)[:most]),
        ("**files**", "", "", ""),
        *((file, "", _percent(own), "") for file, own in by_file(lines)[: most // 2]),
    ]
    return markdown(("function", "calls", share, "with what it calls"), rows)


def _row(line: Line) -> tuple[str, str, str, str]:
    return line.place, f"{line.calls:.1f}", _percent(line.own), _percent(line.below)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
