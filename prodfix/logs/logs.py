"""How a line reaches the sinks: what prodfix says itself, and, where it owns the logging, what everybody else says.

The served application's logging is loguru's: `from loguru import logger` in a blueprint, the standard library's loggers
of Flask, gunicorn and pymongo, and warnings all come out as JSON lines with the request's ID. In an adopting
application nothing is taken over unless it asks for it: our lines go to the standard library's logger ``prodfix``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from prodfix.errors import Severity
from prodfix.logs.files import Room, category_files
from prodfix.logs.lines import timestamp
from prodfix.logs.sinks import Console, Rendered, Sinks, render
from prodfix.logs.trackers import Trackers
from prodfix.operations.frames import stack
from prodfix.redaction.redactor import redact_document
from prodfix.request.context import current_context
from prodfix.settings import Settings

if TYPE_CHECKING:
    from prodfix.logs.loguru_console import LoguruConsole

_LEVELS = {Severity.INFO: "INFO", Severity.WARN: "WARNING", Severity.ERROR: "ERROR", Severity.CRITICAL: "CRITICAL"}
_HOST = "prodfix"  # the standard library's logger of our lines, in an application that keeps its own logging
_LOGURUS = "prodfix.logs.loguru_console"  # loguru names a line's logger by the module that says it
_URGENT = frozenset({Severity.ERROR, Severity.CRITICAL})


class Logs:
    """The one way out for what prodfix has to say.

    ``owning``: the process's logging is ours (:meth:`take_over`), as it always is in the served application.
    """

    def __init__(self, sinks: Sinks, *, served: bool, owning: bool = False) -> None:
        self.sinks = sinks
        self.served, self.owning = served, served or owning
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
        return cls(Sinks([Console(), *files], news=news), served=served, owning=owning)

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
        level = severity.value
        entry = {
            "timestamp": timestamp(),
            "level": level,
            "severity": level,
            "event": event,
            "message": message,
            "requestId": context.request_id if context else None,
            **({"category": event, "database": None, "stack": ""} if files else {}),  # what every line of a file has
            **(redact_document(facts) if facts else {}),
        }
        self.emit(severity, entry, *files)

    @cached_property
    def _console(self) -> LoguruConsole:
        """Where the logging is ours: hosts that keep theirs need no loguru. Raises ``ImportError`` where it is not installed."""
        if find_spec("loguru") is None:
            raise ImportError("logging that is prodfix's needs loguru: pip install 'prodfix[logging]'")
        from prodfix.logs.loguru_console import LoguruConsole

        return LoguruConsole(lambda: self.sinks)

    def take_over(self, level: str) -> None:
        """Make loguru the process's logging: :meth:`LoguruConsole.take_over`."""
        self._console.take_over(level)

    def _to_host(self, level: int, line: bytes) -> None:
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
                "stack": stack(error),
            }
            self.sinks.put("console", render(entry), urgent=True)
        except Exception:  # noqa: BLE001 - there is nobody above; counted
            self.sinks.dropped += 1
