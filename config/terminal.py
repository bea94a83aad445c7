"""What `make run` shows of the service's log on a terminal: one short coloured line each, while all of it goes into a file.

Only there: a service's own log is JSON wherever it writes it, and so is what `make run` prints into a pipe or a file, or with
``LOG_FORMAT=json``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from dotenv import dotenv_values

from config import ENV_FILE

FILE = "service.log"  # in LOG_DIR
_RESET, _DIM = "\x1b[0m", "\x1b[2m"
_COLOURS = {
    "debug": _DIM,
    "info": "",
    "warn": "\x1b[33m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_QUIET = ("debug", "info")
REPEATS = 10.0  # seconds in which what both workers say, or one says again and again, is shown once


MOST_KINDS = 1000


class File(Protocol):
    def write(self, data: bytes) -> None: ...


def for_eyes() -> bool:
    """Whether stdout is a terminal, and nobody has asked for JSON, in whatever names."""
    kept = dotenv_values(ENV_FILE)
    asked, schema = (os.environ.get(name) or kept.get(name) or "" for name in ("LOG_FORMAT", "LOG_SCHEMA"))
    return sys.stdout.isatty() and asked.strip().lower() != "json" and schema.strip().lower() in ("", "prodfix")


class Relay:
    """Takes a child's stdout: each line goes into ``file`` as it is, and in its short form to ``show``.

    It ends with the child. What repeats is shown once in a while, and stands in the file each time. A file that cannot be
    written stops nothing: that is said once.
    """

    def __init__(
        self,
        file: File,
        show: Callable[[str], None],
        *,
        coloured: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._show, self._coloured, self._clock = file, show, coloured, clock
        self._shown: dict[str, float] = {}  # when what is said without a request was shown last
        self._reader, self.descriptor = os.pipe()
        """What the child gets as its stdout; close it here when the child has it."""
        self._lost = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        os.close(self.descriptor)
        self._thread.start()

    def join(self, limit: float) -> None:
        """Wait for what is still on its way, for ``limit`` seconds at most."""
        self._thread.join(limit)

    def _run(self) -> None:
        with os.fdopen(self._reader, "rb") as lines:
            for line in lines:
                self._keep(line)
                for text in self._short(line):
                    self._show(text)

    def _keep(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._show(f"{FILE} cannot be written: {error.strerror}")

    def _short(self, line: bytes) -> Iterator[str]:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            yield _harmless(line.decode(errors="replace").rstrip("\n"))
        elif self._is_shown(entry):
            yield short(entry, coloured=self._coloured)

    def _is_shown(self, entry: Mapping[str, Any]) -> bool:
        """Not how gunicorn and its workers come and go, nor that they are connected, unless they were not."""
        quiet = entry.get("level") in _QUIET
        if entry.get("event") == "connection":
            self._lost, was = not quiet, self._lost
            if quiet and not was:
                return False
        elif quiet and entry.get("logger") == "gunicorn.error":
            return False
        return entry.get("requestId") is not None or entry.get("event") == "request" or self._is_new(entry)

    def _is_new(self, entry: Mapping[str, Any]) -> bool:
        kind, now = re.sub(r"\d+", "#", str(entry.get("message"))), self._clock()
        if now - self._shown.get(kind, float("-inf")) < REPEATS:
            return False
        if len(self._shown) >= MOST_KINDS:
            self._shown.clear()
        self._shown[kind] = now
        return True


def short(entry: Mapping[str, Any], *, coloured: bool) -> str:
    """``entry`` as one line for a person: time, what happened, and the request's ID where it is not an access line."""
    if entry.get("event") == "request":
        status = entry.get("status")
        level = "error" if isinstance(status, int) and status >= 500 else "info"
        text = f"{entry.get('method')} {entry.get('path')} {status} {entry.get('durationMs')} ms"
    else:
        level = str(entry.get("level", "info"))
        text = f"{level.upper():8} {entry.get('message')}{_about(entry)}"
    line = _harmless(f"{_time(entry.get('timestamp'))} {text}")
    return f"{_COLOURS.get(level, '')}{line}{_RESET}" if coloured and _COLOURS.get(level) else line


def _harmless(text: str) -> str:
    """Without what moves a cursor or turns the direction of writing: JSON has it escaped, and here it is read."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def _about(entry: Mapping[str, Any]) -> str:
    operation = entry.get("database")
    done = (
        " ".join(str(operation[name]) for name in ("operation", "collection") if operation.get(name))
        if operation
        else ""
    )
    identity = entry.get("requestId")
    return "".join((f" [{done}]" if done else "", f" request {identity}" if identity else ""))


def _time(timestamp: object) -> str:
    """The hour here: a log has UTC."""
    try:
        return f"{datetime.fromisoformat(str(timestamp)).astimezone():%H:%M:%S}"
    except ValueError:
        return "--:--:--"
