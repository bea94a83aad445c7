"""How much memory a worker has, and how much the instance may have, as the kernel counts it. In MiB."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Annotated

from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

MB = 1024 * 1024
STATM = Path("/proc/self/statm")
GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@frozen
class MemoryUse(Serializable):
    """What one process has. The first two are None where nobody counts them."""

    resident_mb: Annotated[float | None, Description("MiB in memory")] = None
    shared_mb: Annotated[float | None, Description("MiB of them that others may have too")] = None
    peak_mb: Annotated[float, Description("MiB that it had at most")] = 0.0


def used(statm: Path = STATM) -> MemoryUse:
    """What this process has now. Source: proc_pid_statm(5), getrusage(2)."""
    resident, shared = _resident(statm) or (None, None)
    # The kernel looks for the peak now and then only: it may be a few pages less than what is there.
    peak = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB, resident or 0.0)
    return MemoryUse(resident, shared, round(peak, 1))


def _resident(statm: Path) -> tuple[float, float] | None:
    try:
        with open(statm, "rb", buffering=0) as file:  # looked at so often that ``Path.read_text`` would be seen
            pages = file.read(200).split()
        size = os.sysconf("SC_PAGE_SIZE") / MB
        return round(int(pages[1]) * size, 1), round(int(pages[2]) * size, 1)
    except (OSError, ValueError, IndexError):
        return None


def limit(
    given: float | None = None,
    groups: Path = GROUPS,
    membership: Path = MEMBERSHIP,
    machine: float | None = None,
) -> float | None:
    """At how much the kernel kills: the smallest limit of this process's control group and of those above it; or ``given``,
    if that is less (MEMORY_LIMIT_MB).

    ``machine`` is the machine's own memory; a limit that is not below it is none. Source: the kernel's
    admin-guide/cgroup-v2 (``memory.max``) and cgroup-v1/memory (``memory.limit_in_bytes``).
    """
    whole = machine if machine is not None else _machine()
    found = [value for path in _files(groups, membership) if (value := _value(path)) is not None]
    below = [value for value in found if whole is None or value < whole]
    return min([*below, *([given] if given is not None else [])], default=None)


def _files(groups: Path, membership: Path) -> list[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, name = line.split(":", 2) if line.count(":") >= 2 else ("", "?", "")
        if controllers == "":
            files += _up(groups, name, "memory.max")
        elif "memory" in controllers.split(","):
            files += _up(groups / "memory", name, "memory.limit_in_bytes")
    return files


def _up(root: Path, name: str, file: str) -> list[Path]:
    """The file in the group and in each above it. In a container the name may be one that only its host can see."""
    folder = root / name.lstrip("/")
    if ".." in folder.parts:
        return [root / file]
    return [parent / file for parent in (folder, *folder.parents) if parent.is_relative_to(root)]


def _value(path: Path) -> float | None:
    try:
        return int(path.read_text()) / MB
    except (OSError, ValueError):  # not there, or `max`
        return None


def _machine() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MB
    except (OSError, ValueError):
        return None
