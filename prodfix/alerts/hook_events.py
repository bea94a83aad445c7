"""What a program gets of an alert: codes, counts and a key that says which beginning and which end belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.alerts.alert import Alert
from prodfix.alerts.messages import AlertPart, HeldBy, Origin, link_to, moment
from prodfix.redaction.redactor import redact_document

_STATES: Mapping[AlertPart, str] = {"begin": "firing", "more": "firing", "end": "resolved", "summary": "summary"}


def dedup_key(key: str, origin: Origin) -> str:
    """The same in all instances, and from an alert's beginning to its end: an incident of a pager is resolved by it."""
    return f"{origin.service}/{key}"


def event_of(alert: Alert, part: AlertPart, origin: Origin) -> dict[str, Any]:
    """What stands in the body of a web hook."""
    return {
        "alarm": alert.kind,
        "state": _STATES[part],
        "severity": str(alert.severity),
        "since": moment(alert.since),
        "first": moment(alert.started) if alert.again else None,
        "until": moment(alert.until) if part == "end" and alert.until is not None else None,
        "url": link_to(alert.kind, alert.facts, origin),
        "facts": redact_document(alert.facts),
        "dedupKey": dedup_key(alert.key, origin),
        **_origin(origin),
    }


def summary_event(entries: list[dict[str, Any]], dropped: int, why: HeldBy, origin: Origin) -> dict[str, Any]:
    """``entries``: at least one, the oldest first."""
    told = [
        {"alarm": one["kind"], "severity": one["severity"], "since": moment(one["since"])}
        | ({"until": moment(one["until"])} if one.get("until") is not None else {})
        for one in entries
    ]
    return {
        "alarm": "summary",
        "state": "summary",
        "severity": "info",
        "since": moment(entries[0]["since"]),
        "first": None,
        "until": None,
        "url": link_to("summary", {}, origin),
        "facts": {"alerts": told, "more": dropped, "heldBy": why},
        "dedupKey": dedup_key(f"summary@{origin.instance}", origin),
        **_origin(origin),
    }


def trial_event(origin: Origin, now: float) -> dict[str, Any]:
    """Of ``flask prodfix alerts test``."""
    return {
        "alarm": "test",
        "state": "test",
        "severity": "info",
        "since": moment(now),
        "first": None,
        "until": None,
        "url": origin.link(),
        "facts": {},
        "dedupKey": dedup_key(f"test@{origin.instance}", origin),
        **_origin(origin),
    }


def _origin(origin: Origin) -> dict[str, str]:
    return {"instance": origin.instance, "release": origin.release}
