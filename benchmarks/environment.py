"""On what was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from benchmarks import callgrind, gate


def described() -> dict[str, Any]:
    """The machine, its load now, and the versions."""
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return {
        "machine": f"{os.cpu_count()} x {_processor()}, {_memory()} GiB, {system}",
        "load": [round(value, 2) for value in os.getloadavg()],
        "valgrind": callgrind.version() if callgrind.missing() is None else None,
        "versions": gate.versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
