"""What a piece of work spends its time on: functions by their own share, by cProfile in a worker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.tables import markdown
from benchmarks.team import ROOT, Member

SHOWN = 15  # functions


class Line(NamedTuple):
    """A function, how often one piece of work calls it, and its share of the time."""

    place: str
    calls: float
    share: float


def profile(uri: str, work: str, times: int, *, gevent: bool) -> list[Line]:
    """All functions, the most expensive first."""
    setup = work.partition("/")[0]
    with Member(uri, [setup], *(["--gevent"] if gevent else [])) as member:
        rows = member.ask("profile", work=work, times=times)
    return [Line(f"{short(file)} {name}", calls / times, share) for file, name, calls, share in rows]


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
        shares[file] = shares.get(file, 0.0) + line.share
    return sorted(shares.items(), key=lambda item: -item[1])


def shown(lines: list[Line], most: int = SHOWN) -> str:
    """As a table, with what all of prodfix's own files have."""
    ours = sum(line.share for line in lines if line.place.startswith("prodfix/"))
    rows = [(line.place, f"{line.calls:.1f}", f"{line.share * 100:.1f} %") for line in lines[:most]]
    files = [(file, "", f"{share * 100:.1f} %") for file, share in by_file(lines)[:5]]
    return markdown(
        ("function", "calls", f"own share (prodfix: {ours * 100:.0f} %)"), [*rows, ("**by file**", "", ""), *files]
    )
