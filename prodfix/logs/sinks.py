"""Where log lines go: JSON to the console, and a file for each category. A slow or broken sink never reaches a request.

The caller renders a line (a few microseconds) and puts it into the bounded queue of its sink; a native thread writes, one
for each sink, so that none waits for another. What does not fit into a queue, what a sink refuses, and what it keeps
waiting, is counted, shown by :meth:`Sinks.status`, and told in the log itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import select
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from prodfix.logs.lines import timestamp
from prodfix.logs.outlets import Outlet, PartlyWritten, Sink
from prodfix.process.native import wait_until_writable
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

CONSOLE = "console"
DEEPEST = 32  # levels of an entry that is not rendered as it is
# What is no printable text, or reorders it: DEL and the C1 controls (0x9B is a terminal's ESC [), LINE and PARAGRAPH
# SEPARATOR, and the bidirectional controls. orjson escapes what lies below 0x20, and refuses half characters.
_UNSAFE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2(?:\x80[\xa8-\xae]|\x81[\xa6-\xa9])")


def render(entry: Mapping[str, Any]) -> bytes:
    """One line of JSON. Whatever stands in ``entry``, it is one line, valid UTF-8 and harmless to a terminal."""
    try:
        line = orjson.dumps(entry, default=str, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError):
        line = _rendered_otherwise(entry)
    if not line.isascii() or b"\x7f" in line:
        line = _UNSAFE.sub(_escaped, line)
    return line


def _rendered_otherwise(entry: Mapping[str, Any]) -> bytes:
    """With keys that are no text, which takes orjson twice as long; with half a character, a number beyond 64 bits, or nested
    too deeply."""
    try:
        return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError):
        return orjson.dumps(renderable(entry), option=orjson.OPT_APPEND_NEWLINE)


class Rendered(dict[str, Any]):
    """An entry and its line, which all sinks have in common."""

    __slots__ = ("line",)

    def __init__(self, entry: Mapping[str, Any], line: bytes) -> None:
        super().__init__(entry)
        self.line = line


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


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
    """A file descriptor of the process, 1 for stdout. Partial writes of a pipe are continued.

    Workers share the pipe, which mixes the parts of what is larger than 4 KiB: each write holds a POSIX record lock on it. A
    file needs none: what is appended to one is written whole.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self.name = CONSOLE
        self.descriptor = descriptor
        self._torn = False  # half a line was written, and then no more
        kind = _kind(descriptor)
        self._shared = not stat.S_ISREG(kind)
        self.quick = stat.S_ISFIFO(kind) and hasattr(os, "RWF_NOWAIT")

    def write(self, data: bytes) -> None:
        if not self._shared:
            return self._write(data)
        # Not flock: workers have inherited one open file, and it would be the lock of all of them.
        with contextlib.suppress(OSError):  # a device that knows no locks
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            self._write(data)
        finally:
            with contextlib.suppress(OSError):
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def write_at_once(self, lines: Sequence[bytes]) -> int:
        """How many of the lines a pipe took that has room for them, and that nobody else writes to. Never waits.

        Lines are put together up to PIPE_BUF bytes, which a pipe takes whole or not at all (POSIX, write).
        """
        if self._torn:
            return 0
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 0
        try:
            return self._fill(lines)
        finally:
            with contextlib.suppress(OSError):
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def _fill(self, lines: Sequence[bytes]) -> int:
        done = 0
        while done < len(lines):
            end, size = done, 0
            while end < len(lines) and (size := size + len(lines[end])) <= select.PIPE_BUF:
                end += 1
            if end == done:
                break  # a line that is longer
            try:
                os.pwritev(self.descriptor, lines[done:end], -1, os.RWF_NOWAIT)
            except OSError as error:
                # Full, or it has no reader, which the thread will find out too; or a kernel whose pipes know nothing of this.
                self.quick = error.errno in (errno.EAGAIN, errno.EPIPE)
                break
            done = end
        return done

    def _write(self, data: bytes) -> None:
        view, begun = memoryview(b"\n" + data if self._torn else data), int(self._torn)
        done = 0
        while done < len(view):
            try:
                done += os.write(self.descriptor, view[done:])
            except BlockingIOError:  # whoever shares the pipe has made it so
                wait_until_writable(self.descriptor)
            except OSError as error:
                whole = bytes(view[:done]).rfind(b"\n") + 1
                self._torn = (self._torn and not done) or done > whole
                raise PartlyWritten(error, max(0, whole - begun)) from error
        self._torn = False


