"""Processes of this machine, read from /proc."""

from __future__ import annotations

import contextlib
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs; a zombie, which only waits for its parent to ask, does not."""
    with contextlib.suppress(OSError):
        return _stat(pid)[0] != "Z"
    return False


def descendants(pid: int) -> set[int]:
    """Its children, their children and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found: set[int] = set()
    left = [pid]
    while left:
        born = children.get(left.pop(), [])
        found.update(born)
        left += born
    return found


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def _stat(pid: int) -> list[str]:
    # The name in parentheses may hold spaces and parentheses of its own.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
