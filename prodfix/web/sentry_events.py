"""For an application that has a Sentry of its own: ``sentry_sdk.init(..., before_send=prodfix.sentry_before_send)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import current_app

from prodfix.records.records import ErrorRecord
from prodfix.reporters.raised import raised, tags_of
from prodfix.reporters.sentry_scrubbing import scrubbed
from prodfix.request.context import current_context
from prodfix.services import EXTENSION, Services

_LEAST = ("event_id", "timestamp", "level", "platform", "release", "environment", "sdk")


def sentry_before_send(event: Mapping[str, Any], hint: Mapping[str, Any]) -> dict[str, Any]:
    """The event with our tags and our fingerprint, and without what our rules would not let into a log.

    Of an error it knows what the record will say that is made of it a moment later: request ID, code, category, outcome. Never
    raises: of what cannot be scrubbed only that it happened is sent.
    """
    services: Services | None = current_app.extensions.get(EXTENSION) if current_app else None
    try:
        return _told(scrubbed(event), hint, services)
    except Exception:  # noqa: BLE001 - somebody's exception with properties that raise; counted
        if services is not None:
            services.errors.log.failed()
        return {name: event[name] for name in _LEAST if name in event} | {"message": "an event that cannot be scrubbed"}


def _told(event: dict[str, Any], hint: Mapping[str, Any], services: Services | None) -> dict[str, Any]:
    context = current_context()
    if context is not None:
        event["tags"] = {**_tags(event), "request_id": context.request_id}
        event["request"] = {**event.get("request", {}), "url": context.endpoint}
    error = (hint.get("exc_info") or (None, None))[1]
    if services is not None and isinstance(error, BaseException):
        _as_recorded(event, services.errors.log.record(error, context))
    return event


def _as_recorded(event: dict[str, Any], record: ErrorRecord) -> None:
    """The words of each exception are the record's: texts of a driver hold values that no pattern finds."""
    event["tags"] = {**_tags(event), **tags_of(record)}
    event["fingerprint"] = [record.fingerprint]
    told = raised(record)[::-1]
    for number, one in enumerate(reversed(event.get("exception", {}).get("values", []))):
        same = number < len(told) and told[number].kind == str(one.get("type")).rpartition(".")[2]
        one["value"] = told[number].words if same and told[number].words else "(left out)"


def _tags(event: Mapping[str, Any]) -> dict[str, Any]:
    """As they were given: a mapping, or pairs."""
    tags = event.get("tags") or {}
    return dict(tags) if isinstance(tags, Mapping) else {str(pair[0]): pair[1] for pair in tags}
