"""How a line reaches the sinks: what prodfix says itself, and, in the served application, what everybody else says.

The served application's logging is loguru's: `from loguru import logger` in a blueprint, the standard library's loggers
of Flask, gunicorn and pymongo, and warnings all come out as JSON lines with the request's ID. In an adopting
application nothing is taken over: our lines go to the standard library's logger ``prodfix``.
"""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loguru import logger

from prodfix.context import current_context
from prodfix.errors import Severity
from prodfix.frames import stack
from prodfix.redaction import redact_document, redact_text
from prodfix.sinks import Sinks, render, timestamp

if TYPE_CHECKING:
    from loguru import Message

_LEVELS = {Severity.INFO: "INFO", Severity.WARN: "WARNING", Severity.ERROR: "ERROR", Severity.CRITICAL: "CRITICAL"}
_SEEDS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
_NAMES = {"WARNING": "warn", "SUCCESS": "info", "TRACE": "debug"}
_KNOWN = {*_SEEDS.values(), *_LEVELS.values(), *_NAMES}


class Logs:
    """The one way out for what prodfix has to say."""

    def __init__(self, sinks: Sinks, *, served: bool) -> None:
        self.sinks = sinks
        self.served = served

    def emit(self, severity: Severity, entry: Mapping[str, Any], *files: str) -> None:
        """Log ``entry`` (redacted already) on the console and into each of ``files`` (names without ``.log``).

        Never raises: a broken log must not break what it tells of.
        """
        try:
            for name in files:
                self.sinks.put(f"{name}.log", render(entry))
            level = _LEVELS[severity]
            if self.served:
                logger.bind(entry=entry).log(level, "{}", entry.get("message", ""))
            else:
                logging.getLogger("prodfix").log(getattr(logging, level), "%s", render(entry).decode().rstrip())
        except Exception:  # noqa: BLE001 - see above; counted, and shown by the diagnostics
            self.sinks.dropped += 1

    def note(
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

    def take_over(self, level: str) -> None:
        """Make loguru the process's logging, with the console as its one sink (the served application)."""
        logger.remove()
        logger.add(
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
        for name in ("gunicorn.error", "gunicorn.access", "werkzeug", "flask.app", "py.warnings"):
            other = logging.getLogger(name)
            other.handlers, other.propagate = [], True
        # At DEBUG the driver's own loggers print whole commands, with the values of users in them.
        logging.getLogger("pymongo").setLevel(logging.INFO)
        warnings.showwarning = _show_warning

    def _console(self, message: Message) -> None:
        record = message.record
        entry = record["extra"].get("entry")
        if entry is None:
            context = current_context()
            entry = {
                "timestamp": timestamp(),
                "level": _NAMES.get(record["level"].name, record["level"].name.lower()),
                "message": redact_text(record["message"][:8000])[:4000],
                "requestId": context.request_id if context else None,
                "logger": record["name"],
            }
            # `logger.info("{level} of water", level=5)` binds a field too: it must not become the line's own level.
            entry |= {key + "_" * (key in entry): value for key, value in redact_document(record["extra"]).items()}
            error = record["exception"]
            if error is not None and error.value is not None:
                entry["stack"] = stack(error.value)
        self.sinks.put("console", render(entry))


class _Intercept(logging.Handler):
    """The standard library's records, as loguru's."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments of somebody's log call
            text = str(record.msg)
        level = record.levelname if record.levelname in _KNOWN else "INFO"
        error = record.exc_info[1] if record.exc_info else None
        named = logger.patch(lambda entry: entry.__setitem__("name", record.name))
        (named.opt(exception=error) if error else named).log(level, "{}", text)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    place = traceback.FrameSummary(filename, lineno, "", lookup_line=False)
    logger.bind(place=f"{place.filename.rpartition('/')[2]}:{lineno}").warning("{}", f"{category.__name__}: {message}")
