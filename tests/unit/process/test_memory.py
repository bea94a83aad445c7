"""Memory as the kernel counts it, and the limit at which it kills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prodfix.process import memory
from prodfix.process.memory import MB


def figures() -> dict[str, float]:
    return {name: value or 0.0 for name, value in memory.used().to_json().items()}


def test_a_process_has_some_memory_and_some_of_it_is_shared() -> None:
    before = figures()
    whole, shared, peak = before["residentMb"], before["sharedMb"], before["peakMb"]
    assert 10 < whole < 4000
    assert whole <= peak * 1.05, "the kernel counts the one a little later than the other"
    assert 0 < shared < whole
    ballast = bytearray(64 * MB)
    grown = figures()
    assert grown["residentMb"] - whole > 60
    assert abs((grown["residentMb"] - grown["sharedMb"]) - (whole - shared) - 64) < 8, (
        "the ballast is this process's own"
    )
    del ballast


@pytest.mark.parametrize("content", ["", "1 x 3", "1"])
def test_where_nobody_counts_nothing_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "statm"
    assert (memory.used(path).resident_mb, memory.used(path).shared_mb) == (None, None)
    path.write_text(content)
    assert (memory.used(path).resident_mb, memory.used(path).shared_mb) == (None, None)


def group(root: Path, membership: str, **limits: str) -> tuple[Path, Path]:
    """A tree of control groups: ``limits`` by the group's path, with ``__`` for ``/``."""
    name = "memory.max" if membership.startswith("0:") else "memory.limit_in_bytes"
    top = root if name == "memory.max" else root / "memory"
    for path, value in limits.items():
        folder = top / path.replace("__", "/").strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{value}\n")
    (root / "membership").write_text(membership + "\n")
    return root, root / "membership"


V2, V1 = "0::/app/worker", "4:memory:/app/worker\n3:cpu:/\n0::/"


@pytest.mark.parametrize("membership", [V2, V1])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"app__worker": str(512 * MB)}, 512),
        ({"app__worker": str(512 * MB), "app": str(256 * MB)}, 256),
        ({"app__worker": "max", "app": str(256 * MB)}, 256),
        ({"__": str(300 * MB)}, 300),  # a container, whose group's name only its host can see
        ({"app__worker": "max"}, None),
        ({"app__worker": str(2**63 - 4096)}, None),
        ({"app__worker": str(2048 * MB)}, None),
        ({"elsewhere": str(10 * MB)}, None),
    ],
)
def test_the_smallest_limit_below_the_machines_memory_counts(
    tmp_path: Path, membership: str, limits: dict[str, str], expected: float | None
) -> None:
    files = group(tmp_path, membership, **limits)
    assert memory.limit(None, *files, machine=2048.0) == expected
    assert memory.limit(100, *files, machine=2048.0) == 100, "a limit that is given, and is less"
    assert memory.limit(4096, *files, machine=2048.0) == (expected or 4096)


@pytest.mark.parametrize("membership", ["0::/../../other", "nonsense", "a:b"])
def test_a_membership_that_leads_nowhere_is_no_limit(tmp_path: Path, membership: str) -> None:
    (tmp_path.parent / "memory.max").write_text(str(MB))
    (tmp_path / "membership").write_text(membership)
    assert memory.limit(None, tmp_path, tmp_path / "membership", machine=2048.0) is None


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory.limit(None, tmp_path, tmp_path / "none") is None


def test_the_limit_of_this_process_is_below_its_machines_memory() -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MB
    assert (memory.limit() or 0.0) < machine
