"""Processes of this machine, read from /proc, and a fork of this one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson


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


def cpu_seconds(pid: int) -> float:
    """What it has used so far, in user mode and in the kernel (proc(5): utime, stime)."""
    used = _stat(pid)
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


def waited_for_cpu(pid: int) -> float:
    """Seconds that the thread of it that has waited the longest was ready to run, and had no CPU (proc(5): schedstat)."""
    longest = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            longest = max(longest, int((thread / "schedstat").read_text().split()[1]))
    return longest / 1e9


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` gives in a process that is forked for it, as JSON."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, orjson.dumps(work()))
        except BaseException as error:  # noqa: BLE001 - nothing of a test may go on in here
            os.write(writing, orjson.dumps(f"{type(error).__name__}: {error}"))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        found = answer.read()
    os.waitpid(child, 0)
    return orjson.loads(found)


def _stat(pid: int) -> list[str]:
    # The name in parentheses may hold spaces and parentheses of its own.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
