"""All reporters of an application: those that the settings name, those of entry points, and those that it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prodfix.records.records import ErrorRecord
from prodfix.reporters.report_queue import ReportQueue
from prodfix.reporters.reporter import ErrorReporter, ReporterStatus
from prodfix.settings import Settings

ENTRY_POINTS = "prodfix.reporters"
"""The group: each is what makes a reporter of the :class:`prodfix.Settings`. Only those of ``ERROR_REPORTERS`` are loaded."""

Maker = Callable[[Settings], ErrorReporter]


def _sentry(settings: Settings) -> ErrorReporter:
    from prodfix.reporters.sentry import SentryReporter  # and with it the SDK

    return SentryReporter.made(settings)


def _rollbar(settings: Settings) -> ErrorReporter:
    from prodfix.reporters.rollbar import RollbarReporter

    return RollbarReporter.made(settings)


def _entry_point(name: str, settings: Settings) -> ErrorReporter:
    """Raises ``LookupError`` if no installed package has it."""
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        raise LookupError(f"no entry point {name} of {ENTRY_POINTS}")
    make: Any = next(iter(found)).load()
    reporter: ErrorReporter = make(settings)
    return reporter


class Reporting:
    """``given``: reporters that are there already. Without any it does nothing, and nothing is loaded for it."""

    def __init__(self, queues: Sequence[ReportQueue]) -> None:
        self.queues = tuple(queues)

    @classmethod
    def made(cls, settings: Settings, given: Sequence[ErrorReporter] = ()) -> Reporting:
        makers: dict[str, Maker] = {}
        if settings.sentry_dsn is not None:
            makers["sentry"] = _sentry
        if settings.rollbar_access_token is not None:
            makers["rollbar"] = _rollbar
        for name in sorted(settings.error_reporters):
            makers[name] = partial(_entry_point, name)
        queues = [ReportQueue(name, partial(make, settings)) for name, make in makers.items()]
        return cls([*queues, *(ReportQueue(_name(one), partial(_itself, one)) for one in given)])

    def put(self, record: ErrorRecord) -> None:
        """Let each reporter tell of it, soon and beside requests."""
        for queue in self.queues:
            queue.put(record)

    def close(self, limit: float) -> None:
        """All together have ``limit`` seconds."""
        for number, queue in enumerate(self.queues):
            queue.close(limit / (len(self.queues) - number))
            limit -= limit / (len(self.queues) - number)

    def status(self) -> tuple[ReporterStatus, ...]:
        return tuple(queue.status() for queue in self.queues)


def _itself(reporter: ErrorReporter) -> ErrorReporter:
    return reporter


def _name(reporter: ErrorReporter) -> str:
    return str(getattr(reporter, "name", type(reporter).__name__))[:50]
