"""Rollbar, by its own SDK, which posts an item for each record and reads nothing of the request or of frames."""

from __future__ import annotations

import logging
import sys
import uuid
from typing import Any, Self

import rollbar

from prodfix.errors import Severity
from prodfix.records.records import ErrorRecord
from prodfix.reporters.raised import Raised, known_of, raised, server_of, tags_of
from prodfix.reporters.reporter import ReporterFailed, StandsBack
from prodfix.settings import Settings

TIMEOUT = 4  # seconds
_LEVELS = {Severity.INFO: "info", Severity.WARN: "warning", Severity.ERROR: "error", Severity.CRITICAL: "critical"}
_HAS_ITS_OWN = "the application has called rollbar.init itself: its items are its own"


class Complaints(logging.Filter):
    """The SDK raises nothing: it logs what went wrong, with the address and the answer. Here that is counted, and not logged."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            raised = record.exc_info[0] if record.exc_info else None
            self.reason = raised.__name__ if raised is not None else "refused"
        return False


class RollbarReporter:
    """Posts each record, and waits for the answer: nobody else waits for that. ``server`` is what an item says of it."""

    name = "rollbar"

    def __init__(self, token: str, server: dict[str, Any], environment: str, release: str) -> None:
        self._token, self._server = token, server
        self._environment, self._release = environment, release
        self._complaints = Complaints()
        logging.getLogger("rollbar").addFilter(self._complaints)

    @classmethod
    def made(cls, settings: Settings) -> Self:
        """Begin the SDK in this process. Raises :class:`StandsBack` if it has begun already."""
        if rollbar.SETTINGS["access_token"]:
            raise StandsBack(_HAS_ITS_OWN)
        assert settings.rollbar_access_token is not None
        token = settings.rollbar_access_token.get_secret_value()
        rollbar.init(
            token,
            environment=str(settings.app_env),
            endpoint=f"{settings.rollbar_endpoint.rstrip('/') or rollbar.DEFAULT_ENDPOINT.rstrip('/')}/",
            handler="blocking",  # in a greenlet or thread that has nothing else to do
            timeout=TIMEOUT,
            allow_logging_basic_config=False,
            locals={"enabled": False},
            capture_ip=False,
            log_payload_on_error=False,
        )
        return cls(token, {"host": server_of(settings)}, str(settings.app_env), settings.release)

    def report(self, record: ErrorRecord) -> None:
        """Raises :class:`ReporterFailed`."""
        self._complaints.reason = None
        rollbar.send_payload({"access_token": self._token, "data": self._item(record)}, self._token)
        if self._complaints.reason is not None:
            raise ReporterFailed(self._complaints.reason)

    def _item(self, record: ErrorRecord) -> dict[str, Any]:
        """The record as an item: https://docs.rollbar.com/reference/create-item. The same record has the same ``uuid``."""
        context = record.context
        traces = [_trace(one) for one in reversed(raised(record))]  # the error itself first
        item: dict[str, Any] = {
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, str(record.id))),
            "timestamp": int(record.timestamp.timestamp()),
            "environment": self._environment,
            "level": _LEVELS[record.meaning.severity],
            "language": f"python {sys.version_info.major}.{sys.version_info.minor}",
            "framework": "flask",
            "platform": sys.platform,
            "notifier": {"name": "prodfix"},
            "server": self._server,
            "fingerprint": record.fingerprint,
            "title": record.title,
            "body": {"trace_chain": traces} if len(traces) > 1 else {"trace": traces[0]},
            "custom": {**tags_of(record), "prodfix": known_of(record)},
        }
        if context is not None:
            item["context"] = context.endpoint
            item["request"] = {"method": context.method, "url": context.endpoint}
        if record.release or self._release:
            item["code_version"] = (record.release or self._release)[:40]
        return item


def _trace(one: Raised) -> dict[str, Any]:
    return {
        "frames": [{"filename": frame.file, "lineno": frame.line, "method": frame.function} for frame in one.frames],
        "exception": {"class": one.kind, "message": one.words},
    }