def _kind(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_mode
    except OSError:  # a closed one, which each write will find out
        return 0


@frozen
class SinkStatus(Serializable):
    """Why a sink fails, if it does, and the lines that are missing or wait."""

    name: str = ""
    failing: str | None = None
    lost: int = 0
    dropped: int = 0
    waiting: int = 0


@frozen
class SinksStatus(Serializable):
    """How each sink is, and the lines that were dropped over all of them."""

    dropped: int = 0
    sinks: tuple[SinkStatus, ...] = ()


def _flushed(outlets: Iterable[Outlet], limit: float) -> bool:
    end = time.monotonic() + limit
    marks = [outlet.mark() for outlet in outlets]
    # The hub is blocked here, on purpose: this runs when a process ends, and nothing else should run any more.
    return all([mark.acquire(True, max(0.0, end - time.monotonic())) for mark in marks])


class Sinks:
    """The console and the category files of one process, each behind a queue and a thread of its own.

    ``news`` takes what is to be told of sinks, if the console is not ours: whoever logs next takes it from there. ``wrap`` is put
    around each sink. ``exporter`` has each line of the console too.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        *,
        news: deque[dict[str, Any]] | None = None,
        wrap: Callable[[Sink], Sink] = lambda sink: sink,
        exporter: Sink | None = None,
    ) -> None:
        self._wrap = wrap
        self._exporter = Outlet(exporter, self._changed) if exporter is not None else None
        self._outlets = {sink.name: Outlet(wrap(sink), self._changed) for sink in sinks}
        if exporter is not None and self._exporter is not None:
            self._outlets[exporter.name] = self._exporter
        self.dropped = 0  # over all sinks, with what never came as far as one of them
        self.news = news
        self._muted = False

    @property
    def failures(self) -> dict[str, str]:
        """Why a sink fails, for each that does."""
        return {name: outlet.failing for name, outlet in self._outlets.items() if outlet.failing}

    @property
    def failed_lines(self) -> dict[str, int]:
        """How many lines a sink refused, for each that did."""
        return {name: outlet.lost for name, outlet in self._outlets.items() if outlet.lost}

    def put(self, name: str, line: bytes, *, urgent: bool = False, alone: bool = False) -> None:
        """Queue one line for one sink, and never wait; a full queue drops the line and counts it. ``urgent``: it does not wait
        for others to be written with it; ``alone``: nor does it where that costs nothing."""
        if self._muted and name != CONSOLE:
            return
        outlet = self._outlets.get(name)
        if outlet is None or not outlet.put(line, urgent=urgent, alone=alone):
            self.dropped += 1
        if self._exporter is not None and name == CONSOLE:
            self.export(line, urgent=urgent)

    def export(self, line: bytes, *, urgent: bool = False) -> None:
        """Queue a line of the console's, wherever that is, for OpenTelemetry too, if it is to have them."""
        if self._exporter is not None and not self._muted and not self._exporter.put(line, urgent=urgent):
            self.dropped += 1

    def flush(self, limit: float = 2.0) -> bool:
        """Wait until what was put is written; whether it was within ``limit`` seconds, which all sinks share.

        What is not written by then is counted as ``waiting``; its thread goes on as long as the process does.
        """
        return _flushed(self._outlets.values(), limit)

    def close(self, limit: float = 2.0) -> bool:
        """Flush for the last time; what a sink did not get, and will not, is told on the others. Whether all got all."""
        self.flush(limit)
        missing = {name: outlet.untold + outlet.waiting for name, outlet in self._outlets.items()}
        for name, lines in missing.items():
            if lines:
                self._tell(name, "warn", f"{name}: {lines} lines lost at the end of the process", lost=lines)
        if any(missing.values()):
            # Not for those once more: the others had what is told of them only when the time was over.
            _flushed([outlet for name, outlet in self._outlets.items() if not missing[name]], limit)
        for outlet in self._outlets.values():
            outlet.end()
        return not any(missing.values())

    def mute(self) -> None:
        """From now on nothing reaches a file: of an application under test."""
        self._muted = True

    def replace(self, sink: Sink) -> None:
        """Use ``sink`` in the place of the one with its name (the command line's console is stderr)."""
        sink = self._wrap(sink)
        outlet = self._outlets.setdefault(sink.name, Outlet(sink, self._changed))
        outlet.sink = sink  # also for the lines that wait

    def status(self) -> SinksStatus:
        """How each sink is now, and what was dropped over all of them."""
        return SinksStatus(
            self.dropped,
            tuple(
                SinkStatus(name, outlet.failing, outlet.lost, outlet.dropped, outlet.waiting)
                for name, outlet in self._outlets.items()
            ),
        )

    def _changed(self, sink: Sink, reason: str | None, missing: int) -> bytes:
        name = sink.name
        if reason is not None:
            return self._tell(name, "warn", f"{name} fails: {reason}", failing=reason)
        return self._tell(name, "info", f"{name} works again, {missing} lines lost", failing=None, lost=missing)

    def _tell(self, sink: str, level: str, message: str, **facts: Any) -> bytes:
        """Put one line on the console and into the error log, if it is not of them that it tells; the line."""
        entry = {
            "timestamp": timestamp(),
            "level": level,
            "severity": level,
            "event": "sink",
            "message": message,
            "requestId": None,
            "category": "sink",
            "database": None,
            "stack": "",
            "sink": sink,
            **facts,
        }
        line = render(entry)
        for name in {"console", "error.log"} - {sink}:
            if name == "console" and self.news is not None:
                self.news.append(entry)
            elif name in self._outlets:
                self.put(name, line)
        return line
