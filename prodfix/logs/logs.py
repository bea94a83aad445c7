"""How a line reaches the sinks: what prodfix says itself, and, where it owns the logging, what everybody else says.

The served application's logging is loguru's: `from loguru import logger` in a blueprint, the standard library's loggers
of Flask, gunicorn and pymongo, and warnings all come out as JSON lines with the request's ID. In an adopting
application nothing is taken over unless it asks for it: our lines go to the standard library's logger ``prodfix``.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prodfix.classification.wording import in_safe_words
from prodfix.errors import Severity
from prodfix.logs.files import Room, category_files
from prodfix.logs.lines import timestamp
from prodfix.logs.sinks import Console, Rendered, Sinks, render
from prodfix.operations.frames import stack
from prodfix.redaction.redactor import redact_document
from prodfix.request.context import current_context
from prodfix.settings import Settings

if TYPE_CHECKING:
    from loguru import Message, Record

_LEVELS = {Severity.INFO: "INFO", Severity.WARN: "WARNING", Severity.ERROR: "ERROR", Severity.CRITICAL: "CRITICAL"}
_SEEDS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
_STEPS = ((logging.INFO, "debug"), (logging.WARNING, "info"), (logging.ERROR, "warn"), (logging.CRITICAL, "error"))
_URGENT = frozenset({Severity.ERROR, Severity.CRITICAL})
_SHOW_WARNING = warnings.showwarning


class Logs:
    """The one way out for what prodfix has to say.

    ``owning``: the process's logging is ours (:meth:`take_over`), as it always is in the served application.
    """

    def __init__(self, sinks: Sinks, *, served: bool, owning: bool = False) -> None:
        self.sinks = sinks
        self.served, self.owning = served, served or owning
        self._core: Any = None  # loguru's, from take_over() on
        self._handler: int | None = None  # ours, in there
        self._least = logging.DEBUG

    @classmethod
    def made(cls, settings: Settings, *, served: bool, owning: bool) -> Logs:
        """Those of an application: a console, and the files of ``LOG_DIR``."""
        files = category_files(
            settings.log_dir,
            max_bytes=settings.log_file_max_size,
            keep=settings.log_file_max_files,
            daily=settings.log_rotation == "daily",
            room=Room(settings.state_dir / "journal", settings.log_disk_reserve),
        )
        news = None if served or owning else deque[dict[str, Any]](maxlen=100)
        return cls(Sinks([Console(), *files], news=news), served=served, owning=owning)

    def emit(self, severity: Severity, entry: Mapping[str, Any], *files: str) -> None:
        """Log ``entry`` (redacted already) on the console and into each of ``files`` (names without ``.log``).

        Never raises: a broken log must not break what it tells of.
        """
        try:
            told = entry if isinstance(entry, Rendered) else Rendered(entry, render(entry))
            urgent = severity in _URGENT
            for name in files:
                self.sinks.put(f"{name}.log", told.line, urgent=urgent)
            if self.owning:
                self._to_console(severity, told, urgent)
            else:
                while self.sinks.news:
                    self._to_host(logging.WARNING, render(self.sinks.news.popleft()))
                self._to_host(getattr(logging, _LEVELS[severity]), told.line)
        except Exception:  # noqa: BLE001 - see above; counted, and shown by the diagnostics
            self.sinks.dropped += 1

    def event(
        self, severity: Severity, event: str, message: str, *files: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Log something that is not an error of a request: an event with its facts, which are redacted here."""
        context = current_context()
        entry = {
            "timestamp": timestamp(),
            "level": str(severity),
            "severity": str(severity),
            "event": event,
            "message": message,
            "requestId": context.request_id if context else None,
            **({"category": event, "database": None, "stack": ""} if files else {}),  # what every line of a file has
            **redact_document(facts or {}),
        }
        self.emit(severity, entry, *files)

    def _to_console(self, severity: Severity, entry: Rendered, urgent: bool) -> None:
        """By loguru, if it has more to do with it than to hand it back to us: who adds a sink of his own has our lines too."""
        level = _LEVELS[severity]
        if not _ours_alone(self._core, self._handler):
            from loguru import logger

            logger.bind(entry=entry).log(level, "{}", entry.get("message", ""))
        elif getattr(logging, level) >= self._least:
            self.sinks.put("console", entry.line, urgent=urgent)

    def _to_host(self, level: int, line: bytes) -> None:
        logging.getLogger("prodfix").log(level, "%s", line.decode().rstrip())

    def take_over(self, level: str) -> None:
        """Make loguru the process's logging, with the console as its one sink. Loggers that are made later are ours too.

        ``level`` is the seed's: ``debug``, ``info``, ``warn`` or ``error``.
        """
        from loguru import logger

        logger.remove()
        self._core = getattr(logger, "_core", None)
        self._least = logger.level(_SEEDS[level]).no
        self._handler = logger.add(
            self._console,
            level=_SEEDS[level],
            format="{message}",
            enqueue=False,
            backtrace=False,
            diagnose=False,
            catch=True,
        )
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
        atexit.register(self.sinks.flush)  # what a process says that does not come as far as serving

    def uncaught(self, kind: str, error: BaseException) -> None:
        """The line of what has ended a thread or a greenlet (``kind``), without its text. Never raises."""
        # Not through loguru: gevent calls this in native threads of its own too, which must not wait for a greenlet's lock.
        try:
            context = current_context()
            entry = {
                "timestamp": timestamp(),
                "level": "error",
                "event": "uncaught",
                "message": f"a {kind} ended with {type(error).__name__}",
                "requestId": context.request_id if context else None,
                "stack": stack(error),
            }
            self.sinks.put("console", render(entry), urgent=True)
        except Exception:  # noqa: BLE001 - there is nobody above; counted
            self.sinks.dropped += 1

    def _console(self, message: Message) -> None:
        try:
            line = _line(message.record)
        except Exception:  # noqa: BLE001 - loguru would print the whole record to stderr, with all that stands in it
            self.sinks.dropped += 1
        else:
            self.sinks.put("console", line, urgent=message.record["level"].no >= logging.ERROR)


def _ours_alone(core: Any, handler: int | None) -> bool:
    """Whether loguru has no sink but ours, and nobody has told it what to do with lines. It has no public names for that; where
    those that it has are gone, nobody knows."""
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
        "logger": record["name"],
    }
    # `logger.info("{level} of water", level=5)` binds a field too: it must not become the line's own level.
    bound = {
        key: in_safe_words(value, error) if isinstance(value, str) else value for key, value in record["extra"].items()
    }
    entry |= {key + "_" * (key in entry): value for key, value in redact_document(bound).items()}
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
        from loguru import logger

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
    from loguru import logger

    try:
        text = f"{category.__name__}: {message}"
    except Exception:  # noqa: BLE001 - somebody's __str__
        text = category.__name__
    logger.bind(place=f"{os.path.basename(filename)}:{lineno}").warning("{}", text)
