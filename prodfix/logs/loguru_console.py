"""The logging of a process as loguru's, with one sink of ours: what the served application's loggers, and warnings, say.

Loaded only where the logging is ours, so that a host that keeps its own needs no loguru.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from loguru import logger

from prodfix.classification.wording import in_safe_words
from prodfix.logs.lines import timestamp
from prodfix.logs.sinks import Rendered, Sinks, render
from prodfix.operations.frames import stack
from prodfix.redaction.redactor import redact_document
from prodfix.request.context import current_context
from prodfix.request.outgoing_trace import trace_fields

if TYPE_CHECKING:
    from loguru import Message, Record

_SEEDS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
_STEPS = ((logging.INFO, "debug"), (logging.WARNING, "info"), (logging.ERROR, "warn"), (logging.CRITICAL, "error"))
_NUMBERS = {level: int(getattr(logging, level)) for level in ("INFO", "WARNING", "ERROR", "CRITICAL")}
_OURS = frozenset({"event", "pid", "stack", "traceId", "spanId"})  # names that say what a line is
_SHOW_WARNING = warnings.showwarning


class LoguruConsole:
    """Lines go to the sink ``console`` of what ``sinks`` gives."""

    def __init__(self, sinks: Callable[[], Sinks]) -> None:
        self._sinks = sinks
        self._handler: int | None = None  # of loguru's, ours
        self._least = self._usual = logging.DEBUG

    def put(self, level: str, entry: Mapping[str, Any], line: bytes, *, urgent: bool) -> None:
        """By loguru, if it has more to do with it than to hand it back to us: who adds a sink of his own has our lines too."""
        if not _ours_alone(self._handler):
            told = entry if isinstance(entry, Rendered) else Rendered(entry, line)
            logger.bind(entry=told).log(level, "{}", entry.get("message", ""))
        elif _NUMBERS[level] >= self._least:
            self._sinks().put("console", line, urgent=urgent)

    def take_over(self, level: str) -> None:
        """Make loguru the process's logging, with the console as its one sink. Loggers that are made later are ours too.

        ``level`` is the seed's: ``debug``, ``info``, ``warn`` or ``error``.
        """
        logger.remove()
        self._usual = self._least = logger.level(_SEEDS[level]).no
        self._handler = self._added(self._least)
        logging.root.handlers = [_Intercept()]
        logging.root.setLevel(_SEEDS[level])
        for other in [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]:
            _take(other)
        for name in ("gunicorn.error", "gunicorn.access", "werkzeug", "flask.app", "py.warnings", "asyncio"):
            other = logging.getLogger(name)
            other.handlers, other.propagate, other.disabled = [], True, False
            other.setLevel(logging.NOTSET)
        # At DEBUG the driver's own loggers print whole commands, with the values of users in them.
        logging.getLogger("pymongo").setLevel(logging.INFO)
        warnings.showwarning = _show_warning
        atexit.register(lambda: self._sinks().flush())  # what a process says that does not come as far as serving

    def _added(self, level: int, wanted: Callable[[Record], bool] | None = None) -> int:
        return logger.add(
            self._line_of,
            level=level,
            format="{message}",
            filter=wanted,
            enqueue=False,
            backtrace=False,
            diagnose=False,
            catch=True,
        )

    def follow(self, levels: Mapping[str, int]) -> None:
        """Let single loggers have levels of their own; all others have the usual one, or that of ``root``."""
        if self._handler is None:
            return  # not taken over
        self._least = least = levels.get("root", self._usual)
        before, found = self._handler, dict(levels)

        def wanted(record: Record) -> bool:
            name = record["name"] or ""
            while name and name not in found:
                name = name.rpartition(".")[0]
            return record["level"].no >= found.get(name, least)

        # The new one first: what is said in between is said twice, and not lost.
        self._handler = self._added(min(least, *found.values()), wanted) if found else self._added(least)
        with contextlib.suppress(ValueError):  # somebody has removed it
            logger.remove(before)

    def _line_of(self, message: Message) -> None:
        try:
            line = _line(message.record)
        except Exception:  # noqa: BLE001 - loguru would print the whole record to stderr, with all that stands in it
            self._sinks().dropped += 1
        else:
            # Of what an application says itself each line may be its last, as before a view that never ends.
            self._sinks().put("console", line, urgent=message.record["level"].no >= logging.ERROR, alone=True)


def _ours_alone(handler: int | None) -> bool:
    """Whether loguru has no sink but ours, and nobody has told it what to do with lines. It has no public names for that; where
    those that it has are gone, nobody knows."""
    core: Any = getattr(logger, "_core", None)
    try:
        return list(core.handlers) == [handler] and not core.activation_list and core.patcher is None
    except AttributeError:
        return False


def _line(record: Record) -> bytes:
    """The line of a loguru record: our own as it is, anything else redacted."""
    own = record["extra"].get("entry")
    if isinstance(own, Rendered) and record["name"] == __name__:
        return own.line
    return render(_entry(record))


def _entry(record: Record) -> Mapping[str, Any]:
    context = current_context()
    failed = record["exception"]
    error = failed.value if failed is not None else None
    entry: dict[str, Any] = {
        "timestamp": timestamp(),
        "level": _level(record["level"].no),
        "message": in_safe_words(record["message"][:8000], error)[:4000],
        "requestId": context.request_id if context else None,
        **(trace_fields(context) if context is not None else {}),
        "logger": record["name"],
    }
    # `logger.info("{level} of water", level=5)` binds a field too: it must not become the line's own level.
    bound = {
        key: in_safe_words(value, error) if isinstance(value, str) else value for key, value in record["extra"].items()
    }
    entry |= {key + "_" * (key in entry or key in _OURS): value for key, value in redact_document(bound).items()}
    if error is not None:
        entry["stack"] = stack(error)
    return entry


def _level(number: int) -> str:
    """The seed's name of a level of the standard library's or loguru's, between which there may be others."""
    return next((name for limit, name in _STEPS if number < limit), "critical")


def _take(other: logging.Logger) -> None:
    """Let a logger that prints to the console by itself (a library's, with a handler of its own) use ours instead."""
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for handler in other.handlers[:]:
        if isinstance(handler, logging.StreamHandler) and handler.stream in streams:
            other.removeHandler(handler)
            other.propagate = True


class _Intercept(logging.Handler):
    """The standard library's records, as loguru's."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.INFO and record.name.partition(".")[0] == "pymongo":
            return  # whatever level somebody has given to the driver's loggers
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments of somebody's log call
            text = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
        error = record.exc_info[1] if record.exc_info else None
        named = logger.patch(lambda entry: entry.__setitem__("name", record.name))
        (named.opt(exception=error) if error else named).log(max(0, record.levelno), "{}", text)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    if file is not None:  # somebody collects them, as `logging.captureWarnings` lets them too
        _SHOW_WARNING(message, category, filename, lineno, file, line)
        return
    try:
        text = f"{category.__name__}: {message}"
    except Exception:  # noqa: BLE001 - somebody's __str__
        text = category.__name__
    named = logger.patch(lambda entry: entry.__setitem__("name", "py.warnings"))  # the standard library's name for them
    named.bind(place=f"{os.path.basename(filename)}:{lineno}").warning("{}", text)
