"""Where log lines go: JSON to the console, and a file for each category. A slow or broken sink never reaches a request.

The caller renders a line (a microsecond) and puts it into the bounded queue of its sink; a native thread writes, one for
each sink, so that none waits for another. What does not fit into a queue, what a sink refuses, and what it keeps waiting,
is counted and shown by :meth:`Sinks.status`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from prodfix.outlets import Outlet, Sink

DEEPEST = 32  # levels of an entry that is not rendered as it is
FILES = ("error", "database", "validation", "auth")
_LINE_BREAKS = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"), ("\u0085".encode(), b"\\u0085"))


def render(entry: Mapping[str, Any]) -> bytes:
    """One line of JSON. Whatever stands in ``entry``, it is one line and valid UTF-8."""
    try:
        line = orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):  # half a character, a number beyond 64 bits, or nested too deeply
        line = orjson.dumps(renderable(entry))
    for broken, escaped in _LINE_BREAKS:
        if broken in line:
            line = line.replace(broken, escaped)
    return line + b"\n"


def renderable(value: Any, level: int = 0) -> Any:
    """``value`` as JSON and BSON can hold it: no half characters, no NUL, no number beyond 64 bits, not too deep."""
    if isinstance(value, Mapping) and level < DEEPEST:
        return {str(renderable(key)): renderable(item, level + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and level < DEEPEST:
        return [renderable(item, level + 1) for item in value]
    if value is None or isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 64):
        return value
    try:
        text = str(value)[:4000]
    except Exception:  # noqa: BLE001 - somebody's __str__, or more levels than Python follows
        text = f"<{type(value).__name__}>"
    return text.replace("\0", "?").encode("utf-8", "backslashreplace").decode()


class Console:
    """A file descriptor of the process, 1 for stdout. Partial writes of a pipe are continued."""

    def __init__(self, descriptor: int = 1) -> None:
        self.name = "console"
        self.descriptor = descriptor

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.descriptor, data) :]


class RotatingFile:
    """One file that any number of processes append to; rotated by size and, if ``daily``, by UTC day.

    Each write holds an flock on a sibling ``.lock`` file; a process notices by the inode that another one has rotated.
    Rotating without such a lock loses lines as soon as two workers write (Delgan/loguru#929).
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int, daily: bool) -> None:
        self.name = path.name
        self.path, self.max_bytes, self.keep, self.daily = path, max_bytes, keep, daily
        self._descriptor: int | None = None
        self._pid = 0

    def write(self, data: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            self.path.with_suffix(self.path.suffix + ".lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            descriptor = self._current(len(data))
            size = os.fstat(descriptor).st_size
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
            except OSError:
                os.ftruncate(descriptor, size)  # a disk that was full in the middle of a line leaves no half of it
                raise
        finally:
            os.close(lock)

    def _current(self, coming: int) -> int:
        if self._descriptor is None or self._pid != os.getpid() or not self._same_file(self._descriptor):
            self._reopen()
        assert self._descriptor is not None
        state = os.fstat(self._descriptor)
        written, today = datetime.fromtimestamp(state.st_mtime, UTC).date(), datetime.now(UTC).date()
        stale = self.daily and written < today
        if state.st_size and (stale or state.st_size + coming > self.max_bytes):
            self._rotate()
        return self._descriptor

    def _same_file(self, descriptor: int) -> bool:
        try:
            return os.stat(self.path).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        if self._descriptor is not None and self._pid == os.getpid():
            os.close(self._descriptor)
        self._descriptor = None
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._pid = os.getpid()

    def _rotate(self) -> None:
        os.rename(self.path, self.path.with_name(f"{self.path.stem}.{time.time_ns()}{self.path.suffix}"))
        self._reopen()
        old = sorted(self.path.parent.glob(f"{self.path.stem}.[0-9]*{self.path.suffix}"))
        for path in old[: max(0, len(old) - self.keep + 1)]:
            path.unlink(missing_ok=True)


class Sinks:
    """The console and the category files of one process, each behind a queue and a thread of its own."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._outlets = {sink.name: Outlet(sink) for sink in sinks}
        self.dropped = 0  # over all sinks, with what never came as far as one of them

    @property
    def failures(self) -> dict[str, str]:
        """Why a sink fails, for each that does."""
        return {name: outlet.failing for name, outlet in self._outlets.items() if outlet.failing}

    @property
    def failed_lines(self) -> dict[str, int]:
        """How many lines a sink refused, for each that did."""
        return {name: outlet.lost for name, outlet in self._outlets.items() if outlet.lost}

    def put(self, name: str, line: bytes) -> None:
        """Queue one line for one sink, and never wait; a full queue drops the line and counts it."""
        outlet = self._outlets.get(name)
        if outlet is None or not outlet.put(line):
            self.dropped += 1

    def flush(self, limit: float = 2.0) -> bool:
        """Wait until what was put is written; whether it was within ``limit`` seconds, which all sinks share.

        What is not written by then is counted as ``waiting``; its thread goes on as long as the process does.
        """
        end = time.monotonic() + limit
        marks = [outlet.mark() for outlet in self._outlets.values() if outlet.running]
        # The hub is blocked here, on purpose: this runs when a process ends, and nothing else should run any more.
        return all([mark.acquire(True, max(0.0, end - time.monotonic())) for mark in marks])

    def replace(self, sink: Sink) -> None:
        """Use ``sink`` in the place of the one with its name (the command line's console is stderr)."""
        outlet = self._outlets.setdefault(sink.name, Outlet(sink))
        outlet.sink = sink  # also for the lines that wait

    def status(self) -> dict[str, Any]:
        return {
            "dropped": self.dropped,
            "sinks": [
                {
                    "name": name,
                    "failing": outlet.failing,
                    "lost": outlet.lost,
                    "dropped": outlet.dropped,
                    "waiting": outlet.waiting,
                }
                for name, outlet in self._outlets.items()
            ],
        }


def category_files(folder: Path, *, max_bytes: int, keep: int, daily: bool) -> list[RotatingFile]:
    """``error.log``, ``database.log``, ``validation.log`` and ``auth.log`` in ``folder``."""
    return [RotatingFile(folder / f"{name}.log", max_bytes=max_bytes, keep=keep, daily=daily) for name in FILES]


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
