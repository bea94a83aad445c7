"""Sentry, and servers that speak its protocol: Bugsink, GlitchTip, by their DSN.

The SDK is begun with no integration: no patch, no hook and no breadcrumb of its own, so that each error is told once, by its
record. What the application sends itself (``sentry_sdk.capture_message``) goes the same way, scrubbed.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Self

import sentry_sdk
from sentry_sdk.transport import HttpTransport

from prodfix.errors import Severity
from prodfix.records.records import ErrorRecord
from prodfix.reporters.raised import Raised, known_of, raised, server_of, tags_of
from prodfix.reporters.reporter import ReporterFailed, StandsBack
from prodfix.reporters.sentry_scrubbing import scrubbed
from prodfix.settings import Settings

PATIENCE = 5.0  # seconds for an event to be sent
OURS = "prodfix.record"  # in the hint of an event that is made of a record
_LEVELS = {Severity.INFO: "info", Severity.WARN: "warning", Severity.ERROR: "error", Severity.CRITICAL: "fatal"}
_HAS_ITS_OWN = "the application has called sentry_sdk.init itself: its events are its own"


class CountedTransport(HttpTransport):
    """The SDK's own transport, which says how many events it could not deliver, and why."""

    TIMEOUT = 4  # seconds

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.lost, self.reason = 0, ""

    def record_lost_event(self, reason: str, *given: Any, **named: Any) -> None:
        if reason not in ("before_send", "event_processor", "sample_rate"):  # on purpose
            self._note(reason)

    def on_dropped_event(self, reason: str) -> None:
        self._note(reason)

    def _note(self, reason: str) -> None:
        self.reason = reason[:40]
        self.lost += 1


class SentryReporter:
    """Sends each record by the SDK's client of this process, and waits until it is sent: nobody else waits for that."""

    name = "sentry"

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def made(cls, settings: Settings) -> Self:
        """Begin the SDK in this process. Raises :class:`StandsBack` if it has begun already."""
        if sentry_sdk.is_initialized():
            raise StandsBack(_HAS_ITS_OWN)
        assert settings.sentry_dsn is not None
        sentry_sdk.init(
            dsn=settings.sentry_dsn.get_secret_value(),
            # Of none it would ask git, and a worker that forks under gevent goes on twice until the child is git.
            release=settings.release or os.environ.get("SENTRY_RELEASE") or "",
            environment=str(settings.app_env),
            server_name=server_of(settings),
            default_integrations=False,
            auto_enabling_integrations=False,
            transport=CountedTransport,
            before_send=_before_send,
            include_local_variables=False,
            max_request_body_size="never",
            auto_session_tracking=False,
            send_client_reports=False,
            traces_sample_rate=None,
            propagate_traces=False,
            trace_propagation_targets=[],
            shutdown_timeout=2,
        )
        return cls(sentry_sdk.get_client())

    def report(self, record: ErrorRecord) -> None:
        """Raises :class:`ReporterFailed`, and :class:`StandsBack` once the application has begun the SDK anew."""
        if sentry_sdk.get_global_scope().client is not self._client:
            raise StandsBack(_HAS_ITS_OWN)
        transport = self._client.transport
        if not isinstance(transport, CountedTransport):
            raise ReporterFailed("closed")
        before = transport.lost
        self._client.capture_event(event_of(record), hint={OURS: record})
        self._client.flush(timeout=PATIENCE)
        if transport.lost > before:
            raise ReporterFailed(transport.reason)

    def close(self, limit: float) -> None:
        """What the application has sent itself may still wait."""
        self._client.close(timeout=limit)


def _before_send(event: Any, hint: Mapping[str, Any]) -> Any:
    if not event.get("release"):
        event.pop("release", None)
    return event if OURS in hint else scrubbed(event)


def event_of(record: ErrorRecord) -> Any:
    """The record as an event of Sentry's. The same record is the same event, however often it is sent."""
    document, context = record.to_document(), record.context
    event: dict[str, Any] = {
        "event_id": event_id(record),
        "timestamp": record.timestamp,
        "platform": "python",
        "logger": "prodfix",
        "level": _LEVELS[record.meaning.severity],
        "fingerprint": [record.fingerprint],
        "tags": tags_of(record),
        "exception": {"values": [_exception(one, record) for one in raised(record)]},
        "contexts": {"prodfix": known_of(record)},
        "breadcrumbs": {"values": [_breadcrumb(one, record) for one in document["trail"] or ()]},
    }
    if context is not None:
        event["transaction"] = context.endpoint
        event["transaction_info"] = {"source": "route"}
        event["request"] = {"method": context.method, "url": context.endpoint}
        event["contexts"]["trace"] = {"trace_id": context.trace_id, "span_id": secrets.token_hex(8)}
    if record.release:
        event["release"] = record.release
    return event


def event_id(record: ErrorRecord) -> str:
    """32 hexadecimal digits, made of the record's own ID."""
    return uuid.uuid5(uuid.NAMESPACE_OID, str(record.id)).hex


def _exception(one: Raised, record: ErrorRecord) -> dict[str, Any]:
    handled = record.answered is not None and record.answered.by == "host"
    frames = [
        {"filename": frame.file, "lineno": frame.line, "function": frame.function, "in_app": frame.application}
        for frame in one.frames
    ]
    return {
        "type": one.kind,
        "module": one.module or None,
        "value": one.words,
        "mechanism": {"type": "prodfix", "handled": handled},
        "stacktrace": {"frames": frames} if frames else None,
    }


def _breadcrumb(command: Mapping[str, Any], record: ErrorRecord) -> dict[str, Any]:
    failed = " failed" if command["failed"] else ""
    return {
        "type": "query",
        "category": "query",
        "level": "error" if failed else "info",
        "message": f"{command['operation']} {command['collection'] or ''}{failed}".strip(),
        "timestamp": record.timestamp,
        "data": {"durationMs": command["durationMs"]},
    }
