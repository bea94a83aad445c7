"""How a line reaches the sinks: what prodfix says itself, and, where it owns the logging, what everybody else says.

The served application's logging is loguru's: `from loguru import logger` in a blueprint, the standard library's loggers
of Flask, gunicorn and pymongo, and warnings all come out as JSON lines with the request's ID. In an adopting
application nothing is taken over unless it asks for it: our lines go to the standard library's logger ``prodfix``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from functools import cached_property, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from prodfix.errors import Severity
from prodfix.logs.files import Room, category_files
from prodfix.logs.lines import timestamp
from prodfix.logs.outlets import Sink
from prodfix.logs.sinks import Console, Rendered, Sinks, render
from prodfix.logs.span_events import tell_span
from prodfix.logs.trackers import Trackers
from prodfix.logs.translated import Translated, translated, translation_of
from prodfix.logs.translation import Translate
from prodfix.operations.frames import stack
from prodfix.redaction.redactor import redact_document
from prodfix.request.context import current_context
from prodfix.request.outgoing_trace import trace_fields
from prodfix.settings import Settings

if TYPE_CHECKING:
    from prodfix.logs.logger_levels import LoggerLevels
    from prodfix.logs.loguru_console import LoguruConsole

_LEVELS = {Severity.INFO: "INFO", Severity.WARN: "WARNING", Severity.ERROR: "ERROR", Severity.CRITICAL: "CRITICAL"}
_HOST = "prodfix"  # the standard library's logger of our lines, in an application that keeps its own logging
_LOGURUS = "prodfix.logs.loguru_console"  # loguru names a line's logger by the module that says it
_URGENT = frozenset({Severity.ERROR, Severity.CRITICAL})


class Logs:
    """The one way out for what prodfix has to say.

    ``owning``: the process's logging is ours (:meth:`take_over`), as it always is in the served application. ``translate``: what
    the sinks do with a line, for a host's own logging.
    """

    def __init__(self, sinks: Sinks, *, served: bool, owning: bool = False, translate: Translate | None = None) -> None:
        self.sinks, self._translate = sinks, translate
        self.served, self.owning = served, served or owning
        self._warns_only = False
        self._trackers = Trackers(_LOGURUS if self.owning else _HOST)

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
        translate, exporter = translation_of(settings), _exporter(settings)
        if translate is None:
            return cls(Sinks([Console(), *files], news=news, exporter=exporter), served=served, owning=owning)
        wrap = partial(Translated, translate=translate)
        sinks = Sinks([Console(), *files], news=news, wrap=wrap, exporter=exporter)
        return cls(sinks, served=served, owning=owning, translate=translate)

    def warn_only(self, only: bool = True) -> None:
        """Of a command, whose terminal is for its result: what is no warning does not go there."""
        self._warns_only = only

    def emit(self, severity: Severity, entry: Mapping[str, Any], *files: str) -> None:
        """Log ``entry`` (redacted already) on the console and into each of ``files`` (names without ``.log``).

        Never raises: a broken log must not break what it tells of.
        """
        try:
            self._trackers.ask()
            line = entry.line if isinstance(entry, Rendered) else render(entry)
            urgent = severity in _URGENT
            for name in files:
                self.sinks.put(f"{name}.log", line, urgent=urgent)
            if self.owning and self._warns_only and severity is Severity.INFO:
                return
            if self.owning:
                self._console.put(_LEVELS[severity], entry, line, urgent=urgent)
            else:
                while self.sinks.news:
                    self._to_host(logging.WARNING, render(self.sinks.news.popleft()))
                self._to_host(getattr(logging, _LEVELS[severity]), line)
        except Exception:  # noqa: BLE001 - see above; counted, and shown by the diagnostics
            self.sinks.dropped += 1

    def event(
        self, severity: Severity, event: str, message: str, *files: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Log something that is not an error of a request: an event with its facts, which are redacted here."""
        context = current_context()
        entry = self._entry(severity, event, message, facts, filed=bool(files))
        if context is not None and context.notes.span is not None:
            tell_span(context.notes.span, event, entry)
        self.emit(severity, entry, *files)

    def filed(self, severity: Severity, event: str, message: str, file: str, *, facts: Mapping[str, Any]) -> None:
        """The same of a command: in ``file``, for OpenTelemetry and in a host's own logging, but not on its terminal, where its
        result stands."""
        line = render(self._entry(severity, event, message, facts, filed=True))
        self.sinks.put(f"{file}.log", line)
        if self.owning:
            self.sinks.export(line)
        else:
            self._to_host(getattr(logging, _LEVELS[severity]), line)

    def _entry(
        self, severity: Severity, event: str, message: str, facts: Mapping[str, Any] | None, *, filed: bool
    ) -> dict[str, Any]:
        context = current_context()
        level = severity.value
        return {
            "timestamp": timestamp(),
            "level": level,
            "severity": level,
            "event": event,
            "message": message,
            "requestId": context.request_id if context else None,
            **(trace_fields(context) if context is not None else {}),
            **({"category": event, "database": None, "stack": ""} if filed else {}),  # what every line of a file has
            **(redact_document(facts) if facts else {}),
        }

    @cached_property
    def _console(self) -> LoguruConsole:
        """Where the logging is ours: hosts that keep theirs need no loguru. Raises ``ImportError`` where it is not installed."""
        if find_spec("loguru") is None:
            raise ImportError(
                "logging that is prodfix's needs loguru: pip install loguru, or prodfix with its extra logging"
            )
        from prodfix.logs.loguru_console import LoguruConsole

        return LoguruConsole(lambda: self.sinks)

    def take_over(self, level: str) -> None:
        """Make loguru the process's logging: :meth:`LoguruConsole.take_over`."""
        self._console.take_over(level)

    @cached_property
    def levels(self) -> LoggerLevels:
        """Of single loggers, for a while."""
        from prodfix.logs.logger_levels import LoggerLevels

        return LoggerLevels(self._console.follow if self.owning else None)

    def _to_host(self, level: int, line: bytes) -> None:
        self.sinks.export(line, urgent=level >= logging.ERROR)
        if self._translate is not None:
            line = translated(line, self._translate)
        logging.getLogger(_HOST).log(level, "%s", line.decode().rstrip())

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
                **(trace_fields(context) if context is not None else {}),
                "stack": stack(error),
            }
            self.sinks.put("console", render(entry), urgent=True)
        except Exception:  # noqa: BLE001 - there is nobody above; counted
            self.sinks.dropped += 1


def _exporter(settings: Settings) -> Sink | None:
    """What OpenTelemetry has of the log; ``None`` where nobody has asked for it, and nothing of it is loaded."""
    if "logs" not in settings.opentelemetry:
        return None
    from prodfix.logs.otel_logs import OtelLogs

    return OtelLogs()
