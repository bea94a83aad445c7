"""How many instructions a piece of work takes, counted by valgrind's callgrind, and so by nobody else's load.

The process that is counted says itself where to begin and where to end, by valgrind's client requests
(valgrind.org/docs/manual/manual-core-adv.html, 3.1): a sequence of machine instructions that do nothing outside of valgrind.
Until it begins it runs five times as slow, and not fifty times.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_RUNNING_ON_VALGRIND = 0x1001
_TOOL = ord("C") << 24 | ord("T") << 16
_ZERO, _DUMP, _START = _TOOL + 1, _TOOL + 3, _TOOL + 4
# valgrind.h, __SPECIAL_INSTRUCTION_PREAMBLE of amd64: the arguments' address in rax, the answer in rdx.
_REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
_HEADER = re.compile(r"^(thread|desc: Trigger|totals): (.*)$", re.MULTILINE)


def missing() -> str | None:
    """Why instructions cannot be counted here, or ``None``."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"instructions are counted on Linux and x86-64 only, and this is {sys.platform} on {platform.machine()}"
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (apt-get install valgrind)"
    return None


def version() -> str:
    """``valgrind-3.19.0``."""
    return subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def command(folder: Path) -> list[str]:
    """What stands before a program whose instructions are counted. Its counts go into ``folder``."""
    options = ["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", "--error-limit=no", "-q"]
    return [shutil.which("valgrind") or "valgrind", *options, f"--callgrind-out-file={folder / 'counts'}"]


def environment() -> dict[str, str]:
    """The whole environment of a program whose instructions are counted: the same for whoever asks. Hashes, the size of the
    environment and the user's settings all change a count."""
    kept = {name: os.environ[name] for name in ("BENCH_STDERR",) if name in os.environ}
    return {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **kept}


class Counter:
    """What a process under callgrind asks of it. Raises ``RuntimeError`` where it does not run under it."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(address)
        if self._ask(_RUNNING_ON_VALGRIND) < 1:
            raise RuntimeError("this process does not run under valgrind")
        self._ask(_START)

    def begin(self) -> None:
        """Count from here on."""
        self._ask(_ZERO)

    def end(self, label: str) -> None:
        """Write down what was counted, as ``label``."""
        text = ctypes.create_string_buffer(label.encode())  # held until it was read
        self._ask(_DUMP, ctypes.addressof(text))

    def _ask(self, request: int, argument: int = 0) -> int:
        return int(self._call((ctypes.c_uint64 * 6)(request, argument)))


def parse(texts: Iterable[str]) -> dict[str, int]:
    """Instructions by label, of the first thread: from callgrind's files, one for each time that it wrote down what it had.

    Other threads are counted, but callgrind writes theirs only when the process ends. Raises ``ValueError`` for a file
    without a total.
    """
    counts: dict[str, int] = {}
    for text in texts:
        fields = dict(_HEADER.findall(text))
        if "totals" not in fields:
            raise ValueError("a file of callgrind has no total: it was cut short")
        kind, _, label = fields.get("desc: Trigger", "").partition(": ")
        if kind == "Client Request" and int(fields.get("thread", 1)) == 1:
            counts[label] = int(fields["totals"])
    return counts


def read(folder: Path) -> dict[str, int]:
    """The counts in ``folder``."""
    return parse(file.read_text(errors="replace") for file in sorted(folder.glob("counts.*")))
