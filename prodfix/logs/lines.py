"""The lines of processes that have no application's log: the arbiter's, and those of a worker until it has loaded one.

They have the form of prodfix's lines, and its redactor. Of prodfix only :mod:`prodfix.redaction` and the names of other schemas
may be imported here: the rest loads the driver, and in the arbiter, which is never patched, that would make TLS connections of
workers hang.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import select
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from prodfix.logs.translation import SCHEMAS, Translate
from prodfix.redaction.redactor import redact_text

STDOUT = 1
LONGEST_TEXT = 1500  # characters of a message, an error's text or a stack
LONGEST_WAIT = 0.1  # seconds
FRAMES = 12

_LEVELS = ((logging.INFO, "debug"), (logging.WARNING, "info"), (logging.ERROR, "warn"), (logging.CRITICAL, "error"))
_SECRET_NAME = re.compile(r"(?i)pass|secret|token|key|credential|auth|(?:^|_)ur[il]s?$")
_PASSWORD = re.compile(r"://[^/@\s:]{0,200}:([^\s]{1,500})@")
SHORTEST_SECRET = 6  # characters of a value that is looked for; a shorter one stands in innocent words too


def tell(level: str, message: str, **facts: Any) -> None:
    """Write one line to stdout. ``level``: ``debug``, ``info``, ``warn``, ``error`` or ``critical``. Never raises."""
    write(line(level, message, **facts))


def line(level: str, message: str, **facts: Any) -> bytes:
    """One line of JSON in ASCII, at most 4096 bytes, redacted: nothing in it moves a cursor or begins another line."""
    for limit in (LONGEST_TEXT, LONGEST_TEXT // 4, LONGEST_TEXT // 20):
        shown = {name: redacted(fact)[:limit] if isinstance(fact, str) else fact for name, fact in facts.items()}
        data = encoded(
            {
                "timestamp": timestamp(),
                "level": level,
                "message": redacted(message)[:limit],
                "requestId": None,
                **shown,
                "pid": os.getpid(),
            }
        )
        if len(data) <= select.PIPE_BUF:
            break
    return data


def timestamp() -> str:
    """Now, in UTC, as every line has it."""
    global _second  # noqa: PLW0603 - a pair, so that no thread meets the text of another second
    now = time.time()
    whole = int(now)
    second, text = _second
    if second != whole:
        text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _second = whole, text
    return f"{text}{int((now - whole) * 1000):03d}Z"


_second = (-1, "")


def use(schema: str, service: Mapping[str, str]) -> None:
    """From now on write lines in the names of ``schema``, if it is one of :data:`prodfix.logs.translation.SCHEMAS`."""
    global _translate  # noqa: PLW0603 - the arbiter has one console
    make = SCHEMAS.get(schema)
    _translate = None if make is None else make(service)


_translate: Translate | None = None


def encoded(entry: dict[str, Any]) -> bytes:
    if _translate is not None:
        entry = _translate(entry)
    return json.dumps(entry, default=str).replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def write(data: bytes) -> None:
    """Write a line whole to stdout, or not at all: the arbiter must not wait for a pipe that nobody reads."""
    poll = select.poll()
    poll.register(STDOUT, select.POLLOUT)
    with contextlib.suppress(OSError):
        if poll.poll(LONGEST_WAIT * 1000) and _locked():
            try:
                os.write(STDOUT, data)
            finally:
                fcntl.lockf(STDOUT, fcntl.LOCK_UN)


def _locked() -> bool:
    """Take the lock that workers' consoles hold while they write to the pipe that all of them share."""
    end = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            fcntl.lockf(STDOUT, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return True  # a device that knows no locks
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        else:
            return True


def redacted(text: str) -> str:
    """``text`` as the library redacts it, and without any value of the environment that is a secret's."""
    text = text[:8000]
    for secret in _environment_secrets():
        text = text.replace(secret, "***")
    return redact_text(text)


def _environment_secrets() -> list[str]:
    found: set[str] = set()
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            password = _PASSWORD.search(value)
            secrets = [password[1], unquote(password[1])] if password else [] if "://" in value else [value]
            found.update(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
    return sorted(found, key=len, reverse=True)


def places(error: BaseException) -> str:
    """The stack of ``error`` and of what caused it, innermost last: places only, no source line and no value."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < 5:
        found = traceback.StackSummary.extract(traceback.walk_tb(link.__traceback__), limit=-FRAMES, lookup_lines=False)
        shown = [frame for frame in found if not frame.filename.startswith("<frozen")]  # Python's own importing
        frames = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in shown]
        parts.append("\n".join([type(link).__name__, *frames]))
        link = link.__cause__ or link.__context__
    return "\nwhich led to\n".join(reversed(parts))[-LONGEST_TEXT:]


class Formatter(logging.Formatter):
    """The standard library's records as :func:`line`."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments of somebody's log call
            text = str(record.msg)
        level = next((name for limit, name in _LEVELS if record.levelno < limit), "critical")
        error = record.exc_info[1] if record.exc_info else None
        facts = {"error": described(error), "stack": places(error)} if error is not None else {}
        return line(level, text, logger=record.name, **facts).decode().rstrip()


class Handler(logging.Handler):
    """Writes them to stdout."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        write(self.format(record).encode() + b"\n")


def described(error: BaseException) -> str:
    """Type and redacted text of ``error``: without its text nobody could mend an application that does not load."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - somebody's __str__
        text = ""
    return f"{type(error).__name__}: {redacted(text)}"[:1000]
